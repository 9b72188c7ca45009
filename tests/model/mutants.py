"""Each AND-term of each write dropped in turn: which of them does the model miss?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tests.model.environment import Table, first_row
from tests.model.explore import explored
from tests.model.rules import BURNT, CRASH, DEPLOYED, DUPLICATE, HANG, SLOW, WRITES, Bounds, Rules
from tests.model.state import FRESH, Order

_STALE = frozenset({SLOW, BURNT})

SMALL: Sequence[Bounds] = (
    Bounds(faults=1, attempts=1, parking=False),
    Bounds(faults=1, attempts=2),
    Bounds(faults=1, cancels=1, replays=1, attempts=1, parking=False),
    Bounds(faults=2, messages=2, handed_back=3, kinds=_STALE, permanent=False, parking=False, resends=0),
    Bounds(faults=2, messages=2, attempts=1, kinds=_STALE, parking=False, resends=0),
    Bounds(faults=1, messages=2, attempts=1, cancels=1, resubmits=1, parking=False),
    Bounds(faults=2, cancels=1, attempts=1, kinds=frozenset({SLOW, CRASH}), permanent=False, resends=0),
    Bounds(faults=2, replays=1, attempts=1, kinds=frozenset({SLOW, DUPLICATE, HANG}), parking=False, resends=0),
    Bounds(faults=2, monitors=2, kinds=_STALE, permanent=False, parking=False, resends=0),
    Bounds(faults=2, attempts=3, messages=2, kinds=_STALE, permanent=False, parking=False, resends=0),
    Bounds(faults=3, attempts=1, monitors=2, messages=2, handed_back=2, kinds=_STALE, parking=False, resends=0),
)
"""Where a mutant is looked for, one after the other, until one of them shows what it breaks."""


@dataclass(frozen=True)
class Mutant:
    write: str
    term: str
    text: str
    """The term as DynamoDB reads it."""
    violation: str | None
    """What the model found it to break; None: nothing."""
    states: int
    """Looked at until then."""


def terms(rules: Rules = DEPLOYED) -> Iterator[tuple[str, str, str]]:
    """Every term of every condition: write, name, text."""
    table = Table(rules)
    for name in WRITES:
        order = Order(name, first_row(2, 0), 1, 0, FRESH, until=0)
        for term, text in table.built(order).conditions.items():
            yield name, term, text
    for term, text in rules.absent.items():
        yield "absent", term, text
    for term, text in rules.record_absent.items():
        yield "record_absent", term, text


def mutated(write: str, term: str) -> Rules:
    """The deployed rules with one term dropped."""
    if write == "absent":
        return replace(DEPLOYED, absent=_without(DEPLOYED.absent, term))
    if write == "record_absent":
        return replace(DEPLOYED, record_absent=_without(DEPLOYED.record_absent, term))
    return DEPLOYED.without(write, term)


def term_mutants(scenarios: Sequence[Bounds] = SMALL) -> Iterator[Mutant]:
    """Each mutant with what it broke, as they are judged (seconds each)."""
    for write, term, text in terms():
        yield judged(write, term, text, scenarios)


def judged(write: str, term: str, text: str, scenarios: Sequence[Bounds] = SMALL) -> Mutant:
    rules, states = mutated(write, term), 0
    for bounds in scenarios:
        seen = explored(bounds, rules)
        states += seen.states
        if seen.violation:
            return Mutant(write, term, text, seen.violation, states)
    return Mutant(write, term, text, None, states)


def _without(conditions: Mapping[str, str], term: str) -> dict[str, str]:
    """A condition may become empty: "true" is then what is left of it."""
    rest = {name: text for name, text in conditions.items() if name != term}
    return rest or {"true": "attribute_exists(#PK) OR attribute_not_exists(#PK)"}
