"""What a task costs in DynamoDB units and SDK calls, here and in the original design, and what each guarantee adds.

python -m tests.benchmarks.units [--json]

Real use cases against the embedded AWS, ten tasks at a time, as Lambda's poller hands them out when there is enough to
do. Each line is measured, or is the difference of the two measurements that it names.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
from rich import box
from rich.console import Console
from rich.table import Table

from bootstrap.paths import ROOT
from scripts.cost import capacity, prices
from scripts.cost.bench import PAYLOADS, SMALL, Line, Measured, measure
from scripts.cost.bill import MINUTES
from scripts.cost.lab import Lab
from scripts.cost.meter import Claimed, Usage
from tests.conftest import TESTS
from tests.support import stack as stacks

out = Console(highlight=False, width=300)
PRICES = prices.read("us-east-1")
SHORT = {
    "TransactWriteItems": "Transact",
    "DeleteMessageBatch": "DeleteBatch",
    "ChangeMessageVisibility": "Visibility",
    "GetQueueAttributes": "Attributes",
}
NOTES = (
    "Units are computed from the items before and after each call, by DynamoDB's published rules "
    "(scripts/cost/capacity.py), because the emulator claims too little for reads and "
    "for refused writes: see the last table.",
    "SQS: full batches of ten, one receive and one delete for ten messages; a task alone in its batch makes 3 requests "
    "instead of 1.2. Polls of an empty queue, which Lambda makes day and night for both designs, are not in it.",
    "USD: DynamoDB and SQS at list price, us-east-1, on demand. Lambda, API Gateway and logs are not in it.",
    "A transaction is charged twice for tables and once for indexes; DynamoDB's pages do not say the latter.",
)


def machine() -> str:
    system = platform.freedesktop_os_release()["PRETTY_NAME"]
    return f"{os.cpu_count()} cores{_model()}, {_ram_gb():.0f} GB, {system}, Python {platform.python_version()}"


def circumstances() -> str:
    """What is measured, and what else the machine has to do at this moment."""
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    return f"commit {commit()}, load average {load} at the begin"


def commit() -> str:
    asked = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _model() -> str:
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return f" ({found[1]})" if found else ""


def _ram_gb() -> float:
    return float(psutil.virtual_memory().total / 2**30)


def calls(usage: Usage, service: str) -> str:
    found = {name.partition(".")[2]: count for name, count in usage.calls.items() if name.startswith(service)}
    short = {SHORT.get(name, name.removesuffix("Item").removesuffix("Message")): n for name, n in found.items()}
    return ", ".join(f"{name} {number(count)}" for name, count in sorted(short.items()))


def number(value: float) -> str:
    """Three digits behind the point at most, and no noise of floats."""
    return f"{round(value, 3) + 0:,.10g}"


def usage_table(title: str, second: str, lines: Sequence[Line]) -> Table:
    table = Table(title=title, title_justify="left", box=box.MARKDOWN)
    for name in ("", second, "DynamoDB calls"):
        table.add_column(name, no_wrap=True)
    for name in ("table writes", "index writes", "reads"):
        table.add_column(name, justify="right")
    table.add_column("SQS calls", no_wrap=True)
    for name in ("SQS billed", "USD per million"):
        table.add_column(name, justify="right")
    for line in lines:
        used = line.usage
        units = (number(value) for value in (used.table_writes, used.index_writes, used.reads))
        price = f"{used.billed.usd(PRICES) * 1e6 + 0:,.2f}"
        table.add_row(
            line.what, line.how, calls(used, "dynamodb"), *units, calls(used, "sqs"), number(used.requests), price
        )
    return table


def row_table(rows: Mapping[str, Mapping[str, int]]) -> Table:
    table = Table(title="Bytes of the state row, payload 100 B", title_justify="left", box=box.MARKDOWN)
    table.add_column("")
    for moment in rows:
        table.add_column(moment, justify="right")
    for purpose in next(iter(rows.values())):
        table.add_row(purpose, *(str(found[purpose]) for found in rows.values()))
    table.add_row("all", *(str(sum(found.values())) for found in rows.values()))
    own = len(json.dumps(PAYLOADS[SMALL]))
    left = (str(capacity.WRITE_BYTES - sum(found.values()) + own) for found in rows.values())
    table.add_row("largest payload at 1 unit a write", *left)
    return table


def claimed_table(claimed: Mapping[str, Claimed]) -> Table:
    table = Table(title="Units that the emulator claims", title_justify="left", box=box.MARKDOWN)
    table.add_column("operation")
    for name in ("calls", "by the rules", "emulator"):
        table.add_column(name, justify="right")
    for operation, found in sorted(claimed.items()):
        table.add_row(operation, str(found.calls), number(found.by_rule), number(found.by_server))
    return table


def show(found: Measured, claimed: Mapping[str, Claimed]) -> None:
    out.print(usage_table("Per task", "design", found.phases))
    out.print(usage_table("What each guarantee adds", "measured as", found.guarantees))
    out.print(row_table(found.rows))
    out.print(claimed_table(claimed))
    month = found.idle_sweep.billed.usd(PRICES) * MINUTES
    out.print(f"The sweeper with nothing to do: {month:.2f} USD in 30 days, a run a minute.")
    for note in NOTES:
        out.print(note, soft_wrap=True)
    out.print(machine())


def as_json(found: Measured, claimed: Mapping[str, Claimed]) -> dict[str, Any]:
    return {
        "machine": machine(),
        "phases": [_line(line) for line in found.phases],
        "guarantees": [_line(line) for line in found.guarantees],
        "idle_sweeper_usd_per_30_days": found.idle_sweep.billed.usd(PRICES) * MINUTES,
        "row_bytes": found.rows,
        "emulator": {operation: asdict(units) for operation, units in claimed.items()},
        "notes": NOTES,
    }


def _line(line: Line) -> dict[str, Any]:
    return {
        "what": line.what,
        "how": line.how,
        **asdict(line.usage),
        "usd_per_million": line.usage.billed.usd(PRICES) * 1e6,
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.units", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    args = parser.parse_args()
    folder = stacks.new_folder(TESTS, "units")
    try:
        lab = Lab(stacks.deploy(folder, "embedded").place)
        found = measure(lab)
    finally:
        stacks.remove(folder)
    if args.json:
        print(json.dumps(as_json(found, lab.meter.claimed), indent=2))
    else:
        show(found, lab.meter.claimed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
