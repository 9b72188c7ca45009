"""Least privilege: each function may do what it does, and nothing beside it."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.support.stack import DeployedStack

pytestmark = pytest.mark.needs("iam")


def acting_as(stack: DeployedStack, function: str, service: Any) -> Any:
    """A client under the role of a function."""
    configuration = stack.aws("lambda").get_function_configuration(FunctionName=stack.outputs["functions"][function])
    sts = stack.aws("sts")
    found = sts.assume_role(RoleArn=configuration["Role"], RoleSessionName="test")["Credentials"]
    return boto3.client(
        service,
        region_name=stack.place.region,
        endpoint_url=stack.place.endpoint_url,
        aws_access_key_id=found["AccessKeyId"],
        aws_secret_access_key=found["SecretAccessKey"],
        aws_session_token=found["SessionToken"],
    )


@pytest.mark.parametrize("function", ["SubmitTask", "QueryTasks", "ProcessTask", "MonitorDlq", "SweepTasks"])
def test_no_function_may_scan_the_table(stack: DeployedStack, function: str) -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        acting_as(stack, function, "dynamodb").scan(TableName=stack.outputs["table_name"])


def test_the_query_function_may_read_but_not_write(stack: DeployedStack) -> None:
    dynamodb, table = acting_as(stack, "QueryTasks", "dynamodb"), stack.outputs["table_name"]

    values = {":pk": {"S": "T#nobody"}}
    found = dynamodb.query(TableName=table, KeyConditionExpression="PK = :pk", ExpressionAttributeValues=values)
    assert found["Count"] == 0
    with pytest.raises(ClientError, match="AccessDenied"):
        dynamodb.put_item(TableName=table, Item={"PK": {"S": "T#x"}, "SK": {"S": "A"}})


def test_the_submit_function_may_send_but_not_receive(stack: DeployedStack) -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        acting_as(stack, "SubmitTask", "sqs").receive_message(QueueUrl=stack.outputs["queue_url"])


def test_the_process_function_may_not_send_to_its_own_queue(stack: DeployedStack) -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        acting_as(stack, "ProcessTask", "sqs").send_message(QueueUrl=stack.outputs["queue_url"], MessageBody="{}")
