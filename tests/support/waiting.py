"""Waiting with a deadline: for a condition, never for luck."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
SHORTEST_SECONDS, LONGEST_SECONDS = 0.05, 0.3
"""Between two looks."""


def eventually(look: Callable[[], T], accept: Callable[[T], object] = bool, seconds: float = 180) -> T:
    """Look again and again until `accept` holds of what is seen; fails with what was seen last.

    It looks less often the longer it takes: each look costs the processes that are waited for.
    """
    began = time.monotonic()
    while True:
        seen = look()
        if accept(seen):
            return seen
        waited = time.monotonic() - began
        if waited > seconds:
            raise AssertionError(f"not within {seconds:g} s; last seen: {seen!r}")
        time.sleep(min(max(waited / 10, SHORTEST_SECONDS), LONGEST_SECONDS))
