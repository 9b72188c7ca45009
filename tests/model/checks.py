"""The guarantees as predicates: of one write, of one state, of a state in which nothing more happens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lambdas.common.decisions import WORKER_DIED
from lambdas.common.task import MAX_HAND_BACKS, TERMINAL
from tests.model.state import NONE, Ghost, Order, Row, State

HOLDERS = ("complete", "retry", "park", "die")
CLASSES: Mapping[str, str] = {
    "SUBMITTED": "OS",
    "PROCESSING": "O",
    "FAILED_PENDING": "OS",
    "COMPLETED": "C",
    "FAILED_FINAL": "DF",
    "CANCELLED": "X",
}


# A write that was made. ----------------------------------------------------------------------------------------------


def of_write(row: Row, order: Order, new: Row) -> str | None:
    """The guarantee that this change of the row breaks, or None. Judged by the rows alone, not by its condition."""
    if row.status in TERMINAL and (broken := _terminal(row, order, new)):
        return broken
    if new.generation != row.generation and order.name != "replay":
        return "I3 a generation began without a replay"
    by_name = _OF_WRITE.get(order.name)
    return by_name(row, order, new) if by_name else None


def _terminal(row: Row, order: Order, new: Row) -> str | None:
    if order.name == "mark_recorded":
        return None if new.status == row.status == "FAILED_FINAL" else "I3 a terminal state was changed by its record"
    if order.name == "replay":
        fits = row.status == "FAILED_FINAL" and new.generation == row.generation + 1
        return None if fits else "I3 something other than a dead task was replayed"
    return f"I3 a terminal state was changed by {order.name}"


def _claimed(row: Row, order: Order, new: Row) -> str | None:
    if order.generation != row.generation:
        return "I3 a message of another generation began an attempt"
    if row.index_class != "O":
        return "I12 a parked task was claimed"
    if new.attempts != row.attempts + 1 or new.attempts > row.max_attempts:
        return "I4 attempts not counted one by one, or beyond the largest number"
    if _leased(row):
        return "I7 an attempt began under a live lease"
    return "I2 an attempt began before its backoff was over" if row.due > 0 else None


def _finished(row: Row, order: Order, new: Row) -> str | None:
    held = order.read
    assert isinstance(held, Row)
    valid = row.status == "PROCESSING" and (row.token, row.generation) == (held.token, held.generation)
    return None if valid else "I7 a stale worker changed the row"


def _buried(row: Row, order: Order, new: Row) -> str | None:
    if _foreign(order, row):
        return "I8 a message of another generation changed the task"
    if row.index_class == "S" or _leased(row) or row.due > 0:
        return "I8 a live task was given up: leased, waiting or parked"
    if order.note == WORKER_DIED and row.attempts < row.max_attempts:
        return "I2 a task with attempts left was given up as if its worker had died of the last"
    return None if _unchanged(row, order) else "I7 a task was given up that had changed since it was read"


def _handed_back(row: Row, order: Order, new: Row) -> str | None:
    if _foreign(order, row):
        return "I8 a message of another generation changed the task"
    if _leased(row):
        return "I8 a task was handed back under a live lease"
    if row.due > 0:
        return "I8 a waiting task was handed back"
    if len(new.handed_back) > MAX_HAND_BACKS:
        return "I2 more messages were handed back than allowed"
    return None if _unchanged(row, order) else "I7 a task was handed back that had changed since it was read"


def _marked(row: Row, order: Order, new: Row) -> str | None:
    if _foreign(order, row):
        return "I8 a sender's old read marked a newer generation"
    if _leased(row) or row.due > 0:
        return "I2 a task in hand was marked as sent again"
    read = order.read
    assert isinstance(read, Row)
    return None if read.sent == row.sent else "I2 two senders passed with one read"


def _recorded(row: Row, order: Order, new: Row) -> str | None:
    if _foreign(order, row):
        return "I8 the record of one generation moved another"
    if row.status != "FAILED_FINAL":
        return "I8 a task that is not dead was marked as recorded"
    return None if row.index_class == "D" else "I8 a recorded task was marked again"


def _cancelled(row: Row, order: Order, new: Row) -> str | None:
    return None if _unchanged(row, order) else "I7 a task was cancelled that had changed since it was read"


def _replayed(row: Row, order: Order, new: Row) -> str | None:
    if _foreign(order, row):
        return "I3 a replay of one generation replayed another"
    return None if row.index_class == "F" else "I8 a dead task was replayed before it was recorded"


def _foreign(order: Order, row: Row) -> bool:
    return isinstance(order.read, Row) and order.read.generation != row.generation


def _unchanged(row: Row, order: Order) -> bool:
    read = order.read
    assert isinstance(read, Row)
    return (read.status, read.token, read.attempts) == (row.status, row.token, row.attempts)


def _leased(row: Row) -> bool:
    return row.status == "PROCESSING" and row.lease >= 0


_OF_WRITE: Mapping[str, Callable[[Row, Order, Row], str | None]] = {
    "claim": _claimed,
    **dict.fromkeys(HOLDERS, _finished),
    "bury": _buried,
    "hand_back": _handed_back,
    "mark_sent": _marked,
    "mark_recorded": _recorded,
    "cancel": _cancelled,
    "replay": _replayed,
}


def of_timeline(before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    """A write that logs names the generation and the status that the row then has."""
    if len(after["timeline"]) <= len(before["timeline"]):
        return None
    entry = after["timeline"][-1]
    fits = (entry["generation"], str(entry["status"])) == (after["generation"], str(after["status"]))
    return None if fits else "I14 the timeline names another generation or status than the row"


# A state. ------------------------------------------------------------------------------------------------------------


def of_row(row: Row | tuple[()], ghost: Ghost) -> str | None:
    """What must hold of the row and of what was counted beside it, in every state."""
    if not row:
        happened = ghost.effects or ghost.records or ghost.dead
        return "I9 something happened to a task that does not exist" if happened else None
    if row.index_class not in CLASSES[row.status]:
        return f"the index has {row.status} in class {row.index_class}"
    if row.attempts > row.max_attempts:
        return "I4 more attempts than allowed"
    if row.expires != (row.index_class in "CFX"):
        return "I1 an unfinished task expires, or a finished one does not"
    return _counts(row, ghost)


def _counts(row: Row, ghost: Ghost) -> str | None:
    if ghost.effects != ((row.generation,) if row.status == "COMPLETED" else ()):
        return "I6 effects of a task that did not complete, or not exactly once"
    if any(generation not in ghost.dead for generation in ghost.records):
        return "I8 a generation that is not dead has a dead letter"
    if row.index_class == "F" and row.generation not in ghost.records:
        return "I8 a task counts as recorded without a dead letter"
    return None


def at_rest(state: State) -> str | None:
    """Why a state in which nothing more happens is no good end, or None."""
    row, ghost = state.row, state.ghost
    if state.entries:
        return "stuck: a message waits that nobody takes"
    if state.actors or state.zombies:
        return "stuck: somebody waits for ever"
    if not row:
        return None
    if row.status not in TERMINAL:
        return f"stuck: the task rests as {row.status} in class {row.index_class}, and nothing will carry it on"
    if row.index_class == "D" or ghost.records != ghost.dead:
        return "I8 a dead generation rests without a dead letter"
    return None


def hangs_on(state: State, row: Row | tuple[()], generation: int, message: int) -> bool:
    """Whether this message is all that could carry the open task on, but for the sweeper.

    A copy (the row names another message) may go: that is what the sweeper answers for.
    """
    if not row or row.generation != generation or row.index_class != "O" or row.message not in (NONE, message):
        return False
    still_there = any(entry.message == message and not entry.dlq for entry in state.entries)
    others = any(entry.message != message and entry.generation == generation for entry in state.entries)
    owed = any(actor.phase == "send" and actor.generation == generation for actor in state.actors)
    return still_there and not others and not owed
