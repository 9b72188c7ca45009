"""A local AWS to measure on: metered clients, clients that are not, tables and queues, and Lambda's poller."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import boto3

from bootstrap.targets import Place
from lambdas.common import aws
from scripts.cost.meter import LiveTables, Meter

BATCH = 10
TOGETHER = 100
"""Tasks of one POST /tasks/batch: the most that it takes."""
MOVE_SECONDS = 30

Record = dict[str, Any]
"""A message as Lambda hands it to a function."""
Step = Callable[[Record], bool]
"""What is done with a message; False reports it as failed."""


@dataclass(frozen=True)
class Lab:
    """A local AWS, with the system deployed on it, seen twice: through metered clients, and past the meter."""

    place: Place
    stage: str = "dev"

    @cached_property
    def meter(self) -> Meter:
        return Meter(LiveTables(self.dynamodb))

    @cached_property
    def dynamodb(self) -> Any:
        return self._client("dynamodb")

    @cached_property
    def sqs(self) -> Any:
        return self._client("sqs")

    @cached_property
    def metered_dynamodb(self) -> Any:
        return self.meter.attach(self._client("dynamodb"))

    @cached_property
    def metered_sqs(self) -> Any:
        return self.meter.attach(self._client("sqs"))

    def _client(self, service: Any) -> Any:
        """With the settings that the functions use."""
        return boto3.client(service, config=aws.CONFIG, **self.place.client_options())

    def schema(self, table: str) -> dict[str, Any]:
        """Of a deployed table, as CreateTable takes it."""
        found = self.dynamodb.describe_table(TableName=table)["Table"]
        indexes = [
            {name: index[name] for name in ("IndexName", "KeySchema", "Projection")}
            for index in found.get("GlobalSecondaryIndexes", [])
        ]
        schema = {name: found[name] for name in ("AttributeDefinitions", "KeySchema")}
        return {**schema, "BillingMode": "PAY_PER_REQUEST", **({"GlobalSecondaryIndexes": indexes} if indexes else {})}

    def table(self, properties: Mapping[str, Any], name: str | None = None) -> str:
        name = name or f"units-{uuid.uuid4().hex[:8]}"
        self.dynamodb.create_table(TableName=name, **properties)
        self.dynamodb.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1})
        return name

    def queues(self, max_receives: int) -> tuple[str, str]:
        """URLs of a queue and of its dead-letter queue."""
        name = f"units-{uuid.uuid4().hex[:8]}"
        dlq = self.sqs.create_queue(QueueName=f"{name}-dlq")["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=dlq, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": max_receives})
        attributes = {"RedrivePolicy": policy, "VisibilityTimeout": "180"}
        queue = self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        return queue, dlq

    def poll(self, queue_url: str, step: Step) -> list[Record]:
        """What Lambda does for a full batch: one receive, and one delete for what was worked off."""
        records = self.receive(self.metered_sqs, queue_url)
        self.delete(self.metered_sqs, queue_url, [record for record in records if step(record)])
        return records

    def delete(self, sqs: Any, queue_url: str, records: Sequence[Record]) -> None:
        """One call, if there is anything to delete."""
        if records:
            entries = [{"Id": str(n), "ReceiptHandle": record["receiptHandle"]} for n, record in enumerate(records)]
            sqs.delete_message_batch(QueueUrl=queue_url, Entries=entries)

    def receive(self, sqs: Any, queue_url: str) -> list[Record]:
        """A full batch."""
        answer = sqs.receive_message(
            QueueUrl=queue_url,
            MaxNumberOfMessages=BATCH,
            MessageSystemAttributeNames=["All"],
            WaitTimeSeconds=1,
        )
        records = [_record(message) for message in answer.get("Messages", [])]
        assert len(records) == BATCH, f"{len(records)} messages in a batch that should be full"
        return records

    def carry_to_dlq(self, queue_url: str, dlq_url: str, records: Sequence[Record]) -> None:
        """Let the visibility of dead messages end, until SQS has moved them. Costs nobody anything, so not metered."""
        for record in records:
            self.sqs.change_message_visibility(
                QueueUrl=queue_url, ReceiptHandle=record["receiptHandle"], VisibilityTimeout=0
            )

        deadline = time.monotonic() + MOVE_SECONDS
        while (moved := self._moved(queue_url, dlq_url)) < len(records):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{moved} of {len(records)} messages in the DLQ after {MOVE_SECONDS} s")
            time.sleep(0.1)

    def _moved(self, queue_url: str, dlq_url: str) -> int:
        """SQS moves a message when it is asked for once too often."""
        stray = self.sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=BATCH).get("Messages", [])
        assert not stray, f"{len(stray)} messages had a receive left"
        names = ["ApproximateNumberOfMessages"]
        counted = self.sqs.get_queue_attributes(QueueUrl=dlq_url, AttributeNames=names)["Attributes"]
        return int(counted[names[0]])


def _record(message: Mapping[str, Any]) -> Record:
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message["Attributes"],
    }
