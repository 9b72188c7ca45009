"""Which IAM actions an SDK call needs, and on what."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from tests.support.iam_uses import UnknownCall, Use, uses
from tests.support.recording import used
from tests.support.recording_handler import Recorder

CALLS: list[tuple[str, str, dict[str, Any], list[Use]]] = [
    ("dynamodb", "GetItem", {"TableName": "t"}, [("dynamodb:GetItem", "table/t")]),
    ("dynamodb", "Query", {"TableName": "t"}, [("dynamodb:Query", "table/t")]),
    ("dynamodb", "Query", {"TableName": "t", "IndexName": "i"}, [("dynamodb:Query", "table/t/index/i")]),
    ("dynamodb", "BatchGetItem", {"RequestItems": {"t": {}}}, [("dynamodb:BatchGetItem", "table/t")]),
    (
        "dynamodb",
        "TransactWriteItems",
        {
            "TransactItems": [
                {"Put": {"TableName": "a"}},
                {"Update": {"TableName": "a"}},
                {"Delete": {"TableName": "b"}},
                {"ConditionCheck": {"TableName": "b"}},
            ]
        },
        [
            ("dynamodb:PutItem", "table/a"),
            ("dynamodb:UpdateItem", "table/a"),
            ("dynamodb:DeleteItem", "table/b"),
            ("dynamodb:ConditionCheckItem", "table/b"),
        ],
    ),
    ("sqs", "SendMessage", {"QueueUrl": "http://here/0/q"}, [("sqs:SendMessage", "q")]),
    ("sqs", "SendMessageBatch", {"QueueUrl": "http://here/0/q"}, [("sqs:SendMessage", "q")]),
    ("s3", "GetObject", {"Bucket": "b", "Key": "in/a/b"}, [("s3:GetObject", "b/in/*")]),
    ("s3", "PutObject", {"Bucket": "b", "Key": "out/a"}, [("s3:PutObject", "b/out/*")]),
    (
        "lambda",
        "GetEventSourceMapping",
        {"UUID": "m"},
        [("lambda:GetEventSourceMapping", "event-source-mapping:m")],
    ),
]


def test_a_call_needs_an_action_on_a_resource() -> None:
    for service, operation, parameters, needs in CALLS:
        assert uses(service, operation, parameters) == needs, service


@pytest.mark.parametrize(("service", "operation"), [("dynamodb", "TagResource"), ("sqs", "PurgeQueue"), ("s3", "List")])
def test_a_call_that_nobody_has_looked_up_is_an_error(service: str, operation: str) -> None:
    with pytest.raises(UnknownCall, match=f"{service}:{operation}"):
        uses(service, operation, {"QueueUrl": "q", "TableName": "t"})


@pytest.mark.parametrize(
    ("code", "denied"), [(None, False), ("ConditionalCheckFailedException", False), ("AccessDeniedException", True)]
)
def test_the_recorder_tells_a_call_that_was_denied_from_one_that_was_carried_out(
    tmp_path: Path, code: str | None, denied: bool
) -> None:
    recorder = Recorder("SubmitTask", str(tmp_path / "calls.jsonl"))
    client = boto3.client("dynamodb", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
    client.meta.events.register("before-parameter-build", recorder.before)
    client.meta.events.register("after-call", recorder.after)
    with Stubber(client) as stub:
        if code:
            stub.add_client_error("get_item", code)
        else:
            stub.add_response("get_item", {})
        with suppress(ClientError):
            client.get_item(TableName="t", Key={"PK": {"S": "x"}})

    (line,) = map(json.loads, (tmp_path / "calls.jsonl").read_text().splitlines())
    assert line["denied"] is denied
    use = frozenset({("dynamodb:GetItem", "table/t")})
    assert (used(tmp_path / "calls.jsonl", "SubmitTask", denied)) == use
    assert (used(tmp_path / "calls.jsonl", "SubmitTask", not denied)) == frozenset()
    assert (used(tmp_path / "calls.jsonl", "QueryTasks", denied)) == frozenset()
