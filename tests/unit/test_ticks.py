"""Every minute: what is due is submitted, once, however often EventBridge calls."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from types import SimpleNamespace
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
DAY = {"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"]}
NIGHTLY = cron("0 2 * * *", payload=lambda at: {"day": at.date().isoformat()})


@dataclass
class Api:
    """Takes bodies as POST /tasks does: the first with an id is new, any further one is known."""

    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: int = 0
    broken: set[str] = field(default_factory=set)
    status: int = 503
    refused: list[tuple[str, str]] = field(default_factory=list)
    broke: list[str] = field(default_factory=list)

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
    return Ticks(
        registry, api.submit, lambda task_id, error: api.refused.append((task_id, error.code)), api.broke.append
    )


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


@pytest.mark.parametrize("payload", [lambda at: {"share": 1 / (at.hour - 2)}, lambda at: {"at": at}])
def test_a_payload_that_cannot_be_made_keeps_no_other_kind_from_its_firing(
    api: Api, payload: Callable[[datetime], dict[str, Any]]
) -> None:
    warm = ticks(api, a=cron("0 2 * * *", payload=payload), b=NIGHTLY)
    with pytest.raises(NotSubmitted, match=r"^a-20261124T0200Z$"):
        warm.tick(TWO)
    assert (list(api.tasks), api.broke) == (["b-20261124T0200Z"], ["a-20261124T0200Z"])
    assert warm.submitted == {"b-20261124T0200Z"}, "the other is tried again"


@pytest.mark.parametrize("status", [400, 409])
def test_a_refused_firing_is_told_once_with_its_code(api: Api, status: int) -> None:
    api.broken, api.status = {"a-20261124T0200Z"}, status
    warm = ticks(api, a=NIGHTLY, b=NIGHTLY)
    assert (warm.tick(TWO), warm.tick(TWO + 1)) == (["b-20261124T0200Z"], [])
    assert api.refused == [("a-20261124T0200Z", "trouble")]


def test_a_firing_of_unknown_outcome_is_not_told_as_refused(api: Api) -> None:
    api.broken = {"nightly-20261124T0200Z"}
    with pytest.raises(NotSubmitted):
        ticks(api, nightly=NIGHTLY).tick(TWO)
    assert (api.refused, api.broke) == ([], [])


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


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What the function's logger writes."""
    stream = io.StringIO()
    writer = handler.log.handlers[0]
    assert isinstance(writer, logging.StreamHandler)
    before = writer.setStream(stream)
    yield stream
    writer.setStream(before)


def deployed_ticks(monkeypatch: pytest.MonkeyPatch, schedule: Schedule) -> Ticks:
    """The function's own, with a kind that wants a day; whatever is refused is so before the store is asked."""
    registry = Registry()
    registry.kind("nightly", schema=DAY, schedule=schedule)(lambda work: None)
    parts = SimpleNamespace(registry=registry, store=None, queue=None, default_attempts=3)
    monkeypatch.setattr(handler, "parts", lambda: parts)
    return handler.ticks.__wrapped__()


def test_a_payload_that_its_schema_refuses_is_an_error_in_the_log_without_the_payload(
    monkeypatch: pytest.MonkeyPatch, logged: io.StringIO
) -> None:
    later_wrong = cron("0 2 * * *", payload=lambda at: {"day": "first" if at.year == 1970 else 987_654})
    assert deployed_ticks(monkeypatch, later_wrong).tick(TWO) == []
    [line] = map(json.loads, logged.getvalue().splitlines())
    wanted = {"level": "ERROR", "message": "scheduled task refused", "task_id": "nightly-20261124T0200Z"}
    assert wanted.items() <= line.items()
    assert line["code"] == "invalid_request"
    assert "987654" not in logged.getvalue()


def test_a_payload_that_raises_is_an_error_in_the_log_with_its_stack(
    monkeypatch: pytest.MonkeyPatch, logged: io.StringIO
) -> None:
    with pytest.raises(NotSubmitted):
        deployed_ticks(monkeypatch, cron("0 2 * * *", payload=lambda at: {"day": f"{1 // (at.hour - 2)}"})).tick(TWO)
    [line] = map(json.loads, logged.getvalue().splitlines())
    assert (line["level"], line["message"]) == ("ERROR", "scheduled task not submitted")
    assert line["task_id"] == "nightly-20261124T0200Z"
    assert "ZeroDivisionError" in line["exception"]
