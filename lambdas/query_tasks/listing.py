"""Lists, newest first: partitions of the index merged into one sequence, in bounded steps. Every list is made by it.

A cursor is the sort key of the last item looked at. It means the same in each partition, since sort keys begin with the
time and end with the id; and a task keeps its sort key while it moves, so that none is shown twice.
"""

from __future__ import annotations

import base64
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from lambdas.common.rows import IndexKey, KeyPage
from lambdas.common.task import SHARDS, TASK_ID, IndexClass

T = TypeVar("T")

MAX_EXAMINED = 1000
"""Keys that one request reads at most; then its page ends, full or not, with a cursor."""
LEAST_READ, MOST_READ = 25, 100
"""Keys that one query asks for: as many as a page needs, but no trickle for a small page behind a sharp filter."""
SORT = re.compile(rf"[0-9]{{13}}#{TASK_ID.pattern}")


class Index(Protocol):
    def newest(self, partition: str, limit: int, before: str | None) -> KeyPage: ...


@dataclass(frozen=True, slots=True)
class Listed(Generic[T]):
    """A page. `cursor` continues behind it; None at the end."""

    items: tuple[T, ...]
    cursor: str | None


@dataclass(slots=True)
class _Source:
    """One partition, as far as it has been read."""

    partition: str
    before: str | None
    keys: deque[IndexKey] = field(default_factory=deque)
    more: bool = True


class Merge:
    """The keys of some index classes, newest first, from behind `before` down to `not_below`."""

    def __init__(
        self,
        index: Index,
        classes: Iterable[IndexClass],
        limit: int,
        before: str | None = None,
        not_below: str = "",
        most: int = MAX_EXAMINED,
    ) -> None:
        """`limit`: how many items are wanted, `most`: how many keys may be read for them."""
        self._index, self._not_below, self._left = index, not_below, most
        self._sources = [_Source(f"{one}#{shard}", before) for one in classes for shard in range(SHARDS)]
        # Each partition can be read from at least once, so that every request gets further.
        self.step = min(MOST_READ, max(LEAST_READ, limit + 1), most // len(self._sources))

    def peek(self) -> IndexKey | None:
        """The next key; None when there is none left, or none that may be read (`cut_short`)."""
        source = self._first()
        return source.keys[0] if source else None

    def take(self, count: int) -> list[IndexKey]:
        taken: list[IndexKey] = []
        while len(taken) < count and (source := self._first()) is not None:
            taken.append(source.keys[0])
            self._drop(source.keys[0].sort)
        return taken

    def _drop(self, sort: str) -> None:
        """From every partition: a task that moved while they were read is in two of them, under one sort key."""
        for source in self._sources:
            if source.keys and source.keys[0].sort == sort:
                source.keys.popleft()

    @property
    def cut_short(self) -> bool:
        return any(source.more and not source.keys for source in self._sources)

    def _first(self) -> _Source | None:
        """The source with the newest key; None also when one must be read and may not: its next key may be newer."""
        for source in self._sources:
            while source.more and not source.keys and self._left:
                self._read(source)
        ready = [source for source in self._sources if source.keys]
        return max(ready, key=lambda source: source.keys[0].sort) if ready and not self.cut_short else None

    def _read(self, source: _Source) -> None:
        page = self._index.newest(source.partition, min(self.step, self._left), source.before)
        wanted = [key for key in page.keys if key.sort >= self._not_below]
        self._left -= len(page.keys)
        source.keys.extend(wanted)
        source.more = page.more and 0 < len(wanted) == len(page.keys)
        source.before = page.keys[-1].sort if page.keys else source.before


def page_of(merge: Merge, look: Callable[[Sequence[IndexKey]], Mapping[str, T]], limit: int) -> Listed[T]:
    """Up to `limit` items. `look` tells, by id, what is behind the keys; a key that it leaves out is passed by."""
    found: list[T] = []
    cursor: str | None = None
    while keys := merge.take(merge.step):
        behind = dict(look(keys))
        for number, key in enumerate(keys, 1):
            cursor = key.sort
            if key.id in behind:
                found.append(behind.pop(key.id))
            if len(found) == limit:
                ended = number == len(keys) and merge.peek() is None and not merge.cut_short
                return Listed(tuple(found), None if ended else cursor)
    return Listed(tuple(found), cursor if merge.cut_short else None)


def to_cursor(sort: str | None) -> str | None:
    return None if sort is None else base64.urlsafe_b64encode(sort.encode()).decode().rstrip("=")


def sort_in(cursor: str) -> str | None:
    """The sort key in a cursor, or None: it is none of ours."""
    try:
        sort = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except ValueError:
        return None
    return sort if SORT.fullmatch(sort) and to_cursor(sort) == cursor else None
