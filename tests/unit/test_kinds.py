"""Kinds of task: how they are declared, and the demo's own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from lambdas.common import kinds
from lambdas.common.kinds import JsonObject, Registry, Work
from lambdas.common.retry import PermanentError, RetryAfter
from lambdas.common.settings import SettingError
from lambdas.process_task import kinds as kinds_package
from lambdas.process_task.kinds import simulated


def work_of(attempt: int = 1, **orders: Any) -> Work:
    return Work("task-1", {"simulate": orders} if orders else {}, attempt, 1, lambda: 20.0)


@pytest.fixture
def function(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The environment of a function, in which work takes no time and does not fail by chance."""
    monkeypatch.setenv("WORK_SECONDS", "0")
    monkeypatch.setenv("FAILURE_RATE", "0")
    simulated.defaults.cache_clear()
    yield monkeypatch
    simulated.defaults.cache_clear()


def a_kind(schema: dict[str, Any]) -> kinds.Kind:
    registry = Registry()

    @registry.kind("mail", schema=schema)
    def run(work: Work) -> JsonObject | None:
        return None

    found = registry.get("mail")
    assert found is not None
    return found


def test_a_decorated_function_is_a_kind_and_stays_a_function() -> None:
    registry = Registry()

    @registry.kind("mail", schema={})
    def send(work: Work) -> JsonObject | None:
        return {"sent": work.attempt}

    found = registry.get("mail")
    assert found is not None
    assert (found.run(work_of(2)), send(work_of(3))) == ({"sent": 2}, {"sent": 3})


def test_two_kinds_of_one_name_are_an_error() -> None:
    registry = Registry()
    registry.kind("mail", schema={})(lambda work: None)
    with pytest.raises(ValueError, match="'mail'"):
        registry.kind("mail", schema={})(lambda work: None)


def test_a_payload_is_held_to_the_schema_and_the_error_names_the_field() -> None:
    for schema, payload, error in (
        ({}, {"any": "thing"}, None),
        ({"required": ["to"]}, {"to": 1}, None),
        ({"required": ["to"]}, {}, "payload must contain ['to'] properties"),
        ({"properties": {"to": {"type": "string"}}}, {"to": 1}, "payload.to must be string"),
        (
            {"properties": {"data": {"type": "string"}}},
            {"data": 1},
            "payload.data must be string",
        ),
    ):
        assert a_kind(schema).payload_error(payload) == error, schema


def test_a_default_in_the_schema_does_not_change_the_payload() -> None:
    payload: JsonObject = {}
    assert a_kind({"properties": {"to": {"default": "nobody"}}}).payload_error(payload) is None
    assert payload == {}


def test_every_module_of_the_package_registers_its_kind() -> None:
    assert "simulated" in kinds.load(kinds_package).names()


# The simulated kind. --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("function")
def test_simulated_work_says_how_long_it_took_and_which_attempt_it_was() -> None:
    assert simulated.run(work_of(2)) == {"workSeconds": 0, "attempt": 2}


def test_without_orders_the_settings_of_the_function_decide(function: pytest.MonkeyPatch) -> None:
    function.setenv("WORK_SECONDS", "0.05")
    function.setenv("FAILURE_RATE", "1")
    started = time.monotonic()
    with pytest.raises(simulated.SimulatedFailure):
        simulated.run(work_of())
    assert time.monotonic() - started >= 0.05


def test_a_setting_out_of_range_is_named(function: pytest.MonkeyPatch) -> None:
    function.setenv("FAILURE_RATE", "1.5")
    with pytest.raises(SettingError, match=r"FAILURE_RATE is '1.5'; allowed: a number from 0 to 1"):
        simulated.run(work_of())


@pytest.mark.usefixtures("function")
def test_simulated_work_takes_the_time_it_is_told() -> None:
    started = time.monotonic()
    simulated.run(work_of(workSeconds=0.05))
    assert time.monotonic() - started >= 0.05


@pytest.mark.usefixtures("function")
@pytest.mark.parametrize(("generation", "fails"), [(1, True), (2, False), (3, True)])
def test_simulated_work_fails_for_good_in_the_generations_it_is_told(generation: int, fails: bool) -> None:
    work = replace(work_of(failGenerations=[1, 3]), generation=generation)
    if fails:
        with pytest.raises(PermanentError, match="for good"):
            simulated.run(work)
    else:
        assert simulated.run(work) == {"workSeconds": 0, "attempt": 1}


@pytest.mark.usefixtures("function")
@pytest.mark.parametrize(("attempt", "fails"), [(1, True), (2, False), (3, True)])
def test_simulated_work_fails_in_the_attempts_it_is_told(attempt: int, fails: bool) -> None:
    work = work_of(attempt, failAttempts=[1, 3])
    if fails:
        with pytest.raises(simulated.SimulatedFailure, match=f"attempt {attempt}"):
            simulated.run(work)
    else:
        assert simulated.run(work) is not None


@pytest.mark.usefixtures("function")
def test_simulated_work_fails_always_at_a_rate_of_one() -> None:
    with pytest.raises(simulated.SimulatedFailure):
        simulated.run(work_of(failureRate=1))


@pytest.mark.usefixtures("function")
def test_attempts_that_are_told_come_before_the_rate() -> None:
    assert simulated.run(work_of(failAttempts=[2], failureRate=1)) is not None


@pytest.mark.usefixtures("function")
def test_simulated_work_asks_to_come_back_when_it_is_told() -> None:
    with pytest.raises(RetryAfter) as error:
        simulated.run(work_of(failAttempts=[1], retryAfterSeconds=90))
    assert error.value.seconds == 90


@pytest.mark.usefixtures("function")
def test_simulated_work_fails_for_good_when_it_is_told() -> None:
    with pytest.raises(PermanentError):
        simulated.run(work_of(permanent=True))


def test_orders_that_the_simulated_kind_does_not_take_are_named() -> None:
    for simulate, field in (
        ({"failAttempts": [0]}, "payload.simulate.failAttempts[0]"),
        ({"failAttempts": 1}, "payload.simulate.failAttempts"),
        ({"failureRate": 1.1}, "payload.simulate.failureRate"),
        ({"failureRate": -0.1}, "payload.simulate.failureRate"),
        ({"workSeconds": 21}, "payload.simulate.workSeconds"),
        ({"permanent": 1}, "payload.simulate.permanent"),
        ({"retryAfterSeconds": 43_201}, "payload.simulate.retryAfterSeconds"),
        ({"unknown": 1}, "payload.simulate"),
        ([], "payload.simulate"),
    ):
        found = kinds.load(kinds_package).get("simulated")
        assert found is not None, simulate
        error = found.payload_error({"simulate": simulate})
        assert error is not None, simulate
        assert error.startswith(f"{field} must"), simulate


def test_the_simulated_kind_takes_any_other_payload() -> None:
    found = kinds.load(kinds_package).get("simulated")
    assert found is not None
    assert found.payload_error({"anything": [1, {"x": None}], "simulate": {"failAttempts": [1, 2]}}) is None


@pytest.mark.parametrize(
    "orders",
    [
        {"failureRate": 0, "workSeconds": 0, "retryAfterSeconds": 0, "failAttempts": [], "permanent": False},
        {"failureRate": 1, "workSeconds": 20, "retryAfterSeconds": 43_200, "failAttempts": [1], "permanent": True},
    ],
    ids=["least", "most"],
)
def test_the_simulated_kind_takes_the_least_and_the_most_of_every_order(orders: JsonObject) -> None:
    found = kinds.load(kinds_package).get("simulated")
    assert found is not None
    assert found.payload_error({"simulate": orders}) is None
