"""What a request reads does not grow with the table: no more than its bound, at 1,000 rows and at 100,000."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from lambdas.common.catalog import Catalog
from lambdas.common.dead_letters import Recorder
from lambdas.common.minute_table import MinuteTable
from lambdas.common.queue import Depth
from lambdas.common.rows import DeadLetter
from lambdas.common.task import SHARDS, Status, Task
from lambdas.query_tasks import dead_letters, tasks
from lambdas.query_tasks.listing import MAX_EXAMINED
from lambdas.query_tasks.stats import COUNTED, MOST, Sources, stats
from lambdas.sweep_tasks.sweep import PAGE_SIZE, PAGES_PER_SHARD, Sweeper
from tests.support.crowd import Crowd, a_crowd
from tests.support.dynamodb import TABLE, task_store
from tests.support.queue import FakeQueue
from tests.support.tasks import NOW, SECOND, Clock, Tokens, processing
from tests.support.templates import template

FEW, SOME, MANY = 1_000, 10_000, 100_000


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


def reading(crowd: Crowd, act: Callable[[Crowd], object]) -> tuple[int, int]:
    """How many items queries went through for it, and how many keys were got by batch."""
    crowd.reset()
    act(crowd)
    return crowd.queried, crowd.got


@pytest.mark.parametrize("limit", [1, 20, 100])
@pytest.mark.parametrize("status", [None, *(one for one in Status if one is not Status.FAILED_PENDING)])
def test_a_page_of_tasks_reads_the_same(status: Status | None, limit: int, crowds: dict[int, Crowd]) -> None:
    found = {
        count: reading(crowd, lambda crowd: listed(crowd, status=status, limit=limit))
        for count, crowd in crowds.items()
    }
    assert found[SOME] == found[MANY]
    partitions = SHARDS * len(tasks.ALL if status is None else tasks.CLASSES[status])
    assert found[FEW][0] <= found[MANY][0] <= min(MAX_EXAMINED, partitions * max(25, limit))
    assert found[FEW][1] <= found[MANY][1] <= 3 * max(25, limit)


def test_a_page_of_tasks_that_finds_nothing_reads_no_more_than_its_bound(crowds: dict[int, Crowd]) -> None:
    for crowd in crowds.values():
        queried, got = reading(crowd, lambda crowd: listed(crowd, kind="unknown"))
        assert FEW - 100 <= queried <= MAX_EXAMINED
        assert got == 0, "the kind is in the index"
        sharp = reading(crowd, lambda crowd: listed(crowd, status=Status.FAILED_PENDING, kind="simulated"))
        assert all(one <= MAX_EXAMINED for one in sharp)


def test_a_page_of_dead_letters_reads_the_same(crowds: dict[int, Crowd]) -> None:
    def letters(crowd: Crowd) -> None:
        page = dead_letters.letters(Catalog(cast(Any, crowd), TABLE), dead_letters.Wanted(), NOW)
        assert len(page.items) == 20

    found = {count: reading(crowd, letters) for count, crowd in crowds.items()}
    assert found[SOME] == found[MANY] == (SHARDS * 25, 2 * 25)
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
    assert (found[FEW], found[SOME]) == ((FEW + oldest, 0), (SOME + oldest, 0))
    # Of 100,000: 20,000 are open and 60,000 completed, both counted to the cap; 10,000 each are dead and cancelled.
    assert found[MANY] == (2 * (MOST + 1) + 2 * 10_000 + oldest, 0)
    assert found[MANY][0] <= len(COUNTED) * (MOST + 1) + oldest


def swept(crowd: Crowd) -> None:
    store, clock = task_store(crowd), Clock()
    recorder = Recorder(store, 86_400, clock, Tokens())

    def complain(task: Task, error: Exception) -> None:
        raise AssertionError(task.task_id) from error

    Sweeper(store, FakeQueue(), recorder, lambda: False, 900 * SECOND, clock, complain).sweep(lambda: True)


def test_a_sweep_reads_nothing_of_what_has_ended_or_is_not_due_but_one_key_for_each_shard() -> None:
    found = set()
    for count in (FEW, MANY):
        crowd = Crowd(task for task in a_crowd(count) if task.status is not Status.PROCESSING)
        found.add(reading(crowd, swept))
    assert found == {(SHARDS, 0)}


def test_a_sweep_of_very_many_open_tasks_stops_at_its_bound_and_goes_on_the_next_time() -> None:
    crowd = Crowd(
        processing(task_id=f"task-{number}", created_at=NOW + number, lease_until=NOW + 10**9) for number in range(MANY)
    )
    bound = SHARDS * PAGES_PER_SHARD * PAGE_SIZE
    assert bound == 10_000 < MANY
    assert reading(crowd, swept) == reading(crowd, swept) == (bound, bound)


def test_no_function_may_scan() -> None:
    for name, resource in template("app")["Resources"].items():
        if resource["Type"] == "AWS::Serverless::Function" or resource["Type"] == "AWS::IAM::Role":
            assert "dynamodb:Scan" not in str(resource), name
            assert "dynamodb:*" not in str(resource), name
            assert "PartiQL" not in str(resource), name
