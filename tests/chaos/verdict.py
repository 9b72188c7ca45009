"""What a chaos run is held to: pure, from what was seen in the table and what the journal kept outside of it."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lambdas.common.decisions import UNDELIVERABLE, Consumption, resend_due_at
from lambdas.common.task import TERMINAL, IndexClass, Status, Task, numbered
from tests.chaos import happened
from tests.chaos.happened import Planned
from tests.chaos.journal import number_of, payload_of

Line = Mapping[str, Any]
NO_LINE = Consumption(paused=False, waiting=False, reached=0)
MOST_SENDS = 3
"""Sends of the sweeper that a run waits for, up to 960 s: more than faults can lose in a row of one task."""


class Breach(NamedTuple):
    """A guarantee that was not kept."""

    kind: str
    """lost, stuck, double, wrong-terminal, dead-letter, history, phantom, queue or answer; run: the run itself."""
    task_id: str
    text: str


@dataclass(frozen=True)
class Facts:
    """Everything that is known at the end."""

    accepted: frozenset[str]
    """Answered 200 or 202."""
    unknown: frozenset[str]
    """Never answered clearly: such a task may be there or not, but if it is there it must end well."""
    tasks: Mapping[str, Task]
    letters: Mapping[str, Sequence[int]]
    """Task -> the generations that have a dead-letter record."""
    effects: Mapping[str, int]
    """Task -> its counter, one more for each time that its effect was written."""
    cancels: frozenset[str]
    """Tasks whose cancel was asked for."""
    lines: Sequence[Line]
    ended: bool = True
    """False: somebody interrupted the run, so that open tasks and waiting messages are no breach."""
    messages_left: int = 0
    others: Sequence[str] = ()
    """Tasks in the table that nobody submitted."""
    live: Sequence[Breach] = field(default_factory=list)
    """Seen while the run was going on."""
    planned: Sequence[Planned] = ()
    """What was to happen to the calls that were made."""


def breaches(facts: Facts) -> list[Breach]:
    found = list(facts.live)
    found += [
        Breach("lost", task_id, "was accepted, and is in no row") for task_id in facts.accepted - set(facts.tasks)
    ]
    starts = starts_of(facts.lines)
    for task_id, task in facts.tasks.items():
        letters = facts.letters.get(task_id, ())
        found += _of_end(task, task_id in facts.cancels, facts.ended)
        found += _of_effect(task, facts.effects.get(task_id, 0))
        found += _of_letters(task, letters)
        found += _of_attempts(task, starts.get(task_id, ()))
        found += _of_history(task)
    found += _of_starts_without_row(facts, starts)
    found += _of_answers(facts)
    found += [
        Breach("double", task_id, "has an effect and no row") for task_id in set(facts.effects) - set(facts.tasks)
    ]
    found += [Breach("phantom", task_id, "is in the table, and nobody submitted it") for task_id in facts.others]
    if facts.messages_left and facts.ended:
        found.append(Breach("queue", "-", f"{facts.messages_left} messages are left at rest"))
    found += [Breach("run", "-", text) for text in happened.silent(facts.planned, facts.lines)]
    return found


def of_change(before: Task, after: Task, may_replay: bool) -> Iterator[Breach]:
    """What can be told from two looks at the same row."""
    if before.status in TERMINAL and after.status != before.status and after.generation == before.generation:
        yield Breach("history", after.task_id, f"left its end: {before.status}, then {after.status}")
    if after.generation > before.generation and not may_replay:
        yield Breach("history", after.task_id, f"has begun generation {after.generation}, and nobody replayed it")
    if after.generation == before.generation and after.attempts < before.attempts:
        yield Breach("history", after.task_id, f"attempts fell from {before.attempts} to {after.attempts}")
    if after.generation < before.generation:
        yield Breach("history", after.task_id, f"generation fell from {before.generation} to {after.generation}")


def at_rest(task: Task) -> bool:
    return task.status in TERMINAL and task.index_class is not IndexClass.DEAD


def resent_by(tasks: Iterable[Task], after_ms: int) -> int:
    """When, in ms since 1970, the sweeper will have sent again what may be lost of tasks still open; 0: nothing is."""
    waiting = (task for task in tasks if not at_rest(task) and task.sends <= MOST_SENDS)
    return max((resend_due_at(task, after_ms, NO_LINE) or 0 for task in waiting), default=0)


def starts_of(lines: Iterable[Line]) -> dict[str, list[Line]]:
    """Task -> each time that its work began."""
    found: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        if line["event"] == "start":
            found[line["task"]].append(line)
    return found


def _of_end(task: Task, cancelled: bool, ended: bool) -> Iterator[Breach]:
    if ended and not at_rest(task):
        state = f"{task.status} in class {task.index_class}, attempts {task.attempts} of {task.max_attempts}"
        yield Breach("stuck", task.task_id, f"did not come to an end: {state}")
    if json.loads(task.payload or "null") != payload_of(number_of(task.task_id)):
        yield Breach("answer", task.task_id, f"has the payload {task.payload}, which is not the one accepted")
    if task.status is Status.CANCELLED and not cancelled:
        yield Breach("wrong-terminal", task.task_id, "is CANCELLED, and nobody cancelled it")
    if task.status is Status.FAILED_FINAL and not _may_die(task):
        text = f"is FAILED_FINAL after {task.attempts} of {task.max_attempts} attempts: {task.error}"
        yield Breach("wrong-terminal", task.task_id, text)


def _may_die(task: Task) -> bool:
    error = task.error or ""
    return task.attempts >= task.max_attempts or error.startswith("PermanentError") or error == UNDELIVERABLE


def _of_effect(task: Task, times: int) -> Iterator[Breach]:
    completed = task.status is Status.COMPLETED
    if times > completed:
        yield Breach("double", task.task_id, f"is {task.status}, and its effect was written {times} times")
    if completed and not times:
        yield Breach("lost", task.task_id, "is COMPLETED, and its effect was never written")


def _of_letters(task: Task, letters: Sequence[int]) -> Iterator[Breach]:
    died = [entry.generation for entry in task.timeline if entry.status == Status.FAILED_FINAL]
    if sorted(letters) != sorted(set(died)) and at_rest(task):
        yield Breach("dead-letter", task.task_id, f"died in generations {died}, dead letters of {list(letters)}")


def _of_attempts(task: Task, starts: Sequence[Line]) -> Iterator[Breach]:
    """I4, I5: an attempt begins its work at most once, only so many of a generation do, and each by a claim."""
    begun = Counter((line["generation"], line["attempt"]) for line in starts)
    for (generation, attempt), times in begun.items():
        if times > 1:
            yield Breach("double", task.task_id, f"attempt {attempt} of generation {generation} began {times} times")
        if attempt > task.max_attempts:
            yield Breach("double", task.task_id, f"attempt {attempt} began; {task.max_attempts} are allowed")
    if task.timeline:
        yield from _of_claims(task, begun)


def _of_claims(task: Task, begun: Iterable[tuple[int, int]]) -> Iterator[Breach]:
    """I14: the timeline has the claim of each attempt, but of generations that it has no room for."""
    claims = {(entry.generation, n) for entry, n in numbered(task.timeline) if entry.status == Status.PROCESSING}
    oldest = task.timeline[0].generation
    for generation, attempt in sorted(set(begun) - claims):
        if generation >= oldest:
            text = f"attempt {attempt} of generation {generation} began, and the timeline has no claim of it"
            yield Breach("history", task.task_id, text)
    counted = sum(generation == task.generation for generation, _ in claims)
    if counted != task.attempts:
        yield Breach("history", task.task_id, f"has {task.attempts} attempts, and its timeline {counted} claims")


def _of_starts_without_row(facts: Facts, starts: Iterable[str]) -> Iterator[Breach]:
    """Of an interrupted run the tasks that still moved are not among the facts."""
    gone = set(starts) - set(facts.tasks) - facts.accepted if facts.ended else set()
    yield from (Breach("lost", task_id, "its work was begun, and it is in no row") for task_id in sorted(gone))


UNKNOWN = 0
"""Stands for the status of an answer that nobody got, or that says that nobody knows: any request may have it."""
WANTED: Mapping[str, frozenset[int]] = {
    "submit": frozenset({200, 202, UNKNOWN}),
    "other body": frozenset({409, UNKNOWN}),
    "bad request": frozenset({400, UNKNOWN}),
}
"""What was asked -> the statuses that it may be answered with."""


def _of_answers(facts: Facts) -> Iterator[Breach]:
    """I10, I11: a bad request is refused, another body is a conflict, and one id is new only once."""
    answers = [line for line in facts.lines if line["event"] == "answer"]
    for line in answers:
        if line["status"] not in WANTED[line["to"]]:
            yield Breach("answer", line["task"], f"{line['to']} was answered with {line['status']}")
    for task_id, times in Counter(line["task"] for line in answers if line["status"] == 202).items():
        if times > 1:
            yield Breach("answer", task_id, f"was a new task {times} times")


def of_effects(effects: Mapping[str, int], told: Iterable[str] = ()) -> Iterator[Breach]:
    """What can be told while tasks still move: no task completes twice, in whichever generation."""
    for task_id in sorted(set(effects) - set(told)):
        if effects[task_id] > 1:
            yield Breach("double", task_id, f"its effect was written {effects[task_id]} times")


FOLLOWS: Mapping[str | None, frozenset[str]] = {
    None: frozenset({"SUBMITTED"}),
    "SUBMITTED": frozenset({"PROCESSING", "FAILED_FINAL", "CANCELLED"}),
    # A claim over a lease that is over leaves no entry of its own for the attempt that ended so.
    "PROCESSING": frozenset({"COMPLETED", "FAILED_PENDING", "FAILED_FINAL", "CANCELLED", "PROCESSING"}),
    "FAILED_PENDING": frozenset({"PROCESSING", "FAILED_FINAL", "CANCELLED"}),
    "FAILED_FINAL": frozenset({"SUBMITTED"}),
    "COMPLETED": frozenset(),
    "CANCELLED": frozenset(),
}
"""The state machine: status -> those that may come next."""


def _of_history(task: Task) -> Iterator[Breach]:
    """I3, I14: the timeline is a way through the state machine, and only a replay begins a generation."""
    last: str | None = None
    generation = 1
    for entry in task.timeline:
        if entry.status not in FOLLOWS[last]:
            yield Breach("history", task.task_id, f"{entry.status} came after {last}")
        expected = generation + (last is not None and entry.status == Status.SUBMITTED)
        if entry.generation != expected:
            yield Breach("history", task.task_id, f"{entry.status} of generation {entry.generation}, not {expected}")
        last, generation = entry.status, entry.generation
    if last != task.status:
        yield Breach("history", task.task_id, f"is {task.status}, and its timeline ends with {last}")


def recoveries(facts: Facts) -> dict[str, list[int]]:
    """Fault -> how long (ms) each task that met it took to its next change of status, if there was one."""
    found: dict[str, list[int]] = defaultdict(list)
    for line in facts.lines:
        task = facts.tasks.get(line.get("task", "")) if line["event"] == "fault" else None
        later = [entry.at for entry in task.timeline if entry.at >= line["at"]] if task else []
        if later:
            found[line["fault"]].append(min(later) - line["at"])
    return dict(found)
