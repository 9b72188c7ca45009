"""What each rate asks of AWS: waits by simulation, write units by the keys of the table, USD by `scripts.cost`.

Nothing of it was measured on AWS. One second of work a task, and Poisson arrivals.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lambdas.common.task import SHARDS
from scripts.cost import prices, stand
from scripts.cost.__main__ import MILLION, per_million
from scripts.cost.lab import BATCH
from scripts.cost.measure import measure
from tests.benchmarks.scale.simulation import Result, Setting, fixed, poisson, simulate

MONTH_SECONDS = 30 * 86_400
WRITES_INTO_OPEN = 2
"""Of a good task in the index partitions of class O: put when submitted, deleted when completed."""
PARTITION_WRITE_UNITS = 1_000
"""https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/warm-throughput-scenarios.html"""
FAILURE_RATES = (0, 0.3, 1)
"""No failure, the default of the simulated kind, and whatever the tasks call being down."""
COLD_START = 1.0
"""Seconds; a guess, for no function of ours was started on AWS. It matters at the beginning only."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Tasks a second, and the settings for it; the simulation runs for so many seconds of arrivals."""

    tasks: int
    max_concurrency: int
    batch_size: int
    batch_window: float
    seconds: int

    def setting(self, failure_rate: float) -> Setting:
        return Setting(
            work=fixed(1),
            batch_size=self.batch_size,
            batch_window=self.batch_window,
            max_concurrency=self.max_concurrency,
            failure_rate=failure_rate,
            cold_start=COLD_START,
        )


RATES: Sequence[Rate] = (
    Rate(10, 10, 10, 0, 600),
    Rate(1_000, 500, 10, 1, 180),
    Rate(10_000, 500, 100, 1, 90),
)


@dataclass(frozen=True, slots=True)
class Heat:
    """Write units a second of the hottest keys, of good tasks."""

    open_partition: float
    """Of one shard of class O: ids are spread over the shards evenly."""
    minute_item: float
    """The one item to which every invocation of ProcessTask adds what ended in this minute."""

    @property
    def share(self) -> float:
        """Of what one partition can take."""
        return self.open_partition / PARTITION_WRITE_UNITS


def heat(rate: float, fill: float) -> Heat:
    """`fill`: messages of a batch. An index entry and the item of a minute are under 1 KB: a unit a write."""
    return Heat(rate * WRITES_INTO_OPEN / SHARDS, rate / fill)


def most_tasks() -> float:
    """A second, before a shard of class O reaches what a partition can take."""
    return PARTITION_WRITE_UNITS * SHARDS / WRITES_INTO_OPEN


def simulated(rate: Rate, failure_rate: float, seed: int = 1) -> Result:
    return simulate(poisson(rate.tasks, rate.seconds, seed), rate.setting(failure_rate), seed)


@dataclass(frozen=True, slots=True)
class Month:
    """USD of so many tasks a second, all month, without the work itself."""

    tasks: int
    alone: float
    full: float


def months(region: str = "eu-west-1", rates: Sequence[Rate] = RATES) -> Iterator[Month]:
    """Runs the project's own count of a task (a minute or two), and multiplies. Fixed costs are in it."""
    list_ = prices.read(region)
    with stand.stack() as (place, outputs):
        found = measure(place, outputs)
    counts = per_million(found, 0)
    usd: Mapping[int, float] = {batch: counts["ours", batch].usd(list_) for batch in (1, BATCH)}
    fixed_usd = found.fixed["ours"].usd(list_)
    for rate in rates:
        millions = rate.tasks * MONTH_SECONDS / MILLION
        yield Month(rate.tasks, usd[1] * millions + fixed_usd, usd[BATCH] * millions + fixed_usd)
