"""The summary of a report and its tables, as Markdown for docs/benchmarks.md.

python -m tests.benchmarks.tables     renews the tables of docs/benchmarks.md, each between <!-- name --> and
<!-- end -->, from docs/benchmarks.json
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from bootstrap.paths import ROOT
from tests.benchmarks.workloads import NO_OP

Document = Mapping[str, Any]
Table = tuple[Sequence[str], Sequence[Sequence[str]]]
"""Head and rows."""
PAGE, SUMMARY = ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "benchmarks.json"
KEPT = ("at", "machine", "runs", "targets", "kills", "cold", "cpu_per_task")
COLUMNS: Sequence[tuple[str, str, str]] = (
    ("tasks/s to the end", "tasks_per_second", "{:,.1f}"),
    ("accepted/s", "accepted_per_second", "{:,.1f}"),
    ("submit p50 / p95 / p99, ms", "submit_p50_ms submit_p95_ms submit_p99_ms", "{:,.0f}"),
    ("to the end p50 / p95, s", "done_p50_seconds done_p95_seconds", "{:,.2f}"),
    ("CPU ms per task: workers / server", "worker_cpu_ms server_cpu_ms", "{:,.1f}"),
    ("memory, MB", "worker_memory_mb", "{:,.0f}"),
)


def summary(document: Document) -> dict[str, Any]:
    """The figures of a report that docs/benchmarks.md shows. Of its runs: the medians of tasks without work."""
    runs = [run for run in document["figures"] if run["workload"] == NO_OP.name]
    names = " ".join(names for _, names, _ in COLUMNS).split()
    medians = [
        {
            "contender": who,
            **{name: statistics.median(run[name] for run in runs if run["contender"] == who) for name in names},
        }
        for who in dict.fromkeys(run["contender"] for run in runs)
    ]
    return {**{name: document[name] for name in KEPT}, "no_op": medians}


def tables(summary: Document) -> dict[str, Table]:
    """By the name that docs/benchmarks.md gives them."""
    return {
        "targets": (["", "reached", "asked", ""], [_target(each) for each in summary["targets"]]),
        "no_op": (["", *(title for title, _, _ in COLUMNS)], [_medians(each) for each in summary["no_op"]]),
        "kills": _kills(summary["kills"]),
        "cold": _cold(summary["cold"]),
        "cpu": _cpu(summary["cpu_per_task"]),
    }


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *("--:" for _ in head[1:])], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _target(target: Document) -> list[str]:
    bound = f"at least {target['at_least']:g}" if target["at_least"] is not None else f"at most {target['at_most']:g}"
    return [target["what"], f"{target['reached_is']:,.2f}", bound, "yes" if target["reached"] else "**no**"]


def _medians(medians: Document) -> list[str]:
    cells = (" / ".join(form.format(medians[name]) for name in names.split()) for _, names, form in COLUMNS)
    return [medians["contender"], *cells]


def _kills(kills: Sequence[Document]) -> Table:
    rows = [
        [
            each["contender"],
            *(f"{each[name]:,}" for name in ("runs", "tasks", "kills", "lost", "worked_twice")),
            f"{each['last_end_seconds']:.1f}",
        ]
        for each in kills
    ]
    return ["", "runs", "tasks", "killed", "lost", "work run to its end twice", "last end, s"], rows


def _cold(cold: Sequence[Document]) -> Table:
    rows = [
        [
            each["function"],
            f"{each['ours']['cpu_ms']:.0f} / {each['bare']['cpu_ms']:.0f} = {each['cpu_ratio']:.2f}",
            f"{each['ours']['wall_ms']:.0f} / {each['bare']['wall_ms']:.0f} = {each['wall_ratio']:.2f}",
            f"{each['ours']['peak_mb']:.0f} / {each['bare']['peak_mb']:.0f}",
            f"{each['package_bytes'] / 1000:,.0f}",
        ]
        for each in cold
    ]
    return ["ours / a bare handler", "CPU, ms", "wall, ms", "memory, MB", "package, kB"], rows


def _cpu(profiles: Sequence[Document]) -> Table:
    names = list(dict.fromkeys(name for each in profiles for name in each["own_ms"]))
    rows = [
        [
            each["what"],
            ", ".join(f"{name} {count:.4g}" for name, count in each["calls"].items()),
            f"{each['cpu_ms']:.2f}",
            *(f"{each['own_ms'].get(name, 0):.2f}" for name in names),
        ]
        for each in profiles
    ]
    return ["ms per task", "calls of the SDK", "as it runs", *(f"profiled: {name}" for name in names)], rows


def filled(page: str, summary: Document) -> str:
    """The page with its tables renewed."""
    machine = f"{summary['machine']}, {summary['at']}; medians of {summary['runs']} runs."
    shown = {"machine": machine, **{name: markdown(*table) for name, table in tables(summary).items()}}
    return re.sub(
        r"<!-- (\w+) -->\n.*?<!-- end -->",
        lambda found: f"<!-- {found[1]} -->\n{shown[found[1]]}\n<!-- end -->",
        page,
        flags=re.DOTALL,
    )


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(), json.loads(SUMMARY.read_text())))
