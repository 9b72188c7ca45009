"""What tests of a deployed stack ask of it: its API, tables, queues and logs, and what a task's history shows."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import requests
from botocore.exceptions import ClientError

from client import Submitted, Task, TaskClient
from lambdas.common.rows import partition, stray_partition
from lambdas.common.task import Task as Row
from tests.support.stack import DeployedStack
from tests.support.waiting import eventually

ONE_RUN = ["SUBMITTED", "PROCESSING", "COMPLETED"]
TWO_RUNS = ["SUBMITTED", "PROCESSING", "FAILED_PENDING", "PROCESSING", "COMPLETED"]
# How deliveries end, as the functions log it.
A_COPY = "acknowledged: a copy of the message that holds this task"
BUSY = "deferred: busy or backing off"
STALE = "stale worker: the task has gone on without it"
LATE_SECONDS = 5
"""A line that is awaited for longer may be one that an emulator holds back."""
WORKERS = 4
"""Calls at once that reach every worker of a function in these tests."""
NOTHING = json.dumps(
    {"Records": [], "resource": "/tasks", "httpMethod": "POST", "headers": {}, "body": "no JSON"}
).encode()
"""An event in which SubmitTask, ProcessTask and MonitorDlq find nothing to do."""
_first_looks: dict[tuple[str, str], float] = {}
QUEUE_COUNTS = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)

# The API. -------------------------------------------------------------------------------------------------------------


def call(stack: DeployedStack, method: str, path: str, body: str = "", **query: str) -> requests.Response:
    """A request with the key of the stack."""
    headers = {"x-api-key": stack.outputs["api_key"], "Content-Type": "application/json"}
    url = stack.outputs["base_url"] + path
    return requests.request(method, url, params=query, data=body.encode(), headers=headers, timeout=60)


def once(stack: DeployedStack) -> TaskClient:
    """A client that does not repeat a request by itself."""
    return TaskClient(stack.outputs["api_url"], stack.outputs["api_key"], tries=1, timeout=120)


# A task's history. ----------------------------------------------------------------------------------------------------


def statuses(task: Task) -> list[str]:
    return [entry["status"] for entry in task.timeline]


def times(task: Task, status: str) -> list[str]:
    return [entry["at"] for entry in task.timeline if entry["status"] == status]


def milliseconds_between(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)) / timedelta(milliseconds=1)


# The tables. ----------------------------------------------------------------------------------------------------------


def accounts_table(stack: DeployedStack) -> str:
    return f"{stack.outputs['stage']}-accounts"


def balance(stack: DeployedStack, account: str) -> int | None:
    key = {"account": {"S": account}}
    found = stack.dynamodb.get_item(TableName=accounts_table(stack), Key=key, ConsistentRead=True)
    return int(found["Item"]["balance"]["N"]) if "Item" in found else None


def row_of(stack: DeployedStack, submitted: Submitted) -> Row:
    row = stack.store.get(submitted.task_id)
    assert row is not None
    return row


def stray_of(stack: DeployedStack, message_id: str) -> Any:
    """The record of a message that belongs to no task."""
    key: Any = {"PK": {"S": stray_partition(message_id)}, "SK": {"S": "D#000000"}}
    return stack.dynamodb.get_item(TableName=stack.outputs["table_name"], Key=key).get("Item")


def make_due(stack: DeployedStack, task_id: str) -> None:
    """Turn the row's clock: a parked task that was due a minute ago."""
    row = stack.store.get(task_id)
    assert row is not None
    assert row.next_attempt_at is not None
    due = row.created_at - 60_000
    stack.dynamodb.update_item(
        TableName=stack.outputs["table_name"],
        Key={"PK": {"S": partition(task_id)}, "SK": {"S": "A"}},
        UpdateExpression="SET nextAttemptAt = :due, classSort = :sort",
        ExpressionAttributeValues={":due": {"N": str(due)}, ":sort": {"S": f"{due:013d}#{task_id}"}},
    )


# The queues and the sweeper. ------------------------------------------------------------------------------------------


def until_queues_are_empty(stack: DeployedStack) -> None:
    """A message that nobody gave back comes again only after the visibility timeout: up to 180 s, in the DLQ."""
    eventually(lambda: queue_counts(stack), lambda counts: not any(counts), seconds=240)


def queue_counts(stack: DeployedStack) -> list[int]:
    """Messages waiting, hidden and delayed, in the queue and the dead-letter queue."""
    sqs, names = stack.aws("sqs"), list(QUEUE_COUNTS)
    urls = (stack.outputs["queue_url"], stack.outputs["dlq_url"])
    found = [sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"] for url in urls]
    return [int(counts[name]) for counts in found for name in names]


def sweep(stack: DeployedStack) -> dict[str, int]:
    """Run the sweeper now."""
    answer = stack.aws("lambda").invoke(FunctionName=stack.outputs["functions"]["SweepTasks"])
    found: dict[str, int] = json.loads(answer["Payload"].read())
    return found


def swept_until_done(stack: DeployedStack, task_id: str) -> Task:
    """The client is silent; only the sweeper can help."""

    def look() -> Task:
        sweep(stack)
        return stack.tasks.get(task_id)

    return eventually(look, lambda task: task.ended)


# The logs. ------------------------------------------------------------------------------------------------------------


def logged(stack: DeployedStack, function: str, task_id: str) -> list[dict[str, Any]]:
    """What a function has logged about a task, oldest first.

    MiniStack waits 50 ms for what a worker prints, and shows what comes later only at the next call of that worker:
    whoever has looked for a while calls them.
    """
    name, now = stack.outputs["functions"][function], time.monotonic()
    if now - _first_looks.setdefault((name, task_id), now) > LATE_SECONDS:
        call_workers(stack, name)
    group = f"/aws/lambda/{name}"
    events = stack.aws("logs").filter_log_events(logGroupName=group, filterPattern=f'"{task_id}"')["events"]
    lines = (json.loads(event["message"]) for event in events if task_id in event["message"])
    return [line for line in lines if line.get("task_id") == task_id]


def call_workers(stack: DeployedStack, name: str) -> None:
    """Each worker of a function once, with nothing to do; where the function takes no calls, none."""
    functions = stack.aws("lambda")

    def call(_: int) -> None:
        with suppress(ClientError):
            functions.invoke(FunctionName=name, Payload=NOTHING)["Payload"].read()

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(call, range(WORKERS)))


def ends(stack: DeployedStack, task_id: str, function: str = "ProcessTask") -> list[str]:
    """How the deliveries of a task have ended, oldest first."""
    return [line["message"] for line in logged(stack, function, task_id)]


def log_lines(stack: DeployedStack) -> Iterator[str]:
    """Every line in every log group."""
    logs = stack.aws("logs")
    for page in logs.get_paginator("describe_log_groups").paginate():
        for group in page["logGroups"]:
            for events in logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"]):
                yield from (event["message"] for event in events["events"])
