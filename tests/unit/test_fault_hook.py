"""Faults on order: what the service hears of a call, and what the caller of the SDK gets, retries and all."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from queue import Queue
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError, ReadTimeoutError

from bootstrap import package
from bootstrap.paths import ROOT
from tests.support.fault_hook import EVERY_TRY, Fault, Firing, MemoryLedger, Rule, install, land_late
from tests.support.server import Request, Server, serving

ITEM: dict[str, Any] = {"TableName": "tasks", "Item": {"PK": {"S": "T#task-1"}}}


@pytest.fixture
def service() -> Iterator[Server]:
    """A DynamoDB that says yes to everything."""
    with serving(lambda request: (200, {})) as server:
        yield server


def client_of(service: Server, ledger: MemoryLedger | None = None) -> Any:
    client: Any = boto3.client(
        "dynamodb",
        endpoint_url=service.url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(read_timeout=1, retries={"mode": "standard", "total_max_attempts": 3}),
    )
    if ledger is not None:
        install(client.meta.events, ledger)
    return client


def a_rule(fault: Fault = "reset", **changes: Any) -> Rule:
    fields: dict[str, Any] = {"service": "dynamodb", "operation": "PutItem", "fault": fault, "name": fault}
    return Rule(**{**fields, **changes})


def operations(requests: Sequence[Request]) -> list[str]:
    return [request.headers["x-amz-target"].split(".")[1] for request in requests]


@pytest.mark.parametrize(
    ("fault", "heard", "firing"),
    [
        ("throttled", 1, Firing(1)),
        ("server-error", 1, Firing(1)),
        ("reset", 1, Firing(1)),
        ("hang", 1, Firing(1)),
        ("lost-ack", 2, Firing(1, 200)),
    ],
)
def test_the_sdk_gets_over_a_fault_and_only_a_lost_answer_is_a_second_call(
    service: Server, fault: Fault, heard: int, firing: Firing
) -> None:
    ledger = MemoryLedger(a_rule(fault))

    client_of(service, ledger).put_item(**ITEM)

    assert operations(service.requests) == ["PutItem"] * heard
    assert ledger.fired == [firing]


@pytest.mark.parametrize(
    ("fault", "heard", "error", "words"),
    [
        ("throttled", 0, ClientError, "ThrottlingException"),
        ("server-error", 0, ClientError, "InternalServerError"),
        ("reset", 0, ConnectionClosedError, "Connection was closed"),
        ("hang", 0, ReadTimeoutError, "Read timeout"),
        ("lost-ack", 3, ConnectionClosedError, "Connection was closed"),
    ],
)
def test_a_fault_on_every_try_reaches_the_caller(
    service: Server, fault: Fault, heard: int, error: type[Exception], words: str
) -> None:
    ledger = MemoryLedger(a_rule(fault, calls=EVERY_TRY))

    with pytest.raises(error, match=words):
        client_of(service, ledger).put_item(**ITEM)

    assert len(service.requests) == heard
    assert [firing.call for firing in ledger.fired] == [1, 2, 3]


def test_the_answer_that_got_lost_is_noted_also_when_it_was_a_refusal() -> None:
    ledger = MemoryLedger(a_rule("lost-ack", calls=EVERY_TRY))

    refusal = (400, {"__type": "ConditionalCheckFailedException"})
    with serving(lambda request: refusal) as service, pytest.raises(BotoCoreError):
        client_of(service, ledger).put_item(**ITEM)

    assert ledger.fired == [Firing(1, 400), Firing(2, 400), Firing(3, 400)]


@pytest.mark.parametrize(
    ("changes", "about"),
    [
        ({}, True),
        ({"match": ["T#task-1"]}, True),
        ({"match": ["T#task-1", '"S"']}, True),
        ({"match": ["T#task-1", ":processing"]}, False),
        ({"match": ["T#task-2"]}, False),
        ({"operation": "UpdateItem"}, False),
        ({"service": "sqs"}, False),
        ({"calls": [2]}, False),
    ],
)
def test_a_rule_is_about_the_calls_it_names_and_no_others(
    service: Server, changes: dict[str, Any], about: bool
) -> None:
    ledger = MemoryLedger(a_rule(**changes))

    client_of(service, ledger).put_item(**ITEM)

    assert bool(ledger.fired) is about
    assert len(service.requests) == 1


def test_of_many_calls_the_numbered_ones_fail_and_each_try_counts(service: Server) -> None:
    ledger = MemoryLedger(a_rule(calls=[2, 4]))
    client = client_of(service, ledger)

    for _ in range(3):
        client.put_item(**ITEM)  # calls 1, then 2 and 3, then 4 and 5

    assert [firing.call for firing in ledger.fired] == [2, 4]
    assert len(service.requests) == 3


def test_every_rule_counts_a_call_also_one_at_which_another_fires(service: Server) -> None:
    ledger = MemoryLedger(a_rule("throttled", calls=[1]), a_rule("lost-ack", calls=[2]))

    client_of(service, ledger).put_item(**ITEM)

    assert ledger.fired == [Firing(1), Firing(2, 200)]
    assert len(service.requests) == 2


def test_a_client_without_the_hook_obeys_no_rules(service: Server) -> None:
    ledger = MemoryLedger(a_rule(calls=EVERY_TRY))
    client_of(service, ledger)

    client_of(service).put_item(**ITEM)

    assert ledger.fired == []


PROGRAM = """
import sys
from tests.support.fault_hook import MemoryLedger
from tests.support.server import Server
from tests.unit.test_fault_hook import ITEM, a_rule, client_of
client_of(Server(lambda request: (200, {}), sys.argv[1]), MemoryLedger(a_rule(sys.argv[2]))).put_item(**ITEM)
"""


@pytest.mark.parametrize(("fault", "heard"), [("crash-before", 0), ("crash-after", 1)])
def test_a_crash_ends_the_process_before_or_after_the_call(service: Server, fault: Fault, heard: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, service.url, fault], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (1, "")
    assert len(service.requests) == heard


def test_no_package_holds_the_hook() -> None:
    for built in package.build_all():
        with zipfile.ZipFile(built.path) as archive:
            names = archive.namelist()
        assert "lambdas/common/aws.py" in names
        assert [name for name in names if name.startswith("tests/") or "faulty" in name or "fault_hook" in name] == []


def test_a_receipt_that_is_no_longer_good_is_refused_as_sqs_refuses_it_and_not_tried_again(service: Server) -> None:
    rule = a_rule("not-in-flight", service="sqs", operation="ChangeMessageVisibility")
    ledger = MemoryLedger(rule)
    sqs: Any = boto3.client(
        "sqs",
        endpoint_url=service.url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    install(sqs.meta.events, ledger)
    with pytest.raises(sqs.exceptions.MessageNotInflight):
        sqs.change_message_visibility(QueueUrl=f"{service.url}/queue", ReceiptHandle="stale", VisibilityTimeout=1)
    assert (ledger.fired, service.requests) == ([Firing(1)], [])


def test_a_request_that_lands_late_is_sent_after_its_client_has_given_it_up(service: Server) -> None:
    client, landed = client_of(service), Queue[int]()
    client.meta.events.register("before-send", lambda request, **_: land_late(request, 2, landed.put))
    with pytest.raises(ReadTimeoutError):
        client.put_item(**ITEM)
    assert [landed.get(timeout=180) for _ in EVERY_TRY] == [200] * 3
    assert [request.body for request in service.requests] == [ITEM] * 3
