"""Messages given to functions by hand, as a queue's mapping gives them, and what a mapping makes of the answer."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from bootstrap.operate import switch
from lambdas.common import rows
from lambdas.common.queue import body_of
from lambdas.common.task import Message, Task
from tests.support.stack import DeployedStack, new_id
from tests.support.tasks import a_task, planted

FAILURES, IDENTIFIER = "batchItemFailures", "itemIdentifier"
MOST_WRITES = 25
"""Of one BatchWriteItem."""


def problem(response: object, sent: Collection[str]) -> str | None:
    """What is wrong with a partial batch response, or None. `sent` are the ids of the messages of the batch.

    Stricter than AWS (Lambda, "Reporting batch item failures"), where a wrong key at the top deletes what failed, and
    most other slips make the whole batch come again.
    """
    if not isinstance(response, dict) or set(response) != {FAILURES}:
        return f"not an object with {FAILURES} alone"
    failures = response[FAILURES]
    if not isinstance(failures, list):
        return f"{FAILURES} is no list"
    named = [_identifier(failure) for failure in failures]
    if None in named:
        return f"a failure is no object with {IDENTIFIER} alone"
    if not set(named) <= set(sent):
        return "a failure names a message that was not in the batch"
    return "a message is named twice" if len(set(named)) < len(named) else None


def _identifier(failure: object) -> str | None:
    if not isinstance(failure, dict) or set(failure) != {IDENTIFIER}:
        return None
    found = failure[IDENTIFIER]
    return found if isinstance(found, str) else None


def a_record(body: str, message_id: str | None = None, receives: int = 1) -> dict[str, Any]:
    """A message as a mapping gives it to a function; its receipt handle is one that the queue never gave."""
    message_id = message_id or str(uuid.uuid4())
    attributes = {"ApproximateReceiveCount": str(receives)}
    return {"messageId": message_id, "receiptHandle": f"no receipt of {message_id}", "body": body} | {
        "attributes": attributes
    }


def a_delivery(task: Task, message_id: str | None = None, generation: int | None = None) -> dict[str, Any]:
    return a_record(body_of(Message(task.task_id, generation or task.generation)), message_id)


def deliver(
    stack: DeployedStack, records: Sequence[Mapping[str, Any]], function: str = "ProcessTask", **more: Any
) -> list[str]:
    """Hand a batch to a function (logical id), past the queue: the ids that its well-formed response names."""
    name, event = stack.outputs["functions"][function], {"Records": records, **more}
    answer = stack.aws("lambda").invoke(FunctionName=name, Payload=json.dumps(event))
    response = json.loads(answer["Payload"].read())
    wrong = problem(response, [record["messageId"] for record in records])
    assert wrong is None, f"{wrong}: {response}"
    return [failure[IDENTIFIER] for failure in response[FAILURES]]


def silent_task(stack: DeployedStack, payload: Mapping[str, Any] | None = None, **changes: Any) -> Task:
    """A task of the stack, just submitted, whose message was never sent."""
    now = time.time_ns() // 1_000_000
    moments = {"created_at": now, "updated_at": now, "sent_at": now}
    texts = {"task_id": new_id("silent"), "token": new_id(), "payload": json.dumps(payload or {})}
    return planted(stack.store, a_task(**{**moments, **texts, **changes}))


def forget(stack: DeployedStack, ids: Sequence[str]) -> None:
    """Take tasks that have ended out of the table: to count many of them keeps an emulator busy for seconds."""
    dynamodb, table = stack.aws("dynamodb"), stack.outputs["table_name"]
    for start in range(0, len(ids), MOST_WRITES):
        keys = [
            {"PK": {"S": rows.partition(task_id)}, "SK": {"S": rows.STATE}} for task_id in ids[start:][:MOST_WRITES]
        ]
        dynamodb.batch_write_item(RequestItems={table: [{"DeleteRequest": {"Key": key}} for key in keys]})


@contextmanager
def paused(stack: DeployedStack) -> Iterator[None]:
    """Inside, messages wait in the queue."""
    mappings, mapping_id = stack.aws("lambda"), stack.outputs["mapping_id"]
    switch(mappings, mapping_id, "Disabled", 0.1)
    try:
        yield
    finally:
        switch(mappings, mapping_id, "Enabled", 0.1)


def invocations(stack: DeployedStack, function: str) -> list[list[dict[str, Any]]]:
    """What each invocation of a function (logical id) has logged so far, in no order."""
    group = f"/aws/lambda/{stack.outputs['functions'][function]}"
    streams: dict[str, list[str]] = {}
    for event in stack.aws("logs").filter_log_events(logGroupName=group)["events"]:
        streams.setdefault(event["logStreamName"], []).append(event["message"])
    return [
        [json.loads(line) for line in part.splitlines() if line.startswith("{")]
        for lines in streams.values()
        for part in re.split(r"^END RequestId.*$", "\n".join(lines), flags=re.MULTILINE)
    ]
