"""The dead letter of a task: written once per generation, whoever comes first, monitor or sweeper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from lambdas.common import transitions
from lambdas.common.rows import DeadLetter
from lambdas.common.store import Refused
from lambdas.common.task import Task
from lambdas.common.transitions import Write


class Store(Protocol):
    def apply(self, write: Write) -> Task | Refused: ...
    def record(self, letter: DeadLetter, task_created_at: int) -> None: ...
    def expire_payload(self, task: Task, expires_at_seconds: int) -> None: ...


@dataclass(frozen=True)
class Recorder:
    """`now` is in milliseconds."""

    store: Store
    retention_seconds: int
    now: Callable[[], int]
    new_token: Callable[[], str]

    def record(self, task: Task, message_id: str, receives: int, source_queue_arn: str | None) -> Task | Refused:
        """Write the dead letter of a FAILED_FINAL task, then move it to class F. Each step may be repeated."""
        now = self.now()
        expires_at = now // 1000 + self.retention_seconds
        letter = DeadLetter(
            task_id=task.task_id,
            generation=task.generation,
            kind=task.kind,
            error=task.error or "unknown",
            attempts=task.attempts,
            receives=receives,
            message_id=message_id,
            source_queue_arn=source_queue_arn,
            dead_at=task.updated_at,
            recorded_at=now,
            expires_at_seconds=expires_at,
        )
        self.store.record(letter, task.created_at)
        recorded = self.store.apply(transitions.mark_recorded(task, expires_at, self.new_token()))
        if isinstance(recorded, Task):
            self.store.expire_payload(recorded, expires_at)
        return recorded
