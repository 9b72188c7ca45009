"""Planned against happened: which faults the plan has for the calls that were made, and what became of each. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Line = Mapping[str, Any]

MOMENT_MS = 2_000
"""A request that a fault is due at is answered within so long, or its client gives it up."""
ENDS_ITS_PROCESS: Mapping[str, int] = {
    **dict.fromkeys(("crash-before", "crash-after", "killed", "killed-after-outside-effect", "frozen"), MOMENT_MS),
    **dict.fromkeys(("overdue", "hang"), 15_000),
}
"""Fault -> so long (ms) its process may still go on: none, or as long as the function's time-out takes to end it."""
ENOUGH = 5
"""A fault that was planned so often happens at least once, or the hook is broken."""


class Planned(NamedTuple):
    """One call that the plan has a fault for."""

    task: str
    operation: str
    nth: int
    fault: str


def pending(planned: Iterable[Planned], lines: Iterable[Line]) -> set[Planned]:
    """What was planned and did not happen."""
    return set(planned) - {_planned_of(line) for line in lines if line["event"] == "fault"}


def explained(unfired: Iterable[Planned], lines: Sequence[Line]) -> set[Planned]:
    """Those whose process was ended by another fault, by the journal: it was about to meet them when it died.

    Each process writes down a fault that is due before it makes it happen (`due`). One without such a line, or of a
    process that wrote on, stays unexplained.
    """
    due = {_planned_of(line): line for line in lines if line["event"] == "due"}
    fatal: dict[int, list[Line]] = defaultdict(list)
    last: dict[int, int] = {}
    for line in lines:
        last[line["pid"]] = line["at"]
        if line["event"] == "fault" and line["fault"] in ENDS_ITS_PROCESS:
            fatal[line["pid"]].append(line)
    return {one for one in unfired if one in due and _died(due[one], fatal, last)}


def _died(due: Line, fatal: Mapping[int, Sequence[Line]], last: Mapping[int, int]) -> bool:
    """Its process wrote next to nothing any more, and met what ends it around that time."""
    pid, at = due["pid"], due["at"]
    ends = (line["at"] - MOMENT_MS <= at <= line["at"] + ENDS_ITS_PROCESS[line["fault"]] for line in fatal.get(pid, ()))
    return last[pid] - at <= MOMENT_MS and any(ends)


def silent(planned: Sequence[Planned], lines: Iterable[Line]) -> Iterator[str]:
    """Faults, and faults of one operation, that were planned again and again and never happened."""
    fired = {_planned_of(line) for line in lines if line["event"] == "fault"}
    for names in (_kind, _pair):
        count, happened = Counter(map(names, planned)), Counter(map(names, fired))
        mute = {name: times for name, times in count.items() if times >= ENOUGH and not happened[name]}
        yield from (f"{name} was planned {times} times and never happened" for name, times in mute.items())


def _kind(one: Planned) -> str:
    return one.fault


def _pair(one: Planned) -> str:
    return f"{one.fault} of {one.operation}"


def _planned_of(line: Line) -> Planned:
    return Planned(line["task"], line["operation"], line["nth"], line["fault"])
