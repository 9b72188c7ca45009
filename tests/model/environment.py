"""What is assumed about DynamoDB and SQS: all of it, in one place.

DynamoDB
- A write to one item is atomic, its condition and its update see the same row, a refused one changes nothing and comes
  back with the row that stood against it. Conditions and updates are the deployed expressions, evaluated.
- An answer can be lost after the write was made; the SDK then repeats the same request, values and all (LOST_ANSWER).
- A request that timed out at the client can still land, at any time, before or after its own repetition (HANG).
- Plain reads are consistent; they can be arbitrarily old when they are acted on (SLOW).

SQS
- A message once sent is not lost: it stays in the queue until it is deleted.
- A receive adds one to its receive count and hides it for the visibility time-out; at the latest after that it is
  visible again, perhaps earlier (DUPLICATE). Each receive has a receipt handle of its own (here: the receive count).
- A receive after `max_receives` moves the message to the dead-letter queue instead: same message id, new count.
- Deleting with the latest receipt handle deletes. With an older one it may or may not. A change of the visibility
  works for the latest receipt while the message is hidden; for an older one it may or may not (the API allows both).
- Sending twice makes two messages with two ids. Order is not kept: any visible message may be received next.
- A receive may be counted that nobody got (a crash before the claim; BURNT uses up all of them at once).

Time passes only when nobody can act without it: a prompt actor is infinitely fast, a SLOW one takes any time. It
passes up to the next moment at which any comparison with the clock could change.
"""

from __future__ import annotations

from typing import Any

from lambdas.common import rows
from lambdas.common.task import Claim, Message
from lambdas.common.transitions import Write
from lambdas.common.wire import conjunction, update_expression
from tests.model import checks
from tests.model.rules import Rules
from tests.model.state import (
    CREATED,
    FAR_SECONDS,
    FRESH,
    NONE,
    NOW,
    TASK_ID,
    Entry,
    Order,
    Row,
    message_name,
    milliseconds,
    row_of,
    task_of,
    token_name,
)
from tests.support.expressions import holds, updated


class Table:
    """The state row and its dead letters, written by the deployed expressions. Remembers every answer."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._answers: dict[tuple[Row | tuple[()], Order], tuple[Row | None, str | None]] = {}

    def write(self, row: Row | tuple[()], order: Order) -> tuple[Row | None, str | None]:
        """The new row (None: refused), and which guarantee the change broke."""
        key = (row, order)
        answer = self._answers.get(key)
        if answer is None:
            answer = self._answers[key] = self._evaluated(row, order)
        return answer

    def _evaluated(self, row: Row | tuple[()], order: Order) -> tuple[Row | None, str | None]:
        if order.name == "put":
            new = self._put(row, order)
            return new, "I11 a task was written over by another put" if row and new else None
        write = self.built(order)
        before: dict[str, Any] = dict(rows.row_of(task_of(row))) if row else {}
        if not holds(conjunction(write.conditions), before, write.values):
            return None, None
        after = updated(update_expression(write), before, write.values)
        assert row, "a write other than the put was made without a row"
        new = row_of(rows.task_of(after))
        return new, checks.of_write(row, order, new) or checks.of_timeline(before, after)

    def _put(self, row: Row | tuple[()], order: Order) -> Row | None:
        before: dict[str, Any] = dict(rows.row_of(task_of(row))) if row else {}
        if not holds(conjunction(self._rules.absent), before, {":nowSeconds": NOW // 1000}):
            return None
        assert isinstance(order.read, Row)
        return order.read

    def record(self, written: bool) -> bool:
        """Whether the put of a dead letter is made, beside one that was written before in this life of the task."""
        before: dict[str, Any] = {"PK": rows.partition(TASK_ID), "recordedAt": NOW} if written else {}
        return holds(conjunction(self._rules.record_absent), before, {":createdAt": CREATED})

    def built(self, order: Order) -> Write:
        """The deployed write for an order, with the arguments that its maker gives."""
        rules, now, token = self._rules, milliseconds(order.now), token_name(order.token)
        if order.name == "claim":
            return rules.claim(claim_of(order))
        assert isinstance(order.read, Row)
        task = task_of(order.read)
        match order.name:
            case "complete":
                return rules.complete(task, now, None, FAR_SECONDS)
            case "retry" | "park":
                make = rules.retry if order.name == "retry" else rules.park
                return make(task, now, "Oops", milliseconds(order.until))
            case "die":
                return rules.die(task, now, "Oops")
            case "bury":
                return rules.bury(task, now, order.note, token)
            case "mark_recorded":
                return rules.mark_recorded(task, FAR_SECONDS, token)
            case "hand_back":
                return rules.hand_back(task, message_name(order.message), now, token)
            case "mark_sent":
                return rules.mark_sent(task, now)
            case "cancel":
                return rules.cancel(task, now, FAR_SECONDS, token)
            case "replay":
                return rules.replay(task, now, token)
        raise AssertionError(order.name)


def claim_of(order: Order) -> Claim:
    return Claim(
        Message(TASK_ID, order.generation),
        message_name(order.message),
        token_name(order.token),
        milliseconds(order.now),
        milliseconds(order.until),
    )


# The queues. ---------------------------------------------------------------------------------------------------------


def sent(entries: tuple[Entry, ...], generation: int) -> tuple[Entry, ...]:
    return (*entries, Entry(0, generation, 0, 0, False, FRESH))


def received(entries: tuple[Entry, ...], entry: Entry, visibility: int) -> tuple[Entry, ...]:
    return _changed(entries, entry, entry._replace(receives=entry.receives + 1, hidden=visibility, late=False))


def moved_to_dlq(entries: tuple[Entry, ...], entry: Entry) -> tuple[Entry, ...]:
    return _changed(entries, entry, Entry(1, entry.generation, 0, 0, False, entry.message))


def shown(entries: tuple[Entry, ...], entry: Entry) -> tuple[Entry, ...]:
    """Delivered again though hidden."""
    return _changed(entries, entry, entry._replace(hidden=0))


def burnt(entries: tuple[Entry, ...], entry: Entry, max_receives: int) -> tuple[Entry, ...]:
    return _changed(entries, entry, entry._replace(receives=max_receives))


def delayed(entries: tuple[Entry, ...], entry: Entry) -> tuple[Entry, ...]:
    return _changed(entries, entry, entry._replace(late=True))


def deletions(entries: tuple[Entry, ...], dlq: int, message: int, receipt: int) -> list[tuple[Entry, ...]]:
    """What the queue may be after a delete with this receipt."""
    entry = _find(entries, dlq, message)
    if entry is None:
        return [entries]
    gone = tuple(other for other in entries if other is not entry)
    return [gone] if entry.receives == receipt else [gone, entries]


def hidings(entries: tuple[Entry, ...], message: int, receipt: int, ticks: int) -> list[tuple[Entry, ...]]:
    """What the queue may be after a change of the visibility with this receipt."""
    entry = _find(entries, 0, message)
    if entry is None or not entry.hidden:
        return [entries]
    changed = _changed(entries, entry, entry._replace(hidden=ticks))
    return [changed] if entry.receives == receipt or changed == entries else [changed, entries]


def _find(entries: tuple[Entry, ...], dlq: int, message: int) -> Entry | None:
    for entry in entries:
        if entry.message == message and entry.dlq == dlq:
            return entry
    return None


def _changed(entries: tuple[Entry, ...], old: Entry, new: Entry) -> tuple[Entry, ...]:
    return tuple([new if entry is old else entry for entry in entries])


def first_row(attempts: int, handed_back: int) -> Row:
    """The row of the first put. `handed_back` messages of earlier days are in its set, none of them still there."""
    return Row(
        "SUBMITTED", "O", 1, 0, attempts, NONE, NONE, 0, 0, 0, False, FRESH, NONE, tuple(range(50, 50 + handed_back))
    )
