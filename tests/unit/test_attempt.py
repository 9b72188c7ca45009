"""One delivery of one message, with everything that can go wrong on the way."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from botocore.exceptions import ReadTimeoutError

from lambdas.common import transitions
from lambdas.common.decisions import UNDELIVERABLE, WORKER_DIED
from lambdas.common.kinds import JsonObject, Registry, Work
from lambdas.common.retry import Backoff, PermanentError, RetryAfter
from lambdas.common.rows import INLINE_PAYLOAD_BYTES
from lambdas.common.store import Refused
from lambdas.common.task import Claim, IndexClass, Message, Status, Task
from lambdas.process_task.attempt import LEASE_MARGIN_MS, MAX_ERROR_CHARACTERS, Delivery, Outcome, Worker
from tests.support.dynamodb import TABLE, FakeDynamoDB, task_store
from tests.support.faults import Between, LostAnswer
from tests.support.tasks import NOW, SECOND, TASK_ID, Clock, Tokens, a_task, dead, planted, processing, waiting

DELIVERY = Delivery(Message(TASK_ID, 1), "message-1", 1)
COPY = Delivery(Message(TASK_ID, 1), "message-2", 1)
DEADLINE = NOW + 25 * SECOND
RETENTION_SECONDS = 30 * 86_400
LONG = '{"text": "%s"}' % ("x" * INLINE_PAYLOAD_BYTES)

Run = Callable[[Work], JsonObject | None]


def well(work: Work) -> JsonObject:
    return {"attempt": work.attempt}


def failing(error: Exception) -> Run:
    def run(work: Work) -> JsonObject | None:
        raise error

    return run


class World:
    """A table, a clock, and a worker for one kind of work."""

    def __init__(self, run: Run = well, backoff: Backoff | None = None) -> None:
        self.client = FakeDynamoDB()
        self.store = task_store(self.client)
        self.clock = Clock()
        self.runs = 0
        self._run = run
        self._backoff = backoff or Backoff(5, 900, "none")
        self._tokens = Tokens()

    def worker(self, client: object = None, run: Run | None = None) -> Worker:
        """One that sees the table through `client`."""
        registry, work = Registry(), run or self._run

        @registry.kind("simulated", schema={})
        def counted(task: Work) -> JsonObject | None:
            self.runs += 1
            return work(task)

        store = task_store(client or self.client)
        rng = random.Random(1)
        return Worker(store, registry, self._backoff, RETENTION_SECONDS, self.clock, self._tokens, rng, self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.clock.advance(round(seconds * 1000))

    def deliver(self, delivery: Delivery = DELIVERY, client: object = None) -> Outcome:
        return self.worker(client).deliver(delivery, DEADLINE)

    @property
    def row(self) -> Task:
        row = self.store.get(TASK_ID)
        assert row is not None
        return row


# How an attempt ends. -------------------------------------------------------------------------------------------------


def test_work_that_is_done_completes_the_task() -> None:
    world = World()
    planted(world.store, a_task())

    def run(work: Work) -> JsonObject:
        world.clock.advance(2 * SECOND)
        return well(work)

    outcome = world.worker(run=run).deliver(DELIVERY, DEADLINE)
    assert outcome == Outcome(
        "task completed", TASK_ID, True, None, attempt=1, kind="simulated", error=None, age_ms=2 * SECOND
    )
    assert (world.row.status, world.row.result, world.row.attempts) == (Status.COMPLETED, '{"attempt": 1}', 1)
    assert world.row.expires_at_seconds == (NOW + 2 * SECOND) // 1000 + RETENTION_SECONDS


def test_work_without_a_result_completes_the_task_without_one() -> None:
    world = World(lambda work: None)
    planted(world.store, a_task())
    assert world.deliver().event == "task completed"
    assert world.row.result is None


def test_work_sees_its_payload_its_attempt_and_the_time_it_has() -> None:
    world = World()
    seen: list[Any] = []
    planted(world.store, waiting(payload='{"n": 7}', generation=2, next_attempt_at=NOW))

    def run(work: Work) -> None:
        seen.append((work.task_id, work.payload, work.attempt, work.generation, work.remaining_seconds()))
        world.clock.advance(60 * SECOND)
        seen.append(work.remaining_seconds())

    world.worker(run=run).deliver(replace(DELIVERY, message=Message(TASK_ID, 2)), DEADLINE)
    assert seen == [(TASK_ID, {"n": 7}, 2, 2, 25.0), 0.0]


def test_while_it_works_the_row_is_leased_to_this_delivery_until_after_the_deadline() -> None:
    world = World()
    rows: list[Task] = []
    planted(world.store, a_task())

    def run(work: Work) -> None:
        rows.append(world.row)

    claimed: list[tuple[Task, int]] = []
    world.worker(run=run).deliver(DELIVERY, DEADLINE, lambda task, ends_at: claimed.append((task, ends_at)))
    (row,) = rows
    assert (row.status, row.lease_until, row.message_id) == (
        Status.PROCESSING,
        DEADLINE + LEASE_MARGIN_MS,
        "message-1",
    )
    assert claimed == [(row, DEADLINE)]


def test_a_long_payload_reaches_the_work_and_expires_with_the_task() -> None:
    world = World()
    seen: list[Any] = []
    world.store.create(a_task(), LONG, NOW)

    def run(work: Work) -> None:
        seen.append(work.payload)

    world.worker(run=run).deliver(DELIVERY, DEADLINE)
    assert seen == [{"text": "x" * INLINE_PAYLOAD_BYTES}]
    item = world.client.get_item(TableName=TABLE, Key={"PK": {"S": f"T#{TASK_ID}"}, "SK": {"S": "P"}})["Item"]
    assert item["expiresAt"] == {"N": str(world.row.expires_at_seconds)}


@pytest.mark.parametrize(("attempts", "seconds"), [(0, 5), (1, 10)])
def test_work_that_fails_waits_and_the_wait_doubles(attempts: int, seconds: int) -> None:
    world = World(failing(ValueError("it broke")))
    planted(world.store, a_task(attempts=attempts))
    outcome = world.deliver()
    assert outcome == Outcome(
        "task failed",
        TASK_ID,
        False,
        seconds,
        attempt=attempts + 1,
        kind="simulated",
        error="ValueError: it broke",
    )
    assert (world.row.status, world.row.next_attempt_at) == (Status.FAILED_PENDING, NOW + seconds * SECOND)
    assert (world.row.error, world.row.message_id) == ("ValueError: it broke", "message-1")


def test_the_message_comes_back_when_the_attempt_is_due_and_not_before() -> None:
    world = World(failing(ValueError("it broke")), Backoff(5, 900, "equal"))
    planted(world.store, a_task())
    outcome = world.deliver()
    due = world.row.next_attempt_at
    assert due is not None
    assert NOW + 2_500 <= due <= NOW + 5_000
    assert outcome.visibility_seconds == math.ceil((due - NOW) / 1000)
    assert due % SECOND != 0, "the seed gives a part of a second, so that rounding shows"


def test_a_task_fails_and_fails_and_dies_of_its_last_attempt() -> None:
    world = World(failing(ValueError("it broke")))
    planted(world.store, a_task())
    events = []
    while world.row.status is not Status.FAILED_FINAL:
        outcome = world.deliver()
        events.append((outcome.event, outcome.attempt, outcome.acknowledge, outcome.visibility_seconds))
        world.clock.at = max(world.clock.at, world.row.next_attempt_at or 0)
    assert events == [
        ("task failed", 1, False, 5),
        ("task failed", 2, False, 10),
        ("task dead", 3, False, 0),
    ]
    assert (world.row.index_class, world.row.error) == (IndexClass.DEAD, "ValueError: it broke")
    assert outcome.age_ms == 15 * SECOND


def test_a_permanent_error_needs_no_further_attempt() -> None:
    world = World(failing(PermanentError("never")))
    planted(world.store, a_task())
    outcome = world.deliver()
    assert (outcome.event, outcome.acknowledge, outcome.visibility_seconds) == ("task dead", False, 0)
    assert (world.row.status, world.row.attempts) == (Status.FAILED_FINAL, 1)


@pytest.mark.parametrize(
    ("asked", "visibility"), [(7.2, 8), (0, 0), (-3, 0), (900, 900), (0.001, 1)], ids=["7.2", "0", "-3", "900", "1 ms"]
)
def test_work_that_says_when_to_come_back_is_asked_again_then(asked: float, visibility: int) -> None:
    world = World(failing(RetryAfter("busy", asked)))
    planted(world.store, a_task())
    outcome = world.deliver()
    assert (outcome.event, outcome.acknowledge, outcome.visibility_seconds) == ("task failed", False, visibility)
    # Never in the millisecond of the claim itself, which stands still here.
    assert world.row.next_attempt_at == NOW + max(1, round(asked * 1000))


@pytest.mark.parametrize(
    ("asked", "seconds"), [(900.5, 900.5), (43_200, 43_200), (1e12, 43_200), (math.inf, 43_200), (math.nan, 43_200)]
)
def test_a_wait_longer_than_sqs_can_hold_is_parked_for_at_most_twelve_hours(asked: float, seconds: float) -> None:
    world = World(failing(RetryAfter("busy", asked)))
    planted(world.store, a_task())
    outcome = world.deliver()
    assert (outcome.event, outcome.acknowledge, outcome.visibility_seconds) == ("task parked", True, None)
    assert (world.row.index_class, world.row.next_attempt_at) == (IndexClass.PARKED, NOW + round(seconds * 1000))
    assert (world.row.status, world.row.message_id) == (Status.FAILED_PENDING, None)


def test_a_backoff_longer_than_sqs_can_hold_is_parked_too() -> None:
    world = World(failing(ValueError("it broke")), Backoff(1000, 43_200, "none"))
    planted(world.store, a_task())
    assert world.deliver().event == "task parked"
    assert world.row.next_attempt_at == NOW + 1000 * SECOND


def test_of_the_last_attempt_it_does_not_matter_when_to_come_back() -> None:
    world = World(failing(RetryAfter("busy", 5)))
    planted(world.store, a_task(attempts=2))
    assert world.deliver().event == "task dead"


def test_a_long_error_is_cut() -> None:
    world = World(failing(ValueError("x" * 10_000)))
    planted(world.store, a_task())
    world.deliver()
    assert world.row.error is not None
    assert len(world.row.error) == MAX_ERROR_CHARACTERS


def test_a_kind_that_this_deployment_does_not_know_is_permanent() -> None:
    world = World()
    planted(world.store, a_task(kind="other"))
    assert world.deliver().event == "task dead"
    assert (world.row.error, world.runs) == ("PermanentError: kind 'other' is not known to this deployment", 0)


BAD_RESULTS: dict[str, Any] = {
    "too long": {"x": "y" * (4097 - len('{"x": ""}'))},
    "too long in bytes": {"x": "\u20ac" * 700},
    "no JSON": {"x": object()},
    "not a number": {"x": math.nan},
    "no object": [1],
    "a text": "text",
}


@pytest.mark.parametrize("result", BAD_RESULTS.values(), ids=BAD_RESULTS)
def test_a_result_that_cannot_be_kept_is_permanent(result: Any) -> None:
    world = World(lambda work: cast(JsonObject, result))
    planted(world.store, a_task())
    assert world.deliver().event == "task dead"
    assert world.row.error is not None
    assert world.row.error.startswith("PermanentError: the result")
    assert world.row.result is None


def test_a_result_of_just_the_largest_size_is_kept() -> None:
    result = {"x": "y" * (4096 - len('{"x": ""}'))}
    world = World(lambda work: result)
    planted(world.store, a_task())
    assert world.deliver().event == "task completed"
    assert len(world.row.result or "") == 4096


# Lost answers. --------------------------------------------------------------------------------------------------------


def test_a_claim_that_the_sdk_repeats_is_one_attempt() -> None:
    world = World()
    planted(world.store, a_task())
    outcome = world.deliver(client=LostAnswer(world.client, "update_item", repeats=True))
    assert (outcome.event, world.row.attempts, world.runs) == ("task completed", 1, 1)


def test_a_claim_whose_answer_is_lost_is_tried_again_when_its_lease_is_over() -> None:
    world = World()
    planted(world.store, a_task())
    with pytest.raises(ReadTimeoutError):
        world.deliver(client=LostAnswer(world.client, "update_item", repeats=False))
    meanwhile = world.deliver()
    assert (meanwhile.event, meanwhile.acknowledge, meanwhile.visibility_seconds) == (
        "deferred: busy or backing off",
        False,
        30,
    )
    world.clock.at = DEADLINE + LEASE_MARGIN_MS + 1
    assert world.deliver().event == "task completed"
    assert (world.row.attempts, world.runs) == (2, 1)


ENDS: dict[str, tuple[Run, int]] = {
    "completed": (well, 0),
    "failed": (failing(ValueError("it broke")), 0),
    "parked": (failing(RetryAfter("busy", 1000)), 0),
    "dead": (failing(PermanentError("never")), 0),
    "dead of the last attempt": (failing(ValueError("it broke")), 2),
}


@pytest.mark.parametrize(("run", "attempts"), ENDS.values(), ids=ENDS)
def test_an_end_that_the_sdk_repeats_is_the_end_it_was(run: Run, attempts: int) -> None:
    smooth, rough = World(run), World(run)
    for world in (smooth, rough):
        planted(world.store, a_task(attempts=attempts))
    expected = smooth.deliver()
    assert rough.deliver(client=LostAnswer(rough.client, "update_item", number=2, repeats=True)) == expected
    assert rough.row == smooth.row


@pytest.mark.parametrize(
    ("end", "event", "acknowledge", "visibility"),
    [
        ("failed", "deferred: busy or backing off", False, 5),
        ("parked", "acknowledged: parked, the sweeper sends it when due", True, None),
        ("dead", "deferred: dead", False, 0),
    ],
)
def test_an_end_whose_answer_is_lost_is_known_to_the_next_delivery(
    end: str, event: str, acknowledge: bool, visibility: int | None
) -> None:
    world = World(ENDS[end][0])
    planted(world.store, a_task())
    with pytest.raises(ReadTimeoutError):
        world.deliver(client=LostAnswer(world.client, "update_item", number=2, repeats=False))
    assert world.deliver() == Outcome(event, TASK_ID, acknowledge, visibility)
    assert (world.runs, world.row.attempts) == (1, 1)


def test_a_claim_that_hung_and_lands_after_its_own_attempt_failed_begins_no_other() -> None:
    """Its SDK repeat did the work, in the very millisecond of the claim, and the next attempt need not wait at all."""
    world = World(failing(ValueError("it broke")), Backoff(0, 0, "none"))
    planted(world.store, a_task())
    assert world.deliver().event == "task failed"
    late = Claim(DELIVERY.message, DELIVERY.message_id, "hung", NOW, DEADLINE + LEASE_MARGIN_MS)
    assert isinstance(world.store.apply(transitions.claim(late)), Refused)
    assert (world.row.status, world.row.attempts) == (Status.FAILED_PENDING, 1)
    world.clock.advance(1)
    assert world.deliver().attempt == 2


def test_a_completion_whose_answer_is_lost_is_found_when_the_failure_is_to_be_written() -> None:
    world = World()
    planted(world.store, a_task())
    lossy = LostAnswer(world.client, "update_item", number=2, repeats=False)
    assert world.deliver(client=lossy).event == "task completed"
    assert (world.row.status, world.row.attempts) == (Status.COMPLETED, 1)


# Copies, stale workers, dead workers. ---------------------------------------------------------------------------------


def test_a_message_that_comes_again_after_the_end_does_no_work() -> None:
    world = World()
    planted(world.store, a_task())
    world.deliver()
    for delivery in (DELIVERY, COPY):
        assert world.deliver(delivery) == Outcome("acknowledged: already COMPLETED", TASK_ID, True)
    assert world.runs == 1


@pytest.mark.parametrize(
    ("delivery", "expected"),
    [
        (DELIVERY, Outcome("deferred: busy or backing off", TASK_ID, False, 30)),
        (COPY, Outcome("acknowledged: a copy of the message that holds this task", TASK_ID, True)),
    ],
    ids=["the same message", "a copy"],
)
def test_a_delivery_while_the_task_is_worked_on_does_no_work(delivery: Delivery, expected: Outcome) -> None:
    world = World()
    outcomes: list[Outcome] = []
    planted(world.store, a_task())

    def run(work: Work) -> None:
        outcomes.append(world.worker(run=failing(AssertionError())).deliver(delivery, DEADLINE))

    assert world.worker(run=run).deliver(DELIVERY, DEADLINE).event == "task completed"
    assert (outcomes, world.runs) == ([expected], 1)


STALE = Outcome("stale worker: the task has gone on without it", TASK_ID, False, None, 1)


@pytest.mark.parametrize("own", [well, failing(ValueError("late")), failing(PermanentError("late"))])
@pytest.mark.parametrize("other", [well, failing(ValueError("it broke")), failing(PermanentError("never"))])
def test_a_worker_that_outlived_its_lease_changes_nothing(own: Run, other: Run) -> None:
    world = World()
    rows: list[Task] = []
    planted(world.store, a_task())

    def run(work: Work) -> JsonObject | None:
        world.clock.at = DEADLINE + LEASE_MARGIN_MS + 1
        world.worker(run=other).deliver(COPY, DEADLINE + 60 * SECOND)
        rows.append(world.row)
        return own(work)

    assert world.worker(run=run).deliver(DELIVERY, DEADLINE) == STALE
    assert world.row == rows[0]
    assert (world.runs, world.row.attempts) == (2, 2)


def test_a_worker_whose_task_another_one_works_on_changes_nothing() -> None:
    world = World()
    rows: list[Task] = []
    planted(world.store, a_task())

    def outer(work: Work) -> JsonObject:
        world.clock.at = DEADLINE + LEASE_MARGIN_MS + 1
        world.worker(run=inner).deliver(DELIVERY, DEADLINE + 60 * SECOND)
        return {}

    def inner(work: Work) -> JsonObject:
        rows.append(world.row)
        # The outer worker wakes up and tries to finish while this one is still at work.
        assert stale.fail(first[0], ValueError("late")) == STALE
        assert world.row == rows[0]
        return {}

    first: list[Task] = []
    stale = world.worker(run=outer)
    assert stale.deliver(DELIVERY, DEADLINE, lambda task, _: first.append(task)) == STALE
    assert world.row.status is Status.COMPLETED


def test_a_task_whose_worker_died_is_begun_again() -> None:
    world = World()
    planted(world.store, processing(lease_until=NOW - 1))
    assert world.deliver().event == "task completed"
    assert world.row.attempts == 2


def test_a_task_whose_last_worker_died_is_dead_without_another_attempt() -> None:
    world = World()
    planted(world.store, processing(attempts=3, lease_until=NOW - 1, created_at=NOW - 9 * SECOND))
    outcome = world.deliver()
    assert outcome == Outcome(
        "task dead",
        TASK_ID,
        False,
        0,
        attempt=3,
        kind="simulated",
        error=WORKER_DIED,
        age_ms=9 * SECOND,
    )
    assert (world.row.status, world.row.index_class, world.row.error) == (
        Status.FAILED_FINAL,
        IndexClass.DEAD,
        WORKER_DIED,
    )
    assert (world.runs, world.row.token) == (0, "token-2")


def test_a_task_that_changes_while_it_is_buried_is_looked_at_again_soon() -> None:
    world = World()
    late = planted(world.store, processing(attempts=3, lease_until=NOW - 1))

    def finish() -> None:
        world.worker().fail(late, ValueError("late, but first"))

    racing = Between(world.client, "update_item", finish, number=2)
    assert world.deliver(client=racing) == Outcome("changed while burying", TASK_ID, False, 1)
    assert world.row.error == "ValueError: late, but first"


@pytest.mark.parametrize(
    ("row", "generation", "expected"),
    [
        (None, 1, Outcome("deferred: no such task", TASK_ID, False, 0)),
        (a_task(generation=2), 1, Outcome("acknowledged: older generation", TASK_ID, True)),
        (a_task(), 2, Outcome("deferred: newer generation than the row", TASK_ID, False, 0)),
        (a_task(version=2), 1, Outcome("deferred: row of an unknown version", TASK_ID, False, 60)),
        (dead(error=UNDELIVERABLE), 1, Outcome("deferred: dead", TASK_ID, False, 0)),
        (waiting(), 1, Outcome("deferred: busy or backing off", TASK_ID, False, 10)),
    ],
    ids=["no row", "older generation", "newer generation", "newer version", "dead", "waiting"],
)
def test_a_message_that_is_no_work_changes_nothing(row: Task | None, generation: int, expected: Outcome) -> None:
    world = World()
    if row is not None:
        planted(world.store, row)
    assert world.deliver(replace(DELIVERY, message=Message(TASK_ID, generation))) == expected
    assert (world.store.get(TASK_ID), world.runs) == (row, 0)


def test_a_payload_that_cannot_be_read_fails_the_attempt_and_not_the_task() -> None:
    world = World()
    world.store.create(a_task(), LONG, NOW)

    def unreachable() -> None:
        raise ReadTimeoutError(endpoint_url="http://dynamodb")

    outcome = world.deliver(client=Between(world.client, "get_item", unreachable))
    assert (outcome.event, outcome.attempt) == ("task failed", 1)
    assert world.row.status is Status.FAILED_PENDING


def test_every_claim_has_a_token_of_its_own() -> None:
    world, tokens = World(failing(ValueError("it broke"))), []
    planted(world.store, a_task())
    for _ in range(3):
        world.deliver()
        tokens.append(world.row.token)
        world.clock.advance(900 * SECOND)
    assert len(set(tokens)) == 3
