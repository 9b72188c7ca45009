"""Every minute: what is due is submitted, once, however often EventBridge calls."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest

from lambdas.common.http import HttpError
from lambdas.common.kinds import Registry
from lambdas.common.schedules import Schedule, cron, minute_of, rate
from lambdas.common.task import Task
from lambdas.submit_task import handler
from lambdas.submit_task.submit import Accepted
from lambdas.submit_task.ticks import NotSubmitted, Ticks
from tests.support.tasks import a_task

TWO = minute_of(datetime.fromisoformat("2026-11-24T02:00:00Z"))
NIGHTLY = cron("0 2 * * *", payload=lambda at: {"day": at.date().isoformat()})


@dataclass
class Api:
    """Takes bodies as POST /tasks does: the first with an id is new, any further one is known."""

    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: int = 0
    broken: set[str] = field(default_factory=set)
    status: int = 503

    def submit(self, body: str) -> Accepted:
        self.calls += 1
        document = json.loads(body)
        task_id = document["taskId"]
        if task_id in self.broken:
            raise HttpError(self.status, "trouble", "Trouble.")
        known = task_id in self.tasks
        self.tasks[task_id] = document
        return Accepted("known" if known else "new", task_of(task_id))


def task_of(task_id: str) -> Task:
    return a_task(task_id=task_id)


@pytest.fixture
def api() -> Api:
    return Api()


def ticks(api: Api, **schedules: Schedule) -> Ticks:
    registry = Registry()
    for name, schedule in schedules.items():
        registry.kind(name, schema={}, schedule=schedule)(lambda work: None)
    registry.kind("mail", schema={})(lambda work: None)
    return Ticks(registry, api.submit)


def test_what_is_due_is_submitted_with_an_id_made_of_kind_and_minute(api: Api) -> None:
    assert ticks(api, nightly=NIGHTLY).tick(TWO) == ["nightly-20261124T0200Z"]
    assert list(api.tasks.values()) == [
        {"taskId": "nightly-20261124T0200Z", "kind": "nightly", "payload": {"day": "2026-11-24"}}
    ]


@pytest.mark.parametrize("minute", [TWO - 1, TWO - 60, TWO + 5, TWO + 600])
def test_what_is_not_due_is_not_submitted(api: Api, minute: int) -> None:
    assert ticks(api, nightly=NIGHTLY).tick(minute) == []
    assert api.calls == 0


@pytest.mark.parametrize("late", range(5))
def test_a_minute_that_nobody_called_in_is_made_up_for_by_the_next_ones(api: Api, late: int) -> None:
    assert ticks(api, nightly=NIGHTLY).tick(TWO + late) == ["nightly-20261124T0200Z"]


def test_two_calls_for_one_minute_make_one_task_also_from_two_cold_functions(api: Api) -> None:
    warm = ticks(api, nightly=NIGHTLY)
    assert [len(one.tick(TWO)) for one in (warm, warm, ticks(api, nightly=NIGHTLY))] == [1, 0, 0]
    assert list(api.tasks) == ["nightly-20261124T0200Z"]


def test_a_warm_function_looks_back_without_a_request(api: Api) -> None:
    warm = ticks(api, pulse=rate(minutes=1))
    for minute in range(TWO, TWO + 60):
        warm.tick(minute)
    assert api.calls == len(api.tasks) == 64  # four of before the first call, looked back for, then one a minute
    assert len(warm.submitted) == 5


def test_trouble_with_one_does_not_keep_the_others_and_is_told_so_that_lambda_calls_again(api: Api) -> None:
    api.broken = {"a-20261124T0200Z"}
    warm = ticks(api, a=NIGHTLY, b=NIGHTLY)
    with pytest.raises(NotSubmitted, match=r"^a-20261124T0200Z$"):
        warm.tick(TWO)
    assert list(api.tasks) == ["b-20261124T0200Z"]
    api.broken = set()
    assert warm.tick(TWO) == ["a-20261124T0200Z"]
    assert (api.calls, len(api.tasks)) == (3, 2)


@pytest.mark.parametrize("status", [400, 409])
def test_an_id_that_somebody_else_took_is_not_asked_for_again(api: Api, status: int) -> None:
    api.broken, api.status = {"nightly-20261124T0200Z"}, status
    warm = ticks(api, nightly=NIGHTLY)
    assert (warm.tick(TWO), warm.tick(TWO + 1), api.calls) == ([], [], 1)


# The function. --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "minute"),
    [
        ({"source": "aws.events", "time": "2026-11-24T02:00:00Z"}, TWO),
        ({"source": "aws.events", "time": "2026-11-24T02:00:59Z"}, TWO),
        ({"source": "aws.events", "time": "2026-11-24T02:01:00+00:00"}, TWO + 1),
    ],
)
def test_the_function_takes_the_time_that_it_was_called_for_not_the_time_it_is(
    monkeypatch: pytest.MonkeyPatch, event: dict[str, Any], minute: int
) -> None:
    asked: list[int] = []

    class Stub:
        def tick(self, at: int) -> list[str]:
            asked.append(at)
            return ["made"]

    monkeypatch.setattr(handler, "ticks", Stub)
    assert handler.handle(event, None) == ["made"]
    assert asked == [minute]
