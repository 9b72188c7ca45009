"""The dead letter of a task: written once per generation, whoever comes first, monitor or sweeper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from lambdas.common import transitions
from lambdas.common.rows import DeadLetter
from lambdas.common.store import Refused, own_write
from lambdas.common.task import Status, Task
from lambdas.common.transitions import Write


class Store(Protocol):
    def record(self, letter: DeadLetter, task_created_at: int) -> None: ...
    def end(self, task: Task, write: Write, expires_at_seconds: int, token: str) -> Task | Refused: ...


def first_at(task: Task) -> int:
    """When the first attempt of its generation began; where none did, when the generation was submitted or replayed.

    Of the row alone, as all that a letter says of the task: monitor and sweeper must write the same.
    """
    own = [entry for entry in task.timeline if entry.generation == task.generation]
    begun = [entry.at for entry in own if entry.status == Status.PROCESSING]
    return next(iter([*begun, *(entry.at for entry in own)]), task.created_at)


@dataclass(frozen=True)
class Recorder:
    """`now` is in milliseconds."""

    store: Store
    retention_seconds: int
    now: Callable[[], int]
    new_token: Callable[[], str]

    def record(self, task: Task, message_id: str, receives: int, source_queue_arn: str | None) -> Task | Refused:
        """Write the dead letter of a FAILED_FINAL task, then move it to class F. Each step may be repeated.

        Raises:
            Busy: try again.
        """
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
            # A clock that is behind must not date it before its task: it would pass for one of an expired task.
            recorded_at=max(now, task.created_at),
            expires_at_seconds=expires_at,
            first_at=first_at(task),
        )
        self.store.record(letter, task.created_at)
        token = self.new_token()
        recorded = self.store.end(task, transitions.mark_recorded(task, expires_at, token), expires_at, token)
        # A repeated call may be refused by the very write that it repeats.
        return own_write(recorded, token) or recorded
