"""Work that lasts until the test says so, and what others do meanwhile: deliveries, a cancel, leases, the sweeper."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import pytest

from lambdas.common.task import IndexClass
from tests.support import faulty
from tests.support.deliveries import a_delivery, deliver, silent_task
from tests.support.fault_hook import TableLedger
from tests.support.faulty import OUTSIDE, SKEW_SECONDS, Faults
from tests.support.looking import BUSY, ONE_RUN, STALE, ends, row_of, statuses
from tests.support.outside_kind import released
from tests.support.stack import DeployedStack, purge_queues
from tests.support.waiting import eventually

EMBEDDED = pytest.mark.embedded
LONG_LIFE_SECONDS = 40
"""Time-out of ProcessTask, so that no worker is given up before its turn."""


@pytest.fixture(scope="module")
def held(faults: Faults, stack: DeployedStack) -> Iterator[Faults]:
    with faulty.configured(stack, "ProcessTask", Timeout=LONG_LIFE_SECONDS):
        yield faults
    # A stale worker leaves its message to the visibility timeout; the tests that follow look for empty queues.
    purge_queues(stack)


def test_one_message_given_to_three_workers_at_once_is_one_run(held: Faults, stack: DeployedStack) -> None:
    task = silent_task(stack, {"held": [1]}, kind=OUTSIDE)

    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(deliver, stack, [a_delivery(task, "the-same")]) for _ in range(3)]
        eventually(lambda: sum(one.done() for one in running), lambda done: done == 2)
        held.outside().tally(released(task.task_id, 1))
        answers = [one.result() for one in running]

    # Whoever came while the task was held says that the message must come again: it is the one that the task hangs on.
    assert sorted(answers) == [[], ["the-same"], ["the-same"]]
    told = eventually(lambda: ends(stack, task.task_id), lambda told: len(told) == 3)
    assert sorted(told) == [BUSY, BUSY, "task completed"]
    assert statuses(stack.tasks.get(task.task_id)) == ONE_RUN


def test_a_running_task_that_is_cancelled_stays_so_and_its_work_counts_for_nothing(
    held: Faults, stack: DeployedStack, task_id: str
) -> None:
    submitted = stack.tasks.submit(OUTSIDE, {"held": [1]}, task_id=task_id)
    eventually(lambda: held.outside().tallied(task_id))
    answers = [stack.tasks.cancel(task_id) for _ in range(2)]
    held.outside().tally(released(task_id, 1))

    assert [(answer.status, answer.new) for answer in answers] == [("CANCELLED", True), ("CANCELLED", False)]
    eventually(lambda: ends(stack, task_id), lambda told: STALE in told)
    task = submitted.get()
    assert (task.status, task.attempts, task.result) == ("CANCELLED", 1, None)
    assert row_of(stack, submitted).index_class is IndexClass.CANCELLED


def test_a_receipt_that_expires_at_work_costs_no_run(held: Faults, stack: DeployedStack, task_id: str) -> None:
    with faulty.visibility(stack, "queue_url", 1):
        submitted = stack.tasks.submit(OUTSIDE, {"held": [1]}, task_id=task_id)
        eventually(lambda: held.outside().tallied(task_id))
        eventually(lambda: is_given_out_again(stack, task_id))
        held.outside().tally(released(task_id, 1))
        task = submitted.wait()

    assert (statuses(task), task.attempts) == (ONE_RUN, 1)
    assert held.outside().tallied(task_id) == 1


def is_given_out_again(stack: DeployedStack, task_id: str) -> bool:
    """To another worker, or to this look where the local AWS runs one batch at a time."""
    looked = stack.aws("sqs").receive_message(
        QueueUrl=stack.outputs["queue_url"], MaxNumberOfMessages=10, VisibilityTimeout=0
    )
    return BUSY in ends(stack, task_id) or any(task_id in message["Body"] for message in looked.get("Messages", []))


@EMBEDDED
@pytest.mark.parametrize("skews", [(0, SKEW_SECONDS), (-SKEW_SECONDS, 0)], ids=["second ahead", "first behind"])
@pytest.mark.parametrize("order", [(1, 2), (2, 1)], ids=["first ends first", "second ends first"])
def test_a_lease_taken_over_while_its_worker_still_runs_makes_two_runs_and_one_end(
    held: Faults, stack: DeployedStack, skews: tuple[int, int], order: tuple[int, int]
) -> None:
    task, outside = silent_task(stack, {"held": [1, 2]}, kind=OUTSIDE), held.outside()
    record = a_delivery(task)
    running: dict[int, Future[list[str]]] = {}

    with ThreadPoolExecutor(2) as pool:
        for attempt, skew in enumerate(skews, start=1):
            running[attempt] = pool.submit(deliver, stack, [record], clockSkewSeconds=skew)
            eventually(partial(reached, outside, task.task_id, attempt))
        assert not running[1].done()
        answers = {}
        for attempt in order:
            outside.tally(released(task.task_id, attempt))
            answers[attempt] = running[attempt].result()

    # The first worker changes nothing, whether the other one still works or has ended.
    assert answers == {1: [record["messageId"]], 2: []}
    ended = stack.tasks.get(task.task_id)
    assert (ended.status, ended.attempts, ended.result) == ("COMPLETED", 2, {"attempt": 2, "calls": 2})
    assert statuses(ended) == ["SUBMITTED", "PROCESSING", "PROCESSING", "COMPLETED"]
    # LocalStack may lose the log of one of two workers that end at about the same time.
    told = eventually(lambda: ends(stack, task.task_id))
    assert len(told) <= 2
    assert set(told) <= {STALE, "task completed"}


def reached(outside: TableLedger, task_id: str, calls: int) -> bool:
    return outside.tallied(task_id) == calls


@EMBEDDED
def test_a_sweeper_whose_clock_is_five_minutes_ahead_sends_a_copy_of_what_is_worked_on_and_it_runs_once(
    held: Faults, stack: DeployedStack, task_id: str
) -> None:
    sweeper = {"FunctionName": stack.outputs["functions"]["SweepTasks"]}
    order = json.dumps({"clockSkewSeconds": SKEW_SECONDS})
    submitted = stack.tasks.submit(OUTSIDE, {"held": [1]}, task_id=task_id)
    eventually(lambda: held.outside().tallied(task_id))
    answer = stack.aws("lambda").invoke(**sweeper, Payload=order)
    assert json.loads(answer["Payload"].read())["resent"] >= 1
    assert row_of(stack, submitted).message_id is None
    held.outside().tally(released(task_id, 1))
    task = submitted.wait()
    told = eventually(lambda: ends(stack, task_id), lambda told: len(told) >= 2 and "task completed" in told)

    assert told.count("task completed") == 1
    assert statuses(task) == ONE_RUN
