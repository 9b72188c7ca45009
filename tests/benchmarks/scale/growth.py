"""What list, stats, sweep and redrive use while more and more tasks are stored: units by DynamoDB's rules, and time.

The crowd is that of tests/unit/test_units.py: of ten tasks six have completed; one each is cancelled, dead, parked and
at work. The time is the embedded AWS's, which goes through a whole index partition for each query; DynamoDB does not.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import boto3
from botocore.config import Config

from bootstrap.targets import Place
from lambdas.common.catalog import Catalog
from lambdas.common.dead_letters import Recorder
from lambdas.common.decisions import Answer
from lambdas.common.minute_table import MinuteTable
from lambdas.common.queue import Depth
from lambdas.common.rows import DeadLetter, dead_letter_row, row_of
from lambdas.common.store import TaskStore
from lambdas.common.task import Task
from lambdas.common.wire import to_wire
from lambdas.query_tasks import dead_letters, tasks
from lambdas.query_tasks.stats import Sources, stats
from lambdas.steer_tasks.steer import Steering
from lambdas.sweep_tasks.sweep import Sweeper
from scripts.cost.lab import Lab
from scripts.cost.meter import LiveTables, Meter
from tests.conftest import TESTS
from tests.support import stack as stacks
from tests.support.crowd import a_crowd
from tests.support.queue import FakeQueue
from tests.support.tasks import NOW, SECOND, Clock, Tokens

T = TypeVar("T")

ROWS = (1_000, 10_000, 100_000)
SILENT = 900 * SECOND
"""RESEND_AFTER: no task that is younger can be due for a re-send, and a sweep does not read it."""
TIMES = 3
"""Each call is made so often: the units of the last one are shown, and the median of the time."""
LETTERS = 40
"""Of the newest dead tasks, so that a page of dead letters is full."""
PATIENT = Config(read_timeout=600, retries={"total_max_attempts": 1, "mode": "standard"}, max_pool_connections=20)
"""The functions would give up after two seconds; here the emulator's slowness is looked at."""


@dataclass(frozen=True, slots=True)
class Used:
    """One call of one use case."""

    what: str
    rows: int
    reads: float
    writes: float
    calls: float
    seconds: float
    """The median."""


class Still:
    def depth(self) -> Depth:
        return Depth(0, 0, 0)


@dataclass(frozen=True)
class Stand:
    """A table of its own, seen through a metered client and past it."""

    table: str
    plain: Any
    metered: Any
    meter: Meter

    def seed(self, crowd: Iterator[Task]) -> None:
        for some in _by_25(crowd):
            self._put([row_of(task, task.next_attempt_at if task.parked else None) for task in some])

    def letters(self, rows: int) -> None:
        newest = range(rows - 8, rows - 8 - 10 * LETTERS, -10)
        made = (
            DeadLetter(f"task-{number}", 1, "simulated", "Oops: no", 3, 4, "m", None, NOW, NOW + rows, 2**40)
            for number in newest
        )
        for some in _by_25(made):
            self._put([dead_letter_row(letter) for letter in some])

    def _put(self, found: Sequence[Any]) -> None:
        requests = [{"PutRequest": {"Item": to_wire(row)}} for row in found]
        answer = self.plain.batch_write_item(RequestItems={self.table: requests})
        assert not answer["UnprocessedItems"], "the emulator throttles"

    def use(self, what: str, rows: int, act: Callable[[], object], times: int = TIMES) -> Used:
        seconds = []
        for number in range(times):
            begin = time.perf_counter()
            with self.meter.phase(f"{what} {rows} {number}"):
                act()
            seconds.append(time.perf_counter() - begin)
        found = self.meter.phases[f"{what} {rows} {times - 1}"]
        writes = found.table_writes + found.index_writes
        return Used(what, rows, found.reads, writes, sum(found.calls.values()), statistics.median(seconds))


def grow(rows: Sequence[int] = ROWS) -> Iterator[Used]:
    """To each of these numbers in turn, which must rise."""
    with stand() as here:
        stored = 0
        for count in rows:
            begin = time.monotonic()
            here.seed(islice(a_crowd(count), stored, None))
            here.letters(count)
            yield Used("seeding", count, 0, 0, (count - stored) / 25, time.monotonic() - begin)
            yield from used(here, stored, count)
            stored = count


def used(here: Stand, before: int, count: int) -> Iterator[Used]:
    """`before`: the tasks behind it have not been touched yet."""
    catalog = Catalog(here.metered, here.table)
    store = TaskStore(here.metered, here.table)
    dead = iter(range(before + 2, count, 10))

    def listed() -> None:
        assert len(tasks.tasks(catalog, tasks.Wanted(), NOW).items) == 20

    def letters() -> None:
        assert len(dead_letters.letters(catalog, dead_letters.Wanted(), NOW).items) == 20

    def counted() -> None:
        stats(Sources(catalog, MinuteTable(here.metered, here.table), Still(), Still()), NOW)

    def swept(at: int) -> None:
        recorder = Recorder(store, 86_400, Clock(at), Tokens())
        Sweeper(store, FakeQueue(), recorder, lambda: False, SILENT, Clock(at), _complain).sweep(lambda: True)

    def redriven() -> None:
        steered = Steering(store, FakeQueue(), 86_400, Clock(), Tokens()).replay(f"task-{next(dead)}")
        assert steered.answer is Answer.GO

    yield here.use("GET /tasks", count, listed)
    yield here.use("GET /dead-letters", count, letters)
    yield here.use("GET /stats", count, counted)
    yield here.use("redrive of one", count, redriven)
    yield here.use("sweep, all open tasks young", count, lambda: swept(NOW), times=1)
    yield here.use("sweep, all open tasks old", count, lambda: swept(NOW + count + SILENT), times=1)


def _by_25(found: Iterator[T]) -> Iterator[list[T]]:
    """As many as one BatchWriteItem takes."""
    return iter(lambda: list(islice(found, 25)), [])


def _complain(task: Task, error: Exception) -> None:
    raise AssertionError(task.task_id) from error


@contextmanager
def stand() -> Iterator[Stand]:
    folder = stacks.new_folder(TESTS, "growth")
    try:
        stack = stacks.deploy(folder, "embedded")
        lab = Lab(stack.place)
        table = lab.table(lab.schema(stack.outputs["table_name"]))
        plain, metered = _client(stack.place), _client(stack.place)
        metered.meta.events.register_first("provide-client-params.dynamodb.Query", _show_what_is_counted)
        meter = Meter(LiveTables(plain))
        try:
            yield Stand(table, plain, meter.attach(metered), meter)
        finally:
            plain.delete_table(TableName=table)  # or the emulator would write all of it to its disk
    finally:
        stacks.remove(folder)


def _client(place: Place) -> Any:
    return boto3.client("dynamodb", config=PATIENT, **place.client_options())


def _show_what_is_counted(params: dict[str, Any], **_: Any) -> None:
    """A count reads what a query would show (Developer Guide, Query, "Counting the items"); the meter must see it."""
    params.pop("Select", None)
