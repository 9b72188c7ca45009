"""The table. Every write is conditional; a refused one comes back with the row as it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, ParamValidationError

from lambdas.common import rows, transitions
from lambdas.common.catalog import batch_get
from lambdas.common.effects import Busy, Effect, EffectRefused
from lambdas.common.refusals import BUSY, INVALID, row_against
from lambdas.common.retry import PermanentError
from lambdas.common.rows import DeadLetter
from lambdas.common.task import IndexClass, Message, Task
from lambdas.common.transitions import Value, Write
from lambdas.common.wire import conjunction, from_wire, names_in, of_effect, to_wire, update_expression, values_in

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@dataclass(frozen=True, slots=True)
class Refused:
    """A condition did not hold. `row` is the task as it was at that moment; None when there is none."""

    row: Task | None


@dataclass(frozen=True, slots=True)
class Found:
    """One task with everything kept under its key."""

    task: Task
    payload: str
    dead_letters: tuple[DeadLetter, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """Part of an index partition, in sort order. `cursor` continues behind it; None at the end."""

    tasks: tuple[Task, ...]
    cursor: str | None


class TaskStore:
    def __init__(self, client: DynamoDBClient, table_name: str, effects_prefix: str = "") -> None:
        """`effects_prefix` stands in front of the tables that kinds list."""
        self._client = client
        self._table = table_name
        self._effects_prefix = effects_prefix

    def create(self, task: Task, payload: str, now: int) -> Task | Refused:
        """Put a new task, its payload beside it when long. A `Refused` row may be my own, its acknowledgement lost."""
        inline = len(payload.encode()) <= rows.INLINE_PAYLOAD_BYTES
        task = replace(task, payload=payload if inline else None)
        sort_at = task.next_attempt_at if task.parked else None
        put = self._put(rows.row_of(task, sort_at), transitions.ABSENT, {":nowSeconds": now // 1000})
        if inline:
            return self._guarded(lambda: self._client.put_item(**put)) or task
        long_payload = {"PK": rows.partition(task.task_id), "SK": rows.PAYLOAD, "payload": payload}
        beside = {"TableName": self._table, "Item": to_wire(long_payload)}
        items: Any = [{"Put": put}, {"Put": beside}]
        return (
            self._guarded(lambda: self._client.transact_write_items(TransactItems=items, ClientRequestToken=task.token))
            or task
        )

    def get(self, task_id: str) -> Task | None:
        response = self._client.get_item(TableName=self._table, Key=_key(task_id), ConsistentRead=True)
        return rows.task_of(from_wire(response["Item"])) if "Item" in response else None

    def get_many(self, task_ids: Sequence[str]) -> Iterator[Task]:
        """Those that exist, in no order, by consistent reads."""
        keys = [(rows.partition(task_id), rows.STATE) for task_id in task_ids]
        return map(rows.task_of, batch_get(self._client, self._table, keys))

    def find(self, task_id: str, now: int) -> Found | None:
        """The task, its payload and its dead letters, in one consistent read; None when it is gone or has expired.

        DynamoDB deletes the items of an expired task within days, and in any order.
        """
        response = self._client.query(
            TableName=self._table,
            KeyConditionExpression="PK = :pk",
            ExpressionAttributeValues={":pk": {"S": rows.partition(task_id)}},
            ConsistentRead=True,
        )
        items = {row["SK"]: row for row in map(from_wire, response["Items"])}
        if rows.STATE not in items:
            return None
        task = rows.task_of(items[rows.STATE])
        if task.expired(now):
            return None
        payload = task.payload if task.payload is not None else items[rows.PAYLOAD]["payload"]
        letters = (rows.dead_letter_of(row) for sort, row in items.items() if sort.startswith("D#"))
        of_this_life = tuple(letter for letter in letters if letter.recorded_at >= task.created_at)
        return Found(task, payload, of_this_life)

    def payload(self, task: Task) -> str:
        """JSON text of the payload; a second read only for a long one."""
        if task.payload is not None:
            return task.payload
        key = _key(task.task_id, rows.PAYLOAD)
        response = self._client.get_item(TableName=self._table, Key=key, ConsistentRead=True)
        return str(from_wire(response["Item"])["payload"])

    def apply(self, write: Write) -> Task | Refused:
        """Carry out one transition; the new row, or the old one when its condition did not hold."""
        request = {**self._update(write), "ReturnValues": "ALL_NEW"}
        written: list[Task] = []

        def call() -> None:
            written.append(rows.task_of(from_wire(self._client.update_item(**request)["Attributes"])))

        return self._guarded(call) or written[0]

    def write(self, write: Write) -> Refused | None:
        """Carry out one transition whose new row nobody needs: None when it was written."""
        request = self._update(write)
        return self._guarded(lambda: self._client.update_item(**request))

    def commit(self, write: Write, effects: Sequence[Effect], token: str) -> Refused | EffectRefused | None:
        """Carry out one transition and `effects` in one transaction: None when all was written, else nothing was.

        A repeated call with the same token and arguments writes nothing again (DynamoDB knows it for ten minutes).

        Raises:
            Busy: another transaction was in the way, or DynamoDB throttled; nothing was written.
            PermanentError: DynamoDB will never take these effects.
        """
        try:
            items = [{"Update": self._update(write)}, *(self._action(effect) for effect in effects)]
            return self._transact(items, token, len(effects))
        except (TypeError, ArithmeticError, ParamValidationError) as error:  # boto3 itself does not take them
            raise PermanentError(f"effects refused: {error!r}") from error

    def replay(self, task: Task, write: Write, token: str) -> Refused | None:
        """Carry out a replay, and keep a long payload from expiring: None when it was written.

        Raises:
            Busy: another transaction was in the way; nothing was written.
        """
        if task.payload is not None:
            return self.write(write)
        condition = conjunction(transitions.PAYLOAD_THERE)
        keep = {
            "UpdateExpression": "REMOVE expiresAt",
            "ConditionExpression": condition,
            "ExpressionAttributeNames": names_in(condition),
        }
        return self._with_payload(task, write, keep, token)

    def end(self, task: Task, write: Write, expires_at_seconds: int, token: str) -> Task | Refused:
        """Carry out the last transition of a life, and let a long payload expire with its task.

        Both in one transaction: an expiry written later could meet a replay, and take the payload of a live task.

        Raises:
            Busy: another transaction was in the way; nothing was written.
        """
        if task.payload is not None:
            return self.apply(write)
        expiry = {"UpdateExpression": "SET expiresAt = :at", "ExpressionAttributeValues": _at(expires_at_seconds)}
        return self._with_payload(task, write, expiry, token) or self.get(task.task_id) or Refused(None)

    def _with_payload(self, task: Task, write: Write, payload: Mapping[str, Any], token: str) -> Refused | None:
        update = {"TableName": self._table, "Key": _key(task.task_id, rows.PAYLOAD), **payload}
        written = self._transact([{"Update": self._update(write)}, {"Update": update}], token, 1)
        return Refused(None) if isinstance(written, EffectRefused) else written

    def expire_payload(self, task: Task, expires_at_seconds: int) -> None:
        """Let a long payload expire with its task."""
        if task.payload is None:
            self._client.update_item(
                TableName=self._table,
                Key=_key(task.task_id, rows.PAYLOAD),
                UpdateExpression="SET expiresAt = :at",
                ExpressionAttributeValues=_at(expires_at_seconds),
            )

    def record(self, letter: DeadLetter, task_created_at: int) -> None:
        """Write the dead letter of one generation; once written it is left alone."""
        put = self._put(rows.dead_letter_row(letter), transitions.RECORD_ABSENT, {":createdAt": task_created_at})
        self._guarded(lambda: self._client.put_item(**put))

    def record_stray(self, message_id: str, fields: Mapping[str, Value]) -> None:
        """Keep a message that is not ours, by its own id. Delivered again, it is left as it was written first."""
        item = {"PK": rows.stray_partition(message_id), "SK": rows.dead_letter_sort(0), **fields}
        put = self._put(item, transitions.STRAY_ABSENT, {})
        del put["ExpressionAttributeValues"]  # DynamoDB refuses an empty map of them
        self._guarded(lambda: self._client.put_item(**put))

    def page(
        self, index_class: IndexClass, shard: int, limit: int, after: str | None = None, up_to: str | None = None
    ) -> Page:
        """Tasks of one class and shard, oldest first, read from the (eventual) index and then, consistently, by key.

        `after` is the cursor of the page before, `up_to` the largest sort key wanted. A task that has left the class
        since the index saw it is not in the page.
        """
        partition = f"{index_class}#{shard}"
        bounds = {":after": after or "0", ":upTo": up_to or "~"}
        response = self._client.query(
            TableName=self._table,
            IndexName=rows.INDEX,
            KeyConditionExpression="classShard = :partition AND classSort BETWEEN :after AND :upTo",
            ExpressionAttributeValues={
                ":partition": {"S": partition},
                **{name: {"S": bound} for name, bound in bounds.items()},
            },
            Limit=limit,
        )
        task_ids = [item["PK"]["S"].removeprefix("T#") for item in response["Items"]]
        found = {task.task_id: task for task in self.get_many(task_ids) if task.index_class is index_class}
        tasks = [found[task_id] for task_id in task_ids if task_id in found]
        last = response.get("LastEvaluatedKey")
        # Ids hold no character as small as "!", so this sorts right behind the last key and before the next.
        return Page(tuple(tasks), last["classSort"]["S"] + "!" if last else None)

    def youngest(self, index_class: IndexClass, shard: int) -> Task | None:
        """The last created task of one class and shard, as the (eventual) index knows it."""
        response = self._client.query(
            TableName=self._table,
            IndexName=rows.INDEX,
            KeyConditionExpression="classShard = :partition",
            ExpressionAttributeValues={":partition": {"S": f"{index_class}#{shard}"}},
            ScanIndexForward=False,
            Limit=1,
        )
        found = [self.get(item["PK"]["S"].removeprefix("T#")) for item in response["Items"]]
        return found[0] if found else None

    def cursor(self, name: str) -> str | None:
        response = self._client.get_item(TableName=self._table, Key=_cursor_key(name))
        return str(from_wire(response["Item"])["cursor"]) if "Item" in response else None

    def set_cursor(self, name: str, cursor: str | None) -> None:
        key = _cursor_key(name)
        if cursor is None:
            self._client.delete_item(TableName=self._table, Key=key)
        else:
            self._client.put_item(TableName=self._table, Item={**key, "cursor": {"S": cursor}})

    def _put(self, row: Mapping[str, Value], conditions: Mapping[str, str], values: Mapping[str, Value]) -> Any:
        condition = conjunction(conditions)
        return {
            "TableName": self._table,
            "Item": to_wire(row),
            "ConditionExpression": condition,
            "ExpressionAttributeNames": names_in(condition),
            "ExpressionAttributeValues": values_in(condition, values),
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }

    def _update(self, write: Write) -> Any:
        update = update_expression(write)
        condition = conjunction(write.conditions)
        text = f"{update} {condition}"
        return {
            "TableName": self._table,
            "Key": _key(write.task_id),
            "UpdateExpression": update,
            "ConditionExpression": condition,
            "ExpressionAttributeNames": names_in(text),
            "ExpressionAttributeValues": values_in(text, write.values),
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }

    def _action(self, effect: Effect) -> Any:
        request: dict[str, Any] = {
            "TableName": f"{self._effects_prefix}{effect.table}",
            "Item" if effect.action == "Put" else "Key": of_effect(effect.item),
            "UpdateExpression": effect.expression,
            "ConditionExpression": effect.condition,
            "ExpressionAttributeNames": effect.names,
            "ExpressionAttributeValues": of_effect(effect.values),
        }
        return {effect.action: {name: value for name, value in request.items() if value}}

    def _transact(self, items: Any, token: str, others: int) -> Refused | EffectRefused | None:
        """A transaction whose first item is the state row, followed by `others`."""
        try:
            self._client.transact_write_items(TransactItems=items, ClientRequestToken=token)
        except ClientError as error:
            return _transaction_outcome(error, others)
        return None

    def _guarded(self, call: Any) -> Refused | None:
        """Run a conditional write: None when it was made, the row that stood against it when it was refused."""
        try:
            call()
        except ClientError as error:
            old = row_against(error)
            if old is None:
                raise
            return Refused(rows.task_of(from_wire(old)) if old.get("SK") == {"S": rows.STATE} else None)
        return None


def _transaction_outcome(error: ClientError, others: int) -> Refused | EffectRefused:
    """What stood against a transaction; the state row counts first, since it tells a stale worker.

    Raises:
        Busy, PermanentError, ClientError: see `TaskStore.commit`.
    """
    response: Any = error.response
    code = response["Error"]["Code"]
    reasons = response.get("CancellationReasons") or []
    codes = [str(reason.get("Code", "None")) for reason in reasons]
    if codes and codes[0] == "ConditionalCheckFailed":
        old = reasons[0].get("Item")
        return Refused(rows.task_of(from_wire(old)) if old else None)
    if code in INVALID or any(found in INVALID for found in codes):
        said = next((str(reason.get("Message")) for reason in reasons if reason.get("Code") in INVALID), str(error))
        raise PermanentError(f"effects refused: {said}") from error
    for index in range(others):
        if codes[index + 1 : index + 2] == ["ConditionalCheckFailed"]:
            return EffectRefused(index)
    if code in BUSY or any(found in BUSY for found in codes):
        raise Busy(str(error)) from error
    raise error


def own_write(written: Task | Refused, token: str) -> Task | None:
    """The row, when it is as I wrote it; also when a repeated call was refused by the very write it repeats."""
    row = written.row if isinstance(written, Refused) else written
    return row if row is not None and row.token == token else None


def message_of(task: Task) -> Message:
    return Message(task.task_id, task.generation)


def _key(task_id: str, sort: str = rows.STATE) -> dict[str, Any]:
    return {"PK": {"S": rows.partition(task_id)}, "SK": {"S": sort}}


def _at(seconds: int) -> dict[str, Any]:
    return {":at": {"N": str(seconds)}}


def _cursor_key(name: str) -> dict[str, Any]:
    return {"PK": {"S": "SWEEPER"}, "SK": {"S": name}}
