"""A batch from SQS: each message has an outcome of its own, and SQS hears of exactly those that failed."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from lambdas.common.kinds import JsonObject, Registry, Work
from lambdas.common.queue import body_of
from lambdas.common.retry import Backoff
from lambdas.common.task import Message, Status, Task
from lambdas.process_task.attempt import LEASE_MARGIN_MS, Outcome, Worker
from lambdas.process_task.batch import KEPT_FOR_ENDING_MS, NEEDED_TO_START_MS, Record, respond, work_through
from tests.support.dynamodb import FakeDynamoDB, task_store
from tests.support.faults import Between
from tests.support.queue import FakeQueue
from tests.support.tasks import NOW, SECOND, Clock, Tokens, a_task, planted

DEADLINE = NOW + 29 * SECOND
WAIT_SECONDS = 30
"""For another thread; a test that waits so long has failed."""


def a_record(body: str, message_id: str = "message-1") -> Record:
    return {
        "messageId": message_id,
        "receiptHandle": f"handle of {message_id}",
        "body": body,
        "attributes": {"ApproximateReceiveCount": "1"},
    }


def records_of(*task_ids: str) -> list[Record]:
    return [a_record(body_of(Message(task_id, 1)), f"message of {task_id}") for task_id in task_ids]


class World:
    """Tasks, and a worker whose kind does what their payload says."""

    def __init__(self, *task_ids: str, now: Callable[[], int] | None = None) -> None:
        self.client = FakeDynamoDB()
        self.store = task_store(self.client)
        self.now = now or Clock()
        self.release, self.begun = threading.Event(), threading.Event()
        self.meeting = threading.Barrier(2)
        self.seen: list[tuple[float, int | None]] = []
        for task_id in task_ids:
            planted(self.store, a_task(task_id=task_id, payload=json.dumps({"do": task_id.split("-")[0]})))

    def worker(self, client: object = None) -> Worker:
        registry = Registry()

        @registry.kind("simulated", schema={})
        def run(work: Work) -> JsonObject | None:
            self.seen.append((work.remaining_seconds(), self.row(work.task_id).lease_until))
            if work.payload["do"] == "fail":
                raise ValueError("it broke")
            if work.payload["do"] == "hang":
                self.begun.set()
                assert self.release.wait(WAIT_SECONDS)
            if work.payload["do"] == "meet":
                self.meeting.wait(WAIT_SECONDS)
            return None

        store = task_store(client or self.client)
        rng = random.Random(1)
        return Worker(store, registry, Backoff(5, 900, "none"), 86_400, self.now, Tokens(), rng, time.sleep)

    def row(self, task_id: str) -> Task:
        row = self.store.get(task_id)
        assert row is not None
        return row


def _join_threads() -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("ThreadPoolExecutor"):
            thread.join(WAIT_SECONDS)
            assert not thread.is_alive()


def _shown(outcomes: list[tuple[Record, Outcome]]) -> list[tuple[str, bool, int | None]]:
    return [(outcome.event, outcome.acknowledge, outcome.visibility_seconds) for _, outcome in outcomes]


def test_each_message_has_its_own_outcome_in_the_order_of_the_batch() -> None:
    names = ("good-1", "fail-1", "good-2", "fail-2")
    world, records = World(*names), records_of(*names)
    outcomes = work_through(records, world.worker(), DEADLINE, threads=4)
    assert [record for record, _ in outcomes] == records
    assert [(outcome.event, outcome.task_id) for _, outcome in outcomes] == [
        ("task completed", "good-1"),
        ("task failed", "fail-1"),
        ("task completed", "good-2"),
        ("task failed", "fail-2"),
    ]


@pytest.mark.parametrize("threads", [1, 3, 100])
def test_messages_are_worked_on_side_by_side_by_any_number_of_threads(threads: int) -> None:
    names = [f"good-{number}" for number in range(10)]
    world = World(*names)
    outcomes = work_through(records_of(*names), world.worker(), DEADLINE, threads)
    assert {outcome.event for _, outcome in outcomes} == {"task completed"}
    assert {world.row(name).status for name in names} == {Status.COMPLETED}


def test_messages_of_one_batch_run_at_the_same_time() -> None:
    world = World("meet-1", "meet-2")
    outcomes = work_through(records_of("meet-1", "meet-2"), world.worker(), DEADLINE, threads=2)
    assert [outcome.event for _, outcome in outcomes] == ["task completed"] * 2


UNREADABLE = {
    "no JSON": "{",
    "empty": "",
    "null": "null",
    "not an object": "[1]",
    "another object": '{"hello": "world"}',
    "no generation": '{"v": 1, "taskId": "good-1"}',
    "nested absurdly": "[" * 100_000,
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
def test_a_message_that_cannot_be_read_goes_the_way_to_the_dlq_and_takes_no_other_with_it(body: str) -> None:
    world = World("good-1")
    records = [a_record(body, "poison"), *records_of("good-1")]
    outcomes = work_through(records, world.worker(), DEADLINE, threads=2)
    assert _shown(outcomes) == [("unreadable message", False, 0), ("task completed", True, None)]
    assert respond(outcomes, FakeQueue()) == {"batchItemFailures": [{"itemIdentifier": "poison"}]}


def test_a_message_of_a_newer_version_is_deferred() -> None:
    world = World("good-1")
    body = json.dumps({"v": 2, "taskId": "good-1", "generation": 1})
    outcomes = work_through([a_record(body)], world.worker(), DEADLINE, threads=1)
    assert _shown(outcomes) == [("deferred: message of a newer version", False, 60)]
    assert world.row("good-1").attempts == 0


def test_an_error_on_the_way_fails_one_message_and_not_the_batch() -> None:
    world = World("good-1", "good-2", "good-3")

    def unreachable() -> None:
        raise ReadTimeoutError(endpoint_url="http://dynamodb")

    worker = world.worker(Between(world.client, "update_item", unreachable, number=1))
    outcomes = work_through(records_of("good-1", "good-2", "good-3"), worker, DEADLINE, threads=1)
    assert _shown(outcomes) == [("delivery failed", False, None), *[("task completed", True, None)] * 2]
    error = outcomes[0][1].error
    assert error is not None
    assert error.startswith("ReadTimeoutError")
    assert respond(outcomes, FakeQueue()) == {"batchItemFailures": [{"itemIdentifier": "message of good-1"}]}


def test_a_row_that_cannot_be_read_fails_one_message_and_not_the_batch() -> None:
    world = World("good-1", "good-2")
    world.client.put_item(TableName="tasks", Item={"PK": {"S": "T#good-1"}, "SK": {"S": "A"}, "status": {"S": "ODD"}})
    outcomes = work_through(records_of("good-1", "good-2"), world.worker(), DEADLINE, threads=2)
    assert _shown(outcomes) == [("delivery failed", False, None), ("task completed", True, None)]


@pytest.mark.parametrize(("left_ms", "begun"), [(NEEDED_TO_START_MS, True), (NEEDED_TO_START_MS - 1, False)])
def test_a_message_is_begun_only_with_time_enough_and_else_loses_no_attempt(left_ms: int, begun: bool) -> None:
    world = World("good-1")
    outcomes = work_through(records_of("good-1"), world.worker(), NOW + left_ms, threads=1)
    if begun:
        assert _shown(outcomes) == [("task completed", True, None)]
    else:
        assert _shown(outcomes) == [("not begun: no time left", False, 0)]
    assert world.row("good-1").attempts == int(begun)


@pytest.fixture
def out_of_time() -> Iterator[World]:
    """To the thread of the batch the invocation is at its end as soon as the first work has begun."""
    batch = threading.get_ident()

    def now() -> int:
        if threading.get_ident() != batch:
            return NOW
        assert world.begun.wait(WAIT_SECONDS)
        return DEADLINE - KEPT_FOR_ENDING_MS

    world = World("hang-1", "good-1", now=now)
    yield world
    world.release.set()


def test_work_still_running_at_the_end_is_a_failed_attempt_and_what_waits_behind_it_is_none(
    out_of_time: World,
) -> None:
    records = records_of("hang-1", "good-1")
    outcomes = work_through(records, out_of_time.worker(), DEADLINE, threads=1)
    assert _shown(outcomes) == [("task failed", False, 5), ("not begun: no time left", False, 0)]
    row = out_of_time.row("hang-1")
    assert (row.status, row.attempts) == (Status.FAILED_PENDING, 1)
    assert row.error == "OutOfTime: the attempt was given up: its time was over before its work was"
    assert out_of_time.row("good-1").attempts == 0


def test_after_the_invocation_work_that_ends_changes_nothing_and_no_other_begins(out_of_time: World) -> None:
    work_through(records_of("hang-1", "good-1"), out_of_time.worker(), DEADLINE, threads=1)
    given_up = out_of_time.row("hang-1")
    out_of_time.release.set()
    _join_threads()
    assert (out_of_time.row("hang-1"), out_of_time.row("good-1").attempts) == (given_up, 0)


def test_work_is_told_to_end_before_the_invocation_does_and_leased_beyond_it() -> None:
    world = World("good-1")
    work_through(records_of("good-1"), world.worker(), DEADLINE, threads=1)
    ((remaining_seconds, lease_until),) = world.seen
    assert remaining_seconds == (DEADLINE - KEPT_FOR_ENDING_MS - NOW) / 1000
    assert lease_until == DEADLINE - KEPT_FOR_ENDING_MS + LEASE_MARGIN_MS > DEADLINE


def _outcome(acknowledge: bool, visibility: int | None) -> Outcome:
    return Outcome("event", "task-1", acknowledge, visibility)


def test_the_response_names_the_failed_messages_and_has_no_other_key() -> None:
    outcomes = [
        (a_record("", "message-1"), _outcome(True, None)),
        (a_record("", "message-2"), _outcome(False, 5)),
        (a_record("", "message-3"), _outcome(False, None)),
        (a_record("", "message-4"), _outcome(False, 0)),
    ]
    queue = FakeQueue()
    assert respond(outcomes, queue) == {
        "batchItemFailures": [
            {"itemIdentifier": "message-2"},
            {"itemIdentifier": "message-3"},
            {"itemIdentifier": "message-4"},
        ]
    }
    assert queue.hidden == [("handle of message-2", 5), ("handle of message-4", 0)]


def test_the_response_to_a_batch_that_went_well_is_an_empty_list() -> None:
    assert respond([(a_record(""), _outcome(True, None))], FakeQueue()) == {"batchItemFailures": []}


@pytest.mark.parametrize(
    "error",
    [
        ClientError(
            {"Error": {"Code": "InvalidParameterValue", "Message": "over 12 hours"}}, "ChangeMessageVisibility"
        ),
        ReadTimeoutError(endpoint_url="http://sqs"),
    ],
    ids=["refused", "no answer"],
)
def test_a_visibility_that_cannot_be_set_costs_a_delay_and_no_message(error: Exception) -> None:
    outcomes = [(a_record("", f"message-{number}"), _outcome(False, 5)) for number in (1, 2)]
    assert respond(outcomes, FakeQueue(failure=error)) == {
        "batchItemFailures": [{"itemIdentifier": "message-1"}, {"itemIdentifier": "message-2"}]
    }


def test_an_empty_batch_has_an_empty_response() -> None:
    assert respond(work_through([], World().worker(), DEADLINE, threads=5), FakeQueue()) == {"batchItemFailures": []}


# A kind with a time-out. ----------------------------------------------------------------------------------------------


class Watching:
    """Tells when a write puts a task off to another attempt."""

    def __init__(self, client: FakeDynamoDB) -> None:
        self._client = client
        self.put_off = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def update_item(self, **request: Any) -> Any:
        answer = self._client.update_item(**request)
        if ":nextAttemptAt" in request["ExpressionAttributeValues"]:
            self.put_off.set()
        return answer


@pytest.fixture
def overdue() -> Iterator[tuple[World, Watching, Worker]]:
    """A task that hangs, of a kind with 50 ms; another, of a kind without a limit, goes on until the first is over."""
    began = time.monotonic()
    world = World("hang-1", now=lambda: NOW + round((time.monotonic() - began) * 1000))
    planted(world.store, a_task(task_id="wait-1", kind="patient"))
    watching = Watching(world.client)
    worker, registry = world.worker(watching), Registry()
    hanging = worker.registry.get("simulated")
    assert hanging is not None
    registry.kind("simulated", schema={}, timeout_seconds=0.05)(hanging.run)

    @registry.kind("patient", schema={})
    def patient(work: Work) -> JsonObject | None:
        return {"saw it": watching.put_off.wait(WAIT_SECONDS)}

    yield world, watching, replace(worker, registry=registry)
    world.release.set()


def test_an_attempt_over_the_time_of_its_kind_is_given_up_while_the_others_of_its_batch_go_on(
    overdue: tuple[World, Watching, Worker],
) -> None:
    world, _, worker = overdue
    outcomes = work_through(records_of("hang-1", "wait-1"), worker, DEADLINE, threads=2)
    assert _shown(outcomes) == [("task failed", False, 5), ("task completed", True, None)]
    row = world.row("hang-1")
    assert (row.status, row.attempts) == (Status.FAILED_PENDING, 1)
    assert row.error == "OutOfTime: the attempt was given up: its time was over before its work was"
    assert world.row("wait-1").result == '{"saw it": true}', "it was told while it still worked"


def test_work_that_ends_after_the_time_of_its_kind_changes_nothing(overdue: tuple[World, Watching, Worker]) -> None:
    world, watching, worker = overdue
    work_through(records_of("hang-1"), worker, DEADLINE, threads=1)
    assert watching.put_off.is_set()
    given_up = world.row("hang-1")
    world.release.set()
    _join_threads()
    assert world.row("hang-1") == given_up
