"""Every status change as one conditional write: named conditions, in DynamoDB's own expression language. Pure.

A condition is a conjunction of named terms, so that each can be spoken of, tested and dropped alone. `#name` stands for
the attribute of that name, `:name` for a value given beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lambdas.common.task import (
    MAX_HAND_BACKS,
    READABLE,
    VERSION,
    Claim,
    IndexClass,
    Status,
    Task,
    TimelineEntry,
    class_shard,
    class_sort,
    recent,
)

Value = str | int | None | list["Value"] | dict[str, "Value"] | set[str]


@dataclass(frozen=True, slots=True)
class Write:
    """One UpdateItem on the state row of `task_id`."""

    name: str
    task_id: str
    conditions: Mapping[str, str]
    set: Mapping[str, str]
    remove: tuple[str, ...] = ()
    add: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Value] = field(default_factory=dict)

    def without(self, term: str) -> Write:
        """The same write with one term of its condition dropped (mutation tests)."""
        return replace(self, conditions={name: text for name, text in self.conditions.items() if name != term})


ABSENT = {"absent_or_expired": "attribute_not_exists(#PK) OR #expiresAt < :nowSeconds"}
"""Condition of the first put: a row past its expiry counts as absent, whenever DynamoDB gets round to deleting it."""

RECORD_ABSENT = {"absent_or_older_life": "attribute_not_exists(#PK) OR #recordedAt < :createdAt"}
"""Condition of a dead-letter record: one older than the row belongs to an expired task of the same id."""

STRAY_ABSENT = {"absent": "attribute_not_exists(#PK)"}
"""Condition of the record of a stray message: delivered again, it is left as it was written first."""

PAYLOAD_THERE = {"still_there": "attribute_exists(#PK)"}
"""Condition on the long payload of a replay: a task whose payload has expired cannot be worked on again."""


def _event(at: int, status: Status, generation: int, note: str | None = None) -> list[Value]:
    return [timeline_item(TimelineEntry(at, status, generation, note))]


def timeline_item(entry: TimelineEntry) -> dict[str, Value]:
    item: dict[str, Value] = {"at": entry.at, "status": str(entry.status), "generation": entry.generation}
    return item | ({"note": entry.note} if entry.note else {})


_LOG = {"timeline": "list_append(#timeline, :event)", "updatedAt": ":now"}
# Without parentheses of their own: each term gets a pair, and DynamoDB refuses a doubled one as redundant.
_DUE = "attribute_not_exists(#nextAttemptAt) OR #nextAttemptAt <= :now"
_NO_LIVE_LEASE = "attribute_not_exists(#leaseUntil) OR #leaseUntil < :now"


def claim(wish: Claim) -> Write:
    message = wish.message
    return Write(
        "claim",
        message.task_id,
        conditions={
            "known_version": "#v BETWEEN :oldestV AND :v",
            "same_generation": "#generation = :generation",
            "not_parked_nor_ended": "#classShard = :open",
            "attempts_left": "#attempts < #maxAttempts",
            "due_or_abandoned": (
                f"(#status IN (:submitted, :pending) AND ({_DUE})) OR (#status = :processing AND #leaseUntil < :now)"
            ),
        },
        set={
            "status": ":processing",
            "attempts": "#attempts + :one",
            "token": ":token",
            "leaseUntil": ":leaseUntil",
            "messageId": ":messageId",
            "sends": ":zero",
            **_LOG,
        },
        remove=("nextAttemptAt",),
        values={
            ":oldestV": READABLE[0],
            ":v": VERSION,
            ":generation": message.generation,
            ":open": class_shard(IndexClass.OPEN, message.task_id),
            ":submitted": Status.SUBMITTED,
            ":pending": Status.FAILED_PENDING,
            ":processing": Status.PROCESSING,
            ":one": 1,
            ":zero": 0,
            ":token": wish.token,
            ":leaseUntil": wish.lease_until,
            ":messageId": wish.message_id,
            ":now": wish.now,
            ":event": _event(wish.now, Status.PROCESSING, message.generation),
        },
    )


_HOLDER = {
    "still_processing": "#status = :processing",
    "own_token": "#token = :token",
    "same_generation": "#generation = :generation",
}


def _finish(name: str, task: Task, now: int, status: Status, note: str | None, values: dict[str, Value]) -> Write:
    return Write(
        name,
        task.task_id,
        conditions=_HOLDER,
        set={"status": ":status", **_LOG},
        remove=("leaseUntil",),
        values={
            ":processing": Status.PROCESSING,
            ":token": task.token,
            ":generation": task.generation,
            ":status": status,
            ":now": now,
            ":event": _event(now, status, task.generation, note),
            **values,
        },
    )


def complete(task: Task, now: int, result: str | None, expires_at_seconds: int) -> Write:
    write = _finish(
        "complete",
        task,
        now,
        Status.COMPLETED,
        None,
        {
            ":class": class_shard(IndexClass.COMPLETED, task.task_id),
            ":expiresAt": expires_at_seconds,
            ":result": result,
        },
    )
    return replace(
        write,
        set={**write.set, "classShard": ":class", "expiresAt": ":expiresAt", "result": ":result"},
        remove=(*write.remove, "error"),
    )


def retry(task: Task, now: int, error: str, next_attempt_at: int) -> Write:
    values: dict[str, Value] = {":error": error, ":nextAttemptAt": next_attempt_at}
    write = _finish("retry", task, now, Status.FAILED_PENDING, error, values)
    return replace(write, set={**write.set, "error": ":error", "nextAttemptAt": ":nextAttemptAt"})


def park(task: Task, now: int, error: str, next_attempt_at: int) -> Write:
    """A wait longer than SQS can hold back in one go: the row waits, and the sweeper sends it when due."""
    write = retry(task, now, error, next_attempt_at)
    return replace(
        write,
        name="park",
        set={**write.set, "classShard": ":class", "classSort": ":due", "parkedSort": ":sort"},
        remove=(*write.remove, "messageId"),
        values={
            **write.values,
            ":class": class_shard(IndexClass.PARKED, task.task_id),
            ":due": class_sort(next_attempt_at, task.task_id),
            ":sort": class_sort(task.created_at, task.task_id),
        },
    )


def die(task: Task, now: int, error: str) -> Write:
    values: dict[str, Value] = {":error": error, ":class": class_shard(IndexClass.DEAD, task.task_id)}
    write = _finish("die", task, now, Status.FAILED_FINAL, error, values)
    return replace(write, set={**write.set, "error": ":error", "classShard": ":class"})


def _as_read(task: Task) -> tuple[dict[str, str], dict[str, Value]]:
    """Conditions of somebody who is not the holder: the row is still what the decision was made on."""
    conditions = {
        "same_generation": "#generation = :generation",
        "status_as_read": "#status = :readStatus",
        "token_as_read": "#token = :readToken",
    }
    values: dict[str, Value] = {
        ":generation": task.generation,
        ":readStatus": task.status,
        ":readToken": task.token,
    }
    return conditions, values


def bury(task: Task, now: int, error: str, token: str) -> Write:
    conditions, values = _as_read(task)
    return Write(
        "bury",
        task.task_id,
        conditions={
            **conditions,
            "attempts_as_read": "#attempts = :readAttempts",
            "no_live_lease": _NO_LIVE_LEASE,
            "open": "#classShard = :open",
        },
        set={"status": ":dead", "classShard": ":class", "error": ":error", "token": ":token", **_LOG},
        remove=("leaseUntil", "nextAttemptAt"),
        values={
            **values,
            ":readAttempts": task.attempts,
            ":open": class_shard(IndexClass.OPEN, task.task_id),
            ":dead": Status.FAILED_FINAL,
            ":class": class_shard(IndexClass.DEAD, task.task_id),
            ":error": error,
            ":token": token,
            ":now": now,
            ":event": _event(now, Status.FAILED_FINAL, task.generation, error),
        },
    )


def mark_recorded(task: Task, expires_at_seconds: int, token: str) -> Write:
    """Class D to F, once the dead letter is written."""
    return Write(
        "mark_recorded",
        task.task_id,
        conditions={
            "same_generation": "#generation = :generation",
            "dead": "#status = :dead",
            "not_recorded": "#classShard = :readClass",
        },
        set={"classShard": ":class", "expiresAt": ":expiresAt", "token": ":token"},
        values={
            ":generation": task.generation,
            ":dead": Status.FAILED_FINAL,
            ":readClass": class_shard(IndexClass.DEAD, task.task_id),
            ":class": class_shard(IndexClass.RECORDED, task.task_id),
            ":expiresAt": expires_at_seconds,
            ":token": token,
        },
    )


def hand_back(task: Task, message_id: str, now: int, token: str) -> Write:
    """Attempts are left though SQS gave the message up: remember the message, forget the holder, then send anew."""
    conditions, values = _as_read(task)
    return Write(
        "hand_back",
        task.task_id,
        conditions={
            **conditions,
            "attempts_as_read": "#attempts = :readAttempts",
            "no_live_lease": _NO_LIVE_LEASE,
            "due": _DUE,
            "hand_backs_left": (
                "attribute_not_exists(#handedBack) OR contains(#handedBack, :messageId) OR size(#handedBack) < :max"
            ),
        },
        set={"token": ":token", "sentAt": ":now", "updatedAt": ":now"},
        remove=("messageId",),
        add={"handedBack": ":messageIds"},
        values={
            **values,
            ":readAttempts": task.attempts,
            ":messageId": message_id,
            ":messageIds": {message_id},
            ":max": MAX_HAND_BACKS,
            ":token": token,
            ":now": now,
        },
    )


def mark_sent(task: Task, now: int) -> Write:
    """Before a re-send or an unpark: only one sender passes, and only while nobody acts on the task."""
    return Write(
        "mark_sent",
        task.task_id,
        conditions={
            "same_generation": "#generation = :generation",
            "class_as_read": "#classShard = :readClass",
            "not_sent_since": "#sentAt = :readSentAt",
            "no_live_lease": _NO_LIVE_LEASE,
            "due": _DUE,
        },
        set={
            "sentAt": ":now",
            "sends": "#sends + :one",
            "classShard": ":open",
            "classSort": ":sort",
        },
        remove=("messageId", "parkedSort"),
        values={
            ":generation": task.generation,
            ":readClass": class_shard(task.index_class, task.task_id),
            ":readSentAt": task.sent_at,
            ":open": class_shard(IndexClass.OPEN, task.task_id),
            ":sort": class_sort(task.created_at, task.task_id),
            ":one": 1,
            ":now": now,
        },
    )


def cancel(task: Task, now: int, expires_at_seconds: int, token: str) -> Write:
    """Any open status to CANCELLED. The fresh token fences off a worker that is still running."""
    conditions, values = _as_read(task)
    return Write(
        "cancel",
        task.task_id,
        conditions=conditions,
        set={
            "status": ":status",
            "classShard": ":class",
            "classSort": ":sort",
            "expiresAt": ":expiresAt",
            "token": ":token",
            **_LOG,
        },
        remove=("leaseUntil", "nextAttemptAt", "messageId", "parkedSort"),
        values={
            **values,
            ":status": Status.CANCELLED,
            ":class": class_shard(IndexClass.CANCELLED, task.task_id),
            ":sort": class_sort(task.created_at, task.task_id),
            ":expiresAt": expires_at_seconds,
            ":token": token,
            ":now": now,
            ":event": _event(now, Status.CANCELLED, task.generation),
        },
    )


def replay(task: Task, now: int, token: str) -> Write:
    """A dead and recorded task begins a new generation: all counters anew, its recent history kept, no expiry.

    Nobody writes to a recorded dead task, so the history as it was read is the history as it is.
    """
    return Write(
        "replay",
        task.task_id,
        conditions={
            "same_generation": "#generation = :generation",
            "dead": "#status = :dead",
            "recorded": "#classShard = :readClass",
            "not_expired": "attribute_not_exists(#expiresAt) OR #expiresAt >= :nowSeconds",
        },
        set={
            "status": ":status",
            "classShard": ":open",
            "generation": "#generation + :one",
            "attempts": ":zero",
            "sends": ":zero",
            "sentAt": ":now",
            "token": ":token",
            "updatedAt": ":now",
            "timeline": "list_append(:history, :event)",
        },
        remove=("handedBack", "nextAttemptAt", "messageId", "leaseUntil", "expiresAt", "error"),
        values={
            ":generation": task.generation,
            ":dead": Status.FAILED_FINAL,
            ":readClass": class_shard(IndexClass.RECORDED, task.task_id),
            ":nowSeconds": now // 1000,
            ":status": Status.SUBMITTED,
            ":open": class_shard(IndexClass.OPEN, task.task_id),
            ":one": 1,
            ":zero": 0,
            ":token": token,
            ":now": now,
            ":history": [timeline_item(entry) for entry in recent(task.timeline)],
            ":event": _event(now, Status.SUBMITTED, task.generation + 1),
        },
    )
