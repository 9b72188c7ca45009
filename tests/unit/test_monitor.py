"""What becomes of a message in the dead-letter queue."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from lambdas.common import transitions
from lambdas.common.dead_letters import Recorder
from lambdas.common.decisions import UNDELIVERABLE, WORKER_DIED
from lambdas.common.queue import body_of
from lambdas.common.rows import INLINE_PAYLOAD_BYTES, DeadLetter
from lambdas.common.task import (
    SHARDS,
    VERSION,
    IndexClass,
    Message,
    Status,
    Task,
    TimelineEntry,
    UnknownVersion,
    class_shard,
    class_sort,
)
from lambdas.monitor_dlq.monitor import MAX_READS, DeadMessage, Handled, Monitor, StillChanging
from tests.support.dynamodb import TABLE, FakeDynamoDB, task_store
from tests.support.faults import Between, LostAnswer
from tests.support.queue import FakeQueue
from tests.support.tasks import NOW, SECOND, TASK_ID, Clock, Tokens, a_task, dead, planted, processing, waiting

MESSAGE = Message(TASK_ID, 1)
QUEUE_ARN = "arn:aws:sqs:us-east-1:000000000000:tasks"
RETENTION_SECONDS = 30 * 86_400
EXPIRES = NOW // 1000 + RETENTION_SECONDS
LONG = '{"text": "%s"}' % ("x" * INLINE_PAYLOAD_BYTES)


def a_dead_message(body: str = body_of(MESSAGE), message_id: str = "message-1", receives: int = 6) -> DeadMessage:
    return DeadMessage(message_id, body, receives, QUEUE_ARN)


class World:
    def __init__(self) -> None:
        self.client = FakeDynamoDB()
        self.store = task_store(self.client)
        self.queue = FakeQueue()
        self.clock = Clock()
        self.tokens = Tokens()

    def monitor(self, client: object = None) -> Monitor:
        store = task_store(client or self.client)
        recorder = Recorder(store, RETENTION_SECONDS, self.clock, self.tokens)
        return Monitor(store, self.queue, recorder, self.clock, self.tokens)

    def letters(self) -> tuple[DeadLetter, ...]:
        found = self.store.find(TASK_ID, NOW)
        assert found is not None
        return found.dead_letters

    def row(self) -> Task:
        row = self.store.get(TASK_ID)
        assert row is not None
        return row

    def stray(self, message_id: str) -> Any:
        key = {"PK": {"S": f"M#{message_id}"}, "SK": {"S": "D#000000"}}
        return self.client.get_item(TableName=TABLE, Key=key).get("Item")


@pytest.fixture
def world() -> World:
    return World()


# The dead. ------------------------------------------------------------------------------------------------------------


def test_a_dead_task_is_recorded_and_moved_to_the_recorded(world: World) -> None:
    begun = (TimelineEntry(NOW - 9, "SUBMITTED", 1), TimelineEntry(NOW - 8, "PROCESSING", 1))
    task = planted(world.store, dead(updated_at=NOW - SECOND, timeline=begun))
    handled = world.monitor().handle(a_dead_message())
    assert handled == Handled("task dead", task)
    letter = DeadLetter(
        task_id=TASK_ID,
        generation=1,
        kind="simulated",
        error="Oops: it failed",
        attempts=3,
        receives=6,
        message_id="message-1",
        source_queue_arn=QUEUE_ARN,
        dead_at=NOW - SECOND,
        recorded_at=NOW,
        expires_at_seconds=EXPIRES,
        first_at=NOW - 8,
    )
    assert world.letters() == (letter,)
    assert world.row() == replace(task, index_class=IndexClass.RECORDED, expires_at_seconds=EXPIRES, token="token-1")
    assert world.queue.sent == []


def test_a_message_that_comes_twice_leaves_one_record(world: World) -> None:
    planted(world.store, dead())
    world.monitor().handle(a_dead_message())
    first, row = world.letters(), world.row()
    world.clock.advance(60 * SECOND)
    assert world.monitor().handle(a_dead_message(message_id="message-2")).event == "recorded before"
    assert (world.letters(), world.row()) == (first, row)


def test_a_monitor_that_dies_between_record_and_move_is_healed_by_the_next_delivery(world: World) -> None:
    planted(world.store, dead())
    with pytest.raises(ReadTimeoutError):
        world.monitor(LostAnswer(world.client, "put_item", repeats=False)).handle(a_dead_message())
    assert world.row().index_class is IndexClass.DEAD
    world.monitor().handle(a_dead_message())
    assert (world.row().index_class, len(world.letters())) == (IndexClass.RECORDED, 1)


def test_a_move_that_the_sdk_repeats_is_one_dead_task(world: World) -> None:
    planted(world.store, dead())
    assert world.monitor(LostAnswer(world.client, "update_item", repeats=True)).handle(a_dead_message()) == Handled(
        "task dead", dead()
    )
    assert (world.row().index_class, len(world.letters())) == (IndexClass.RECORDED, 1)


def test_a_recorder_that_comes_late_does_not_let_the_payload_of_a_replayed_task_expire(world: World) -> None:
    world.store.create(dead(), LONG, NOW)
    task = world.row()

    def record_and_replay() -> None:
        world.monitor().handle(a_dead_message())
        recorded = world.row()
        assert world.store.replay(recorded, transitions.replay(recorded, NOW, "replay"), "replay") is None

    racing = Between(world.client, "transact_write_items", record_and_replay)
    assert world.monitor(racing).handle(a_dead_message()) == Handled("recorded before", task)
    assert (world.row().status, world.row().generation) == (Status.SUBMITTED, 2)
    item = world.client.get_item(TableName=TABLE, Key={"PK": {"S": f"T#{TASK_ID}"}, "SK": {"S": "P"}})["Item"]
    assert "expiresAt" not in item


def test_the_long_payload_of_a_dead_task_expires_with_it(world: World) -> None:
    world.store.create(dead(), LONG, NOW)
    world.monitor().handle(a_dead_message())
    item = world.client.get_item(TableName=TABLE, Key={"PK": {"S": f"T#{TASK_ID}"}, "SK": {"S": "P"}})["Item"]
    assert item["expiresAt"] == {"N": str(EXPIRES)}


def test_each_generation_leaves_a_record_of_its_own(world: World) -> None:
    planted(world.store, dead(generation=2))
    world.store.record(replace(_letter(), generation=1), NOW)
    world.monitor().handle(a_dead_message(body_of(Message(TASK_ID, 2))))
    assert [letter.generation for letter in world.letters()] == [1, 2]


def test_a_task_whose_last_worker_died_is_declared_dead_and_recorded(world: World) -> None:
    planted(world.store, processing(attempts=3, lease_until=NOW - 1))
    assert world.monitor().handle(a_dead_message()).event == "task dead"
    assert (world.row().status, world.row().index_class) == (Status.FAILED_FINAL, IndexClass.RECORDED)
    assert [letter.error for letter in world.letters()] == [WORKER_DIED]


# Still in hand, or past. ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (processing(), "still in hand: lease, backoff or park"),
        (waiting(), "still in hand: lease, backoff or park"),
        (waiting(index_class=IndexClass.PARKED), "still in hand: lease, backoff or park"),
        (a_task(status=Status.COMPLETED, index_class=IndexClass.COMPLETED), "already COMPLETED"),
        (a_task(status=Status.CANCELLED, index_class=IndexClass.CANCELLED), "already CANCELLED"),
        (a_task(generation=2), "older generation"),
        (dead(generation=2), "older generation"),
    ],
    ids=["live lease", "backoff", "parked", "completed", "cancelled", "older generation", "older generation, dead"],
)
def test_a_message_that_the_task_does_not_need_is_dropped_and_changes_nothing(
    row: Task, reason: str, world: World
) -> None:
    planted(world.store, row)
    assert world.monitor().handle(a_dead_message()) == Handled(f"dropped: {reason}", row)
    assert (world.row(), world.letters(), world.queue.sent) == (row, (), [])


# Attempts left. -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row", [a_task(), waiting(next_attempt_at=NOW), processing(lease_until=NOW - 1)], ids=["new", "due", "worker died"]
)
def test_a_task_with_attempts_left_is_handed_back(row: Task, world: World) -> None:
    planted(world.store, row)
    handled = world.monitor().handle(a_dead_message())
    assert handled == Handled("handed back", world.row())
    assert (world.row().handed_back, world.row().message_id) == (frozenset({"message-1"}), None)
    assert (world.row().status, world.row().attempts) == (row.status, row.attempts)
    assert world.queue.sent == [(MESSAGE, 0)]


def test_a_message_handed_back_whose_deletion_is_lost_is_sent_again_and_not_counted(world: World) -> None:
    planted(world.store, a_task())
    for _ in range(5):
        world.monitor().handle(a_dead_message())
        world.clock.advance(SECOND)
    assert world.row().handed_back == frozenset({"message-1"})
    assert world.queue.sent == [(MESSAGE, 0)] * 5


def test_a_task_that_is_given_up_by_one_message_after_the_other_is_undeliverable_in_the_end(world: World) -> None:
    planted(world.store, a_task())
    events = []
    for number in range(4):
        events.append(world.monitor().handle(a_dead_message(message_id=f"message-{number}")).event)
        world.clock.advance(SECOND)
    assert events == ["handed back"] * 3 + ["task dead"]
    assert [letter.error for letter in world.letters()] == [UNDELIVERABLE]
    assert len(world.queue.sent) == 3


def test_a_hand_back_that_cannot_be_sent_is_tried_again_with_the_next_delivery(world: World) -> None:
    planted(world.store, a_task())
    world.queue.failure = ConnectionError()
    with pytest.raises(ConnectionError):
        world.monitor().handle(a_dead_message())
    world.queue.failure = None
    assert world.monitor().handle(a_dead_message()).event == "handed back"
    assert world.queue.sent == [(MESSAGE, 0)]


@pytest.mark.parametrize(
    ("body", "task_id"),
    [(body_of(MESSAGE), TASK_ID), ("no JSON", None), ("{}", None), ('{"v": 99, "taskId": "t", "generation": 1}', None)],
)
def test_a_dead_message_names_the_task_that_its_body_can_be_read_to_name(body: str, task_id: str | None) -> None:
    assert a_dead_message(body).task_id == task_id


# Races. ---------------------------------------------------------------------------------------------------------------


def test_a_task_that_is_claimed_while_it_is_handed_back_is_read_again_and_left_alone(world: World) -> None:
    planted(world.store, a_task())
    claim = transitions.Write(
        "claim elsewhere",
        TASK_ID,
        conditions={"there": "attribute_exists(#PK)"},
        set={"status": ":processing", "leaseUntil": ":until", "token": ":token"},
        values={":processing": "PROCESSING", ":until": NOW + 30 * SECOND, ":token": "worker"},
    )
    racing = Between(world.client, "update_item", lambda: world.store.apply(claim))
    handled = world.monitor(racing).handle(a_dead_message())
    assert handled == Handled("dropped: still in hand: lease, backoff or park", world.row())
    assert (world.row().status, world.row().handed_back, world.queue.sent) == (Status.PROCESSING, frozenset(), [])


def test_a_task_that_comes_back_to_life_while_it_is_buried_is_not_buried(world: World) -> None:
    row = planted(world.store, processing(attempts=3, lease_until=NOW - 1))
    finish = transitions.complete(row, NOW, None, EXPIRES)
    racing = Between(world.client, "update_item", lambda: world.store.apply(finish))
    assert world.monitor(racing).handle(a_dead_message()).event == "dropped: already COMPLETED"
    assert world.letters() == ()


def test_a_task_that_changes_under_every_decision_is_left_for_the_next_delivery(world: World) -> None:
    planted(world.store, a_task())
    client = _Restless(world)
    with pytest.raises(StillChanging, match=str(MAX_READS)):
        world.monitor(client).handle(a_dead_message())
    assert (client.updates, world.queue.sent) == (MAX_READS, [])


class _Restless:
    """Somebody else writes right before every update."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.updates = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world.client, name)

    def update_item(self, **request: Any) -> Any:
        self.updates += 1
        self._world.store.apply(
            transitions.Write(
                "touch",
                TASK_ID,
                conditions={"there": "attribute_exists(#PK)"},
                set={"token": ":token"},
                values={":token": f"other-{self.updates}"},
            )
        )
        return self._world.client.update_item(**request)


# Strays. --------------------------------------------------------------------------------------------------------------

STRAYS = {
    "no JSON": ("{", "unreadable"),
    "an array": ("[]", "unreadable"),
    "a foreign object": ('{"hello": "world"}', "unreadable"),
    "nested absurdly": ("[" * 100_000, "unreadable"),
    "no such task": (body_of(Message("nobody", 1)), "no such task"),
    "an id longer than a key": (body_of(Message("x" * 3000, 1)), "unreadable"),
    "an id that is half a character": (json.dumps({"v": 1, "taskId": "\ud800", "generation": 1}), "unreadable"),
    "a huge generation": (body_of(Message(TASK_ID, 10**99)), "newer generation than the row"),
    "a newer generation": (body_of(Message(TASK_ID, 9)), "newer generation than the row"),
}


@pytest.mark.parametrize(("body", "reason"), STRAYS.values(), ids=STRAYS)
def test_a_stray_message_is_kept_by_its_own_id_and_touches_no_task(body: str, reason: str, world: World) -> None:
    task = planted(world.store, a_task())
    for _ in range(2):
        assert world.monitor().handle(a_dead_message(body)) == Handled(f"stray: {reason}", None)
        world.clock.advance(SECOND)
    kept = world.stray("message-1")
    assert (kept["reason"], kept["receives"]) == ({"S": reason}, {"N": "6"})
    assert kept["body"] == {"S": body[:1024]}
    assert (kept["recordedAt"], kept["expiresAt"]) == ({"N": str(NOW)}, {"N": str(EXPIRES)})
    assert (kept["classShard"], kept["classSort"]) == (
        {"S": class_shard(IndexClass.STRAY, "message-1")},
        {"S": class_sort(NOW, "message-1")},
    )
    assert kept["sourceQueueArn"] == {"S": QUEUE_ARN}
    assert (world.row(), world.letters(), world.queue.sent) == (task, (), [])


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ("x" * 1024, "x" * 1024),
        ("x" * 1025, "x" * 1024),
        ("ä" * 512, "ä" * 512),
        ("xä" + "ä" * 600, "x" + "ä" * 511),
        ("\N{SNOWMAN}" * 342, "\N{SNOWMAN}" * 341),
        ("xx\U0001f600" + "\U0001f600" * 300, "xx" + "\U0001f600" * 255),
        ("\ud800", "?"),
    ],
    ids=[
        "just fits",
        "a byte over",
        "two bytes each",
        "half a character",
        "three bytes each",
        "four bytes each",
        "half",
    ],
)
def test_of_a_stray_1024_bytes_are_kept_in_whole_characters(body: str, kept: str, world: World) -> None:
    world.monitor().handle(a_dead_message(body))
    assert world.stray("message-1")["body"] == {"S": kept}
    assert len(kept.encode()) <= 1024


def test_no_reader_of_tasks_meets_a_stray(world: World) -> None:
    world.monitor().handle(a_dead_message("{"))
    shards = {shard: world.store.page(IndexClass.STRAY, shard, 10).tasks for shard in range(SHARDS)}
    assert shards == dict.fromkeys(range(SHARDS), ())
    assert [world.store.youngest(IndexClass.STRAY, shard) for shard in range(SHARDS)] == [None] * SHARDS


def test_a_message_of_a_newer_version_is_neither_recorded_nor_dropped(world: World) -> None:
    task = planted(world.store, dead())
    with pytest.raises(UnknownVersion):
        world.monitor().handle(a_dead_message(json.dumps({"v": 2, "taskId": TASK_ID, "generation": 1})))
    assert (world.row(), world.letters(), world.stray("message-1")) == (task, (), None)


def _letter() -> DeadLetter:
    return DeadLetter(TASK_ID, 1, "simulated", "Oops", 3, 4, "message-0", None, NOW, NOW, EXPIRES)


def test_a_row_of_a_newer_version_is_left_to_its_own_deployment(world: World) -> None:
    row = planted(world.store, dead(version=VERSION + 1))
    with pytest.raises(UnknownVersion):
        world.monitor().handle(a_dead_message())
    assert (world.row(), world.letters(), world.queue.sent) == (row, (), [])
