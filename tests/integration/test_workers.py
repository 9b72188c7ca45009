"""Workers that die, freeze, are too slow or have a wrong clock, and calls that land too late; on a deployed stack.

The functions obey orders (tests/support/faulty.py); every test sees its fault happen, then the promise kept.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from client import Submitted, TaskClient, Unavailable
from lambdas.common.task import IndexClass, Status
from tests.integration.test_faults import CLAIM, COMES_BACK_SECONDS, COMPLETION, ONE_RUN, once, statuses
from tests.integration.test_faults import ends_of_deliveries as ends
from tests.integration.test_pipeline import logged, sweep
from tests.support import faulty, workers
from tests.support.deliveries import a_delivery, deliver, silent_task
from tests.support.fault_hook import Fault, Rule, TableLedger
from tests.support.faulty import OUTSIDE, Faults
from tests.support.outside_kind import released
from tests.support.stack import DeployedStack, new_id, unscheduled
from tests.support.waiting import eventually

SKEW_SECONDS = 300
SHORT_LIFE_SECONDS = 4
"""Time-out of ProcessTask where a test waits for a lease to end: with its margin, 9 s after the claim."""
TIME_TO_KILL_SECONDS = 10
"""Where the test itself ends the worker: on a busy machine it needs seconds to find it in its container."""
LONG_LIFE_SECONDS = 40
"""Where workers are held, so that none is given up before its turn."""
STALE = "stale worker: the task has gone on without it"


@pytest.fixture(scope="module")
def faults(stack: DeployedStack) -> Iterator[Faults]:
    """As in test_faults: nothing but a test sweeps."""
    soon = {"RESEND_AFTER_SECONDS": "1"}
    with (
        unscheduled(stack),
        faulty.functions(stack, SubmitTask={}, ProcessTask={}, MonitorDlq={}, SweepTasks=soon) as faults,
    ):
        yield faults
    # Where clocks differ, a copy may stay hidden for minutes; the tests that follow look for empty queues.
    stack.aws("sqs").purge_queue(QueueUrl=stack.outputs["queue_url"])


@pytest.fixture
def task_id() -> str:
    return new_id("worker")


@contextmanager
def short_lives(stack: DeployedStack, seconds: int = SHORT_LIFE_SECONDS) -> Iterator[None]:
    """Workers live for a short time, and a message that nobody gave back is given out again soon."""
    with (
        faulty.visibility(stack, "queue_url", COMES_BACK_SECONDS),
        faulty.configured(stack, "ProcessTask", Timeout=seconds),
    ):
        yield


def gone(stack: DeployedStack, pid: int) -> None:
    eventually(lambda: workers.alive(stack, pid), lambda alive: not alive)


# Workers that die. ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("write", "fault", "attempts", "calls_outside"),
    [
        (CLAIM, "stop-after", 2, 1),
        (COMPLETION, "stop-before", 2, 2),
        (COMPLETION, "stop-after", 1, 1),
    ],
    ids=["after the claim", "after the outside effect", "after the finish"],
)
def test_a_worker_killed_by_sigkill_leaves_a_task_that_completes_once(
    faults: Faults,
    stack: DeployedStack,
    task_id: str,
    write: str,
    fault: Fault,
    attempts: int,
    calls_outside: int,
) -> None:
    stopped = Rule("dynamodb", "UpdateItem", fault, match=[task_id, write])
    with short_lives(stack, TIME_TO_KILL_SECONDS), faults.on("ProcessTask", stopped):
        submitted = stack.tasks.submit(OUTSIDE, task_id=task_id)
        pid = faults.firing("ProcessTask", stopped).pid
        assert workers.kill(stack, pid)
        gone(stack, pid)
        task = submitted.wait()
        eventually(lambda: ends(stack, task_id), lambda told: last_word(attempts) in told)

    assert (task.status, task.attempts) == ("COMPLETED", attempts)
    assert statuses(task) == ["SUBMITTED", *["PROCESSING"] * attempts, "COMPLETED"]
    # What happens outside may happen again, under the same key: the id of the task.
    assert faults.outside().tallied(task_id) == calls_outside


def last_word(attempts: int) -> str:
    return "task completed" if attempts > 1 else "acknowledged: already COMPLETED"


def test_workers_killed_while_they_work_lose_no_task(faults: Faults, stack: DeployedStack, task_id: str) -> None:
    """Whatever process works at that moment: found and killed from outside, without any help of its own."""
    ids = [f"{task_id}-{number}" for number in range(6)]
    with short_lives(stack, TIME_TO_KILL_SECONDS):
        tasks = [stack.tasks.submit(OUTSIDE, {"held": [1]}, task_id=one) for one in ids]
        eventually(lambda: any(row.status is Status.PROCESSING for row in stack.store.get_many(ids)))
        killed = [pid for pid in workers.pids(stack, "ProcessTask") if workers.kill(stack, pid)]
        for pid in killed:
            gone(stack, pid)
        for one in ids:  # those that were not begun yet must not be held
            faults.outside().tally(released(one, 1))
        ended = [one.wait() for one in tasks]

    assert killed
    assert {task.status for task in ended} == {"COMPLETED"}
    assert {statuses(task).count("COMPLETED") for task in ended} == {1}
    # An attempt that ended without a word was followed by another one.
    begun_twice = ["PROCESSING", "PROCESSING"]
    assert any(begun_twice == statuses(task)[at : at + 2] for task in ended for at in range(len(task.timeline)))


# Workers that are too slow. -------------------------------------------------------------------------------------------


def test_a_worker_that_freezes_is_ended_by_the_time_out_of_its_function_and_the_next_attempt_completes(
    faults: Faults, stack: DeployedStack, task_id: str
) -> None:
    frozen = Rule("dynamodb", "UpdateItem", "stop-after", match=[task_id, CLAIM])
    with short_lives(stack), faults.on("ProcessTask", frozen):
        submitted = stack.tasks.submit(OUTSIDE, task_id=task_id)
        gone(stack, faults.firing("ProcessTask", frozen).pid)
        task = submitted.wait()

    assert (task.attempts, statuses(task)) == (2, ["SUBMITTED", "PROCESSING", "PROCESSING", "COMPLETED"])


def test_work_longer_than_its_function_lives_is_a_failed_attempt_and_the_next_one_completes(
    faults: Faults, stack: DeployedStack, task_id: str
) -> None:
    ids = (f"{task_id}-{number}" for number in itertools.count())

    def outlived() -> list[str]:
        """The errors of one more task that takes too long once."""
        task = stack.tasks.submit(OUTSIDE, {"held": [1]}, task_id=next(ids)).wait()
        assert (task.status, task.attempts) == ("COMPLETED", 2)
        assert faults.outside().tallied(task.task_id) == 2
        return [entry["error"] for entry in task.timeline if entry["status"] == "FAILED_PENDING"]

    with short_lives(stack):
        # A worker that the machine does not let run in its last second is ended before it can write, but not each time.
        [error] = eventually(outlived)
    assert error.startswith("OutOfTime")


# Clocks that are wrong by five minutes. -------------------------------------------------------------------------------


@pytest.mark.parametrize("skews", [(0, SKEW_SECONDS), (-SKEW_SECONDS, 0)], ids=["second ahead", "first behind"])
@pytest.mark.parametrize("order", [(1, 2), (2, 1)], ids=["first ends first", "second ends first"])
def test_a_lease_taken_over_while_its_worker_still_runs_makes_two_runs_and_one_end(
    faults: Faults, stack: DeployedStack, skews: tuple[int, int], order: tuple[int, int]
) -> None:
    task, outside = silent_task(stack, {"held": [1, 2]}, kind=OUTSIDE), faults.outside()
    record = a_delivery(task)
    running: dict[int, Future[list[str]]] = {}

    with faulty.configured(stack, "ProcessTask", Timeout=LONG_LIFE_SECONDS), ThreadPoolExecutor(2) as pool:
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


@pytest.mark.parametrize("ahead", [SKEW_SECONDS, -SKEW_SECONDS], ids=["work ahead", "submit ahead"])
def test_functions_whose_clocks_differ_by_five_minutes_keep_every_promise(
    faults: Faults, stack: DeployedStack, task_id: str, ahead: int
) -> None:
    with faulty.clocks(stack, SubmitTask=-ahead, ProcessTask=ahead, MonitorDlq=ahead, SweepTasks=ahead):
        submitted = {
            "good": stack.tasks.submit(OUTSIDE, task_id=f"{task_id}-good"),
            "again": stack.tasks.submit(payload={"simulate": {"failAttempts": [1]}}, task_id=f"{task_id}-again"),
            "dead": stack.tasks.submit(payload={"simulate": {"permanent": True}}, task_id=f"{task_id}-dead"),
        }
        for _ in range(3):
            sweep(stack)
        ended = {name: one.wait() for name, one in submitted.items()}
        letters = eventually(lambda: submitted["dead"].get().dead_letters)
        eventually(lambda: row_of(stack, submitted["dead"]).index_class, lambda found: found is IndexClass.RECORDED)

    # The fault was there: the row says that it was begun minutes before it was submitted, or long after.
    good = row_of(stack, submitted["good"])
    assert abs(good.updated_at - good.created_at) >= (2 * SKEW_SECONDS - 60) * 1000
    assert {name: (task.status, task.attempts) for name, task in ended.items()} == {
        "good": ("COMPLETED", 1),
        "again": ("COMPLETED", 2),
        "dead": ("FAILED_FINAL", 1),
    }
    assert faults.outside().tallied(f"{task_id}-good") == 1
    assert [letter["generation"] for letter in letters] == [1]
    assert statuses(ended["good"]) == ONE_RUN


def row_of(stack: DeployedStack, submitted: Submitted) -> Any:
    row = stack.store.get(submitted.task_id)
    assert row is not None
    return row


def test_a_sweeper_whose_clock_is_five_minutes_ahead_sends_a_copy_of_what_is_worked_on_and_it_runs_once(
    faults: Faults, stack: DeployedStack, task_id: str
) -> None:
    sweeper = {"FunctionName": stack.outputs["functions"]["SweepTasks"]}
    order = json.dumps({"clockSkewSeconds": SKEW_SECONDS})
    with faulty.configured(stack, "ProcessTask", Timeout=LONG_LIFE_SECONDS):
        submitted = stack.tasks.submit(OUTSIDE, {"held": [1]}, task_id=task_id)
        eventually(lambda: faults.outside().tallied(task_id))
        answer = stack.aws("lambda").invoke(**sweeper, Payload=order)
        assert json.loads(answer["Payload"].read())["resent"] >= 1
        assert row_of(stack, submitted).message_id is None
        faults.outside().tally(released(task_id, 1))
        task = submitted.wait()
        # LocalStack loses what a worker logs once another configuration has ended it.
        told = eventually(lambda: ends(stack, task_id), lambda told: len(told) >= 2 and "task completed" in told)

    assert told.count("task completed") == 1
    assert statuses(task) == ONE_RUN


# Calls that land too late. --------------------------------------------------------------------------------------------


def impatient(stack: DeployedStack) -> TaskClient:
    """A client that gives up after a second, as an API does after 29."""
    return TaskClient(stack.outputs["api_url"], stack.outputs["api_key"], timeout=1, tries=1)


def test_a_put_that_lands_after_the_client_has_given_up_is_a_task_that_runs_once(
    faults: Faults, stack: DeployedStack, task_id: str
) -> None:
    late = Rule("dynamodb", "PutItem", "late", match=[task_id])
    with faults.on("SubmitTask", late):
        with pytest.raises(Unavailable):
            impatient(stack).submit(payload={}, task_id=task_id)
        faults.firing("SubmitTask", late)
        assert stack.store.get(task_id) is None
        faults.release("SubmitTask", late)
        eventually(lambda: stack.store.get(task_id))

    again = once(stack).submit(payload={}, task_id=task_id)
    assert not again.new
    assert statuses(again.wait()) == ONE_RUN


def test_a_put_that_lands_after_its_repeat_finds_the_task_and_it_runs_once(
    faults: Faults, stack: DeployedStack, task_id: str
) -> None:
    late = Rule("dynamodb", "PutItem", "late", match=[task_id])
    with faults.on("SubmitTask", late):
        with pytest.raises(Unavailable):
            impatient(stack).submit(payload={}, task_id=task_id)
        faults.firing("SubmitTask", late)
        again = once(stack).submit(payload={}, task_id=task_id)
        assert again.new
        done = again.wait()
        faults.release("SubmitTask", late)
        said = eventually(lambda: submits(stack, task_id), lambda said: len(said) == 2)

    assert sorted(said) == ["known", "new"]
    assert stack.tasks.get(task_id) == done
    assert statuses(done) == ONE_RUN


def submits(stack: DeployedStack, task_id: str) -> list[str]:
    return [line["outcome"] for line in logged(stack, "SubmitTask", task_id)]


def test_a_sweeper_that_is_faster_than_the_send_of_the_submit_makes_two_messages_and_one_run(
    faults: Faults, stack: DeployedStack, task_id: str
) -> None:
    late = Rule("sqs", "SendMessage", "late", match=[task_id])
    with ThreadPoolExecutor(1) as pool, faults.on("SubmitTask", late):
        submitting: Future[Submitted] = pool.submit(once(stack).submit, payload={}, task_id=task_id)
        faults.firing("SubmitTask", late)
        eventually(lambda: (sweep(stack), stack.store.get(task_id))[1], lambda row: row and (row.sends or row.attempts))
        assert not submitting.done()
        faults.release("SubmitTask", late)
        assert submitting.result().new

    told = eventually(lambda: ends(stack, task_id), lambda told: len(told) >= 2)
    assert told.count("task completed") == 1
    assert all(one.startswith("acknowledged: ") for one in told if one != "task completed")
    assert statuses(stack.tasks.get(task_id)) == ONE_RUN
