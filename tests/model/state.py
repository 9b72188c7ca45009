"""One state of the system as nested tuples of small numbers, so that equal states are equal keys.

Times are ticks from now (negative: past), since only differences decide. Tokens and message ids are numbers, renamed
by order of appearance, since only equality decides. What decides nothing is left out: timeline, payload, result, error.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from lambdas.common.task import IndexClass, Status, Task

NONE = -1_000_000
"""Stands for an attribute that is not there; smaller than any time."""
OLDEST = -1_100
"""What lies further back is all the same: beyond every waiting time of the model (resend 4 x 4^4)."""
FRESH = 99
"""A token or message id just made; becomes the next free number when the state is renamed."""

TASK_ID = "task-1"
TICK = 1000
NOW = 100_000_000
"""The present, in milliseconds, whenever a row of the model is shown to deployed code."""
CREATED = NOW - 10_000_000
FAR_SECONDS = NOW // 1000 + 2_000_000


class Row(NamedTuple):
    """The state row."""

    status: str
    index_class: str
    generation: int
    attempts: int
    max_attempts: int
    lease: int
    due: int
    sent: int
    updated: int
    """Only of a dead, unrecorded row: the sweeper waits from here."""
    sends: int
    expires: bool
    token: int
    message: int
    handed_back: tuple[int, ...]


class Order(NamedTuple):
    """A write on its way: which, with what its maker had read, and when it was made."""

    name: str
    read: Row | tuple[()] = ()
    generation: int = 0
    message: int = NONE
    token: int = NONE
    now: int = 0
    until: int = NONE
    """Lease of a claim, due time of a retry or park."""
    note: str = ""


class Actor(NamedTuple):
    """One invocation: what it will do next and what it remembers."""

    role: str
    phase: str
    slow: bool = False
    generation: int = 0
    """Of the message it was given, or is about to send."""
    number: int = 0
    """Of a delivery: its receive count, which stands for the receipt handle. Of a sender: messages still to send."""
    hide: int = 0
    """Seconds of the visibility to set at the end; LEAVE or ACKNOWLEDGE else."""
    landed: bool = False
    """Its order was carried out before, and the answer was lost."""
    message: int = NONE
    order: Order | tuple[()] = ()
    read: Row | tuple[()] = ()
    """A claimed row (a worker), or the dead one to record."""


LEAVE = -1
ACKNOWLEDGE = -2


class Entry(NamedTuple):
    """A message in the queue (`dlq` 0) or in the dead-letter queue (1)."""

    dlq: int
    generation: int
    receives: int
    hidden: int
    """Ticks until it is visible."""
    late: bool
    message: int


class Ghost(NamedTuple):
    """What the checks remember beside the system itself."""

    records: tuple[int, ...]
    """Generations with a dead letter, sorted."""
    effects: tuple[int, ...]
    """A generation for each time that its effects were committed, sorted."""
    dead: tuple[int, ...]
    """Generations that ended as FAILED_FINAL, sorted."""
    handed_back: tuple[int, ...]
    """Messages handed back in this generation, however the row keeps them."""


class Left(NamedTuple):
    """What may still happen."""

    faults: int
    cancels: int
    replays: int
    resubmits: int


class State(NamedTuple):
    row: Row | tuple[()]
    ghost: Ghost
    entries: tuple[Entry, ...]
    actors: tuple[Actor, ...]
    zombies: tuple[tuple[Order, bool], ...]
    """Requests cut off by a time-out that will still land; whether the repeated request has landed before."""
    left: Left


# Rows as tasks and back. ---------------------------------------------------------------------------------------------


def milliseconds(ticks: int) -> int:
    return NOW + ticks * TICK


def _time(ticks: int) -> int | None:
    return None if ticks == NONE else milliseconds(ticks)


def _ticks(at: int | None) -> int:
    return NONE if at is None else max(OLDEST, (at - NOW) // TICK)


def token_name(token: int) -> str:
    return f"token-{token}"


def message_name(message: int) -> str:
    return f"message-{message}"


def _number(name: str) -> int:
    return int(name.split("-")[1])


@cache
def task_of(row: Row) -> Task:
    """The row as the deployed code sees it."""
    return Task(
        task_id=TASK_ID,
        kind="simulated",
        status=Status(row.status),
        index_class=IndexClass(row.index_class),
        generation=row.generation,
        attempts=row.attempts,
        max_attempts=row.max_attempts,
        token=token_name(row.token),
        body_hash="hash",
        created_at=CREATED,
        updated_at=milliseconds(row.updated),
        sent_at=milliseconds(row.sent),
        sends=row.sends,
        lease_until=_time(row.lease),
        next_attempt_at=_time(row.due),
        message_id=None if row.message == NONE else message_name(row.message),
        handed_back=frozenset(map(message_name, row.handed_back)),
        payload="{}",
        expires_at_seconds=FAR_SECONDS if row.expires else None,
    )


def row_of(task: Task) -> Row:
    dead = task.index_class is IndexClass.DEAD
    return Row(
        status=str(task.status),
        index_class=str(task.index_class),
        generation=task.generation,
        attempts=task.attempts,
        max_attempts=task.max_attempts,
        lease=_ticks(task.lease_until),
        due=_ticks(task.next_attempt_at),
        sent=_ticks(task.sent_at),
        updated=_ticks(task.updated_at) if dead else 0,
        sends=task.sends,
        expires=task.expires_at_seconds is not None,
        token=_number(task.token),
        message=NONE if task.message_id is None else _number(task.message_id),
        handed_back=tuple(sorted(map(_number, task.handed_back))),
    )


# Time. ---------------------------------------------------------------------------------------------------------------


def _earlier(at: int, ticks: int) -> int:
    return NONE if at == NONE else max(OLDEST, at - ticks)


@cache
def aged_row(row: Row, ticks: int) -> Row:
    return row._replace(
        lease=_earlier(row.lease, ticks),
        due=_earlier(row.due, ticks),
        sent=_earlier(row.sent, ticks),
        updated=_earlier(row.updated, ticks) if row.index_class == IndexClass.DEAD else row.updated,
    )


@cache
def aged_order(order: Order, ticks: int) -> Order:
    read = aged_row(order.read, ticks) if order.read else ()
    return order._replace(read=read, now=_earlier(order.now, ticks), until=_earlier(order.until, ticks))


@cache
def _aged_actor(actor: Actor, ticks: int) -> Actor:
    order = aged_order(actor.order, ticks) if actor.order else ()
    return actor._replace(order=order, read=aged_row(actor.read, ticks) if actor.read else ())


def aged(state: State, ticks: int) -> State:
    """The same state, so many ticks later."""
    return State(
        aged_row(state.row, ticks) if state.row else (),
        state.ghost,
        tuple(
            entry._replace(hidden=max(0, entry.hidden - ticks)) if entry.hidden else entry for entry in state.entries
        ),
        tuple(_aged_actor(actor, ticks) for actor in state.actors),
        tuple((aged_order(order, ticks), landed) for order, landed in state.zombies),
        state.left,
    )


# Names. --------------------------------------------------------------------------------------------------------------


def canonical(state: State) -> State:
    """The state with its messages and actors in order and with the smallest names."""
    row, ghost, entries, actors, zombies, left = state
    if len(entries) > 1:
        handed, own = ghost.handed_back, row[12] if row else NONE
        entries = tuple(sorted(entries, key=lambda e: (e[:5], e[5] != own, e[5] not in handed, e[5])))
    if len(actors) > 1:
        actors = tuple(sorted(actors))
    token_names, message_names = _named(row, ghost, entries, actors, zombies)
    tokens, messages = _numbered(token_names), _numbered(message_names)
    if not tokens and not messages:
        return State(row, ghost, entries, actors, zombies, left)
    names = Names(tokens, messages)
    return State(
        names.row(row),
        ghost._replace(handed_back=names.set(ghost.handed_back)) if ghost.handed_back else ghost,
        tuple([Entry(*e[:5], messages[e[5]]) for e in entries]) if messages else entries,
        tuple([names.actor(actor) for actor in actors]),
        tuple([(names.order(order), landed) for order, landed in zombies]),
        left,
    )


def _numbered(names: Sequence[int]) -> dict[int, int]:
    """New numbers in the order of appearance; empty when every name has its number already."""
    numbers: dict[int, int] = {NONE: NONE}
    same = True
    for name in names:
        if name not in numbers:
            number = len(numbers) - 1
            numbers[name] = number
            same = same and number == name
    return {} if same else numbers


def _named(
    row: Row | tuple[()],
    ghost: Ghost,
    entries: tuple[Entry, ...],
    actors: tuple[Actor, ...],
    zombies: tuple[tuple[Order, bool], ...],
) -> tuple[list[int], list[int]]:
    """Every token and every message id of a state, in the order in which they are numbered (the hot spot)."""
    tokens: list[int] = []
    messages = [entry[5] for entry in entries]
    later: list[int] = []
    if row:
        tokens.append(row[11])
        messages.append(row[12])
        later += row[13]
    orders = [order for order, _ in zombies]
    for actor in actors:
        messages.append(actor[7])
        order, read = actor[8], actor[9]
        if order:
            orders.append(order)
        if read:
            tokens.append(read[11])
            later.append(read[12])
            later += read[13]
    for order in orders:
        tokens.append(order[4])
        later.append(order[3])
        read = order[1]
        if read:
            tokens.append(read[11])
            later.append(read[12])
            later += read[13]
    messages += ghost[3]
    messages += later
    return tokens, messages


class Names:
    """Old numbers to new ones; an empty mapping changes nothing."""

    def __init__(self, tokens: dict[int, int], messages: dict[int, int]) -> None:
        self._tokens = tokens
        self._messages = messages

    def token(self, token: int) -> int:
        return self._tokens[token] if self._tokens else token

    def message(self, message: int) -> int:
        return self._messages[message] if self._messages else message

    def set(self, messages: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(self._messages[m] for m in messages)) if messages and self._messages else messages

    def row(self, row: Row | tuple[()]) -> Row | tuple[()]:
        if not row:
            return row
        return Row(*row[:11], self.token(row.token), self.message(row.message), self.set(row.handed_back))

    def order(self, order: Order) -> Order:
        name, read, generation, message, token, now, until, note = order
        return Order(name, self.row(read), generation, self.message(message), self.token(token), now, until, note)

    def actor(self, actor: Actor) -> Actor:
        order = self.order(actor.order) if actor.order else ()
        return Actor(*actor[:7], self.message(actor.message), order, self.row(actor.read))
