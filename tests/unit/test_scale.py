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
    MAX_IN_FLIGHT,
    MOST_POLLERS,
    Setting,
    Spread,
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


def a_setting(**changes: Any) -> Setting:
    return Setting(**{"work": fixed(1), **changes})


@pytest.mark.parametrize("load", [0.3, 0.5, 0.8])
def test_a_server_with_fixed_work_and_random_arrivals_waits_as_pollaczek_and_khinchine_say(load: float) -> None:
    found = simulate(poisson(load, 100_000, seed=1), a_setting(**ONE_AT_A_TIME))
    assert found.waits.mean == pytest.approx(load / (2 * (1 - load)), rel=0.05)
    assert found.concurrency_mean == pytest.approx(load, rel=0.02)


def test_a_server_with_random_work_waits_twice_as_long() -> None:
    found = simulate(poisson(0.5, 100_000, seed=1), a_setting(work=exponential(1), **ONE_AT_A_TIME))
    assert found.waits.mean == pytest.approx(0.5 / (1 - 0.5), rel=0.05)


def test_tasks_that_come_at_once_are_worked_batch_by_batch() -> None:
    found = simulate([0] * 35, a_setting(max_concurrency=2))
    # Two batches of ten until 1 s, ten and five until 2 s.
    assert (found.seconds, found.invocations, found.deliveries) == (2, 4, 35)
    assert (found.waits.p50, found.waits.longest, found.ages.longest) == (0, 1, 2)
    assert (found.concurrency_peak, found.in_flight_peak, found.fill) == (2, 20, 35 / 4)


CASES = {
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


@pytest.mark.parametrize(("changes", "arrivals", "seconds"), CASES.values(), ids=CASES)
def test_how_long_it_takes(changes: dict[str, Any], arrivals: list[float], seconds: float) -> None:
    assert simulate(arrivals, a_setting(**changes)).seconds == pytest.approx(seconds)


@pytest.mark.parametrize("failure_rate", [0, 0.3])
def test_littles_law_holds(failure_rate: float) -> None:
    found = simulate(poisson(20, 500, seed=2), a_setting(work=exponential(1), failure_rate=failure_rate))
    rate = found.tasks / found.seconds
    assert found.open_mean == pytest.approx(rate * found.ages.mean)


@pytest.mark.parametrize("rate", [25, 30, 60])
def test_an_overloaded_queue_grows_by_what_arrives_and_is_not_served(rate: int) -> None:
    served = 2 * 10
    found = simulate(constant(rate, 300), a_setting(max_concurrency=2))
    assert found.backlog_growth == pytest.approx(rate - served, rel=0.05)
    assert found.throughput == pytest.approx(served, rel=0.05)


def test_a_queue_that_is_not_overloaded_does_not_grow() -> None:
    found = simulate(constant(15, 300), a_setting(max_concurrency=2))
    assert found.backlog_at_end < 15
    assert abs(found.backlog_growth) < 0.1


def test_the_same_seed_is_the_same_run() -> None:
    setting = a_setting(work=exponential(1), failure_rate=0.3)
    one, again, other = (simulate(poisson(10, 60, seed=3), setting, seed) for seed in (5, 5, 6))
    assert one == again != other


def test_each_attempt_waits_at_least_for_its_backoff() -> None:
    always = a_setting(failure_rate=1, backoff=Backoff(5, 900, "equal"))
    for seed in range(50):
        found = simulate([0], always, seed)
        # Three attempts of 1 s, and waits within [2.5, 5] and [5, 10], in whole seconds.
        assert 3 + 3 + 5 <= found.seconds <= 3 + 5 + 10
    without = simulate([0], a_setting(failure_rate=1, backoff=Backoff(5, 900, "none")))
    assert without.seconds == 3 + 5 + 10


def test_a_dead_task_is_received_until_sqs_moves_it() -> None:
    found = simulate([0], a_setting(failure_rate=1, backoff=Backoff(0, 900, "none")))
    assert (found.dead, found.attempts, found.deliveries, found.seconds) == (1, 3, 5, 3)


def test_failures_come_as_often_as_asked() -> None:
    found = simulate(constant(10, 2000), a_setting(failure_rate=0.3))
    assert found.dead / found.tasks == pytest.approx(0.3**3, rel=0.1)
    assert found.attempts / found.tasks == pytest.approx(1 + 0.3 + 0.3**2, rel=0.02)


def test_pollers_grow_from_five_by_three_hundred_a_minute_to_the_cap() -> None:
    endless = {"work": fixed(1000), "batch_size": 1}
    assert simulate([0] * 5, a_setting(**endless, max_concurrency=50)).waits.longest == 0
    for cap, seconds in ((50, 9), (200, 39), (1000, 199)):
        found = simulate([0] * cap, a_setting(**endless, max_concurrency=cap))
        assert (found.waits.longest, found.concurrency_peak) == (seconds, cap)
        assert simulate([0] * (cap + 1), a_setting(**endless, max_concurrency=cap)).waits.longest == 1000


def test_what_waits_for_its_next_attempt_is_in_flight_and_counts_against_the_limit() -> None:
    waiting = a_setting(failure_rate=1, max_attempts=2, backoff=Backoff(100, 900, "none"), max_receives=2)
    assert simulate([0] * 40, waiting).in_flight_peak == 40
    limited = simulate([0] * 40, Setting(**{**_fields(waiting), "max_in_flight": 15}))
    assert limited.in_flight_peak == 15
    assert limited.waits.longest >= 100, "who comes late waits for room, not for a worker"


def test_a_window_fills_batches() -> None:
    enough = {"max_concurrency": 50, "first_pollers": 50}
    alone, gathered, larger = (
        simulate(constant(20, 60), a_setting(**enough, batch_window=window, batch_size=size))
        for window, size in ((0, 10), (0.25, 10), (1, 100))
    )
    assert alone.invocations_a_task == 1
    assert gathered.fill == pytest.approx(20 * 0.25, rel=0.25)
    assert larger.fill == pytest.approx(20 * 1, rel=0.06)


def test_nothing_arrives() -> None:
    found = simulate([], a_setting())
    assert (found.tasks, found.seconds, found.throughput, found.fill, found.invocations_a_task) == (0, 0, 0, 0, 0)


def test_percentiles_are_of_the_values_themselves() -> None:
    assert Spread.of(range(1, 101)) == Spread(50.5, 50, 95, 99, 100)
    assert Spread.of([7]) == Spread(7, 7, 7, 7, 7)


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


def test_the_defaults_are_those_of_the_deployment() -> None:
    parameters, default = template("app")["Parameters"], Setting()
    assert default.batch_size == int(parameters["BatchSize"]["Default"])
    assert default.max_concurrency == int(parameters["MaxConcurrency"]["Default"])
    assert default.max_attempts == parameters["MaxRetries"]["Default"] + 1
    assert default.backoff == Backoff(
        parameters["BackoffBaseSeconds"]["Default"],
        parameters["BackoffCapSeconds"]["Default"],
        parameters["BackoffJitter"]["Default"],
    )
    assert default.max_receives == template("storage")["Parameters"]["MaxReceiveCount"]["Default"]
    assert default.max_in_flight == MAX_IN_FLIGHT


@pytest.mark.parametrize("overhead", [0, 0.125, 1.5])
def test_the_overhead_is_found_from_a_run(overhead: float) -> None:
    setting, arrivals = a_setting(max_concurrency=2, first_pollers=2), list(constant(50, 2))
    seconds = simulate(arrivals, Setting(**{**_fields(setting), "overhead": overhead})).seconds
    assert check.fitted(setting, arrivals, seconds) == pytest.approx(overhead, abs=0.002)
    assert check.fitted(setting, arrivals, seconds / 10) == 0, "a run quicker than its work has no overhead to find"


@pytest.mark.parametrize("case", check.CASES, ids=lambda case: f"{case.name}, {case.max_concurrency}")
def test_a_checked_case_is_simulated_as_it_is_deployed(case: check.Case) -> None:
    setting, variables = check.setting_of(case), {**stacks.FAST, **case.variables}
    assert setting.max_concurrency == int(variables["MAX_CONCURRENCY"])
    assert setting.failure_rate == float(variables["FAILURE_RATE"])
    assert setting.backoff.base_seconds == float(variables["BACKOFF_BASE_SECONDS"])
    assert math.isclose(simulate([0], setting).seconds, float(variables["WORK_SECONDS"])) or case.failure_rate


def _fields(setting: Setting) -> dict[str, Any]:
    return {name: getattr(setting, name) for name in Setting.__dataclass_fields__}
