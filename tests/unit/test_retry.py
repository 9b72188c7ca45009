"""The wait after a failed attempt."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.common.retry import Backoff, Jitter, RetryAfter
from lambdas.common.task import seconds_until

BASES = st.just(0.0) | st.floats(0.001, 3600)
CAPS = st.floats(1, 43_200)
ATTEMPTS = st.one_of(st.integers(1, 70), st.integers(1, 10**9))
SEEDS = st.integers(0, 2**32)


def test_the_wait_doubles_with_each_attempt_up_to_the_cap() -> None:
    for attempt, seconds in (
        (1, 5),
        (2, 10),
        (3, 20),
        (4, 40),
        (8, 640),
        (9, 900),
        (99, 900),
    ):
        assert Backoff(5, 900, "none").wait_seconds(attempt, random.Random(1)) == seconds, attempt


@given(base=BASES, cap=CAPS, attempt=ATTEMPTS, seed=SEEDS)
def test_equal_jitter_waits_between_half_the_delay_and_all_of_it(
    base: float, cap: float, attempt: int, seed: int
) -> None:
    delay = _delay(base, cap, attempt)
    assert delay / 2 <= Backoff(base, cap, "equal").wait_seconds(attempt, random.Random(seed)) <= delay


@given(base=BASES, cap=CAPS, attempt=ATTEMPTS, seed=SEEDS)
def test_full_jitter_waits_between_nothing_and_the_delay(base: float, cap: float, attempt: int, seed: int) -> None:
    assert 0 <= Backoff(base, cap, "full").wait_seconds(attempt, random.Random(seed)) <= _delay(base, cap, attempt)


@given(base=BASES, cap=CAPS, attempt=ATTEMPTS, jitter=st.sampled_from(["none", "equal", "full"]), seed=SEEDS)
def test_no_wait_is_longer_than_the_cap_however_large_the_attempt(
    base: float, cap: float, attempt: int, jitter: Jitter, seed: int
) -> None:
    assert 0 <= Backoff(base, cap, jitter).wait_seconds(attempt, random.Random(seed)) <= cap


@pytest.mark.parametrize(("jitter", "low", "high"), [("equal", 50, 100), ("full", 0, 100)])
def test_jitter_uses_the_whole_range(jitter: Jitter, low: float, high: float) -> None:
    rng = random.Random(7)
    waits = [Backoff(100, 900, jitter).wait_seconds(1, rng) for _ in range(1000)]
    assert min(waits) < low + (high - low) * 0.05
    assert max(waits) > high - (high - low) * 0.05
    assert abs(sum(waits) / len(waits) - (low + high) / 2) < (high - low) * 0.05


def test_jitter_of_the_same_seed_is_the_same() -> None:
    backoff = Backoff(5, 900, "equal")
    assert backoff.wait_seconds(3, random.Random(1)) == backoff.wait_seconds(3, random.Random(1))


@given(base=BASES, attempt=ATTEMPTS, jitter=st.sampled_from(["none", "equal", "full"]), seed=SEEDS)
def test_in_whole_seconds_a_wait_is_never_shorter_and_less_than_a_second_longer(
    base: float, attempt: int, jitter: Jitter, seed: int
) -> None:
    wait, now = Backoff(base, 900, jitter).wait_seconds(attempt, random.Random(seed)), 1_800_000_000_000
    due = now + round(wait * 1000)
    assert due - now <= seconds_until(due, now) * 1000 < due - now + 1000


@given(attempt=st.integers(1, 30), seed=SEEDS)
def test_the_waits_of_the_default_settings_lie_in_the_upper_half_of_a_doubling_delay(attempt: int, seed: int) -> None:
    wait = Backoff(5, 900, "equal").wait_seconds(attempt, random.Random(seed))
    delay = min(900, 5 * 2 ** (attempt - 1))
    assert delay / 2 <= wait <= delay


def test_a_backoff_that_makes_no_sense_is_an_error() -> None:
    for values in (
        (-1, 900, "equal"),
        (math.nan, 900, "equal"),
        (math.inf, 900, "equal"),
        (5, -1, "equal"),
        (5, 900, "some"),
    ):
        with pytest.raises(ValueError, match="allowed: seconds from 0 on; jitter one of none, equal, full"):
            Backoff(*values)


def test_retry_after_carries_its_words_and_its_seconds() -> None:
    error = RetryAfter("busy", 12.5)
    assert (str(error), error.seconds) == ("busy", 12.5)


def _delay(base: float, cap: float, attempt: int) -> float:
    """By the definition, in whole numbers where a float would overflow."""
    delay = base
    for _ in range(attempt - 1):
        if delay >= cap or delay == 0:
            break
        delay *= 2
    return min(delay, cap)
