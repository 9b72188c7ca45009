"""A queue with its dead-letter queue, received by hand: the test is the poller, and its clock ends the visibility."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from tests.support.stack import new_id
from tests.support.tasks import Clock

BATCH = 10
HELD_SECONDS = 3_600
"""Visibility time-out given to a real queue: longer than any test, whose own clock decides when a message is back."""


# In memory. ----------------------------------------------------------------------------------------------------------


@dataclass
class _Kept:
    message_id: str
    body: str
    receives: int = 0
    hidden: bool = False
    receipt: str | None = None


@dataclass
class FakeSQS:
    """Two queues behind the methods of boto3's client. What is hidden stays so until its visibility is set to 0.

    Only the latest receipt handle counts; an older one is an error.
    """

    max_receives: int
    url: str = "queue"
    dlq_url: str = "dlq"
    _queues: dict[str, list[_Kept]] = field(default_factory=lambda: {"queue": [], "dlq": []})
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def send_message(self, QueueUrl: str, MessageBody: str, DelaySeconds: int = 0) -> dict[str, Any]:  # noqa: N803  boto3's names
        assert not DelaySeconds, "the fake holds nothing back"
        kept = _Kept(f"id-{next(self._numbers)}", MessageBody)
        self._queues[QueueUrl].append(kept)
        return {"MessageId": kept.message_id}

    def receive_message(self, **request: Any) -> dict[str, Any]:
        url = request["QueueUrl"]
        found = [kept for kept in self._queues[url] if not kept.hidden]
        if url == self.url:
            self._carry_over([kept for kept in found if kept.receives >= self.max_receives])
            found = [kept for kept in found if kept.receives < self.max_receives]
        return {"Messages": [self._handed_out(kept) for kept in found[: request["MaxNumberOfMessages"]]]}

    def _carry_over(self, dead: list[_Kept]) -> None:
        for kept in dead:
            self._queues[self.url].remove(kept)
            self._queues[self.dlq_url].append(_Kept(kept.message_id, kept.body))

    def _handed_out(self, kept: _Kept) -> dict[str, Any]:
        kept.receives, kept.hidden, kept.receipt = kept.receives + 1, True, f"receipt-{next(self._numbers)}"
        attributes = {"ApproximateReceiveCount": str(kept.receives)}
        return {
            "MessageId": kept.message_id,
            "ReceiptHandle": kept.receipt,
            "Body": kept.body,
            "Attributes": attributes,
        }

    def delete_message(self, QueueUrl: str, ReceiptHandle: str) -> None:  # noqa: N803  boto3's names
        self._queues[QueueUrl].remove(self._of(QueueUrl, ReceiptHandle, "DeleteMessage"))

    def change_message_visibility(self, **request: Any) -> None:
        kept = self._of(request["QueueUrl"], request["ReceiptHandle"], "ChangeMessageVisibility")
        kept.hidden = request["VisibilityTimeout"] > 0

    def get_queue_attributes(self, QueueUrl: str, AttributeNames: list[str]) -> dict[str, Any]:  # noqa: N803  boto3's names
        waiting = sum(not kept.hidden for kept in self._queues[QueueUrl])
        return {"Attributes": {name: "0" if "Delayed" in name else str(waiting) for name in AttributeNames}}

    def _of(self, url: str, receipt: str, operation: str) -> _Kept:
        for kept in self._queues[url]:
            if kept.receipt == receipt:
                return kept
        raise _error("ReceiptHandleIsInvalid", operation)


@contextmanager
def real_queues(client: Any, max_receives: int) -> Iterator[tuple[str, str]]:
    """URLs of a queue and its dead-letter queue on an emulator, while this lasts."""
    name = new_id("polled")
    dlq_url = client.create_queue(QueueName=f"{name}-dlq")["QueueUrl"]
    arn = client.get_queue_attributes(QueueUrl=dlq_url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": max_receives})
    url = client.create_queue(QueueName=name, Attributes={"RedrivePolicy": policy})["QueueUrl"]
    yield url, dlq_url
    client.delete_queue(QueueUrl=url)
    client.delete_queue(QueueUrl=dlq_url)


# The poller. ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Receipt:
    """One receive of one message."""

    message_id: str
    handle: str
    body: str
    number: int
    """How often it had been received from its queue then."""
    dead: bool
    """From the dead-letter queue."""

    @property
    def record(self) -> dict[str, Any]:
        """As Lambda's event source mapping hands it to a function."""
        return {
            "messageId": self.message_id,
            "receiptHandle": self.handle,
            "body": self.body,
            "attributes": {"ApproximateReceiveCount": str(self.number)},
        }


@dataclass
class Waiting:
    """A message in a queue, as its answers so far say that it must be."""

    message_id: str
    body: str
    dead: bool = False
    receives: int = 0
    hidden_until: int = 0
    handle: str | None = None


class Poller:
    """What receives and deletes, and the SQS client of the code under test, whose calls it carries out and remembers.

    Every receive is held to what must be there: a message lost, doubled or miscounted by the queue fails the test.
    """

    def __init__(self, client: Any, urls: tuple[str, str], max_receives: int, clock: Clock) -> None:
        self._client, self._urls, self._max_receives, self._clock = client, urls, max_receives, clock
        self.messages: dict[str, Waiting] = {}
        self._handles: dict[str, str] = {}

    def hidden(self, waiting: Waiting) -> bool:
        return waiting.hidden_until > self._clock()

    # For the code under test. ----------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return self._urls[0]

    def send_message(self, **request: Any) -> Any:
        answer = self._client.send_message(**request)
        self.messages[answer["MessageId"]] = Waiting(answer["MessageId"], request["MessageBody"])
        return answer

    def change_message_visibility(self, **request: Any) -> None:
        """A message that is not hidden is refused as AWS does; one emulator would hide it, the other say nothing."""
        waiting = self.messages.get(self._handles[request["ReceiptHandle"]])
        if waiting is None or waiting.dead or not self.hidden(waiting):
            raise _error("MessageNotInflight", "ChangeMessageVisibility")
        seconds = request["VisibilityTimeout"]
        self._client.change_message_visibility(**{**request, "VisibilityTimeout": HELD_SECONDS if seconds else 0})
        waiting.hidden_until = self._clock() + 1000 * seconds

    def get_queue_attributes(self, **request: Any) -> Any:
        return self._client.get_queue_attributes(**request)

    # For the test. ---------------------------------------------------------------------------------------------------

    def receive(self, dead: bool, visibility_seconds: int) -> list[Receipt]:
        """All that is visible in one queue; what has used up its receives moves to the dead-letter queue instead."""
        visible = [w for w in self.messages.values() if w.dead == dead and not self.hidden(w)]
        if not visible:
            return []
        worn_out = [w for w in visible if not dead and w.receives >= self._max_receives]
        expected = {w.message_id for w in visible if w not in worn_out}
        received = self._received(dead)
        assert [m["MessageId"] for m in received if m["MessageId"] not in expected] == []
        assert {m["MessageId"] for m in received} == expected, "a message that must be there was not received"
        assert len(received) == len(expected)
        for waiting in worn_out:
            waiting.dead, waiting.receives, waiting.handle = True, 0, None
        return [self._receipt(message, visibility_seconds) for message in received]

    def _received(self, dead: bool) -> list[Mapping[str, Any]]:
        received: list[Mapping[str, Any]] = []
        while True:
            answer = self._client.receive_message(
                QueueUrl=self._urls[dead],
                MaxNumberOfMessages=BATCH,
                VisibilityTimeout=HELD_SECONDS,
                MessageSystemAttributeNames=["All"],
            )
            if not answer.get("Messages"):
                return received
            received += answer["Messages"]

    def _receipt(self, message: Mapping[str, Any], visibility_seconds: int) -> Receipt:
        waiting = self.messages[message["MessageId"]]
        waiting.receives += 1
        waiting.hidden_until = self._clock() + 1000 * visibility_seconds
        waiting.handle = message["ReceiptHandle"]
        self._handles[waiting.handle] = waiting.message_id
        if not waiting.dead:  # whether the count begins anew in the dead-letter queue differs between emulators
            assert int(message["Attributes"]["ApproximateReceiveCount"]) == waiting.receives
        return Receipt(waiting.message_id, waiting.handle, message["Body"], waiting.receives, waiting.dead)

    def delete(self, receipt: Receipt) -> None:
        """An older receipt may be refused or honoured: both are SQS."""
        try:
            self._client.delete_message(QueueUrl=self._urls[receipt.dead], ReceiptHandle=receipt.handle)
        except ClientError:
            return
        waiting = self.messages.get(receipt.message_id)
        if waiting is not None and waiting.dead == receipt.dead:
            del self.messages[receipt.message_id]

    def show(self, waiting: Waiting) -> None:
        """End its visibility time-out now."""
        self._client.change_message_visibility(
            QueueUrl=self._urls[waiting.dead], ReceiptHandle=waiting.handle, VisibilityTimeout=0
        )
        waiting.hidden_until = self._clock()

    def pass_time(self, milliseconds: int) -> None:
        hidden = [w for w in self.messages.values() if self.hidden(w)]
        self._clock.advance(milliseconds)
        for waiting in hidden:
            if not self.hidden(waiting):
                self.show(waiting)

    def empty(self) -> None:
        """Take out whatever is left, and hold that to account too."""
        expected = set(self.messages)
        for waiting in self.messages.values():
            if self.hidden(waiting):
                self.show(waiting)
        self.messages.clear()
        left = {message["MessageId"] for dead in (False, True) for message in self._taken(dead)}
        assert left == expected, f"in the queues {left}, to be expected {expected}"

    def _taken(self, dead: bool) -> list[Mapping[str, Any]]:
        received = self._received(dead)
        for message in received:
            self._client.delete_message(QueueUrl=self._urls[dead], ReceiptHandle=message["ReceiptHandle"])
        return received


def _error(code: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, operation)
