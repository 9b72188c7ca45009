"""Workers that are killed at work, freeze, or outlive their function; each fault is seen to happen."""

from __future__ import annotations

import itertools

import pytest

from lambdas.common.task import Status
from tests.support import faulty, workers
from tests.support.fault_hook import Rule
from tests.support.faulty import CLAIM, COMES_BACK_SECONDS, OUTSIDE, Faults
from tests.support.looking import statuses
from tests.support.outside_kind import released
from tests.support.stack import DeployedStack
from tests.support.waiting import eventually

EMBEDDED = pytest.mark.embedded


@EMBEDDED
def test_workers_killed_while_they_work_lose_no_task(faults: Faults, stack: DeployedStack, task_id: str) -> None:
    """Whatever process works at that moment: found and killed from outside, without any help of its own."""
    ids = [f"{task_id}-{number}" for number in range(6)]
    with faulty.visibility(stack, "queue_url", COMES_BACK_SECONDS):
        tasks = [stack.tasks.submit(OUTSIDE, {"held": [1]}, task_id=one) for one in ids]
        eventually(lambda: any(row.status is Status.PROCESSING for row in stack.store.get_many(ids)))
        killed = [pid for pid in workers.pids(stack, "ProcessTask") if workers.kill(stack, pid)]
        for pid in killed:
            workers.gone(stack, pid)
        for one in ids:  # those that were not begun yet must not be held
            faults.outside().tally(released(one, 1))
        ended = [one.wait() for one in tasks]

    assert killed
    assert {task.status for task in ended} == {"COMPLETED"}
    assert {statuses(task).count("COMPLETED") for task in ended} == {1}
    # An attempt that ended without a word was followed by another one.
    begun_twice = ["PROCESSING", "PROCESSING"]
    assert any(begun_twice == statuses(task)[at : at + 2] for task in ended for at in range(len(task.timeline)))


def test_a_worker_that_freezes_is_ended_by_the_time_out_of_its_function_and_the_next_attempt_completes(
    faults: Faults, stack: DeployedStack, task_id: str
) -> None:
    frozen = Rule("dynamodb", "UpdateItem", "stop-after", match=[task_id, CLAIM])
    with faulty.visibility(stack, "queue_url", COMES_BACK_SECONDS), faults.on("ProcessTask", frozen):
        submitted = stack.tasks.submit(OUTSIDE, task_id=task_id)
        workers.gone(stack, faults.firing("ProcessTask", frozen).pid)
        task = submitted.wait()

    assert (task.attempts, statuses(task)) == (2, ["SUBMITTED", "PROCESSING", "PROCESSING", "COMPLETED"])


@EMBEDDED
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

    with faulty.visibility(stack, "queue_url", COMES_BACK_SECONDS):
        # A worker that the machine does not let run in its last second is ended before it can write, but not each time.
        [error] = eventually(outlived)
    assert error.startswith("OutOfTime")
