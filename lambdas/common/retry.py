"""When a failed attempt is tried again. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal, get_args

Jitter = Literal["none", "equal", "full"]


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with a cap and jitter (AWS Architecture Blog, "Exponential Backoff And Jitter").

    After attempt n the delay is d = min(cap, base x 2^(n-1)) seconds; `equal` jitter waits within [d/2, d], `full`
    within [0, d], `none` exactly d.

    Raises:
        ValueError: a number is below 0 or without end, or there is no such jitter.
    """

    base_seconds: float
    cap_seconds: float
    jitter: Jitter

    def __post_init__(self) -> None:
        numbers = (self.base_seconds, self.cap_seconds)
        if not all(0 <= number < float("inf") for number in numbers) or self.jitter not in get_args(Jitter):
            raise ValueError(f"{self}: allowed: seconds from 0 on; jitter one of {', '.join(get_args(Jitter))}")

    def wait_seconds(self, attempt: int, rng: random.Random) -> float:
        """Seconds to wait after attempt number `attempt` (1 is the first)."""
        # The exponent is bounded so that a large attempt number cannot overflow a float.
        delay = min(self.cap_seconds, self.base_seconds * 2.0 ** min(attempt - 1, 64))
        match self.jitter:
            case "none":
                return delay
            case "equal":
                return rng.uniform(delay / 2, delay)
            case "full":
                return rng.uniform(0, delay)


class PermanentError(Exception):
    """The work can never succeed: no further attempt."""


class RetryAfter(Exception):
    """The work failed and knows when another attempt makes sense; replaces the computed backoff."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds
