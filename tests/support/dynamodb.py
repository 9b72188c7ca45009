"""One DynamoDB table in memory, behind the methods of boto3's client that the task store calls.

It reads the very expressions that go to AWS and answers in AWS's shapes; the contract tests hold it to an emulator.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError

from lambdas.common.store import TaskStore
from tests.support import expressions
from tests.support.operators import ExpressionError, type_of

Row = dict[str, Any]
Key = tuple[str, str]
Request = Mapping[str, Any]

TABLE = "tasks"
KEY = ("PK", "SK")
INDEXES: Mapping[str, tuple[str, str]] = {"by-class": ("classShard", "classSort")}
PROJECTED = ("kind",)
"""Beside the keys, in every index."""

_to_wire = TypeSerializer().serialize
_from_wire = TypeDeserializer().deserialize


class FakeDynamoDB:
    """Safe to use from several threads; an index is as fresh as the table."""

    def __init__(self, table: str = TABLE) -> None:
        self._table = table
        self._rows: dict[Key, Row] = {}
        self._transactions: dict[str, Any] = {}
        self._lock = threading.RLock()

    def put_item(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            self._check(request, "PutItem", ("Item", *CONDITION))
            row = _row(request["Item"])
            _check_row(row, "PutItem")
            self._guard(request, _key(row), "PutItem")
            self._rows[_key(row)] = row
            return {}

    def get_item(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            self._check(request, "GetItem", ("Key", "ConsistentRead"))
            row = self._rows.get(_key(_row(request["Key"])))
            return {} if row is None else {"Item": _wire(row)}

    def delete_item(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            self._check(request, "DeleteItem", ("Key",))
            self._rows.pop(_key(_row(request["Key"])), None)
            return {}

    def update_item(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            self._check(request, "UpdateItem", ("Key", "UpdateExpression", "ReturnValues", *CONDITION))
            place = _row(request["Key"])
            old = self._guard(request, _key(place), "UpdateItem")
            values, names = _row(request.get("ExpressionAttributeValues", {})), request.get("ExpressionAttributeNames")
            change = request["UpdateExpression"]
            new = _valid("UpdateExpression", lambda: expressions.updated(change, old or place, values, names or {}))
            if any(new.get(name) != place[name] for name in KEY):
                raise _invalid("UpdateItem", "Cannot update attribute. This attribute is part of the key")
            _check_row(new, "UpdateItem")
            self._rows[_key(place)] = new
            return {"Attributes": _wire(new)} if request.get("ReturnValues") == "ALL_NEW" else {}

    def query(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            known = ("IndexName", "KeyConditionExpression", "ExpressionAttributeValues", "ExpressionAttributeNames")
            self._check(request, "Query", (*known, "Limit", "ConsistentRead", "ScanIndexForward"))
            index = request.get("IndexName")
            if index and request.get("ConsistentRead"):
                raise _invalid("Query", "Consistent reads are not supported on global secondary indexes")
            found = self._matching(request, INDEXES[index] if index else KEY)
            found = found if request.get("ScanIndexForward", True) else found[::-1]
            limit = request.get("Limit", len(found) + 1)
            page = [_projected(row, INDEXES[index]) if index else row for row in found[:limit]]
            answer = {"Items": [_wire(row) for row in page], "Count": len(page)}
            if len(found) < limit:
                return answer
            # As in DynamoDB, a page that is full has a last key even when nothing comes behind it.
            last = {name: page[-1][name] for name in {*KEY, *(INDEXES[index] if index else ())}}
            return {**answer, "LastEvaluatedKey": _wire(last)}

    def batch_get_item(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            wanted = request["RequestItems"][self._table]
            keys = [_key(_row(key)) for key in wanted["Keys"]]
            if not 1 <= len(keys) <= 100:
                raise _invalid("BatchGetItem", "Too many items requested for the BatchGetItem call")
            if len(set(keys)) < len(keys):
                raise _invalid("BatchGetItem", "Provided list of item keys contains duplicates")
            # DynamoDB promises no order here; this one is surely not the caller's.
            found = [_wire(self._rows[key]) for key in reversed(keys) if key in self._rows]
            return {"Responses": {self._table: found}, "UnprocessedKeys": {}}

    def transact_write_items(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            puts = [entry["Put"] for entry in request["TransactItems"]]
            token = request.get("ClientRequestToken")
            if token in self._transactions:
                return self._repeated(token, request["TransactItems"])
            rows = [_row(put["Item"]) for put in puts]
            if len({_key(row) for row in rows}) < len(rows):
                raise _invalid(
                    "TransactWriteItems", "Transaction request cannot include multiple operations on one item"
                )
            self._guard_all(puts, rows)
            self._rows |= {_key(row): row for row in rows}
            self._transactions |= {token: request["TransactItems"]} if token else {}
            return {}

    def _repeated(self, token: str, items: Any) -> dict[str, Any]:
        """The same token and items again have no effect; other items under the token are refused."""
        if self._transactions[token] != items:
            raise _error("IdempotentParameterMismatchException", "Token reused", "TransactWriteItems")
        return {}

    def _guard_all(self, puts: Sequence[Request], rows: Sequence[Row]) -> None:
        reasons: list[dict[str, Any]] = []
        for put, row in zip(puts, rows, strict=True):
            self._check(put, "TransactWriteItems", ("Item", *CONDITION))
            _check_row(row, "TransactWriteItems")
            try:
                self._guard(put, _key(row), "TransactWriteItems")
            except ClientError as error:
                reasons.append(_reason(error))
            else:
                reasons.append({"Code": "None"})
        codes = [reason["Code"] for reason in reasons]
        if set(codes) != {"None"}:
            message = (
                f"Transaction cancelled, please refer cancellation reasons for specific reasons [{', '.join(codes)}]"
            )
            more = {"CancellationReasons": reasons}
            raise _error("TransactionCanceledException", message, "TransactWriteItems", more)

    def _guard(self, request: Request, key: Key, operation: str) -> Row | None:
        """The row as it is, if the condition holds of it."""
        old, condition = self._rows.get(key), request.get("ConditionExpression")
        values = _row(request.get("ExpressionAttributeValues", {}))
        names = request.get("ExpressionAttributeNames", {})
        if condition is None or _valid(
            "ConditionExpression", lambda: expressions.holds(condition, old or {}, values, names)
        ):
            return old
        shown = request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" and old is not None
        more = {"Item": _wire(old)} if shown and old is not None else {}
        raise _error("ConditionalCheckFailedException", "The conditional request failed", operation, more)

    def _matching(self, request: Request, key: tuple[str, str]) -> list[Row]:
        condition, names = request["KeyConditionExpression"], request.get("ExpressionAttributeNames", {})
        values = _row(request["ExpressionAttributeValues"])
        about = _valid("KeyConditionExpression", lambda: expressions.attributes(condition, names))
        if key[0] not in about or not about <= {*key}:
            raise _invalid("Query", "Query condition missed key schema element")
        candidates = [row for row in self._rows.values() if all(name in row for name in key)]
        found = [row for row in candidates if expressions.holds(condition, row, values, names)]
        return sorted(found, key=lambda row: (str(row[key[1]]).encode(), _key(row)))

    def _check(self, request: Request, operation: str, known: Sequence[str]) -> None:
        """What AWS refuses before it looks at any row."""
        unknown = set(request) - {"TableName", *known}
        assert not unknown, f"the fake does not know {unknown} of {operation}"
        if request["TableName"] != self._table:
            raise _error("ResourceNotFoundException", "Requested resource not found", operation)
        text = " ".join(request[name] for name in EXPRESSIONS if name in request)
        mentioned = _valid("Expression", lambda: expressions.mentioned(text))
        for name in ("ExpressionAttributeNames", "ExpressionAttributeValues"):
            _check_placeholders(operation, name, request.get(name), mentioned)


CONDITION = (
    "ConditionExpression",
    "ExpressionAttributeNames",
    "ExpressionAttributeValues",
    "ReturnValuesOnConditionCheckFailure",
)
EXPRESSIONS = ("ConditionExpression", "UpdateExpression", "KeyConditionExpression")


def task_store(client: object, table: str = TABLE) -> TaskStore:
    """The real store on a client that is not boto3's."""
    return TaskStore(cast(Any, client), table)


def _check_placeholders(operation: str, kind: str, given: Request | None, mentioned: frozenset[str]) -> None:
    """Every name and value that an expression uses must be given, and every one given must be used."""
    mark = "#" if kind == "ExpressionAttributeNames" else ":"
    if given is not None and not given:
        raise _invalid(operation, f"{kind} must not be empty")
    unused = sorted(set(given or ()) - mentioned)
    if unused:
        raise _invalid(operation, f"Value provided in {kind} unused in expressions: keys: {{{', '.join(unused)}}}")
    undefined = sorted(word for word in mentioned - set(given or ()) if word.startswith(mark))
    if undefined:
        what = "name used in the document path" if mark == "#" else "value used in expression"
        raise _invalid(operation, f"An expression attribute {what} is not defined; attribute: {undefined[0]}")


def _check_row(row: Row, operation: str) -> None:
    """Key attributes must be strings, an index's only if they are there; no set may be empty."""
    for name in (*KEY, *(name for key in INDEXES.values() for name in key if name in row)):
        if type_of(row.get(name)) != "S":
            raise _invalid(operation, f"Type mismatch for key {name}: expected: S actual: {type_of(row.get(name))}")
    if any(isinstance(value, set) and not value for value in row.values()):
        raise _invalid(operation, "One or more parameter values were invalid: An string set may not be empty")


def _valid(kind: str, evaluate: Callable[[], Any]) -> Any:
    try:
        return evaluate()
    except ExpressionError as error:
        raise _invalid("Expression", f"Invalid {kind}: {error}") from error


def _projected(row: Row, key: tuple[str, str]) -> Row:
    return {name: row[name] for name in (*KEY, *key, *PROJECTED) if name in row}


def _reason(error: ClientError) -> dict[str, Any]:
    """Why one part of a transaction failed; anything but its condition fails the whole call otherwise."""
    response: Any = error.response
    if response["Error"]["Code"] != "ConditionalCheckFailedException":
        raise error
    item = {"Item": response["Item"]} if "Item" in response else {}
    return {"Code": "ConditionalCheckFailed", "Message": response["Error"]["Message"], **item}


def _invalid(operation: str, message: str) -> ClientError:
    return _error("ValidationException", message, operation)


def _error(code: str, message: str, operation: str, more: Mapping[str, Any] | None = None) -> ClientError:
    response = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return ClientError(cast(Any, {**response, **(more or {})}), operation)


def _key(row: Row) -> Key:
    return row["PK"], row["SK"]


def _row(item: Request) -> Row:
    return {name: _from_wire(value) for name, value in item.items()}


def _wire(row: Row) -> dict[str, Any]:
    return {name: _to_wire(value) for name, value in row.items()}
