"""The timeline of a task is in the order of its generations and attempts, whatever came over them."""

from __future__ import annotations

import random
from itertools import pairwise

from lambdas.common.dead_letters import Recorder
from lambdas.common.kinds import JsonObject, Registry, Work
from lambdas.common.retry import Backoff, PermanentError
from lambdas.common.store import TaskStore
from lambdas.common.task import Message, Task, numbered
from lambdas.process_task.attempt import LEASE_MARGIN_MS, Delivery, Worker
from lambdas.steer_tasks.steer import Steering
from tests.support.dynamodb import FakeDynamoDB, task_store
from tests.support.faults import LostAnswer
from tests.support.queue import FakeQueue
from tests.support.tasks import NOW, SECOND, TASK_ID, Clock, Tokens, a_task, planted

RETENTION_SECONDS = 30 * 86_400
INVOCATION_MS = 25 * SECOND


class Dies(BaseException):
    """The worker's process, in the middle of its work: nothing catches it."""


def work(work: Work) -> JsonObject:
    """The first attempt of a life fails, the worker of the second dies; the first life ends for good in its third."""
    if work.attempt == 1:
        raise ValueError("not yet")
    if work.attempt == 2:
        raise Dies
    if work.generation == 1:
        raise PermanentError("never")
    return {}


def deliver(client: object, clock: Clock, tokens: Tokens, generation: int) -> None:
    registry = Registry()
    registry.kind("simulated", schema={})(work)
    backoff, rng = Backoff(5, 900, "none"), random.Random(1)
    worker = Worker(task_store(client), registry, backoff, RETENTION_SECONDS, clock, tokens, rng, lambda _: None)
    delivery = Delivery(Message(TASK_ID, generation), f"message-{generation}", 1)
    try:
        worker.deliver(delivery, clock() + INVOCATION_MS)
    except Dies:
        clock.advance(INVOCATION_MS + LEASE_MARGIN_MS)
    clock.advance(10 * SECOND)


def read(store: TaskStore) -> Task:
    row = store.get(TASK_ID)
    assert row is not None
    return row


def test_the_timeline_is_in_the_order_of_generations_and_attempts_through_crashes_lost_answers_and_a_replay() -> None:
    client, clock, tokens = FakeDynamoDB(), Clock(NOW), Tokens()
    store = task_store(client)
    planted(store, a_task())
    for generation in (1, 2):
        for _ in range(3):  # the answer to the claim is lost each time, and the SDK asks again
            deliver(LostAnswer(client, "update_item", repeats=True), clock, tokens, generation)
        if generation == 1:
            Recorder(store, RETENTION_SECONDS, clock, tokens).record(read(store), "message-1", 4, None)
            Steering(store, FakeQueue(), RETENTION_SECONDS, clock, tokens).replay(TASK_ID)

    told = [(entry.generation, attempt, str(entry.status)) for entry, attempt in numbered(read(store).timeline)]
    assert told == [
        (1, 0, "SUBMITTED"),
        (1, 1, "PROCESSING"),
        (1, 1, "FAILED_PENDING"),
        (1, 2, "PROCESSING"),
        (1, 3, "PROCESSING"),
        (1, 3, "FAILED_FINAL"),
        (2, 0, "SUBMITTED"),
        (2, 1, "PROCESSING"),
        (2, 1, "FAILED_PENDING"),
        (2, 2, "PROCESSING"),
        (2, 3, "PROCESSING"),
        (2, 3, "COMPLETED"),
    ]
    assert all(earlier.at <= later.at for earlier, later in pairwise(read(store).timeline))
