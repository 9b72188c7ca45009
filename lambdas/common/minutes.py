"""What ended in a minute: counts, and a histogram of the time from submit to end. Pure.

One best-effort write for each invocation of ProcessTask adds to it. A write that fails is lost, one that SDK or Lambda
repeats counts twice: the figures are for people to look at, never to decide by.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lambdas.common.rows import Row

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
KEPT_SECONDS = 2 * 86_400
COUNTS = ("completed", "failed", "dead")
AGE = "age"
"""Attribute `age12`: tasks that ended at an age from 2^11 ms up to, not including, 2^12 ms."""


@dataclass(frozen=True, slots=True)
class Minute:
    """`at` is its beginning, in milliseconds."""

    at: int
    completed: int = 0
    failed: int = 0
    """Attempts that will be followed by another."""
    dead: int = 0
    """Attempts that were the last."""
    ages: Mapping[int, int] = field(default_factory=dict)
    """Power of two -> tasks that ended younger than so many milliseconds, and not younger than half of it."""

    @property
    def empty(self) -> bool:
        return not (self.completed or self.failed or self.dead)

    def age_at(self, part: float) -> int | None:
        """About the age, in milliseconds, that this part of the tasks did not reach; None when none ended."""
        wanted, below = part * sum(self.ages.values()), 0.0
        for power, count in sorted(self.ages.items()):
            if count and below + count >= wanted:
                low, high = _bounds(power)
                return round(low + (high - low) * (wanted - below) / count)
            below += count
        return None


def minute_of(at: int, completed: int, failed: int, dead: int, ages_ms: Iterable[int]) -> Minute:
    """The minute that `at` lies in, with what one invocation saw end."""
    ages: dict[int, int] = {}
    for age in ages_ms:
        power = max(0, age).bit_length()
        ages[power] = ages.get(power, 0) + 1
    return Minute(at - at % MINUTE_MS, completed, failed, dead, ages)


def _bounds(power: int) -> tuple[int, int]:
    return (1 << power) // 2, 1 << power


def partition(at: int) -> str:
    """One for each hour, so that an hour is read by two queries instead of sixty reads."""
    return f"MINUTES#{at - at % HOUR_MS:013d}"


def sort(at: int) -> str:
    return f"{at:013d}"


def added(minute: Minute) -> dict[str, int]:
    """Attributes to add to, each by its name; none is 0."""
    counts = {name: getattr(minute, name) for name in COUNTS}
    return {name: count for name, count in counts.items() if count} | {
        f"{AGE}{power:02d}": count for power, count in minute.ages.items()
    }


def minute_in(row: Row) -> Minute:
    ages = {int(name.removeprefix(AGE)): count for name, count in row.items() if name.startswith(AGE)}
    completed, failed, dead = (row.get(name, 0) for name in COUNTS)
    return Minute(int(row["SK"]), completed, failed, dead, ages)
