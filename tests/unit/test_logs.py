"""`make logs`: one event, one line, each once, and never a payload."""

from __future__ import annotations

import io
import itertools
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from rich.console import Console

from bootstrap import console
from bootstrap.errors import BootstrapError
from lambdas.common import telemetry
from lambdas.common.task import IndexClass, Status, Task
from scripts import log_lines
from scripts.log_events import LATE_EVERY_MS, LATE_MS, NEAR_MS, PAGE, Event, Source, Window, follow, for_task
from scripts.log_lines import Line, hues, lines, text, wait
from scripts.log_task import GRACE_MS, Way
from scripts.logs import Screen, Wanted, chosen, wanted
from tests.support.tasks import NOW, SECOND, Clock, a_task

GROUP = "/aws/lambda/dev-process-task"
FUNCTIONS = {
    "ProcessTask": "my-dev-process-task",
    "SubmitTask": "my-dev-submit-task",
    "SweepTasks": "my-dev-sweep-tasks",
}
AT = 1_800_000_000_123


def an_event(message: object, group: str = GROUP, at: int = AT, stream: str = "worker-1") -> Event:
    return Event(at, group, stream, message if isinstance(message, str) else json.dumps(message))


def plain(message: object) -> str | None:
    found = lines([an_event(message)])
    return text(found[0], "green").plain if found else None


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
CRASH = ["Traceback (most recent call last):", '  File "handler.py", line 1, in handle', "    boom()", "KeyError: 'x'"]


# A line. --------------------------------------------------------------------------------------------------------------


def test_an_event_is_a_line_with_its_time_function_words_task_and_fields() -> None:
    line = plain(DOCUMENT)
    assert line is not None
    at, rest = line.split("  ", 1)
    assert (len(at), at[-4:]) == (len("08:00:00.123"), ".123")
    assert rest == "process-task  task failed  task-1  attempt=2  error=ValueError: it broke"


def test_a_level_shows_by_its_colour_and_so_does_the_function() -> None:
    [line] = lines([an_event(DOCUMENT)])
    styles = " ".join(str(span.style) for span in text(line, "magenta").spans).split()
    assert {"yellow", "magenta"} <= set(styles)


def test_each_function_has_a_colour_of_its_own_and_keeps_it() -> None:
    names = ["submit-task", "process-task", "monitor-dlq", "sweep-tasks", "query-tasks", "steer-tasks"]
    assert len(set(hues(names).values())) == len(names)
    assert hues(names) == hues(reversed(names))
    assert set(hues(names).values()).isdisjoint(log_lines.STYLES.values())


def test_the_runtimes_own_lines_and_metrics_are_left_out_but_not_its_failures() -> None:
    for message, shown in (
        (DOCUMENT, True),
        ({"message": "swept"}, True),
        ({"_aws": {"CloudWatchMetrics": []}, "Sweeps": 1}, False),
        ("START RequestId: 1", False),
        ("END RequestId: 1", False),
        ("[1, 2]", False),
        ({"type": "platform.start", "time": "…", "record": {"requestId": "1"}}, False),
        ({"type": "platform.report", "time": "…", "record": {"status": "success"}}, False),
        ({"type": "platform.report", "time": "…", "record": {"status": "timeout"}}, True),
        ("\n".join(CRASH), True),
        ("2026-01-01T00:00:00Z 1 Task timed out after 3.00 seconds", True),
    ):
        assert (plain(message) is not None) is shown, message


def test_an_invocation_that_timed_out_on_aws_is_an_error() -> None:
    [line] = lines([an_event({"type": "platform.report", "record": {"status": "timeout"}})])
    assert (line.level, line.message) == (logging.ERROR, "invocation: timeout")


def test_a_crash_that_comes_as_an_event_for_each_line_is_one_line_and_an_error() -> None:
    around = ["START RequestId: 1", *CRASH, "END RequestId: 1", "REPORT RequestId: 1\tDuration: 1 ms"]
    [line] = lines(an_event(message) for message in around)
    assert (line.message, line.level, line.crash) == ("\n".join(CRASH), logging.ERROR, True)


def test_crashes_of_two_workers_at_once_are_not_mixed() -> None:
    mixed = [an_event(message, stream=stream) for message in CRASH for stream in ("worker-1", "worker-2")]
    assert [line.message for line in lines(mixed)] == ["\n".join(CRASH)] * 2


def test_lines_come_by_the_time_at_which_they_were_written_not_delivered() -> None:
    late = an_event({**DOCUMENT, "message": "first", "timestamp": "2027-01-15 08:00:00,001+0000"}, at=AT + 5)
    other = an_event({**DOCUMENT, "message": "second"}, at=AT + 4, stream="worker-2")
    assert [line.message for line in lines([other, late])] == ["first", "second"]


def test_the_text_of_an_exception_stands_below_its_line() -> None:
    line = plain({**DOCUMENT, "exception": "\n".join(CRASH), "exception_name": "KeyError", "stack_trace": {"a": 1}})
    assert line is not None
    assert line.split("\n", 1)[1] == "\n".join(CRASH)
    assert "exception_name" not in line


def test_a_document_for_programs_is_the_functions_own_and_two_fields_more() -> None:
    [line] = lines([an_event(DOCUMENT)])
    assert json.loads(line.as_json()) == {
        **DOCUMENT,
        "function": "process-task",
        "time": "2027-01-15T08:00:00.123Z",
    }
    assert "\n" not in line.as_json()


def test_an_exception_that_the_runtime_caught_is_shown_with_its_stack() -> None:
    caught = {
        "level": "ERROR",
        "errorType": "KeyError",
        "errorMessage": "'x'",
        "requestId": "1",
        "stackTrace": ["  a\n"],
    }
    line = plain(caught)
    assert line is not None
    assert line.split("process-task  ")[1] == "KeyError: 'x'\n  a"


def test_the_wait_since_the_step_before_is_shown() -> None:
    for before, at, shown in (
        (None, 5, ""),
        (0, 1200, "+1.2 s"),
        (1000, 1000, "+0.0 s"),
        (0, 61_234, "+61.2 s"),
        (1000, 999, "late"),
    ):
        assert wait(before, at) == f"{shown:<10}", before


# What is printed. -----------------------------------------------------------------------------------------------------


def a_line(message: str, at: int = AT, level: str = "INFO", function: str = "process-task", task: str = "t") -> Line:
    return Line(at, function, {"level": level, "message": message, "task_id": task})


def printed(capsys: pytest.CaptureFixture[str], wish: Wanted, *found: Line) -> list[str]:
    Screen(wish, {}).show(found)
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("DEBUG", ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]),
        ("WARNING", ["WARNING", "ERROR", "CRITICAL"]),
        ("CRITICAL", ["CRITICAL"]),
    ],
)
def test_a_level_shows_itself_and_what_is_above(
    capsys: pytest.CaptureFixture[str], level: str, shown: list[str]
) -> None:
    every = [a_line(f"of {name}", level=name) for name in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")]
    out = printed(capsys, Wanted(level=level), *every)
    assert [line.split(" of ")[1].split()[0] for line in out] == shown


def test_of_one_task_the_wait_is_counted_from_step_to_step_and_not_from_those_who_read_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = [
        a_line("submitted", AT),
        a_line("task read", AT + 900, function="query-tasks"),
        a_line("task completed", AT + 1500),
    ]
    first, read, last = printed(capsys, Wanted(task="t"), *found)
    assert ("+" in first, "+" in read, "+1.5 s" in last) == (False, False, True)


TERMINAL = {"FORCE_COLOR": "1", "TTY_INTERACTIVE": "0", "TERM": "xterm"}


@pytest.mark.parametrize(
    ("environment", "escapes"), [(TERMINAL, True), ({**TERMINAL, "NO_COLOR": "1"}, False)], ids=["terminal", "NO_COLOR"]
)
def test_on_a_terminal_a_line_is_coloured_unless_no_color_is_set(
    environment: Mapping[str, str],
    escapes: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(console, "out", Console(_environ=environment))
    [line] = printed(capsys, Wanted(), a_line("task failed", level="ERROR"))
    assert ("\x1b" in line) is escapes
    assert "task failed" in line


def test_documents_are_all_that_is_printed_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, Wanted(json=True, task="t"), a_line("one"), a_line("two"))
    assert [json.loads(line)["message"] for line in out] == ["one", "two"]


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


def test_an_event_of_the_functions_own_logger_is_shown_whole_at_the_time_it_was_written(logged: io.StringIO) -> None:
    telemetry.logger("test-logs").warning("task dead", task_id="task-1", attempts=3)
    [line] = lines([an_event(logged.getvalue().strip(), at=0)])
    assert text(line, "").plain.endswith("task dead  task-1  attempts=3")
    assert line.at > AT - 10 * 365 * 86_400_000, "its own time, not the event's"


# What to show. --------------------------------------------------------------------------------------------------------


def test_without_variables_it_is_everything_once() -> None:
    assert wanted({}) == Wanted(None, None, None, "DEBUG", follow=False, json=False)


def test_variables_choose_what_is_shown() -> None:
    variables = {"SINCE": "2h", "TASK": "task-1", "FN": "process-task", "LEVEL": "ERROR", "FOLLOW": "1", "JSON": "1"}
    assert wanted(variables) == Wanted(7200, "task-1", "process-task", "ERROR", follow=True, json=True)


@pytest.mark.parametrize(("asked", "seconds"), [("1s", 1), ("10m", 600), ("3h", 10_800), ("2d", 172_800)])
def test_since_takes_seconds_minutes_hours_and_days(asked: str, seconds: int) -> None:
    assert wanted({"SINCE": asked}).since_seconds == seconds


def test_a_wrong_value_is_named_with_what_is_allowed() -> None:
    for name, value in (
        *(("SINCE", asked) for asked in ("10", "m", "1w", "-1m", "1.5h", "10m ", "1234567s", "abc")),
        ("LEVEL", "LOUD"),
        ("LEVEL", "warning"),
        ("TASK", "a b"),
        ("TASK", 'a"'),
        ("TASK", "x" * 129),
        ("FOLLOW", "yes"),
        ("JSON", "2"),
    ):
        with pytest.raises(BootstrapError, match=f"^{name} is .*allowed: "):
            wanted({name: value})


@pytest.mark.parametrize(
    ("function", "groups"),
    [
        (None, ["process-task", "submit-task", "sweep-tasks"]),
        ("process-task", ["process-task"]),
        ("process_task", ["process-task"]),
    ],
)
def test_a_function_is_chosen_by_its_name_in_either_form(function: str | None, groups: list[str]) -> None:
    assert chosen(FUNCTIONS, Wanted(function=function)) == [f"/aws/lambda/my-dev-{group}" for group in groups]


# Reading. -------------------------------------------------------------------------------------------------------------


class FakeLogs:
    """CloudWatch Logs by group, in pages of `limit`. With `tokens=False` it cuts there, as MiniStack does."""

    def __init__(self, groups: Mapping[str, list[int]], limit: int = PAGE, tokens: bool = True) -> None:
        self._groups, self._limit, self._tokens = groups, limit, tokens
        self.refusals: list[str] = []
        self.asked: list[Mapping[str, Any]] = []

    def filter_log_events(self, **asked: Any) -> dict[str, Any]:
        self.asked.append(asked)
        if self.refusals:
            raise ClientError({"Error": {"Code": self.refusals.pop(0), "Message": ""}}, "FilterLogEvents")
        if asked["logGroupName"] not in self._groups:
            raise ClientError({"Error": {"Code": "ResourceNotFoundException", "Message": ""}}, "FilterLogEvents")
        found = sorted(at for at in self._groups[asked["logGroupName"]] if at >= asked["startTime"])
        first = int(asked.get("nextToken", 0))
        numbers = range(first, min(first + self._limit, len(found)))
        events = [{"timestamp": found[n], "message": f"{n}", "logStreamName": "s"} for n in numbers]
        more = {"nextToken": str(first + self._limit)} if self._tokens and first + self._limit < len(found) else {}
        return {"events": events, **more}


def source(logs: FakeLogs, *groups: str) -> tuple[Source, list[float], list[str]]:
    waits: list[float] = []
    said: list[str] = []
    return Source(logs, groups or ("a",), wait=waits.append, complain=said.append), waits, said


def test_events_of_all_groups_and_pages_come_in_the_order_of_time() -> None:
    reading, _, _ = source(FakeLogs({"a": [1, 5, 7], "b": [2, 6, 9]}, limit=2), "a", "b")
    assert [(event.at, event.group) for event in reading.read(2)] == [
        (2, "b"),
        (5, "a"),
        (6, "b"),
        (7, "a"),
        (9, "b"),
    ]


@pytest.mark.parametrize("tokens", [True, False])
def test_no_event_is_lost_where_an_answer_is_cut_without_a_next_page(tokens: bool) -> None:
    times = [number // 3 for number in range(2 * PAGE + PAGE // 2)]
    reading, _, _ = source(FakeLogs({"a": times}, tokens=tokens))
    assert [event.at for event in reading.read(0)] == times


def test_a_group_that_is_not_there_yet_has_no_events() -> None:
    reading, _, _ = source(FakeLogs({"a": [1]}), "a", "missing")
    assert len(reading.read(0)) == 1


def test_any_other_error_is_not_hidden() -> None:
    logs = FakeLogs({"a": [1]})
    logs.refusals = ["AccessDeniedException"]
    with pytest.raises(ClientError, match="AccessDenied"):
        source(logs)[0].read(0)


def test_throttling_is_waited_for_longer_each_time_and_the_page_is_asked_for_again() -> None:
    logs = FakeLogs({"a": [1, 2, 3]}, limit=2)
    reading, waits, said = source(logs)
    logs.refusals = ["ThrottlingException"] * 7
    assert [event.at for event in reading.read(0)] == [1, 2, 3]
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    assert len(said) == 7


def test_of_a_task_cloudwatch_picks_the_events_itself() -> None:
    logs = FakeLogs({"a": [1]})
    for_task(source(logs)[0], "task-1").read(0)
    assert logs.asked[0]["filterPattern"] == '"task-1"'


# Following. -----------------------------------------------------------------------------------------------------------


def at(*times: int) -> list[Event]:
    return [an_event(f"at {time}", at=time) for time in times]


def test_what_was_shown_is_not_shown_again() -> None:
    window = Window(0)
    assert window.fresh(100, at(1, 2)) == at(1, 2)
    assert window.fresh(200, at(1, 2, 3)) == at(3)


def test_two_equal_lines_of_one_moment_are_two() -> None:
    window = Window(0)
    assert len(window.fresh(100, at(1, 1))) == 2
    assert len(window.fresh(200, at(1, 1))) == 0
    assert len(window.fresh(300, at(1, 1, 1))) == 1


def test_the_same_words_of_two_workers_are_two() -> None:
    window, other = Window(0), replace(at(1)[0], stream="worker-2")
    window.fresh(100, at(1))
    assert window.fresh(200, [*at(1), other]) == [other]


def test_each_look_reaches_behind_the_look_before_and_now_and_then_far_back() -> None:
    window, began = Window(5), 1_000_000
    assert window.since(began) == 5
    window.fresh(began, [])
    assert window.since(began + 250) == began - NEAR_MS
    assert window.since(began + LATE_EVERY_MS) == began - LATE_MS


def test_a_look_after_a_long_pause_misses_nothing_in_between() -> None:
    window, began = Window(5), 1_000_000
    window.fresh(began, [])
    assert window.since(began + 3_600_000) <= began


def test_nothing_is_read_from_before_the_time_that_was_asked_for() -> None:
    window, first = Window(1_000_000), 1_000_100
    window.fresh(first, [])
    assert window.since(first + 1) == 1_000_000
    assert window.since(first + LATE_EVERY_MS) == 1_000_000


def test_what_is_remembered_is_bounded_by_the_time_that_is_read_again() -> None:
    window = Window(0)
    for began in range(1_000_000, 3_000_000, 1000):
        window.fresh(began, at(began))
    assert len(window.seen) <= (LATE_MS + LATE_EVERY_MS) / 1000 + 1


class LateLogs:
    """CloudWatch in which an event can be seen only from a later time on."""

    def __init__(self, clock: Clock, visible_from: Sequence[tuple[int, int]]) -> None:
        self._clock, self._events = clock, visible_from

    def filter_log_events(self, **asked: Any) -> dict[str, Any]:
        seen = [
            written for written, visible in self._events if visible <= self._clock() and written >= asked["startTime"]
        ]
        return {"events": [{"timestamp": at, "message": "same", "logStreamName": "s"} for at in sorted(seen)]}


def test_following_shows_every_line_once_however_late_and_in_whatever_order_it_arrives() -> None:
    clock = Clock(NOW)
    delays = [0, 400, 9_000, 11_000, 60_000, 200_000, LATE_MS]
    written = [NOW + number * 137 for number in range(600)]
    late = [(at, at + delays[number % len(delays)]) for number, at in enumerate(written)]
    pause = 0.25

    def wait_a_moment(seconds: float) -> None:
        clock.advance(round(seconds * 1000))

    looks = follow(Source(LateLogs(clock, late), ["a"], wait=wait_a_moment), NOW, clock, pause)
    told = itertools.takewhile(lambda _: clock() < NOW + 2 * LATE_MS, looks)
    assert sorted(event.at for events in told for event in events) == written


# The way of one task. -------------------------------------------------------------------------------------------------


class Rows:
    def __init__(self, row: Task | None) -> None:
        self.row = row

    def get(self, task_id: str) -> Task | None:
        return self.row


def a_way(row: Task | None, *found: Line, now: int = NOW) -> Way:
    way = Way("t", Rows(row), Clock(now))
    way.look()
    way.heard(found)
    return way


OPEN = a_task(status=Status.PROCESSING)
DONE = replace(OPEN, status=Status.COMPLETED, index_class=IndexClass.COMPLETED, updated_at=NOW)
DEAD = replace(OPEN, status=Status.FAILED_FINAL, index_class=IndexClass.DEAD, updated_at=NOW)
RECORDED = replace(DEAD, index_class=IndexClass.RECORDED)
CANCELLED = replace(OPEN, status=Status.CANCELLED, index_class=IndexClass.CANCELLED, updated_at=NOW)


def test_a_task_is_over_when_its_row_has_ended_and_its_last_line_was_shown() -> None:
    for row, message, function, over in (
        (OPEN, "task failed", "process-task", False),
        (DONE, "task completed", "process-task", True),
        (DONE, "task read", "query-tasks", False),
        (DEAD, "task dead", "process-task", False),
        (RECORDED, "task dead", "process-task", False),
        (RECORDED, "task dead", "monitor-dlq", True),
        (RECORDED, "recorded before", "monitor-dlq", True),
        (RECORDED, "task recorded", "sweep-tasks", True),
        (CANCELLED, "task cancelled", "steer-tasks", True),
        (OPEN, "task completed", "process-task", False),
        (None, "task completed", "process-task", True),
    ):
        assert a_way(row, a_line(message, NOW, function=function)).over() is over, row


def test_the_end_of_a_life_before_a_replay_is_not_the_end() -> None:
    died_before = a_line("task dead", NOW - 60 * SECOND, function="monitor-dlq")
    assert a_way(DONE, died_before).over() is False


def test_a_last_line_that_never_comes_is_waited_for_only_so_long() -> None:
    assert a_way(DONE, now=NOW + GRACE_MS).over() is False
    assert a_way(DONE, now=NOW + GRACE_MS + 1).over() is True


def test_a_record_that_was_written_long_after_the_death_has_its_line_waited_for() -> None:
    rows, clock = Rows(replace(DEAD, updated_at=NOW - 10 * GRACE_MS)), Clock(NOW)
    way = Way("t", rows, clock)
    way.look()
    rows.row = replace(rows.get("t") or DEAD, index_class=IndexClass.RECORDED)
    way.look()
    assert way.over() is False
    clock.advance(GRACE_MS + 1)
    assert way.over() is True


def test_a_task_without_row_and_line_is_unknown() -> None:
    assert a_way(None).unknown
    assert not a_way(None, a_line("submitted")).unknown
    assert not a_way(OPEN).unknown
    assert "no task 't'" in a_way(None).not_known(NOW)
