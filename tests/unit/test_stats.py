"""GET /stats: capped counts, depths, the oldest, the last hour; and how much it may read for them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from lambdas.common import aws
from lambdas.common.catalog import Catalog
from lambdas.common.http import Cors, iso
from lambdas.common.minute_table import MinuteTable
from lambdas.common.minutes import HOUR_MS, MINUTE_MS, Minute, minute_of
from lambdas.common.queue import Depth
from lambdas.common.rows import IndexKey
from lambdas.common.task import IndexClass, Status, Task, class_sort, shard_of
from lambdas.query_tasks import handler
from lambdas.query_tasks.handler import Parts
from lambdas.query_tasks.stats import APPROXIMATE, EXACT, FRESH_MS, MOST, Cached, Queue, Sources, stats
from tests.support.crowd import Crowd
from tests.support.dynamodb import TABLE, task_store
from tests.support.tasks import NOW, SECOND, Clock, a_task, dead, planted, processing, waiting

WAIT_SECONDS = 30
"""For another thread; a test that waits so long has failed."""


@dataclass
class Deep:
    """A queue of a depth, or one that does not answer."""

    found: Depth = field(default_factory=lambda: Depth(0, 0, 0))
    failure: Exception | None = None

    def depth(self) -> Depth:
        if self.failure is not None:
            raise self.failure
        return self.found


class World:
    """A table and two queues, with the function over them."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.table = Crowd()
        self.store = task_store(self.table)
        self.queue, self.dlq = Deep(), Deep()
        self.clock = Clock()
        client = cast(Any, self.table)
        self.minutes = MinuteTable(client, TABLE)
        catalog = Catalog(client, TABLE)
        cached = Cached(partial(stats, Sources(catalog, self.minutes, self.queue, self.dlq, ("deposit", "simulated"))))
        patch.setattr(handler, "parts", lambda: Parts(self.store, catalog, cached))
        patch.setattr(handler, "cors", lambda: Cors(()))
        patch.setattr(aws, "now_ms", self.clock)

    def get(self) -> tuple[int, Any]:
        event = {"resource": "/stats", "httpMethod": "GET", "pathParameters": None, "queryStringParameters": None}
        response = handler.handle(event, None)
        return response["statusCode"], json.loads(response["body"])

    def read(self) -> Any:
        status, document = self.get()
        assert status == 200, document
        return document


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def count(number: int, more: bool = False) -> dict[str, Any]:
    return {"count": number, "more": more}


def test_with_nothing_there_everything_is_nought(world: World) -> None:
    assert world.read() == {
        "counts": {name: count(0) for name in ("open", "parked", "COMPLETED", "FAILED_FINAL", "CANCELLED")},
        "queue": {"waiting": 0, "inFlight": 0, "delayed": 0},
        "deadLetterQueue": {"waiting": 0, "inFlight": 0},
        "oldestOpenAt": None,
        "perMinute": [],
        "kinds": ["deposit", "simulated"],
        "exact": ["oldestOpenAt", "kinds"],
        "approximate": ["counts", "queue", "deadLetterQueue", "perMinute"],
        "at": iso(NOW),
    }


def test_every_figure_is_said_to_be_exact_or_approximate_and_none_is_both(world: World) -> None:
    assert {*EXACT, *APPROXIMATE, "exact", "approximate", "at"} == set(world.read())
    assert not {*EXACT} & {*APPROXIMATE}


def test_tasks_are_counted_by_how_they_stand_in_all_shards(world: World) -> None:
    parked = partial(a_task, index_class=IndexClass.PARKED, next_attempt_at=NOW + SECOND)
    made: dict[str, list[Callable[..., Task]]] = {
        "open": [a_task, processing, waiting, parked],
        "COMPLETED": [partial(a_task, status=Status.COMPLETED, index_class=IndexClass.COMPLETED)],
        "FAILED_FINAL": [dead, partial(dead, index_class=IndexClass.RECORDED)],
        "CANCELLED": [partial(a_task, status=Status.CANCELLED, index_class=IndexClass.CANCELLED)],
    }
    for group, makers in made.items():
        for number in range(12):
            for one, make in enumerate(makers):
                planted(world.store, make(task_id=f"{group}-{one}-{number}"))
    world.store.record_stray("m", {"classShard": "M#0", "classSort": class_sort(NOW, "m")})
    told = {group: count(12 * len(makers)) for group, makers in made.items()}
    assert world.read()["counts"] == {**told, "parked": count(12)}


@dataclass
class Counted:
    """A catalog in which each partition holds so many keys; remembers how far it was asked to count."""

    held: dict[str, int]
    asked: list[int] = field(default_factory=list)

    def count(self, partition: str, most: int) -> int:
        found = min(most, self.held.get(partition, 0))
        self.asked.append(found)
        return found

    def oldest(self, partition: str) -> IndexKey | None:
        return None


class NoMinutes:
    def since(self, begin: int, now: int) -> list[Minute]:
        return []


def counted(catalog: Counted) -> dict[str, Any]:
    idle: Queue = cast(Any, Deep())
    found: dict[str, Any] = stats(Sources(catalog, NoMinutes(), idle, idle), NOW)["counts"]
    return found


def test_a_count_ends_at_ten_thousand_and_says_whether_there_are_more() -> None:
    for shards, shown in (
        ((MOST, 0, 0, 0), count(MOST)),
        ((MOST + 1, 0, 0, 0), count(MOST, more=True)),
        ((0, 0, 0, MOST), count(MOST)),
        ((2_500, 2_500, 2_500, 2_500), count(MOST)),
        ((2_500, 2_500, 2_500, 2_501), count(MOST, more=True)),
        ((1, 1, 1, MOST), count(MOST, more=True)),
        ((10**6,) * 4, count(MOST, more=True)),
        ((MOST - 1, 0, 0, 0), count(MOST - 1)),
    ):
        catalog = Counted({f"C#{shard}": number for shard, number in enumerate(shards)})
        assert counted(catalog)["COMPLETED"] == shown, shards
        assert sum(catalog.asked) <= MOST + 1 == 10_001, shards


def test_two_classes_of_one_count_share_its_cap() -> None:
    catalog = Counted({"O#0": 6_000, "S#3": 6_000, "D#1": 6_000, "F#1": 6_000})
    assert counted(catalog) == {
        "open": count(MOST, more=True),
        "parked": count(6_000),
        "COMPLETED": count(0),
        "FAILED_FINAL": count(MOST, more=True),
        "CANCELLED": count(0),
    }
    assert sum(catalog.asked) == 2 * 6_000 + MOST + 1, "the parked are read once for both of their counts"


def test_the_parked_are_counted_among_the_open_and_by_themselves() -> None:
    for sent, parked, shown in (
        (0, 3, (count(3), count(3))),
        (4, 0, (count(4), count(0))),
        (MOST - 3, 3, (count(MOST), count(3))),
        (MOST - 3, 4, (count(MOST, more=True), count(4))),
        (0, MOST + 1, (count(MOST, more=True), count(MOST, more=True))),
    ):
        counts = counted(Counted({"O#2": sent, "S#1": parked}))
        assert (counts["open"], counts["parked"]) == shown, sent


PAGE = 7


class InPages:
    """DynamoDB's 1 MB: a query gives at most so many keys, and says where it stopped."""

    def __init__(self, client: Crowd, most: int) -> None:
        self._client, self._most, self.calls = client, most, 0

    def query(self, **request: Any) -> Any:
        self.calls += 1
        return self._client.query(**{**request, "Limit": min(self._most, request["Limit"])})


def test_a_count_goes_on_where_a_page_of_the_index_ended_and_no_further_than_wanted() -> None:
    for most in (
        1,
        6,
        7,
        8,
        14,
        28,
        10_001,
    ):
        table = Crowd(a_task(task_id=f"task-{number}", created_at=NOW + number) for number in range(120))
        held = sum(shard_of(f"task-{number}") == 1 for number in range(120))
        assert held > 2 * PAGE, most
        pages = InPages(table, PAGE)
        assert Catalog(cast(Any, pages), TABLE).count("O#1", most) == min(most, held), most
        assert table.queried == min(most, held), most
        # A last page that is full may have another behind it: one more look.
        assert pages.calls == (ceil(most / PAGE) if most <= held else held // PAGE + 1), most


def test_the_oldest_open_task_is_the_oldest_of_all_shards_and_parked_ones_do_not_count(world: World) -> None:
    for number in range(12):
        planted(world.store, a_task(task_id=f"task-{number}", created_at=NOW - number * SECOND))
    planted(world.store, a_task(task_id="p", created_at=1, index_class=IndexClass.PARKED, next_attempt_at=2))
    planted(world.store, dead(task_id="d", created_at=3))
    assert world.read()["oldestOpenAt"] == iso(NOW - 11 * SECOND)


def test_queues_are_told_as_deep_as_they_are(world: World) -> None:
    world.queue.found, world.dlq.found = Depth(1, 2, 3), Depth(4, 5, 6)
    document = world.read()
    assert document["queue"] == {"waiting": 1, "inFlight": 2, "delayed": 3}
    assert document["deadLetterQueue"] == {"waiting": 4, "inFlight": 5}


def test_the_last_sixty_minutes_are_told_oldest_first_and_empty_ones_left_out(world: World) -> None:
    this = NOW - NOW % MINUTE_MS
    for ago in (60, 59, 58, 1, 0):
        world.minutes.add(minute_of(this - ago * MINUTE_MS, 1, 2, 3, [1_500] * 4))
    # A row that somebody else's expiry or code left without figures.
    world.table.update_item(
        TableName=TABLE,
        Key={"PK": {"S": f"MINUTES#{this - HOUR_MS:013d}"}, "SK": {"S": f"{this - 30 * MINUTE_MS:013d}"}},
        UpdateExpression="SET expiresAt = :at",
        ExpressionAttributeValues={":at": {"N": "1"}},
    )
    shown = world.read()["perMinute"]
    assert [minute["minute"] for minute in shown] == [iso(this - ago * MINUTE_MS) for ago in (59, 58, 1, 0)]
    figures = {"completed": 1, "failed": 2, "dead": 3, "p50Ms": 1536, "p95Ms": 1997}
    assert all(minute == {"minute": minute["minute"], **figures} for minute in shown)


def test_a_minute_in_which_nothing_came_to_its_end_has_no_percentiles(world: World) -> None:
    world.minutes.add(minute_of(NOW, 0, 1, 0, []))
    (minute,) = world.read()["perMinute"]
    assert (minute["failed"], minute["p50Ms"], minute["p95Ms"]) == (1, None, None)


def test_everything_is_read_side_by_side() -> None:
    """Nine things meet: five counts, the oldest, two queues, the minutes; one after the other they never would."""
    meeting = threading.Barrier(9)

    class Meeting:
        def __init__(self) -> None:
            self.seen: set[str] = set()

        def meet(self, name: str) -> None:
            if name not in self.seen:
                self.seen.add(name)
                meeting.wait(WAIT_SECONDS)

        def count(self, partition: str, most: int) -> int:
            if partition in ("O#0", "S#0", "C#0", "D#0", "X#0"):
                self.meet(partition)
            return 0

        def oldest(self, partition: str) -> IndexKey | None:
            self.meet("oldest")
            return None

        def since(self, begin: int, now: int) -> list[Minute]:
            self.meet("minutes")
            return []

        def depth(self) -> Depth:
            meeting.wait(WAIT_SECONDS)
            return Depth(0, 0, 0)

    one = Meeting()
    assert stats(Sources(one, one, one, one), NOW)["oldestOpenAt"] is None


# Cached. --------------------------------------------------------------------------------------------------------------


def test_for_five_seconds_the_same_answer_is_given_without_a_read(world: World) -> None:
    first = world.read()
    planted(world.store, a_task())
    world.table.reset()
    world.clock.advance(FRESH_MS - 1)
    assert world.read() == first
    assert world.table.queried == 0
    world.clock.advance(1)
    again = world.read()
    assert (FRESH_MS, again["at"]) == (5_000, iso(NOW + 5_000))
    assert again["counts"]["open"] == count(1)


def test_a_clock_that_is_set_back_does_not_keep_an_answer_for_ever(world: World) -> None:
    world.read()
    world.clock.advance(-HOUR_MS)
    assert world.read()["at"] == iso(NOW - HOUR_MS)


@pytest.mark.parametrize("name", ["queue", "dlq"])
def test_a_queue_that_does_not_answer_is_told_and_nothing_is_kept_of_it(name: str, world: World) -> None:
    broken: Deep = getattr(world, name)
    broken.failure = ClientError({"Error": {"Code": "ServiceUnavailable", "Message": "no"}}, "GetQueueAttributes")
    status, document = world.get()
    assert (status, document["error"]["code"]) == (503, "unavailable")
    broken.failure = None
    assert world.get()[0] == 200


def test_a_table_that_does_not_answer_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**request: Any) -> Any:
        raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow down"}}, "Query")

    monkeypatch.setattr(world.table, "query", refuse)
    status, document = world.get()
    assert (status, document["error"]["code"]) == (503, "unavailable")
