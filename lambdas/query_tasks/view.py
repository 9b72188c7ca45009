"""A task as the API shows it. Pure."""

from __future__ import annotations

from typing import Any

from lambdas.common.http import iso
from lambdas.common.rows import DeadLetter
from lambdas.common.store import Found
from lambdas.common.task import Task, TimelineEntry, numbered


def summary(task: Task) -> dict[str, Any]:
    """As in a list."""
    return {
        "taskId": task.task_id,
        "kind": task.kind,
        "status": str(task.status),
        "generation": task.generation,
        "attempts": task.attempts,
        "maxAttempts": task.max_attempts,
        "createdAt": iso(task.created_at),
        "updatedAt": iso(task.updated_at),
        "error": task.error,
    }


def task_view(found: Found) -> tuple[dict[str, Any], dict[str, str]]:
    """The document, and its members that are JSON text already (payload and result)."""
    task = found.task
    document: dict[str, Any] = {
        **summary(task),
        "nextAttemptAt": iso(task.next_attempt_at) if task.next_attempt_at is not None else None,
        "timeline": [_entry_view(entry, attempt) for entry, attempt in numbered(task.timeline)],
        "deadLetters": [_letter_view(letter) for letter in found.dead_letters],
    }
    return document, {"payload": found.payload, "result": task.result or "null"}


def _entry_view(entry: TimelineEntry, attempt: int) -> dict[str, Any]:
    view = {"at": iso(entry.at), "status": entry.status, "generation": entry.generation, "attempt": attempt}
    return view | ({"error": entry.note} if entry.note else {})


def _letter_view(letter: DeadLetter) -> dict[str, Any]:
    return {
        "generation": letter.generation,
        "error": letter.error,
        "attempts": letter.attempts,
        "receives": letter.receives,
        "firstAt": None if letter.first_at is None else iso(letter.first_at),
        "deadAt": iso(letter.dead_at),
        "recordedAt": iso(letter.recorded_at),
        "sourceQueue": queue_name(letter.source_queue_arn),
    }


def queue_name(arn: str | None) -> str | None:
    return None if arn is None else arn.rpartition(":")[2]
