"""What the system does at scale: simulated, held against measured runs, and the growth of reads with the table.

python -m tests.benchmarks.scale rates           10, 1,000 and 10,000 tasks a second, as docs/scale.md sets them
python -m tests.benchmarks.scale check           the simulation against the embedded AWS (about five minutes)
python -m tests.benchmarks.scale growth [rows…]  list, stats, sweep, redrive with so many tasks (1000 10000 100000)
python -m tests.benchmarks.scale cost            a month at each rate, from the counts of `python -m scripts.cost`
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from tests.benchmarks.scale import check, growth, rates
from tests.benchmarks.scale.simulation import Result
from tests.benchmarks.units import machine

out = Console(highlight=False, width=200)
PARTS = (
    ("makespan", "seconds", None),
    ("wait p50", "waits", "p50"),
    ("wait p95", "waits", "p95"),
    ("age p95", "ages", "p95"),
)
"""What is compared: a name, a field of Measured and of Result, and which of its percentiles."""


def table(title: str, *columns: str) -> Table:
    made = Table(title=title, title_justify="left", box=box.MARKDOWN)
    for number, column in enumerate(columns):
        made.add_column(column, justify="right" if number else "left")
    return made


def show_check(cases: Sequence[check.Case] = check.CASES) -> None:
    columns = ("case", "tasks", "MAX_CONCURRENCY", "overhead, s", *(f"{name}, s" for name, *_ in PARTS))
    shown = table("Measured / simulated = ratio of simulated to measured", *columns)
    for case in cases:
        found = check.compare(case)
        cells = (
            f"{found.value(name, part):.2f} / {found.mean(name, part):.2f} = {found.ratio(name, part):.2f}"
            for _, name, part in PARTS
        )
        shown.add_row(case.name, str(case.tasks), str(case.max_concurrency), f"{found.overhead:.3f}", *cells)
    out.print(shown)


def show_growth(rows: Sequence[int]) -> None:
    columns = ("", "tasks stored", "read units", "write units", "calls", "ms")
    shown = table("One call, median of three (of the sweep: one)", *columns)
    for found in growth.grow(rows):
        units = (f"{found.reads:,.10g}", f"{found.writes:,.10g}", f"{found.calls:,.0f}")
        shown.add_row(found.what, f"{found.rows:,}", *units, f"{found.seconds * 1000:,.0f}")
        out.print(f"{found.what}, {found.rows:,} tasks: {found.seconds:.1f} s", style="dim")
    out.print(shown)


def show_rates() -> None:
    names = ("wait p50", "p95", "p99", "concurrency", "peak", "fill", "invocations a task", "in flight", "backlog")
    shown = table("Simulated: 1 s of work, from nothing running", "tasks a second", "failing", "ended a second", *names)
    for rate in rates.RATES:
        for failing in rates.FAILURE_RATES:
            shown.add_row(f"{rate.tasks:,}", f"{failing:.0%}", *figures(rates.simulated(rate, failing)))
    out.print(shown)
    for rate in rates.RATES:
        hot = rates.heat(rate.tasks, rate.batch_size)
        parts = f"{hot.open_partition:,.0f} on each shard of class O, {hot.minute_item:,.0f} on the item of the minute"
        out.print(f"{rate.tasks:,} a second: write units a second: {parts}")
    out.print(f"A shard of class O is full at {rates.most_tasks():,.0f} good tasks a second.")


def figures(found: Result) -> Iterator[str]:
    yield f"{found.throughput:,.0f}"
    for seconds in (found.waits.p50, found.waits.p95, found.waits.p99):
        yield f"{seconds:.1f} s"
    yield f"{found.concurrency_mean:.0f}"
    yield str(found.concurrency_peak)
    yield f"{found.fill:.1f}"
    yield f"{found.invocations_a_task:.2f}"
    yield f"{found.in_flight_peak:,}"
    yield f"{found.backlog_at_end:,}"


def show_cost(region: str = "eu-west-1") -> None:
    shown = table(f"USD a month, {region}", "tasks a second", "each alone in its batch", "full batches of 10")
    for month in rates.months(region):
        shown.add_row(f"{month.tasks:,}", f"{month.alone:,.0f}", f"{month.full:,.0f}")
    out.print(shown)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.scale",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=("rates", "check", "growth", "cost"))
    parser.add_argument("rows", type=int, nargs="*", help="of growth: rising numbers of stored tasks")
    args = parser.parse_args()
    match args.what:
        case "rates":
            show_rates()
        case "check":
            show_check()
        case "growth":
            show_growth(args.rows or growth.ROWS)
        case "cost":
            show_cost()
    out.print(machine())
    return 0


if __name__ == "__main__":
    sys.exit(main())
