"""What a request reads does not grow with the table: no more than its bound, at 1,000 rows and at 100,000.

Counted in keys and rows, and in read units by the rules that DynamoDB publishes (scripts/cost/capacity.py), as in
docs/scale.md.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import pytest

from lambdas.common.catalog import Catalog
from lambdas.common.dead_letters import Recorder
from lambdas.common.minute_table import MinuteTable
from lambdas.common.queue import Depth
from lambdas.common.rows import DeadLetter
from lambdas.common.task import SHARDS, IndexClass, Status, Task
from lambdas.query_tasks import dead_letters, tasks
from lambdas.query_tasks.listing import MAX_EXAMINED
from lambdas.query_tasks.stats import MOST, READ, Sources, stats
from lambdas.sweep_tasks.sweep import PAGE_SIZE, PAGES_PER_SHARD, Sweeper
from tests.support.crowd import Crowd, a_crowd
from tests.support.dynamodb import TABLE, task_store
from tests.support.queue import FakeQueue
from tests.support.tasks import NOW, SECOND, Clock, Tokens, processing
from tests.support.templates import template

FEW, SOME, MANY = 1_000, 10_000, 100_000
LATER = NOW + MANY + 900 * SECOND
"""When all of a crowd may have been silent for as long as it takes for a message to count as lost."""
MINUTES = 2
"""Queries for the last hour by the minute."""
MOST_KEY_BYTES = 120
"""Of an entry of the index, with the ids of this crowd."""


@pytest.fixture(scope="module")
def crowds() -> dict[int, Crowd]:
    made = {count: Crowd(a_crowd(count)) for count in (FEW, SOME, MANY)}
    for count, crowd in made.items():
        for number in range(count - 8, count - 400, -10):
            letter = DeadLetter(f"task-{number}", 1, "simulated", "Oops: no", 3, 4, "m", None, NOW, NOW + count, 2**40)
            task_store(crowd).record(letter, NOW)
    return made


def listed(crowd: Crowd, **asked: Any) -> None:
    tasks.tasks(Catalog(cast(Any, crowd), TABLE), tasks.Wanted(**asked), NOW)


class Read(NamedTuple):
    """For one call: items that queries went through, keys got by batch, read units."""

    queried: int
    got: int
    units: float


def reading(crowd: Crowd, act: Callable[[Crowd], object]) -> Read:
    crowd.reset()
    act(crowd)
    return Read(crowd.queried, crowd.got, crowd.units)


def most_units(queries: int, keys: int, got: int) -> float:
    """By eventual queries through so many keys of an index, and consistent reads of so many rows of up to 4 KB."""
    return (queries + keys * MOST_KEY_BYTES / 4096) / 2 + got


@pytest.mark.parametrize("status", [None, *(one for one in Status if one is not Status.FAILED_PENDING)])
def test_a_page_of_tasks_reads_the_same(status: Status | None, crowds: dict[int, Crowd]) -> None:
    for limit in (1, 20, 100):
        reads_the_same(status, limit, crowds)


def reads_the_same(status: Status | None, limit: int, crowds: dict[int, Crowd]) -> None:
    found = {
        count: reading(crowd, lambda crowd: listed(crowd, status=status, limit=limit))
        for count, crowd in crowds.items()
    }
    assert found[SOME] == found[MANY]
    partitions = SHARDS * len(tasks.ALL if status is None else tasks.CLASSES[status])
    most_keys, most_rows = min(MAX_EXAMINED, partitions * max(25, limit)), 3 * max(25, limit)
    assert found[FEW].queried <= found[MANY].queried <= most_keys
    assert found[FEW].got <= found[MANY].got <= most_rows
    queries = 3 * partitions  # each is asked once, and again where its keys are the newest
    assert found[FEW].units <= found[MANY].units <= most_units(queries, most_keys, most_rows)


def test_the_page_that_people_ask_for_costs_what_the_docs_say(crowds: dict[int, Crowd]) -> None:
    assert {reading(crowd, listed).units for crowd in crowds.values()} == {39}


def test_a_page_of_tasks_that_finds_nothing_reads_no_more_than_its_bound(crowds: dict[int, Crowd]) -> None:
    for crowd in crowds.values():
        queried, got, units = reading(crowd, lambda crowd: listed(crowd, kind="unknown"))
        assert FEW - 100 <= queried <= MAX_EXAMINED
        assert got == 0, "the kind is in the index"
        assert units <= most_units(MAX_EXAMINED // 25 + SHARDS * len(tasks.ALL), MAX_EXAMINED, 0)
        sharp = reading(crowd, lambda crowd: listed(crowd, status=Status.FAILED_PENDING, kind="simulated"))
        assert max(sharp.queried, sharp.got) <= MAX_EXAMINED


def test_a_page_of_dead_letters_reads_the_same(crowds: dict[int, Crowd]) -> None:
    def letters(crowd: Crowd) -> None:
        page = dead_letters.letters(Catalog(cast(Any, crowd), TABLE), dead_letters.Wanted(), NOW)
        assert len(page.items) == 20

    found = {count: reading(crowd, letters) for count, crowd in crowds.items()}
    assert found[SOME] == found[MANY] == (SHARDS * 25, 2 * 25, 52)
    assert found[FEW] <= found[MANY]


class Still:
    def depth(self) -> Depth:
        return Depth(0, 0, 0)


def counted(crowd: Crowd) -> None:
    client = cast(Any, crowd)
    stats(Sources(Catalog(client, TABLE), MinuteTable(client, TABLE), Still(), Still()), NOW)


def test_the_stats_read_no_more_than_their_caps(crowds: dict[int, Crowd]) -> None:
    found = {count: reading(crowd, counted) for count, crowd in crowds.items()}
    oldest = SHARDS
    assert [found[FEW][:2], found[SOME][:2]] == [(FEW + oldest, 0), (SOME + oldest, 0)]
    # Of 100,000: 60,000 completed, counted to the cap; 10,000 each are at work, parked, dead and cancelled.
    assert found[MANY][:2] == (MOST + 1 + 4 * 10_000 + oldest, 0)
    # They grow with the table, to the cap of each class that is read, and then no more.
    assert [found[count].units for count in (FEW, SOME, MANY)] == [19, 101, 474]
    most_keys = len(READ) * (MOST + 1) + oldest
    queries = 2 * SHARDS * len(IndexClass) + MINUTES
    assert found[MANY].units <= most_units(queries, most_keys, 0) < 800


def swept(crowd: Crowd, at: int = NOW, backlog: int = 0) -> None:
    store, clock = task_store(crowd), Clock(at)
    recorder = Recorder(store, 86_400, clock, Tokens())

    def complain(task: Task, error: Exception) -> None:
        raise AssertionError(task.task_id) from error

    Sweeper(store, FakeQueue(backlog=backlog), recorder, lambda: False, 900 * SECOND, clock, complain).sweep(
        lambda: True
    )


def test_a_sweep_reads_only_what_may_be_due() -> None:
    """A tenth of the crowd is at work: however many these are, none can be due before RESEND_AFTER.

    While messages wait it reads a key of each shard, too: how far the queue is.
    """
    crowds = [Crowd(a_crowd(count)) for count in (FEW, SOME)]
    for backlog, most in ((0, (0, 0, 10)), (1, (SHARDS, 0, 16))):
        assert {reading(crowd, partial(swept, backlog=backlog)) for crowd in crowds} == {most}
    # Whether one that has long been open is silent stands in its row alone.
    found = [reading(crowd, partial(swept, at=LATER, backlog=1)) for crowd in crowds]
    assert [(read.got, read.units) for read in found] == [(100, 116), (1_000, 1_024)]


def test_a_sweep_of_very_many_open_tasks_stops_at_its_bound() -> None:
    bound = SHARDS * PAGES_PER_SHARD * PAGE_SIZE
    tasks = (processing(task_id=f"task-{n}", created_at=NOW + n, lease_until=NOW + 10**9) for n in range(bound + 3_000))
    crowd = Crowd(tasks)
    assert bound == 10_000
    read = reading(crowd, lambda crowd: swept(crowd, LATER))
    assert read[:2] == (bound, bound)
    assert read.units <= most_units(SHARDS * (PAGES_PER_SHARD + len(IndexClass)), bound, bound + 3 * SHARDS) < 10_300


def test_no_function_may_scan() -> None:
    for name, resource in template("app")["Resources"].items():
        if resource["Type"] == "AWS::Serverless::Function" or resource["Type"] == "AWS::IAM::Role":
            assert "dynamodb:Scan" not in str(resource), name
            assert "dynamodb:*" not in str(resource), name
            assert "PartiQL" not in str(resource), name
