"""What the task API takes and gives, as Python objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

TERMINAL = frozenset({"COMPLETED", "FAILED_FINAL", "CANCELLED"})


@dataclass(frozen=True, slots=True)
class Task:
    """A task as the API shows it."""

    task_id: str
    kind: str
    status: str
    generation: int
    attempts: int
    max_attempts: int
    payload: dict[str, Any]
    result: dict[str, Any] | None
    error: str | None
    timeline: tuple[Mapping[str, Any], ...]
    """Each entry: at, status, generation, attempt, and error where there was one."""
    dead_letters: tuple[Mapping[str, Any], ...]
    """One per generation that failed for good: generation, error, attempts, deadAt, recordedAt."""

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL


@dataclass(frozen=True, slots=True)
class Steered:
    """A task that was cancelled or replayed."""

    task_id: str
    status: str
    generation: int
    new: bool
    """False when it had been done before: by somebody else, or by a try of this very call whose answer was lost."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A task that is dead at present, and how its last generation died."""

    task_id: str
    kind: str
    generation: int
    attempts: int
    receives: int
    """How often SQS had given the message out when it was recorded."""
    error_class: str
    error: str
    """What it said; its class is not repeated here."""
    created_at: datetime
    first_at: datetime | None
    """When its first attempt began; None when that is not known."""
    dead_at: datetime
    recorded_at: datetime
    source_queue: str | None


@dataclass(frozen=True, slots=True)
class Stray:
    """A message of the dead-letter queue that belongs to no task. It is kept to be looked at, and never replayed."""

    message_id: str
    reason: str
    body: str
    """As it came, cut to 1,024 bytes."""
    receives: int
    recorded_at: datetime
    source_queue: str | None


@dataclass(frozen=True, slots=True)
class Submission:
    """One task of a batch; the fields are those of `TaskClient.submit`."""

    kind: str = "simulated"
    payload: Mapping[str, Any] = field(default_factory=dict)
    task_id: str | None = None
    run_at: datetime | None = None
    delay_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one of a batch. `status` is the HTTP status that it would have had alone, `code` its error's."""

    task_id: str
    status: int
    message: str
    code: str | None = None

    @property
    def done(self) -> bool:
        return self.code is None

    @property
    def new(self) -> bool:
        """False when it had been done before, and when it was refused."""
        return self.status == 202


@dataclass(frozen=True, slots=True)
class Summary:
    """A task in a list: without payload, result and timeline."""

    task_id: str
    kind: str
    status: str
    generation: int
    attempts: int
    max_attempts: int
    created_at: datetime
    updated_at: datetime
    error: str | None


@dataclass(frozen=True, slots=True)
class Count:
    """`more`: there are more than these; nobody counted on."""

    count: int
    more: bool

    def __str__(self) -> str:
        return f"{self.count:,}{'+' if self.more else ''}"


@dataclass(frozen=True, slots=True)
class Stats:
    """How the whole stands; `exact` and `approximate` name the fields, as the API does, by what they are worth."""

    counts: Mapping[str, Count]
    """By status; `open` are all that have not ended, `parked` those of them that are due much later."""
    queue: Mapping[str, int]
    dead_letter_queue: Mapping[str, int]
    oldest_open_at: datetime | None
    per_minute: tuple[Mapping[str, Any], ...]
    """Of the last hour, the minutes that have any: minute, completed, failed, dead, p50Ms, p95Ms."""
    kinds: tuple[str, ...]
    """Of the deployment; empty where it is older than this field."""
    exact: tuple[str, ...]
    approximate: tuple[str, ...]
    at: datetime


def instant(at: datetime) -> str:
    """RFC 3339 in UTC, to the millisecond, as the API writes it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def result_in(item: Mapping[str, Any], found: Mapping[str, Any]) -> Result:
    """The API gives no id back where it could not read one; what was sent is known here."""
    error = found.get("error") or {}
    message = str(error.get("message") or found.get("message") or "")
    return Result(item["taskId"], found["status"], message, error.get("code"))


def task_in(found: Mapping[str, Any]) -> Task:
    return Task(
        task_id=found["taskId"],
        kind=found["kind"],
        status=found["status"],
        generation=found["generation"],
        attempts=found["attempts"],
        max_attempts=found["maxAttempts"],
        payload=found["payload"],
        result=found["result"],
        error=found["error"],
        timeline=tuple(found["timeline"]),
        dead_letters=tuple(found["deadLetters"]),
    )


def summary_in(found: Mapping[str, Any]) -> Summary:
    return Summary(
        task_id=found["taskId"],
        kind=found["kind"],
        status=found["status"],
        generation=found["generation"],
        attempts=found["attempts"],
        max_attempts=found["maxAttempts"],
        created_at=datetime.fromisoformat(found["createdAt"]),
        updated_at=datetime.fromisoformat(found["updatedAt"]),
        error=found["error"],
    )


def stray_in(found: Mapping[str, Any]) -> Stray:
    return Stray(
        message_id=found["messageId"],
        reason=found["reason"],
        body=found["body"],
        receives=found["receives"],
        recorded_at=datetime.fromisoformat(found["recordedAt"]),
        source_queue=found["sourceQueue"],
    )


def dead_letter_in(found: Mapping[str, Any]) -> DeadLetter:
    first_at = found["firstAt"]
    return DeadLetter(
        task_id=found["taskId"],
        kind=found["kind"],
        generation=found["generation"],
        attempts=found["attempts"],
        receives=found["receives"],
        error_class=found["errorClass"],
        error=found["error"],
        created_at=datetime.fromisoformat(found["createdAt"]),
        first_at=datetime.fromisoformat(first_at) if first_at is not None else None,
        dead_at=datetime.fromisoformat(found["deadAt"]),
        recorded_at=datetime.fromisoformat(found["recordedAt"]),
        source_queue=found["sourceQueue"],
    )
