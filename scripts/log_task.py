"""The way of one task: what its row says, and which of its lines is the last."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from lambdas.common.store import TaskStore
from lambdas.common.task import IndexClass, Task
from scripts.log_lines import Line

ENDED = frozenset({IndexClass.COMPLETED, IndexClass.RECORDED, IndexClass.CANCELLED})
"""Not DEAD: its dead letter is still to be written."""
LAST = frozenset({"task completed", "task cancelled", "task cancelled before", "recorded before", "task recorded"})
"""What a function says when it has ended a task, or found it ended; of the dead: whoever writes the dead letter."""
CLOCKS_MS = 1_000
"""By so much a function's clock may be behind the one that the row was written by."""
GRACE_MS = 60_000
"""A worker speaks when the whole batch of its task is done (PROCESS_TIMEOUT_SECONDS), and CloudWatch may be late. After
this the last line is waited for no more: the deployment's LOG_LEVEL may hide it."""


class Rows(Protocol):
    def get(self, task_id: str) -> Task | None: ...


@dataclass
class Way:
    """Follows a task by its row and its lines. `now` is in milliseconds."""

    task_id: str
    rows: Rows
    now: Callable[[], int]
    row: Task | None = None
    newest: int | None = None
    """When the newest line was written that names the task."""
    ended_at: int | None = None
    """When the newest line was written that ends it; a replay begins a new life behind it."""
    over_since: int | None = None
    """When its row was first seen to have ended, or ended, if that was before the first look."""

    @staticmethod
    def store(dynamodb: Any, table: str) -> Rows:
        return TaskStore(dynamodb, table)

    def began(self) -> int | None:
        """A moment before its first line; None when there is no row."""
        self.look()
        return None if self.row is None else self.row.created_at - CLOCKS_MS

    def look(self) -> None:
        before, self.row = self.row, self.rows.get(self.task_id)
        if self.row is None or self.row.index_class not in ENDED:
            self.over_since = None
        elif self.over_since is None:
            self.over_since = self.row.updated_at if before is None else self.now()

    def heard(self, found: Iterable[Line]) -> None:
        for line in found:
            self.newest = max(line.at, self.newest or 0)
            if line.message in LAST or (line.message == "task dead" and line.function == "monitor-dlq"):
                self.ended_at = max(line.at, self.ended_at or 0)

    @property
    def silent(self) -> bool:
        return self.newest is None

    @property
    def unknown(self) -> bool:
        return self.silent and self.row is None

    def over(self) -> bool:
        """It has ended, and its last line was shown or comes no more."""
        if self.row is None:
            return True
        if self.over_since is None:
            return False
        told = self.ended_at is not None and self.ended_at >= self.row.updated_at - CLOCKS_MS
        return told or self.now() - self.over_since > GRACE_MS

    def end(self) -> str:
        row = self.row
        if row is None:
            return f"Task {self.task_id} is no more: it has ended and expired."
        seconds = (row.updated_at - row.created_at) / 1000
        return f"{row.status} after {seconds:.1f} s: generation {row.generation}, attempts {row.attempts}."

    def not_known(self, since: int) -> str:
        return f"There is no task {self.task_id!r}, and no line since {_instant(since)} names it."

    def not_heard(self, since: int) -> str:
        status = self.row.status if self.row else "no more"
        return f"No line since {_instant(since)} names task {self.task_id}; it is {status}."


def _instant(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
