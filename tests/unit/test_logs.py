"""`make logs`: one event, one line, and never a payload."""

from __future__ import annotations

import ast
import io
import json
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError

from bootstrap.errors import BootstrapError
from bootstrap.paths import ROOT
from lambdas.common import telemetry
from scripts import logs
from scripts.logs import Wanted, chosen, events, wanted

GROUP = "/aws/lambda/dev-process-task"
FUNCTIONS = {"ProcessTask": "dev-process-task", "SubmitTask": "dev-submit-task", "MonitorDlq": "dev-monitor-dlq"}


def an_event(message: object, group: str = GROUP, at: int = 1_800_000_000_123) -> dict[str, Any]:
    text = message if isinstance(message, str) else json.dumps(message)
    return {"timestamp": at, "message": text, "group": group}


def plain(message: object, task: str | None = None) -> str | None:
    line = logs.line(an_event(message), task)
    return None if line is None else line.plain


DOCUMENT = {
    "level": "WARNING",
    "location": "_report:72",
    "message": "task failed",
    "timestamp": "2027-01-15 08:00:00,123+0000",
    "service": "process-task",
    "task_id": "task-1",
    "attempt": 2,
    "error": "ValueError: it broke",
    "xray_trace_id": "1-2-3",
}


def test_an_event_is_a_line_with_its_time_function_words_task_and_fields() -> None:
    line = plain(DOCUMENT)
    assert line is not None
    at, rest = line.split("  ", 1)
    assert (len(at), at[-4:]) == (len("08:00:00.123"), ".123")
    assert rest == "process-task  task failed  task-1  attempt=2  error=ValueError: it broke"


def test_what_only_machines_need_is_left_out() -> None:
    line = plain(DOCUMENT)
    assert line is not None
    for words in ("_report:72", "xray", "WARNING", "2027-01-15"):
        assert words not in line


def test_a_level_shows_by_its_colour() -> None:
    line = logs.line(an_event(DOCUMENT), None)
    assert line is not None
    assert "yellow" in {str(span.style) for span in line.spans}


@pytest.mark.parametrize(
    ("message", "task", "shown"),
    [
        (DOCUMENT, "task-1", True),
        (DOCUMENT, "task-2", False),
        ({**DOCUMENT, "task_id": "task-11"}, "task-1", False),
        ({"message": "swept"}, "task-1", False),
        ({"message": "swept"}, None, True),
        ({"_aws": {"CloudWatchMetrics": []}, "Sweeps": 1}, None, False),
        ({"_aws": {}, "task_id": "task-1"}, "task-1", False),
        ("START RequestId: 1", None, False),
        ("END RequestId: 1", "task-1", False),
        ("[1, 2]", None, False),
        ("Traceback (most recent call last):\n  ...\n", None, True),
        ("Traceback (most recent call last):\n  ...\n", "task-1", False),
    ],
)
def test_only_what_was_asked_for_is_shown(message: object, task: str | None, shown: bool) -> None:
    assert (plain(message, task) is not None) is shown


def test_a_crash_that_is_no_event_is_shown_as_it_is() -> None:
    assert plain("Traceback (most recent call last):\n  boom\n\n") == "Traceback (most recent call last):\n  boom"


# What the functions log. ----------------------------------------------------------------------------------------------


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What a function's logger writes."""
    stream = io.StringIO()
    log = telemetry.logger("test-logs")
    handler = log.handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    before = handler.setStream(stream)
    yield stream
    handler.setStream(before)


def test_an_event_of_the_functions_own_logger_is_shown_whole(logged: io.StringIO) -> None:
    telemetry.logger("test-logs").warning("task dead", task_id="task-1", attempts=3)
    line = plain(logged.getvalue().strip())
    assert line is not None
    assert line.endswith("task dead  task-1  attempts=3")


def test_no_function_logs_a_payload_a_body_or_a_result() -> None:
    fields = {field for path in sorted((ROOT / "lambdas").rglob("*.py")) for field in _logged_fields(path.read_text())}
    assert {"task_id", "status", "error"} <= fields, "the search finds what is logged"
    assert fields & {"payload", "body", "result", "event", "raw", "document"} == set()


def _logged_fields(text: str) -> Iterator[str]:
    """Names of the fields given to `log.info(…)` and its like."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("log."):
            yield from (keyword.arg for keyword in node.keywords if keyword.arg)


# What to show. --------------------------------------------------------------------------------------------------------


def test_without_variables_it_is_ten_minutes_of_everything() -> None:
    assert wanted({}) == Wanted(600, None, None, False)


def test_variables_choose_what_is_shown() -> None:
    variables = {"SINCE": "2h", "TASK": "task-1", "FN": "process-task", "FOLLOW": "1"}
    assert wanted(variables) == Wanted(7200, "task-1", "process-task", True)


@pytest.mark.parametrize(("text", "seconds"), [("1s", 1), ("10m", 600), ("3h", 10_800), ("2d", 172_800)])
def test_since_takes_seconds_minutes_hours_and_days(text: str, seconds: int) -> None:
    assert wanted({"SINCE": text}).since_seconds == seconds


@pytest.mark.parametrize("text", ["10", "m", "1w", "-1m", "1.5h", "10m ", "1234567s"])
def test_a_wrong_since_is_named(text: str) -> None:
    with pytest.raises(BootstrapError, match="SINCE is"):
        wanted({"SINCE": text})


@pytest.mark.parametrize(
    ("function", "groups"),
    [
        (None, ["monitor-dlq", "process-task", "submit-task"]),
        ("process-task", ["process-task"]),
        ("task", ["process-task", "submit-task"]),
    ],
)
def test_a_function_is_chosen_by_the_end_of_its_name(function: str | None, groups: list[str]) -> None:
    assert chosen(FUNCTIONS, Wanted(1, None, function, False)) == [f"/aws/lambda/dev-{group}" for group in groups]


def test_a_function_that_there_is_not_is_named_with_those_there_are() -> None:
    with pytest.raises(BootstrapError, match="FN is 'other'; there are: monitor-dlq, process-task, submit-task"):
        chosen(FUNCTIONS, Wanted(1, None, "other", False))


# Reading. -------------------------------------------------------------------------------------------------------------


class FakeLogs:
    """CloudWatch Logs with pages of events by group; a group that is not there is an error."""

    def __init__(self, pages: Mapping[str, list[list[int]]], code: str = "ResourceNotFoundException") -> None:
        self._pages, self._code = pages, code

    def get_paginator(self, operation: str) -> FakeLogs:
        assert operation == "filter_log_events"
        return self

    def paginate(self, **request: Any) -> Iterator[dict[str, Any]]:
        group, start = request["logGroupName"], request["startTime"]
        if group not in self._pages:
            raise ClientError({"Error": {"Code": self._code, "Message": ""}}, "FilterLogEvents")
        for page in self._pages[group]:
            yield {"events": [{"timestamp": at, "message": f"at {at}"} for at in page if at >= start]}


def test_events_of_all_groups_come_in_the_order_of_time() -> None:
    found = events(FakeLogs({"a": [[1, 5], [7]], "b": [[2], [6, 9]]}), ["a", "b"], 2)
    assert [(event["timestamp"], event["group"]) for event in found] == [
        (2, "b"),
        (5, "a"),
        (6, "b"),
        (7, "a"),
        (9, "b"),
    ]


def test_a_group_that_is_not_there_yet_has_no_events() -> None:
    assert len(events(FakeLogs({"a": [[1]]}), ["a", "missing"], 0)) == 1


def test_any_other_error_is_not_hidden() -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        events(FakeLogs({}, "AccessDeniedException"), ["a"], 0)
