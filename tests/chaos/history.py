"""What happened to one task, for a person who looks for the reason of a breach."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.chaos.verdict import Breach, Facts

NO_TASK = "-"
"""Stands in a breach that is of no one task."""


def told(facts: Facts, found: Sequence[Breach]) -> Iterator[tuple[str, Sequence[str]]]:
    """The first breach that is of one task, also of one that is gone, and everything that is known of that task."""
    for breach in [breach for breach in found if breach.task_id != NO_TASK][:1]:
        yield f"{breach.kind}: {breach.task_id} {breach.text}. Its whole history:", history(facts, breach.task_id)


def history(facts: Facts, one: str) -> Sequence[str]:
    """Everything that is known of one task, in the order of time."""
    events = [(line["at"], _shown(line)) for line in facts.lines if line.get("task") == one]
    task = facts.tasks.get(one)
    if task is not None:
        events += [
            (entry.at, f"ROW {entry.status} generation {entry.generation} {entry.note or ''}".rstrip())
            for entry in task.timeline
        ]
    shown = [f"{at} {text}" for at, text in sorted(events)]
    return [
        *shown,
        f"row: {task or 'there is none'}",
        f"dead letters: {facts.letters.get(one, [])}, effects: {facts.effects.get(one, 0)}",
    ]


def _shown(line: Mapping[str, Any]) -> str:
    rest = " ".join(f"{name}={value}" for name, value in line.items() if name not in ("at", "event", "task"))
    return f"{line['event']} {rest}".rstrip()
