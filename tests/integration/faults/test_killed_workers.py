"""Workers that are killed at each step: the fault is seen to happen, then the task completes."""

from __future__ import annotations

import pytest

from tests.support import faulty, workers
from tests.support.fault_hook import Fault, Rule
from tests.support.faulty import CLAIM, COMES_BACK_SECONDS, COMPLETION, OUTSIDE, Faults
from tests.support.looking import ends, statuses
from tests.support.stack import DeployedStack
from tests.support.waiting import eventually

EMBEDDED = pytest.mark.embedded


@pytest.mark.parametrize(
    ("write", "fault", "attempts", "calls_outside"),
    [
        pytest.param(CLAIM, "stop-after", 2, 1, id="after the claim", marks=EMBEDDED),
        pytest.param(COMPLETION, "stop-before", 2, 2, id="after the outside effect"),
        pytest.param(COMPLETION, "stop-after", 1, 1, id="after the finish", marks=EMBEDDED),
    ],
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
    with faulty.visibility(stack, "queue_url", COMES_BACK_SECONDS), faults.on("ProcessTask", stopped):
        submitted = stack.tasks.submit(OUTSIDE, task_id=task_id)
        pid = faults.firing("ProcessTask", stopped).pid
        assert workers.kill(stack, pid)
        workers.gone(stack, pid)
        task = submitted.wait()
        eventually(lambda: ends(stack, task_id), lambda told: last_word(attempts) in told)

    assert (task.status, task.attempts) == ("COMPLETED", attempts)
    assert statuses(task) == ["SUBMITTED", *["PROCESSING"] * attempts, "COMPLETED"]
    # What happens outside may happen again, under the same key: the id of the task.
    assert faults.outside().tallied(task_id) == calls_outside


def last_word(attempts: int) -> str:
    return "task completed" if attempts > 1 else "acknowledged: already COMPLETED"
