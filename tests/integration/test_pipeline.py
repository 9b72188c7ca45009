"""Tasks from the API to their ends, against the deployed stack: the rows in the table and the messages tell."""

from __future__ import annotations

import json
from typing import Any

import pytest

from client import Conflict
from lambdas.common.queue import body_of
from lambdas.common.rows import partition
from lambdas.common.task import IndexClass, Message, Status
from tests.support.deliveries import silent_task
from tests.support.looking import (
    ONE_RUN,
    logged,
    make_due,
    milliseconds_between,
    statuses,
    stray_of,
    sweep,
    times,
    until_queues_are_empty,
)
from tests.support.stack import DeployedStack, new_id
from tests.support.waiting import eventually


def test_a_task_is_stored_worked_on_and_completed_and_its_message_is_gone(stack: DeployedStack) -> None:
    task = stack.tasks.submit(payload={"simulate": {"workSeconds": 0}, "text": "grüße ☃"}).wait()

    row = stack.store.get(task.task_id)
    assert row is not None
    assert (row.status, row.attempts, row.index_class) == (Status.COMPLETED, 1, IndexClass.COMPLETED)
    assert task.payload == {"simulate": {"workSeconds": 0}, "text": "grüße ☃"}
    assert task.result == {"workSeconds": 0, "attempt": 1}
    assert statuses(task) == ONE_RUN
    assert row.expires_at_seconds is not None
    assert row.expires_at_seconds >= row.updated_at // 1000 + 15 * 86_400
    until_queues_are_empty(stack)


def test_a_failed_attempt_is_repeated_after_at_least_the_backoff_it_owes(stack: DeployedStack) -> None:
    task = stack.tasks.submit(payload={"simulate": {"failAttempts": [1, 2]}}).wait()

    assert (task.status, task.attempts) == ("COMPLETED", 3)
    failed, begun = times(task, "FAILED_PENDING"), times(task, "PROCESSING")
    # Base 1 s: the waits lie in [0.5, 1] and [1, 2] seconds.
    assert milliseconds_between(failed[0], begun[1]) >= 500
    assert milliseconds_between(failed[1], begun[2]) >= 1000


def test_three_failures_end_in_the_dead_letter_queue_where_the_monitor_logs_and_records(stack: DeployedStack) -> None:
    submitted = stack.tasks.submit(payload={"simulate": {"failAttempts": [1, 2, 3]}, "secret": "hunter2"})
    submitted.wait()
    task = eventually(submitted.get, lambda task: task.dead_letters)

    assert (task.status, task.attempts) == ("FAILED_FINAL", 3)
    [letter] = task.dead_letters
    assert letter["error"] == "SimulatedFailure: attempt 3 failed"
    row = eventually(lambda: stack.store.get(task.task_id), lambda row: row and row.index_class is IndexClass.RECORDED)
    assert row is not None
    assert row.expires_at_seconds is not None
    [line] = eventually(lambda: logged(stack, "MonitorDlq", task.task_id))
    assert (line["message"], line["attempts"], line["error"]) == ("task dead", 3, "SimulatedFailure: attempt 3 failed")
    until_queues_are_empty(stack)
    functions = ("SubmitTask", "ProcessTask", "MonitorDlq")
    everything = eventually(lambda: [logged(stack, function, task.task_id) for function in functions], all)
    assert "hunter2" not in json.dumps(everything)


def test_a_message_without_a_task_changes_nothing_and_is_recorded_as_a_stray(stack: DeployedStack) -> None:
    ghost = new_id("ghost")
    body = body_of(Message(ghost, 1))
    message_id = stack.aws("sqs").send_message(QueueUrl=stack.outputs["queue_url"], MessageBody=body)["MessageId"]

    assert eventually(lambda: stray_of(stack, message_id))["reason"] == {"S": "no such task"}
    assert stack.store.get(ghost) is None


def test_the_same_body_under_the_same_id_is_the_same_task(stack: DeployedStack) -> None:
    task_id = new_id()
    first = stack.tasks.submit(payload={"a": 1, "b": 2}, task_id=task_id)
    again = stack.tasks.submit(payload={"b": 2, "a": 1}, task_id=task_id)

    assert (first.new, again.new) == (True, False)
    assert again.wait().attempts == 1
    assert stack.tasks.submit(payload={"a": 1, "b": 2}, task_id=task_id).new is False


def test_another_body_under_the_same_id_is_refused_and_leaves_the_task_alone(stack: DeployedStack) -> None:
    task_id = new_id()
    stack.tasks.submit(payload={"a": 1}, task_id=task_id)

    with pytest.raises(Conflict, match="another body"):
        stack.tasks.submit(payload={"a": 2}, task_id=task_id)
    assert stack.tasks.get(task_id).payload == {"a": 1}


def test_a_payload_of_200_kb_comes_back_whole(stack: DeployedStack) -> None:
    text = "päyload☃" * 11_000
    task = stack.tasks.submit(payload={"text": text}).wait()

    assert (task.status, task.payload) == ("COMPLETED", {"text": text})

    def items() -> Any:
        found = stack.dynamodb.query(
            TableName=stack.outputs["table_name"],
            KeyConditionExpression="PK = :pk",
            ExpressionAttributeValues={":pk": {"S": partition(task.task_id)}},
        )
        return sorted(found["Items"], key=lambda item: item["SK"]["S"])

    # The long payload expires with its task, never before it: that is written a call later.
    state, payload = eventually(items, lambda found: "expiresAt" in found[1])
    assert "payload" not in state
    assert int(payload["expiresAt"]["N"]) >= int(state["expiresAt"]["N"])


def test_a_short_delay_is_kept_by_the_queue(stack: DeployedStack) -> None:
    task = stack.tasks.submit(payload={}, delay_seconds=2).wait()

    assert milliseconds_between(times(task, "SUBMITTED")[0], times(task, "PROCESSING")[0]) >= 2000


def test_a_task_due_later_than_sqs_can_delay_is_parked_and_sent_by_the_sweeper_when_due(stack: DeployedStack) -> None:
    submitted = stack.tasks.submit(payload={}, delay_seconds=3600)
    row = stack.store.get(submitted.task_id)
    assert row is not None
    assert (row.status, row.index_class) == (Status.SUBMITTED, IndexClass.PARKED)

    sweep(stack)
    assert submitted.get().status == "SUBMITTED"

    make_due(stack, submitted.task_id)
    sweep(stack)
    task = submitted.wait()
    assert (task.status, task.attempts) == ("COMPLETED", 1)


def test_a_failed_task_that_asks_for_a_long_wait_is_parked_and_its_message_let_go(stack: DeployedStack) -> None:
    orders = {"failAttempts": [1], "retryAfterSeconds": 1000}
    submitted = stack.tasks.submit(payload={"simulate": orders})
    row = eventually(lambda: stack.store.get(submitted.task_id), lambda row: row and row.attempts and row.parked)
    assert row is not None
    assert (row.status, row.message_id) == (Status.FAILED_PENDING, None)

    make_due(stack, submitted.task_id)
    sweep(stack)
    task = submitted.wait()
    assert (task.status, task.attempts) == ("COMPLETED", 2)


def test_a_task_whose_message_is_lost_is_sent_again_by_the_sweeper(stack: DeployedStack) -> None:
    then = 1_700_000_000_000
    lost = silent_task(stack, created_at=then, updated_at=then, sent_at=then).task_id

    eventually(lambda: sweep(stack), lambda healed: healed["resent"] or stack.tasks.get(lost).attempts)
    task = eventually(lambda: stack.tasks.get(lost), lambda task: task.ended)
    assert (task.status, task.attempts) == ("COMPLETED", 1)
