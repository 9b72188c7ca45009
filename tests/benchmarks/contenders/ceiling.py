"""The ceiling: the calls of a good task on the same server, by bare clients, without API Gateway or Lambda."""

from __future__ import annotations

import json
import time
import uuid
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from bootstrap.deploy import client
from bootstrap.targets import Place
from lambdas.common import transitions
from lambdas.common.kinds import JsonObject
from lambdas.common.minute_table import MinuteTable
from lambdas.common.minutes import minute_of
from lambdas.common.queue import body_of
from lambdas.common.store import TaskStore
from lambdas.common.task import Claim, IndexClass, Message, Status, Task, TimelineEntry
from tests.benchmarks.workloads import Workload
from tests.support.stack import DeployedStack

BATCH, THREADS, PROCESSES = 10, 4, 2
MIX = (
    "per task: PutItem (state row, payload of the workload), SendMessage, UpdateItem (claim), UpdateItem (complete); "
    "per ten: ReceiveMessage, DeleteMessageBatch, UpdateItem (the minute's counter)"
)


@dataclass(frozen=True, slots=True)
class Share:
    """A part of the work for one process."""

    place: Place
    table_name: str
    queue_url: str
    tasks: int
    payload: str


def tasks_per_second(stack: DeployedStack, load: Workload) -> float:
    queue_url = stack.aws("sqs").create_queue(QueueName=f"ceiling-{uuid.uuid4().hex[:6]}")["QueueUrl"]
    tasks, payload = max(load.tasks // PROCESSES, BATCH), json.dumps(load.payload(0))
    share = Share(stack.place, stack.outputs["table_name"], queue_url, tasks, payload)
    with ProcessPoolExecutor(PROCESSES) as pool:
        spans = list(pool.map(_replay, [share] * PROCESSES))
    return sum(done for done, _, _ in spans) / (max(end for _, _, end in spans) - min(start for _, start, _ in spans))


def _replay(share: Share) -> tuple[int, float, float]:
    """How many tasks, from when to when; making the clients is not in it, as it is not in a warm function."""
    sqs, dynamodb = client(share.place, "sqs"), client(share.place, "dynamodb")
    store, minutes = TaskStore(dynamodb, share.table_name), MinuteTable(dynamodb, share.table_name)
    started, tens = time.time(), share.tasks // BATCH
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda _: _ten_tasks(sqs, store, minutes, share), range(tens)))
    return tens * BATCH, started, time.time()


def _ten_tasks(sqs: Any, store: TaskStore, minutes: MinuteTable, share: Share) -> None:
    for _ in range(BATCH):
        task = _new_task()
        store.create(task, share.payload, task.created_at)
        sqs.send_message(QueueUrl=share.queue_url, MessageBody=body_of(Message(task.task_id, 1)))
    messages: list[JsonObject] = []
    while len(messages) < BATCH:
        asked = BATCH - len(messages)
        messages += sqs.receive_message(QueueUrl=share.queue_url, MaxNumberOfMessages=asked).get("Messages", [])
    for message in messages:
        _claim_and_complete(store, json.loads(message["Body"])["taskId"], message["MessageId"])
    entries = [{"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]} for n, message in enumerate(messages)]
    sqs.delete_message_batch(QueueUrl=share.queue_url, Entries=entries)
    minutes.add(minute_of(_now(), BATCH, 0, 0, [1] * BATCH))


def _claim_and_complete(store: TaskStore, task_id: str, message_id: str) -> None:
    now = _now()
    claimed = store.apply(
        transitions.claim(Claim(Message(task_id, 1), message_id, str(uuid.uuid4()), now, now + 30_000))
    )
    assert isinstance(claimed, Task)
    store.apply(transitions.complete(claimed, now, '{"attempt": 1}', now // 1000 + 30 * 86_400))


def _new_task() -> Task:
    now = _now()
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
