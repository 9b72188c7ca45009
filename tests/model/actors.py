"""Worker, monitor, sweeper and client as small step machines; between any two steps anything else may happen.

Each follows its use case line by line (attempt.py, batch.py, monitor.py, dead_letters.py, sweep.py, submit.py,
steer.py); what they decide and what they write is the deployed code, called through `Rules`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from lambdas.common.decisions import (
    UNDELIVERABLE,
    Acknowledge,
    Answer,
    Bury,
    Consumption,
    Defer,
    Drop,
    HandBack,
    Heal,
    OwnWrite,
    Record,
    Stray,
)
from lambdas.common.store import Refused
from lambdas.common.task import MAX_HAND_BACKS, Message, Status
from tests.model import checks, environment
from tests.model.environment import Table
from tests.model.rules import CRASH, HANG, LOST_ANSWER, SLOW, UNKNOWN, Bounds, Rules
from tests.model.state import (
    ACKNOWLEDGE,
    FRESH,
    LEAVE,
    NONE,
    NOW,
    TASK_ID,
    TICK,
    Actor,
    Entry,
    Ghost,
    Order,
    Row,
    State,
    message_name,
    milliseconds,
    task_of,
)


class Step(NamedTuple):
    """One way on: what the state is then, but for the names."""

    text: str
    row: Row | tuple[()]
    ghost: Ghost
    entries: tuple[Entry, ...]
    actor: Actor | None
    """The actor as it goes on; None: it has ended."""
    zombies: tuple[tuple[Order, bool], ...]
    violation: str | None = None
    fault: str | None = None


ENDINGS = ("complete", "retry", "park", "die")
STATUS_AFTER = {
    "complete": Status.COMPLETED,
    "retry": Status.FAILED_PENDING,
    "park": Status.FAILED_PENDING,
    "die": Status.FAILED_FINAL,
}
NOT_PAUSED = Consumption(paused=False, waiting=False, reached=0)
"""SQS counts approximately and may show none waiting: the most eager sweeper."""


@dataclass(frozen=True)
class Actors:
    rules: Rules
    bounds: Bounds
    table: Table

    # What an actor may do next. --------------------------------------------------------------------------------------

    def steps(self, state: State, actor: Actor) -> Iterator[Step]:
        """Every step of one actor, and every fault that may strike it now."""
        yield from _STEPS[actor.phase](self, state, actor._replace(slow=False) if actor.slow else actor)
        if state.left.faults:
            yield from self._struck(state, actor)

    def _struck(self, state: State, actor: Actor) -> Iterator[Step]:
        kinds = self.bounds.kinds
        if CRASH in kinds and (self.bounds.unsent or not _holds_unsent(actor)):
            yield _step(state, "crashes", None, fault=CRASH)
        if SLOW in kinds and not actor.slow:
            yield _step(state, "stops for a while", actor._replace(slow=True), fault=SLOW)

    # Writes. ---------------------------------------------------------------------------------------------------------

    def _writes(self, state: State, actor: Actor, order: Order) -> Iterator[Step]:
        """The order carried out; or with one of the faults that strike a request."""
        row, ghost, violation = self.carried_out(state, order)
        if order.name == "claim" and row is not None and actor.landed:
            violation = violation or "I5 one delivery began two attempts"
        zombies = _seen_landing(state.zombies, order) if row is not None and state.zombies else state.zombies
        after = self._after(state, actor, order, row)
        done = _text(order, row)
        now = state.row if row is None else row
        violation = violation or self._acknowledged(state, now, actor, after)
        yield Step(done, now, ghost, state.entries, after, zombies, violation)
        if not state.left.faults:
            return
        kinds, again = self.bounds.kinds, actor._replace(phase="write", order=order)
        if LOST_ANSWER in kinds and row is not None:
            text = done + "; the answer is lost, the SDK will repeat it"
            repeated = again._replace(landed=True)
            yield Step(text, now, ghost, state.entries, repeated, zombies, violation, LOST_ANSWER)
        if HANG in kinds and not state.zombies:
            text = f"{order.name}: hangs, the SDK will repeat it"
            hanging = ((order, actor.landed),)
            yield Step(text, state.row, state.ghost, state.entries, again, hanging, None, HANG)
        if UNKNOWN in kinds and order.name == "complete":
            yield from self._completed_unknown(
                state, actor, order, Step(done, now, ghost, state.entries, None, zombies)
            )

    def _completed_unknown(self, state: State, actor: Actor, order: Order, made: Step) -> Iterator[Step]:
        """`deliver` catches the error of a commit of unknown outcome and ends the attempt as failed."""
        assert isinstance(order.read, Row)
        for failure in self._failures(order.read):
            failing = actor._replace(phase="write", order=failure, read=(), landed=False)
            text = f"{made.text}; but the outcome stays unknown, so it will write {failure.name}"
            yield made._replace(text=text, actor=failing, fault=UNKNOWN)
            if not state.zombies:
                text = f"complete: hangs, its outcome stays unknown, so it will write {failure.name}"
                yield _step(state, text, failing, zombies=((order, False),), fault=UNKNOWN)

    def carried_out(self, state: State, order: Order) -> tuple[Row | None, Ghost, str | None]:
        row, violation = self.table.write(state.row, order)
        if row is None or not state.row:
            return row, state.ghost, violation
        ghost = _counted(state.ghost, order, state.row, row)
        if order.name == "bury" and order.note == UNDELIVERABLE:
            handed = {*state.ghost.handed_back, order.message}
            if len(handed) <= MAX_HAND_BACKS:
                violation = violation or "I2 given up as undeliverable before so many messages came back"
        return row, ghost, violation

    def _after(self, state: State, actor: Actor, order: Order, row: Row | None) -> Actor | None:
        """How the maker of an order goes on; `row` is None when it was refused by the row of the state."""
        go_on = actor._replace(order=(), landed=False)
        if actor.role == "worker":
            if order.name == "claim":
                return self._after_claim(state, go_on, order, row)
            if order.name == "bury":
                return go_on._replace(phase="end", hide=1 if row is None else 0, read=())
            return self._after_ending(state, go_on, order, row)
        match order.name:
            case "bury":
                return go_on._replace(phase="read")
            case "hand_back" | "mark_sent" | "replay" if row is not None:
                return go_on._replace(phase="send", generation=row.generation, number=1)
            case "hand_back":
                return go_on._replace(phase="read")
            case "mark_sent":
                return None
            case "mark_recorded":
                return go_on._replace(phase="delete", read=()) if actor.role == "monitor" else None
            case "put":
                return self._after_put(state, go_on, order, row)
        return self._after_wish(state, go_on, order, row)

    def _acknowledged(self, state: State, row: Row | tuple[()], before: Actor, after: Actor | None) -> str | None:
        """The own predicate of acknowledging, judged at the decision: the act itself may land late."""
        if after is None or after.role != "worker" or after.phase != "end" or after.hide != ACKNOWLEDGE:
            return None
        if not self.bounds.judge_acknowledging or not checks.hangs_on(state, row, before.generation, before.message):
            return None
        return "own: acknowledged the only message that could carry the open task"

    # The worker (attempt.py, batch.py). ------------------------------------------------------------------------------

    def _claim(self, state: State, actor: Actor) -> Iterator[Step]:
        wish = Order("claim", (), actor.generation, actor.message, FRESH, 0, self.bounds.lease)
        if not state.row:
            after = self._after_claim(state, actor, wish, None)
            yield _step(state, "claim: no such task", after)
            return
        yield from self._writes(state, actor, wish)

    def _after_claim(self, state: State, actor: Actor, order: Order, row: Row | None) -> Actor:
        if row is not None:
            return actor._replace(phase="work", read=self._held(row, order))
        task = task_of(state.row) if state.row else None
        match self.rules.after_refused_claim(task, environment.claim_of(order)):
            case OwnWrite():
                assert state.row
                return actor._replace(phase="work", read=self._held(state.row, order))
            case Bury(error):
                assert state.row
                bury = Order("bury", state.row, token=FRESH, now=order.now, note=error)
                return actor._replace(phase="write", order=bury)
            case Acknowledge():
                return actor._replace(phase="end", hide=ACKNOWLEDGE)
            case Defer(_, seconds):
                return actor._replace(phase="end", hide=LEAVE if seconds is None else seconds)
        raise AssertionError("no rule")

    def _held(self, row: Row, claim: Order) -> Row:
        """The claimed row, and when the next attempt may be due at the earliest: after the claim at any rate.

        Only where a wait can be shorter than a tick does that change anything.
        """
        return held(row) if self.bounds.backoff > 0 else held(row)._replace(due=max(0, claim.now + 1))

    def _work(self, state: State, actor: Actor) -> Iterator[Step]:
        """The work ends, in each way it can, and the worker writes how."""
        claimed = actor.read
        assert isinstance(claimed, Row)
        ending = actor._replace(read=())
        for order in (Order("complete", claimed), *self._failures(claimed)):
            yield from self._writes(state, ending, order)

    def _failures(self, claimed: Row) -> Iterator[Order]:
        """`Worker.fail`: die of the last attempt or of a permanent error, else wait or park."""
        last = claimed.attempts >= claimed.max_attempts
        if last or self.bounds.permanent:
            yield Order("die", claimed)
        if not last:
            yield Order("retry", claimed, until=max(self.bounds.backoff, claimed.due))
            if self.bounds.parking:
                yield Order("park", claimed, until=max(self.bounds.parked, claimed.due))

    def _after_ending(self, state: State, actor: Actor, order: Order, row: Row | None) -> Actor:
        assert isinstance(order.read, Row)
        task = task_of(order.read)
        written = Refused(task_of(state.row) if state.row else None) if row is None else None
        if not self.rules.as_written(task, written, STATUS_AFTER[order.name]):
            if self.rules.as_written(task, written, Status.COMPLETED):
                return actor._replace(phase="end", hide=ACKNOWLEDGE)
            stale = self.rules.stale(task)
            seconds = LEAVE if stale.visibility_seconds is None else stale.visibility_seconds
            return actor._replace(phase="end", hide=ACKNOWLEDGE if stale.acknowledge else seconds)
        hide = {"complete": ACKNOWLEDGE, "die": 0, "retry": self.bounds.backoff, "park": ACKNOWLEDGE}[order.name]
        return actor._replace(phase="end", hide=hide)

    def _write(self, state: State, actor: Actor) -> Iterator[Step]:
        assert actor.order
        yield from self._writes(state, actor, actor.order)

    def _end(self, state: State, actor: Actor) -> Iterator[Step]:
        """Set the visibility, or let SQS delete; then the invocation is over."""
        if actor.hide == LEAVE:
            yield _step(state, "ends, leaving its message hidden", None)
        elif actor.hide == ACKNOWLEDGE:
            for entries in environment.deletions(state.entries, 0, actor.message, actor.number):
                text = "acknowledges" + (" (too late: it stays)" if entries is state.entries else "")
                yield _step(state, text, None, entries=entries)
        else:
            for entries in environment.hidings(state.entries, actor.message, actor.number, actor.hide):
                text = f"hides its message for {actor.hide}"
                yield _step(state, text, None, entries=entries)

    # The monitor (monitor.py, dead_letters.py). ----------------------------------------------------------------------

    def _read(self, state: State, actor: Actor) -> Iterator[Step]:
        if actor.role != "monitor":
            yield self._wished(state, actor)
            return
        row = state.row
        message = Message(TASK_ID, actor.generation)
        name = message_name(actor.message)
        decision = self.rules.for_dead_message(task_of(row) if row else None, message, name, NOW)
        match decision:
            case Bury(error):
                order = Order("bury", row, message=actor.message, token=FRESH, note=error)
                after = actor._replace(phase="write", order=order)
            case HandBack():
                order = Order("hand_back", row, message=actor.message, token=FRESH)
                after = actor._replace(phase="write", order=order)
            case Record():
                after = actor._replace(phase="record", read=row)
            case Drop() | Stray():
                after = actor._replace(phase="delete")
            case _:
                raise AssertionError(f"no rule for {decision}")
        yield _step(state, f"reads the row: {type(decision).__name__}", after)

    def _record(self, state: State, actor: Actor) -> Iterator[Step]:
        dead = actor.read
        assert isinstance(dead, Row)
        written = dead.generation in state.ghost.records
        put = self.table.record(written)
        violation = "I8 a dead letter was written twice" if put and written else None
        records = state.ghost.records
        if put and not written:
            records = tuple(sorted((*records, dead.generation)))
        ghost = state.ghost._replace(records=records)
        order = Order("mark_recorded", dead, token=FRESH)
        made = Step("writes the dead letter", state.row, ghost, state.entries, None, state.zombies, violation)
        yield made._replace(actor=actor._replace(phase="write", order=order, read=()))
        if put and state.left.faults and LOST_ANSWER in self.bounds.kinds:
            yield made._replace(text=made.text + "; the answer is lost", actor=actor, fault=LOST_ANSWER)

    def _delete(self, state: State, actor: Actor) -> Iterator[Step]:
        for entries in environment.deletions(state.entries, 1, actor.message, actor.number):
            text = "lets its message go" + (" (too late: it stays)" if entries is state.entries else "")
            yield _step(state, text, None, entries=entries)

    def _send(self, state: State, actor: Actor) -> Iterator[Step]:
        entries = environment.sent(state.entries, actor.generation)
        after: Actor | None = actor._replace(number=actor.number - 1)
        if actor.number <= 1:
            after = (
                actor._replace(phase="delete", number=self._receipt(state, actor)) if actor.role == "monitor" else None
            )
        yield _step(state, "sends a message", after, entries=entries)
        if state.left.faults and LOST_ANSWER in self.bounds.kinds:
            yield _step(
                state, "sends a message; the answer is lost, it will be sent again", actor, entries, fault=LOST_ANSWER
            )

    def _receipt(self, state: State, actor: Actor) -> int:
        """The monitor kept its receipt in `hide` while `number` counted what it sends."""
        return actor.hide

    # The sweeper (sweep.py). -----------------------------------------------------------------------------------------

    def sweep(self, row: Row | tuple[()]) -> Actor | None:
        """What the sweeper begins when it reads this row; None: it leaves it alone."""
        if not row:
            return None
        if row.index_class == "S" and row.due > 0:  # the index is read up to the due time
            return None
        after_ms, record_after_ms = self.bounds.resend_after * TICK, self.bounds.record_after * TICK
        match self.rules.for_sweep(task_of(row), NOW, after_ms, record_after_ms, NOT_PAUSED):
            case Heal.SEND:
                return Actor("sweeper", "write", order=Order("mark_sent", row))
            case Heal.RECORD:
                return Actor("sweeper", "record", read=row)
        return None

    # The client (submit.py, steer.py). -------------------------------------------------------------------------------

    def _after_put(self, state: State, actor: Actor, order: Order, row: Row | None) -> Actor | None:
        if row is not None or (state.row and state.row.token == order.token):
            return actor._replace(phase="send", generation=1, number=self.bounds.messages)
        existing = state.row
        assert isinstance(existing, Row)
        # As `submit` does, by the moment at which it began: it may have waited since.
        after_ms = self.bounds.resubmit_after * TICK
        if self.rules.may_resend_submitted(task_of(existing), milliseconds(order.now), after_ms):
            return actor._replace(phase="write", order=Order("mark_sent", existing, now=order.now))
        return None

    def _wished(self, state: State, actor: Actor) -> Step:
        after = self.wish(state.row, actor.role)
        return _step(state, "reads the row" + ("" if after else ": refused"), after)

    def wish(self, row: Row | tuple[()], role: str) -> Actor | None:
        """Somebody cancels or replays: read, decide; the write is the next step. None: refused."""
        if not row:
            return None
        task = task_of(row)
        answer = self.rules.for_cancel(task, NOW) if role == "cancel" else self.rules.for_replay(task, None, NOW)
        return Actor(role, "write", order=Order(role, row, token=FRESH)) if answer is Answer.GO else None

    def _after_wish(self, state: State, actor: Actor, order: Order, row: Row | None) -> Actor | None:
        """`_own`: made, or refused by the very write it repeats; else read again."""
        own = row is not None or (state.row and state.row.token == order.token)
        if not own:
            return actor._replace(phase="read")
        if order.name == "cancel":
            return None
        assert isinstance(order.read, Row)
        return actor._replace(phase="send", generation=order.read.generation + 1, number=1)


_STEPS: dict[str, Callable[[Actors, State, Actor], Iterator[Step]]] = {
    "claim": Actors._claim,
    "work": Actors._work,
    "write": Actors._write,
    "end": Actors._end,
    "read": Actors._read,
    "record": Actors._record,
    "delete": Actors._delete,
    "send": Actors._send,
}


@cache
def held(row: Row) -> Row:
    """A claimed row, less what its holder's writes do not look at (compare `test_the_holder_needs_no_more`)."""
    return row._replace(lease=NONE, due=NONE, sent=0, updated=0, sends=0, message=NONE, handed_back=())


def _step(
    state: State,
    text: str,
    actor: Actor | None,
    entries: tuple[Entry, ...] | None = None,
    zombies: tuple[tuple[Order, bool], ...] | None = None,
    fault: str | None = None,
) -> Step:
    """A step that writes no row."""
    return Step(
        text,
        state.row,
        state.ghost,
        state.entries if entries is None else entries,
        actor,
        state.zombies if zombies is None else zombies,
        None,
        fault,
    )


def _counted(ghost: Ghost, order: Order, row: Row, new: Row) -> Ghost:
    """What the checks remember of a write that was made."""
    match order.name:
        case "complete":
            return ghost._replace(effects=tuple(sorted((*ghost.effects, row.generation))))
        case "die" | "bury":
            return ghost._replace(dead=tuple(sorted({*ghost.dead, new.generation})))
        case "hand_back":
            return ghost._replace(handed_back=tuple(sorted({*ghost.handed_back, order.message})))
        case "replay":
            return ghost._replace(handed_back=())
    return ghost


def _seen_landing(zombies: tuple[tuple[Order, bool], ...], order: Order) -> tuple[tuple[Order, bool], ...]:
    """A request still on its way learns that its repetition has landed (I5 counts by it)."""
    return tuple((other, landed or other == order) for other, landed in zombies)


def _holds_unsent(actor: Actor) -> bool:
    """It owes a message that nobody else will send. A monitor's is sent when its own message comes again."""
    return actor.phase == "send" and actor.role != "monitor"


def _text(order: Order, row: Row | None) -> str:
    if row is None:
        return f"{order.name}: refused"
    more = f" {row.attempts}" if order.name == "claim" else f" ({order.note.split(':')[0]})" if order.note else ""
    return f"{order.name}{more}: {row.status}, class {row.index_class}, generation {row.generation}"
