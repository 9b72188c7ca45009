"""Accepting a task: row first, message second, and safe to repeat whatever broke before."""

from __future__ import annotations

import uuid

import pytest
from botocore.exceptions import ReadTimeoutError

from lambdas.common import transitions
from lambdas.common.ids import uuid7
from lambdas.common.rows import INLINE_PAYLOAD_BYTES
from lambdas.common.store import TaskStore
from lambdas.common.task import Claim, IndexClass, Message, Status, Task, TimelineEntry
from lambdas.submit_task.request import Submission
from lambdas.submit_task.submit import Accepted, submit
from tests.support.dynamodb import FakeDynamoDB, task_store
from tests.support.faults import LostAnswer
from tests.support.queue import FakeQueue
from tests.support.tasks import NOW, SECOND, TASK_ID, a_task, dead, planted, waiting

MESSAGE = Message(TASK_ID, 1)
SHORT, LONG = "{}", '{"text": "%s"}' % ("x" * INLINE_PAYLOAD_BYTES)


def a_submission(
    task_id: str | None = TASK_ID, payload: str = SHORT, run_at: int | None = None, body_hash: str = "hash"
) -> Submission:
    return Submission(task_id, "simulated", payload, run_at, body_hash)


def submitted(
    submission: Submission, store: TaskStore, queue: FakeQueue, *, now: int = NOW, token: str = "token-1"
) -> Accepted:
    return submit(submission, store, queue, max_attempts=3, now=now, token=token)


@pytest.fixture
def client() -> FakeDynamoDB:
    return FakeDynamoDB()


@pytest.fixture
def store(client: FakeDynamoDB) -> TaskStore:
    return task_store(client)


@pytest.fixture
def queue() -> FakeQueue:
    return FakeQueue()


def test_a_new_task_is_stored_and_its_message_sent(store: TaskStore, queue: FakeQueue) -> None:
    accepted = submitted(a_submission(), store, queue)
    assert accepted == Accepted("new", a_task(token="token-1", payload=None))
    assert store.get(TASK_ID) == a_task(token="token-1", payload=SHORT)
    assert queue.sent == [(MESSAGE, 0)]


def test_a_task_without_an_id_gets_one_that_sorts_by_time(store: TaskStore, queue: FakeQueue) -> None:
    task = submitted(a_submission(task_id=None), store, queue).task
    made = uuid.UUID(task.task_id)
    assert (made.version, made.variant, made.int >> 80) == (7, uuid.RFC_4122, NOW)
    assert store.get(task.task_id) is not None
    assert queue.sent == [(Message(task.task_id, 1), 0)]


@pytest.mark.parametrize("moment", [0, NOW, NOW + 1, 2**48 - 1])
def test_ids_made_in_the_same_moment_carry_it_and_differ(moment: int) -> None:
    made = {uuid.UUID(uuid7(moment)) for _ in range(200)}
    assert len(made) == 200
    assert {(one.version, one.variant, one.int >> 80) for one in made} == {(7, uuid.RFC_4122, moment)}


@pytest.mark.parametrize(("delay", "seconds"), [(1, 1), (1_500, 2), (900 * SECOND, 900)])
def test_a_task_for_later_waits_in_the_queue_as_long_as_sqs_can_hold_it(
    delay: int, seconds: int, store: TaskStore, queue: FakeQueue
) -> None:
    task = submitted(a_submission(run_at=NOW + delay), store, queue).task
    assert (task.index_class, task.next_attempt_at) == (IndexClass.OPEN, NOW + delay)
    assert queue.sent == [(MESSAGE, seconds)]


def test_a_task_for_much_later_is_parked_without_a_message(store: TaskStore, queue: FakeQueue) -> None:
    due = NOW + 900 * SECOND + 1
    accepted = submitted(a_submission(run_at=due), store, queue)
    row = store.get(TASK_ID)
    assert row is not None
    assert (accepted.outcome, row.index_class, row.next_attempt_at) == ("new", IndexClass.PARKED, due)
    assert queue.sent == []


@pytest.mark.parametrize("run_at", [NOW, NOW - 1, 0])
def test_a_time_that_has_passed_means_at_once(run_at: int, store: TaskStore, queue: FakeQueue) -> None:
    task = submitted(a_submission(run_at=run_at), store, queue).task
    assert task.next_attempt_at is None
    assert queue.sent == [(MESSAGE, 0)]


def test_the_same_body_again_is_known_and_sends_nothing_while_its_message_is_on_its_way(
    store: TaskStore, queue: FakeQueue
) -> None:
    submitted(a_submission(), store, queue)
    later = NOW + 60 * SECOND
    again = submitted(a_submission(), store, queue, now=later, token="token-2")
    assert (again.outcome, again.task.status, again.task.token) == ("known", Status.SUBMITTED, "token-1")
    assert len(queue.sent) == 1


def test_the_same_body_again_after_a_minute_of_silence_sends_anew(store: TaskStore, queue: FakeQueue) -> None:
    submitted(a_submission(), store, queue)
    later = NOW + 60 * SECOND + 1
    assert submitted(a_submission(), store, queue, now=later, token="token-2").outcome == "known"
    assert queue.sent == [(MESSAGE, 0), (MESSAGE, 0)]
    row = store.get(TASK_ID)
    assert row is not None
    assert (row.sent_at, row.sends) == (later, 1)


def test_of_two_repeated_submits_in_the_same_moment_one_sends(store: TaskStore, queue: FakeQueue) -> None:
    submitted(a_submission(), store, queue)
    later = NOW + 60 * SECOND + 1
    for _ in range(2):
        submitted(a_submission(), store, queue, now=later, token="token-2")
    assert len(queue.sent) == 2


@pytest.mark.parametrize(
    "row",
    [
        waiting(),
        dead(),
        a_task(status=Status.PROCESSING, lease_until=NOW),
        a_task(status=Status.COMPLETED, index_class=IndexClass.COMPLETED),
        a_task(index_class=IndexClass.PARKED, next_attempt_at=NOW + SECOND),
        a_task(next_attempt_at=NOW + 900 * SECOND),
    ],
    ids=["waiting", "dead", "processing", "completed", "parked", "due later"],
)
def test_the_same_body_again_says_how_the_task_stands_and_never_sends_for_one_that_is_not_silent(
    row: Task, store: TaskStore, queue: FakeQueue
) -> None:
    planted(store, row)
    late = NOW + 2 * 60 * SECOND
    assert submitted(a_submission(), store, queue, now=late) == Accepted("known", row)
    assert queue.sent == []


def test_another_body_under_the_same_id_is_a_conflict_and_changes_nothing(store: TaskStore, queue: FakeQueue) -> None:
    mine = planted(store, a_task())
    late = NOW + 2 * 60 * SECOND
    assert submitted(a_submission(body_hash="other"), store, queue, now=late) == Accepted("conflict", mine)
    assert (store.get(TASK_ID), queue.sent) == (mine, [])


def test_an_id_is_free_again_once_its_task_has_expired(store: TaskStore, queue: FakeQueue) -> None:
    planted(store, a_task(expires_at_seconds=NOW // 1000 - 1, body_hash="other"))
    assert submitted(a_submission(), store, queue).outcome == "new"
    assert queue.sent == [(MESSAGE, 0)]


@pytest.mark.parametrize(("payload", "operation"), [(SHORT, "put_item"), (LONG, "transact_write_items")])
def test_a_put_that_the_sdk_repeats_after_a_lost_answer_is_known_as_its_own(
    payload: str, operation: str, client: FakeDynamoDB, queue: FakeQueue
) -> None:
    store = task_store(LostAnswer(client, operation, repeats=True))
    assert submitted(a_submission(payload=payload), store, queue).outcome == "new"
    assert queue.sent == [(MESSAGE, 0)]


@pytest.mark.parametrize(("payload", "operation"), [(SHORT, "put_item"), (LONG, "transact_write_items")])
def test_a_put_whose_answer_is_lost_is_healed_by_submitting_again(
    payload: str, operation: str, client: FakeDynamoDB, queue: FakeQueue
) -> None:
    with pytest.raises(ReadTimeoutError):
        submitted(a_submission(payload=payload), task_store(LostAnswer(client, operation, repeats=False)), queue)
    assert queue.sent == []
    again = submitted(a_submission(payload=payload), task_store(client), queue, now=NOW + 61 * SECOND, token="token-2")
    assert again.outcome == "known"
    assert queue.sent == [(MESSAGE, 0)]


def test_a_send_that_fails_leaves_a_row_that_a_repeated_submit_sends_for(store: TaskStore) -> None:
    with pytest.raises(ConnectionError):
        submitted(a_submission(), store, FakeQueue(failure=ConnectionError()))
    queue = FakeQueue()
    assert submitted(a_submission(), store, queue, now=NOW + 61 * SECOND, token="token-2").outcome == "known"
    assert queue.sent == [(MESSAGE, 0)]


def test_a_message_sent_again_belongs_to_the_generation_of_the_row(store: TaskStore, queue: FakeQueue) -> None:
    planted(store, a_task(generation=4))
    submitted(a_submission(), store, queue, now=NOW + 61 * SECOND)
    assert queue.sent == [(Message(TASK_ID, 4), 0)]


def test_the_first_message_can_be_claimed_at_once(store: TaskStore, queue: FakeQueue) -> None:
    submitted(a_submission(), store, queue)
    ((message, _),) = queue.sent
    claimed = store.apply(transitions.claim(Claim(message, "message-1", "worker", NOW, NOW + SECOND)))
    assert isinstance(claimed, Task)
    assert claimed.timeline == (TimelineEntry(NOW, "SUBMITTED", 1), TimelineEntry(NOW, "PROCESSING", 1))
