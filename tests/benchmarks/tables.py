"""A report as Markdown, to be read where the code is read.

python -m tests.benchmarks.tables docs/benchmarks     writes figures.md from the report.json beside it, and the tables
that docs/benchmarks.md shows between <!-- name --> and <!-- end -->
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Document = Mapping[str, Any]
COLUMNS: Sequence[tuple[str, str, str]] = (
    ("tasks/s to the end", "tasks_per_second", "{:,.1f}"),
    ("accepted/s", "accepted_per_second", "{:,.1f}"),
    ("submit p50 / p95 / p99, ms", "submit_p50_ms submit_p95_ms submit_p99_ms", "{:,.0f}"),
    ("to the end p50 / p95, s", "done_p50_seconds done_p95_seconds", "{:,.2f}"),
    ("CPU ms per task: workers / server", "worker_cpu_ms server_cpu_ms", "{:,.1f}"),
    ("memory, MB", "worker_memory_mb", "{:,.0f}"),
)


def of(document: Document) -> str:
    """The whole file."""
    figures: Sequence[Document] = document["figures"]
    shown = tables(document)
    parts = [
        "# Figures\n\nWritten by `make bench REPORT=docs/benchmarks` from `report.json` beside it; "
        "[benchmarks.md](../benchmarks.md) says what they mean.",
        f"{document['machine']}, {document['at']}; medians of {document['runs']} runs (10,000 tasks: one run). "
        "Everything on one machine: figures of it, not of AWS.",
        "## Targets",
        shown["targets"],
    ]
    for workload in dict.fromkeys(each["workload"] for each in figures):
        rows = [each for each in figures if each["workload"] == workload]
        parts += [f"## {workload}", _medians(rows)]
    for name, title in TITLES.items():
        if shown[name]:
            parts += [f"## {title}", shown[name]]
    return "\n\n".join(parts) + "\n"


TITLES: Mapping[str, str] = {
    "kills": "Workers killed",
    "cold": "Cold starts",
    "counts": "What a good task counts",
    "cpu": "CPU per task in our own processes",
    "bare": "The bare calls",
}


def tables(document: Document) -> dict[str, str]:
    """By name; what an older report, or an interrupted one, does not hold is empty."""
    return {
        "targets": table(["", "reached", "asked", ""], [_target(each) for each in document["targets"]]),
        "kills": _kills(document["kills"]),
        "cold": _cold(document["cold"]),
        "counts": _counts(document["counts_per_task"]),
        "cpu": _cpu(document.get("cpu_per_task", ())),
        "bare": "\n".join(f"- {name}: {calls}." for name, calls in document.get("bare_calls", {}).items()),
    }


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *("--:" for _ in head[1:])], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _target(target: Document) -> list[str]:
    bound = f"at least {target['at_least']:g}" if target["at_least"] is not None else f"at most {target['at_most']:g}"
    return [target["what"], f"{target['reached_is']:,.2f}", bound, "yes" if target["reached"] else "**no**"]


def _medians(rows: Sequence[Document]) -> str:
    lines = []
    for contender in sorted({row["contender"] for row in rows}, key=[row["contender"] for row in rows].index):
        own = [row for row in rows if row["contender"] == contender]
        cells = [
            " / ".join(form.format(statistics.median(row[name] for row in own)) for name in names.split())
            for _, names, form in COLUMNS
        ]
        lines.append([contender, *cells])
    return table(["", *(title for title, _, _ in COLUMNS)], lines)


def _kills(kills: Sequence[Document]) -> str:
    rows = [
        [
            each["contender"],
            *(f"{each.get(name, 1):,}" for name in ("runs", "tasks", "kills", "lost", "worked_twice")),
            f"{each['last_end_seconds']:.1f}",
        ]
        for each in kills
    ]
    return table(["", "runs", "tasks", "killed", "lost", "work run to its end twice", "last end, s"], rows)


def _cold(cold: Sequence[Document]) -> str:
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
    return table(["ours / a bare handler", "CPU, ms", "wall, ms", "memory, MB", "package, kB"], rows)


def _counts(counts: Mapping[str, Document]) -> str:
    names = list(dict.fromkeys(name for counted in counts.values() for name in counted))
    rows = [[who, *(f"{counted.get(name, 0):,.4g}" for name in names)] for who, counted in counts.items()]
    return table(["", *(name.replace("_", " ") for name in names)], rows)


def _cpu(profiles: Sequence[Document]) -> str:
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
    return (
        table(["ms per task", "calls of the SDK", "as it runs", *(f"profiled: {name}" for name in names)], rows)
        if rows
        else ""
    )


def filled(text: str, document: Document) -> str:
    """A page with its tables renewed: each stands between a comment with its name and one that says `end`."""
    shown = tables(document)

    def renewed(found: re.Match[str]) -> str:
        return f"<!-- {found[1]} -->\n{shown[found[1]] or 'Not in this report.'}\n<!-- end -->"

    return re.sub(r"<!-- (\w+) -->\n.*?<!-- end -->", renewed, text, flags=re.DOTALL)


def write(folder: Path) -> None:
    document = json.loads((folder / "report.json").read_text())
    (folder / "figures.md").write_text(of(document))
    page = folder.with_suffix(".md")
    if page.exists():
        page.write_text(filled(page.read_text(), document))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
