"""The original design, its faults kept, as the measure for ours. Nothing here is used by the system.

One row per task, one message with the payload; three writes on the way of a good task, none of them fenced. Faults are
marked where they are; docs/guarantees.md says what became of each.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

Json = dict[str, Any]
Response = tuple[int, Json]
Record = Mapping[str, Any]
"""A message as Lambda hands it to a function."""

TABLE = {
    "AttributeDefinitions": [{"AttributeName": "taskId", "AttributeType": "S"}],
    "KeySchema": [{"AttributeName": "taskId", "KeyType": "HASH"}],
    "BillingMode": "PAY_PER_REQUEST",
}
MAX_ATTEMPTS = 3
"""Also the queue's maxReceiveCount. Fault: a receive that nobody got, or a throttled one, is an attempt less."""


@dataclass(frozen=True)
class Original:
    """The three functions, on the clients that they are given. `now` is in milliseconds."""

    dynamodb: Any
    table: str
    sqs: Any
    queue_url: str
    dlq_url: str
    now: Callable[[], int]
    new_id: Callable[[], str]
    backoff_base_seconds: int = 5

    def submit(self, body: Json) -> Response:
        """POST /tasks."""
        response: Response | None = None
        if not isinstance(body.get("payload"), dict):
            response = 400, {"message": "payload is required"}  # fault: no return, so the task is accepted all the same
        task_id = body.get("taskId") or self.new_id()
        row = {
            "taskId": {"S": task_id},
            "payload": {"S": json.dumps(body.get("payload"))},
            "status": {"S": "SUBMITTED"},
            "attempts": {"N": "0"},
            "createdAt": {"N": str(self.now())},
            "updatedAt": {"N": str(self.now())},
        }
        try:
            self.dynamodb.put_item(TableName=self.table, Item=row, ConditionExpression="attribute_not_exists(taskId)")
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            return 409, {"message": "Task already exists", "taskId": task_id}
        # Fault: when this fails the task is lost, and the client's next try is a 409.
        message = json.dumps({"taskId": task_id, "payload": body.get("payload")})
        self.sqs.send_message(QueueUrl=self.queue_url, MessageBody=message)
        return response or (202, {"message": "Task accepted", "taskId": task_id})

    def attempt(self, record: Record, work: Callable[[Json, int], Json]) -> bool:
        """One delivery; False reports it to SQS as failed."""
        message = json.loads(record["body"])
        task_id = message["taskId"]
        # Fault: no condition, so a duplicate works on a COMPLETED task again; a repeated call counts twice.
        row = self._update(task_id, "SET #status = :status, updatedAt = :now ADD attempts :one", "PROCESSING", one=1)
        attempts = int(row["attempts"]["N"])
        try:
            result = work(message["payload"], attempts)
        except Exception as error:  # noqa: BLE001  whatever the work raises is a failed attempt
            self._fail(task_id, attempts, record["receiptHandle"], str(error))
            return False
        # Fault: whoever comes last wins, also over a CANCELLED or FAILED_FINAL row. A worker that dies before this line
        # leaves PROCESSING behind for ever.
        self._update(task_id, "SET #status = :status, updatedAt = :now, #result = :result", "COMPLETED", result=result)
        return True

    def monitor(self, record: Record, log: Callable[[Json], None]) -> None:
        """One message of the dead-letter queue."""
        task_id = json.loads(record["body"])["taskId"]  # fault: a body that is not JSON comes again for ever
        found = self.dynamodb.get_item(TableName=self.table, Key={"taskId": {"S": task_id}})
        log({"event": "task dead", "taskId": task_id, "task": found.get("Item")})
        # Fault: this was the only message; nothing is left that could be replayed.
        self.sqs.delete_message(QueueUrl=self.dlq_url, ReceiptHandle=record["receiptHandle"])

    def _fail(self, task_id: str, attempts: int, receipt_handle: str, error: str) -> None:
        final = attempts >= MAX_ATTEMPTS
        status = "FAILED_FINAL" if final else "FAILED_PENDING"
        self._update(task_id, "SET #status = :status, updatedAt = :now, #error = :error", status, error=error)
        if not final:
            wait = self.backoff_base_seconds * 2 ** (attempts - 1)  # fault: no jitter
            self.sqs.change_message_visibility(
                QueueUrl=self.queue_url, ReceiptHandle=receipt_handle, VisibilityTimeout=wait
            )

    def _update(self, task_id: str, expression: str, status: str, **values: Any) -> Json:
        names = {f"#{name}": name for name in ("status", "result", "error") if f"#{name}" in expression}
        texts = {f":{name}": _wire(value) for name, value in values.items()}
        answer = self.dynamodb.update_item(
            TableName=self.table,
            Key={"taskId": {"S": task_id}},
            UpdateExpression=expression,
            ExpressionAttributeNames=names,
            ExpressionAttributeValues={":status": {"S": status}, ":now": {"N": str(self.now())}, **texts},
            ReturnValues="ALL_NEW",
        )
        row: Json = answer["Attributes"]
        return row


def _wire(value: Any) -> Json:
    if isinstance(value, int):
        return {"N": str(value)}
    return {"S": value if isinstance(value, str) else json.dumps(value)}
