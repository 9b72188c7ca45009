"""The account of a chaos run: as lines, as JSON, and as a page with plots."""

from __future__ import annotations

import json
import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from bootstrap import console
from lambdas.common.task import TERMINAL, Status
from scripts.load_test import percentile
from tests.chaos import happened, page, verdict
from tests.chaos.plan import CHANCES
from tests.chaos.run import SHOWN, Run
from tests.chaos.verdict import Breach, Facts
from tests.support.summary import dumped

KINDS = ("lost", "double", "stuck", "wrong-terminal", "dead-letter", "history", "phantom", "queue", "answer", "run")
REQUESTS = tuple(name for name in CHANCES if name not in ("work", "message", "submit", "client"))
QUOTED = (
    *("machine", "count", "seed", "seconds", "interrupted", "submitted", "accepted", "unknown", "unknown_but_there"),
    *("broken", "lost_share_at_most", "ends", "replayed", "died", "dead_letters", "attempts", "receives"),
    *("landed_late", "answers", "outside_effects", "recovery_all_ms"),
)


def made(asked: Any, run: Run, facts: Facts, found: Sequence[Breach], interrupted: bool) -> dict[str, Any]:
    """The report, as JSON takes it."""
    broken = Counter(breach.kind for breach in found)
    accepted = len(facts.accepted)
    starts = verdict.starts_of(facts.lines)
    outside = Counter(line["task"] for line in facts.lines if line["event"] == "outside")
    return {
        "machine": f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}",
        "count": asked.count,
        "seed": asked.seed,
        "clients": asked.concurrency,
        "interrupted": interrupted,
        "seconds": round(run.seconds, 1),
        "profile": SHOWN,
        "submitted": sum(line["event"] == "submit" for line in facts.lines),
        "accepted": accepted,
        "unknown": len(facts.unknown),
        "unknown_but_there": len(facts.unknown & set(facts.tasks)),
        "broken": {kind: broken[kind] for kind in KINDS},
        "lost_share_at_most": round(3 / accepted, 6) if accepted and not broken["lost"] else None,
        "ends": dict(sorted(Counter(str(task.status) for task in facts.tasks.values()).items())),
        "replayed": sum(task.generation > 1 for task in facts.tasks.values()),
        "dead_letters": sum(map(len, facts.letters.values())),
        "died": sum(e.status == Status.FAILED_FINAL for task in facts.tasks.values() for e in task.timeline),
        "faults": faults(facts, found),
        "recovery_ms": {fault: _percentiles(times) for fault, times in sorted(verdict.recoveries(facts).items())},
        "recovery_all_ms": _percentiles([ms for times in verdict.recoveries(facts).values() for ms in times]),
        "attempts": sum(_attempts(facts).values()),
        "work_begun": sum(map(len, starts.values())),
        "receives": _deliveries(facts).total(),
        "attempts_per_task": _histogram(_attempts(facts).values()),
        "receives_per_task": _histogram(_deliveries(facts).values()),
        "outside_effects": {
            "made": outside.total(),
            "repeated": sum(times - 1 for times in outside.values()),
            "tasks": sum(times > 1 for times in outside.values()),
        },
        "landed_late": sum(line["event"] == "landed" for line in facts.lines),
        "answers": _answers(facts),
        "workers": sum(line["event"] == "worker" for line in facts.lines),
        "calls_per_task": _calls(run, accepted + len(facts.unknown)),
        "course": [
            {"seconds": round(look.seconds, 1), "accepted": look.accepted, "faults": look.faults, **look.counts}
            for look in run.looks
        ],
        "breaches": [breach._asdict() for breach in found[:100]],
    }


def faults(facts: Facts, found: Sequence[Breach]) -> list[dict[str, Any]]:
    """By operation and fault: how many calls were to meet it, how many did, and how many of those tasks ended well.

    Of those that did not: how many the journal explains (their process was ended by another fault), how many not.
    """
    fired = [line for line in facts.lines if line["event"] == "fault"]
    ill = {breach.task_id for breach in found}
    unfired = happened.pending(facts.planned, facts.lines)
    explained = happened.explained(unfired, facts.lines)
    counts = {
        "planned": Counter((one.operation, one.fault) for one in facts.planned),
        "fired": Counter((line["operation"], line["fault"]) for line in fired),
        "explained": Counter((one.operation, one.fault) for one in explained),
        "unexplained": Counter((one.operation, one.fault) for one in unfired - explained),
        "recovered": Counter((line["operation"], line["fault"]) for line in fired if line["task"] not in ill),
    }
    keys = sorted(counts["planned"] | counts["fired"])
    return [
        {"operation": key[0], "fault": key[1], **{name: count[key] for name, count in counts.items()}} for key in keys
    ]


def _attempts(facts: Facts) -> dict[str, int]:
    """Task -> its attempts in all generations: each claim leaves an entry."""
    return {one: sum(entry.status == Status.PROCESSING for entry in task.timeline) for one, task in facts.tasks.items()}


def _deliveries(facts: Facts) -> Counter[str]:
    return Counter(
        line["task"] for line in facts.lines if line["event"] == "delivery" and line["function"] == "ProcessTask"
    )


def _answers(facts: Facts) -> dict[str, dict[str, int]]:
    """What was asked -> how often it was answered with which status; 0: nobody knows."""
    count = Counter((line["to"], line["status"]) for line in facts.lines if line["event"] == "answer")
    return {to: {str(status): n for (other, status), n in sorted(count.items()) if other == to} for to, _ in count}


def _histogram(values: Any) -> dict[str, int]:
    return {str(value): number for value, number in sorted(Counter(values).items())}


def _percentiles(times: Sequence[int]) -> dict[str, int]:
    if not times:
        return {"tasks": 0}
    marks = {f"p{round(share * 100)}": int(percentile(times, share)) for share in (0.5, 0.95)}
    return {"tasks": len(times), **marks, "max": max(times)}


def _calls(run: Run, tasks: int) -> dict[str, dict[str, float]]:
    """Operation -> requests per task, repeated ones included: without faults, and with."""
    calm, storm = run.journal.counts, run.journal.counts
    calm_tasks = len([count for count in calm("calm.put") if count])
    return {
        name: {
            "calm": round(sum(calm(f"calm.{name}")) / max(1, calm_tasks), 3),
            "chaos": round(sum(storm(f"chaos.{name}")) / max(1, tasks), 3),
        }
        for name in REQUESTS
        if sum(calm(f"calm.{name}")) or sum(storm(f"chaos.{name}"))
    }


def summary(report: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a report that docs/proof.md quotes."""
    faults, calls = report["faults"], report["calls_per_task"].values()
    waiting = (sum(look.get(str(status), 0) for status in set(Status) - TERMINAL) for look in report["course"])
    return {
        **{name: report[name] for name in QUOTED},
        "faults": {
            name: sum(line[name] for line in faults) for name in ("planned", "fired", "explained", "unexplained")
        },
        "kinds_of_fault": len({line["fault"] for line in faults if line["fired"]}),
        "pairs_of_operation_and_fault": sum(line["fired"] > 0 for line in faults),
        "calls_per_task": {name: round(sum(line[name] for line in calls), 2) for name in ("calm", "chaos")},
        "most_open": max(waiting, default=0),
    }


def show(report: Mapping[str, Any]) -> None:
    faults, calls = summary(report)["faults"], summary(report)["calls_per_task"]
    table = Table(title="Chaos", title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    table.add_row("submitted, accepted, unknown", f"{report['submitted']}, {report['accepted']}, {report['unknown']}")
    for status, number in report["ends"].items():
        table.add_row(status, str(number))
    table.add_row("replayed", str(report["replayed"]))
    table.add_section()
    for kind, number in report["broken"].items():
        bound = report["lost_share_at_most"]
        text = f"0 (95 % sure: below {bound:.3%})" if kind == "lost" and bound else str(number)
        table.add_row(kind, text, style="bold red" if number else "")
    table.add_section()
    by_fault = Counter[str]()
    for line in report["faults"]:
        by_fault[line["fault"]] += line["fired"]
    table.add_row("faults that happened", f"{faults['fired']} of {faults['planned']} planned")
    table.add_row(
        "faults that did not",
        f"{faults['explained']} in a process that another fault ended, {faults['unexplained']} unexplained",
    )
    for fault, number in by_fault.most_common():
        recovery = report["recovery_ms"].get(fault)
        text = f"{number:>5}"
        if recovery and recovery["tasks"]:
            text += f"   next step p50 {recovery['p50'] / 1000:4.1f} s, max {recovery['max'] / 1000:4.1f} s"
        table.add_row(f"  {fault}", text)
    table.add_section()
    table.add_row("attempts, receives", f"{report['attempts']}, {report['receives']}")
    effects = report["outside_effects"]
    table.add_row("outside effects", f"{effects['made']}, {effects['repeated']} of them repeated")
    for to, statuses in report["answers"].items():
        table.add_row(f"answers to {to}", ", ".join(f"{number} x {status}" for status, number in statuses.items()))
    table.add_row("requests that landed late", str(report["landed_late"]))
    table.add_row("calls per task", f"{calls['calm']:.2f} without faults, {calls['chaos']:.2f} with")
    table.add_row("seconds", str(report["seconds"]))
    console.out.print(table)


def write(report: Mapping[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    (folder / "summary.json").write_text(dumped(summary(report)))
    (folder / "report.html").write_text(page.of(report))
    console.say(f"Report: {os.path.relpath(folder / 'report.html')}, with report.json and summary.json beside it.")
