"""Both designs at work, ten tasks at a time, on metered clients.

No function is deployed: the use cases run here, on tables and queues of a local AWS, so that each of their calls passes
the meter. Backoff is 0 s: waiting costs nothing.
"""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from bootstrap import settings
from lambdas.common import aws, rows, transitions
from lambdas.common.dead_letters import Recorder
from lambdas.common.decisions import Answer
from lambdas.common.http import HttpError
from lambdas.common.kinds import JsonObject, Registry, Work
from lambdas.common.queue import TaskQueue
from lambdas.common.retry import Backoff
from lambdas.common.store import TaskStore
from lambdas.common.task import Claim, Message, Task
from lambdas.monitor_dlq.monitor import DeadMessage, Monitor
from lambdas.process_task.attempt import Worker
from lambdas.process_task.batch import respond, work_through
from lambdas.process_task.kinds.accounts import transfer
from lambdas.steer_tasks.steer import Steering
from lambdas.submit_task.batch import submit_all
from lambdas.submit_task.request import Posted, parse
from lambdas.submit_task.submit import Accepted, Queue, submit
from lambdas.sweep_tasks.sweep import Healed, Sweeper
from scripts.cost.capacity import Item
from scripts.cost.lab import Lab, Record
from scripts.cost.original import MAX_ATTEMPTS, TABLE, Original

MAX_RECEIVES = int(settings.read({}).storage["MaxReceiveCount"])
"""Of our queue."""
RETENTION_SECONDS = 30 * 86_400
RESEND_AFTER_MS = 180_000
INVOCATION_MS = 30_000
UNKNOWN = HttpError(503, "unknown_outcome", "A message was not sent.")
ACCOUNTS = "accounts"


class Design(Protocol):
    """One of the two, with a table and queues of its own."""

    @property
    def name(self) -> str: ...
    def submit(self, payload: JsonObject, task_id: str | None = None) -> str:
        """The id of the new task."""

    def again(self, payload: JsonObject, task_id: str) -> None:
        """The same submit once more."""

    def poll(self) -> list[Record]:
        """A full batch through the worker."""

    def copy(self, task_ids: Sequence[str]) -> None:
        """What SQS delivers twice; not metered."""

    def carry(self) -> list[Record]:
        """Deliver dead tasks as often as SQS insists on, before it moves them."""

    def move(self, records: Sequence[Record]) -> None: ...
    def monitor(self) -> None:
        """A full batch through the DLQ monitor."""

    def status(self, task_id: str) -> str: ...


@dataclass
class Fails:
    """Work that fails in the first `attempts` attempts of each task."""

    attempts: int = 0

    def check(self, attempt: int) -> JsonObject:
        if attempt <= self.attempts:
            raise SimulatedFailure(f"attempt {attempt} failed")
        return {"workSeconds": 0, "attempt": attempt}


class SimulatedFailure(Exception):
    """As in lambdas/process_task/kinds/simulated.py."""


@dataclass
class OriginalDesign:
    lab: Lab
    fails: Fails
    name: str = "original"

    @cached_property
    def original(self) -> Original:
        lab, (queue_url, dlq_url) = self.lab, self.lab.queues(MAX_ATTEMPTS)
        names = lab.metered_dynamodb, lab.table(TABLE), lab.metered_sqs, queue_url, dlq_url
        return Original(*names, aws.now_ms, lambda: str(uuid.uuid4()), backoff_base_seconds=0)

    def submit(self, payload: JsonObject, task_id: str | None = None) -> str:
        status, answer = self.original.submit({"payload": payload, **({"taskId": task_id} if task_id else {})})
        assert status == 202, answer
        return str(answer["taskId"])

    def again(self, payload: JsonObject, task_id: str) -> None:
        status, answer = self.original.submit({"payload": payload, "taskId": task_id})
        assert status == 409, answer

    def poll(self) -> list[Record]:
        return self.lab.poll(
            self.original.queue_url, lambda record: self.original.attempt(record, lambda _, n: self.fails.check(n))
        )

    def copy(self, task_ids: Sequence[str]) -> None:
        for task_id in task_ids:
            row = self.item(task_id)
            body = json.dumps({"taskId": task_id, "payload": json.loads(row["payload"]["S"])})
            self.lab.sqs.send_message(QueueUrl=self.original.queue_url, MessageBody=body)

    def carry(self) -> list[Record]:
        return []

    def move(self, records: Sequence[Record]) -> None:
        self.lab.carry_to_dlq(self.original.queue_url, self.original.dlq_url, records)

    def monitor(self) -> None:
        def step(record: Record) -> bool:
            logged: list[Any] = []
            self.original.monitor(record, logged.append)
            assert logged[0]["task"]["status"] == {"S": "FAILED_FINAL"}
            return True

        self.lab.poll(self.original.dlq_url, step)

    def status(self, task_id: str) -> str:
        return str(self.item(task_id)["status"]["S"])

    def item(self, task_id: str) -> Item:
        key = {"taskId": {"S": task_id}}
        item: Item = self.lab.dynamodb.get_item(TableName=self.original.table, Key=key)["Item"]
        return item


@dataclass
class OurDesign:
    lab: Lab
    fails: Fails
    name: str = "ours"
    indexed: bool = True
    kind: str = "simulated"

    @cached_property
    def table(self) -> str:
        schema = self.lab.schema(f"{self.lab.stage}-tasks")
        if self.indexed:
            return self.lab.table(schema)
        del schema["GlobalSecondaryIndexes"]
        keys = {key["AttributeName"] for key in schema["KeySchema"]}
        schema["AttributeDefinitions"] = [a for a in schema["AttributeDefinitions"] if a["AttributeName"] in keys]
        return self.lab.table(schema)

    @cached_property
    def accounts(self) -> str:
        """A table of accounts, beside the table of tasks."""
        return self.lab.table(self.lab.schema(f"{self.lab.stage}-accounts"), f"{self.table}-{ACCOUNTS}")

    @cached_property
    def urls(self) -> tuple[str, str]:
        return self.lab.queues(MAX_RECEIVES)

    @cached_property
    def store(self) -> TaskStore:
        return TaskStore(self.lab.metered_dynamodb, self.table, f"{self.table}-")

    @cached_property
    def unmetered(self) -> TaskStore:
        return TaskStore(self.lab.dynamodb, self.table)

    @cached_property
    def queue(self) -> TaskQueue:
        return TaskQueue(self.lab.metered_sqs, self.urls[0])

    @cached_property
    def registry(self) -> Registry:
        registry = Registry()
        registry.kind("simulated", schema={})(lambda work: self.fails.check(work.attempt))
        registry.kind("transfer", schema={}, tables=(ACCOUNTS,))(transfer)
        registry.kind("unguarded transfer", schema={})(self._transfer_unguarded)
        return registry

    @cached_property
    def worker(self) -> Worker:
        backoff = Backoff(0, 900, "none")
        return Worker(
            self.store,
            self.registry,
            backoff,
            RETENTION_SECONDS,
            aws.now_ms,
            aws.new_token,
            random.Random(1),
            time.sleep,
        )

    @cached_property
    def recorder(self) -> Recorder:
        return Recorder(self.store, RETENTION_SECONDS, aws.now_ms, aws.new_token)

    @cached_property
    def steering(self) -> Steering:
        return Steering(self.store, self.queue, RETENTION_SECONDS, aws.now_ms, aws.new_token)

    def submit(self, payload: JsonObject, task_id: str | None = None) -> str:
        return self._submit(payload, task_id, "new")

    def again(self, payload: JsonObject, task_id: str) -> None:
        self._submit(payload, task_id, "known")

    def submit_together(self, payloads: Sequence[JsonObject]) -> list[str]:
        """The ids of new tasks, submitted by one request."""
        tasks = [Posted(json.dumps({"kind": self.kind, "payload": payload}), None) for payload in payloads]
        results = submit_all(tasks, self._accept, self.queue, lambda: INVOCATION_MS, UNKNOWN, _unsent)
        assert {result["status"] for result in results} == {202}, results
        return [result["taskId"] for result in results]

    def _submit(self, payload: JsonObject, task_id: str | None, expected: str) -> str:
        body = {"kind": self.kind, "payload": payload, **({"taskId": task_id} if task_id else {})}
        accepted = self._accept(json.dumps(body), self.queue)
        assert accepted.outcome == expected, accepted
        return accepted.task.task_id

    def _accept(self, body: str, queue: Queue) -> Accepted:
        now = aws.now_ms()
        submission = parse(body, self.registry, now)
        return submit(submission, self.store, queue, max_attempts=MAX_ATTEMPTS, now=now, token=aws.new_token())

    def poll(self) -> list[Record]:
        return self.lab.poll(self.urls[0], self._attempt)

    def _attempt(self, record: Record) -> bool:
        outcomes = work_through([record], self.worker, aws.now_ms() + INVOCATION_MS, threads=1)
        return not respond(outcomes, self.queue)["batchItemFailures"]

    def copy(self, task_ids: Sequence[str]) -> None:
        queue = TaskQueue(self.lab.sqs, self.urls[0])
        for task_id in task_ids:
            queue.send(Message(task_id, 1))

    def carry(self) -> list[Record]:
        records: list[Record] = []
        for _ in range(MAX_RECEIVES - MAX_ATTEMPTS):
            records = self.poll()
        return records

    def move(self, records: Sequence[Record]) -> None:
        self.lab.carry_to_dlq(*self.urls, records)

    def monitor(self) -> None:
        monitor = Monitor(self.store, self.queue, self.recorder, aws.now_ms, aws.new_token)

        def step(record: Record) -> bool:
            attributes = record["attributes"]
            dead = DeadMessage(
                record["messageId"],
                record["body"],
                int(attributes["ApproximateReceiveCount"]),
                attributes.get("DeadLetterQueueSourceArn"),
            )
            assert monitor.handle(dead).event == "task dead"
            return True

        self.lab.poll(self.urls[1], step)

    def sweep(self) -> Healed:
        sweeper = Sweeper(self.store, self.queue, self.recorder, lambda: False, RESEND_AFTER_MS, aws.now_ms, _complain)
        return sweeper.sweep(lambda: True)

    def cancel(self, task_id: str) -> None:
        assert self.steering.cancel(task_id).answer is Answer.GO

    def replay(self, task_id: str) -> None:
        assert self.steering.replay(task_id, 1).answer is Answer.GO

    def open_accounts(self, names: Sequence[str]) -> None:
        for name in names:
            item = {"account": {"S": name}, "balance": {"N": "1000000"}}
            self.lab.dynamodb.put_item(TableName=self.accounts, Item=item)

    def status(self, task_id: str) -> str:
        return str(self.row(task_id).status)

    def row(self, task_id: str) -> Task:
        task = self.unmetered.get(task_id)
        assert task is not None
        return task

    def claimed_row(self, payload: JsonObject) -> Item:
        """A row in the middle of its first attempt, as it lies in the table."""
        task_id = self.submit(payload)
        wish = Claim(Message(task_id, 1), str(uuid.uuid4()), aws.new_token(), aws.now_ms(), aws.now_ms() + 1)
        self.unmetered.apply(transitions.claim(wish))
        return self.item(task_id)

    def item(self, task_id: str) -> Item:
        key = {"PK": {"S": rows.partition(task_id)}, "SK": {"S": rows.STATE}}
        item: Item = self.lab.dynamodb.get_item(TableName=self.table, Key=key)["Item"]
        return item

    def plant(self, count: int) -> None:
        """Healthy open tasks, as submits of this moment left them."""
        for _ in range(count):
            self._planted()

    def _planted(self) -> None:
        now = aws.now_ms()
        submission = parse(json.dumps({"payload": {}}), self.registry, now)
        silent = _Silent()
        submit(submission, self.unmetered, silent, max_attempts=MAX_ATTEMPTS, now=now, token=aws.new_token())

    def create_in_two_puts(self, payload: JsonObject) -> None:
        """A long payload and its row, one after the other instead of in one transaction."""
        key = {"PK": {"S": rows.partition(self.submit({}))}, "SK": {"S": rows.PAYLOAD}}
        item = {**key, "payload": {"S": json.dumps(payload)}}
        self.lab.metered_dynamodb.put_item(TableName=self.table, Item=item)

    def let_payload_expire(self, task_id: str) -> None:
        self.lab.metered_dynamodb.update_item(
            TableName=self.table,
            Key={"PK": {"S": rows.partition(task_id)}, "SK": {"S": rows.PAYLOAD}},
            UpdateExpression="SET expiresAt = :at",
            ExpressionAttributeValues={":at": {"N": "1800000001"}},
        )

    def _transfer_unguarded(self, work: Work) -> JsonObject:
        """The same two changes by two calls, as a kind would make them without effects."""
        for account, amount in ((work.payload["source"], -1), (work.payload["target"], 1)):
            self.lab.metered_dynamodb.update_item(
                TableName=self.accounts,
                Key={"account": {"S": account}},
                UpdateExpression="ADD balance :amount",
                ExpressionAttributeValues={":amount": {"N": str(amount)}},
            )
        return {"moved": 1}


class _Silent:
    """A queue that swallows what it is sent."""

    def send(self, message: Message, delay_seconds: int = 0) -> None:
        """Nothing."""


def _complain(task: Task, error: Exception) -> None:
    raise AssertionError(f"{task.task_id}: {error}")


def _unsent(message: Message, reason: str) -> None:
    raise AssertionError(f"{message.task_id}: {reason}")


@contextmanager
def payloads_inline() -> Iterator[None]:
    """The design without its rule that long payloads lie apart."""
    kept, rows.INLINE_PAYLOAD_BYTES = rows.INLINE_PAYLOAD_BYTES, 400 * 1024
    try:
        yield
    finally:
        rows.INLINE_PAYLOAD_BYTES = kept
