"""Everything that `make cost` counts, of both designs: what their calls use, and what their functions do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from bootstrap.deploy import client
from bootstrap.targets import Place
from scripts.cost.bench import Bench, Line, on_every_task, on_trouble
from scripts.cost.bill import MINUTES as SWEEPS
from scripts.cost.bill import Counts, Ends, Fixed, polls
from scripts.cost.functions import Functions, Ran, Site
from scripts.cost.lab import BATCH, TOGETHER, Lab
from scripts.cost.meter import Usage
from scripts.cost.original import MAX_ATTEMPTS

BATCHES = (1, BATCH)
"""A task alone in its batch, as when there is little to do, and full batches."""
DESIGNS = ("ours", "original")
"""Their tasks each submitted for itself: the original knows no other way."""
BATCHED = "batched"
"""Ours again, submitted TOGETHER by one request."""
REQUEST = Counts({"rest_requests": 1})


@dataclass(frozen=True, slots=True)
class Measured:
    ends: Mapping[tuple[str, int], Ends]
    """By design or BATCHED, and batch."""
    fixed: Mapping[str, Fixed]
    """By design; ours without what FIXED=low leaves out is "low"."""
    guarantees: Sequence[Line]
    metrics_of_logs: float
    """Share of our log bytes that are metrics, of a good task alone in its batch."""
    dropped_log_bytes: float
    """Lambda's own lines, which our functions do not keep: bytes of a good task alone in its batch."""


Tell = Callable[[str, int, Ends], None]
"""Told what one task of a design costs in batches of a size, as soon as that is counted."""


def measure(place: Place, outputs: Mapping[str, Any], tell: Tell = lambda *_: None) -> Measured:
    lab = Lab(place, outputs["stage"])
    bench, functions = Bench(lab), Functions(lab, outputs)
    sites = {"ours": functions.ours, "original": functions.original}
    for site in sites.values():
        functions.tasks(site, 0, BATCH)  # cold starts are AWS's own, and rare where there is something to do
    counted = {"ours": bench.minute().billed, "original": Counts({})}
    ends = {}
    for name, batch in product(DESIGNS, BATCHES):
        ends[name, batch] = _ends(bench, functions, sites[name], batch, counted[name])
        tell(name, batch, ends[name, batch])
    together = _together(bench, functions, sites["ours"])
    for batch in BATCHES:
        ends[BATCHED, batch] = ends["ours", batch].plus(together)
        tell(BATCHED, batch, ends[BATCHED, batch])
    alone = functions.tasks(sites["ours"], 0, 1)
    deaths = {design.name: bench.death(design) for design in bench.both}
    duplicates = {design.name: bench.duplicate(design) for design in bench.both}
    guarantees = [*on_every_task(bench), *on_trouble(deaths, duplicates)]
    fixed = _fixed(place, functions, bench.idle_sweep(), functions.sweep())
    return Measured(ends, fixed, guarantees, alone.metric_bytes / alone.own_bytes, alone.system_bytes / BATCH)


def _ends(bench: Bench, functions: Functions, site: Site, batch: int, counted: Counts) -> Ends:
    """`counted`: what each batch of attempts is counted by."""
    design = bench.ours if site.name == "ours" else bench.original
    good = [
        _task(bench.task(design, failures=failures), functions.tasks(site, failures, batch), site, batch)
        + counted * ((failures + 1) / batch)
        for failures in range(MAX_ATTEMPTS)
    ]
    death = _task(bench.death(design).all, functions.deaths(site, batch), site, batch)
    return Ends(good, death + counted * (MAX_ATTEMPTS / batch))


def _task(usage: Usage, ran: Ran, site: Site, batch: int) -> Counts:
    """One task: `usage` is of one, in full batches; `ran` is of ten."""
    used = usage if batch == BATCH else usage.alone(BATCH)
    return REQUEST + used.billed + site.counts(ran) * (1 / BATCH)


def _together(bench: Bench, functions: Functions, site: Site) -> Counts:
    """What a task counts more (less, where negative) that is submitted with others instead of for itself."""
    alone = REQUEST + bench.submits().billed + site.counts(functions.submits(site)) * (1 / BATCH)
    request = REQUEST + site.counts(functions.submits_together(site))
    return bench.submits_together().billed + request * (1 / TOGETHER) + alone * -1


def _fixed(place: Place, functions: Functions, idle: Usage, ran: Ran) -> dict[str, Fixed]:
    cloudwatch = client(place, "cloudwatch")
    sweeps = (idle.billed + functions.ours.counts(ran)) * SWEEPS
    silent = Ran(ran.invocations, ran.milliseconds, ran.own_bytes - ran.metric_bytes)
    always = {"polls of idle queues": polls(2)}
    watched = {
        "metrics": Counts({"metrics": len(functions.metric_names())}),
        "alarms": Counts({"alarm_metrics": len(cloudwatch.describe_alarms()["MetricAlarms"])}),
        "dashboard": Counts({"dashboards": len(cloudwatch.list_dashboards()["DashboardEntries"])}),
    }
    return {
        "ours": Fixed({**always, "sweeper": sweeps, **watched}),
        "low": Fixed({**always, "sweeper": (idle.billed + functions.ours.counts(silent)) * SWEEPS}),
        "original": Fixed(always),
    }
