"""The task: its states, its row as a value, and the decisions about it. Pure: no AWS, no environment, no clock.

Times are integers, milliseconds since the epoch, unless a name says seconds.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

VERSION = 1
"""Version of rows and messages. A reader accepts this one and the one before, and defers what it does not know."""

SHARDS = 4
"""Partitions of the index per class. Fixed for life: rows already written keep the shard they were given."""

MAX_HAND_BACKS = 3
"""Messages of one generation that the DLQ monitor may send back to the queue before it gives the task up."""


class Status(StrEnum):
    SUBMITTED = "SUBMITTED"
    PROCESSING = "PROCESSING"
    FAILED_PENDING = "FAILED_PENDING"
    FAILED_FINAL = "FAILED_FINAL"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"


TERMINAL = frozenset({Status.FAILED_FINAL, Status.COMPLETED, Status.CANCELLED})


class IndexClass(StrEnum):
    """Where the index keeps a task; together with a shard this is the partition."""

    OPEN = "O"
    PARKED = "S"
    COMPLETED = "C"
    DEAD = "D"
    """Failed for good, its dead letter not recorded yet."""
    RECORDED = "F"
    """Failed for good, its dead letter recorded."""
    CANCELLED = "X"


def shard_of(task_id: str) -> int:
    return zlib.crc32(task_id.encode()) % SHARDS


def class_shard(index_class: IndexClass, task_id: str) -> str:
    return f"{index_class}#{shard_of(task_id)}"


def class_sort(at: int, task_id: str) -> str:
    return f"{at:013d}#{task_id}"


@dataclass(frozen=True, slots=True)
class Message:
    """What travels through the queue; everything else is in the row."""

    task_id: str
    generation: int


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    at: int
    status: str
    generation: int
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """The state row of a task."""

    task_id: str
    kind: str
    status: Status
    index_class: IndexClass
    generation: int
    """1 at first, one more with every replay."""
    attempts: int
    """Attempts begun in this generation."""
    max_attempts: int
    token: str
    """Fencing token of whoever wrote the row last as its holder."""
    body_hash: str
    """Tells a repeated submit from another body under the same id."""
    created_at: int
    updated_at: int
    sent_at: int
    """When a message for this row was last sent, or about to be."""
    sends: int = 0
    """Re-sends since the last claim."""
    lease_until: int | None = None
    """While PROCESSING: until when the worker may be alive."""
    next_attempt_at: int | None = None
    message_id: str | None = None
    """The message whose delivery made the last claim; None after a park, a re-send or a hand-back."""
    handed_back: frozenset[str] = frozenset()
    error: str | None = None
    result: str | None = None
    """JSON text, what the work returned."""
    payload: str | None = None
    """JSON text as the client sent it; None when it is long and lies in an item of its own."""
    timeline: Sequence[TimelineEntry] = ()
    expires_at_seconds: int | None = None
    version: int = VERSION

    @property
    def parked(self) -> bool:
        return self.index_class is IndexClass.PARKED

    def lease_over(self, now: int) -> bool:
        return self.lease_until is None or self.lease_until < now

    def expired(self, now: int) -> bool:
        return self.expires_at_seconds is not None and self.expires_at_seconds < now // 1000

    def silent_since(self) -> int:
        """The latest moment at which somebody was known to act on this task, or was due to."""
        return max(self.sent_at, self.lease_until or 0, self.next_attempt_at or 0)


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's wish to begin an attempt. `now` is fixed once and reused by every retry of the same call."""

    message: Message
    message_id: str
    token: str
    now: int
    lease_until: int


# What to do with a delivery that is not (or no longer) work. ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Let SQS delete the message; the row needs nothing from it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Defer:
    """Report the message as failed, so that SQS keeps it. `seconds` is its new visibility; None leaves it alone."""

    reason: str
    seconds: int | None


@dataclass(frozen=True, slots=True)
class OwnWrite:
    """The claim had been written already: only its acknowledgement was lost. Go on."""


@dataclass(frozen=True, slots=True)
class Bury:
    """Nobody can finish this task any more: write FAILED_FINAL in the name of `error`, then act as on a dead task."""

    error: str


WORKER_DIED = "WorkerDied: the last attempt ended without a word (crash or time-out)"
UNDELIVERABLE = "Undeliverable: the queue gave the task up again and again before its attempts were used"


def seconds_until(at: int, now: int) -> int:
    """Whole seconds, rounded up: SQS counts in seconds and a wait must not end early. At most 12 h (SQS's limit)."""
    return max(0, min(43_200, math.ceil((at - now) / 1000)))


def after_refused_claim(row: Task | None, claim: Claim) -> Acknowledge | Defer | OwnWrite | Bury:
    """Decide by the row as it was when the conditional claim was refused."""
    if row is None:
        return Defer("no such task", 0)
    if row.version > VERSION:
        return Defer("row of a newer version", 60)
    mine = claim.message.generation
    if row.token == claim.token and row.status is Status.PROCESSING and row.generation == mine:
        return OwnWrite()
    if mine < row.generation:
        return Acknowledge("older generation")
    if mine > row.generation:
        return Defer("newer generation than the row", 0)
    return _within_generation(row, claim)


def _within_generation(row: Task, claim: Claim) -> Acknowledge | Defer | Bury:
    if row.status in (Status.COMPLETED, Status.CANCELLED):
        return Acknowledge(f"already {row.status}")
    if row.status is Status.FAILED_FINAL:
        return Defer("dead", 0)
    if row.parked:
        return Acknowledge("parked, the sweeper sends it when due")
    due_at = _busy_until(row, claim.now)
    if due_at is not None:
        if row.message_id not in (None, claim.message_id):
            return Acknowledge("a copy of the message that holds this task")
        return Defer("busy or backing off", max(1, seconds_until(due_at, claim.now)))
    if row.attempts >= row.max_attempts:
        return Bury(WORKER_DIED)
    return Defer("changed under the claim", 1)


def _busy_until(row: Task, now: int) -> int | None:
    """When the live lease or the pending wait of an open task ends; None when neither holds it back."""
    if row.status is Status.PROCESSING:
        return None if row.lease_over(now) else row.lease_until
    waiting = row.next_attempt_at is not None and row.next_attempt_at > now
    return row.next_attempt_at if waiting else None


# What to do with a message in the dead-letter queue. -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Record:
    """The task is dead: write its dead letter and move it from class D to F."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Delete the message and change nothing."""

    reason: str


@dataclass(frozen=True, slots=True)
class HandBack:
    """Attempts are left: SQS gave up for other reasons (throttling burns receives). Send the task again."""

    counted: bool
    """False when this message had been handed back before and only its deletion was lost."""


@dataclass(frozen=True, slots=True)
class Stray:
    """Not a task of ours: record the message under its own id and touch no task."""

    reason: str


DeadMessageDecision = Record | Drop | HandBack | Stray | Bury


def for_dead_message(row: Task | None, message: Message, message_id: str, now: int) -> DeadMessageDecision:
    """Decide by the row.

    Raises:
        UnknownVersion: a newer deployment wrote the row.
    """
    if row is None:
        return Stray("no such task")
    if row.version > VERSION:
        raise UnknownVersion(f"row version {row.version}, this code knows {VERSION}")
    if message.generation > row.generation:
        return Stray("newer generation than the row")
    if message.generation < row.generation:
        return Drop("older generation")
    if row.status is Status.FAILED_FINAL:
        return Record()
    if row.status in (Status.COMPLETED, Status.CANCELLED):
        return Drop(f"already {row.status}")
    if row.parked or _busy_until(row, now) is not None:
        return Drop("still in hand: lease, backoff or park")
    if row.attempts >= row.max_attempts:
        return Bury(WORKER_DIED)
    if message_id in row.handed_back:
        return HandBack(counted=False)
    if len(row.handed_back) >= MAX_HAND_BACKS:
        return Bury(UNDELIVERABLE)
    return HandBack(counted=True)


# What the sweeper does. ----------------------------------------------------------------------------------------------

RESEND_GROWTH = 4
RESEND_CAP_MS = 12 * 3_600_000


def resend_due_at(row: Task, after_ms: int) -> int:
    """When an open, silent task must have lost its message. The k-th re-send waits 4^k times longer, capped."""
    wait: int = after_ms * RESEND_GROWTH**row.sends
    return row.silent_since() + min(wait, max(RESEND_CAP_MS, after_ms))


def numbered(timeline: Sequence[TimelineEntry]) -> list[tuple[TimelineEntry, int]]:
    """Each entry with the attempt it belongs to: the claims of its generation so far."""
    claims: dict[int, int] = {}
    out = []
    for entry in timeline:
        if entry.status == Status.PROCESSING:
            claims[entry.generation] = claims.get(entry.generation, 0) + 1
        out.append((entry, claims.get(entry.generation, 0)))
    return out


def parse_message(document: object) -> Message | None:
    """A message of ours, or None. Unknown versions raise, since deferring them is not the same as giving them up.

    Raises:
        UnknownVersion: a newer deployment wrote this message.
    """
    if not isinstance(document, Mapping):
        return None
    version, generation = _whole(document.get("v")), _whole(document.get("generation"))
    task_id = document.get("taskId")
    if version is None or generation is None or not isinstance(task_id, str) or not task_id:
        return None
    if version > VERSION:
        raise UnknownVersion(f"message version {version}, this code knows {VERSION}")
    return Message(task_id, generation)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


class UnknownVersion(Exception):
    """A row or message was written by a newer deployment; it must be deferred, not decided on."""
