"""Effects against the deployed stack: money is moved once per task, however often its message is delivered."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from client import Task
from lambdas.common.task import Message
from tests.integration.test_iam import acting_as
from tests.integration.test_pipeline import logged, until_queues_are_empty
from tests.support.stack import DeployedStack, new_id
from tests.support.waiting import eventually

COPIES = 5
"""Messages sent for one task beside its own."""


def balance(stack: DeployedStack, account: str) -> int | None:
    key = {"account": {"S": account}}
    found = stack.dynamodb.get_item(TableName=accounts_table(stack), Key=key, ConsistentRead=True)
    return int(found["Item"]["balance"]["N"]) if "Item" in found else None


def accounts_table(stack: DeployedStack) -> str:
    return f"{stack.outputs['stage']}-accounts"


def deposited(stack: DeployedStack, account: str, amount: int) -> str:
    task = stack.tasks.submit("deposit", {"account": account, "amount": amount}).wait()
    assert task.status == "COMPLETED"
    return account


def transferred(stack: DeployedStack, source: str, target: str, amount: int, copies: int = 0) -> Task:
    payload = {"source": source, "target": target, "amount": amount}
    submitted = stack.tasks.submit("transfer", payload)
    for _ in range(copies):
        stack.queue.send(Message(submitted.task_id, 1))
    return submitted.wait()


def test_a_deposit_delivered_many_times_is_made_once(stack: DeployedStack) -> None:
    account = new_id("account")
    submitted = stack.tasks.submit("deposit", {"account": account, "amount": 7})
    for _ in range(COPIES):
        stack.queue.send(Message(submitted.task_id, 1))
    assert submitted.wait().status == "COMPLETED"

    for _ in range(COPIES):
        stack.queue.send(Message(submitted.task_id, 1))
    ends = eventually(lambda: logged(stack, "ProcessTask", submitted.task_id), lambda ends: len(ends) > 2 * COPIES)
    assert [end["message"] for end in ends].count("task completed") == 1
    assert balance(stack, account) == 7


def test_no_money_is_made_or_lost_by_transfers_back_and_forth_at_once_all_of_them_delivered_twice(
    stack: DeployedStack,
) -> None:
    ann, bob = (deposited(stack, new_id("account"), 100) for _ in range(2))
    ways = [(ann, bob, 3), (bob, ann, 2)] * 15

    def move(way: tuple[str, str, int]) -> Task:
        return transferred(stack, *way, copies=1)

    with ThreadPoolExecutor(8) as pool:
        tasks = list(pool.map(move, ways))

    assert {task.status for task in tasks} == {"COMPLETED"}
    assert [task.result for task in tasks] == [{"moved": amount} for _, _, amount in ways]
    until_queues_are_empty(stack)
    assert (balance(stack, ann), balance(stack, bob)) == (100 - 15, 100 + 15)


def test_an_account_that_everybody_takes_from_at_once_gives_what_it_has_and_no_more(stack: DeployedStack) -> None:
    poor, rich = (deposited(stack, new_id("account"), amount) for amount in (10, 1))
    with ThreadPoolExecutor(8) as pool:
        tasks = list(pool.map(lambda _: transferred(stack, poor, rich, 3, copies=1), range(8)))

    assert sorted(task.status for task in tasks) == ["COMPLETED"] * 3 + ["FAILED_FINAL"] * 5
    assert {task.error for task in tasks} == {None, f"NotEnough: account {poor} does not hold 3"}
    assert (balance(stack, poor), balance(stack, rich)) == (1, 10)


@pytest.mark.parametrize("refused", ["NotEnough", "NoSuchAccount"])
def test_a_transfer_that_cannot_be_made_fails_for_good_at_once_with_the_error_that_it_declared(
    refused: str, stack: DeployedStack
) -> None:
    ann, nobody = deposited(stack, new_id("account"), 5), new_id("account")
    way, error = {
        "NotEnough": ((ann, deposited(stack, new_id("account"), 1), 6), f"NotEnough: account {ann} does not hold 6"),
        "NoSuchAccount": ((ann, nobody, 5), f"NoSuchAccount: there is no account {nobody}"),
    }[refused]
    task = transferred(stack, *way)

    assert (task.status, task.attempts, task.error, task.result) == ("FAILED_FINAL", 1, error, None)
    letters = eventually(lambda: stack.tasks.get(task.task_id).dead_letters)
    assert [letter["error"] for letter in letters] == [error]
    assert (balance(stack, ann), balance(stack, nobody)) == (5, None)


# Permissions. ---------------------------------------------------------------------------------------------------------


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


@pytest.mark.needs("iam")
def test_the_process_function_may_write_effects_of_every_kind_to_a_listed_table(stack: DeployedStack) -> None:
    acting_as(stack, "ProcessTask", "dynamodb").transact_write_items(TransactItems=_every_action(accounts_table(stack)))


@pytest.mark.needs("iam")
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


@pytest.mark.needs("iam")
def test_the_process_function_may_not_put_or_delete_tasks_nor_read_the_tables_of_effects(stack: DeployedStack) -> None:
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


@pytest.mark.needs("iam")
@pytest.mark.parametrize("function", ["SubmitTask", "QueryTasks", "MonitorDlq", "SweepTasks", "SteerTasks"])
def test_no_other_function_may_write_to_the_tables_of_effects(stack: DeployedStack, function: str) -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        acting_as(stack, function, "dynamodb").put_item(
            TableName=accounts_table(stack), Item={"account": {"S": "x"}, "balance": {"N": "1"}}
        )
