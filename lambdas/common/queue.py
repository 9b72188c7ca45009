"""The queue: send a message for a task, change how long a delivery stays hidden."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from lambdas.common.task import VERSION, Message

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

MAX_DELAY_SECONDS = 900
"""SQS holds a message back for at most 15 minutes (SendMessage, DelaySeconds); a task that is due later is parked."""

BATCH_ENTRIES = 10
"""Most that one SendMessageBatch takes."""


def body_of(message: Message) -> str:
    return json.dumps({"v": VERSION, "taskId": message.task_id, "generation": message.generation})


@dataclass(frozen=True, slots=True)
class Depth:
    """Messages of a queue: to be received, received and not yet deleted, held back."""

    waiting: int
    in_flight: int
    delayed: int


class TaskQueue:
    def __init__(self, client: SQSClient, url: str) -> None:
        self._client = client
        self._url = url

    def send(self, message: Message, delay_seconds: int = 0) -> None:
        self._client.send_message(QueueUrl=self._url, MessageBody=body_of(message), DelaySeconds=delay_seconds)

    def send_all(self, messages: Sequence[tuple[Message, int]]) -> dict[Message, str]:
        """Send many, each with its delay in seconds; those that SQS did not confirm, with the reason."""
        batches = [messages[start : start + BATCH_ENTRIES] for start in range(0, len(messages), BATCH_ENTRIES)]
        with ThreadPoolExecutor(max_workers=len(batches) or 1) as pool:
            return {message: why for unsent in pool.map(self._send_batch, batches) for message, why in unsent.items()}

    def _send_batch(self, messages: Sequence[tuple[Message, int]]) -> dict[Message, str]:
        entries: list[Any] = [
            {"Id": str(number), "MessageBody": body_of(message), "DelaySeconds": delay}
            for number, (message, delay) in enumerate(messages)
        ]
        try:
            answer = self._client.send_message_batch(QueueUrl=self._url, Entries=entries)
        except (BotoCoreError, ClientError) as error:
            return {message: f"{type(error).__name__}: {error}"[:300] for message, _ in messages}
        sent = {entry["Id"] for entry in answer.get("Successful", [])}
        codes = {entry["Id"]: str(entry["Code"]) for entry in answer.get("Failed", [])}
        ids = {message: str(number) for number, (message, _) in enumerate(messages)}
        return {message: codes.get(at, "not confirmed") for message, at in ids.items() if at not in sent}

    def depth(self) -> Depth:
        """SQS counts approximately."""
        names: list[Any] = [f"ApproximateNumberOfMessages{part}" for part in ("", "NotVisible", "Delayed")]
        counts = self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=names)["Attributes"]
        return Depth(*(int(counts[name]) for name in names))

    def waiting(self) -> int:
        """Messages that wait to be received, delayed ones too; SQS counts approximately."""
        depth = self.depth()
        return depth.waiting + depth.delayed

    def hide(self, receipt_handle: str, seconds: int) -> None:
        """Deliver this receipt's message again after `seconds`, at most 43,200."""
        self._client.change_message_visibility(
            QueueUrl=self._url, ReceiptHandle=receipt_handle, VisibilityTimeout=seconds
        )
