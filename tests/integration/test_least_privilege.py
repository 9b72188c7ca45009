"""Least privilege, both ways: each function may do all that it does (IAM is enforced), and does all that it may.

The deployed functions note their own SDK calls, made under their own roles, while a run goes through everything that
the system can do. What no function was seen to do must be an action that a service makes for it, with its AWS page.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from client import Submitted
from lambdas.common.rows import partition
from lambdas.common.task import IndexClass, Status
from tests.support import recording
from tests.support.iam_uses import Use
from tests.support.looking import call, make_due, sweep
from tests.support.stack import DeployedStack, new_id, unscheduled
from tests.support.tasks import dead
from tests.support.waiting import eventually

LONG = {"text": "long " * 1000}
"""Kept beside the row."""
LONG_AGO = 1_700_000_000_000
POLLS = "https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html#events-sqs-permissions"
LOGS = "https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs.html#monitoring-cloudwatchlogs-prereqs"
ACTIONS = "https://docs.aws.amazon.com/service-authorization/latest/reference/list_awslambda.html"


@dataclass(frozen=True)
class ByService:
    """What is granted to functions whose code never asks for it: function (logical id) -> resource."""

    actions: tuple[str, ...]
    on: Mapping[str, str]
    """{name} is the function's name, {stage} the stage, {mapping} the event source mapping of ProcessTask."""
    why: str
    page: str


ALL = ("SubmitTask", "QueryTasks", "ProcessTask", "MonitorDlq", "SweepTasks", "SteerTasks")
BY_SERVICE = (
    ByService(
        ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"),
        {"ProcessTask": "{stage}-tasks", "MonitorDlq": "{stage}-tasks-dlq"},
        "The poller of the event source mapping acts under the role of the function.",
        POLLS,
    ),
    ByService(
        ("logs:CreateLogStream", "logs:PutLogEvents"),
        dict.fromkeys(ALL, "log-group:/aws/lambda/{name}:*"),
        "Lambda writes what the function prints.",
        LOGS,
    ),
    ByService(
        ("sqs:SendMessageBatch",),
        {"SubmitTask": "{stage}-tasks"},
        "MiniStack asks for it where AWS asks for SendMessage; AWS knows no such action.",
        "https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsqs.html",
    ),
    ByService(
        ("lambda:ListEventSourceMappings",),
        {"SweepTasks": "event-source-mapping:{mapping}"},
        "MiniStack asks for it where AWS asks for GetEventSourceMapping; on one mapping, AWS grants nothing by it.",
        ACTIONS,
    ),
)


@dataclass(frozen=True)
class Run:
    stack: DeployedStack
    file: Path

    def used(self, function: str, denied: bool = False) -> frozenset[Use]:
        return recording.used(self.file, function, denied)


@pytest.fixture(scope="module")
def run(embedded_stack: DeployedStack) -> Iterator[Run]:
    """After everything has happened once on a stack whose functions note their calls."""
    made = Run(embedded_stack, embedded_stack.folder / "calls.jsonl")
    # The sweeper would send what another function is to send again.
    with unscheduled(embedded_stack), recording.recorded(embedded_stack, made.file):
        everything(embedded_stack)
        yield made


def everything(stack: DeployedStack) -> None:
    """All that the system can do, once."""
    stack.tasks.submit(payload={"simulate": {"failAttempts": [1]}}).wait()
    stack.tasks.submit(payload=LONG).wait()
    assert stack.tasks.submit("every-effect", {}).wait().status == "COMPLETED"
    stack.aws("s3").put_object(Bucket=stack.outputs["data_bucket"], Key="in/a.csv", Body=b"city\nBern\n")
    assert stack.tasks.submit("csv-summary", {"key": "in/a.csv", "groupBy": "city"}).wait().status == "COMPLETED"
    assert stack.tasks.cancel(stack.tasks.submit(payload={}, delay_seconds=3600).task_id)
    submit_together_and_look(stack)
    for payload in ({}, LONG):
        die_and_live_again(stack, {"simulate": {"permanent": True}, **payload})
    send_again(stack)
    hand_back(stack)
    heal(stack)


def submit_together_and_look(stack: DeployedStack) -> None:
    """The calls of many tasks: a batch, a list, the stats; and a batch of replays that finds nothing to do."""
    ids = [new_id("batch") for _ in range(2)]
    body = json.dumps({"tasks": [{"taskId": one, "payload": {}} for one in ids]})
    answer = call(stack, "POST", "/tasks/batch", body)
    assert [result["status"] for result in answer.json()["results"]] == [202, 202]
    for one in ids:
        eventually(partial(stack.tasks.get, one), lambda task: task.ended)
    assert [call(stack, "GET", path).status_code for path in ("/tasks", "/stats")] == [200, 200]
    replayed = call(stack, "POST", "/dead-letters/redrive", json.dumps({"tasks": [{"taskId": ids[0]}]}))
    assert [result["status"] for result in replayed.json()["results"]] == [409]


def die_and_live_again(stack: DeployedStack, payload: dict[str, Any]) -> None:
    submitted = stack.tasks.submit(payload=payload)
    eventually(submitted.get, lambda task: task.dead_letters)
    eventually(lambda: [one for one in stack.tasks.dead_letters() if one.task_id == submitted.task_id])
    eventually(lambda: call(stack, "POST", f"/tasks/{submitted.task_id}/redrive").status_code, lambda code: code == 202)
    eventually(submitted.get, lambda task: len(task.dead_letters) == 2)


def silent(stack: DeployedStack) -> Submitted:
    """A task that was to begin long ago, whose message is still held back."""
    submitted = stack.tasks.submit(payload={}, delay_seconds=900, task_id=new_id("silent"))
    stack.dynamodb.update_item(
        TableName=stack.outputs["table_name"],
        Key={"PK": {"S": partition(submitted.task_id)}, "SK": {"S": "A"}},
        UpdateExpression="SET sentAt = :then, nextAttemptAt = :then",
        ExpressionAttributeValues={":then": {"N": str(LONG_AGO)}},
    )
    return submitted


def send_again(stack: DeployedStack) -> None:
    """A client repeats a submit whose message is lost."""
    task_id = silent(stack).task_id
    assert stack.tasks.submit(payload={}, delay_seconds=900, task_id=task_id).new is False
    eventually(lambda: stack.tasks.get(task_id), lambda task: task.ended)


def hand_back(stack: DeployedStack) -> None:
    """A message in the dead-letter queue, with attempts of its task left."""
    submitted = silent(stack)
    body = json.dumps({"v": 1, "taskId": submitted.task_id, "generation": 1})
    stack.aws("sqs").send_message(QueueUrl=stack.outputs["dlq_url"], MessageBody=body)
    eventually(submitted.get, lambda task: task.ended)


def heal(stack: DeployedStack) -> None:
    """The sweeper finds a parked task that is due, a lost message, a death that nobody recorded, and cursors."""
    parked = stack.tasks.submit(payload={}, delay_seconds=3600)
    make_due(stack, parked.task_id)
    old = {"created_at": LONG_AGO, "updated_at": LONG_AGO, "sent_at": LONG_AGO, "timeline": ()}
    unrecorded = dead(task_id=new_id("dead"), **old)
    stack.store.create(unrecorded, "{}", LONG_AGO)
    stack.store.set_cursor(f"{IndexClass.OPEN}#0", "0")
    sweep(stack)
    eventually(parked.get, lambda task: task.ended)
    row = stack.store.get(unrecorded.task_id)
    assert row is not None
    assert (row.status, row.index_class) == (Status.FAILED_FINAL, IndexClass.RECORDED)


def by_service(stack: DeployedStack, function: str) -> set[Use]:
    names = {
        "name": stack.outputs["functions"][function],
        "stage": stack.outputs["stage"],
        "mapping": stack.outputs["mapping_id"],
    }
    lines = [line for line in BY_SERVICE if function in line.on]
    return {(action, line.on[function].format(**names)) for line in lines for action in line.actions}


@pytest.mark.parametrize("function", ALL)
def test_a_function_is_granted_what_it_uses_and_nothing_else(run: Run, function: str) -> None:
    granted, used = recording.granted(run.stack, function), run.used(function)

    assert run.used(function, denied=True) == frozenset(), "the role refuses what the function does"
    assert sorted(used - granted) == [], "used, but not granted by any policy"
    assert sorted(granted - used) == sorted(by_service(run.stack, function)), "granted and unused, against the list"


def test_each_function_has_a_role_of_its_own(run: Run) -> None:
    assert sorted(run.stack.outputs["functions"]) == sorted(ALL)
    assert len({recording.role_of(run.stack, function) for function in ALL}) == len(ALL)
