"""Rows, claims and moments for tests."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lambdas.common.store import TaskStore
from lambdas.common.task import IndexClass, Status, Task, TimelineEntry

NOW = 1_800_000_000_000
"""Milliseconds; far enough ahead that no live expiry deletes a row of a test."""
SECOND = 1_000
TASK_ID = "task-1"


def a_task(**changes: Any) -> Task:
    """A task submitted at NOW, its message sent; `changes` make it another."""
    fields: dict[str, Any] = {
        "task_id": TASK_ID,
        "kind": "simulated",
        "status": Status.SUBMITTED,
        "index_class": IndexClass.OPEN,
        "generation": 1,
        "attempts": 0,
        "max_attempts": 3,
        "token": "submitter",
        "body_hash": "hash",
        "created_at": NOW,
        "updated_at": NOW,
        "sent_at": NOW,
        "payload": "{}",
        "timeline": (TimelineEntry(NOW, "SUBMITTED", 1),),
    }
    return Task(**{**fields, **changes})


def processing(**changes: Any) -> Task:
    """The first attempt, under the lease of a worker that is alive for another 30 s."""
    fields: dict[str, Any] = {
        "status": Status.PROCESSING,
        "attempts": 1,
        "token": "worker",
        "lease_until": NOW + 30 * SECOND,
        "message_id": "message-1",
    }
    return a_task(**{**fields, **changes})


def waiting(**changes: Any) -> Task:
    """Failed once; the next attempt is due in 10 s."""
    fields: dict[str, Any] = {
        "status": Status.FAILED_PENDING,
        "attempts": 1,
        "token": "worker",
        "next_attempt_at": NOW + 10 * SECOND,
        "message_id": "message-1",
        "error": "Oops: it failed",
    }
    return a_task(**{**fields, **changes})


def dead(**changes: Any) -> Task:
    """Failed for good, not recorded yet."""
    fields: dict[str, Any] = {
        "status": Status.FAILED_FINAL,
        "index_class": IndexClass.DEAD,
        "attempts": 3,
        "token": "worker",
        "message_id": "message-1",
        "error": "Oops: it failed",
    }
    return a_task(**{**fields, **changes})


def planted(store: TaskStore, task: Task) -> Task:
    """`task` as the row in the table."""
    assert store.create(task, task.payload or "{}", NOW) == task
    return task


@dataclass
class Clock:
    """Stands still until a test moves it."""

    at: int = NOW

    def __call__(self) -> int:
        return self.at

    def advance(self, milliseconds: int) -> None:
        self.at += milliseconds


@dataclass
class Tokens:
    """token-1, token-2, …"""

    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __call__(self) -> str:
        return f"token-{next(self.numbers)}"
