"""Many things side by side, in bounded time; those that concern the same thing one after the other, as they came."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

THREADS = 20
"""As many as a client has connections (aws.CONFIG)."""


def in_chains(items: Sequence[T], link: Callable[[T], Hashable], act: Callable[[T], R]) -> list[R]:
    """What `act` makes of each item, in their order. Items of one `link` are acted on in order, in one thread."""
    chains: dict[Hashable, list[int]] = {}
    for number, item in enumerate(items):
        chains.setdefault(link(item), []).append(number)

    def walk(numbers: Sequence[int]) -> list[tuple[int, R]]:
        return [(number, act(items[number])) for number in numbers]

    with ThreadPoolExecutor(max_workers=min(THREADS, len(chains)) or 1) as pool:
        done = [one for walked in pool.map(walk, chains.values()) for one in walked]
    return [result for _, result in sorted(done, key=lambda one: one[0])]
