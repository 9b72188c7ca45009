"""What a task queue relies on in DynamoDB, as AWS documents it."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError
from conftest import Aws, unique, wait_until

type Row = dict[str, Any]


@pytest.fixture(scope="module")
def dynamodb(aws: Aws) -> Any:
    return aws.client("dynamodb")


@pytest.fixture(scope="module")
def table(dynamodb: Any) -> Iterator[str]:
    name = unique("table")
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("PK", "SK", "GPK", "GSK")],
        KeySchema=[{"AttributeName": "PK", "KeyType": "HASH"}, {"AttributeName": "SK", "KeyType": "RANGE"}],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by-class",
                "KeySchema": [
                    {"AttributeName": "GPK", "KeyType": "HASH"},
                    {"AttributeName": "GSK", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["kind"]},
            }
        ],
    )
    yield name
    dynamodb.delete_table(TableName=name)


@pytest.fixture
def pk() -> str:
    return unique("T")


def key(pk: str, sk: str = "A") -> Row:
    return {"PK": {"S": pk}, "SK": {"S": sk}}


def item(pk: str, **attributes: Row) -> Row:
    return key(pk) | attributes


def read(dynamodb: Any, table: str, pk: str) -> Row | None:
    row: Row | None = dynamodb.get_item(TableName=table, Key=key(pk), ConsistentRead=True).get("Item")
    return row


def refused(call: Callable[[], object]) -> dict[str, Any]:
    with pytest.raises(ClientError) as caught:
        call()
    return dict(caught.value.response)


def test_a_conditional_put_is_refused_with_the_old_row(dynamodb: Any, table: str, pk: str) -> None:
    first = item(pk, token={"S": "mine"}, count={"N": "1"})
    dynamodb.put_item(TableName=table, Item=first)
    response = refused(
        lambda: dynamodb.put_item(
            TableName=table,
            Item=item(pk, token={"S": "other"}),
            ConditionExpression="attribute_not_exists(PK) OR expiresAt < :now",
            ExpressionAttributeValues={":now": {"N": "5"}},
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    )
    assert response["Error"]["Code"] == "ConditionalCheckFailedException"
    assert response["Item"] == first
    assert read(dynamodb, table, pk) == first


def test_a_conditional_update_is_refused_with_the_old_row(dynamodb: Any, table: str, pk: str) -> None:
    dynamodb.put_item(TableName=table, Item=item(pk, status={"S": "DONE"}))
    response = refused(
        lambda: dynamodb.update_item(
            TableName=table,
            Key=key(pk),
            UpdateExpression="SET #s = :next",
            ConditionExpression="#s IN (:a, :b) AND attempts < :max",
            ExpressionAttributeNames={"#s": "status"},
            ExpressionAttributeValues={
                ":next": {"S": "RUNNING"},
                ":a": {"S": "NEW"},
                ":b": {"S": "FAILED"},
                ":max": {"N": "3"},
            },
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    )
    assert response["Item"] == item(pk, status={"S": "DONE"})


def test_a_refused_update_of_a_missing_row_has_no_old_row_and_makes_none(dynamodb: Any, table: str, pk: str) -> None:
    response = refused(
        lambda: dynamodb.update_item(
            TableName=table,
            Key=key(pk),
            UpdateExpression="SET a = :a",
            ConditionExpression="attribute_exists(PK)",
            ExpressionAttributeValues={":a": {"N": "1"}},
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    )
    assert response["Error"]["Code"] == "ConditionalCheckFailedException"
    assert "Item" not in response
    assert read(dynamodb, table, pk) is None


UPDATES = [
    ("SET n = if_not_exists(n, :zero) + :one", {}, {"n": {"N": "1"}}),
    ("SET n = if_not_exists(n, :zero) + :one", {"n": {"N": "4"}}, {"n": {"N": "5"}}),
    ("SET n = n - :one", {"n": {"N": "4"}}, {"n": {"N": "3"}}),
    ("ADD n :one", {}, {"n": {"N": "1"}}),
    ("SET l = list_append(if_not_exists(l, :none), :list)", {}, {"l": {"L": [{"N": "7"}]}}),
    ("SET l = list_append(:list, l)", {"l": {"L": [{"N": "1"}]}}, {"l": {"L": [{"N": "7"}, {"N": "1"}]}}),
    ("SET a = b, b = a", {"a": {"S": "x"}, "b": {"S": "y"}}, {"a": {"S": "y"}, "b": {"S": "x"}}),
    ("SET a = b REMOVE b", {"b": {"S": "y"}}, {"a": {"S": "y"}}),
    ("REMOVE a, b", {"a": {"S": "x"}}, {}),
    ("REMOVE l[0], l[1]", {"l": {"L": [{"N": "1"}, {"N": "2"}, {"N": "3"}]}}, {"l": {"L": [{"N": "3"}]}}),
    ("SET m.k = :one", {"m": {"M": {}}}, {"m": {"M": {"k": {"N": "1"}}}}),
    ("ADD s :set", {}, {"s": {"SS": ["x"]}}),
    ("DELETE s :set", {"s": {"SS": ["x"]}}, {}),
    ("SET n = :one ADD tally :one REMOVE a", {"a": {"S": "x"}}, {"n": {"N": "1"}, "tally": {"N": "1"}}),
]
VALUES = {
    ":zero": {"N": "0"},
    ":one": {"N": "1"},
    ":none": {"L": []},
    ":list": {"L": [{"N": "7"}]},
    ":set": {"SS": ["x"]},
}


@pytest.mark.parametrize(("expression", "before", "after"), UPDATES)
def test_an_update_expression_works_on_the_row_as_it_was(
    dynamodb: Any, table: str, pk: str, expression: str, before: Row, after: Row
) -> None:
    dynamodb.put_item(TableName=table, Item=item(pk, **before))
    values = {name: value for name, value in VALUES.items() if name in expression}
    response = dynamodb.update_item(
        TableName=table,
        Key=key(pk),
        UpdateExpression=expression,
        ReturnValues="ALL_NEW",
        **({"ExpressionAttributeValues": values} if values else {}),
    )
    assert response["Attributes"] == item(pk, **after)
    assert read(dynamodb, table, pk) == item(pk, **after)


CONDITIONS = [
    ("size(l) < :three", True),
    ("size(#t) = :three", True),
    ("size(l) >= :three", False),
    ("contains(s, :x)", True),
    ("NOT contains(s, :x)", False),
    ("begins_with(#t, :x)", True),
    ("attribute_type(l, :type)", True),
    ("n BETWEEN :one AND :three", True),
    ("nought BETWEEN :nought AND :one", True),
    ("nought BETWEEN :one AND :three", False),
    ("gone BETWEEN :nought AND :one", False),
    ("n <> :three AND (attribute_not_exists(gone) OR gone <= :one)", True),
    ("gone < :three", False),
    ("m.k = :one AND l[0] = :one", True),
]


@pytest.mark.parametrize(("condition", "holds"), CONDITIONS)
def test_a_condition_is_judged_as_documented(dynamodb: Any, table: str, pk: str, condition: str, holds: bool) -> None:
    row = item(
        pk,
        n={"N": "2"},
        nought={"N": "0"},
        token={"S": "xyz"},
        l={"L": [{"N": "1"}, {"N": "2"}]},
        s={"SS": ["x", "xyz"]},
        m={"M": {"k": {"N": "1"}}},
    )
    numbers = {":nought": {"N": "0"}, ":one": {"N": "1"}, ":three": {"N": "3"}}
    values = {**numbers, ":x": {"S": "x"}, ":type": {"S": "L"}}
    used = {name: value for name, value in values.items() if name in condition}
    names = {"ExpressionAttributeNames": {"#t": "token"}} if "#t" in condition else {}
    dynamodb.put_item(TableName=table, Item=row)

    def delete() -> object:
        return dynamodb.delete_item(
            TableName=table, Key=key(pk), ConditionExpression=condition, ExpressionAttributeValues=used, **names
        )

    if holds:
        delete()
        assert read(dynamodb, table, pk) is None
    else:
        assert refused(delete)["Error"]["Code"] == "ConditionalCheckFailedException"


@pytest.mark.parametrize("before", [{}, {"a": {"N": "1"}}])
def test_an_update_that_fails_halfway_changes_nothing(dynamodb: Any, table: str, pk: str, before: Row) -> None:
    if before:
        dynamodb.put_item(TableName=table, Item=item(pk, **before))
    response = refused(
        lambda: dynamodb.update_item(
            TableName=table,
            Key=key(pk),
            UpdateExpression="SET a = :small, b = :large",
            ExpressionAttributeValues={":small": {"N": "2"}, ":large": {"S": "x" * 410_000}},
        )
    )
    assert response["Error"]["Code"] == "ValidationException"
    assert read(dynamodb, table, pk) == (item(pk, **before) if before else None)


def put(table: str, pk: str, **more: Any) -> Row:
    return {"Put": {"TableName": table, "Item": item(pk), **more}}


def check_of(table: str, pk: str, condition: str, **more: Any) -> Row:
    return {"ConditionCheck": {"TableName": table, "Key": key(pk), "ConditionExpression": condition, **more}}


def test_a_cancelled_transaction_gives_each_reason_with_the_old_row_and_writes_nothing(
    dynamodb: Any, table: str, pk: str
) -> None:
    other = unique("T")
    dynamodb.put_item(TableName=table, Item=item(pk, token={"S": "theirs"}))
    response = refused(
        lambda: dynamodb.transact_write_items(
            TransactItems=[
                put(table, other),
                {
                    "Update": {
                        "TableName": table,
                        "Key": key(pk),
                        "UpdateExpression": "SET done = :yes",
                        "ConditionExpression": "#t = :mine",
                        "ExpressionAttributeNames": {"#t": "token"},
                        "ExpressionAttributeValues": {":yes": {"BOOL": True}, ":mine": {"S": "mine"}},
                        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                    }
                },
                check_of(table, unique("T"), "attribute_exists(PK)"),
            ]
        )
    )
    assert response["Error"]["Code"] == "TransactionCanceledException"
    assert response["Error"]["Message"].endswith("[None, ConditionalCheckFailed, ConditionalCheckFailed]")
    reasons = response["CancellationReasons"]
    assert [reason["Code"] for reason in reasons] == ["None", "ConditionalCheckFailed", "ConditionalCheckFailed"]
    assert [reason.get("Item") for reason in reasons] == [None, item(pk, token={"S": "theirs"}), None]
    assert read(dynamodb, table, other) is None
    assert read(dynamodb, table, pk) == item(pk, token={"S": "theirs"})


def test_a_transaction_that_is_invalid_halfway_writes_nothing(dynamodb: Any, table: str, pk: str) -> None:
    broken = {
        "Update": {
            "TableName": table,
            "Key": key(unique("T")),
            "UpdateExpression": "SET a = missing + :one",
            "ExpressionAttributeValues": {":one": {"N": "1"}},
        }
    }
    response = refused(lambda: dynamodb.transact_write_items(TransactItems=[put(table, pk), broken]))
    assert response["Error"]["Code"] in {"ValidationException", "TransactionCanceledException"}
    assert read(dynamodb, table, pk) is None


def test_a_transaction_may_not_touch_a_row_twice(dynamodb: Any, table: str, pk: str) -> None:
    twice = [put(table, pk), {"Delete": {"TableName": table, "Key": key(pk)}}]
    response = refused(lambda: dynamodb.transact_write_items(TransactItems=twice))
    assert response["Error"]["Code"] == "ValidationException"
    assert read(dynamodb, table, pk) is None


def test_a_transaction_writes_a_hundred_rows_and_reads_them_back(dynamodb: Any, table: str, pk: str) -> None:
    rows = [f"{pk}-{number}" for number in range(100)]
    dynamodb.transact_write_items(TransactItems=[put(table, row) for row in rows])
    found = dynamodb.transact_get_items(TransactItems=[{"Get": {"TableName": table, "Key": key(row)}} for row in rows])
    assert [response["Item"]["PK"]["S"] for response in found["Responses"]] == rows


def test_a_repeated_client_token_succeeds_without_a_second_effect(dynamodb: Any, table: str, pk: str) -> None:
    token = unique("token")[:36]
    add = {
        "Update": {
            "TableName": table,
            "Key": key(pk),
            "UpdateExpression": "ADD n :one",
            "ExpressionAttributeValues": {":one": {"N": "1"}},
        }
    }
    for _ in range(3):
        dynamodb.transact_write_items(TransactItems=[add], ClientRequestToken=token)
    assert read(dynamodb, table, pk) == item(pk, n={"N": "1"})
    response = refused(lambda: dynamodb.transact_write_items(TransactItems=[put(table, pk)], ClientRequestToken=token))
    assert response["Error"]["Code"] == "IdempotentParameterMismatchException"


def test_a_client_token_of_a_cancelled_transaction_can_be_used_again(dynamodb: Any, table: str, pk: str) -> None:
    token, needs_row = unique("token")[:36], [check_of(table, pk, "attribute_exists(PK)")]
    refused(lambda: dynamodb.transact_write_items(TransactItems=needs_row, ClientRequestToken=token))
    dynamodb.put_item(TableName=table, Item=item(pk))
    dynamodb.transact_write_items(TransactItems=needs_row, ClientRequestToken=token)


def test_only_one_of_many_racing_claims_wins(dynamodb: Any, table: str, pk: str) -> None:
    dynamodb.put_item(TableName=table, Item=item(pk, attempts={"N": "0"}))

    def claim(worker: int) -> bool:
        try:
            dynamodb.update_item(
                TableName=table,
                Key=key(pk),
                UpdateExpression="SET holder = :me ADD attempts :one",
                ConditionExpression="attribute_not_exists(holder)",
                ExpressionAttributeValues={":me": {"N": str(worker)}, ":one": {"N": "1"}},
            )
        except dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(claim, range(64))) == 1
    row = read(dynamodb, table, pk)
    assert row is not None
    assert row["attempts"] == {"N": "1"}


def test_concurrent_increments_are_all_counted(dynamodb: Any, table: str, pk: str) -> None:
    def increment(_: int) -> None:
        dynamodb.update_item(
            TableName=table,
            Key=key(pk),
            UpdateExpression="ADD n :one",
            ExpressionAttributeValues={":one": {"N": "1"}},
        )

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(increment, range(200)))
    assert read(dynamodb, table, pk) == item(pk, n={"N": "200"})


def test_an_index_pages_in_order_both_ways_with_its_own_attributes_only(dynamodb: Any, table: str) -> None:
    partition = unique("O#")
    for number in range(7):
        row = item(
            unique("T"),
            GPK={"S": partition},
            GSK={"S": f"{number:02}"},
            kind={"S": "demo"},
            payload={"S": "not projected"},
        )
        dynamodb.put_item(TableName=table, Item=row)
    for forward in (True, False):
        found = list(pages(dynamodb, table, partition, forward))
        assert [row["GSK"]["S"] for row in found] == sorted((f"{n:02}" for n in range(7)), reverse=not forward)
        assert {frozenset(row) for row in found} == {frozenset({"PK", "SK", "GPK", "GSK", "kind"})}


def pages(dynamodb: Any, table: str, partition: str, forward: bool) -> Iterator[Row]:
    start: dict[str, Any] = {}
    while True:
        page = dynamodb.query(
            TableName=table,
            IndexName="by-class",
            KeyConditionExpression="GPK = :p",
            ExpressionAttributeValues={":p": {"S": partition}},
            ScanIndexForward=forward,
            Limit=3,
            **start,
        )
        assert len(page["Items"]) <= 3
        yield from page["Items"]
        if "LastEvaluatedKey" not in page:
            return
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


def test_a_row_moves_within_the_index_and_leaves_it(dynamodb: Any, table: str, pk: str) -> None:
    opened, closed = unique("O#"), unique("C#")

    def in_class(partition: str) -> int:
        return len(list(pages(dynamodb, table, partition, True)))

    dynamodb.put_item(TableName=table, Item=item(pk, GPK={"S": opened}, GSK={"S": "1"}))
    assert (in_class(opened), in_class(closed)) == (1, 0)
    change = {"TableName": table, "Key": key(pk)}
    dynamodb.update_item(**change, UpdateExpression="SET GPK = :c", ExpressionAttributeValues={":c": {"S": closed}})
    assert (in_class(opened), in_class(closed)) == (0, 1)
    dynamodb.update_item(**change, UpdateExpression="REMOVE GPK, GSK")
    assert (in_class(opened), in_class(closed)) == (0, 0)


def test_a_query_selects_by_sort_key(dynamodb: Any, table: str, pk: str) -> None:
    for sort in ("A", "D#1", "D#2", "P"):
        dynamodb.put_item(TableName=table, Item=key(pk, sort))
    found = dynamodb.query(
        TableName=table,
        KeyConditionExpression="PK = :pk AND begins_with(SK, :d)",
        ExpressionAttributeValues={":pk": {"S": pk}, ":d": {"S": "D#"}},
    )
    assert [row["SK"]["S"] for row in found["Items"]] == ["D#1", "D#2"]


def test_transactions_and_queries_are_right_on_a_table_of_thousands(dynamodb: Any, table: str, pk: str) -> None:
    for block in range(0, 3000, 25):
        requests = [
            {"PutRequest": {"Item": item(f"{pk}-{n}", GPK={"S": f"{pk}#{n % 300}"}, GSK={"S": str(n)})}}
            for n in range(block, block + 25)
        ]
        dynamodb.batch_write_item(RequestItems={table: requests})
    for number in range(20):
        dynamodb.transact_write_items(TransactItems=[put(table, f"{pk}-new-{number}")])
        assert len(list(pages(dynamodb, table, f"{pk}#{number}", True))) == 10


def test_expiry_is_described(dynamodb: Any, table: str) -> None:
    dynamodb.update_time_to_live(
        TableName=table, TimeToLiveSpecification={"Enabled": True, "AttributeName": "expiresAt"}
    )
    description = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    assert description == {"TimeToLiveStatus": "ENABLED", "AttributeName": "expiresAt"}


def test_a_function_receives_the_tables_stream(aws: Aws, dynamodb: Any) -> None:
    name = unique("streamed")
    stream = dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "PK", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "PK", "KeyType": "HASH"}],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )["TableDescription"]["LatestStreamArn"]
    function = aws.function("""
        def handler(event, context):
            for record in event["Records"]:
                print(record["eventName"], record["dynamodb"]["Keys"]["PK"]["S"])
    """)
    aws.client("lambda").create_event_source_mapping(
        EventSourceArn=stream, FunctionName=function, StartingPosition="TRIM_HORIZON"
    )
    dynamodb.put_item(TableName=name, Item={"PK": {"S": "one"}})
    wait_until(lambda: "INSERT one" in aws.messages_of(function), 20, "the stream record")
