"""Calls that land too late, and clocks that are wrong; each fault is seen to happen."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from client import Submitted, TaskClient, Unavailable
from lambdas.common.task import IndexClass
from tests.support.fault_hook import Rule
from tests.support.faulty import OUTSIDE, SKEW_SECONDS, Faults
from tests.support.looking import ONE_RUN, ends, logged, once, row_of, statuses, sweep
from tests.support.stack import DeployedStack
from tests.support.waiting import eventually

EMBEDDED = pytest.mark.embedded


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


@EMBEDDED
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


@EMBEDDED
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


@EMBEDDED
@pytest.mark.parametrize("ahead", [SKEW_SECONDS, -SKEW_SECONDS], ids=["work ahead", "submit ahead"])
def test_functions_whose_clocks_differ_by_five_minutes_keep_every_promise(
    faults: Faults, stack: DeployedStack, task_id: str, ahead: int
) -> None:
    with faults.clocks(SubmitTask=-ahead, ProcessTask=ahead, MonitorDlq=ahead, SweepTasks=ahead):
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
