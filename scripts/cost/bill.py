"""What is billed: so many of each thing with a price, added up and shared out. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from scripts.cost.prices import Prices

MINUTES = 30 * 24 * 60
"""Of a month: 43,200 runs of the sweeper."""
POLLERS, POLL_SECONDS = 5, 20
"""Lambda keeps five long polls of 20 s open for a queue, also an idle one; with a cap on concurrency, as here, it does
not go down to two (Developer Guide, services-sqs-scaling, "Configuring scaling behavior for SQS event sources")."""


@dataclass(frozen=True, slots=True)
class Counts:
    """By the names of the price list."""

    of: Mapping[str, float] = field(default_factory=dict)

    def __add__(self, other: Counts) -> Counts:
        return Counts({name: self.of.get(name, 0) + other.of.get(name, 0) for name in {**self.of, **other.of}})

    def __mul__(self, factor: float) -> Counts:
        return Counts({name: count * factor for name, count in self.of.items()})

    def usd(self, prices: Prices) -> float:
        return prices.usd(self.of)


def total(parts: Sequence[Counts]) -> Counts:
    return sum(parts, Counts())


@dataclass(frozen=True, slots=True)
class Ends:
    """What a task counts that is COMPLETED after 0, 1, … failures, and one that fails in every attempt."""

    good: Sequence[Counts]
    death: Counts

    def plus(self, counts: Counts) -> Ends:
        """With so much more for each task, however it ends."""
        return Ends([good + counts for good in self.good], self.death + counts)

    def per_good_task(self, failure_rate: float) -> Counts:
        """With every attempt failing at this rate; what died is paid by those that did not."""
        assert failure_rate < 1, "nothing is ever good"
        chances = [failure_rate**failures * (1 - failure_rate) for failures in range(len(self.good))]
        died = failure_rate ** len(self.good)
        paid = total([counts * chance for counts, chance in zip(self.good, chances, strict=True)]) + self.death * died
        return paid * (1 / (1 - died))


def polls(queues: int) -> Counts:
    """Of idle queues, in a month. Under load a poll that finds something is one of the requests of its tasks."""
    return Counts({"queue_requests": queues * POLLERS * MINUTES * 60 / POLL_SECONDS})


@dataclass(frozen=True, slots=True)
class Fixed:
    """What a month costs in which nothing happens."""

    parts: Mapping[str, Counts]

    def usd(self, prices: Prices) -> float:
        return sum(counts.usd(prices) for counts in self.parts.values())
