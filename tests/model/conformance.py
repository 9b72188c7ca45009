"""Real rows and messages in the model's words, and where the model says that one actor's steps lead from there."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from lambdas.common.task import Task
from tests.model.actors import Actors, Step
from tests.model.explore import System
from tests.model.rules import LOST_ANSWER, Bounds
from tests.model.state import FRESH, NOW, Actor, Entry, Left, Names, Row, State, row_of

NOTHING_LEFT = Left(0, 0, 0, 0)
ONE_FAULT = Left(1, 0, 0, 0)
MADE_UP = 1_000
"""Tokens and message ids that the model made have numbers from here on; those seen in the real world lie below."""
SEEN = 200
MOST_STEPS = 30
Ending = Literal["complete", "retry", "park", "die"]
CALLS = ("claim", "work", "write", "record", "send")
"""Phases whose step is a call that writes a row or sends a message."""


@dataclass
class Numbers:
    """Real tokens and message ids as the model's numbers, in the order in which they were seen."""

    known: dict[str, int] = field(default_factory=dict)

    def __getitem__(self, name: str) -> int:
        return self.known.setdefault(name, SEEN + len(self.known))

    @property
    def next(self) -> int:
        return SEEN + len(self.known)

    def row(self, task: Task | None, now: int) -> Row | tuple[()]:
        """The row of the model for a real one, `now` being the present of the real one."""
        if task is None:
            return ()
        shift = NOW - now
        message = None if task.message_id is None else f"message-{self[task.message_id]}"
        moved = replace(
            task,
            token=f"token-{self[task.token]}",
            message_id=message,
            handed_back=frozenset(f"message-{self[name]}" for name in task.handed_back),
            updated_at=task.updated_at + shift,
            sent_at=task.sent_at + shift,
            lease_until=None if task.lease_until is None else task.lease_until + shift,
            next_attempt_at=None if task.next_attempt_at is None else task.next_attempt_at + shift,
        )
        return row_of(moved)


class _Changed(dict[int, int]):
    """A renaming that leaves every other number alone."""

    def __missing__(self, key: int) -> int:
        return key


def renamed(state: State, changes: dict[int, int]) -> State:
    """The state with some of its numbers replaced, entries in order, actors in theirs."""
    if not changes:
        return state._replace(entries=tuple(sorted(state.entries)))
    names = Names(_Changed(changes), _Changed(changes))
    return State(
        names.row(state.row),
        state.ghost._replace(handed_back=names.set(state.ghost.handed_back)),
        tuple(sorted(Entry(*entry[:5], names.message(entry.message)) for entry in state.entries)),
        tuple(names.actor(actor) for actor in state.actors),
        state.zombies,
        state.left,
    )


def bound(end: State, real: State, known: int) -> State:
    """An end of the model with its made-up numbers replaced by those that the real world gave to the same things."""
    changes: dict[int, int] = {}
    if end.row and real.row and end.row.token >= MADE_UP and real.row.token >= known:
        changes[end.row.token] = real.row.token
    made_up = sorted({entry.message for entry in end.entries if entry.message >= MADE_UP})
    new = sorted({entry.message for entry in real.entries if entry.message >= known})
    return renamed(end, {**changes, **dict(zip(made_up, new, strict=False))})


@dataclass(frozen=True)
class Plan:
    """How one actor's way is to go."""

    ending: Ending = "complete"
    """Of an attempt: the write that it ends with, if the model offers that one; else it dies."""
    stop_at: int | None = None
    """Before this call (the first is 1) it stops; the work of an attempt is the worker's only stop."""
    lose: int | None = None
    """The answer of this call is lost, and the SDK repeats it."""
    heard: bool = True
    """False: the invocation ends before it can tell SQS anything."""


class End(NamedTuple):
    """Where an actor's way led."""

    state: State
    actor: Actor | None = None
    """The actor, when it has stopped."""
    said: int | None = None
    """What a worker told SQS in the end: ACKNOWLEDGE, LEAVE, or seconds to hide its message for."""


@dataclass
class Conformance:
    """The model's actors, run one at a time from a state that was read from the real world."""

    bounds: Bounds
    system: System = field(init=False)
    _made_up: Iterator[int] = field(default_factory=lambda: itertools.count(MADE_UP))

    def __post_init__(self) -> None:
        self.bounds = replace(self.bounds, kinds=frozenset({LOST_ANSWER}))
        self.system = System(bounds=self.bounds)

    @property
    def actors(self) -> Actors:
        return self.system.actors

    def ends(self, state: State, actor: Actor | None, plan: Plan) -> list[End]:
        """Where the steps of this actor alone lead, until it ends or stops."""
        state, actor = self._fresh_named(state, actor)
        ends: list[End] = []
        ways: list[tuple[End, int, int]] = [(End(state, actor), 0, 0)]
        while ways:
            way, calls, steps = ways.pop()
            actor = way.actor
            if actor is None:
                ends.append(way)
                continue
            assert steps < MOST_STEPS, f"the model's {actor.role} goes round in a circle"
            if actor.phase == "end":
                way = way._replace(said=actor.hide)
            if actor.phase in ("end", "delete") and not plan.heard:
                ends.append(way._replace(actor=None))
                continue
            calls += actor.phase in CALLS
            if self._stops(actor, plan, calls):
                ends.append(way)
                continue
            ways += [(self._after(way, step), calls, steps + 1) for step in self._chosen(way, plan, calls)]
        return ends

    def _after(self, way: End, step: Step) -> End:
        assert step.violation is None, f"the model breaks a promise: {step.violation} ({step.text})"
        after = State(step.row, step.ghost, step.entries, way.state.actors, (), NOTHING_LEFT)
        return End(*self._fresh_named(after, step.actor), way.said)

    def _stops(self, actor: Actor, plan: Plan, calls: int) -> bool:
        if plan.stop_at is None or actor.phase not in CALLS:
            return False
        return actor.phase == "work" if actor.role == "worker" else calls == plan.stop_at

    def _chosen(self, way: End, plan: Plan, calls: int) -> Sequence[Step]:
        state, actor = way.state, way.actor
        assert actor is not None
        losing = calls == plan.lose and actor.phase in CALLS
        steps = list(self.actors.steps(state._replace(left=ONE_FAULT) if losing else state, actor))
        if actor.phase == "work":
            steps = _ending(steps, plan.ending)
        return [step for step in steps if step.fault] or steps

    def _fresh_named(self, state: State, actor: Actor | None) -> tuple[State, Actor | None]:
        """What the last step made gets a number of its own before the next step makes more."""
        with_actor = state if actor is None else state._replace(actors=(*state.actors, actor))
        named = renamed(with_actor, {FRESH: next(self._made_up)})
        return (named, None) if actor is None else (named._replace(actors=named.actors[:-1]), named.actors[-1])


def _ending(steps: Sequence[Step], wanted: Ending) -> list[Step]:
    """The steps that end an attempt as wanted; the last attempt offers less."""
    names = [step.text.split()[0].rstrip(":") for step in steps]
    name = wanted if wanted in names else "die"
    return [step for step, found in zip(steps, names, strict=True) if found == name]
