"""Where moto's DynamoDB differs from AWS in a way that a task queue would notice. Each fix names the difference."""

import copy
import functools
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from moto.core.exceptions import JsonRESTError
from moto.dynamodb import responses
from moto.dynamodb.comparisons import FuncBetween
from moto.dynamodb.exceptions import (
    ConditionalCheckFailed,
    MockValidationException,
    MultipleTransactionsException,
    TooManyTransactionsException,
    TransactionCanceledException,
    TransactWriteSingleOpException,
)
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.dynamo_type import DynamoType, Item
from moto.dynamodb.models.table import Table
from moto.dynamodb.models.utilities import dynamo_json_dump

TRANSACTION_LIMIT = 100  # https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
CLIENT_TOKEN_LIFE_SECONDS = 600
WIRE_PREFIX = "com.amazonaws.dynamodb.v20120810#"

type Key = dict[str, Any]
type Reason = tuple[str | None, str | None, dict[str, Any] | None]


def apply() -> None:
    responses.TRANSACTION_MAX_ITEMS = TRANSACTION_LIMIT  # moto reads 25 at most, as AWS did before 2022
    DynamoDBBackend.transact_write_items = _transact_write_items
    DynamoDBBackend.update_item = _all_or_nothing(DynamoDBBackend.update_item)
    responses.DynamoHandler.transact_write_items = _once_per_client_token(responses.DynamoHandler.transact_write_items)
    Table.query = _within_partition(Table.query)
    FuncBetween.expr = _also_of_zero(FuncBetween.expr)


# --- conditions


def _also_of_zero(expr: Callable[[FuncBetween, Item | None], bool]) -> Callable[[FuncBetween, Item | None], bool]:
    """BETWEEN of an attribute that is 0; moto takes it for one that is missing."""

    @functools.wraps(expr)
    def between(self: FuncBetween, item: Item | None) -> bool:
        start, value, end = (part.expr(item) for part in (self.start, self.attr, self.end))
        if value is not None and not value and start is not None and end is not None:
            return bool(start <= value <= end)
        return expr(self, item)

    return between


# --- one item


def _snapshot(backend: DynamoDBBackend, table_name: str, key: Key) -> Callable[[], None]:
    """How the row was; call the result to put it back. Costs one row, where moto copies whole tables."""
    table = backend.get_table(table_name)
    hash_key, range_key = backend.get_keys_value(table, key)
    before = copy.deepcopy(table.get_item(hash_key, range_key))

    def restore() -> None:
        _remove(table, hash_key, range_key)
        if before is not None:
            _insert(table, hash_key, range_key, before)

    return restore


def _remove(table: Table, hash_key: DynamoType, range_key: DynamoType | None) -> None:
    if range_key is None:
        table.items.pop(hash_key, None)
    elif hash_key in table.items:
        table.items[hash_key].pop(range_key, None)


def _insert(table: Table, hash_key: DynamoType, range_key: DynamoType | None, item: Item) -> None:
    if range_key is None:
        table.items[hash_key] = item
    else:
        table.items[hash_key][range_key] = item


def _all_or_nothing(update_item: Callable[..., Item]) -> Callable[..., Item]:
    """An update that fails changes nothing. moto applies clause after clause and leaves those before the failure, and
    leaves an empty row behind an update of a row that was not there."""

    @functools.wraps(update_item)
    def update(self: DynamoDBBackend, table_name: str, key: Key, *args: Any, **kwargs: Any) -> Item:
        restore = _snapshot(self, table_name, key)
        try:
            return update_item(self, table_name, key, *args, **kwargs)
        except ConditionalCheckFailed:
            raise  # checked before anything is written
        except Exception:
            restore()
            raise

    return update


# --- transactions


@dataclass(frozen=True)
class _Action:
    kind: str  # ConditionCheck, Put, Update or Delete
    request: dict[str, Any]
    key: Key

    @property
    def table_name(self) -> str:
        return str(self.request["TableName"])

    @property
    def expressions(self) -> dict[str, Any]:
        return {
            "condition_expression": self.request.get("ConditionExpression"),
            "expression_attribute_names": self.request.get("ExpressionAttributeNames"),
            "expression_attribute_values": self.request.get("ExpressionAttributeValues"),
        }


def _transact_write_items(self: DynamoDBBackend, transact_items: list[dict[str, dict[str, Any]]]) -> None:
    """All conditions are judged against the rows before the transaction, and only then anything is written.

    moto writes as it goes, and copies every table concerned beforehand: half a second for ten thousand rows.
    """
    if len(transact_items) > TRANSACTION_LIMIT:
        raise TooManyTransactionsException()
    actions = [_action(self, item) for item in transact_items]
    _refuse_two_on_one_row(actions)
    _cancel_on_any([_failed_condition(self, action) for action in actions])
    restores = [_snapshot(self, action.table_name, action.key) for action in actions]
    try:
        for action in actions:
            _write(self, action)
    except Exception:
        for restore in restores:
            restore()
        raise


def _action(backend: DynamoDBBackend, item: dict[str, dict[str, Any]]) -> _Action:
    if len(item) != 1:
        raise TransactWriteSingleOpException
    [(kind, request)] = item.items()
    table = backend.get_table(request["TableName"])
    row = request["Item"] if kind == "Put" else request["Key"]
    names = [name for name in (table.hash_key_attr, table.range_key_attr) if name is not None]
    if any(name not in row for name in names):
        raise MockValidationException("The provided key element does not match the schema")
    return _Action(kind, request, {name: row[name] for name in names})


def _refuse_two_on_one_row(actions: Iterable[_Action]) -> None:
    seen: set[str] = set()
    for action in actions:
        row = json.dumps([action.table_name, action.key], sort_keys=True)
        if row in seen:
            raise MultipleTransactionsException()
        seen.add(row)


def _failed_condition(backend: DynamoDBBackend, action: _Action) -> Reason:
    if action.expressions["condition_expression"] is None:
        return None, None, None
    row = backend.get_item(action.table_name, action.key)
    if responses.create_condition_expression_parser(*action.expressions.values()).parse().expr(row):
        return None, None, None
    wanted = action.request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" and row is not None
    return "ConditionalCheckFailed", "The conditional request failed", row.to_json()["Attributes"] if wanted else None


def _cancel_on_any(reasons: list[Reason]) -> None:
    if any(code for code, _, _ in reasons):
        # moto's own text says None for the actions that were fine, and so does AWS's
        raise TransactionCanceledException(reasons)


def _write(backend: DynamoDBBackend, action: _Action) -> None:
    if action.kind == "Put":
        backend.put_item(action.table_name, action.request["Item"], **action.expressions)
    elif action.kind == "Delete":
        backend.delete_item(action.table_name, action.key, **action.expressions)
    elif action.kind == "Update":
        update_expression = action.request["UpdateExpression"]
        backend.update_item(action.table_name, action.key, update_expression=update_expression, **action.expressions)


def _once_per_client_token(transact: Callable[..., Any]) -> Callable[..., Any]:
    """A ClientRequestToken makes a repeated transaction a success without effect, for ten minutes; moto ignores it.

    Kept on the backend, so that a reset of the state forgets it too. A cancelled transaction is not remembered.
    """

    @functools.wraps(transact)
    def once(self: Any) -> Any:
        token = self.body.get("ClientRequestToken")
        if token is None:
            return transact(self)
        now, done = time.monotonic(), vars(self.dynamodb_backend).setdefault("client_request_tokens", {})
        for expired in [name for name, (_, at) in done.items() if now - at > CLIENT_TOKEN_LIFE_SECONDS]:
            del done[expired]
        request = json.dumps(self.body["TransactItems"], sort_keys=True)
        if token in done:
            return _repeated(done[token][0] == request)
        response = transact(self)
        done[token] = request, now
        return response

    return once


def _repeated(same_request: bool) -> Any:
    if not same_request:
        raise JsonRESTError(
            WIRE_PREFIX + "IdempotentParameterMismatchException",
            "The request uses the same client token as a previous, but non-identical request.",
        )
    return dynamo_json_dump({"ConsumedCapacity": [], "ItemCollectionMetrics": {}})


# --- queries


def _within_partition(query: Callable[..., Any]) -> Callable[..., Any]:
    """Look at one partition. moto sorts the whole table, in Python, for every query: a second for ten thousand rows."""

    @functools.wraps(query)
    def partition_query(self: Table, hash_key: DynamoType, *args: Any, **kwargs: Any) -> Any:
        index_name = kwargs.get("index_name") or (args[6] if len(args) > 6 else None)
        view = copy.copy(self)
        view.items = _index_partition(self, hash_key, index_name) if index_name else _partition(self, hash_key)
        return query(view, hash_key, *args, **kwargs)

    return partition_query


def _partition(table: Table, hash_key: DynamoType) -> dict[Any, Any]:
    return {hash_key: table.items[hash_key]} if hash_key in table.items else {}


def _index_partition(table: Table, hash_key: DynamoType, index_name: str) -> dict[Any, Any]:
    index = next((index for index in table.all_indexes() if index.name == index_name), None)
    if index is None:
        return {}  # moto goes on to refuse the name
    attribute = next(key["AttributeName"] for key in index.schema if key["KeyType"] == "HASH")

    def belongs(item: Item) -> bool:
        value = item.attrs.get(attribute)
        return value is not None and bool(value == hash_key)  # moto's types do not compare with None

    if table.range_key_attr is None:
        return {key: item for key, item in table.items.items() if belongs(item)}
    partitions = (
        (key, {sort: item for sort, item in rows.items() if belongs(item)}) for key, rows in table.items.items()
    )
    return {key: rows for key, rows in partitions if rows}
