"""Waiting with a deadline: for a condition, never for luck."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(look: Callable[[], T], accept: Callable[[T], object] = bool, seconds: float = 180) -> T:
    """Look again and again until `accept` holds of what is seen; fails with what was seen last."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if accept(seen):
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s; last seen: {seen!r}")
        time.sleep(0.1)
