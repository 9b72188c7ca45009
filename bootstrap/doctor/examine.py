"""Run the probes, a few side by side, and show what they found."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from bootstrap import console
from bootstrap.doctor import data, edge, formation, functions, mappings, queues, watch
from bootstrap.doctor.lab import Lab
from bootstrap.doctor.probe import Finding, Hook, Probe
from bootstrap.errors import BootstrapError
from bootstrap.targets import Place

PROBES: tuple[Probe, ...] = (
    *queues.PROBES,
    *mappings.PROBES,
    *functions.PROBES,
    *data.PROBES,
    *edge.PROBES,
    *formation.PROBES,
    *watch.PROBES,
)
SIDE_BY_SIDE = 6
STYLES = {"as AWS": "green", "differs": "yellow", "unknown": "bold red"}


@dataclass(frozen=True, slots=True)
class Result:
    """A probe, what it found, and the seconds it took."""

    probe: Probe
    finding: Finding
    seconds: float

    def as_json(self) -> dict[str, Any]:
        probe = self.probe
        told = {"rule": probe.rule, "page": probe.page, "depends": probe.depends}
        return {"name": probe.name, "verdict": self.finding.verdict, "seen": self.finding.seen, **told}


def chosen(only: str | None) -> Sequence[Probe]:
    """Every probe, or those whose name contains `only`.

    Raises:
        BootstrapError: none does.
    """
    found = [probe for probe in PROBES if only is None or only in probe.name]
    if not found:
        raise BootstrapError(f"No probe is called {only!r}.", f"There are: {', '.join(p.name for p in PROBES)}.")
    return found


def examine(
    place: Place, probes: Sequence[Probe], report: Callable[[Result], None], under_control: bool = False
) -> list[Result]:
    """Results in the order of the probes; `report` hears of each as it comes. The slow ones begin first.

    `under_control`: each probe's own hooks make the service break the rule, so that it must say `differs`.
    """

    def run(probe: Probe) -> Result:
        result = _examine_one(place, probe, probe.control if under_control else {})
        report(result)
        return result

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        futures = {probe.name: pool.submit(run, probe) for probe in reversed(probes)}
        return [futures[probe.name].result() for probe in probes]


def _examine_one(place: Place, probe: Probe, hooks: Mapping[str, Hook]) -> Result:
    started = time.monotonic()
    try:
        with Lab(place, hooks) as lab:
            finding = probe.run(lab)
    except Exception as error:  # noqa: BLE001  a probe that breaks must not take the others with it; it is shown as unknown
        finding = Finding("unknown", f"{type(error).__name__}: {error}"[:160])
    return Result(probe, finding, time.monotonic() - started)


def show(results: Sequence[Result]) -> None:
    """What was seen, and for what differs, what it means here."""
    table = Table(title="What this local AWS does", title_justify="left")
    table.add_column("behaviour", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("seen", overflow="fold")
    for result in results:
        style = STYLES[result.finding.verdict]
        table.add_row(
            result.probe.name, f"[{style}]{result.finding.verdict}[/]", result.finding.seen.replace("[", r"\[")
        )
    console.out.print(table)
    apart = [result for result in results if result.finding.verdict != "as AWS"]
    if apart:
        console.say("What differs, and what that means here:", "bold")
    for result in apart:
        console.say(f"{result.probe.name}: {result.probe.rule}", STYLES[result.finding.verdict])
        console.detail(result.probe.depends)
        console.detail(result.probe.page)
    console.say(summary(results), "bold")


def summary(results: Sequence[Result]) -> str:
    counts: Mapping[str, int] = {v: sum(r.finding.verdict == v for r in results) for v in STYLES}
    return ", ".join(f"{number} {verdict}" for verdict, number in counts.items()) + f" (of {len(results)})"
