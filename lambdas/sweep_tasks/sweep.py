"""Heal what the queue cannot: tasks whose message is lost, parked tasks that are due, dead tasks nobody recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from lambdas.common import transitions
from lambdas.common.decisions import Consumption, Heal, for_sweep
from lambdas.common.store import Page, Refused, message_of
from lambdas.common.task import SHARDS, IndexClass, Message, Task, class_sort
from lambdas.common.transitions import Write

PAGE_SIZE = 100
PAGES_PER_SHARD = 25
"""Bound of one run: so many pages of a shard are looked at, and the next run goes on behind them."""
RECORD_DEAD_AFTER_MS = (15_000, 15 * 60_000)
"""A dead task waits for its message to pass through the dead-letter queue, as long as it takes a message to count as
lost, but within these bounds; then it is recorded without."""


class Store(Protocol):
    def page(
        self, index_class: IndexClass, shard: int, limit: int, after: str | None = None, up_to: str | None = None
    ) -> Page: ...
    def youngest(self, index_class: IndexClass, shard: int) -> Task | None: ...
    def apply(self, write: Write) -> Task | Refused: ...
    def cursor(self, name: str) -> str | None: ...
    def set_cursor(self, name: str, cursor: str | None) -> None: ...


class Queue(Protocol):
    def send(self, message: Message, delay_seconds: int = 0) -> None: ...
    def waiting(self) -> int: ...


class Recorder(Protocol):
    def record(self, task: Task, message_id: str, receives: int, source_queue_arn: str | None) -> Task | Refused: ...


@dataclass(slots=True)
class Healed:
    """What one run found and did."""

    paused: bool = False
    examined: int = 0
    resent: int = 0
    unparked: int = 0
    recorded: int = 0
    failed: int = 0
    oldest_dead_seconds: int = 0
    """How long ago the first of those dead tasks died that this run found without a dead letter, healed or not."""


@dataclass(frozen=True)
class Sweeper:
    """`now` is in milliseconds; `time_left` says whether another page may be begun."""

    store: Store
    queue: Queue
    recorder: Recorder
    consumer_paused: Callable[[], bool]
    """Whether nobody consumes the queue at present."""
    resend_after_ms: int
    now: Callable[[], int]
    complain: Callable[[Task, Exception], None]
    """Hears of a task that could not be healed; the run goes on, and the next one tries again."""
    tell: Callable[[str, Task], None] = lambda event, task: None
    """Hears of each task that was healed, and how: it is a step of the task's way."""

    def sweep(self, time_left: Callable[[], bool]) -> Healed:
        consumption = self._consumption()
        healed = Healed(paused=consumption.paused)
        first = self.now() // 60_000  # another shard begins each minute, so that a long one cannot starve the rest
        for shard in (number % SHARDS for number in range(first, first + SHARDS)):
            for index_class in (IndexClass.PARKED, IndexClass.OPEN, IndexClass.DEAD):
                self._shard(index_class, shard, healed, consumption, time_left)
        return healed

    def _consumption(self) -> Consumption:
        waiting = self.queue.waiting() > 0
        return Consumption(self.consumer_paused(), waiting, self._reached() if waiting else 0)

    def _reached(self) -> int:
        claimed = (self.store.youngest(IndexClass.COMPLETED, shard) for shard in range(SHARDS))
        return max((task.created_at for task in claimed if task is not None), default=0)

    def _shard(
        self,
        index_class: IndexClass,
        shard: int,
        healed: Healed,
        consumption: Consumption,
        time_left: Callable[[], bool],
    ) -> None:
        """Look at up to PAGES_PER_SHARD pages, going on where the last run stopped and wrapping at the end."""
        name = f"{index_class}#{shard}"
        # Parked tasks are sorted by their due time: only the due ones are read, and they leave the class, so no cursor.
        by_due_time = index_class is IndexClass.PARKED
        up_to = self._up_to(index_class)
        started_at = None if by_due_time else self.store.cursor(name)
        cursor = started_at if started_at is not None and started_at <= up_to else None
        for _ in range(PAGES_PER_SHARD):
            if not time_left():
                break
            page = self.store.page(index_class, shard, PAGE_SIZE, cursor, up_to)
            for task in page.tasks:
                self._tried(task, healed, consumption)
            cursor = page.cursor
            if cursor is None:
                break
        if not by_due_time and cursor != started_at:
            self.store.set_cursor(name, cursor)

    def _up_to(self, index_class: IndexClass) -> str:
        """Where the tasks of a class end that can need something, by sort key.

        An open task is sorted by its age, and none is due for a re-send before resend_after_ms: so a sweep does not
        read what came in since, which is nearly all that is open where nothing is lost.
        """
        match index_class:
            case IndexClass.PARKED:
                return class_sort(self.now(), "~")
            case IndexClass.OPEN:
                return class_sort(max(0, self.now() - self.resend_after_ms), "~")
        return "~"

    def _tried(self, task: Task, healed: Healed, consumption: Consumption) -> None:
        try:
            self._heal(task, healed, consumption)
        except Exception as error:  # noqa: BLE001  one task's trouble must not keep the others from being healed
            healed.failed += 1
            self.complain(task, error)

    def _record_after_ms(self) -> int:
        least, most = RECORD_DEAD_AFTER_MS
        return max(least, min(most, self.resend_after_ms))

    def _heal(self, task: Task, healed: Healed, consumption: Consumption) -> None:
        healed.examined += 1
        now = self.now()
        if task.index_class is IndexClass.DEAD:
            healed.oldest_dead_seconds = max(healed.oldest_dead_seconds, (now - task.updated_at) // 1000)
        if not task.readable:
            return  # of another deployment: its own sweeper knows what to do
        match for_sweep(task, now, self.resend_after_ms, self._record_after_ms(), consumption):
            case Heal.SEND if task.parked:
                healed.unparked += self._send(task, now, "task unparked")
            case Heal.SEND:
                healed.resent += self._send(task, now, "task resent")
            case Heal.RECORD:
                recorded = self.recorder.record(task, task.message_id or "none", 0, None)
                if isinstance(recorded, Task):
                    healed.recorded += 1
                    self.tell("task recorded", recorded)

    def _send(self, task: Task, now: int, event: str) -> bool:
        """Mark first, send second: of two sweepers one sends, and a crash in between is healed by a later run."""
        marked = self.store.apply(transitions.mark_sent(task, now))
        if isinstance(marked, Refused):
            return False
        self.queue.send(message_of(marked))
        self.tell(event, marked)
        return True
