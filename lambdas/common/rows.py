"""Tasks and dead letters as items of the table, and back. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from lambdas.common.task import IndexClass, Status, Task, TimelineEntry, class_shard, class_sort
from lambdas.common.transitions import Value, timeline_item

Row = Mapping[str, Any]

INDEX = "by-class"
PARKED_INDEX = "parked-by-age"
"""Parked tasks only, which `by-class` sorts by the time at which they are due: here they keep their place in a list."""
STATE = "A"
"""Sort key of the state row."""
PAYLOAD = "P"
"""Sort key of a payload too long to live in the state row."""
INLINE_PAYLOAD_BYTES = 1024
"""Every status change rewrites the whole state row and is billed by its size, so long payloads stay out of it."""


def partition(task_id: str) -> str:
    return f"T#{task_id}"


def stray_partition(message_id: str) -> str:
    return f"M#{message_id}"


def dead_letter_sort(generation: int) -> str:
    return f"D#{generation:06d}"


def row_of(task: Task, sort_at: int | None = None) -> dict[str, Value]:
    """The state row. `sort_at`: the due time of a parked task, else it is sorted by its creation."""
    row: dict[str, Value] = {
        "PK": partition(task.task_id),
        "SK": STATE,
        "v": task.version,
        "kind": task.kind,
        "status": str(task.status),
        "classShard": class_shard(task.index_class, task.task_id),
        "classSort": class_sort(task.created_at if sort_at is None else sort_at, task.task_id),
        "parkedSort": class_sort(task.created_at, task.task_id) if task.parked else None,
        "generation": task.generation,
        "attempts": task.attempts,
        "maxAttempts": task.max_attempts,
        "token": task.token,
        "bodyHash": task.body_hash,
        "createdAt": task.created_at,
        "updatedAt": task.updated_at,
        "sentAt": task.sent_at,
        "sends": task.sends,
        "leaseUntil": task.lease_until,
        "nextAttemptAt": task.next_attempt_at,
        "messageId": task.message_id,
        "handedBack": set(task.handed_back) or None,
        "error": task.error,
        "result": task.result,
        "payload": task.payload,
        "timeline": [timeline_item(entry) for entry in task.timeline],
        "expiresAt": task.expires_at_seconds,
    }
    return {name: value for name, value in row.items() if value is not None}


def task_of(row: Row) -> Task:
    return Task(
        task_id=str(row["PK"]).removeprefix("T#"),
        kind=row["kind"],
        status=Status(row["status"]),
        index_class=IndexClass(str(row["classShard"]).split("#")[0]),
        generation=row["generation"],
        attempts=row["attempts"],
        max_attempts=row["maxAttempts"],
        token=row["token"],
        body_hash=row["bodyHash"],
        created_at=row["createdAt"],
        updated_at=row["updatedAt"],
        sent_at=row["sentAt"],
        sends=row["sends"],
        lease_until=row.get("leaseUntil"),
        next_attempt_at=row.get("nextAttemptAt"),
        message_id=row.get("messageId"),
        handed_back=frozenset(row.get("handedBack", ())),
        error=row.get("error"),
        result=row.get("result"),
        payload=row.get("payload"),
        timeline=tuple(_entry_of(item) for item in row["timeline"]),
        expires_at_seconds=row.get("expiresAt"),
        version=row["v"],
    )


def _entry_of(item: Mapping[str, Any]) -> TimelineEntry:
    return TimelineEntry(item["at"], item["status"], item["generation"], item.get("note"))


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Why one generation of a task ended in the dead-letter queue."""

    task_id: str
    generation: int
    kind: str
    error: str
    """`Class: text` of the last attempt."""
    attempts: int
    receives: int
    """Receives on the DLQ's own counter, the monitor's included; 0 when it was recorded without its message."""
    message_id: str
    source_queue_arn: str | None
    """Set by SQS itself when it moved the message; None for a message sent to the DLQ by hand."""
    dead_at: int
    recorded_at: int
    expires_at_seconds: int
    first_at: int | None = None
    """When its first attempt began, or the generation itself where none did; None in letters that older code wrote."""

    @property
    def error_class(self) -> str:
        return self.error.partition(": ")[0]

    @property
    def error_text(self) -> str:
        return self.error.partition(": ")[2]


def dead_letter_row(letter: DeadLetter) -> dict[str, Value]:
    row: dict[str, Value] = {
        "PK": partition(letter.task_id),
        "SK": dead_letter_sort(letter.generation),
        "generation": letter.generation,
        "kind": letter.kind,
        "error": letter.error,
        "attempts": letter.attempts,
        "receives": letter.receives,
        "messageId": letter.message_id,
        "sourceQueueArn": letter.source_queue_arn,
        "firstAt": letter.first_at,
        "deadAt": letter.dead_at,
        "recordedAt": letter.recorded_at,
        "expiresAt": letter.expires_at_seconds,
    }
    return {name: value for name, value in row.items() if value is not None}


def dead_letter_of(row: Row) -> DeadLetter:
    return DeadLetter(
        task_id=str(row["PK"]).removeprefix("T#"),
        generation=row["generation"],
        kind=row["kind"],
        error=row["error"],
        attempts=row["attempts"],
        receives=row["receives"],
        message_id=row["messageId"],
        source_queue_arn=row.get("sourceQueueArn"),
        dead_at=row["deadAt"],
        recorded_at=row["recordedAt"],
        expires_at_seconds=cast(int, row["expiresAt"]),
        first_at=row.get("firstAt"),
    )


MAX_RAW_BODY_BYTES = 1024


@dataclass(frozen=True, slots=True)
class StrayMessage:
    """A message in the dead-letter queue that belongs to no task."""

    message_id: str
    reason: str
    body: str
    """As it came, cut to MAX_RAW_BODY_BYTES."""
    receives: int
    source_queue_arn: str | None
    recorded_at: int
    expires_at_seconds: int


def cut_body(body: str) -> str:
    """At most MAX_RAW_BODY_BYTES of UTF-8, whole characters only."""
    return body.encode(errors="replace")[:MAX_RAW_BODY_BYTES].decode(errors="ignore")


def stray_fields(stray: StrayMessage) -> dict[str, Value]:
    """The item but for its key. The index has it, so that it can be listed; no state row is ever of its class."""
    fields: dict[str, Value] = {
        "classShard": class_shard(IndexClass.STRAY, stray.message_id),
        "classSort": class_sort(stray.recorded_at, stray.message_id),
        "reason": stray.reason,
        "body": stray.body,
        "receives": stray.receives,
        "sourceQueueArn": stray.source_queue_arn,
        "recordedAt": stray.recorded_at,
        "expiresAt": stray.expires_at_seconds,
    }
    return {name: value for name, value in fields.items() if value is not None}


def stray_of(row: Row) -> StrayMessage:
    return StrayMessage(
        message_id=str(row["PK"]).removeprefix("M#"),
        reason=row["reason"],
        body=row["body"],
        receives=row["receives"],
        source_queue_arn=row.get("sourceQueueArn"),
        recorded_at=row["recordedAt"],
        expires_at_seconds=row["expiresAt"],
    )


@dataclass(frozen=True, slots=True)
class IndexKey:
    """What the index itself tells of a task or a stray: enough to find it, not how it stands now."""

    id: str
    sort: str
    kind: str | None


def listing_of(index_class_shard: str) -> tuple[str, str]:
    """The index that holds this partition in the order of creation, and its sort key."""
    parked = index_class_shard.startswith(f"{IndexClass.PARKED}#")
    return (PARKED_INDEX, "parkedSort") if parked else (INDEX, "classSort")


def index_key_of(row: Row, sort: str = "classSort") -> IndexKey:
    return IndexKey(str(row["PK"]).partition("#")[2], row[sort], row.get("kind"))


@dataclass(frozen=True, slots=True)
class KeyPage:
    """Part of an index partition. `more`: whether there may be keys behind it."""

    keys: tuple[IndexKey, ...]
    more: bool
