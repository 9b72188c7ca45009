"""The fake refuses what AWS refuses, also where the emulators are lenient (they take what would fail on AWS)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.dynamodb import TABLE, FakeDynamoDB
from tests.support.expressions import holds, updated
from tests.support.operators import ExpressionError

KEY = {"PK": {"S": "T#1"}, "SK": {"S": "A"}}
ROW = {**KEY, "status": {"S": "OPEN"}, "attempts": {"N": "2"}, "log": {"L": []}}
VALUES: dict[str, Any] = {":one": 1, ":text": "x", ":entry": ["x"], ":none": None, ":set": {"x"}}

BAD_CONDITIONS = {
    "doubled parentheses": "((#attempts = :one))",
    "doubled parentheses around a part": "#attempts = :one AND ((#status = :text OR #attempts = :one))",
    "nothing": "",
    "half a comparison": "#attempts =",
    "a value alone": ":one",
    "an unclosed parenthesis": "(#attempts = :one",
    "something behind the end": "#attempts = :one #status",
    "an unknown function": "attribute_type(#status, :text)",
    "too many operands": "contains(#status, :text, :one)",
    "a foreign character": "#attempts == :one; #status",
    "a keyword as an attribute": "AND = :one",
}
BAD_UPDATES = {
    "an attribute that is not there": "SET #fresh = #missing",
    "a sum with an attribute that is not there": "SET #fresh = #missing + :one",
    "a sum with a text": "SET #attempts = #attempts + :text",
    "a difference with a text": "SET #attempts = #attempts - :text",
    "a list appended to a number": "SET #log = list_append(#attempts, :entry)",
    "a number added to a text": "ADD #status :one",
    "a list added": "ADD #log :entry",
    "a set added to a number": "ADD #attempts :set",
    "the same attribute twice": "SET #status = :text REMOVE #status",
    "a clause twice": "SET #status = :text SET #attempts = :one",
    "no clause": "#status = :text",
    "a clause without an attribute": "REMOVE",
    "an unfinished call": "SET #log = list_append(#log, :entry",
}


def test_a_condition_that_is_none_is_an_error() -> None:
    for condition in BAD_CONDITIONS.values():
        with pytest.raises(ExpressionError):
            holds(condition, {}, VALUES)


def test_an_update_that_cannot_be_carried_out_is_an_error() -> None:
    for update in BAD_UPDATES.values():
        with pytest.raises(ExpressionError):
            updated(update, {"status": "OPEN", "attempts": 2, "log": []}, VALUES)


def _update(**more: Any) -> Callable[[FakeDynamoDB], object]:
    return lambda client: client.update_item(TableName=TABLE, Key=KEY, **more)


def _put(item: dict[str, Any], **more: Any) -> Callable[[FakeDynamoDB], object]:
    return lambda client: client.put_item(TableName=TABLE, Item=item, **more)


def _query(**more: Any) -> Callable[[FakeDynamoDB], object]:
    return lambda client: client.query(TableName=TABLE, ExpressionAttributeValues={":x": {"S": "x"}}, **more)


def _batch(count: int, name: str) -> Callable[[FakeDynamoDB], object]:
    keys = [{"PK": {"S": name.format(number)}, "SK": {"S": "A"}} for number in range(count)]
    return lambda client: client.batch_get_item(RequestItems={TABLE: {"Keys": keys}})


def _transaction(*items: dict[str, Any]) -> Callable[[FakeDynamoDB], object]:
    puts = [{"Put": {"TableName": TABLE, "Item": item}} for item in items]
    return lambda client: client.transact_write_items(TransactItems=puts)


ONE = {":one": {"N": "1"}}
INVALID = {
    "a value that is given and not used": _update(
        UpdateExpression="SET a = :one", ExpressionAttributeValues={**ONE, ":two": {"N": "2"}}
    ),
    "a value that is used and not given": _update(
        UpdateExpression="SET a = :one, b = :two", ExpressionAttributeValues=ONE
    ),
    "a name that is given and not used": _update(
        UpdateExpression="SET a = :one", ExpressionAttributeValues=ONE, ExpressionAttributeNames={"#a": "a"}
    ),
    "a name that is used and not given": _update(
        UpdateExpression="SET #a = :one", ExpressionAttributeValues=ONE, ExpressionAttributeNames={"#b": "b"}
    ),
    "no names where one is used": _put(ROW, ConditionExpression="attribute_not_exists(#PK)"),
    "names without an expression": _put(ROW, ExpressionAttributeNames={"#a": "a"}),
    "empty values": _put(ROW, ConditionExpression="attribute_not_exists(PK)", ExpressionAttributeValues={}),
    "a condition that is none": _put(ROW, ConditionExpression="((attribute_not_exists(PK)))"),
    "an update of the key": _update(UpdateExpression="SET SK = :one", ExpressionAttributeValues={":one": {"S": "B"}}),
    "an update of an index key to a number": _update(
        UpdateExpression="SET classSort = :one", ExpressionAttributeValues=ONE
    ),
    "a key that is a number": _put({**ROW, "SK": {"N": "1"}}),
    "no sort key": _put({"PK": {"S": "T#1"}}),
    "a set with nothing in it": _put({**ROW, "ids": {"SS": []}}),
    "a query without the partition key": _query(KeyConditionExpression="SK = :x"),
    "a query by another attribute": _query(KeyConditionExpression="PK = :x AND kind = :x"),
    "a consistent read of an index": _query(
        KeyConditionExpression="classShard = :x", IndexName="by-class", ConsistentRead=True
    ),
    "101 keys at once": _batch(101, "T#{}"),
    "no keys": _batch(0, "T#{}"),
    "a key twice": _batch(2, "T#1"),
    "an item twice in a transaction": _transaction(ROW, ROW),
}


def test_a_call_that_aws_does_not_allow_is_refused_and_changes_nothing() -> None:
    for call in INVALID.values():
        client = FakeDynamoDB()
        client.put_item(TableName=TABLE, Item=ROW)
        with pytest.raises(ClientError) as error:
            call(client)
        assert error.value.response["Error"]["Code"] == "ValidationException", call
        assert client.get_item(TableName=TABLE, Key=KEY) == {"Item": ROW}, call


@pytest.mark.parametrize(("asked", "shown"), [({"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}, True), ({}, False)])
def test_a_refused_write_shows_the_old_item_only_when_asked_to(asked: dict[str, str], shown: bool) -> None:
    client = FakeDynamoDB()
    client.put_item(TableName=TABLE, Item=ROW)
    put: dict[str, Any] = {"TableName": TABLE, "Item": KEY, "ConditionExpression": "attribute_not_exists(PK)", **asked}
    with pytest.raises(ClientError) as alone:
        client.put_item(**put)
    assert alone.value.response["Error"]["Code"] == "ConditionalCheckFailedException"
    assert alone.value.response.get("Item") == (ROW if shown else None)
    beside = {"TableName": TABLE, "Item": {**KEY, "SK": {"S": "P"}}}
    with pytest.raises(ClientError) as together:
        client.transact_write_items(TransactItems=[{"Put": put}, {"Put": beside}])
    response: Any = together.value.response
    assert response["Error"]["Code"] == "TransactionCanceledException"
    first, second = response["CancellationReasons"]
    assert (first["Code"], first.get("Item"), second) == (
        "ConditionalCheckFailed",
        ROW if shown else None,
        {"Code": "None"},
    )


def test_a_transaction_under_the_same_token_counts_once_and_another_under_it_is_refused() -> None:
    client = FakeDynamoDB()

    def put(item: dict[str, Any]) -> None:
        client.transact_write_items(
            TransactItems=[{"Put": {"TableName": TABLE, "Item": item}}], ClientRequestToken="token"
        )

    put(ROW)
    client.delete_item(TableName=TABLE, Key=KEY)
    put(ROW)
    assert client.get_item(TableName=TABLE, Key=KEY) == {}
    with pytest.raises(ClientError, match="IdempotentParameterMismatchException"):
        put({**ROW, "attempts": {"N": "3"}})


def test_what_the_fake_does_not_know_is_an_error_and_never_ignored() -> None:
    with pytest.raises(AssertionError, match="FilterExpression"):
        _query(KeyConditionExpression="PK = :x", FilterExpression="a = :x")(FakeDynamoDB())


def test_updates_from_several_threads_are_all_counted() -> None:
    client = FakeDynamoDB()
    add = _update(UpdateExpression="ADD attempts :one", ExpressionAttributeValues=ONE)
    threads = [threading.Thread(target=lambda: [add(client) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.get_item(TableName=TABLE, Key=KEY)["Item"]["attempts"] == {"N": "200"}


# Transactions. --------------------------------------------------------------------------------------------------------

OTHER = "other"
HOLDS, FAILS = "attribute_exists(PK)", "attribute_not_exists(PK)"


def _bank() -> FakeDynamoDB:
    """A row in each of two tables whose keys differ."""
    client = FakeDynamoDB(TABLE, {OTHER: ("name",)})
    client.put_item(TableName=TABLE, Item=ROW)
    client.put_item(TableName=OTHER, Item={"name": {"S": "ann"}, "n": {"N": "1"}})
    return client


def _on_row(action: str, **more: Any) -> dict[str, Any]:
    return {action: {"TableName": TABLE, "Key": KEY, **more}}


def _on_ann(action: str, **more: Any) -> dict[str, Any]:
    return {action: {"TableName": OTHER, "Key": {"name": {"S": "ann"}}, **more}}


def _cancelled(client: FakeDynamoDB, *items: dict[str, Any]) -> list[Any]:
    """The reasons for which the transaction was not made."""
    with pytest.raises(ClientError) as error:
        client.transact_write_items(TransactItems=list(items))
    response: Any = error.value.response
    assert response["Error"]["Code"] == "TransactionCanceledException"
    return list(response["CancellationReasons"])


def _ann(client: FakeDynamoDB) -> dict[str, Any]:
    found: dict[str, Any] = client.get_item(TableName=OTHER, Key={"name": {"S": "ann"}})
    return found


@pytest.mark.parametrize("code", ["TransactionConflict", "ThrottlingError"])
def test_a_transaction_that_something_stands_in_the_way_of_is_not_made_as_often_as_asked(code: str) -> None:
    client = _bank()
    client.stand_in_the_way(code, 2)
    items = (_on_row("Delete"), _on_ann("Delete"))
    for _ in range(2):
        assert [reason["Code"] for reason in _cancelled(client, *items)] == ["None", code]
        assert _ann(client) != {}
    client.transact_write_items(TransactItems=list(items))
    assert _ann(client) == {}


def test_an_exception_that_stands_in_the_way_is_one_of_the_call_and_a_repetition_is_answered_all_the_same() -> None:
    client = _bank()
    items = [_on_ann("Delete")]
    client.transact_write_items(TransactItems=items, ClientRequestToken="mine")
    client.stand_in_the_way("TransactionInProgressException", 1)
    assert client.transact_write_items(TransactItems=items, ClientRequestToken="mine") == {}
    with pytest.raises(ClientError, match="TransactionInProgressException") as error:
        client.transact_write_items(TransactItems=items)
    assert "CancellationReasons" not in error.value.response
