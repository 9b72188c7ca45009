"""What to do with a task, decided by its row. Pure: each caller acts on the answer with a conditional write."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lambdas.common.task import (
    MAX_HAND_BACKS,
    READABLE,
    TERMINAL,
    Claim,
    IndexClass,
    Message,
    Status,
    Task,
    UnknownVersion,
    seconds_until,
)

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


def after_refused_claim(row: Task | None, claim: Claim) -> Acknowledge | Defer | OwnWrite | Bury:
    """Decide by the row as it was when the conditional claim was refused."""
    if row is None:
        return Defer("no such task", 0)
    if not row.readable:
        return Defer("row of an unknown version", 60)
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
        UnknownVersion: another deployment wrote the row.
    """
    if row is None:
        return Stray("no such task")
    _check_readable(row)
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


@dataclass(frozen=True, slots=True)
class Consumption:
    """How far the queue's consumers are, as well as can be known: SQS counts approximately and orders loosely."""

    paused: bool
    """Nobody consumes: another message could not help."""
    waiting: bool
    """Messages wait in the queue."""
    reached: int
    """Creation time of the youngest task known to have been claimed: messages sent before it have had their turn.
    While none wait it does not matter."""

    def may_be_waiting(self, row: Task) -> bool:
        """Its message may simply stand in a long line."""
        return self.waiting and row.silent_since() >= self.reached


def resend_due_at(row: Task, after_ms: int, consumption: Consumption) -> int | None:
    """When an open, silent task must have lost its message; None while nothing is consumed.

    The k-th re-send waits 4^k times longer, and so does one for a message that may be waiting in line; capped.
    """
    if consumption.paused:
        return None
    steps = row.sends + consumption.may_be_waiting(row)
    wait: int = after_ms * RESEND_GROWTH**steps
    return row.silent_since() + min(wait, max(RESEND_CAP_MS, after_ms))


class Heal(StrEnum):
    """What the sweeper does with a task."""

    SEND = "send"
    RECORD = "record"


def for_sweep(row: Task, now: int, after_ms: int, record_after_ms: int, consumption: Consumption) -> Heal | None:
    """Decide by the row; None: it needs nothing. Of the parked tasks only those that are due may be asked about.

    `after_ms`: without a sign for so long a message counts as lost; `record_after_ms`: so long a dead task's message
    may take through the dead-letter queue.
    """
    match row.index_class:
        case IndexClass.PARKED:
            return Heal.SEND
        case IndexClass.OPEN:
            due_at = resend_due_at(row, after_ms, consumption)
            return Heal.SEND if due_at is not None and due_at < now else None
        case IndexClass.DEAD if row.updated_at + record_after_ms < now:
            return Heal.RECORD
    return None


# What a repeated submit does. ----------------------------------------------------------------------------------------

RESEND_SUBMITTED_AFTER_MS = 60_000
"""A repeated submit sends again only when nothing was sent for so long: until then the first message is on its way."""


def may_resend_submitted(row: Task, now: int, after_ms: int = RESEND_SUBMITTED_AFTER_MS) -> bool:
    """Whether the repeated submit of a task that is there already sends another message for it."""
    silent = row.silent_since() + after_ms < now
    return row.status is Status.SUBMITTED and not row.parked and silent


# What a person may do to a task. -------------------------------------------------------------------------------------


class Answer(StrEnum):
    """Whether a wish of a person can be carried out on the row as it stands."""

    GO = "go"
    DONE_BEFORE = "done_before"
    NO_SUCH_TASK = "no_such_task"
    OPEN = "task_open"
    ENDED = "task_ended"
    UNRECORDED = "not_recorded_yet"


def for_cancel(row: Task | None, now: int) -> Answer:
    """Any open task can be cancelled, a parked or running one too.

    Raises:
        UnknownVersion: another deployment wrote the row.
    """
    if row is None or row.expired(now):
        return Answer.NO_SUCH_TASK
    _check_readable(row)
    if row.status is Status.CANCELLED:
        return Answer.DONE_BEFORE
    return Answer.ENDED if row.status in TERMINAL else Answer.GO


def for_replay(row: Task | None, generation: int | None, now: int) -> Answer:
    """Only a dead task whose dead letter is written can be replayed.

    `generation` is the one that the caller saw dead; with it a repeated call is known as such.

    Raises:
        UnknownVersion: another deployment wrote the row.
    """
    if row is None or row.expired(now):
        return Answer.NO_SUCH_TASK
    _check_readable(row)
    if generation is not None and row.generation > generation:
        return Answer.DONE_BEFORE
    if row.status not in TERMINAL:
        return Answer.OPEN
    if row.status is not Status.FAILED_FINAL or (generation is not None and row.generation < generation):
        return Answer.ENDED
    return Answer.GO if row.index_class is IndexClass.RECORDED else Answer.UNRECORDED


def _check_readable(row: Task) -> None:
    if not row.readable:
        raise UnknownVersion(f"row version {row.version}, this code knows {READABLE}")
