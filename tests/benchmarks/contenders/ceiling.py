"""The ceiling: the calls of a good task on the same server, by bare clients, without API Gateway or Lambda."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import psutil

from bootstrap.deploy import client
from bootstrap.targets import Place
from lambdas.common import rows, transitions
from lambdas.common.kinds import JsonObject
from lambdas.common.minute_table import MinuteTable
from lambdas.common.minutes import minute_of
from lambdas.common.queue import TaskQueue, body_of
from lambdas.common.store import TaskStore
from lambdas.common.task import Claim, IndexClass, Message, Status, Task, TimelineEntry
from lambdas.common.wire import to_wire
from scripts.cost.capacity import item_bytes
from tests.benchmarks.contenders import Request, Submits
from tests.benchmarks.workloads import Workload
from tests.support.stack import DeployedStack

BATCH, THREADS, PROCESSES = 10, 4, 2
LONG_NOW = 1_700_000_000_001
"""A moment in ms. It ends in no zeros: DynamoDB leaves those out, so the same row would be shorter at some moments."""


def mix(load: Workload) -> Mapping[str, str]:
    """The calls by the name of the contender that makes them, with the bytes of what they write."""
    task = _new_task(LONG_NOW)
    row = item_bytes(to_wire(rows.row_of(task) | {"payload": json.dumps(load.payload(0))}))
    message = len(body_of(Message(task.task_id, 1)))
    put, update = (
        f"PutItem ({row} bytes)",
        f"UpdateItem (claim), UpdateItem (complete), each of a row of {row} bytes and more",
    )
    alone = f"per task: {put}, SendMessage ({message} bytes), {update}; per ten:"
    together = f"per task: {put}, {update}; per ten: SendMessageBatch ({BATCH} x {message} bytes),"
    ten = f"ReceiveMessage, DeleteMessageBatch ({BATCH}), UpdateItem (the minute's counter)"
    return {Bare.NAMES[False]: f"{alone} {ten}", Bare.NAMES[True]: f"{together} {ten}"}


@dataclass(frozen=True, slots=True)
class Share:
    """A part of the work for one process."""

    place: Place
    table_name: str
    queue_url: str
    tasks: int
    payload: str
    batched: bool


@dataclass
class Bare:
    """Submits and works through to the end in one go: there is nobody else who would work."""

    NAMES = ("the bare calls", "the bare calls, batch")

    stack: DeployedStack
    batched: bool = False
    _ends: dict[str, float] = field(default_factory=dict)
    _others: frozenset[int] = frozenset()
    """Children of this process that are not ours."""

    @property
    def name(self) -> str:
        return self.NAMES[self.batched]

    def submit(self, load: Workload, run: str) -> Submits:
        """Up to a multiple of twenty tasks; a request is what submits one task, or ten."""
        queue_url = self.stack.aws("sqs").create_queue(QueueName=f"ceiling-{uuid.uuid4().hex[:6]}")["QueueUrl"]
        tens, payload = -(-load.tasks // (PROCESSES * BATCH)), json.dumps(load.payload(0))
        share = Share(self.stack.place, self.stack.outputs["table_name"], queue_url, tens, payload, self.batched)
        self._others = _children()
        with ProcessPoolExecutor(PROCESSES) as pool:
            done = [each for part in pool.map(_replay, [share] * PROCESSES) for each in part]
        per_request = BATCH if self.batched else 1
        requests = [request for ten, _ in done for request in ten]
        ids = [f"{run}-{number}" for number in range(len(done) * BATCH)]
        self._ends = {task_id: done[number // BATCH][1] for number, task_id in enumerate(ids)}
        return Submits(ids, requests, per_request)

    def ends(self, task_ids: Sequence[str], seconds: float) -> Mapping[str, float]:
        return self._ends

    def chill(self) -> None:
        """There is nothing that starts."""

    def processes(self) -> Sequence[int]:
        return list(_children() - self._others) if self._others else []


def _children() -> frozenset[int]:
    return frozenset({os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))})


def _replay(share: Share) -> list[tuple[list[Request], float]]:
    """Of each ten tasks the requests that submit them, and their end; making the clients is in none of it."""
    sqs, dynamodb = client(share.place, "sqs"), client(share.place, "dynamodb")
    store, minutes = TaskStore(dynamodb, share.table_name), MinuteTable(dynamodb, share.table_name)
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(lambda _: _ten_tasks(sqs, store, minutes, share), range(share.tasks)))


def _ten_tasks(sqs: Any, store: TaskStore, minutes: MinuteTable, share: Share) -> tuple[list[Request], float]:
    requests = _submitted(TaskQueue(sqs, share.queue_url), store, share)
    messages: list[JsonObject] = []
    while len(messages) < BATCH:
        asked = BATCH - len(messages)
        messages += sqs.receive_message(QueueUrl=share.queue_url, MaxNumberOfMessages=asked).get("Messages", [])
    for message in messages:
        _claim_and_complete(store, json.loads(message["Body"])["taskId"], message["MessageId"])
    entries = [{"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]} for n, message in enumerate(messages)]
    sqs.delete_message_batch(QueueUrl=share.queue_url, Entries=entries)
    minutes.add(minute_of(_now(), BATCH, 0, 0, [1] * BATCH))
    return requests, time.time()


def _submitted(queue: TaskQueue, store: TaskStore, share: Share) -> list[Request]:
    requests: list[Request] = []
    begun, tasks = time.time(), [_new_task(_now()) for _ in range(BATCH)]
    for task in tasks:
        began = time.time()
        store.create(task, share.payload, task.created_at)
        if not share.batched:
            queue.send(Message(task.task_id, 1))
            requests.append(Request(began, time.time() - began))
    if share.batched:
        unsent = queue.send_all([(Message(task.task_id, 1), 0) for task in tasks])
        assert not unsent, unsent
        requests.append(Request(begun, time.time() - begun))
    return requests


def _claim_and_complete(store: TaskStore, task_id: str, message_id: str) -> None:
    now = _now()
    claimed = store.apply(
        transitions.claim(Claim(Message(task_id, 1), message_id, str(uuid.uuid4()), now, now + 30_000))
    )
    assert isinstance(claimed, Task)
    store.write(transitions.complete(claimed, now, '{"attempt": 1}', now // 1000 + 30 * 86_400))


def _new_task(now: int) -> Task:
    return Task(
        task_id=f"ceiling-{uuid.uuid4()}",
        kind="simulated",
        status=Status.SUBMITTED,
        index_class=IndexClass.OPEN,
        generation=1,
        attempts=0,
        max_attempts=3,
        token=str(uuid.uuid4()),
        body_hash="0" * 32,
        created_at=now,
        updated_at=now,
        sent_at=now,
        timeline=(TimelineEntry(now, Status.SUBMITTED, 1),),
    )


def _now() -> int:
    return time.time_ns() // 1_000_000
