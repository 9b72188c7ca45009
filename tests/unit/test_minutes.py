"""What ended in a minute: how it is counted, kept and read, and that it never costs a batch its answer."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, ReadTimeoutError
from hypothesis import given
from hypothesis import strategies as st

from lambdas.common import aws, telemetry
from lambdas.common.kinds import JsonObject, Registry, Work
from lambdas.common.minute_table import MinuteTable
from lambdas.common.minutes import HOUR_MS, KEPT_SECONDS, MINUTE_MS, Minute, added, minute_of, partition, sort
from lambdas.common.queue import TaskQueue, body_of
from lambdas.common.retry import Backoff, PermanentError
from lambdas.common.task import Message, Status
from lambdas.process_task import handler
from lambdas.process_task.attempt import Worker
from lambdas.process_task.handler import NEEDED_TO_COUNT_MS, Parts
from tests.support.dynamodb import TABLE, FakeDynamoDB, task_store
from tests.support.tasks import NOW, SECOND, Clock, Tokens, a_task, planted

HOUR = NOW - NOW % HOUR_MS

# The figures. ---------------------------------------------------------------------------------------------------------


def test_a_minute_begins_when_it_begins() -> None:
    last = HOUR + MINUTE_MS - 1
    assert [minute_of(at, 1, 0, 0, []).at for at in (HOUR, last, last + 1)] == [HOUR, HOUR, HOUR + MINUTE_MS]


def test_an_age_is_counted_under_the_power_of_two_that_it_lies_below() -> None:
    for ages, histogram in (
        ([], {}),
        ([-5, 0], {0: 2}),
        ([1], {1: 1}),
        ([2, 3], {2: 2}),
        ([4], {3: 1}),
        ([1023, 1024, 2047, 2048], {10: 1, 11: 2, 12: 1}),
        ([365 * 86_400_000], {35: 1}),
    ):
        assert minute_of(HOUR, 0, 0, 0, ages).ages == histogram, ages


def test_a_percentile_is_read_off_between_the_bounds_of_its_power() -> None:
    for ages, part, about in (
        ({}, 0.5, None),
        ({11: 1}, 0.5, 1536),
        ({11: 1}, 1.0, 2048),
        ({11: 4}, 0.25, 1280),
        ({11: 1, 13: 1}, 0.5, 2048),
        ({11: 1, 13: 1}, 0.95, 7782),
        ({13: 1, 11: 19}, 0.95, 2048),
        ({11: 0, 12: 2}, 0.5, 3072),
        ({0: 3}, 0.5, 0),
    ):
        assert Minute(HOUR, ages=ages).age_at(part) == about, ages


@given(st.lists(st.integers(1, 10**8), min_size=1, max_size=60), st.sampled_from([0.5, 0.95]))
def test_a_percentile_is_never_further_off_than_by_a_factor_of_two(ages: list[int], part: float) -> None:
    found = minute_of(HOUR, 0, 0, 0, ages).age_at(part)
    exact = sorted(ages)[max(0, -int(-part * len(ages) // 1) - 1)]
    assert found is not None
    assert exact / 2 <= found <= exact * 2 + 1


def test_a_minute_in_which_nothing_ended_is_empty() -> None:
    assert Minute(HOUR).empty
    assert not any(minute.empty for minute in (Minute(HOUR, completed=1), Minute(HOUR, failed=1), Minute(HOUR, dead=1)))


def test_only_what_was_counted_is_added() -> None:
    assert added(minute_of(HOUR, 2, 0, 1, [5])) == {"completed": 2, "dead": 1, "age03": 1}


def test_an_hour_is_one_partition_and_its_minutes_sort_by_time() -> None:
    ats = [HOUR, HOUR + MINUTE_MS, HOUR + 59 * MINUTE_MS, HOUR + HOUR_MS - 1]
    assert len({partition(at) for at in ats}) == 1
    assert partition(HOUR + HOUR_MS) != partition(HOUR) != partition(HOUR - 1)
    assert [sort(at) for at in ats] == sorted(sort(at) for at in ats)


# In the table. --------------------------------------------------------------------------------------------------------


class Queries:
    """Counts the queries on their way to the table."""

    def __init__(self, client: FakeDynamoDB) -> None:
        self._client, self.count = client, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def query(self, **request: Any) -> Any:
        self.count += 1
        return self._client.query(**request)


def minutes_in(client: object) -> MinuteTable:
    return MinuteTable(cast(Any, client), TABLE)


def test_invocations_add_up_in_their_minute() -> None:
    table = minutes_in(FakeDynamoDB())
    table.add(minute_of(HOUR + 1, 2, 1, 0, [1000, 3000]))
    table.add(minute_of(HOUR + 59 * SECOND, 1, 0, 1, [1001]))
    table.add(minute_of(HOUR + MINUTE_MS, 0, 0, 1, []))
    first = Minute(HOUR, completed=3, failed=1, dead=1, ages={10: 2, 12: 1})
    assert table.since(HOUR, HOUR + MINUTE_MS) == [first, Minute(HOUR + MINUTE_MS, dead=1)]


def test_a_minute_expires_after_two_days_counted_from_itself() -> None:
    client = FakeDynamoDB()
    minutes_in(client).add(minute_of(HOUR + 5, 1, 0, 0, []))
    key = {"PK": {"S": partition(HOUR)}, "SK": {"S": sort(HOUR)}}
    assert client.get_item(TableName=TABLE, Key=key)["Item"]["expiresAt"] == {"N": str(HOUR // 1000 + KEPT_SECONDS)}


def test_the_last_hour_is_read_across_the_border_of_the_hour() -> None:
    for minute in (
        0,
        1,
        30,
        58,
        59,
    ):
        client = Queries(FakeDynamoDB())
        table = minutes_in(client)
        now = HOUR + minute * MINUTE_MS + 17 * SECOND
        begin = HOUR + minute * MINUTE_MS - 59 * MINUTE_MS
        for number in range(-70, minute + 1):
            table.add(minute_of(HOUR + number * MINUTE_MS, 1, 0, 0, []))
        assert [one.at for one in table.since(begin, now)] == [begin + number * MINUTE_MS for number in range(60)], (
            minute
        )
        assert client.count == (1 if minute == 59 else 2), minute


def test_the_minutes_are_in_no_index_and_are_no_tasks() -> None:
    client = FakeDynamoDB()
    minutes_in(client).add(minute_of(HOUR, 1, 0, 0, [1]))
    key = {"PK": {"S": partition(HOUR)}, "SK": {"S": sort(HOUR)}}
    item = client.get_item(TableName=TABLE, Key=key)["Item"]
    assert not {"classShard", "classSort", "parkedSort"} & set(item)
    assert not partition(HOUR).startswith(("T#", "M#"))


# By the worker. -------------------------------------------------------------------------------------------------------


@dataclass
class Context:
    """Of an invocation; `left` is the time that remains, each time somebody asks, and then the last of them."""

    left: list[int] = field(default_factory=lambda: [29_000])

    def get_remaining_time_in_millis(self) -> int:
        return self.left.pop(0) if len(self.left) > 1 else self.left[0]


class Broken:
    """Its updates fail."""

    def __init__(self, error: Exception) -> None:
        self._error, self.calls = error, 0

    def update_item(self, **request: Any) -> Any:
        self.calls += 1
        raise self._error


class Hider:
    """SQS, as far as it is needed to hide what failed."""

    def change_message_visibility(self, **request: Any) -> None:
        pass


class World:
    """The function on a table; what its kind does stands in the payload."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.client = FakeDynamoDB()
        self.store = task_store(self.client)
        self.clock = Clock(NOW + 3 * SECOND)
        self.minutes: Any = self.client
        registry = Registry()

        @registry.kind("simulated", schema={})
        def run(work: Work) -> JsonObject | None:
            match work.payload["do"]:
                case "fail":
                    raise ValueError("it broke")
                case "die":
                    raise PermanentError("never")
            return None

        worker = Worker(
            self.store, registry, Backoff(5, 900, "none"), 86_400, self.clock, Tokens(), cast(Any, None), lambda _: None
        )
        queue, metrics = TaskQueue(cast(Any, Hider()), "queue"), telemetry.metrics("dev", "off")
        patch.setattr(handler, "parts", lambda: Parts(worker, queue, 5, metrics, minutes_in(self.minutes)))
        patch.setattr(aws, "now_ms", self.clock)

    def deliver(self, *whats: str, context: Context | None = None) -> list[str]:
        """The ids of the messages that failed. A task is called after what it does."""
        for number, what in enumerate(whats):
            planted(self.store, a_task(task_id=f"{what}-{number}", payload=json.dumps({"do": what})))
        records = [
            {
                "messageId": f"{what}-{number}",
                "receiptHandle": "handle",
                "body": body_of(Message(f"{what}-{number}", 1)),
                "attributes": {"ApproximateReceiveCount": "1"},
            }
            for number, what in enumerate(whats)
        ]
        response = handler.handle({"Records": records}, context or Context())
        return [failure["itemIdentifier"] for failure in response["batchItemFailures"]]

    def counted(self) -> list[Minute]:
        return minutes_in(self.client).since(NOW - NOW % MINUTE_MS, self.clock())


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_an_invocation_counts_what_completed_what_failed_and_what_died_with_its_age(world: World) -> None:
    assert world.deliver("do", "fail", "do", "die", "fail", "fail") == ["fail-1", "die-3", "fail-4", "fail-5"]
    (minute,) = world.counted()
    assert (minute.completed, minute.failed, minute.dead) == (2, 3, 1)
    assert minute.ages == {12: 3}, "two that completed and one that died, 3 s old"


def test_an_invocation_makes_one_write_and_none_when_nothing_ended(world: World) -> None:
    world.minutes = Broken(ReadTimeoutError(endpoint_url="http://dynamodb"))
    world.deliver("do", "fail", "die")
    assert world.minutes.calls == 1
    # Delivered again it is acknowledged: nothing ends.
    handler.handle({"Records": []}, Context())
    assert world.minutes.calls == 1


TROUBLE = [
    ReadTimeoutError(endpoint_url="http://dynamodb"),
    ConnectTimeoutError(endpoint_url="http://dynamodb"),
    ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow down"}}, "UpdateItem"),
    ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "UpdateItem"),
]


@pytest.mark.parametrize("error", TROUBLE, ids=lambda error: type(error).__name__)
def test_a_count_that_cannot_be_written_costs_the_batch_nothing(error: Exception, world: World) -> None:
    world.minutes = Broken(error)
    assert world.deliver("do", "fail") == ["fail-1"]
    assert world.minutes.calls == 1
    row = world.store.get("do-0")
    assert row is not None
    assert row.status is Status.COMPLETED
    assert world.counted() == []


@pytest.mark.parametrize(("left", "counts"), [(NEEDED_TO_COUNT_MS - 1, 0), (NEEDED_TO_COUNT_MS, 1)])
def test_with_too_little_time_left_nothing_is_counted_and_the_answer_goes_out(
    left: int, counts: int, world: World
) -> None:
    assert world.deliver("do", "fail", context=Context([29_000, left])) == ["fail-1"]
    assert len(world.counted()) == counts


def test_the_time_that_is_kept_is_more_than_one_hasty_write_can_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    config: Any = aws.hasty_dynamodb().meta.config
    assert config.retries["total_max_attempts"] == 1
    assert 1000 * (config.connect_timeout + config.read_timeout) < NEEDED_TO_COUNT_MS
