"""The queue: send a message for a task, change how long a delivery stays hidden."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lambdas.common.task import VERSION, Message

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

MAX_DELAY_SECONDS = 900
"""SQS holds a message back for at most 15 minutes (SendMessage, DelaySeconds); a task that is due later is parked."""


def body_of(message: Message) -> str:
    return json.dumps({"v": VERSION, "taskId": message.task_id, "generation": message.generation})


class TaskQueue:
    def __init__(self, client: SQSClient, url: str) -> None:
        self._client = client
        self._url = url

    def send(self, message: Message, delay_seconds: int = 0) -> None:
        self._client.send_message(QueueUrl=self._url, MessageBody=body_of(message), DelaySeconds=delay_seconds)

    def waiting(self) -> int:
        """Messages that wait to be received, delayed ones too; SQS counts approximately."""
        names: list[Any] = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed"]
        counts = self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=names)["Attributes"]
        return sum(int(counts[name]) for name in names)

    def hide(self, receipt_handle: str, seconds: int) -> None:
        """Deliver this receipt's message again after `seconds`, at most 43,200."""
        self._client.change_message_visibility(
            QueueUrl=self._url, ReceiptHandle=receipt_handle, VisibilityTimeout=seconds
        )
