"""Replay many dead tasks: page by page, so many a second, each by the generation that was seen dead."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum

from client.errors import ApiError, Conflict, Forbidden, NotFound
from client.records import DeadLetter
from client.tasks import TaskClient


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which of the dead tasks; the fields are those of `TaskClient.dead_letters`."""

    kind: str | None = None
    error: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def fixed(self, now: float) -> Wanted:
        """With an end: what dies from now on (again, perhaps) is left for another time. `now` is in Unix seconds."""
        return self if self.until else replace(self, until=datetime.fromtimestamp(now, UTC))


class Outcome(StrEnum):
    WOULD_REPLAY = "would be replayed"
    REPLAYED = "replayed"
    REPLAYED_BEFORE = "replayed before"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Step:
    """What became of one dead task. `why` says it of one that was skipped or failed."""

    letter: DeadLetter
    outcome: Outcome
    why: str = ""


@dataclass(frozen=True, slots=True)
class Tally:
    """Tasks by outcome; and by reason, those that were skipped or failed."""

    outcomes: Mapping[Outcome, int] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)

    def __getitem__(self, outcome: Outcome) -> int:
        return self.outcomes.get(outcome, 0)

    def plus(self, step: Step) -> Tally:
        reasons = Counter(self.reasons) + Counter([step.why] if step.why else [])
        return Tally(Counter(self.outcomes) + Counter([step.outcome]), reasons)

    def __str__(self) -> str:
        counts = [f"{self[outcome]} {outcome}" for outcome in Outcome if self[outcome]]
        return ", ".join(counts) or "no dead task"


Progress = Callable[[Step, Tally], None]


def redrive_many(
    client: TaskClient,
    wanted: Wanted,
    *,
    per_second: float = 10,
    dry_run: bool = False,
    progress: Progress = lambda step, tally: None,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Tally:
    """Replay every dead task that is wanted. A dry run changes nothing.

    What was replayed leaves the list, so after an interruption the same call goes on. Give it the same `until`: without
    one it is the time of the call, and a task that died again in the meantime would be replayed a second time.
    `progress` is called after each task; an exception that it raises ends the run.

    Raises:
        Rejected, Forbidden, Unavailable: the list could not be read, or the key is no longer taken.
    """
    wanted = wanted.fixed(clock())
    pace, tally = Pace(per_second, clock, sleep), Tally()
    for letter in client.dead_letters(wanted.kind, wanted.error, wanted.since, wanted.until):
        if dry_run:
            step = Step(letter, Outcome.WOULD_REPLAY)
        else:
            pace.wait()
            step = _redrive(client, letter)
        tally = tally.plus(step)
        progress(step, tally)
    return tally


def _redrive(client: TaskClient, letter: DeadLetter) -> Step:
    """One task; its failure must not stop the rest, a key that is refused must."""
    try:
        steered = client.redrive(letter.task_id, letter.generation)
    except (Conflict, NotFound) as error:
        return Step(letter, Outcome.SKIPPED, f"{error.code}: {error.message}")
    except Forbidden:
        raise
    except ApiError as error:
        return Step(letter, Outcome.FAILED, str(error))
    return Step(letter, Outcome.REPLAYED if steered.new else Outcome.REPLAYED_BEFORE)


class Pace:
    """At most so many turns a second: each waits for its time, and time that was lost is not made up for."""

    def __init__(self, per_second: float, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        if not per_second > 0:
            raise ValueError(f"per_second is {per_second}; it must be more than 0")
        self._gap, self._clock, self._sleep = 1 / per_second, clock, sleep
        self._next: float | None = None

    def wait(self) -> None:
        now = self._clock()
        if self._next is not None and now < self._next:
            # Never longer than one gap, though the clock be set back.
            self._sleep(min(self._next - now, self._gap))
            now = self._next
        self._next = now + self._gap
