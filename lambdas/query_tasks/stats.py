"""GET /stats: how many tasks stand how, how long the queues are, what ended in the last hour. In bounded work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from lambdas.common.http import iso
from lambdas.common.minutes import HOUR_MS, MINUTE_MS, Minute
from lambdas.common.rows import IndexKey
from lambdas.common.task import SHARDS, IndexClass, sorted_at

MOST = 10_000
"""A count goes no further."""
FRESH_MS = 5_000
"""For so long a warm function gives the same answer again."""
READ: Mapping[str, tuple[IndexClass, ...]] = {
    "sent": (IndexClass.OPEN,),
    "parked": (IndexClass.PARKED,),
    "COMPLETED": (IndexClass.COMPLETED,),
    "FAILED_FINAL": (IndexClass.DEAD, IndexClass.RECORDED),
    "CANCELLED": (IndexClass.CANCELLED,),
}
"""What is read of the index, each up to the cap."""
COUNTED: Mapping[str, tuple[str, ...]] = {
    "open": ("sent", "parked"),
    "parked": ("parked",),
    "COMPLETED": ("COMPLETED",),
    "FAILED_FINAL": ("FAILED_FINAL",),
    "CANCELLED": ("CANCELLED",),
}
"""What is told, and of what it is made up. Open tasks are not told by status: the index knows classes alone, since
under a status each move of a task would be a write on one of a few keys."""
EXACT = ("oldestOpenAt", "kinds")
"""The oldest as the index knows it, which is a moment behind. Tasks that are parked until they are due do not count as
waiting."""
APPROXIMATE = ("counts", "queue", "deadLetterQueue", "perMinute")
"""Counts pass by the index and hold expired tasks that DynamoDB has not deleted yet; SQS's numbers are approximate; a
minute may miss an invocation, and its percentiles are read off a histogram."""


class Catalog(Protocol):
    def count(self, partition: str, most: int) -> int: ...
    def oldest(self, partition: str) -> IndexKey | None: ...


class Minutes(Protocol):
    def since(self, begin: int, now: int) -> list[Minute]: ...


class Depth(Protocol):
    """Messages of a queue."""

    @property
    def waiting(self) -> int: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def delayed(self) -> int: ...


class Queue(Protocol):
    def depth(self) -> Depth: ...


@dataclass(frozen=True)
class Sources:
    catalog: Catalog
    minutes: Minutes
    queue: Queue
    dead_letter_queue: Queue
    kinds: Sequence[str] = ()


def stats(sources: Sources, now: int) -> dict[str, Any]:
    """Read side by side: a sum of small waits would be a long one."""
    begin = now - now % MINUTE_MS - HOUR_MS + MINUTE_MS
    with ThreadPoolExecutor(max_workers=len(READ) + 4) as pool:
        read = {name: pool.submit(_count, sources.catalog, classes) for name, classes in READ.items()}
        oldest = pool.submit(_oldest, sources.catalog)
        queue, dead_letters = pool.submit(sources.queue.depth), pool.submit(sources.dead_letter_queue.depth)
        minutes = pool.submit(sources.minutes.since, begin, now)
    depth, dlq = queue.result(), dead_letters.result()
    return {
        "counts": {name: _shown(sum(read[part].result() for part in parts)) for name, parts in COUNTED.items()},
        "queue": {"waiting": depth.waiting, "inFlight": depth.in_flight, "delayed": depth.delayed},
        "deadLetterQueue": {"waiting": dlq.waiting, "inFlight": dlq.in_flight},
        "oldestOpenAt": oldest.result(),
        "perMinute": [_minute_view(minute) for minute in minutes.result() if not minute.empty],
        "kinds": list(sources.kinds),
        "exact": list(EXACT),
        "approximate": list(APPROXIMATE),
        "at": iso(now),
    }


def _count(catalog: Catalog, classes: Iterable[IndexClass]) -> int:
    """As far as one more than the cap, which tells that there are more."""
    counted = 0
    for partition in _partitions(classes):
        if counted <= MOST:
            counted += catalog.count(partition, MOST + 1 - counted)
    return counted


def _shown(counted: int) -> dict[str, Any]:
    return {"count": min(counted, MOST), "more": counted > MOST}


def _oldest(catalog: Catalog) -> str | None:
    keys = [catalog.oldest(partition) for partition in _partitions([IndexClass.OPEN])]
    sorts = [key.sort for key in keys if key is not None]
    return iso(sorted_at(min(sorts))) if sorts else None


def _partitions(classes: Iterable[IndexClass]) -> list[str]:
    return [f"{one}#{shard}" for one in classes for shard in range(SHARDS)]


def _minute_view(minute: Minute) -> dict[str, Any]:
    return {
        "minute": iso(minute.at),
        "completed": minute.completed,
        "failed": minute.failed,
        "dead": minute.dead,
        "p50Ms": minute.age_at(0.5),
        "p95Ms": minute.age_at(0.95),
    }


@dataclass
class Cached:
    """The last answer, for as long as it is fresh."""

    read: Callable[[int], dict[str, Any]]
    _answer: dict[str, Any] | None = None
    _at: int = 0

    def at(self, now: int) -> dict[str, Any]:
        if self._answer is None or not 0 <= now - self._at < FRESH_MS:
            self._answer, self._at = self.read(now), now
        return self._answer
