"""`make bench`: every contender, every workload, side by side in one local AWS; a report as JSON and as a page.

RUNS (3) is how often; QUICK=1 only shows that it runs; REPORT=folder is where the report goes.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from bootstrap import console
from bootstrap.errors import BootstrapError
from bootstrap.paths import local_dir
from scripts.cost import stand
from scripts.cost.measure import measure as counted
from scripts.demo import whole
from tests.benchmarks import coldstart, kills, profiled, site, ups
from tests.benchmarks.measure import Figures, measure
from tests.benchmarks.report import Report, counts
from tests.benchmarks.site import Site
from tests.benchmarks.workloads import FULL, LONG, QUICK, Workload
from tests.conftest import TESTS
from tests.support.stack import remove_leftovers

Each = TypeVar("Each")


@dataclass(frozen=True, slots=True)
class Wish:
    runs: int
    quick: bool
    folder: Path


def wish(variables: Mapping[str, str]) -> Wish:
    quick = whole(variables, "QUICK", 0, 0, 1) == 1
    folder = Path(variables.get("REPORT") or local_dir() / "bench")
    return Wish(whole(variables, "RUNS", 1 if quick else 3, 1, 99), quick, folder)


def turns(contenders: Sequence[Each], run: int) -> Sequence[Each]:
    """Each run begins with another one: what the machine does meanwhile hits all alike."""
    first = run % len(contenders)
    return [*contenders[first:], *contenders[:first]]


def bench(asked: Wish) -> int:
    report, started, interrupted = Report(asked.runs), time.monotonic(), False
    loads: Sequence[Workload] = QUICK if asked.quick else FULL
    console.say(f"Benchmark: {len(loads)} workloads, {asked.runs} runs, {site.PROCESSES} processes each.", "bold")
    remove_leftovers(TESTS)
    try:
        with console.step("Cold starts"):
            report.cold = coldstart.measure(2 if asked.quick else 15)
        with console.step("CPU of a task in our own processes"):
            report.profiles = profiled.measure(100 if asked.quick else profiled.TASKS)
        with console.step("`make up`"):
            report.ups = ups.measure(1 if asked.quick else 5)
        with site.built() as here:
            _workloads(here, loads, report)
            with console.step("Workers killed"):
                load = replace(kills.LOAD, tasks=40) if asked.quick else kills.LOAD
                report.tolls = kills.tolls(here, load, 1 if asked.quick else kills.RUNS, asked.quick)
        if not asked.quick:
            with console.step("Calls and units of a task"), stand.stack() as (place, outputs):
                report.counts = counts(counted(place, outputs))
    except KeyboardInterrupt:
        interrupted = True
        console.fail("Interrupted: the report holds what was measured until now.")
    finally:
        if report.figures:
            report.write(asked.folder)
    _show(report)
    console.say(f"{time.monotonic() - started:.0f} s. {asked.folder / 'report.json'}, {asked.folder / 'index.html'}")
    return 130 if interrupted else 0


def _workloads(here: Site, loads: Sequence[Workload], report: Report) -> None:
    for run in range(report.runs):
        for load in loads if run == 0 else [each for each in loads if each != LONG]:
            for contender in turns(here.contenders(load), run):
                report.figures.append(measure(contender, load, run + 1, here.server))
                console.detail(line(report.figures[-1]))


def line(figures: Figures) -> str:
    return (
        f"run {figures.run}  {figures.workload:<22} {figures.contender:<22}{figures.tasks_per_second:8.1f} tasks/s  "
        f"submit p50 {figures.submit_p50_ms:7.1f} ms  end p50 {figures.done_p50_seconds:6.2f} s"
        + (f"  {figures.unended} NOT ENDED" if figures.unended else "")
    )


def _show(report: Report) -> None:
    for target in report.targets():
        style = "green" if target.reached else "yellow"
        console.say(f"{target.reached_is:8.2f}  {target.what} ({target.asked})", style)
    for toll in report.tolls:
        console.say(
            f"{toll.kills} workers killed: {toll.contender} lost {toll.lost} of {toll.tasks}, "
            f"worked twice on {toll.worked_twice}"
        )


def main() -> int:
    try:
        return bench(wish(os.environ))
    except BootstrapError as error:
        console.fail(error.message, error.hint)
        return 2


if __name__ == "__main__":
    sys.exit(main())
