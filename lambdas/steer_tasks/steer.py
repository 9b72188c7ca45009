"""Cancel a task; replay a dead one. Decided by the row, carried out by one conditional write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from lambdas.common import transitions
from lambdas.common.decisions import Answer, for_cancel, for_replay
from lambdas.common.store import Refused, own_write
from lambdas.common.task import Message, Task
from lambdas.common.transitions import Write

MAX_READS = 5
"""The row may change between read and write; it is read again so often before the caller is told to try later."""


class Store(Protocol):
    def get(self, task_id: str) -> Task | None: ...
    def end(self, task: Task, write: Write, expires_at_seconds: int, token: str) -> Task | Refused: ...
    def replay(self, task: Task, write: Write, token: str) -> Refused | None: ...


class Queue(Protocol):
    def send(self, message: Message, delay_seconds: int = 0) -> None: ...


class StillChanging(Exception):
    """The task changed under every decision."""


@dataclass(frozen=True, slots=True)
class Steered:
    """How a wish ended, with the row as it was decided on (after the change, when there was one)."""

    answer: Answer
    task: Task | None


@dataclass(frozen=True)
class Steering:
    """`now` is in milliseconds."""

    store: Store
    queue: Queue
    retention_seconds: int
    now: Callable[[], int]
    new_token: Callable[[], str]

    def cancel(self, task_id: str) -> Steered:
        """End an open task as CANCELLED. A worker that is at it finds its last write refused.

        Raises:
            StillChanging, Busy: nothing was done.
        """
        token = self.new_token()
        for _ in range(MAX_READS):
            row, now = self.store.get(task_id), self.now()
            answer = for_cancel(row, now)
            if row is None or answer is not Answer.GO:
                return Steered(answer, row)
            expires_at = now // 1000 + self.retention_seconds
            ended = self.store.end(row, transitions.cancel(row, now, expires_at, token), expires_at, token)
            if (written := own_write(ended, token)) is not None:
                return Steered(answer, written)
        raise StillChanging(f"task {task_id} changed {MAX_READS} times under its cancellation")

    def replay(self, task_id: str, generation: int | None = None) -> Steered:
        """Begin a new generation of a dead task: row first, message second, so that the sweeper can heal what breaks.

        `generation` is the one that the caller saw dead: with it, a repeated call replays once.

        Raises:
            StillChanging, Busy: nothing was done.
        """
        token = self.new_token()
        for _ in range(MAX_READS):
            row, now = self.store.get(task_id), self.now()
            answer = for_replay(row, generation, now)
            if row is None or answer is not Answer.GO:
                return Steered(answer, row)
            refused = self.store.replay(row, transitions.replay(row, now, token), token)
            if refused is None or own_write(refused, token) is not None:
                self.queue.send(Message(task_id, row.generation + 1))
                return Steered(answer, self.store.get(task_id))
        raise StillChanging(f"task {task_id} changed {MAX_READS} times under its replay")
