"""What a month on AWS would cost, from calls that are counted in a run on this machine, beside the original design.

Prices: prices/<region>.toml. How it counts: docs/cost.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from bootstrap import console
from bootstrap.errors import BootstrapError
from scripts.cost import open_page, prices, stand
from scripts.cost.bill import Counts, Ends
from scripts.cost.lab import BATCH, TOGETHER
from scripts.cost.measure import BATCHED, BATCHES, DESIGNS, Measured, measure
from scripts.cost.prices import Prices

out = Console(highlight=False, width=200)
MILLION = 1_000_000
TARGET = 1.15
"""The most that we may cost, beside the original, per million tasks that are submitted one by one."""
BATCHED_TARGET = 0.6
"""The same of tasks that are submitted TOGETHER and received in full batches."""
TITLES = {"ours": "ours", BATCHED: f"submitted in batches of {TOGETHER}", "original": "original"}
NAMES = {
    "rest_requests": "API Gateway, REST requests",
    "write_units": "DynamoDB, write units",
    "read_units": "DynamoDB, read units",
    "queue_requests": "SQS, requests",
    "invocations": "Lambda, invocations",
    "gb_seconds": "Lambda, GB-seconds (time of this machine)",
    "log_bytes": "CloudWatch, bytes of logs",
    "metrics": "metrics",
    "alarm_metrics": "alarms",
    "dashboards": "dashboards",
}
NOTES = (
    "Counted: every call of the real use cases on a local AWS; DynamoDB units from the items before and after each "
    "call, index writes included, never an emulator's own figures. A batch is one receive and one delete.",
    "Counted: invocations, billed time and log lines of the deployed functions, ours and the original's, warm. The "
    "time is that of this machine, a guess at AWS's; the work itself (WORK_SECONDS) takes none here and is yours.",
    "Not in it: free tier, storage, data transfer, cold starts, EventBridge's schedule, reads of the API (GET). An "
    "open page of the dashboard stands by itself: worked out from its code, without the functions' time and logs.",
    "The original's log lines are taken to be as long as ours, and it keeps Lambda's own lines, as is the default.",
)


def per_million(found: Measured, failure_rate: float) -> Mapping[tuple[str, int], Counts]:
    return {key: ends.per_good_task(failure_rate) * MILLION for key, ends in found.ends.items()}


def ratio(counts: Mapping[tuple[str, int], Counts], batch: int, list_: Prices, name: str = "ours") -> float:
    return counts[name, batch].usd(list_) / counts["original", batch].usd(list_)


def tasks_table(title: str, counts: Mapping[tuple[str, int], Counts], batch: int, list_: Prices) -> Table:
    table = _table(title, "", "price", *(column for title in TITLES.values() for column in (title, "USD")))
    of = [counts[name, batch] for name in TITLES]
    for name in of[0].of:
        price = list_.of[name]
        cells = [cell for each in of for cell in _cells(each, name, list_)]
        table.add_row(NAMES[name], f"{price.usd * price.per:,.4g} per {price.per:,}", *cells)
    table.add_row("all", "", *(cell for each in of for cell in ("", f"{each.usd(list_):,.2f}")))
    ratios = (f"{ratio(counts, batch, list_, name):.2f}" for name in ("ours", BATCHED))
    table.add_row("ours : original", "", *(cell for each in ratios for cell in ("", each)), "", "")
    return table


def _cells(counts: Counts, name: str, list_: Prices) -> tuple[str, str]:
    count = counts.of.get(name, 0)
    return f"{count:,.0f}", f"{list_.usd({name: count}):,.2f}"


def fixed_table(found: Measured, list_: Prices) -> Table:
    table = _table("A month in which nothing happens, USD", "", "count", "FIXED=full", "FIXED=low", "original")
    full, low, original = (found.fixed[name].parts for name in ("ours", "low", "original"))
    for name, counts in full.items():
        cells = (f"{part[name].usd(list_):.2f}" if name in part else "0.00" for part in (full, low, original))
        count = ", ".join(f"{number:,.0f} {_short(of)}" for of, number in counts.of.items() if number)
        table.add_row(name, count, *cells)
    table.add_row("all", "", *(f"{found.fixed[name].usd(list_):.2f}" for name in ("ours", "low", "original")))
    return table


def _short(name: str) -> str:
    return name.replace("_", " ")


def month_table(found: Measured, list_: Prices, tasks: int, failure_rate: float) -> Table:
    title = f"A month of {tasks:,} good tasks, fixed part included, USD"
    table = _table(title, "", "FIXED=full", "FIXED=low", "original")
    for rate in (0.0, failure_rate):
        for batch in BATCHES:
            counts = per_million(found, rate)
            variable = {name: counts[name, batch].usd(list_) * tasks / MILLION for name in DESIGNS}
            sums = (variable["ours"] + found.fixed[name].usd(list_) for name in ("ours", "low"))
            original = variable["original"] + found.fixed["original"].usd(list_)
            what = f"{_batches(batch)}, {rate:.0%} of attempts fail"
            table.add_row(what, *(f"{each:,.2f}" for each in (*sums, original)))
    return table


def _batches(batch: int) -> str:
    return "each alone in its batch" if batch == 1 else f"full batches of {batch}"


def page_table(list_: Prices) -> Table:
    title = "An open page of the dashboard, day and night for a month, in no other sum here, USD"
    table = _table(title, "", "requests", "read units", "requests, USD", "reads, USD", "all")
    for name, counts in open_page.months():
        reads = list_.usd({"read_units": counts.of["read_units"]})
        usd = counts.usd(list_)
        of = (f"{counts.of[each]:,.0f}" for each in ("rest_requests", "read_units"))
        table.add_row(name, *of, f"{usd - reads:,.2f}", f"{reads:,.2f}", f"{usd:,.2f}")
    return table


def guarantees_table(found: Measured, list_: Prices) -> Table:
    """What each costs per million of the tasks that need it, and as a share of a good task, alone in its batch."""
    whole = per_million(found, 0)["ours", 1].usd(list_)
    table = _table("What each guarantee adds (DynamoDB and SQS), USD per million", "", "measured as", "USD", "share")
    for line in found.guarantees:
        usd = line.usage.billed.usd(list_) * MILLION
        table.add_row(line.what, line.how, f"{usd + 0:,.2f}", f"{usd / whole:.1%}")
    metrics = found.metrics_of_logs * list_.usd({"log_bytes": per_million(found, 0)["ours", 1].of["log_bytes"]})
    table.add_row("metrics, as log lines", "their bytes", f"{metrics:,.2f}", f"{metrics / whole:.1%}")
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.MARKDOWN)
    for number, column in enumerate(columns):
        table.add_column(
            column, justify="left" if number == 0 or column in ("price", "count", "measured as") else "right"
        )
    return table


def verdict(found: Measured, list_: Prices) -> Iterator[str]:
    yield _judged("one by one", ratio(per_million(found, 0), 1, list_), TARGET)
    batched = ratio(per_million(found, 0), BATCH, list_, BATCHED)
    yield _judged(f"in batches of {TOGETHER}, received in full batches", batched, BATCHED_TARGET)
    saved = list_.usd({"log_bytes": found.dropped_log_bytes * MILLION})
    yield f"Lambda's own log lines, left out by LoggingConfig, would add {saved:.2f} USD per million."


def _judged(how: str, measured: float, most: float) -> str:
    word = "reached" if measured <= most else "missed"
    return f"Target, submitted {how}: at most {most} times the original. Measured: {measured:.3f}, {word}."


def show(found: Measured, list_: Prices, tasks: int, failure_rate: float) -> None:
    out.print(f"List prices of {list_.region}, {list_.date}, in USD.")
    for rate in (0.0, failure_rate):
        for batch in BATCHES:
            title = f"Per million good tasks, {_batches(batch)}, {rate:.0%} of attempts fail"
            out.print(tasks_table(title, per_million(found, rate), batch, list_))
    for table in (
        fixed_table(found, list_),
        page_table(list_),
        month_table(found, list_, tasks, failure_rate),
        guarantees_table(found, list_),
    ):
        out.print(table)
    for line in (*verdict(found, list_), *NOTES):
        out.print(line, soft_wrap=True)


def _aside(list_: Prices, name: str, batch: int, ends: Ends) -> None:
    """Beside the result, which a program may read: it takes a minute or two."""
    usd = ends.per_good_task(0).usd(list_) * MILLION
    console.err.print(
        f"  counted: {TITLES[name]}, {_batches(batch)}: {usd:.2f} USD per million good tasks", style="dim"
    )


def as_json(found: Measured, list_: Prices, tasks: int, failure_rate: float) -> dict[str, Any]:
    return {
        "region": list_.region,
        "date": list_.date,
        "per_million": [
            {"design": name, "batch": batch, "failure_rate": rate, "counts": counts.of, "usd": counts.usd(list_)}
            for rate in (0.0, failure_rate)
            for (name, batch), counts in per_million(found, rate).items()
        ],
        "fixed_per_month": {
            name: {part: counts.usd(list_) for part, counts in fixed.parts.items()}
            for name, fixed in found.fixed.items()
        },
        "open_page_per_month": {name: counts.usd(list_) for name, counts in open_page.months()},
        "tasks_per_month": tasks,
        "guarantees": {line.what: line.usage.billed.usd(list_) * MILLION for line in found.guarantees},
        "target": {
            "single": ratio(per_million(found, 0), 1, list_),
            "at_most": TARGET,
            "batched": ratio(per_million(found, 0), BATCH, list_, BATCHED),
            "batched_at_most": BATCHED_TARGET,
        },
        "notes": NOTES,
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.cost", description=__doc__)
    parser.add_argument("--tasks-per-month", type=int, default=MILLION, help="good tasks in a month (1000000)")
    parser.add_argument("--failure-rate", type=float, default=0.3, help="chance that an attempt fails (0.3)")
    parser.add_argument("--region", default="eu-west-1", help="a price list of prices/ (eu-west-1)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    args = parser.parse_args()
    try:
        list_ = prices.read(args.region)
        with stand.stack() as (place, outputs):
            found = measure(place, outputs, partial(_aside, list_))
    except BootstrapError as error:
        console.fail(error.message, error.hint)
        return 1
    except KeyboardInterrupt:
        console.fail("Interrupted: what stands above was counted until now. The stack that it was counted on is gone.")
        return 130
    if args.json:
        print(json.dumps(as_json(found, list_, args.tasks_per_month, args.failure_rate), indent=2))
    else:
        show(found, list_, args.tasks_per_month, args.failure_rate)
    return 0


if __name__ == "__main__":
    sys.exit(main())
