"""The whole system explored at small bounds: every guarantee holds in every state, and a broken rule is found.

Larger bounds: `python -m tests.model`.
"""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from lambdas.common import rows
from tests.model import __main__ as model
from tests.model import checks
from tests.model.actors import held
from tests.model.bugs import BUGS, SWEEPER_OFF, Bug
from tests.model.checks import HOLDERS
from tests.model.environment import Table, first_row
from tests.model.explore import STEP, Edge, Explored, Explorer, System, explored
from tests.model.mutants import judged, terms
from tests.model.rules import CRASH, DEPLOYED, HANG, SLOW, Bounds
from tests.model.state import (
    FRESH,
    NONE,
    Actor,
    Entry,
    Ghost,
    Left,
    Order,
    Row,
    State,
    aged,
    canonical,
    row_of,
    task_of,
)

NO_FAULT = Bounds(faults=0)
EVERYBODY = Bounds(faults=0, messages=2, cancels=1, replays=1)
GOOD_ENDS = {"never accepted", "COMPLETED C", "FAILED_FINAL F", "CANCELLED X"}


def ends_well(seen: Explored) -> None:
    assert seen.violation is None, "\n".join([seen.violation or "", *seen.trace])
    assert seen.finished
    assert set(seen.statuses) <= GOOD_ENDS


# The deployed rules. -------------------------------------------------------------------------------------------------

KEPT = {
    "no fault": NO_FAULT,
    "no fault, three attempts": replace(NO_FAULT, attempts=3),
    "no fault, cancel and replay at every step": EVERYBODY,
    "one fault of any kind": Bounds(faults=1),
    "one fault of any kind, sweeper off": replace(SWEEPER_OFF, faults=1),
    "one fault, three attempts, sweeper off": replace(SWEEPER_OFF, faults=1, attempts=3),
    "one fault, due again at once": Bounds(faults=1, backoff=0),
    "one fault, cancel and replay at every step": Bounds(faults=1, attempts=1, cancels=1, replays=1, parking=False),
    "one fault, replay, sweeper off": replace(SWEEPER_OFF, faults=1, attempts=1, replays=1),
    "one fault, the task submitted twice": Bounds(faults=1, attempts=1, resubmits=1, parking=False),
    "two faults: slow and crashed": Bounds(faults=2, attempts=1, kinds=frozenset({SLOW, CRASH, HANG}), parking=False),
}


@pytest.mark.parametrize("bounds", KEPT.values(), ids=KEPT.keys())
def test_every_guarantee_holds_in_every_state_and_every_way_ends_well(bounds: Bounds) -> None:
    seen = explored(bounds)
    ends_well(seen)
    assert set(seen.fired) == (bounds.kinds if bounds.faults else set()), "a kind of fault never struck"


def test_the_queue_alone_does_not_carry_what_the_sweeper_is_for() -> None:
    unsent = explored(replace(SWEEPER_OFF, faults=1, unsent=True, kinds=frozenset({CRASH})))
    assert unsent.violation == "stuck: the task rests as SUBMITTED in class O, and nothing will carry it on"
    parked = explored(replace(SWEEPER_OFF, faults=0, parking=True))
    assert parked.violation == "stuck: the task rests as FAILED_PENDING in class S, and nothing will carry it on"


# Seeded bugs. --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_seeded_bug_is_found(bug: Bug) -> None:
    seen = explored(bug.bounds, bug.rules)
    assert seen.violation is not None
    assert seen.violation.startswith(bug.broken), "\n".join([seen.violation, *seen.trace])
    assert seen.trace[0].startswith("submit put")
    assert sum(line.startswith("FAULT") for line in seen.trace) <= bug.bounds.faults


OTHERS = [bounds for bounds in dict.fromkeys(bug.bounds for bug in BUGS) if bounds not in KEPT.values()]


@pytest.mark.parametrize("bounds", OTHERS)
def test_the_deployed_rules_are_clean_where_the_bug_was_found(bounds: Bounds) -> None:
    ends_well(explored(bounds))


class Idle(System):
    """Somebody may do nothing, again and again."""

    def edges(self, state: State) -> list[Edge]:
        return [*super().edges(state), Edge(STEP, "nothing happens", state)]


def test_a_cycle_is_found() -> None:
    assert Explorer(Idle(bounds=NO_FAULT)).run().violation == "liveness: a cycle without a fault"


# The terms of the conditions. ----------------------------------------------------------------------------------------

QUICKLY_KILLED = (
    ("claim", "same_generation"),
    ("claim", "attempts_left"),
    ("complete", "still_processing"),
    ("die", "own_token"),
    ("retry", "own_token"),
    ("absent", "absent_or_expired"),
    ("record_absent", "absent_or_older_life"),
)


@pytest.mark.parametrize(("write", "term"), QUICKLY_KILLED)
def test_a_dropped_term_is_found(write: str, term: str) -> None:
    text = next(text for name, of_name, text in terms() if (name, of_name) == (write, term))
    assert judged(write, term, text).violation is not None


# The model itself. ---------------------------------------------------------------------------------------------------

CLAIMED = Row("PROCESSING", "O", 2, 1, 3, 2, NONE, -7, 0, 1, False, 0, 4, (1, 4))


def test_the_holder_needs_no_more() -> None:
    """What a worker of the model forgets of the row it claimed is in none of its writes."""
    table = Table(DEPLOYED)
    for name in HOLDERS:
        assert table.built(Order(name, CLAIMED, until=3)) == table.built(Order(name, held(CLAIMED), until=3)), name


def test_states_that_differ_in_names_alone_are_one() -> None:
    def state(token: int, other: int, message: int, copy: int) -> State:
        row = CLAIMED._replace(token=token, message=message, handed_back=(copy,))
        entries = (Entry(0, 2, 1, 3, False, message), Entry(0, 2, 0, 0, False, copy))
        workers = (
            Actor("worker", "work", message=message, read=held(row)),
            Actor("worker", "work", slow=True, message=copy, read=held(row._replace(token=other))),
        )
        return State(row, Ghost((), (), (), (copy,)), entries, workers, (), Left(0, 0, 0, 0))

    assert canonical(state(0, 1, 0, 1)) == canonical(state(FRESH, 3, 7, FRESH))
    assert canonical(state(0, 1, 0, 1)) != canonical(state(0, 0, 0, 1))


def test_time_moves_everything_that_waits() -> None:
    row = CLAIMED._replace(due=5)
    state = State(row, Ghost((), (), (), ()), (Entry(0, 2, 1, 3, False, 4),), (), (), Left(0, 0, 0, 0))
    later = aged(state, 2)
    assert isinstance(later.row, Row)
    assert (later.row.lease, later.row.due, later.row.sent, later.entries[0].hidden) == (0, 3, -9, 1)


def test_a_row_of_the_model_goes_through_the_deployed_form_and_back() -> None:
    for row in (CLAIMED, first_row(3, 2), CLAIMED._replace(status="FAILED_FINAL", index_class="D", updated=-4)):
        assert row_of(rows.task_of(rows.row_of(task_of(row)))) == row


STRANGE_WRITES = {
    "I3 a terminal state was changed by bury": (CLAIMED._replace(status="COMPLETED", index_class="C"), "bury", 0),
    "I7 a stale worker changed the row": (CLAIMED, "complete", 9),
    "I8 a live task was given up: leased, waiting or parked": (CLAIMED, "bury", 0),
    "I8 a task was handed back under a live lease": (CLAIMED, "hand_back", 0),
    "I2 a task in hand was marked as sent again": (CLAIMED, "mark_sent", 0),
}
"""The row, what is written to it, and the token that its maker had read."""


def test_a_write_is_judged_by_the_rows_alone() -> None:
    for broken, (row, name, token) in STRANGE_WRITES.items():
        assert checks.of_write(row, Order(name, row._replace(token=token)), row) == broken


def test_a_stopped_exploration_ends_with_130_and_says_what_it_had_seen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expand = Explorer._expand

    def interrupted(self: Explorer, at: int) -> None:
        if at == 500:
            raise KeyboardInterrupt
        expand(self, at)

    monkeypatch.setattr(Explorer, "_expand", interrupted)
    assert model.main(["--faults", "2"]) == 130
    out, err = capsys.readouterr()
    assert err == "Interrupted: this is what was seen until now.\n"
    seen = re.search(r"  ([\d,]+) states, ([\d,]+) transitions, .*: stopped; none broken so far", out)
    assert seen is not None
    assert int(seen[1].replace(",", "")) > 500
