"""The minutes in the task table, under keys of their own that no index has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdas.common import minutes
from lambdas.common.minutes import Minute
from lambdas.common.wire import from_wire, names_in

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class MinuteTable:
    def __init__(self, client: DynamoDBClient, table_name: str) -> None:
        self._client = client
        self._table = table_name

    def add(self, minute: Minute) -> None:
        """Add to what other invocations counted. Not safe to repeat: a write that is made twice counts twice."""
        counts = minutes.added(minute)
        expression = "SET #expiresAt = :expiresAt ADD " + ", ".join(f"#{name} :{name}" for name in counts)
        values = {**counts, "expiresAt": minute.at // 1000 + minutes.KEPT_SECONDS}
        self._client.update_item(
            TableName=self._table,
            Key={"PK": {"S": minutes.partition(minute.at)}, "SK": {"S": minutes.sort(minute.at)}},
            UpdateExpression=expression,
            ExpressionAttributeNames=names_in(expression),
            ExpressionAttributeValues={f":{name}": {"N": str(value)} for name, value in values.items()},
        )

    def since(self, begin: int, now: int) -> list[Minute]:
        """From the minute that begins at `begin`, at most an hour ago; oldest first, by eventual reads."""
        hours = dict.fromkeys(at - at % minutes.HOUR_MS for at in (begin, now))
        return [minute for hour in hours for minute in self._of_hour(hour, begin)]

    def _of_hour(self, hour: int, begin: int) -> list[Minute]:
        response = self._client.query(
            TableName=self._table,
            KeyConditionExpression="PK = :hour AND SK >= :begin",
            ExpressionAttributeValues={":hour": {"S": minutes.partition(hour)}, ":begin": {"S": minutes.sort(begin)}},
        )
        return [minutes.minute_in(from_wire(item)) for item in response["Items"]]
