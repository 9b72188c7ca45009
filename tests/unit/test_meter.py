"""The benchmark's meter: DynamoDB's and SQS's published rules, and what it sees of a client's calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from scripts.cost.capacity import Index, Item, item_bytes, query_units, read_units, request_units, write_units
from scripts.cost.meter import Meter, NotMeasured, Schema, Usage, schema_of

BY_CLASS = Index("by-class", ("class", "sort"), frozenset({"PK", "class", "sort", "kind"}))
KEY: Item = {"PK": {"S": "T#1"}}


def of_size(size: int) -> Item:
    return {"a": {"S": "x" * (size - 1)}}


def perhaps(size: int | None) -> Item | None:
    return None if size is None else of_size(size)


def a_row(**changes: str) -> Item:
    return {
        **KEY,
        **{name: {"S": value} for name, value in {"class": "O", "sort": "1", "kind": "k", **changes}.items()},
    }


# The rules. -----------------------------------------------------------------------------------------------------------


def test_an_attribute_is_as_long_as_its_name_and_its_value() -> None:
    for value, size in (
        ({"S": "grün"}, 5),
        ({"N": "7"}, 2),
        ({"N": "-1800000000000"}, 2),
        ({"N": "1800000000001"}, 8),
        ({"N": "0"}, 1),
        ({"N": "0.0125"}, 3),
        ({"B": b"1234"}, 4),
        ({"BOOL": True}, 1),
        ({"NULL": True}, 1),
        ({"SS": ["ab", "c"]}, 3),
        ({"NS": ["1", "100"]}, 4),
        ({"L": []}, 3),
        ({"L": [{"S": "ab"}, {"N": "1"}]}, 3 + 1 + 2 + 1 + 2),
        ({"M": {"at": {"N": "12"}}}, 3 + 1 + 2 + 2),
    ):
        assert item_bytes({"näm": value}) == 4 + size, value


def test_a_write_costs_the_larger_of_before_and_after_by_the_started_kilobyte() -> None:
    for before, after, units in (
        (None, 1, 1),
        (None, 1024, 1),
        (None, 1025, 2),
        (3000, 100, 3),
        (100, 3000, 3),
        (3000, None, 3),
        (None, None, 1),
    ):
        assert write_units(perhaps(before), perhaps(after)) == units, before


def test_items_read_by_key_are_rounded_up_one_by_one_and_an_eventual_read_is_half() -> None:
    for sizes, units in (
        ([0], 1),
        ([4096], 1),
        ([4097], 2),
        ([10, 10, 10], 3),
        ([1500, 6500], 3),
        ([], 0),
    ):
        assert read_units(sizes, consistent=True) == units, sizes
        assert read_units(sizes, consistent=False) == units / 2, sizes


@pytest.mark.parametrize(("count", "units"), [(0, 0.5), (40, 0.5), (41, 1)])
def test_a_query_adds_its_items_up_before_it_rounds(count: int, units: float) -> None:
    assert query_units([of_size(100)] * count, consistent=False) == units


def test_an_index_costs_what_changes_in_it() -> None:
    for before, after, units in (
        (None, a_row(), 1),
        (a_row(), None, 1),
        (a_row(), a_row(status="PROCESSING"), 0),
        (a_row(), a_row(**{"class": "C"}), 2),
        (a_row(), a_row(kind="other"), 1),
        (a_row(), {**KEY, "class": {"S": "O"}}, 1),
        (KEY, KEY, 0),
        (a_row(kind="x" * 1100), a_row(**{"class": "C"}), 3),
    ):
        assert BY_CLASS.write_units(before, after) == units, before


@pytest.mark.parametrize(("size", "requests"), [(0, 1), (65_536, 1), (65_537, 2), (200_000, 4)])
def test_sqs_bills_every_64_kb_of_payload(size: int, requests: int) -> None:
    assert request_units(size) == requests


def test_a_schema_is_read_from_the_description_of_a_table() -> None:
    description = {
        "KeySchema": [{"AttributeName": "PK", "KeyType": "HASH"}],
        "GlobalSecondaryIndexes": [
            {
                "IndexName": "by-class",
                "KeySchema": [{"AttributeName": "class"}, {"AttributeName": "sort"}],
                "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["kind"]},
            },
            {"IndexName": "all", "KeySchema": [{"AttributeName": "sort"}], "Projection": {"ProjectionType": "ALL"}},
        ],
    }
    assert schema_of(description) == Schema(("PK",), (BY_CLASS, Index("all", ("sort",), None)))


# The meter. -----------------------------------------------------------------------------------------------------------


class Tables:
    """One item, that each look finds in its next state."""

    def __init__(self, *states: Item | None) -> None:
        self._states = iter(states)
        self.looked_at: list[Item] = []

    def schema(self, table: str) -> Schema:
        return Schema(("PK",), (BY_CLASS,))

    def item(self, table: str, key: Item) -> Item | None:
        self.looked_at.append(key)
        return next(self._states)


@contextmanager
def answering(meter: Meter, service: Any, method: str, *answers: Any, asked: Any = None) -> Iterator[Any]:
    """A metered client whose calls are answered as told; an error's name is an answer, too."""
    client = boto3.client(service, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
    meter.attach(client)
    with Stubber(client) as stubber:
        for answer in answers:
            if isinstance(answer, str):
                stubber.add_client_error(method, answer)
            else:
                stubber.add_response(method, answer, asked)
        yield client


UPDATE = {"TableName": "tasks", "Key": KEY, "UpdateExpression": "SET #c = :c"}
PUT = {"TableName": "tasks", "Item": a_row()}


def test_a_write_is_counted_for_table_and_index_beside_what_the_server_says() -> None:
    meter = Meter(Tables(a_row(), a_row(**{"class": "C"})))
    said = {"ConsumedCapacity": {"TableName": "tasks", "CapacityUnits": 7.0}}
    asked = {**UPDATE, "ReturnConsumedCapacity": "INDEXES"}
    with answering(meter, "dynamodb", "update_item", said, asked=asked) as client, meter.phase("one"):
        client.update_item(**UPDATE)
    assert meter.phases == {"one": Usage({"dynamodb.UpdateItem": 1}, table_writes=1, index_writes=2)}
    claimed = meter.claimed["UpdateItem"]
    assert (claimed.calls, claimed.by_rule, claimed.by_server) == (1, 3, 7)


def test_a_refused_write_costs_what_stood_against_it_and_nothing_in_the_index() -> None:
    long = a_row(payload="x" * 2000)
    tables = Tables(long, long)
    meter = Meter(tables)
    refused = answering(meter, "dynamodb", "put_item", "ConditionalCheckFailedException")
    with refused as client, meter.phase("one"), pytest.raises(ClientError):
        client.put_item(**PUT)
    assert meter.phases["one"] == Usage({"dynamodb.PutItem": 1}, table_writes=2)
    assert list(meter.claimed) == ["PutItem, refused"]
    assert tables.looked_at == [KEY, KEY]


def test_a_transaction_costs_twice_on_tables_and_once_on_indexes() -> None:
    meter = Meter(Tables(None, KEY, a_row(), KEY))
    with answering(meter, "dynamodb", "transact_write_items", {}) as client, meter.phase("one"):
        client.transact_write_items(TransactItems=[{"Put": PUT}, {"Update": UPDATE}])
    assert meter.phases["one"] == Usage({"dynamodb.TransactWriteItems": 1}, table_writes=4, index_writes=1)


@pytest.mark.parametrize(
    ("method", "request_", "answer", "units"),
    [
        ("get_item", {"TableName": "t", "Key": KEY, "ConsistentRead": True}, {"Item": of_size(5000)}, 2),
        ("get_item", {"TableName": "t", "Key": KEY}, {}, 0.5),
        ("query", {"TableName": "t", "KeyConditionExpression": "PK = :p"}, {"Items": [of_size(3000)] * 2}, 1),
        (
            "batch_get_item",
            {"RequestItems": {"t": {"Keys": [KEY] * 4, "ConsistentRead": True}}},
            {"Responses": {"t": [of_size(5000)]}, "UnprocessedKeys": {"t": {"Keys": [KEY]}}},
            2 + 1 + 1,
        ),
    ],
    ids=["an item", "no item", "a query", "one found, two absent, one left undone"],
)
def test_reads_are_counted_from_what_was_read(method: str, request_: Any, answer: Any, units: float) -> None:
    meter = Meter(Tables())
    with answering(meter, "dynamodb", method, answer) as client, meter.phase("one"):
        getattr(client, method)(**request_)
    assert meter.phases["one"].reads == units


SENT: Any = {"Successful": [], "Failed": []}


def test_requests_to_sqs_are_counted_as_billed() -> None:
    for method, request_, answer, requests in (
        ("send_message", {"QueueUrl": "u", "MessageBody": "x" * 70_000}, {}, 2),
        ("send_message_batch", {"QueueUrl": "u", "Entries": [{"Id": "1", "MessageBody": "x"}] * 10}, SENT, 1),
        ("send_message_batch", {"QueueUrl": "u", "Entries": [{"Id": "1", "MessageBody": "x" * 40_000}] * 2}, SENT, 2),
        ("receive_message", {"QueueUrl": "u"}, {"Messages": [{"Body": "x" * 40_000}] * 2}, 2),
        ("receive_message", {"QueueUrl": "u"}, {}, 1),
        ("change_message_visibility", {"QueueUrl": "u", "ReceiptHandle": "r", "VisibilityTimeout": 0}, {}, 1),
    ):
        meter = Meter(Tables())
        with answering(meter, "sqs", method, answer) as client, meter.phase("one"):
            getattr(client, method)(**request_)
        used = meter.phases["one"]
        assert (used.requests, sum(used.calls.values())) == (requests, 1), method


def test_phases_add_up_and_what_is_outside_of_them_is_not_counted() -> None:
    meter = Meter(Tables())
    with answering(meter, "sqs", "send_message", {}, {}, {}, {}) as client:
        for phase in ("one", "two", "one"):
            with meter.phase(phase):
                client.send_message(QueueUrl="u", MessageBody="x")
        client.send_message(QueueUrl="u", MessageBody="x")
    assert {name: used.requests for name, used in meter.phases.items()} == {"one": 2, "two": 1}


def test_a_call_without_a_rule_is_refused_not_guessed() -> None:
    for method, request_, answer in (
        ("scan", {"TableName": "t"}, {"Items": []}),
        ("get_item", {"TableName": "t", "Key": KEY, "ProjectionExpression": "a"}, {}),
        ("query", {"TableName": "t", "FilterExpression": "a = b"}, {"Items": []}),
        ("transact_write_items", {"TransactItems": [{"Put": PUT}]}, "TransactionCanceledException"),
        (
            "transact_write_items",
            {"TransactItems": [{"ConditionCheck": {"TableName": "t", "Key": KEY, "ConditionExpression": "a = b"}}]},
            {},
        ),
    ):
        meter = Meter(Tables(None, None))
        with answering(meter, "dynamodb", method, answer) as client, meter.phase("one"), pytest.raises(NotMeasured):
            getattr(client, method)(**request_)
