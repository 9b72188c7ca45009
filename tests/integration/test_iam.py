"""Least privilege: each function may do what it does, and nothing beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.support.looking import accounts_table
from tests.support.stack import DeployedStack, new_id

pytestmark = pytest.mark.embedded


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


# Tables of effects. ---------------------------------------------------------------------------------------------------


@pytest.fixture
def other_table(stack: DeployedStack) -> Iterator[str]:
    """A table of the same stage and the same key, which no kind lists."""
    name = f"{stack.outputs['stage']}-{new_id('other')}"
    stack.dynamodb.create_table(
        TableName=name,
        AttributeDefinitions=[{"AttributeName": "account", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "account", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    stack.dynamodb.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1})
    yield name
    stack.dynamodb.delete_table(TableName=name)


def _put(table: str, account: str) -> dict[str, Any]:
    return {"Put": {"TableName": table, "Item": {"account": {"S": account}}}}


def _every_action(table: str) -> list[dict[str, Any]]:
    where = [{"TableName": table, "Key": {"account": {"S": new_id("iam")}}} for _ in range(3)]
    update = {**where[0], "UpdateExpression": "ADD balance :one", "ExpressionAttributeValues": {":one": {"N": "1"}}}
    check = {**where[2], "ConditionExpression": "attribute_not_exists(account)"}
    return [_put(table, new_id("iam")), {"Update": update}, {"Delete": where[1]}, {"ConditionCheck": check}]


def test_the_process_function_may_write_effects_of_every_kind_to_a_listed_table(stack: DeployedStack) -> None:
    acting_as(stack, "ProcessTask", "dynamodb").transact_write_items(TransactItems=_every_action(accounts_table(stack)))


def test_the_process_function_may_write_to_no_other_table_and_nothing_beside_what_is_denied_is_written(
    stack: DeployedStack, other_table: str
) -> None:
    dynamodb, account = acting_as(stack, "ProcessTask", "dynamodb"), new_id("iam")
    for action in _every_action(other_table):
        with pytest.raises(ClientError, match="AccessDenied"):
            dynamodb.transact_write_items(TransactItems=[_put(accounts_table(stack), account), action])
    assert stack.dynamodb.scan(TableName=other_table)["Items"] == []
    written = stack.dynamodb.get_item(TableName=accounts_table(stack), Key={"account": {"S": account}})
    assert "Item" not in written


def test_the_process_function_may_not_put_or_delete_tasks_nor_read_the_tables_of_effects(
    stack: DeployedStack,
) -> None:
    dynamodb, tasks = acting_as(stack, "ProcessTask", "dynamodb"), stack.outputs["table_name"]
    key = {"PK": {"S": "T#x"}, "SK": {"S": "A"}}
    with pytest.raises(ClientError, match="AccessDenied"):
        dynamodb.put_item(TableName=tasks, Item=key)
    with pytest.raises(ClientError, match="AccessDenied"):
        dynamodb.delete_item(TableName=tasks, Key=key)
    with pytest.raises(ClientError, match="AccessDenied"):
        dynamodb.get_item(TableName=accounts_table(stack), Key={"account": {"S": "x"}})
    with pytest.raises(ClientError, match="AccessDenied"):
        dynamodb.scan(TableName=accounts_table(stack))


@pytest.mark.parametrize("function", ["SubmitTask", "QueryTasks", "MonitorDlq", "SweepTasks", "SteerTasks"])
def test_no_other_function_may_write_to_the_tables_of_effects(stack: DeployedStack, function: str) -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        acting_as(stack, function, "dynamodb").put_item(
            TableName=accounts_table(stack), Item={"account": {"S": "x"}, "balance": {"N": "1"}}
        )


def test_the_function_reads_what_comes_in_and_writes_what_goes_out_and_nothing_else(
    stack: DeployedStack,
) -> None:
    s3, bucket = acting_as(stack, "ProcessTask", "s3"), stack.outputs["data_bucket"]
    key = f"in/{new_id('orders')}.csv"
    stack.aws("s3").put_object(Bucket=bucket, Key=key, Body=b"x")
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == b"x"
    s3.put_object(Bucket=bucket, Key="out/of-a-test.csv", Body=b"x")

    refused: Mapping[str, Callable[[], Any]] = {
        "read what went out": lambda: s3.get_object(Bucket=bucket, Key="out/of-a-test.csv"),
        "write what comes in": lambda: s3.put_object(Bucket=bucket, Key=key, Body=b"y"),
        "delete": lambda: s3.delete_object(Bucket=bucket, Key=key),
        "list": lambda: s3.list_objects_v2(Bucket=bucket),
        "read a package": lambda: s3.get_object(Bucket=bucket.replace("-data-", "-packages-"), Key="in/x"),
    }
    for what, call in refused.items():
        with pytest.raises(ClientError, match="AccessDenied") as error:
            call()
        assert error.value.response["Error"]["Code"] == "AccessDenied", what
