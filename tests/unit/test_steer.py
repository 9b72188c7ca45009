"""Cancelling a task and replaying a dead one, with everything that can come in between."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from lambdas.common import transitions
from lambdas.common.dead_letters import Recorder
from lambdas.common.decisions import Answer
from lambdas.common.effects import Busy, Effects, update
from lambdas.common.kinds import JsonObject, Registry, Work
from lambdas.common.retry import Backoff, PermanentError
from lambdas.common.rows import INLINE_PAYLOAD_BYTES
from lambdas.common.store import TaskStore
from lambdas.common.task import (
    MAX_HISTORY,
    VERSION,
    Claim,
    IndexClass,
    Message,
    Status,
    Task,
    TimelineEntry,
    UnknownVersion,
    recent,
)
from lambdas.process_task.attempt import Delivery, Outcome, Worker
from lambdas.steer_tasks.steer import MAX_READS, Steered, Steering, StillChanging
from lambdas.sweep_tasks.sweep import Sweeper
from tests.support.dynamodb import TABLE, FakeDynamoDB, task_store
from tests.support.faults import Between, LostAnswer
from tests.support.queue import FakeQueue
from tests.support.tasks import NOW, SECOND, TASK_ID, Clock, Tokens, a_task, dead, planted, processing, waiting

RETENTION_SECONDS = 30 * 86_400
EXPIRES = NOW // 1000 + RETENTION_SECONDS
LONG = '{"text": "%s"}' % ("x" * INLINE_PAYLOAD_BYTES)
DELIVERY = Delivery(Message(TASK_ID, 1), "message-1", 1)
ACCOUNTS, ANN = "dev-accounts", {"account": {"S": "ann"}}


def recorded(**changes: Any) -> Task:
    """Dead for good, its letter written."""
    fields: dict[str, Any] = {"index_class": IndexClass.RECORDED, "expires_at_seconds": EXPIRES, "token": "monitor"}
    return dead(**{**fields, **changes})


def ended(status: Status, index_class: IndexClass, **changes: Any) -> Task:
    return a_task(status=status, index_class=index_class, expires_at_seconds=EXPIRES, **changes)


COMPLETED = ended(Status.COMPLETED, IndexClass.COMPLETED)
CANCELLED = ended(Status.CANCELLED, IndexClass.CANCELLED)
EXPIRED = replace(recorded(), expires_at_seconds=NOW // 1000 - 1)


class World:
    def __init__(self) -> None:
        self.client = FakeDynamoDB(TABLE, {ACCOUNTS: ("account",)})
        self.store = TaskStore(self.client, TABLE, "dev-")  # type: ignore[arg-type]  # a fake client
        self.queue = FakeQueue()
        self.clock = Clock()
        self.tokens = Tokens()

    def steering(self, client: object = None) -> Steering:
        return Steering(task_store(client or self.client), self.queue, RETENTION_SECONDS, self.clock, self.tokens)

    def row(self) -> Task:
        row = self.store.get(TASK_ID)
        assert row is not None
        return row

    def claim(self) -> None:
        wish = Claim(Message(TASK_ID, 1), "message-1", "worker", NOW, NOW + 30 * SECOND)
        assert isinstance(self.store.apply(transitions.claim(wish)), Task)

    def plant_long(self, task: Task) -> None:
        """With a payload in an item of its own, which expires when the row does."""
        stored = self.store.create(task, LONG, NOW)
        assert isinstance(stored, Task)
        if task.expires_at_seconds is not None:
            self.store.expire_payload(stored, task.expires_at_seconds)

    def payload_expiry(self) -> Any:
        key = {"PK": {"S": f"T#{TASK_ID}"}, "SK": {"S": "P"}}
        return self.client.get_item(TableName=TABLE, Key=key)["Item"].get("expiresAt")

    def deliver(self, run: Callable[[Work], JsonObject | Effects | None], delivery: Delivery = DELIVERY) -> Outcome:
        registry = Registry()
        registry.kind("simulated", schema={}, tables=("accounts",))(run)
        backoff, rng = Backoff(5, 900, "none"), random.Random(1)
        worker = Worker(
            self.store, registry, backoff, RETENTION_SECONDS, self.clock, self.tokens, rng, lambda seconds: None
        )
        return worker.deliver(delivery, self.clock() + 25 * SECOND)


@pytest.fixture
def world() -> World:
    return World()


# What can be cancelled. -----------------------------------------------------------------------------------------------

OPEN = {
    "submitted": a_task(),
    "delayed": a_task(next_attempt_at=NOW + 60 * SECOND),
    "parked": a_task(index_class=IndexClass.PARKED, next_attempt_at=NOW + 3600 * SECOND),
    "running": processing(),
    "left by a dead worker": processing(lease_until=NOW - 1),
    "waiting for its next attempt": waiting(),
    "failed and parked": waiting(index_class=IndexClass.PARKED, message_id=None),
}


@pytest.mark.parametrize("task", OPEN.values(), ids=OPEN)
def test_every_open_task_can_be_cancelled_and_then_holds_nothing_that_brings_it_back(task: Task, world: World) -> None:
    planted(world.store, task)
    steered = world.steering().cancel(TASK_ID)
    assert steered == Steered(Answer.GO, world.row())
    expected = replace(
        task,
        status=Status.CANCELLED,
        index_class=IndexClass.CANCELLED,
        token="token-1",
        expires_at_seconds=EXPIRES,
        lease_until=None,
        next_attempt_at=None,
        message_id=None,
        timeline=(*task.timeline, TimelineEntry(NOW, "CANCELLED", 1)),
    )
    assert (world.row(), world.queue.sent) == (expected, [])


NOT_CANCELLED = {
    "none": (None, Answer.NO_SUCH_TASK),
    "expired": (EXPIRED, Answer.NO_SUCH_TASK),
    "cancelled": (CANCELLED, Answer.DONE_BEFORE),
    "completed": (COMPLETED, Answer.ENDED),
    "dead": (dead(), Answer.ENDED),
    "dead and recorded": (recorded(), Answer.ENDED),
}


@pytest.mark.parametrize(("row", "answer"), NOT_CANCELLED.values(), ids=NOT_CANCELLED)
def test_a_task_that_has_ended_is_not_cancelled_and_stays_as_it_is(
    row: Task | None, answer: Answer, world: World
) -> None:
    if row is not None:
        planted(world.store, row)
    assert world.steering().cancel(TASK_ID) == Steered(answer, row)
    assert world.store.get(TASK_ID) == row


@pytest.mark.parametrize("steer", [Steering.cancel, Steering.replay])
def test_a_row_of_a_newer_version_is_left_to_its_own_deployment(
    steer: Callable[[Steering, str], Steered], world: World
) -> None:
    row = planted(world.store, recorded(version=VERSION + 1))
    with pytest.raises(UnknownVersion):
        steer(world.steering(), TASK_ID)
    assert (world.row(), world.queue.sent) == (row, [])


def test_the_long_payload_of_a_cancelled_task_expires_with_it(world: World) -> None:
    world.plant_long(a_task())
    assert world.steering().cancel(TASK_ID).answer is Answer.GO
    assert world.payload_expiry() == {"N": str(EXPIRES)}


# What can be replayed. ------------------------------------------------------------------------------------------------


def test_a_replay_begins_a_new_generation_with_everything_anew_and_the_history_kept(world: World) -> None:
    history = (TimelineEntry(NOW - 2, "SUBMITTED", 1), TimelineEntry(NOW - 1, "FAILED_FINAL", 1, "Oops: it failed"))
    task = recorded(
        sends=4,
        handed_back=frozenset({"message-7", "message-8", "message-9"}),
        next_attempt_at=NOW - 5,
        lease_until=NOW - 5,
        sent_at=NOW - 9,
        timeline=history,
    )
    planted(world.store, task)
    steered = world.steering().replay(TASK_ID)
    assert steered == Steered(Answer.GO, world.row())
    assert world.row() == a_task(generation=2, token="token-1", timeline=(*history, TimelineEntry(NOW, "SUBMITTED", 2)))
    assert world.queue.sent == [(Message(TASK_ID, 2), 0)]


def test_the_long_payload_of_a_replayed_task_no_longer_expires(world: World) -> None:
    world.plant_long(recorded())
    assert world.payload_expiry() == {"N": str(EXPIRES)}
    assert world.steering().replay(TASK_ID).answer is Answer.GO
    assert (world.row().generation, world.payload_expiry()) == (2, None)
    assert world.store.payload(world.row()) == LONG


NOT_REPLAYED = {
    "none": (None, None, Answer.NO_SUCH_TASK),
    "expired": (EXPIRED, None, Answer.NO_SUCH_TASK),
    "submitted": (a_task(), None, Answer.OPEN),
    "running": (processing(), None, Answer.OPEN),
    "waiting": (waiting(), 1, Answer.OPEN),
    "parked": (a_task(index_class=IndexClass.PARKED, next_attempt_at=NOW + 1), None, Answer.OPEN),
    "completed": (COMPLETED, None, Answer.ENDED),
    "cancelled": (CANCELLED, 1, Answer.ENDED),
    "not recorded": (dead(), None, Answer.UNRECORDED),
    "not recorded, seen dead": (dead(), 1, Answer.UNRECORDED),
    "replayed and open": (a_task(generation=2), 1, Answer.DONE_BEFORE),
    "replayed and completed": (replace(COMPLETED, generation=2), 1, Answer.DONE_BEFORE),
    "replayed and dead again": (recorded(generation=2), 1, Answer.DONE_BEFORE),
    "a generation that never was": (recorded(), 2, Answer.ENDED),
}


@pytest.mark.parametrize(("row", "generation", "answer"), NOT_REPLAYED.values(), ids=NOT_REPLAYED)
def test_a_task_that_is_not_dead_and_recorded_is_not_replayed(
    row: Task | None, generation: int | None, answer: Answer, world: World
) -> None:
    if row is not None:
        planted(world.store, row)
    assert world.steering().replay(TASK_ID, generation) == Steered(answer, row)
    assert (world.store.get(TASK_ID), world.queue.sent) == (row, [])


def test_a_replay_that_names_its_generation_is_done_once_however_often_it_is_asked_for(world: World) -> None:
    planted(world.store, recorded())
    answers = [world.steering().replay(TASK_ID, 1).answer for _ in range(3)]
    assert answers == [Answer.GO, Answer.DONE_BEFORE, Answer.DONE_BEFORE]
    assert (world.row().generation, world.queue.sent) == (2, [(Message(TASK_ID, 2), 0)])


def test_a_replayed_task_has_all_its_attempts_again(world: World) -> None:
    planted(world.store, recorded())
    world.steering().replay(TASK_ID)

    def fail(work: Work) -> None:
        raise ValueError(f"attempt {work.attempt} of generation {work.generation}")

    events = []
    while world.row().status is not Status.FAILED_FINAL:
        events.append(world.deliver(fail, replace(DELIVERY, message=Message(TASK_ID, 2))).event)
        world.clock.advance(900 * SECOND)
    assert events == ["task failed", "task failed", "task dead"]
    assert world.row().error == "ValueError: attempt 3 of generation 2"


def test_messages_of_the_generation_before_are_let_go(world: World) -> None:
    planted(world.store, recorded())
    world.steering().replay(TASK_ID)
    row = world.row()
    assert world.deliver(lambda work: {}).event == "acknowledged: older generation"
    assert world.row() == row


def test_a_replay_whose_message_cannot_be_sent_is_healed_by_the_sweeper(world: World) -> None:
    planted(world.store, recorded())
    world.queue.failure = ConnectionError()
    with pytest.raises(ConnectionError):
        world.steering().replay(TASK_ID)
    assert (world.row().status, world.row().generation) == (Status.SUBMITTED, 2)
    world.queue.failure = None
    recorder = Recorder(world.store, RETENTION_SECONDS, world.clock, world.tokens)
    complaints: list[object] = []
    sweeper = Sweeper(
        world.store,
        world.queue,
        recorder,
        lambda: False,
        900 * SECOND,
        world.clock,
        lambda task, error: complaints.append(error),
    )
    assert sweeper.sweep(lambda: True).resent == 0
    world.clock.advance(900 * SECOND + 1)
    assert sweeper.sweep(lambda: True).resent == 1
    assert (world.queue.sent, complaints) == ([(Message(TASK_ID, 2), 0)], [])


# Races. ---------------------------------------------------------------------------------------------------------------


def test_a_task_that_is_claimed_while_it_is_cancelled_is_read_again_and_cancelled(world: World) -> None:
    planted(world.store, a_task())
    racing = Between(world.client, "update_item", world.claim)
    assert world.steering(racing).cancel(TASK_ID).answer is Answer.GO
    assert (world.row().status, world.row().attempts) == (Status.CANCELLED, 1)
    assert [entry.status for entry in world.row().timeline] == ["SUBMITTED", "PROCESSING", "CANCELLED"]


def test_a_task_that_completes_while_it_is_cancelled_stays_completed(world: World) -> None:
    task = planted(world.store, processing())
    complete = transitions.complete(task, NOW, "{}", EXPIRES)
    racing = Between(world.client, "update_item", lambda: world.store.apply(complete))
    assert world.steering(racing).cancel(TASK_ID) == Steered(Answer.ENDED, world.row())
    assert world.row().status is Status.COMPLETED


@pytest.mark.parametrize(("generation", "answer"), [(1, Answer.DONE_BEFORE), (None, Answer.OPEN)])
@pytest.mark.parametrize("long", [False, True], ids=["short payload", "long payload"])
def test_of_two_replays_at_the_same_time_one_is_done(
    generation: int | None, answer: Answer, long: bool, world: World
) -> None:
    if long:
        world.plant_long(recorded())
    else:
        planted(world.store, recorded())
    operation = "transact_write_items" if long else "update_item"
    racing = Between(world.client, operation, lambda: world.steering().replay(TASK_ID))
    assert world.steering(racing).replay(TASK_ID, generation).answer is answer
    assert (world.row().generation, world.queue.sent) == (2, [(Message(TASK_ID, 2), 0)])


class _Restless:
    """Somebody else writes right before every update."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.updates = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world.client, name)

    def update_item(self, **request: Any) -> Any:
        self.updates += 1
        touch = transitions.Write(
            "touch",
            TASK_ID,
            conditions={"there": "attribute_exists(#PK)"},
            set={"token": ":token", "generation": "#generation + :one"},
            values={":token": f"other-{self.updates}", ":one": 1},
        )
        self._world.store.apply(touch)
        return self._world.client.update_item(**request)


@pytest.mark.parametrize("steer", [Steering.cancel, Steering.replay])
def test_a_task_that_changes_under_every_decision_is_given_up_with_nothing_done(
    steer: Callable[[Steering, str], Steered], world: World
) -> None:
    planted(world.store, a_task() if steer is Steering.cancel else recorded())
    client = _Restless(world)
    with pytest.raises(StillChanging, match=str(MAX_READS)):
        steer(world.steering(client), TASK_ID)
    assert (client.updates, world.queue.sent) == (MAX_READS, [])


class _Conflicting:
    def __init__(self, client: FakeDynamoDB) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def transact_write_items(self, **request: Any) -> Any:
        reasons = [{"Code": "TransactionConflict"}, {"Code": "None"}]
        error: Any = {"Error": {"Code": "TransactionCanceledException", "Message": ""}, "CancellationReasons": reasons}
        raise ClientError(error, "TransactWriteItems")


@pytest.mark.parametrize("steer", [Steering.cancel, Steering.replay])
def test_a_transaction_that_meets_another_is_busy_with_nothing_done(
    steer: Callable[[Steering, str], Steered], world: World
) -> None:
    world.plant_long(a_task() if steer is Steering.cancel else recorded())
    row = world.row()
    with pytest.raises(Busy):
        steer(world.steering(_Conflicting(world.client)), TASK_ID)
    assert (world.row(), world.queue.sent) == (row, [])


# Lost answers. --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("long", [False, True], ids=["short payload", "long payload"])
def test_a_cancellation_that_the_sdk_repeats_is_done_once(long: bool, world: World) -> None:
    world.plant_long(a_task()) if long else planted(world.store, a_task())
    lossy = LostAnswer(world.client, "transact_write_items" if long else "update_item", repeats=True)
    assert world.steering(lossy).cancel(TASK_ID) == Steered(Answer.GO, world.row())
    assert [entry.status for entry in world.row().timeline] == ["SUBMITTED", "CANCELLED"]


@pytest.mark.parametrize("long", [False, True], ids=["short payload", "long payload"])
def test_a_cancellation_whose_answer_is_lost_was_done_before_when_it_is_asked_for_again(
    long: bool, world: World
) -> None:
    world.plant_long(a_task()) if long else planted(world.store, a_task())
    lossy = LostAnswer(world.client, "transact_write_items" if long else "update_item", repeats=False)
    with pytest.raises(ReadTimeoutError):
        world.steering(lossy).cancel(TASK_ID)
    assert world.steering().cancel(TASK_ID) == Steered(Answer.DONE_BEFORE, world.row())
    assert [entry.status for entry in world.row().timeline] == ["SUBMITTED", "CANCELLED"]
    if long:
        assert world.payload_expiry() == {"N": str(EXPIRES)}


@pytest.mark.parametrize("long", [False, True], ids=["short payload", "long payload"])
def test_a_replay_that_the_sdk_repeats_is_done_once(long: bool, world: World) -> None:
    world.plant_long(recorded()) if long else planted(world.store, recorded())
    lossy = LostAnswer(world.client, "transact_write_items" if long else "update_item", repeats=True)
    assert world.steering(lossy).replay(TASK_ID) == Steered(Answer.GO, world.row())
    assert (world.row().generation, world.queue.sent) == (2, [(Message(TASK_ID, 2), 0)])


@pytest.mark.parametrize("long", [False, True], ids=["short payload", "long payload"])
def test_a_replay_whose_answer_is_lost_was_done_before_when_it_is_asked_for_again(long: bool, world: World) -> None:
    world.plant_long(recorded()) if long else planted(world.store, recorded())
    lossy = LostAnswer(world.client, "transact_write_items" if long else "update_item", repeats=False)
    with pytest.raises(ReadTimeoutError):
        world.steering(lossy).replay(TASK_ID, 1)
    assert world.steering().replay(TASK_ID, 1) == Steered(Answer.DONE_BEFORE, world.row())
    assert world.row().generation == 2


# A worker at it. ------------------------------------------------------------------------------------------------------


def _deposit(work: Work) -> Effects:
    return Effects([update("accounts", {"account": "ann"}, "ADD balance :n", values={":n": 5})])


def _well(work: Work) -> JsonObject:
    return {}


def _failing(work: Work) -> JsonObject:
    raise ValueError("it broke")


def _failing_for_good(work: Work) -> JsonObject:
    raise PermanentError("never")


@pytest.mark.parametrize("ends", [_deposit, _well, _failing, _failing_for_good])
def test_a_worker_whose_task_is_cancelled_has_its_end_refused_and_its_effects_not_applied(
    ends: Callable[[Work], JsonObject | Effects], world: World
) -> None:
    planted(world.store, a_task())

    def run(work: Work) -> JsonObject | Effects:
        assert world.steering().cancel(TASK_ID).answer is Answer.GO
        return ends(work)

    outcome = world.deliver(run)
    assert (outcome.event, outcome.acknowledge) == ("stale worker: the task has gone on without it", False)
    assert (world.row().status, world.row().result, world.row().error) == (Status.CANCELLED, None, None)
    assert world.client.get_item(TableName=ACCOUNTS, Key=ANN) == {}
    assert world.deliver(ends).event == "acknowledged: already CANCELLED"


def test_the_same_effects_are_applied_when_nobody_cancels(world: World) -> None:
    planted(world.store, a_task())
    assert world.deliver(_deposit).event == "task completed"
    assert world.client.get_item(TableName=ACCOUNTS, Key=ANN)["Item"]["balance"] == {"N": "5"}


# History. -------------------------------------------------------------------------------------------------------------


def _history(*lengths: int) -> list[TimelineEntry]:
    """So many entries of generation 1, 2, …"""
    return [TimelineEntry(NOW, "PROCESSING", number) for number, count in enumerate(lengths, 1) for _ in range(count)]


@pytest.mark.parametrize(
    ("lengths", "kept"),
    [
        ((), ()),
        ((MAX_HISTORY,), (1,)),
        ((MAX_HISTORY + 1,), ()),
        ((1, MAX_HISTORY), (2,)),
        ((1, MAX_HISTORY - 1), (1, 2)),
        ((7,) * 10, (2, 3, 4, 5, 6, 7, 8, 9, 10)),
        ((2, MAX_HISTORY - 1), (2,)),
        ((30, 1, 40), (2, 3)),
    ],
)
def test_of_a_long_history_whole_generations_are_kept_the_latest_ones(
    lengths: tuple[int, ...], kept: tuple[int, ...]
) -> None:
    entries = _history(*lengths)
    left = list(recent(entries))
    assert left == [entry for entry in entries if entry.generation in kept]
    assert len(left) <= MAX_HISTORY


def test_a_task_replayed_again_and_again_keeps_a_row_of_bounded_size(world: World) -> None:
    planted(world.store, recorded(timeline=tuple(_history(7))))
    for generation in range(1, 40):
        steered = world.steering().replay(TASK_ID, generation)
        assert steered.answer is Answer.GO
        row = world.row()
        buried = transitions.bury(row, NOW, "Oops: it failed", world.tokens())
        died = world.store.apply(buried)
        assert isinstance(died, Task)
        world.store.apply(transitions.mark_recorded(died, EXPIRES, world.tokens()))
    assert (world.row().generation, len(world.row().timeline)) == (40, MAX_HISTORY + 2)
