"""The task: its states, its row as a value, its message. Pure: no AWS, no environment, no clock.

Times are integers, milliseconds since the epoch, unless a name says seconds.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

VERSION = 1
"""Version of rows and messages that this code writes."""
READABLE = (VERSION - 1, VERSION)
"""Versions that it reads. During a rolling deploy it defers the others to code that knows them."""

SHARDS = 4
"""Partitions of the index per class. Fixed for life: rows already written keep the shard they were given."""

TASK_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
"""What the API takes for an id. No id in a foreign message may be longer than a key of the table (2,048 bytes)."""

MAX_HISTORY = 64
"""Entries of past generations that a replay keeps in the timeline; the dead letter of each generation stays as well."""

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
    STRAY = "M"
    """No task at all: a foreign message in the dead-letter queue, kept by its own id."""


def shard_of(task_id: str) -> int:
    return zlib.crc32(task_id.encode()) % SHARDS


def class_shard(index_class: IndexClass, task_id: str) -> str:
    return f"{index_class}#{shard_of(task_id)}"


def class_sort(at: int, task_id: str) -> str:
    return f"{at:013d}#{task_id}"


def sorted_at(sort: str) -> int:
    """The time in a sort key."""
    return int(sort.partition("#")[0])


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

    @property
    def readable(self) -> bool:
        return self.version in READABLE

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


def seconds_until(at: int, now: int) -> int:
    """Whole seconds, rounded up: SQS counts in seconds and a wait must not end early. At most 12 h (SQS's limit)."""
    return max(0, min(43_200, math.ceil((at - now) / 1000)))


def recent(timeline: Sequence[TimelineEntry]) -> Sequence[TimelineEntry]:
    """The latest generations, whole ones only, that fit into MAX_HISTORY entries."""
    if len(timeline) <= MAX_HISTORY:
        return timeline
    cut = timeline[-MAX_HISTORY - 1].generation
    return [entry for entry in timeline if entry.generation > cut]


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
        UnknownVersion: another deployment wrote this message.
    """
    if not isinstance(document, Mapping):
        return None
    version, generation = _whole(document.get("v")), _whole(document.get("generation"))
    task_id = document.get("taskId")
    if version is None or generation is None or not isinstance(task_id, str) or not TASK_ID.fullmatch(task_id):
        return None
    if version not in READABLE:
        raise UnknownVersion(f"message version {version}, this code knows {READABLE}")
    return Message(task_id, generation)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


class UnknownVersion(Exception):
    """A row or message is of a version that this deployment does not know; it must be deferred, not decided on."""
