"""Every state that can be reached, breadth first, so that the first violation found has a shortest trace."""

from __future__ import annotations

import gc
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.model import checks, environment
from tests.model.actors import NOT_PAUSED, Actors, Step
from tests.model.environment import Table
from tests.model.rules import BURNT, DEPLOYED, DUPLICATE, FAULTS, LATE, SMALL, Bounds, Rules
from tests.model.state import (
    FRESH,
    NOW,
    TICK,
    Actor,
    Entry,
    Ghost,
    Left,
    Order,
    Row,
    State,
    aged,
    canonical,
    task_of,
)

STEP, WISH = "step", "wish"


class Edge(NamedTuple):
    """One way from a state to another."""

    kind: str
    """STEP happens by itself, WISH when a person wants it; any other is a kind of fault and uses up the budget."""
    text: str
    state: State
    violation: str | None = None


class System:
    """The whole system under one set of rules: from a state to all that may come next."""

    def __init__(self, rules: Rules = DEPLOYED, bounds: Bounds = SMALL) -> None:
        self.rules, self.bounds = rules, bounds
        self.table = Table(rules)
        self.actors = Actors(rules, bounds, self.table)
        self._wakes: dict[Row, int | None] = {}
        self._judged: dict[tuple[Row | tuple[()], Ghost], str | None] = {}

    def start(self) -> State:
        b = self.bounds
        row = environment.first_row(b.attempts, b.handed_back)
        ghost = Ghost((), (), (), row.handed_back)
        left = Left(b.faults, b.cancels, b.replays, b.resubmits)
        return canonical(State((), ghost, (), (_submitter(row),), (), left))

    def edges(self, state: State) -> list[Edge]:
        """What may come next. Time passes only when nobody can act without it."""
        out: list[Edge] = []
        prompt = self._actor_edges(state, out)
        prompt |= self._queue_edges(state, out)
        prompt |= self._sweeper_edge(state, out)
        self._zombie_edges(state, out)
        if not prompt:
            self._time_edge(state, out)
        self._wish_edges(state, out)
        if state.left.faults:
            self._queue_faults(state, out)
        return out

    def _actor_edges(self, state: State, out: list[Edge]) -> bool:
        prompt = False
        actors = state.actors
        for at, actor in enumerate(actors):
            if at and actors[at - 1] == actor:
                continue
            prompt |= not actor.slow
            rest = actors[:at] + actors[at + 1 :]
            for step in self.actors.steps(state, actor):
                out.append(_edge(state, actor.role, rest, step))
        return prompt

    def _queue_edges(self, state: State, out: list[Edge]) -> bool:
        prompt = False
        roles = [actor.role for actor in state.actors]
        for entry in state.entries:
            if entry.hidden:
                continue
            if entry.dlq:
                if roles.count("monitor") >= self.bounds.monitors:
                    continue
                monitor = Actor("monitor", "read", False, entry.generation, entry.receives + 1, entry.receives + 1)
                out.append(self._delivery(state, entry, monitor, self.bounds.dlq_visibility))
            elif entry.receives >= self.bounds.receives:
                text = f"SQS moves message {entry.message} to the dead-letter queue"
                out.append(_moved(state, STEP, text, environment.moved_to_dlq(state.entries, entry)))
            elif roles.count("worker") < self.bounds.workers:
                worker = Actor("worker", "claim", False, entry.generation, entry.receives + 1)
                out.append(self._delivery(state, entry, worker, self.bounds.visibility))
            else:
                continue
            prompt |= not entry.late
        return prompt

    def _delivery(self, state: State, entry: Entry, actor: Actor, visibility: int) -> Edge:
        actor = actor._replace(message=entry.message)
        entries = environment.received(state.entries, entry, visibility)
        text = f"{actor.role} receives message {entry.message} of generation {entry.generation}, receive {actor.number}"
        return Edge(STEP, text, canonical(state._replace(entries=entries, actors=(*state.actors, actor))))

    def _queue_faults(self, state: State, out: list[Edge]) -> None:
        kinds, left = self.bounds.kinds, _less(state.left)
        for entry in state.entries:
            where = f"message {entry.message}" + (" of the dead-letter queue" if entry.dlq else "")
            if entry.hidden:
                if DUPLICATE in kinds:
                    changed = environment.shown(state.entries, entry)
                    out.append(_moved(state, DUPLICATE, f"{where} is shown again too early", changed, left))
                continue
            if LATE in kinds and not entry.late:
                out.append(_moved(state, LATE, f"{where} is late", environment.delayed(state.entries, entry), left))
            if BURNT in kinds and not entry.dlq and entry.receives < self.bounds.receives:
                changed = environment.burnt(state.entries, entry, self.bounds.receives)
                out.append(_moved(state, BURNT, f"throttling uses up the receives of {where}", changed, left))

    def _sweeper_edge(self, state: State, out: list[Edge]) -> bool:
        if not self.bounds.sweeper or any(actor.role == "sweeper" for actor in state.actors):
            return False
        sweeper = self.actors.sweep(state.row)
        if sweeper is None:
            return False
        actors = (*state.actors, sweeper)
        out.append(Edge(STEP, f"sweeper reads the row: {sweeper.phase}", canonical(state._replace(actors=actors))))
        return True

    def _zombie_edges(self, state: State, out: list[Edge]) -> None:
        """A request that was cut off lands after all. Nobody hears its answer."""
        for at, (order, landed) in enumerate(state.zombies):
            row, ghost, violation = self.actors.carried_out(state, order)
            if row is not None and landed and order.name == "claim":
                violation = violation or "I5 one delivery began two attempts"
            actors = state.actors
            if row is not None:
                actors = tuple(a._replace(landed=True) if a.order == order else a for a in actors)
            rest = state.zombies[:at] + state.zombies[at + 1 :]
            made = "made" if row is not None else "refused"
            after = State(row or state.row, ghost, state.entries, actors, rest, state.left)
            out.append(Edge(STEP, f"the {order.name} that hung lands: {made}", canonical(after), violation))

    def _wish_edges(self, state: State, out: list[Edge]) -> None:
        left = state.left
        if sum(actor.role in ("submit", "cancel", "replay") for actor in state.actors) > 1:
            return
        if left.cancels and (actor := self.actors.wish(state.row, "cancel")):
            out.append(_begun(state, "somebody begins to cancel", actor, left._replace(cancels=left.cancels - 1)))
        may_replay = left.replays and state.row and state.row.generation < self.bounds.generations
        if may_replay and (actor := self.actors.wish(state.row, "replay")):
            out.append(_begun(state, "somebody begins a replay", actor, left._replace(replays=left.replays - 1)))
        if left.resubmits:
            actor = _submitter(environment.first_row(self.bounds.attempts, 0))
            less = left._replace(resubmits=left.resubmits - 1)
            out.append(_begun(state, "the client submits the same task again", actor, less))

    # Time. -----------------------------------------------------------------------------------------------------------

    def _time_edge(self, state: State, out: list[Edge]) -> None:
        ticks = self._next_moment(state)
        if ticks is not None:
            text = f"{ticks} s pass"
            out.append(Edge(STEP, text, canonical(aged(state, ticks))))

    def _next_moment(self, state: State) -> int | None:
        """Ticks to the next moment at which a comparison with the clock changes, if anything waits for time at all."""
        row = state.row
        waits = [entry.hidden for entry in state.entries if entry.hidden]
        if row and self.bounds.sweeper and all(actor.role != "sweeper" for actor in state.actors):
            wake = self._wake(row)
            if wake is not None and (row.sends < self.bounds.resends or not _lingers(state)):
                waits.append(wake)
        if not waits:
            return None
        if row:
            waits += [at for at in (row.lease + 1, row.due, row.sent + self.bounds.resubmit_after + 1) if at > 0]
        return min(waits)

    def _wake(self, row: Row) -> int | None:
        """Ticks until the sweeper has something to do with the row."""
        if row not in self._wakes:
            self._wakes[row] = self._wake_of(row)
        return self._wakes[row]

    def _wake_of(self, row: Row) -> int | None:
        match row.index_class:
            case "S":
                ticks = row.due
            case "O":
                task, after_ms = task_of(row), self.bounds.resend_after * TICK
                due_at = self.rules.resend_due_at(task, after_ms, NOT_PAUSED)
                if due_at is None:
                    return None
                ticks = (due_at - NOW) // TICK + 1
            case "D":
                ticks = row.updated + self.bounds.record_after + 1
            case _:
                return None
        return ticks if ticks > 0 else None

    # Judgement. ------------------------------------------------------------------------------------------------------

    def violation(self, state: State) -> str | None:
        """The guarantee that this state breaks."""
        key = (state.row, state.ghost)
        if key not in self._judged:
            self._judged[key] = checks.of_row(*key)
        return self._judged[key] or self._two_holders(state)

    def _two_holders(self, state: State) -> str | None:
        if len(state.actors) < 2 or not state.row:
            return None
        working = [actor.read for actor in state.actors if actor.phase == "work"]
        if len(working) < 2:
            return None
        valid = sum(self.table.write(state.row, Order("complete", read))[0] is not None for read in working)
        return "I7 two workers hold a valid token" if valid > 1 else None


def _lingers(state: State) -> bool:
    """Whether somebody slow can still act, or a message can be taken: else time alone must help."""
    return bool(state.actors or state.zombies or any(not entry.hidden for entry in state.entries))


def _submitter(row: Row) -> Actor:
    return Actor("submit", "write", order=Order("put", row, token=FRESH))


def _less(left: Left) -> Left:
    return left._replace(faults=left.faults - 1)


def _edge(state: State, role: str, rest: tuple[Actor, ...], step: Step) -> Edge:
    actors = rest if step.actor is None else (*rest, step.actor)
    left = _less(state.left) if step.fault else state.left
    after = canonical(State(step.row, step.ghost, step.entries, actors, step.zombies, left))
    return Edge(step.fault or STEP, f"{role} {step.text}", after, step.violation)


def _moved(state: State, kind: str, text: str, entries: tuple[Entry, ...], left: Left | None = None) -> Edge:
    return Edge(kind, text, canonical(state._replace(entries=entries, left=left or state.left)))


def _begun(state: State, text: str, actor: Actor, left: Left) -> Edge:
    return Edge(WISH, text, canonical(state._replace(actors=(*state.actors, actor), left=left)))


# The exploration. ----------------------------------------------------------------------------------------------------


@dataclass
class Explored:
    """What was seen."""

    states: int = 0
    transitions: int = 0
    ends: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    """Of this process: what the exploration itself took on a busy machine."""
    finished: bool = False
    """Nothing is left to look at (False: stopped at a violation or at the largest number of states)."""
    violation: str | None = None
    trace: list[str] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    """How often each kind of end was seen."""
    fired: Counter[str] = field(default_factory=Counter)
    """How often each kind of fault struck."""


class Stopped(KeyboardInterrupt):
    """Ctrl-C in the middle; `seen` is what was explored until then."""

    def __init__(self, seen: Explored) -> None:
        super().__init__()
        self.seen = seen


Progress = Callable[[int, int, float], None]


class Explorer:
    def __init__(self, system: System, most: int | None = None, progress: Progress = lambda *_: None) -> None:
        self._system, self._most, self._progress = system, most, progress
        self._numbers: dict[State, int] = {}
        self._states: list[State] = []
        self._parents = array("i")
        self._from, self._to = array("i"), array("i")
        self._parts: dict[object, object] = {}
        self._kinds: Counter[str] = Counter()
        self._seen = Explored()

    def run(self) -> Explored:
        """
        Raises:
            Stopped: Ctrl-C.
        """
        began, cpu = time.perf_counter(), time.process_time()
        collecting = gc.isenabled()
        gc.disable()  # nothing here is cyclic, and the collector would walk millions of tuples again and again
        try:
            self._explore(began)
        except KeyboardInterrupt:
            raise Stopped(self._summed(began, cpu)) from None
        finally:
            if collecting:
                gc.enable()
        return self._summed(began, cpu)

    def _summed(self, began: float, cpu: float) -> Explored:
        seen = self._seen
        seen.transitions = self._kinds.total()
        seen.fired = Counter({kind: count for kind, count in self._kinds.items() if kind in FAULTS})
        seen.states, seen.seconds = len(self._states), time.perf_counter() - began
        seen.cpu_seconds = time.process_time() - cpu
        return seen

    def _explore(self, began: float) -> None:
        self._add(self._system.start(), -1)
        at = 0
        while at < len(self._states) and self._seen.violation is None:
            if self._most is not None and len(self._states) > self._most:
                return
            if at % 50_000 == 0:
                self._progress(len(self._states), len(self._states) - at, time.perf_counter() - began)
            self._expand(at)
            at += 1
        if self._seen.violation is None:
            self._look_for_cycles()
            self._seen.finished = self._seen.violation is None

    def _expand(self, at: int) -> None:
        state, goes_on = self._states[at], False
        for edge in self._system.edges(state):
            self._kinds[edge.kind] += 1
            if edge.violation:
                self._found(edge.violation, at, edge.text)
                return
            number = self._numbers.get(edge.state)
            if number is None:
                number = self._add(edge.state, at)
                violation = self._system.violation(edge.state)
                if violation:
                    self._found(violation, number, None)
                    return
            if edge.kind is STEP:
                goes_on = True
                self._from.append(at)
                self._to.append(number)
        if not goes_on:
            self._end(at, state)

    def _end(self, at: int, state: State) -> None:
        self._seen.ends += 1
        self._seen.statuses[f"{state.row.status} {state.row.index_class}" if state.row else "never accepted"] += 1
        violation = checks.at_rest(state)
        if violation:
            self._found(violation, at, None)

    def _add(self, state: State, parent: int) -> int:
        share = self._parts.setdefault
        state = State._make(share(part, part) for part in state)
        number = self._numbers[state] = len(self._states)
        self._states.append(state)
        self._parents.append(parent)
        return number

    def _found(self, violation: str, at: int, last: str | None) -> None:
        self._seen.violation = violation
        self._seen.trace = [*self._way_to(at), *([last] if last else [])]

    def _way_to(self, at: int) -> list[str]:
        """One line per step from the start; the words are found again by making the edges again."""
        way: list[str] = []
        while (parent := self._parents[at]) >= 0:
            edges = self._system.edges(self._states[parent])
            edge = next(edge for edge in edges if edge.state == self._states[at])
            way.append(edge.text if edge.kind in (STEP, WISH) else f"FAULT ({edge.kind}): {edge.text}")
            at = parent
        return way[::-1]

    def _look_for_cycles(self) -> None:
        """Without faults and wishes the graph has no cycle (Kahn): then every way ends, and the ends are judged."""
        open_ends = array("i", bytes(4 * len(self._states)))
        for number in self._from:
            open_ends[number] += 1
        back = _grouped(self._to, self._from, len(self._states))
        done = [number for number, count in enumerate(open_ends) if count == 0]
        removed = 0
        while done:
            number = done.pop()
            removed += 1
            for earlier in back(number):
                open_ends[earlier] -= 1
                if open_ends[earlier] == 0:
                    done.append(earlier)
        if removed < len(self._states):
            inside = next(number for number, count in enumerate(open_ends) if count > 0)
            self._found("liveness: a cycle without a fault", inside, None)


def _grouped(keys: array[int], values: array[int], count: int) -> Callable[[int], Iterator[int]]:
    """The values by their key, in two flat arrays (a dict of lists would take gigabytes)."""
    starts = array("i", bytes(4 * (count + 1)))
    for key in keys:
        starts[key + 1] += 1
    for at in range(count):
        starts[at + 1] += starts[at]
    places, filled = array("i", bytes(4 * len(values))), array("i", starts)
    for key, value in zip(keys, values, strict=True):
        places[filled[key]] = value
        filled[key] += 1
    return lambda key: iter(places[starts[key] : starts[key + 1]])


def explored(
    bounds: Bounds, rules: Rules = DEPLOYED, most: int | None = None, progress: Progress = lambda *_: None
) -> Explored:
    return Explorer(System(rules, bounds), most, progress).run()
