"""Calls of MonitorDlq that go wrong: each fault is seen to happen, then the promise kept."""

from __future__ import annotations

from typing import Any

import pytest

from lambdas.common.queue import body_of
from lambdas.common.task import IndexClass, Message, Status
from tests.support import faulty
from tests.support.fault_hook import EVERY_TRY, Fault, Rule
from tests.support.faulty import Faults
from tests.support.looking import ends, once, until_queues_are_empty
from tests.support.stack import DeployedStack
from tests.support.waiting import eventually

EMBEDDED = pytest.mark.embedded
DOOMED = {"simulate": {"permanent": True}}


@pytest.mark.parametrize(
    ("operation", "fault", "calls"),
    [
        ("PutItem", "lost-ack", [1]),
        pytest.param("PutItem", "throttled", EVERY_TRY, marks=EMBEDDED),
        pytest.param("UpdateItem", "lost-ack", [1], marks=EMBEDDED),
        ("UpdateItem", "crash-before", [1]),
        pytest.param("UpdateItem", "crash-after", [1], marks=EMBEDDED),
    ],
)
def test_a_dead_task_has_exactly_one_dead_letter_whatever_goes_wrong_in_the_monitor(
    faults: Faults, stack: DeployedStack, task_id: str, operation: str, fault: Fault, calls: list[int]
) -> None:
    with faults.on("MonitorDlq", Rule("dynamodb", operation, fault, calls, [task_id])):
        stack.tasks.submit(payload=DOOMED, task_id=task_id).wait()
        task = eventually(lambda: stack.tasks.get(task_id), lambda task: task.dead_letters)
        row = eventually(lambda: stack.store.get(task_id), lambda row: row and row.index_class is IndexClass.RECORDED)
        # The monitor that dies right after its last write has no time left to tell. LocalStack loses what an invocation
        # says whose function is changed meanwhile, as the end of this block does: its log thread ends with the version.
        told_dead = int(fault != "crash-after")
        eventually(lambda: ends(stack, task_id, "MonitorDlq").count("task dead") >= told_dead)

    assert row is not None
    assert (row.status, row.generation) == (Status.FAILED_FINAL, 1)
    until_queues_are_empty(stack)
    # Neither a redelivery nor this copy records it anew.
    stack.aws("sqs").send_message(QueueUrl=stack.outputs["dlq_url"], MessageBody=body_of(Message(task_id, 1)))
    told = eventually(lambda: ends(stack, task_id, "MonitorDlq"), lambda told: "recorded before" in told)
    assert told.count("task dead") == told_dead
    assert stack.tasks.get(task_id).dead_letters == task.dead_letters
    assert len(task.dead_letters) == 1


# The mechanism itself. ------------------------------------------------------------------------------------------------


@EMBEDDED
def test_functions_that_were_made_to_fail_are_as_before_afterwards(stack: DeployedStack) -> None:
    task_id = stack.tasks.submit(payload={}).task_id
    before = configuration(stack, "QueryTasks")

    with faulty.functions(stack, QueryTasks={}) as faults:
        with faults.on("QueryTasks", Rule("dynamodb", "Query", "throttled")):
            assert stack.tasks.get(task_id).task_id == task_id
        assert configuration(stack, "QueryTasks") != before

    assert configuration(stack, "QueryTasks") == before
    # The rules are gone: a worker that still looked for them could not answer.
    assert once(stack).get(task_id).task_id == task_id


def configuration(stack: DeployedStack, function: str) -> dict[str, Any]:
    name = stack.outputs["functions"][function]
    found = stack.aws("lambda").get_function_configuration(FunctionName=name)
    return {key: found[key] for key in ("CodeSha256", "Handler", "Environment", "Timeout", "Role", "MemorySize")}
