"""Faults on order: what the service hears of a call, and what the caller of the SDK gets, retries and all."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import Queue
from typing import Any

import boto3
import psutil
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from bootstrap.paths import ROOT
from tests.support.fault_hook import Fault, Firing, MemoryLedger, Rule, install, land_late
from tests.support.server import Server, serving
from tests.support.waiting import eventually

ITEM: dict[str, Any] = {"TableName": "tasks", "Item": {"PK": {"S": "T#task-1"}}}


@pytest.fixture
def service() -> Iterator[Server]:
    """A DynamoDB that says yes to everything."""
    with serving(lambda request: (200, {})) as server:
        yield server


def client_of(service: Server, ledger: MemoryLedger | None = None, name: str = "dynamodb", tries: int = 3) -> Any:
    client: Any = boto3.client(
        name,  # type: ignore[call-overload]
        endpoint_url=service.url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(read_timeout=1, retries={"mode": "standard", "total_max_attempts": tries}),
    )
    if ledger is not None:
        install(client.meta.events, ledger)
    return client


def a_rule(fault: Fault = "reset", **changes: Any) -> Rule:
    fields: dict[str, Any] = {"service": "dynamodb", "operation": "PutItem", "fault": fault, "name": fault}
    return Rule(**{**fields, **changes})


FAULTS: dict[Fault, tuple[int, type[Exception], str, Firing]] = {
    "throttled": (0, ClientError, "ThrottlingException", Firing(1)),
    "server-error": (0, ClientError, "InternalServerError", Firing(1)),
    "reset": (0, ConnectionClosedError, "Connection was closed", Firing(1)),
    "hang": (0, ReadTimeoutError, "Read timeout", Firing(1)),
    "lost-ack": (1, ConnectionClosedError, "Connection was closed", Firing(1, 200)),
}
"""How many calls reach the service, what its caller gets, and what the ledger notes."""


@pytest.mark.parametrize(("fault", "expected"), FAULTS.items())
def test_a_fault_reaches_the_caller(service: Server, fault: Fault, expected: Any) -> None:
    heard, error, said, firing = expected
    ledger = MemoryLedger(a_rule(fault))
    client = client_of(service, ledger, tries=1)
    with pytest.raises(error, match=said):
        client.put_item(**ITEM)
    assert (len(service.requests), ledger.fired) == (heard, [firing])
    client.put_item(**ITEM)
    assert len(service.requests) == heard + 1, "a rule is about the first call, unless it names others"


RULES: tuple[tuple[dict[str, Any], bool], ...] = (
    ({"match": ["T#task-1", '"S"']}, True),
    ({"match": ["T#task-1", ":processing"]}, False),
    ({"operation": "UpdateItem"}, False),
    ({"service": "sqs"}, False),
    ({"calls": [2]}, False),
)


def test_a_rule_is_about_the_calls_it_names_and_no_others(service: Server) -> None:
    for changes, about in RULES:
        ledger = MemoryLedger(a_rule(**changes))
        client_of(service, ledger).put_item(**ITEM)
        assert bool(ledger.fired) is about, changes


def test_every_rule_counts_each_try_also_one_at_which_another_fires(service: Server) -> None:
    ledger = MemoryLedger(a_rule("throttled", calls=[1, 4]), a_rule("lost-ack", calls=[2]))
    client = client_of(service, ledger)
    for _ in range(2):
        client.put_item(**ITEM)  # calls 1 to 3, then 4 and 5
    assert ledger.fired == [Firing(1), Firing(2, 200), Firing(4)]
    assert len(service.requests) == 3


PROGRAM = """
import sys
from tests.support.fault_hook import MemoryLedger
from tests.support.server import Server
from tests.unit.test_fault_hook import ITEM, a_rule, client_of
client_of(Server(lambda request: (200, {}), sys.argv[1]), MemoryLedger(a_rule(sys.argv[2]))).put_item(**ITEM)
"""


@pytest.mark.parametrize(("fault", "heard"), [("crash-before", 0), ("crash-after", 1), ("stop-after", 1)])
def test_a_fault_ends_or_freezes_the_process(service: Server, fault: Fault, heard: int) -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM, service.url, fault], cwd=ROOT) as program:
        if fault == "stop-after":
            eventually(psutil.Process(program.pid).status, lambda status: status == psutil.STATUS_STOPPED)
            program.kill()
        assert program.wait() == (-9 if fault == "stop-after" else 1)
    assert len(service.requests) == heard


def test_a_late_call_is_made_when_it_is_released_and_not_before(service: Server) -> None:
    rule = a_rule("late")
    ledger = MemoryLedger(rule)
    client = client_of(service, ledger)
    with ThreadPoolExecutor(1) as pool:
        calling = pool.submit(client.put_item, **ITEM)
        eventually(lambda: ledger.fired)
        assert (calling.done(), service.requests) == (False, [])
        ledger.release(rule)
        calling.result()
    assert (ledger.fired, len(service.requests)) == ([Firing(1)], 1)


def test_a_receipt_that_is_no_longer_good_is_refused_as_sqs_refuses_it_and_not_tried_again(service: Server) -> None:
    ledger = MemoryLedger(a_rule("not-in-flight", service="sqs", operation="ChangeMessageVisibility"))
    sqs = client_of(service, ledger, "sqs")
    with pytest.raises(sqs.exceptions.MessageNotInflight):
        sqs.change_message_visibility(QueueUrl=f"{service.url}/queue", ReceiptHandle="stale", VisibilityTimeout=1)
    assert (ledger.fired, service.requests) == ([Firing(1)], [])


def test_a_request_that_lands_late_is_sent_after_its_client_has_given_it_up(service: Server) -> None:
    client, landed = client_of(service, tries=1), Queue[int]()
    client.meta.events.register("before-send", lambda request, **_: land_late(request, 2, landed.put))
    with pytest.raises(ReadTimeoutError):
        client.put_item(**ITEM)
    assert landed.get(timeout=180) == 200
    assert [request.body for request in service.requests] == [ITEM]
