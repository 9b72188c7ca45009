"""An SDK client whose retry quota is used up tries once and gives up: a failed delivery or an unknown outcome, no more.

botocore's mode `standard` gives each client 500 tokens, and a retry takes 5 of them until something succeeds again.
"""

from __future__ import annotations

import random
import time
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from lambdas.common import aws
from lambdas.common.kinds import JsonObject, Registry, Work
from lambdas.common.retry import Backoff
from lambdas.common.store import TaskStore
from lambdas.common.task import Status
from lambdas.process_task.attempt import Worker
from lambdas.process_task.batch import work_through
from lambdas.submit_task.request import Submission
from lambdas.submit_task.submit import submit
from tests.support.deliveries import a_delivery, silent_task
from tests.support.fault_hook import EVERY_TRY, MemoryLedger, Rule, install
from tests.support.queue import FakeQueue
from tests.support.stack import DeployedStack, new_id
from tests.support.waiting import eventually

TOKENS, COST = 500, 5
PATIENT = aws.CONFIG.merge(Config(connect_timeout=30, read_timeout=30))
"""The functions' own, but an emulator that is slow for a moment is no fault: there is no try left for it."""
CLAIM, COMPLETION = ":leaseUntil", ":result"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK does not wait between its tries; a hundred of them would take a minute."""
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _: None))


class Client:
    """The functions' own client, its quota used up, under a rule of the test's own."""

    def __init__(self, stack: DeployedStack, rule: Rule) -> None:
        self.real: Any = boto3.client("dynamodb", config=PATIENT, **stack.place.client_options())
        drain = Rule("dynamodb", "DescribeTable", "throttled", range(1, TOKENS))
        self.ledger = MemoryLedger(drain, rule)
        self.store = TaskStore(self.real, stack.outputs["table_name"])
        install(self.real.meta.events, self.ledger)
        self._drain(stack.outputs["table_name"])

    def _drain(self, table: str) -> None:
        tries = 0
        for _ in range(TOKENS):
            before = len(self.ledger.fired)
            with pytest.raises(ClientError, match="ThrottlingException"):
                self.real.describe_table(TableName=table)
            tries = len(self.ledger.fired) - before
            if tries == 1:
                break
        assert tries == 1, "the quota never ended"
        # One call, then its retries: so many tokens were there.
        assert len(self.ledger.fired) >= TOKENS // COST
        self.ledger.fired.clear()


def worker_of(client: Client) -> Worker:
    registry = Registry()

    @registry.kind("simulated", schema={})
    def run(work: Work) -> JsonObject:
        return {"attempt": work.attempt}

    backoff = Backoff(0, 1, "none")
    return Worker(client.store, registry, backoff, 86_400, aws.now_ms, aws.new_token, random.Random(1), time.sleep)


def delivered(worker: Worker, record: dict[str, Any]) -> list[tuple[str, bool]]:
    outcomes = work_through([record], worker, aws.now_ms() + 10_000, threads=1)
    return [(outcome.event, outcome.acknowledge) for _, outcome in outcomes]


def test_a_claim_without_retries_is_a_failed_delivery_that_costs_no_attempt(stack: DeployedStack) -> None:
    task = silent_task(stack)
    client = Client(stack, Rule("dynamodb", "UpdateItem", "throttled", [1], [task.task_id, CLAIM]))
    worker, record = worker_of(client), a_delivery(task)

    assert delivered(worker, record) == [("delivery failed", False)]
    assert [firing.call for firing in client.ledger.fired] == [1]
    assert stack.store.get(task.task_id) == task

    assert delivered(worker, record) == [("task completed", True)]
    assert stack.tasks.get(task.task_id).attempts == 1


def test_a_completion_without_retries_is_a_failed_attempt_and_the_next_one_completes(stack: DeployedStack) -> None:
    task = silent_task(stack)
    client = Client(stack, Rule("dynamodb", "UpdateItem", "throttled", [1], [task.task_id, COMPLETION]))
    worker, record = worker_of(client), a_delivery(task)

    assert delivered(worker, record) == [("task failed", False)]
    assert [firing.call for firing in client.ledger.fired] == [1]
    row = stack.store.get(task.task_id)
    assert row is not None
    assert (row.status, row.attempts) == (Status.FAILED_PENDING, 1)

    eventually(lambda: aws.now_ms() > (row.next_attempt_at or 0))
    assert delivered(worker, record) == [("task completed", True)]
    assert stack.tasks.get(task.task_id).attempts == 2


def test_a_put_without_retries_is_an_unknown_outcome_that_a_repeat_settles(stack: DeployedStack) -> None:
    submission, queue = Submission(new_id("quota"), "simulated", "{}", None, "hash"), FakeQueue()
    assert submission.task_id is not None
    client = Client(stack, Rule("dynamodb", "PutItem", "throttled", [1], [submission.task_id]))

    def submitted() -> str:
        moment, token = aws.now_ms(), aws.new_token()
        return submit(submission, client.store, queue, max_attempts=3, now=moment, token=token).outcome

    with pytest.raises(ClientError, match="ThrottlingException"):
        submitted()
    assert [firing.call for firing in client.ledger.fired] == [1]
    assert (stack.store.get(submission.task_id), queue.sent) == (None, [])

    assert submitted() == "new"
    assert len(queue.sent) == 1


def test_with_its_quota_the_same_client_gets_over_the_same_fault(stack: DeployedStack) -> None:
    """What the tests above would miss if the quota were not used up: the SDK tries three times."""
    client: Any = boto3.client("dynamodb", config=PATIENT, **stack.place.client_options())
    ledger = MemoryLedger(Rule("dynamodb", "DescribeTable", "throttled", EVERY_TRY))
    install(client.meta.events, ledger)

    with pytest.raises(ClientError, match="ThrottlingException"):
        client.describe_table(TableName=stack.outputs["table_name"])
    assert [firing.call for firing in ledger.fired] == list(EVERY_TRY)
