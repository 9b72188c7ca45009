"""How fast the whole pipeline is, as a share of what the emulator itself can do with the same calls.

python -m tests.benchmarks.throughput [count=1000]

Pipeline: tasks with no work and no failures, from the first submit through the API to the last COMPLETED row. Ceiling:
the same AWS calls per task, made by plain clients without API Gateway or Lambda, on the same server right after it.
"""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from bootstrap.deploy import client
from bootstrap.targets import Place
from lambdas.common import transitions
from lambdas.common.kinds import JsonObject
from lambdas.common.queue import body_of
from lambdas.common.store import TaskStore
from lambdas.common.task import Claim, IndexClass, Message, Status, Task, TimelineEntry
from scripts.demo import Plan, submit_all
from scripts.ledger import Ledger
from tests.conftest import TESTS
from tests.support import stack as stacks
from tests.support.stack import DeployedStack
from tests.support.waiting import eventually

BATCH = 10
THREADS = 4
PROCESSES = 2
SETTINGS = {"MAX_CONCURRENCY": "4", "API_RATE_LIMIT": "10000"}


@dataclass(frozen=True, slots=True)
class Share:
    """A part of the ceiling's work for one process."""

    place: Place
    table_name: str
    queue_url: str
    count: int


def pipeline(stack: DeployedStack, count: int, concurrency: int = 10) -> float:
    """Tasks per second from the first submit to the last end."""
    outputs = stack.outputs
    plan = Plan(count, concurrency, 600)
    started = time.time()
    accepted, failures = submit_all(outputs["api_url"], outputs["api_key"], plan, f"bench-{uuid.uuid4().hex[:6]}")
    assert not failures, failures[:3]
    ledger = eventually(lambda: Ledger.read(stack.store, accepted), lambda found: found.at_rest(), seconds=600)
    return count / (max(task.updated_at for task in ledger.tasks.values()) / 1000 - started)


def ceiling(stack: DeployedStack, count: int) -> float:
    """Tasks per second of the bare calls: put, send; receive ten; claim, complete; delete ten."""
    queue_url = stack.aws("sqs").create_queue(QueueName=f"ceiling-{uuid.uuid4().hex[:6]}")["QueueUrl"]
    share = Share(stack.place, stack.outputs["table_name"], queue_url, count // PROCESSES)
    started = time.time()
    with ProcessPoolExecutor(PROCESSES) as pool:
        list(pool.map(_replay, [share] * PROCESSES))
    return share.count * PROCESSES / (time.time() - started)


def _replay(share: Share) -> None:
    sqs, store = client(share.place, "sqs"), TaskStore(client(share.place, "dynamodb"), share.table_name)
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda _: _ten_tasks(sqs, store, share.queue_url), range(share.count // BATCH)))


def _ten_tasks(sqs: Any, store: TaskStore, queue_url: str) -> None:
    for _ in range(BATCH):
        task = _new_task()
        store.create(task, "{}", task.created_at)
        sqs.send_message(QueueUrl=queue_url, MessageBody=body_of(Message(task.task_id, 1)))
    messages: list[JsonObject] = []
    while len(messages) < BATCH:
        messages += sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=BATCH - len(messages)).get(
            "Messages", []
        )
    for message in messages:
        _claim_and_complete(store, json.loads(message["Body"])["taskId"], message["MessageId"])
    entries = [{"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]} for n, message in enumerate(messages)]
    sqs.delete_message_batch(QueueUrl=queue_url, Entries=entries)


def _claim_and_complete(store: TaskStore, task_id: str, message_id: str) -> None:
    now = time.time_ns() // 1_000_000
    claimed = store.apply(
        transitions.claim(Claim(Message(task_id, 1), message_id, str(uuid.uuid4()), now, now + 30_000))
    )
    assert isinstance(claimed, Task)
    store.apply(transitions.complete(claimed, now, '{"attempt": 1}', now // 1000 + 30 * 86_400))


def _new_task() -> Task:
    now = time.time_ns() // 1_000_000
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


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    folder = stacks.new_folder(TESTS, "benchmark")
    try:
        stack = stacks.deploy(folder, "embedded", None, **SETTINGS)
        pipeline(stack, 100)  # warm workers, as in steady state
        for run in range(1, 4):
            ours, bare = pipeline(stack, count), ceiling(stack, count)
            print(
                f"run {run}: pipeline {ours:.1f} tasks/s, ceiling {bare:.1f} tasks/s, share {ours / bare:.0%}",
                flush=True,
            )
    finally:
        stacks.remove(folder)
    print(f"{count} tasks a run, {os.cpu_count()} cores, Python {sys.version.split()[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
