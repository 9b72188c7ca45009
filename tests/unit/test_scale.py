"""The simulation of tests/benchmarks/scale: answers that are known by hand or by queueing theory."""

from __future__ import annotations

import math
from typing import Any

import pytest

from lambdas.common.retry import Backoff
from lambdas.common.task import SHARDS, IndexClass, class_shard
from tests.benchmarks.scale import check
from tests.benchmarks.scale.rates import RATES, heat, most_tasks
from tests.benchmarks.scale.simulation import (
    MOST_POLLERS,
    Setting,
    constant,
    exponential,
    fixed,
    poisson,
    simulate,
)
from tests.support import stack as stacks
from tests.support.templates import template

ONE_AT_A_TIME = {"batch_size": 1, "max_concurrency": 1}
"""A queue with one server."""


FIGURES: dict[str, Any] = {
    "work": fixed(1),
    "batch_size": 10,
    "batch_window": 0,
    "max_concurrency": 10,
    "max_attempts": 3,
    "backoff": Backoff(5, 900, "equal"),
    "max_receives": 5,
}
"""What the figures below are of, whatever the defaults."""


def a_setting(**changes: Any) -> Setting:
    return Setting(**{**FIGURES, **changes})


def test_a_server_with_random_arrivals_waits_as_pollaczek_and_khinchine_say() -> None:
    for work, waits in ((fixed(1), 0.5), (exponential(1), 1)):
        found = simulate(poisson(0.5, 50_000, seed=1), a_setting(work=work, **ONE_AT_A_TIME))
        assert found.waits.mean == pytest.approx(waits, rel=0.05)
        assert found.concurrency_mean == pytest.approx(0.5, rel=0.02)


def test_tasks_that_come_at_once_are_worked_batch_by_batch() -> None:
    found = simulate([0] * 35, a_setting(max_concurrency=2))
    # Two batches of ten until 1 s, ten and five until 2 s.
    assert (found.seconds, found.invocations, found.deliveries) == (2, 4, 35)
    assert (found.waits.p50, found.waits.longest, found.ages.longest) == (0, 1, 2)
    assert (found.concurrency_peak, found.in_flight_peak, found.fill) == (2, 20, 35 / 4)


CASES: dict[str, tuple[dict[str, Any], list[float], float]] = {
    "alone": ({}, [0], 1),
    "as many threads as messages": ({}, [0] * 10, 1),
    "one thread": ({"batch_threads": 1}, [0] * 10, 10),
    "three threads for ten": ({"batch_threads": 3}, [0] * 10, 4),
    "a batch costs something beside its work": ({"overhead": 0.25, "max_concurrency": 1}, [0] * 20, 2.5),
    "only a new worker starts cold": ({"cold_start": 0.5, "max_concurrency": 1}, [0] * 20, 2.5),
    "a full batch waits for no window": ({"batch_window": 5}, [0] * 10, 1),
    "a batch that is not full waits for its window": ({"batch_window": 5}, [0] * 3, 6),
    "each window is a new one": ({"batch_window": 5}, [0, 5.5], 11.5),
}


def test_how_long_it_takes() -> None:
    for changes, arrivals, seconds in CASES.values():
        assert simulate(arrivals, a_setting(**changes)).seconds == pytest.approx(seconds), changes


def test_an_overloaded_queue_grows_by_what_arrives_and_is_not_served() -> None:
    rate, served = 30, 2 * 10
    found = simulate(constant(rate, 100), a_setting(max_concurrency=2))
    assert found.backlog_growth == pytest.approx(rate - served, rel=0.05)
    assert found.throughput == pytest.approx(served, rel=0.05)


def test_each_attempt_waits_at_least_for_its_backoff() -> None:
    always = a_setting(failure_rate=1, backoff=Backoff(5, 900, "equal"))
    for seed in range(10):
        found = simulate([0], always, seed)
        # Three attempts of 1 s, and waits within [2.5, 5] and [5, 10], in whole seconds.
        assert 3 + 3 + 5 <= found.seconds <= 3 + 5 + 10
    without = simulate([0], a_setting(failure_rate=1, backoff=Backoff(5, 900, "none")))
    assert without.seconds == 3 + 5 + 10


def test_a_dead_task_is_received_until_sqs_moves_it() -> None:
    found = simulate([0], a_setting(failure_rate=1, backoff=Backoff(0, 900, "none")))
    assert (found.dead, found.attempts, found.deliveries, found.seconds) == (1, 3, 5, 3)


def test_pollers_grow_from_five_by_three_hundred_a_minute_to_the_cap() -> None:
    endless = {"work": fixed(1000), "batch_size": 1}
    assert simulate([0] * 5, a_setting(**endless, max_concurrency=50)).waits.longest == 0
    for cap, seconds in ((50, 9), (200, 39)):
        found = simulate([0] * cap, a_setting(**endless, max_concurrency=cap))
        assert (found.waits.longest, found.concurrency_peak) == (seconds, cap)
        assert simulate([0] * (cap + 1), a_setting(**endless, max_concurrency=cap)).waits.longest == 1000


def test_what_waits_for_its_next_attempt_is_in_flight_and_counts_against_the_limit() -> None:
    waiting = a_setting(failure_rate=1, max_attempts=2, backoff=Backoff(100, 900, "none"), max_receives=2)
    assert simulate([0] * 40, waiting).in_flight_peak == 40
    limited = simulate([0] * 40, Setting(**{**_fields(waiting), "max_in_flight": 15}))
    assert limited.in_flight_peak == 15
    assert limited.waits.longest >= 100, "who comes late waits for room, not for a worker"


def test_the_hottest_partition_is_a_shard_of_the_open_class() -> None:
    shards = {class_shard(IndexClass.OPEN, f"task-{number}") for number in range(1000)}
    assert len(shards) == SHARDS
    assert heat(most_tasks(), 10).share == 1
    assert [heat(rate.tasks, rate.batch_size).open_partition for rate in RATES] == [5, 500, 5000]
    assert heat(1000, 10).minute_item == 100


def test_the_settings_at_each_rate_can_be_set() -> None:
    parameters = template("app")["Parameters"]
    for rate in RATES:
        assert str(rate.max_concurrency) in parameters["MaxConcurrency"]["AllowedValues"]
        assert str(rate.batch_size) in parameters["BatchSize"]["AllowedValues"]
        assert rate.batch_size <= 10 or rate.batch_window >= 1
        assert rate.max_concurrency <= MOST_POLLERS


def test_the_overhead_is_found_from_a_run() -> None:
    overhead = 0.125
    setting, arrivals = a_setting(max_concurrency=2, first_pollers=2), list(constant(50, 2))
    seconds = simulate(arrivals, Setting(**{**_fields(setting), "overhead": overhead})).seconds
    assert check.fitted(setting, arrivals, seconds) == pytest.approx(overhead, abs=0.002)
    assert check.fitted(setting, arrivals, seconds / 10) == 0, "a run quicker than its work has no overhead to find"


def test_a_checked_case_is_simulated_as_it_is_deployed() -> None:
    for case in check.CASES:
        setting, variables = check.setting_of(case), {**stacks.FAST, **case.variables}
        assert setting.max_concurrency == int(variables["MAX_CONCURRENCY"]), case
        assert setting.failure_rate == float(variables["FAILURE_RATE"]), case
        assert setting.backoff.base_seconds == float(variables["BACKOFF_BASE_SECONDS"]), case
        assert math.isclose(simulate([0], setting).seconds, float(variables["WORK_SECONDS"])) or case.failure_rate, case


def _fields(setting: Setting) -> dict[str, Any]:
    return {name: getattr(setting, name) for name in Setting.__dataclass_fields__}
