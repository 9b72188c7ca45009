"""What lists are made of: keys from the index, newest first, and the items behind them. It only reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lambdas.common import rows
from lambdas.common.rows import DeadLetter, IndexKey, KeyPage, StrayMessage
from lambdas.common.task import READABLE, Task
from lambdas.common.wire import from_wire

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

BATCH_GET_KEYS = 100
"""Most keys that one BatchGetItem takes."""
BEHIND_ALL = "~"
"""Sorts behind every sort key: those begin with a digit."""


class Catalog:
    def __init__(self, client: DynamoDBClient, table_name: str) -> None:
        self._client = client
        self._table = table_name

    def newest(self, partition: str, limit: int, before: str | None) -> KeyPage:
        """Keys of one partition of the (eventual) index, newest first; only those that sort before `before`."""
        index, sort = rows.listing_of(partition)
        response = self._client.query(
            TableName=self._table,
            IndexName=index,
            KeyConditionExpression=f"classShard = :partition AND {sort} < :before",
            ExpressionAttributeValues={":partition": {"S": partition}, ":before": {"S": before or BEHIND_ALL}},
            ScanIndexForward=False,
            Limit=limit,
        )
        keys = (rows.index_key_of(from_wire(item), sort) for item in response["Items"])
        return KeyPage(tuple(keys), "LastEvaluatedKey" in response)

    def count(self, partition: str, most: int) -> int:
        """Keys of one partition of the index, as far as `most`; DynamoDB reads no more than 1 MB in one go."""
        counted, before = 0, BEHIND_ALL
        while counted < most:
            response = self._client.query(
                TableName=self._table,
                IndexName=rows.INDEX,
                Select="COUNT",
                KeyConditionExpression="classShard = :partition AND classSort < :before",
                ExpressionAttributeValues={":partition": {"S": partition}, ":before": {"S": before}},
                ScanIndexForward=False,
                Limit=most - counted,
            )
            counted += response["Count"]
            if "LastEvaluatedKey" not in response:
                break
            before = response["LastEvaluatedKey"]["classSort"]["S"]
        return counted

    def oldest(self, partition: str) -> IndexKey | None:
        """The first key of one partition of the index."""
        response = self._client.query(
            TableName=self._table,
            IndexName=rows.INDEX,
            KeyConditionExpression="classShard = :partition",
            ExpressionAttributeValues={":partition": {"S": partition}},
            Limit=1,
        )
        return next((rows.index_key_of(from_wire(item)) for item in response["Items"]), None)

    def tasks(self, task_ids: Sequence[str]) -> list[Task]:
        """The state rows that exist and that this code can read, in no order."""
        found = self._items([(rows.partition(one), rows.STATE) for one in task_ids])
        return [rows.task_of(row) for row in found if row["v"] in READABLE]

    def dead_letters(self, generations: Sequence[tuple[str, int]]) -> list[DeadLetter]:
        """The letters of these (task id, generation) that exist, in no order."""
        keys = [(rows.partition(task_id), rows.dead_letter_sort(number)) for task_id, number in generations]
        return [rows.dead_letter_of(row) for row in self._items(keys)]

    def strays(self, message_ids: Sequence[str]) -> list[StrayMessage]:
        """The strays that exist, in no order."""
        keys = [(rows.stray_partition(one), rows.dead_letter_sort(0)) for one in message_ids]
        return [rows.stray_of(row) for row in self._items(keys)]

    def _items(self, keys: Sequence[tuple[str, str]]) -> Iterator[rows.Row]:
        return batch_get(self._client, self._table, keys)


def batch_get(client: DynamoDBClient, table: str, keys: Sequence[tuple[str, str]]) -> Iterator[rows.Row]:
    """The items under these (PK, SK) that exist, in no order, by consistent reads. No key may come twice."""
    wire = [{"PK": {"S": partition}, "SK": {"S": sort}} for partition, sort in keys]
    for start in range(0, len(wire), BATCH_GET_KEYS):
        pending: Any = {table: {"Keys": wire[start : start + BATCH_GET_KEYS], "ConsistentRead": True}}
        while pending:
            response = client.batch_get_item(RequestItems=pending)
            yield from map(from_wire, response["Responses"].get(table, []))
            pending = response.get("UnprocessedKeys")
