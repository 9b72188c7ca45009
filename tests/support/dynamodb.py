"""DynamoDB tables in memory, behind the methods of boto3's client that the task store calls.

It reads the very expressions that go to AWS and answers in AWS's shapes; the contract tests hold it to an emulator.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError, ParamValidationError

from lambdas.common.store import TaskStore
from lambdas.common.task import VERSION
from tests.support import expressions
from tests.support.operators import ExpressionError, type_of

Row = dict[str, Any]
Key = tuple[str, ...]
"""The table and the values of its key attributes."""
Request = Mapping[str, Any]

TABLE = "tasks"
KEY = ("PK", "SK")
INDEXES: Mapping[str, tuple[str, str]] = {
    "by-class": ("classShard", "classSort"),
    "parked-by-age": ("classShard", "parkedSort"),
}
PROJECTED = ("kind",)
"""Beside the keys, in every index."""

_to_wire = TypeSerializer().serialize
_from_wire = TypeDeserializer().deserialize


class FakeDynamoDB:
    """Safe to use from several threads; an index is as fresh as the table.

    `others` are more tables, each with the names of its key attributes, which are strings.
    """

    def __init__(self, table: str = TABLE, others: Mapping[str, Sequence[str]] | None = None) -> None:
        self._table = table
        self._keys: Mapping[str, Sequence[str]] = {table: KEY, **(others or {})}
        self._rows: dict[Key, Row] = {}
        self._transactions: dict[str, Any] = {}
        self._in_the_way: list[str] = []
        self._lock = threading.RLock()

    def stand_in_the_way(self, code: str, times: int) -> None:
        """The next transactions are not made: for `code`, an error of the call, or a reason given for its last action.

        One that a token makes a repetition is answered all the same.
        """
        with self._lock:
            self._in_the_way += [code] * times

    def put_item(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            self._check(request, "PutItem", ("Item", *CONDITION))
            row = _row(request["Item"])
            self._check_row(request, row, "PutItem")
            self._guard(request, self._key(request, row), "PutItem")
            self._rows[self._key(request, row)] = row
            return {}

    def get_item(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            self._check(request, "GetItem", ("Key", "ConsistentRead"))
            row = self._rows.get(self._key(request, _row(request["Key"])))
            return {} if row is None else {"Item": _wire(row)}

    def delete_item(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            self._check(request, "DeleteItem", ("Key",))
            self._rows.pop(self._key(request, _row(request["Key"])), None)
            return {}

    def update_item(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            self._check(request, "UpdateItem", ("Key", "UpdateExpression", "ReturnValues", *CONDITION))
            place = _row(request["Key"])
            old = self._guard(request, self._key(request, place), "UpdateItem")
            new = self._updated(request, place, old, "UpdateItem")
            self._rows[self._key(request, place)] = new
            return {"Attributes": _wire(new)} if request.get("ReturnValues") == "ALL_NEW" else {}

    def query(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            known = ("IndexName", "KeyConditionExpression", "ExpressionAttributeValues", "ExpressionAttributeNames")
            self._check(request, "Query", (*known, "Limit", "ConsistentRead", "ScanIndexForward", "Select"))
            index = request.get("IndexName")
            if index and request.get("ConsistentRead"):
                raise _invalid("Query", "Consistent reads are not supported on global secondary indexes")
            found = self._matching(request, INDEXES[index] if index else KEY)
            found = found if request.get("ScanIndexForward", True) else found[::-1]
            limit = request.get("Limit", len(found) + 1)
            page = [_projected(row, INDEXES[index]) if index else row for row in found[:limit]]
            counts = request.get("Select") == "COUNT"
            answer: dict[str, Any] = {} if counts else {"Items": [_wire(row) for row in page]}
            answer["Count"] = len(page)
            if len(found) < limit:
                return answer
            # As in DynamoDB, a page that is full has a last key even when nothing comes behind it.
            last = {name: page[-1][name] for name in {*KEY, *(INDEXES[index] if index else ())}}
            return {**answer, "LastEvaluatedKey": _wire(last)}

    def batch_get_item(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            wanted = request["RequestItems"][self._table]
            keys = [self._key({"TableName": self._table}, _row(key)) for key in wanted["Keys"]]
            if not 1 <= len(keys) <= 100:
                raise _invalid("BatchGetItem", "Too many items requested for the BatchGetItem call")
            if len(set(keys)) < len(keys):
                raise _invalid("BatchGetItem", "Provided list of item keys contains duplicates")
            # DynamoDB promises no order here; this one is surely not the caller's.
            found = [_wire(self._rows[key]) for key in reversed(keys) if key in self._rows]
            return {"Responses": {self._table: found}, "UnprocessedKeys": {}}

    def transact_write_items(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            parts = [next(iter(entry.items())) for entry in request["TransactItems"]]
            if not 1 <= len(parts) <= 100:
                raise _invalid(TRANSACTION, "Member must have length less than or equal to 100, and at least 1")
            token = request.get("ClientRequestToken")
            if token in self._transactions:
                return self._repeated(token, request["TransactItems"])
            for action, part in parts:
                _check_required(action, part)
                self._check(part, TRANSACTION, ACTIONS[action])
            places = [_row(part["Item" if action == "Put" else "Key"]) for action, part in parts]
            self._check_different(parts, places)
            if self._in_the_way:
                raise _not_made(self._in_the_way.pop(0), len(parts))
            self._rows = self._after(parts, places)
            self._transactions |= {token: request["TransactItems"]} if token else {}
            return {}

    def _repeated(self, token: str, items: Any) -> dict[str, Any]:
        """The same token and items again have no effect; other items under the token are refused."""
        if self._transactions[token] != items:
            raise _error("IdempotentParameterMismatchException", "Token reused", "TransactWriteItems")
        return {}

    def _check_different(self, parts: Sequence[tuple[str, Request]], places: Sequence[Row]) -> None:
        tables = [part["TableName"] for _, part in parts]
        keys = [str([table, *map(place.get, self._keys[table])]) for table, place in zip(tables, places, strict=True)]
        if len(set(keys)) < len(keys):
            raise _invalid(TRANSACTION, "Transaction request cannot include multiple operations on one item")

    def _after(self, parts: Sequence[tuple[str, Request]], places: Sequence[Row]) -> dict[Key, Row]:
        """All rows as they are after a transaction, of which each action sees the rows as they were before."""
        reasons: list[dict[str, Any]] = []
        rows = dict(self._rows)
        for (action, part), place in zip(parts, places, strict=True):
            try:
                self._act(action, part, place, rows)
            except ClientError as error:
                reasons.append(_reason(error))
            else:
                reasons.append({"Code": "None"})
        if any(reason["Code"] != "None" for reason in reasons):
            raise _cancelled(reasons)
        return rows

    def _act(self, action: str, part: Request, place: Row, rows: dict[Key, Row]) -> None:
        """One action of a transaction, on `rows`."""
        self._check_row(part, place, TRANSACTION)
        key = self._key(part, place)
        old = self._guard(part, key, TRANSACTION)
        match action:
            case "Put":
                rows[key] = place
            case "Update":
                rows[key] = self._updated(part, place, old, TRANSACTION)
            case "Delete":
                rows.pop(key, None)

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
        rows = [row for (table, *_), row in self._rows.items() if table == request["TableName"]]
        candidates = [row for row in rows if all(name in row for name in key)]
        found = [row for row in candidates if expressions.holds(condition, row, values, names)]
        return sorted(found, key=lambda row: (str(row[key[1]]).encode(), self._key(request, row)))

    def _check(self, request: Request, operation: str, known: Sequence[str]) -> None:
        """What AWS refuses before it looks at any row."""
        unknown = set(request) - {"TableName", *known}
        assert not unknown, f"the fake does not know {unknown} of {operation}"
        if request["TableName"] not in self._keys:
            raise _error("ResourceNotFoundException", "Requested resource not found", operation)
        text = " ".join(request[name] for name in EXPRESSIONS if name in request)
        mentioned = _valid("Expression", lambda: expressions.mentioned(text))
        for name in ("ExpressionAttributeNames", "ExpressionAttributeValues"):
            _check_placeholders(operation, name, request.get(name), mentioned)

    def _key(self, request: Request, row: Row) -> Key:
        table = request["TableName"]
        return table, *(row[name] for name in self._keys[table])

    def _updated(self, request: Request, place: Row, old: Row | None, operation: str) -> Row:
        """The item at `place` after an update of what was there before."""
        values, names = _row(request.get("ExpressionAttributeValues", {})), request.get("ExpressionAttributeNames", {})
        change = request["UpdateExpression"]
        new = _valid("UpdateExpression", lambda: expressions.updated(change, old or place, values, names))
        if any(new.get(name) != value for name, value in place.items()):
            raise _invalid(operation, "Cannot update attribute. This attribute is part of the key")
        self._check_row(request, new, operation)
        return cast(Row, new)

    def _check_row(self, request: Request, row: Row, operation: str) -> None:
        """Key attributes must be strings, an index's only if they are there; no set may be empty."""
        indexes = INDEXES.values() if request["TableName"] == self._table else ()
        indexed = [name for key in indexes for name in key if name in row]
        for name in (*self._keys[request["TableName"]], *indexed):
            if type_of(row.get(name)) != "S":
                raise _invalid(operation, f"Type mismatch for key {name}: expected: S actual: {type_of(row.get(name))}")
        if any(isinstance(value, set) and not value for value in row.values()):
            raise _invalid(operation, "One or more parameter values were invalid: An string set may not be empty")
        # As JSON on the wire, which is a little more than DynamoDB counts.
        if len(json.dumps(_wire(row), default=str, ensure_ascii=False).encode()) > MAX_ITEM_BYTES:
            raise _invalid(operation, "Item size has exceeded the maximum allowed size")


CONDITION = (
    "ConditionExpression",
    "ExpressionAttributeNames",
    "ExpressionAttributeValues",
    "ReturnValuesOnConditionCheckFailure",
)
EXPRESSIONS = ("ConditionExpression", "UpdateExpression", "KeyConditionExpression")
TRANSACTION = "TransactWriteItems"
ACTIONS: Mapping[str, Sequence[str]] = {
    "Put": ("Item", *CONDITION),
    "Update": ("Key", "UpdateExpression", *CONDITION),
    "Delete": ("Key", *CONDITION),
    "ConditionCheck": ("Key", *CONDITION),
}
REQUIRED: Mapping[str, Sequence[str]] = {
    "Put": ("Item",),
    "Update": ("Key", "UpdateExpression"),
    "Delete": ("Key",),
    "ConditionCheck": ("Key", "ConditionExpression"),
}
MAX_ITEM_BYTES = 409_600


def task_store(client: object, table: str = TABLE) -> TaskStore:
    """The real store on a client that is not boto3's."""
    return TaskStore(cast(Any, client), table)


def in_a_state_of_newer_code(client: FakeDynamoDB, task_id: str) -> None:
    """As during a rolling deploy: the row is there, and this code has no word for the state that it is in."""
    client.update_item(
        TableName=TABLE,
        Key={"PK": {"S": f"T#{task_id}"}, "SK": {"S": "A"}},
        UpdateExpression="SET #status = :status, v = :v",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":status": {"S": "NAPPING"}, ":v": {"N": str(VERSION + 1)}},
    )


def _check_required(action: str, part: Request) -> None:
    """What boto3 refuses before it sends anything."""
    for name in REQUIRED[action]:
        if name not in part:
            raise ParamValidationError(report=f'Missing required parameter in {action}: "{name}"')


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


def _valid(kind: str, evaluate: Callable[[], Any]) -> Any:
    try:
        return evaluate()
    except ExpressionError as error:
        raise _invalid("Expression", f"Invalid {kind}: {error}") from error


def _projected(row: Row, key: tuple[str, str]) -> Row:
    return {name: row[name] for name in (*KEY, *key, *PROJECTED) if name in row}


def _reason(error: ClientError) -> dict[str, Any]:
    """Why one action of a transaction was not made."""
    response: Any = error.response
    broken = response["Error"]["Code"] == "ConditionalCheckFailedException"
    item = {"Item": response["Item"]} if "Item" in response else {}
    code = "ConditionalCheckFailed" if broken else "ValidationError"
    return {"Code": code, "Message": response["Error"]["Message"], **item}


def _not_made(code: str, actions: int) -> ClientError:
    if code.endswith("Exception"):
        return _error(code, "Not made", TRANSACTION)
    return _cancelled([*[{"Code": "None"}] * (actions - 1), {"Code": code, "Message": "Not made"}])


def _cancelled(reasons: Sequence[Mapping[str, Any]]) -> ClientError:
    codes = ", ".join(reason["Code"] for reason in reasons)
    message = f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]"
    return _error("TransactionCanceledException", message, TRANSACTION, {"CancellationReasons": reasons})


def _invalid(operation: str, message: str) -> ClientError:
    return _error("ValidationException", message, operation)


def _error(code: str, message: str, operation: str, more: Mapping[str, Any] | None = None) -> ClientError:
    response = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return ClientError(cast(Any, {**response, **(more or {})}), operation)


def _row(item: Request) -> Row:
    return {name: _from_wire(value) for name, value in item.items()}


def _wire(row: Row) -> dict[str, Any]:
    return {name: _to_wire(value) for name, value in row.items()}
