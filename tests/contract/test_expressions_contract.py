"""DynamoDB's expression language, as far as the store speaks it: the fake reads it as the emulator does."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.contract.conftest import Table

KEY = {"PK": {"S": "T#1"}, "SK": {"S": "A"}}
ROW: dict[str, Any] = {
    **KEY,
    "status": {"S": "PROCESSING"},
    "attempts": {"N": "2"},
    "ids": {"SS": ["a", "b"]},
    "log": {"L": [{"S": "first"}]},
    "nothing": {"NULL": True},
}
VALUES: dict[str, Any] = {
    ":one": {"N": "1"},
    ":two": {"N": "2"},
    ":three": {"N": "3"},
    ":text": {"S": "2"},
    ":processing": {"S": "PROCESSING"},
    ":pending": {"S": "PENDING"},
    ":a": {"S": "a"},
    ":c": {"S": "c"},
    ":c_set": {"SS": ["c"]},
    ":entry": {"L": [{"S": "second"}]},
}
MIXED_TYPES = pytest.mark.needs("mixed_type_expressions")
CONDITIONS: list[Any] = [
    ("#attempts = :two", True),
    ("#attempts = :text", False),
    ("#attempts <> :text", True),
    ("#attempts < :three", True),
    ("#attempts < :two", False),
    ("#attempts <= :two", True),
    ("#attempts > :two", False),
    ("#attempts >= :two", True),
    pytest.param("#attempts < :text", False, marks=MIXED_TYPES),
    ("#missing = :one", False),
    ("#missing < :one", False),
    ("#missing <> :one", True),
    ("NOT #missing < :one", True),
    ("attribute_exists(#status)", True),
    ("attribute_exists(#missing)", False),
    ("attribute_not_exists(#missing)", True),
    ("attribute_exists(#nothing)", True),
    ("#status IN (:pending, :processing)", True),
    ("#status IN (:pending)", False),
    ("#attempts BETWEEN :one AND :two", True),
    ("#attempts BETWEEN :one AND :two AND #status = :pending", False),
    ("#attempts BETWEEN :three AND :three", False),
    ("contains(#ids, :a)", True),
    ("contains(#ids, :c)", False),
    ("contains(#missing, :a)", False),
    ("contains(#status, :processing)", True),
    ("size(#ids) < :three", True),
    ("size(#ids) < :two", False),
    pytest.param("size(#missing) < :two", False, marks=MIXED_TYPES),
    ("#status = :processing OR #status = :pending AND #attempts = :three", True),
    ("(#status = :processing OR #status = :pending) AND #attempts = :three", False),
    ("NOT #status = :pending AND #attempts = :two", True),
    ("NOT (#status = :processing AND #attempts = :two)", False),
    ("(#attempts = :one OR #attempts = :two) AND (#status = :processing)", True),
]
UPDATES: list[tuple[str, dict[str, Any]]] = [
    ("SET #status = :pending", {"status": {"S": "PENDING"}}),
    ("SET #attempts = #attempts + :one", {"attempts": {"N": "3"}}),
    ("SET #attempts = #attempts - :one", {"attempts": {"N": "1"}}),
    ("SET #attempts = if_not_exists(#attempts, :one)", {}),
    ("SET #fresh = if_not_exists(#fresh, :one)", {"fresh": {"N": "1"}}),
    ("SET #fresh = if_not_exists(#fresh, :one) + :two", {"fresh": {"N": "3"}}),
    ("SET #log = list_append(#log, :entry)", {"log": {"L": [{"S": "first"}, {"S": "second"}]}}),
    ("SET #fresh = #attempts, #attempts = :three", {"fresh": {"N": "2"}, "attempts": {"N": "3"}}),
    ("REMOVE #status, #missing", {"status": None}),
    ("ADD #attempts :one", {"attempts": {"N": "3"}}),
    ("ADD #fresh :one", {"fresh": {"N": "1"}}),
    ("ADD #ids :c_set", {"ids": {"SS": ["a", "b", "c"]}}),
    ("ADD #fresh :c_set", {"fresh": {"SS": ["c"]}}),
    (
        "SET #fresh = :a REMOVE #status ADD #attempts :one",
        {"fresh": {"S": "a"}, "status": None, "attempts": {"N": "3"}},
    ),
]


@pytest.mark.parametrize(("condition", "true"), CONDITIONS)
def test_a_condition_is_true_of_a_row_or_it_is_not(condition: str, true: bool, table: Table) -> None:
    table.client.put_item(TableName=table.name, Item=ROW)
    assert _made(table, condition) is true


@pytest.mark.parametrize(("condition", "true"), [case for case in CONDITIONS if "#missing" in str(case)])
def test_every_attribute_is_missing_of_an_item_that_is_not_there(condition: str, true: bool, table: Table) -> None:
    assert _made(table, condition) is true


@pytest.mark.parametrize(("update", "changes"), UPDATES)
def test_an_update_changes_what_it_names(update: str, changes: dict[str, Any], table: Table) -> None:
    table.client.put_item(TableName=table.name, Item=ROW)
    _update(table, update)
    wanted = {name: value for name, value in {**ROW, **changes}.items() if value is not None}
    assert _sorted(table.item("T#1", "A")) == wanted


def _made(table: Table, condition: str) -> bool:
    try:
        _update(table, "SET #seen = :one", ConditionExpression=condition)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise
        return False
    return True


def _update(table: Table, update: str, **more: str) -> None:
    text = " ".join((update, *more.values()))
    names = {word: word[1:] for word in _words(text, "#")}
    values = {"ExpressionAttributeValues": used} if (used := {word: VALUES[word] for word in _words(text, ":")}) else {}
    table.client.update_item(
        TableName=table.name,
        Key=KEY,
        UpdateExpression=update,
        **({"ExpressionAttributeNames": names} if names else {}),
        **values,
        **more,
    )


def _words(text: str, mark: str) -> set[str]:
    return {word.strip("(),") for word in text.replace("(", " ").split() if word.startswith(mark)}


def _sorted(item: dict[str, Any] | None) -> dict[str, Any]:
    """The members of a set come in any order."""
    assert item is not None
    return {name: {"SS": sorted(value["SS"])} if "SS" in value else value for name, value in item.items()}
