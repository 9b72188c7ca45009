"""What the SDK sends in our name, and what it checks before."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import botocore
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ParamValidationError

from bootstrap.paths import ROOT
from lambdas.common import aws
from lambdas.common.wire import to_wire

QUEUE_URL = "https://sqs.us-east-1.amazonaws.com/000000000000/tasks"


class _Empty:
    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield b"{}"


@dataclass
class Sent:
    """Requests as they would have gone out; each is answered with nothing."""

    requests: list[Any] = field(default_factory=list)

    def answer(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        self.requests.append(request)
        return AWSResponse(request.url, 200, HTTPHeaders(), _Empty())

    def through(self, client: Any) -> Any:
        """The same client, which reaches nobody."""
        client.meta.events.register("before-send", self.answer)
        return client


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    for name, value in (("DEFAULT_REGION", "us-east-1"), ("ACCESS_KEY_ID", "test"), ("SECRET_ACCESS_KEY", "test")):
        monkeypatch.setenv(f"AWS_{name}", value)
    return Sent()


@pytest.mark.parametrize("make", [aws.dynamodb, aws.hasty_dynamodb], ids=lambda make: make.__name__)
def test_a_call_to_the_table_names_the_project_and_its_version(make: Any, sent: Sent) -> None:
    sent.through(make()).get_item(TableName="tasks", Key={"PK": {"S": "T#1"}})
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    agent = f"task-processing/{version} Botocore/{botocore.__version__}"
    assert sent.requests[0].headers["User-Agent"].decode().startswith(agent), "Powertools puts its own behind it"


def test_a_call_to_the_queue_names_them_too(sent: Sent) -> None:
    sent.through(aws.sqs()).send_message(QueueUrl=QUEUE_URL, MessageBody="{}", DelaySeconds=3)
    assert sent.requests[0].headers["User-Agent"].startswith(b"task-processing/")
    assert json.loads(sent.requests[0].body) == {"QueueUrl": QUEUE_URL, "MessageBody": "{}", "DelaySeconds": 3}


STRANGE: tuple[Any, ...] = ({"S": None}, {"S": b"bytes"}, {"N": 5}, {"SS": "abc"}, {"BOOL": "yes"}, {"other": 1}, None)
"""Some of these the SDK would send as something else, or as it is, did nobody look."""


@pytest.mark.parametrize("value", STRANGE, ids=str)
def test_what_a_kind_wants_written_is_checked_before_it_is_sent(value: Any, sent: Sent) -> None:
    item: Mapping[str, Any] = {"Put": {"TableName": "effects", "Item": {"id": {"S": "1"}, "value": value}}}
    with pytest.raises(ParamValidationError, match="value"):
        sent.through(aws.dynamodb()).transact_write_items(TransactItems=[item])
    assert sent.requests == []


def test_a_transaction_in_order_is_sent_as_it_is(sent: Sent) -> None:
    item: Mapping[str, Any] = {"Put": {"TableName": "effects", "Item": {"id": {"S": "1"}, "raw": {"B": b"\x00\xff"}}}}
    sent.through(aws.dynamodb()).transact_write_items(TransactItems=[item], ClientRequestToken="token")
    body = json.loads(sent.requests[0].body)
    assert body["ClientRequestToken"] == "token"
    assert body["TransactItems"][0]["Put"]["Item"] == {"id": {"S": "1"}, "raw": {"B": "AP8="}}


@pytest.mark.parametrize("value", [1.5, b"bytes", ("a", "b"), object()], ids=lambda value: type(value).__name__)
def test_a_row_holds_no_value_that_has_no_type_there(value: Any) -> None:
    """Nobody checks a row after this."""
    with pytest.raises(AssertionError, match="unreachable"):
        to_wire({"field": value})


def test_rare_calls_are_checked_by_the_sdk_itself(sent: Sent) -> None:
    with pytest.raises(ParamValidationError):
        sent.through(aws.event_source_mappings()).get_event_source_mapping(UUID=None)
    with pytest.raises(ParamValidationError):
        sent.through(aws.s3()).get_object(Bucket="files", Key="")
    assert sent.requests == []
