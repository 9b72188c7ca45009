"""Replaying many: each dead task once, by its generation, at a measured pace, whatever becomes of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from bootstrap.errors import BootstrapError
from client import Forbidden, Outcome, Rejected, Step, Tally, TaskClient, Unavailable, Wanted, redrive_many
from client.redrive import Pace
from scripts import redrive
from scripts.redrive import Place, Plan, command, plan
from tests.support.server import Reply, Request, Server, serving
from tests.support.stack import free_port

NOW = datetime(2025, 1, 15, 8, tzinfo=UTC)
PAGE = 3

Shown = pytest.CaptureFixture[str]


def a_letter(number: int, **changes: Any) -> dict[str, Any]:
    document = {
        "taskId": f"task-{number}",
        "kind": "simulated",
        "generation": 1,
        "attempts": 3,
        "receives": 5,
        "errorClass": "SimulatedFailure",
        "error": "attempt 3 failed",
        "createdAt": "2025-01-15T07:00:00.000Z",
        "firstAt": "2025-01-15T07:00:01.000Z",
        "deadAt": f"2025-01-15T07:30:{number:02d}.000Z",
        "recordedAt": "2025-01-15T07:31:00.000Z",
        "sourceQueue": "dev-tasks",
    }
    return {**document, **changes}


@dataclass
class Api:
    """Dead letters and their replay as the API serves them, in memory. `answers` stand before it, by task id."""

    dead: dict[str, dict[str, Any]]
    replayed: list[tuple[str, int]] = field(default_factory=list)
    answers: dict[str, Reply] = field(default_factory=dict)
    asked: list[dict[str, str]] = field(default_factory=list)

    def __call__(self, request: Request) -> Reply:
        place = urlsplit(request.path)
        if place.path == "/dead-letters":
            return self._page({name: values[0] for name, values in parse_qs(place.query).items()})
        task_id = place.path.split("/")[2]
        if task_id in self.answers:
            return self.answers[task_id]
        return self._task(task_id) if request.method == "GET" else self._redrive(task_id, request.body["generation"])

    def _page(self, query: dict[str, str]) -> Reply:
        self.asked.append(query)
        fitting = sorted((one for one in self.dead.values() if _fits(one, query)), key=_sort)
        behind = [one for one in fitting if _sort(one) > int(query.get("cursor", "-1000"))]
        page = behind[:PAGE]
        return 200, {"deadLetters": page, "cursor": str(_sort(page[-1])) if len(behind) > PAGE else None}

    def _task(self, task_id: str) -> Reply:
        if task_id not in self.dead:
            return 404, {"error": {"code": "no_such_task", "message": "There is no task with this id."}}
        one = self.dead[task_id]
        more = {"status": "FAILED_FINAL", "maxAttempts": 3, "payload": {}, "result": None}
        return 200, {**one, **more, "timeline": [], "deadLetters": []}

    def _redrive(self, task_id: str, generation: int) -> Reply:
        document = {"taskId": task_id, "status": "SUBMITTED", "generation": generation + 1}
        if (task_id, generation) in self.replayed:
            return 200, {"message": "Task already replayed", **document}
        assert self.dead.pop(task_id)["generation"] == generation
        self.replayed.append((task_id, generation))
        return 202, {"message": "Task replayed", **document}


def _fits(one: dict[str, Any], query: dict[str, str]) -> bool:
    kind = query.get("kind") in (None, one["kind"])
    error = query.get("error", "").lower() in f"{one['errorClass']} {one['error']}".lower()
    return kind and error and query.get("from", "") <= one["deadAt"] <= query.get("to", "~")


def _sort(one: dict[str, Any]) -> int:
    """Newest first."""
    return -int(one["taskId"].removeprefix("task-"))


def dead_tasks(count: int, **changes: Any) -> Api:
    return Api({f"task-{number}": a_letter(number, **changes) for number in range(count)})


@contextmanager
def served(api: Callable[[Request], Reply]) -> Iterator[tuple[Server, TaskClient]]:
    with serving(api) as server:
        yield server, TaskClient(server.url, "secret", tries=1)


@dataclass
class Time:
    """Moves only by sleeping; remembers each sleep."""

    at: float = NOW.timestamp()
    slept: list[float] = field(default_factory=list)

    def clock(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds


def replay(client: TaskClient, wanted: Wanted | None = None, time: Time | None = None, **more: Any) -> Tally:
    time = time or Time()
    return redrive_many(client, wanted or Wanted(), clock=time.clock, sleep=time.sleep, **more)


def counts(tally: Tally) -> dict[str, int]:
    return {str(outcome): number for outcome, number in tally.outcomes.items()}


def an_error(status: int, code: str, message: str = "No.") -> Reply:
    return status, {"error": {"code": code, "message": message}}


# Many. ----------------------------------------------------------------------------------------------------------------


def test_every_dead_task_is_replayed_once_by_the_generation_that_was_seen() -> None:
    api = dead_tasks(2 * PAGE + 1)
    api.dead["task-4"]["generation"] = 7
    with served(api) as (_, client):
        tally = replay(client)
    assert counts(tally) == {"replayed": 7}
    assert sorted(api.replayed) == [(f"task-{number}", 7 if number == 4 else 1) for number in range(7)]
    assert (api.dead, len(api.asked)) == ({}, 3)


def test_a_page_is_replayed_before_the_next_is_asked_for() -> None:
    with served(dead_tasks(PAGE + 1)) as (server, client):
        replay(client)
    assert [request.method for request in server.requests] == ["GET", *["POST"] * PAGE, "GET", "POST"]


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        (Wanted(kind="other"), [2]),
        (Wanted(error="TIMEOUT"), [1]),
        (Wanted(since=datetime(2025, 1, 15, 7, 30, 3, tzinfo=UTC)), [4, 3]),
        (Wanted(until=datetime(2025, 1, 15, 7, 30, 1, tzinfo=UTC)), [1, 0]),
        (Wanted(kind="simulated", error="attempt", until=datetime(2025, 1, 15, 7, 30, 3, tzinfo=UTC)), [3, 0]),
    ],
)
def test_only_what_is_wanted_is_replayed(wanted: Wanted, chosen: list[int]) -> None:
    api = dead_tasks(5)
    api.dead["task-1"]["errorClass"], api.dead["task-1"]["error"] = "Timeout", "no answer"
    api.dead["task-2"]["kind"] = "other"
    with served(api) as (_, client):
        replay(client, wanted)
    assert [task_id for task_id, _ in api.replayed] == [f"task-{number}" for number in chosen]


def test_a_dry_run_counts_every_task_and_changes_nothing() -> None:
    api, time, steps = dead_tasks(PAGE + 1), Time(), list[Step]()
    with served(api) as (server, client):
        tally = replay(client, time=time, dry_run=True, progress=lambda step, _: steps.append(step))
    assert counts(tally) == {"would be replayed": PAGE + 1}
    assert [step.letter.task_id for step in steps] == ["task-3", "task-2", "task-1", "task-0"]
    assert {request.method for request in server.requests} == {"GET"}
    assert (len(api.dead), time.slept) == (PAGE + 1, [])


def test_a_task_that_dies_again_during_the_run_is_not_replayed_a_second_time() -> None:
    api = dead_tasks(PAGE + 1)

    def dies_again(step: Step, _: Tally) -> None:
        # It has a place at the end of the list, which a run without an end would come to.
        again = a_letter(-1, generation=step.letter.generation + 1, deadAt="2025-01-15T08:00:00.001Z")
        api.dead["task--1"] = again

    with served(api) as (_, client):
        tally = replay(client, progress=dies_again)
    assert counts(tally) == {"replayed": PAGE + 1}
    assert {query["to"] for query in api.asked} == {"2025-01-15T08:00:00.000Z"}


REFUSALS: dict[str, tuple[Reply, Outcome, str]] = {
    "it is open": (an_error(409, "task_open"), Outcome.SKIPPED, "task_open: No."),
    "it ended in another way": (an_error(409, "task_ended"), Outcome.SKIPPED, "task_ended: No."),
    "it is not recorded": (an_error(409, "not_recorded_yet"), Outcome.SKIPPED, "not_recorded_yet: No."),
    "it has expired": (an_error(404, "no_such_task"), Outcome.SKIPPED, "no_such_task: No."),
    "the API is busy": (an_error(429, "throttled"), Outcome.FAILED, "429 throttled: No."),
    "the outcome is unknown": (an_error(503, "unknown_outcome"), Outcome.FAILED, "503 unknown_outcome: No."),
    "the request is refused": (an_error(400, "invalid_request"), Outcome.FAILED, "400 invalid_request: No."),
}


@pytest.mark.parametrize(("answer", "outcome", "why"), REFUSALS.values(), ids=REFUSALS)
def test_what_becomes_of_one_task_does_not_stop_the_rest(answer: Reply, outcome: Outcome, why: str) -> None:
    api, steps = dead_tasks(PAGE + 1), list[Step]()
    api.answers["task-3"] = answer
    with served(api) as (_, client):
        tally = replay(client, progress=lambda step, _: steps.append(step))
    assert counts(tally) == {str(outcome): 1, "replayed": PAGE}
    assert dict(tally.reasons) == {why: 1}
    assert (steps[0].outcome, steps[0].why) == (outcome, why)


def test_a_task_that_was_replayed_before_is_counted_as_such() -> None:
    api = dead_tasks(2)
    api.replayed.append(("task-1", 1))
    with served(api) as (_, client):
        tally = replay(client)
    assert counts(tally) == {"replayed before": 1, "replayed": 1}


def test_a_key_that_is_refused_stops_the_run() -> None:
    api = dead_tasks(3)
    api.answers["task-1"] = (403, {"message": "Forbidden"})
    with served(api) as (_, client), pytest.raises(Forbidden):
        replay(client)
    assert api.replayed == [("task-2", 1)]


def test_a_list_that_cannot_be_read_is_an_error() -> None:
    with served(lambda _: an_error(400, "invalid_request")) as (_, client), pytest.raises(Rejected):
        replay(client)
    with pytest.raises(Unavailable):
        replay(TaskClient(f"http://127.0.0.1:{free_port()}", "secret", tries=1))


def test_the_same_call_goes_on_after_an_interruption() -> None:
    api = dead_tasks(2 * PAGE)

    def interrupt(step: Step, tally: Tally) -> None:
        if tally[Outcome.REPLAYED] == PAGE + 1:
            raise KeyboardInterrupt

    with served(api) as (_, client):
        with pytest.raises(KeyboardInterrupt):
            replay(client, progress=interrupt)
        assert len(api.replayed) == PAGE + 1
        assert counts(replay(client)) == {"replayed": PAGE - 1}
    assert len(set(api.replayed)) == len(api.replayed) == 2 * PAGE


# The pace. ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("per_second", "gap"), [(10, 0.1), (4, 0.25), (0.5, 2)])
def test_replays_keep_to_the_rate(per_second: float, gap: float) -> None:
    time = Time()
    with served(dead_tasks(5)) as (_, client):
        replay(client, time=time, per_second=per_second)
    assert time.slept == pytest.approx([gap] * 4)


def test_the_time_that_a_replay_took_counts_and_lost_time_is_not_made_up_for() -> None:
    time = Time(at=100)
    pace = Pace(10, time.clock, time.sleep)
    for took in (0.04, 5, 0, 0):
        pace.wait()
        time.at += took
    assert time.slept == pytest.approx([0.06, 0.1])


@pytest.mark.parametrize("per_second", [0, -1, float("nan")])
def test_a_rate_that_is_none_is_refused(per_second: float) -> None:
    with pytest.raises(ValueError, match="must be more than 0"):
        Pace(per_second, Time().clock, Time().sleep)


# The variables. -------------------------------------------------------------------------------------------------------


def test_without_variables_it_is_every_dead_task_until_now() -> None:
    assert plan({}, NOW) == Plan(Wanted(until=NOW), None, 10, False)


def test_variables_choose_tasks_rate_and_dry_run() -> None:
    variables = {"KIND": "k", "ERROR": "e", "SINCE": "2h", "UNTIL": "15m", "RATE": "2.5", "DRY_RUN": "1"}
    since, until = datetime(2025, 1, 15, 6, tzinfo=UTC), datetime(2025, 1, 15, 7, 45, tzinfo=UTC)
    assert plan(variables, NOW) == Plan(Wanted("k", "e", since, until), None, 2.5, True)
    assert plan({"TASK": "task-1"}, NOW).task == "task-1"
    assert plan(dict.fromkeys(variables, ""), NOW) == plan({"DRY_RUN": "0"}, NOW) == plan({}, NOW)


def test_a_time_is_so_long_ago_or_an_instant() -> None:
    for text, since in (
        ("30s", datetime(2025, 1, 15, 7, 59, 30, tzinfo=UTC)),
        ("15m", datetime(2025, 1, 15, 7, 45, tzinfo=UTC)),
        ("3d", datetime(2025, 1, 12, 8, tzinfo=UTC)),
        ("2025-01-15T07:00:00Z", datetime(2025, 1, 15, 7, tzinfo=UTC)),
        ("2025-01-15T08:00:00.250+02:00", datetime(2025, 1, 15, 6, 0, 0, 250_000, tzinfo=UTC)),
    ):
        assert plan({"SINCE": text}, NOW).wanted.since == since, text


WRONG = {
    "no unit": ({"SINCE": "15"}, "SINCE is '15'"),
    "weeks": ({"SINCE": "1w"}, "SINCE is '1w'"),
    "before the calendar": ({"SINCE": "999999d"}, "SINCE is '999999d'"),
    "no offset": ({"UNTIL": "2025-01-15T07:00:00"}, "UNTIL is '2025-01-15T07:00:00'"),
    "no such day": ({"UNTIL": "2025-02-30T07:00:00Z"}, "UNTIL is"),
    "the end before the beginning": ({"SINCE": "1h", "UNTIL": "2h"}, "is not before UNTIL"),
    "a beginning to come": ({"SINCE": "2025-01-15T08:00:01Z"}, "is not before UNTIL"),
    "no rate": ({"RATE": "0"}, "RATE is '0'"),
    "a word as rate": ({"RATE": "fast"}, "RATE is 'fast'"),
    "too fast": ({"RATE": "1001"}, "RATE is '1001'"),
    "an unclear dry run": ({"DRY_RUN": "no"}, "DRY_RUN is 'no'"),
    "one and many": ({"TASK": "task-1", "KIND": "k"}, "TASK names one task"),
}


def test_a_wrong_variable_is_named() -> None:
    for variables, message in WRONG.values():
        with pytest.raises(BootstrapError, match=message):
            plan(variables, NOW)


PLAN = Plan(Wanted("k", "it's $5", datetime(2025, 1, 15, 6, tzinfo=UTC), NOW), None, 2.5, False)
TIMES = "SINCE=2025-01-15T06:00:00.000Z UNTIL=2025-01-15T08:00:00.000Z RATE=2.5"


def test_the_command_to_go_on_has_its_times_fixed_and_never_the_key() -> None:
    client = TaskClient("http://x", "secret")
    quoted = """'it'"'"'s $5'"""
    assert command(PLAN, Place(client, None)) == f"make redrive KIND=k ERROR={quoted.replace('$', '$$')} {TIMES}"
    assert (
        command(PLAN, Place(client, "http://x/tasks"))
        == f"KIND=k ERROR={quoted} {TIMES} .venv/bin/python -m scripts.redrive --url http://x/tasks"
    )
    assert command(plan({"DRY_RUN": "1"}, NOW), Place(client, None)).endswith("RATE=10 DRY_RUN=1")


def test_the_command_to_go_on_asks_for_the_same() -> None:
    words = dict(word.split("=", 1) for word in TIMES.split())
    assert plan({"KIND": "k", "ERROR": "it's $5", **words}, datetime(2025, 1, 16, tzinfo=UTC)) == PLAN


# The command. ---------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither variables nor a running stack of this machine."""
    for name in ("KIND", "ERROR", "SINCE", "UNTIL", "TASK", "DRY_RUN", "API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RATE", "1000")
    monkeypatch.setattr(redrive, "running_outputs", lambda: None)


def run(server: Server, monkeypatch: pytest.MonkeyPatch, **variables: str) -> int:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return redrive.main(["--url", server.url, "--key", "secret"])


def test_it_says_what_it_does_and_what_became_of_it(monkeypatch: pytest.MonkeyPatch, capsys: Shown) -> None:
    api = dead_tasks(PAGE + 1)
    with served(api) as (server, _):
        assert run(server, monkeypatch, KIND="simulated", ERROR="attempt", SINCE="2025-01-15T07:00:00Z") == 0
    first, last = capsys.readouterr().out.splitlines()
    about = "of kind simulated, with 'attempt' in the error, "
    assert first.startswith(f"Replaying dead tasks of {server.url}/tasks: {about}")
    assert "dead since 2025-01-15T07:00:00.000Z until 20" in first
    assert first.endswith("; at most 1000 per second.")
    assert last == f"{PAGE + 1} replayed."
    assert {request.headers["x-api-key"] for request in server.requests} == {"secret"}


def test_a_dry_run_shows_the_first_tasks_and_counts_all_by_kind_and_error(
    monkeypatch: pytest.MonkeyPatch, capsys: Shown
) -> None:
    api = dead_tasks(25)
    api.dead["task-3"]["errorClass"] = "Timeout"
    with served(api) as (server, _):
        assert run(server, monkeypatch, DRY_RUN="1") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Dry run, nothing is changed: dead tasks of http://")
    assert lines[1] == (
        "  task-24  simulated  generation 1  dead 2025-01-15T07:30:24.000Z  SimulatedFailure: attempt 3 failed"
    )
    assert lines[20].startswith("  task-5  ")
    assert lines[21] == "  … and 5 more"
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]
    assert rows == [["simulated", "SimulatedFailure", "24"], ["simulated", "Timeout", "1"]]
    assert lines[-1] == "25 would be replayed."
    assert api.replayed == []


def test_what_failed_or_was_skipped_is_told_and_a_failure_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: Shown
) -> None:
    api = dead_tasks(4)
    api.answers |= {"task-3": an_error(400, "invalid_request"), "task-2": an_error(409, "task_open")}
    with served(api) as (server, _):
        assert run(server, monkeypatch) == 1
    shown = capsys.readouterr()
    assert "  task-3 failed: 400 invalid_request: No." in shown.out.splitlines()
    assert "  task-2 skipped: task_open: No." in shown.out.splitlines()
    assert shown.out.splitlines()[-1] == "2 replayed, 1 skipped, 1 failed."
    assert "error: 1 failed; they are still in the list." in shown.err
    assert f".venv/bin/python -m scripts.redrive --url {server.url}" in shown.err


def test_an_interruption_says_how_far_it_came_and_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: Shown) -> None:
    api = dead_tasks(PAGE + 2)

    def interrupted(*arguments: Any, **more: Any) -> Tally:
        def progress(step: Step, tally: Tally) -> None:
            more["progress"](step, tally)
            if tally[Outcome.REPLAYED] == 2:
                raise KeyboardInterrupt

        return redrive_many(*arguments, **{**more, "progress": progress})

    monkeypatch.setattr(redrive, "redrive_many", interrupted)
    with served(api) as (server, _):
        assert run(server, monkeypatch, KIND="simulated") == 130
    shown = capsys.readouterr().err
    assert "error: Interrupted: 2 replayed." in shown
    words = f"KIND=simulated UNTIL={api.asked[0]['to']} RATE=1000 .venv/bin/python -m scripts.redrive"
    assert f"  next: {words} --url {server.url}" in shown
    assert "secret" not in shown


def test_a_wrong_key_is_told_with_the_way_to_set_it(monkeypatch: pytest.MonkeyPatch, capsys: Shown) -> None:
    with served(lambda _: (403, {"message": "Forbidden"})) as (server, _):
        assert run(server, monkeypatch) == 1
    shown = capsys.readouterr().err
    assert "403 http_error: Forbidden. Until then: no dead task." in shown
    assert "--key KEY" in shown


def test_one_task_is_replayed_by_the_generation_that_it_has(monkeypatch: pytest.MonkeyPatch, capsys: Shown) -> None:
    api = dead_tasks(3, generation=4)
    with served(api) as (server, _):
        assert run(server, monkeypatch, TASK="task-1") == 0
    assert api.replayed == [("task-1", 4)]
    assert capsys.readouterr().out.splitlines() == [
        "task-1  simulated  FAILED_FINAL  generation 4  attempt 3 failed",
        "replayed: generation 5.",
    ]


def test_one_task_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch, capsys: Shown) -> None:
    with served(dead_tasks(1)) as (server, _):
        assert run(server, monkeypatch, TASK="task-7") == 1
    assert "error: task-7: 404 no_such_task: There is no task with this id." in capsys.readouterr().err


def test_without_a_stack_and_without_a_url_it_says_what_to_type(capsys: Shown) -> None:
    assert redrive.main([]) == 2
    assert "No stack is running here." in capsys.readouterr().err


def test_the_running_stack_gives_url_and_key(monkeypatch: pytest.MonkeyPatch, capsys: Shown) -> None:
    api = dead_tasks(1)
    with served(api) as (server, _):
        outputs = {"api_url": f"{server.url}/tasks", "api_key": "of the stack"}
        monkeypatch.setattr(redrive, "running_outputs", lambda: outputs)
        assert redrive.main([]) == 0
    assert server.requests[0].headers["x-api-key"] == "of the stack"
    assert api.replayed == [("task-0", 1)]


def test_a_wrong_variable_is_told_and_nothing_is_sent(monkeypatch: pytest.MonkeyPatch, capsys: Shown) -> None:
    with served(dead_tasks(1)) as (server, _):
        assert run(server, monkeypatch, SINCE="yesterday") == 2
        assert server.requests == []
    assert "SINCE is 'yesterday'; allowed: 15m, 2h or 3d ago" in capsys.readouterr().err
