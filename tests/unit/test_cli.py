"""The `tasks` command against a real server that answers as it is told: what it asks, what it shows, how it ends."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from bootstrap.paths import ROOT
from client.cli import main
from client.target import Host
from client.words import Usage
from scripts import tasks as command
from tests.support.processes import heeds_ctrl_c
from tests.support.server import Reply, Request, Server, in_turn, serving
from tests.support.stack import free_port
from tests.support.waiting import eventually

KEY = "the-secret-key"
NOWHERE = "http://127.0.0.1:9"
AT = "2027-01-15T08:00:00.000Z"
ACCEPTED: Reply = (202, {"message": "Task accepted", "taskId": "a", "status": "SUBMITTED"})
KNOWN: Reply = (200, {"message": "Task already accepted", "taskId": "a", "status": "PROCESSING"})
STEPS = ("SUBMITTED", "PROCESSING", "FAILED_PENDING", "PROCESSING")
ESCAPE = "\x1b"

Shown = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the caller's own terminal or API."""
    for name in ("TASKS_URL", "TASKS_API_KEY", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


def a_task(status: str = "COMPLETED", steps: int = 4, **changes: Any) -> Reply:
    """`steps` of the timeline, and then the status."""
    timeline = [_entry(number, step) for number, step in enumerate([*STEPS[:steps], status])]
    failed = status in ("FAILED_FINAL", "FAILED_PENDING")
    document = {
        "taskId": "a",
        "kind": "simulated",
        "status": status,
        "generation": 1,
        "attempts": 2,
        "maxAttempts": 3,
        "payload": {"hello": "wörld"},
        "result": {"ok": True} if status == "COMPLETED" else None,
        "error": "SimulatedFailure: attempt 2 failed" if failed else None,
        "timeline": timeline,
        "deadLetters": [],
    }
    return 200, {**document, **changes}


def _entry(number: int, status: str) -> dict[str, Any]:
    error = {"error": "SimulatedFailure: it failed"} if status.startswith("FAILED") else {}
    attempt = (number + 1) // 2
    return {"at": f"2027-01-15T08:00:{number:02d}.000Z", "status": status, "generation": 1, "attempt": attempt, **error}


def a_summary(task_id: str = "a", **changes: Any) -> dict[str, Any]:
    same = ("taskId", "kind", "status", "generation", "attempts", "maxAttempts", "error")
    document = {name: a_task()[1][name] for name in same}
    return {**document, "taskId": task_id, "createdAt": AT, "updatedAt": AT, **changes}


def a_letter(task_id: str = "a") -> dict[str, Any]:
    times = dict.fromkeys(("createdAt", "firstAt", "deadAt", "recordedAt"), AT)
    what = {"errorClass": "NoSuchAccount", "error": "there is no account x", "sourceQueue": None}
    return {"taskId": task_id, "kind": "transfer", "generation": 1, "attempts": 3, "receives": 5, **times, **what}


def an_error(status: int, code: str = "a_code", message: str = "A message.") -> Reply:
    return status, {"error": {"code": code, "message": message}}


def run(server: Server, *words: str) -> int:
    return main([*words, "--url", server.url, "--key", KEY])


def asked(server: Server) -> list[tuple[str, str]]:
    return [(request.method, request.path) for request in server.requests]


def never(_: Request) -> Reply:
    raise AssertionError("the API was asked")


# Submit. --------------------------------------------------------------------------------------------------------------


def test_a_submitted_task_is_told_with_its_page_on_the_dashboard(capsys: Shown) -> None:
    with serving(in_turn(ACCEPTED)) as server:
        assert run(server, "submit", '{"a": 1}', "--kind", "deposit", "--id", "mine", "--delay", "1.5m") == 0
    (request,) = server.requests
    assert request.headers["x-api-key"] == KEY
    assert request.body == {"taskId": "mine", "kind": "deposit", "payload": {"a": 1}, "delaySeconds": 90}
    accepted, page = capsys.readouterr().out.splitlines()
    assert accepted.split() == ["accepted", "mine"]
    assert page.split() == ["page", f"{server.url}/#task=mine"]


def test_without_payload_and_id_an_empty_object_travels_under_a_new_id_that_is_told(capsys: Shown) -> None:
    with serving(in_turn(KNOWN)) as server:
        assert run(server, "submit", "--run-at", "2027-01-15T09:00:00+01:00") == 0
    (request,) = server.requests
    assert request.body["payload"] == {}
    assert request.body["runAt"] == "2027-01-15T09:00:00+01:00"
    assert capsys.readouterr().out.split()[:2] == ["known", request.body["taskId"]]


def test_the_payload_comes_from_a_file_or_from_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "payload.json"
    file.write_text('{"from": "file ö"}', encoding="utf-8")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO('{"from": "stdin ö"}'.encode())))
    with serving(in_turn(ACCEPTED)) as server:
        assert run(server, "submit", f"@{file}") == 0
        assert run(server, "submit", "-") == 0
    assert [request.body["payload"]["from"] for request in server.requests] == ["file ö", "stdin ö"]


WRONG: dict[tuple[str, ...], str] = {
    ("submit", "{"): "The payload is not JSON",
    ("submit", "[1]"): "The payload is not a JSON object",
    ("submit", '{"a": NaN}'): "NaN is not a JSON number",
    ("submit", "@/there/is/none"): "'/there/is/none' cannot be read: No such file or directory",
    ("submit", "--id", "a/b"): "'a/b' is no task id",
    ("submit", "--id", ".."): "'..' is no task id",
    ("submit", "--delay", "soon"): "'soon' is no length of time",
    ("submit", "--run-at", "2027-01-15T08:00:00"): "no instant with offset",
    ("submit", "--delay", "1", "--run-at", AT): "not allowed with",
    ("submit", "--timeout", "5"): "nothing waits",
    ("get", ""): "'' is no task id",
    ("list", "--status", "DONE"): "invalid choice: 'DONE'",
    ("list", "--limit", "0"): "'0' is no number from 1",
    ("dead-letters", "--since", "yesterday"): "'yesterday' is no instant",
    ("redrive",): "Neither ids nor a filter",
    ("redrive", "a", "--kind", "x"): "Ids, or filters",
    ("redrive", "--since", "yesterday"): "'yesterday' is no instant",
    ("dead-letters", "--strays", "--kind", "x"): "A stray has no kind and no error",
    ("nothing",): "invalid choice: 'nothing'",
    (): "required",
}


def test_wrong_use_is_told_with_what_to_type_next_and_asks_nothing(capsys: Shown) -> None:
    for words, why in WRONG.items():
        assert ended(partial(main, ["--url", NOWHERE, "--key", KEY, *words])) == 2, words
        shown = capsys.readouterr()
        assert shown.out == "", words
        assert why in shown.err, words
        assert shown.err.startswith("error: "), words
        assert "\n  next: " in shown.err, words


def ended(act: Callable[[], int]) -> int:
    """The exit code, argparse's own way out among them."""
    try:
        return act()
    except SystemExit as error:
        return int(error.code or 0)


# Wait. ----------------------------------------------------------------------------------------------------------------

ENDS = {"COMPLETED": 0, "FAILED_FINAL": 1, "CANCELLED": 1}


@pytest.mark.parametrize(("end", "code"), ENDS.items())
def test_each_step_is_told_once_until_the_task_has_ended_and_its_end_is_the_exit_code(
    end: str, code: int, capsys: Shown
) -> None:
    states = [a_task("PROCESSING", 1), *[a_task("FAILED_PENDING", 2)] * 2 * (end == "COMPLETED"), a_task(end)]
    with serving(in_turn(*states)) as server:
        assert run(server, "wait", "a") == code
    shown = capsys.readouterr()
    steps = [line.split()[2] for line in shown.out.splitlines() if line.startswith("  2027")]
    assert steps == [*STEPS, end]
    assert shown.out.splitlines()[-1].startswith(end)
    hint = f"next: tasks redrive a --yes --url {server.url}"
    assert (hint in shown.err) == (end == "FAILED_FINAL")


def test_submit_can_wait_as_well(capsys: Shown) -> None:
    with serving(in_turn(ACCEPTED, a_task("PROCESSING", 1), a_task())) as server:
        assert run(server, "submit", "--id", "a", "--wait") == 0
    assert asked(server) == [("POST", "/tasks"), ("GET", "/tasks/a"), ("GET", "/tasks/a")]
    assert capsys.readouterr().out.splitlines()[-1] == 'COMPLETED: {"ok": true}'


def test_a_task_that_has_not_ended_in_time_goes_on_and_how_to_is_told(capsys: Shown) -> None:
    with serving(in_turn(a_task("PROCESSING", 1))) as server:
        assert run(server, "wait", "a", "--timeout", "0") == 5
    said = capsys.readouterr().err
    assert "a is PROCESSING after 0 s (attempts: 2); it goes on." in said
    assert f"next: tasks wait a --url {server.url}\n" in said


def test_a_task_that_was_waited_for_in_json_is_one_document_however_it_ends(capsys: Shown) -> None:
    for words, code in ((("wait", "a"), 1), (("submit", "--id", "a", "--wait"), 1)):
        replies = [ACCEPTED] * (words[0] == "submit") + [a_task("PROCESSING", 1), a_task("FAILED_FINAL")]
        with serving(in_turn(*replies)) as server:
            assert run(server, *words, "--json") == code
        shown = capsys.readouterr()
        found = json.loads(shown.out)
        task = found if words[0] == "wait" else found["task"]
        assert (task["taskId"], task["status"], task["maxAttempts"]) == ("a", "FAILED_FINAL", 3)
        assert task == {name: a_task("FAILED_FINAL")[1][name] for name in task}
        assert shown.err == ""


# One task, lists, numbers. --------------------------------------------------------------------------------------------


def test_a_task_is_shown_with_its_timeline_payload_result_and_page(capsys: Shown) -> None:
    with serving(in_turn(a_task())) as server:
        assert run(server, "get", "a") == 0
    out = capsys.readouterr().out
    facts = dict(line.split(maxsplit=1) for line in out.splitlines() if not line.startswith(" "))
    assert facts == {
        "task": "a",
        "kind": "simulated",
        "status": "COMPLETED",
        "attempts": "2 of 3",
        "payload": '{"hello": "wörld"}',
        "result": '{"ok": true}',
        "page": f"{server.url}/#task=a",
    }
    assert "  2027-01-15 08:00:02.000Z  FAILED_PENDING  attempt 1  SimulatedFailure: it failed\n" in out


def test_tasks_are_listed_as_lines_of_even_columns_and_more_are_hinted_at(capsys: Shown) -> None:
    tasks = [a_summary("a"), a_summary("long-id", generation=2, error="E: no\nwhy"), a_summary("c")]
    with serving(in_turn((200, {"tasks": tasks, "cursor": None}))) as server:
        assert run(server, "list", "--status", "completed", "--kind", "simulated", "--limit", "2") == 0
    query = parse_qs(urlsplit(server.requests[0].path).query)
    assert query == {"status": ["COMPLETED"], "kind": ["simulated"], "limit": ["3"]}
    shown = capsys.readouterr()
    head, *lines = shown.out.splitlines()
    assert [line.split()[0] for line in lines] == ["a", "long-id"]
    assert {line.index("COMPLETED") for line in lines} == {head.index("status")}
    assert lines[1].split(maxsplit=8)[3:] == ["2", "of", "3,", "generation", "2", "2027-01-15 08:00:00  E: no why"]
    assert "There are more than these 2" in shown.err


def test_the_whole_list_is_read_page_by_page_when_all_is_asked_for(capsys: Shown) -> None:
    pages = [(200, {"tasks": [a_summary("a")], "cursor": "c"}), (200, {"tasks": [a_summary("b")], "cursor": None})]
    with serving(in_turn(*pages)) as server:
        assert run(server, "list", "--limit", "all", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"tasks": [a_summary("a"), a_summary("b")]}


def test_dead_letters_are_listed_with_their_reasons(capsys: Shown) -> None:
    with serving(in_turn((200, {"deadLetters": [a_letter()], "cursor": None}))) as server:
        words = ("--kind", "transfer", "--error", "no account", "--since", AT)
        assert run(server, "dead-letters", *words) == 0
        assert run(server, "dead-letters", "--json") == 0
    query = parse_qs(urlsplit(server.requests[0].path).query)
    assert query == {"kind": ["transfer"], "error": ["no account"], "from": [AT], "limit": ["100"]}
    head, line, *document = capsys.readouterr().out.splitlines()
    assert head.split() == ["task", "kind", "generation", "attempts", "dead", "(UTC)", "error"]
    assert line.endswith("2027-01-15 08:00:00  NoSuchAccount: there is no account x")
    assert json.loads("\n".join(document)) == {"deadLetters": [a_letter()]}


def test_strays_are_listed_by_message(capsys: Shown) -> None:
    stray = {"messageId": "m-1", "reason": "no such task", "body": '{"v": 1}', "receives": 6, "sourceQueue": "q"}
    pages = [(200, {"strays": [{**stray, "recordedAt": AT}], "cursor": cursor}) for cursor in ("c", None)]
    with serving(in_turn(*pages)) as server:
        assert run(server, "dead-letters", "--strays", "--since", AT, "--limit", "2") == 0
        assert run(server, "dead-letters", "--strays", "--json") == 0
    query = parse_qs(urlsplit(server.requests[0].path).query)
    assert query == {"strays": ["true"], "from": [AT], "limit": ["100"]}
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["message", "receives", "recorded", "(UTC)", "reason", "body"]
    assert re.split(r" {2,}", lines[0]) == ["m-1", "6", "2027-01-15 08:00:00", "no such task", '{"v": 1}']
    assert lines[1].startswith("m-1")
    assert json.loads("\n".join(lines[2:])) == {"strays": [{**stray, "recordedAt": AT}]}


EMPTIES = [("list", "tasks"), ("dead-letters", "deadLetters"), ("dead-letters --strays", "strays")]


@pytest.mark.parametrize(("name", "field"), EMPTIES)
def test_an_empty_list_is_said_to_be_empty_and_no_failure(name: str, field: str, capsys: Shown) -> None:
    with serving(in_turn((200, {field: [], "cursor": None}))) as server:
        assert run(server, *name.split()) == 0
        assert capsys.readouterr().err.startswith("There is no ")
        assert run(server, *name.split(), "--json") == 0
    shown = capsys.readouterr()
    assert (json.loads(shown.out), shown.err) == ({field: []}, "")


def test_the_numbers_are_shown_with_those_that_go_no_further(capsys: Shown) -> None:
    minute = {"minute": "2027-01-15T08:03:00.000Z", "completed": 1, "failed": 2, "dead": 0, "p50Ms": 12, "p95Ms": None}
    document = {
        "counts": {"open": {"count": 3, "more": False}, "COMPLETED": {"count": 10_000, "more": True}},
        "queue": {"waiting": 1, "inFlight": 2, "delayed": 0},
        "deadLetterQueue": {"waiting": 0, "inFlight": 4},
        "oldestOpenAt": None,
        "perMinute": [minute],
        "kinds": ["simulated"],
        "exact": ["oldestOpenAt"],
        "approximate": ["counts"],
        "at": AT,
    }
    with serving(in_turn((200, document))) as server:
        assert run(server, "stats") == 0
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert run(server, "stats", "--json") == 0
    assert ["COMPLETED", "10,000+"] in lines
    assert ["DLQ", "0", "waiting,", "4", "in", "flight"] in lines
    assert ["oldest", "nothing", "is", "open"] in lines
    assert lines[-1] == ["08:03", "1", "2", "0", "12", "-"]
    assert json.loads(capsys.readouterr().out) == document


# Steer. ---------------------------------------------------------------------------------------------------------------


def test_each_task_is_cancelled_whatever_becomes_of_another(capsys: Shown) -> None:
    def answer(request: Request) -> Reply:
        done = {"message": "Task cancelled", "taskId": "a", "status": "CANCELLED", "generation": 1}
        before = {**done, "message": "Task already cancelled"}
        replies = {
            "/tasks/a": (200, done),
            "/tasks/b": (200, before),
            "/tasks/c": an_error(409, "task_ended", "Ended."),
        }
        return replies[request.path]

    with serving(answer) as server:
        assert run(server, "cancel", "a", "c", "b") == 2
    assert asked(server) == [("DELETE", "/tasks/a"), ("DELETE", "/tasks/c"), ("DELETE", "/tasks/b")]
    lines = [re.split(r" {2,}", line) for line in capsys.readouterr().out.splitlines()]
    assert lines[1:] == [["a", "cancelled"], ["c", "refused", "Ended."], ["b", "cancelled before"]]


def redriving(*results: dict[str, Any]) -> Callable[[Request], Reply]:
    """`a` is dead, `done` completed, and nothing else there; a batch is answered with `results`."""

    def answer(request: Request) -> Reply:
        if request.method == "POST":
            return 200, {"results": results}
        replies = {"/tasks/a": a_task("FAILED_FINAL"), "/tasks/done": a_task("COMPLETED", taskId="done")}
        return replies.get(request.path, an_error(404, "no_such_task", "There is none."))

    return answer


def test_a_replay_is_only_shown_until_it_is_said_that_it_shall_be(capsys: Shown) -> None:
    with serving(redriving()) as server:
        assert run(server, "redrive", "a", "a") == 0
        assert run(server, "redrive", "a", "done") == 2
        assert run(server, "redrive", "a", "gone") == 3
    assert {request.method for request in server.requests} == {"GET"}
    shown = capsys.readouterr()
    assert "a     would be replayed" in shown.out
    assert "done  refused            It is COMPLETED" in shown.out
    assert f"Nothing was changed.\n  next: tasks redrive a --yes --url {server.url}\n" in shown.err


def test_many_are_replayed_in_one_batch_by_the_generations_that_they_have(capsys: Shown) -> None:
    done = {"taskId": "a", "status": 202, "message": "Task replayed"}
    gone = {"taskId": "gone", "status": 404, "error": {"code": "no_such_task", "message": "There is none."}}
    with serving(redriving(done, gone)) as server:
        assert run(server, "redrive", "a", "gone", "--yes") == 3
        capsys.readouterr()
        assert run(server, "redrive", "a", "gone", "--yes", "--json") == 3
    posts = [request for request in server.requests if request.method == "POST"]
    assert {post.path for post in posts} == {"/dead-letters/redrive"}
    assert posts[0].body == {"tasks": [{"taskId": "a", "generation": 1}, {"taskId": "gone"}]}
    results = json.loads(capsys.readouterr().out)["results"]
    assert [(one["taskId"], one["status"], one["code"]) for one in results] == [
        ("a", 202, None),
        ("gone", 404, "no_such_task"),
    ]


@pytest.mark.parametrize(
    ("statuses", "code"), [((202, 200), 0), ((202, 404), 3), ((404, 409), 2), ((404, 409, 503), 4), ((429,), 4)]
)
def test_the_worst_of_a_batch_is_the_exit_code(
    statuses: tuple[int, ...], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.tasks._back_off", lambda attempt: None)

    def answer(request: Request) -> Reply:
        if request.method == "GET":
            return a_task("FAILED_FINAL")
        return 200, {"results": [outcome(one["taskId"]) for one in request.body["tasks"]]}

    def outcome(task_id: str) -> dict[str, Any]:
        status = statuses[int(task_id)]
        told = {"message": "Done"} if status < 300 else {"error": {"code": "a_code", "message": "No."}}
        return {"taskId": task_id, "status": status, **told}

    with serving(answer) as server:
        assert run(server, "redrive", *map(str, range(len(statuses))), "--yes") == code


def dying(count: int, **outcomes: int) -> Callable[[Request], Reply]:
    """So many dead letters, t-0 the newest; a replay is answered by 202, or as `outcomes` says."""

    def answer(request: Request) -> Reply:
        if request.method == "GET":
            return 200, {"deadLetters": [a_letter(f"t-{number}") for number in range(count)], "cursor": None}
        task_id = request.path.split("/")[2]
        status = outcomes.get(task_id.replace("-", ""), 202)
        done = {"message": "Task replayed", "taskId": task_id, "status": "SUBMITTED", "generation": 2}
        return (status, done) if status == 202 else an_error(status)

    return answer


def test_a_replay_by_filter_is_only_shown_until_it_is_said_that_it_shall_be(capsys: Shown) -> None:
    words = ("redrive", "--kind", "transfer", "--error", "no account", "--since", AT)
    with serving(dying(23)) as server:
        assert run(server, *words) == 0
        assert {request.method for request in server.requests} == {"GET"}
    query = parse_qs(urlsplit(server.requests[0].path).query)
    (until,) = query.pop("to")
    assert query == {"kind": ["transfer"], "error": ["no account"], "from": [AT], "limit": ["100"]}
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[0] == "t-0  transfer  would be replayed  NoSuchAccount: there is no account x"
    assert (len(lines), lines[-1]) == (21, "… and 3 more")
    again = f"redrive --kind transfer --error 'no account' --since {AT} --until {until} --yes"
    assert f"Nothing was changed.\n  next: tasks {again} --url {server.url}\n" in shown.err


def test_what_a_filter_finds_is_replayed_each_by_the_generation_that_died(
    capsys: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.tasks._back_off", lambda attempt: None)
    with serving(dying(3, t1=409)) as server:
        assert run(server, "redrive", "--kind", "transfer", "--yes") == 0
    posts = [(request.path, request.body) for request in server.requests if request.method == "POST"]
    assert posts == [(f"/tasks/t-{number}/redrive", {"generation": 1}) for number in range(3)]
    shown = capsys.readouterr()
    assert "t-1  transfer  skipped  a_code: A message." in shown.out
    assert "2 replayed, 1 skipped." in shown.err
    with serving(dying(2, t0=503)) as server:
        assert run(server, "redrive", "--until", AT, "--yes", "--json") == 4
    shown = capsys.readouterr()
    found = json.loads(shown.out)["results"]
    assert [(one["taskId"], one["generation"], one["outcome"]) for one in found] == [
        ("t-0", 1, "failed"),
        ("t-1", 1, "replayed"),
    ]
    assert f"next: tasks redrive --until {AT} --yes --url {server.url}" in shown.err


# Where to, and what goes wrong there. ---------------------------------------------------------------------------------


def host(server: Server, opened: list[str] | None = None, display: bool = False) -> Host:
    """A machine with a running stack, and with or without a display."""

    def show(base: str, key: str, anchor: str) -> str | None:
        address = f"{base}/#key={key}{anchor}"
        (opened if opened is not None else []).append(address)
        return None if display else address

    return Host(lambda: outputs(server), show)


def outputs(server: Server) -> Mapping[str, str]:
    return {"api_url": f"{server.url}/tasks", "base_url": server.url, "api_key": KEY}


EMPTY: Reply = (200, {"tasks": [], "cursor": None})


def test_the_stack_of_the_account_is_asked_with_its_own_key_whatever_the_environment_names(
    capsys: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKS_URL", "http://127.0.0.1:9/dev")
    monkeypatch.setenv("TASKS_API_KEY", "of-that-one")
    with serving(in_turn(a_task("FAILED_FINAL"))) as server, serving(never) as local:
        there = replace(host(local), account=lambda: outputs(server))
        assert main(["redrive", "a", "--target", "aws"], there) == 0
    assert [request.headers["x-api-key"] for request in server.requests] == [KEY]
    assert capsys.readouterr().err.splitlines()[-1] == "  next: tasks redrive a --yes --target aws"


def test_an_account_that_cannot_be_looked_into_is_told_and_no_other_stack_is_asked(capsys: Shown) -> None:
    def refused() -> Mapping[str, Any]:
        raise Usage("AWS does not know these credentials.", "aws sso login")

    with serving(never) as local:
        assert main(["list", "--target", "aws"], replace(host(local), account=refused)) == 2
        assert main(["list", "--target", "aws"], host(local)) == 2
        assert main(["list", "--target", "aws", "--url", local.url], replace(host(local), account=refused)) == 2
    first, hint, alone, _, both, _ = capsys.readouterr().err.splitlines()
    assert (first, hint) == ("error: AWS does not know these credentials.", "  next: aws sso login")
    assert "only from a checkout" in alone
    assert "--url and --target" in both


def test_the_api_is_the_one_given_else_of_the_environment_else_the_running_stack(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving(in_turn(EMPTY)) as given, serving(in_turn(EMPTY)) as named, serving(in_turn(EMPTY)) as running:
        assert main(["list"], host(running)) == 0
        monkeypatch.setenv("TASKS_URL", f"{named.url}/tasks")
        monkeypatch.setenv("TASKS_API_KEY", "of-the-environment")
        assert main(["list"], host(running)) == 0
        assert main(["list", "--url", given.url, "--key", "given"], host(running)) == 0
        assert main(["--key", "before", "--url", given.url, "list"], host(running)) == 0
    keys = [[request.headers["x-api-key"] for request in server.requests] for server in (running, named, given)]
    assert keys == [[KEY], ["of-the-environment"], ["given", "before"]]


def test_the_running_stacks_key_goes_to_no_other_api(capsys: Shown) -> None:
    with serving(never) as other, serving(in_turn(EMPTY)) as running:
        assert main(["list", "--url", other.url], host(running)) == 2
        assert f"There is no key for {other.url}." in capsys.readouterr().err
        assert main(["list", "--url", f"{running.url}/"], host(running)) == 0
    assert other.requests == []


def test_what_is_no_url_is_told_before_anything_is_asked(capsys: Shown) -> None:
    for url in (
        "localhost:4566",
        "ftp://x/tasks",
        "http://",
        "http://[",
        "http://x:port",
    ):
        assert main(["list", "--url", url, "--key", KEY]) == 2, url
        assert f"error: {url!r} is no URL." in capsys.readouterr().err, url


def test_without_a_stack_and_a_url_it_is_told_how_to_have_one(capsys: Shown) -> None:
    assert main(["list"]) == 2
    said = capsys.readouterr().err
    assert "No stack runs here" in said
    assert "`make up`" in said


@pytest.mark.parametrize("key", ["with space", "with\nline", "with-ö"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(key: str, capsys: Shown) -> None:
    with serving(never) as server:
        assert main(["list", "--url", server.url, "--key", key]) == 2
    assert key not in capsys.readouterr().err


TROUBLE = {
    400: (2, "The API rejected it: A message. (400 a_code)", "tasks get --help"),
    403: (2, "The API refused the key (403: A message.)", "--key KEY"),
    404: (3, "A message.", "tasks list --url "),
    409: (2, "The API rejected it: A message. (409 a_code)", "tasks get --help"),
    429: (4, "The API is away or too busy (429: A message.)", "make status"),
    503: (4, "The API is away or too busy (503: A message.)", "make status"),
}


def test_a_refusal_is_told_with_its_reason_and_what_to_type_next(
    capsys: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    for status, told in TROUBLE.items():
        monkeypatch.setattr("client.tasks._back_off", lambda attempt: None)
        code, why, following = told
        with serving(in_turn(an_error(status))) as server:
            assert run(server, "get", "a") == code, status
        said = capsys.readouterr().err
        assert why in said, status
        assert following in said.partition("next: ")[2], status
        assert KEY not in said, status


def test_a_submit_without_a_clear_answer_is_told_with_the_id_that_makes_no_second_task(
    capsys: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.tasks._back_off", lambda attempt: None)
    with serving(in_turn(an_error(503))) as server:
        assert run(server, "submit") == 4
    (task_id,) = {request.body["taskId"] for request in server.requests}
    assert f"next: the same again with --id {task_id}" in capsys.readouterr().err


def test_an_api_that_is_not_there_is_unavailable(capsys: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("client.tasks._back_off", lambda attempt: None)
    assert main(["list", "--url", f"http://127.0.0.1:{free_port()}", "--key", KEY]) == 4
    assert "did not answer 5 times" in capsys.readouterr().err


def test_something_else_that_answers_is_said_not_to_be_the_api(capsys: Shown) -> None:
    with serving(in_turn((200, "<html>Hello</html>"))) as server:
        assert run(server, "list") == 2
    assert "is not the task API's" in capsys.readouterr().err


# The dashboard. -------------------------------------------------------------------------------------------------------


def test_open_shows_the_dashboard_with_the_key_and_prints_it_only_where_there_is_no_display(capsys: Shown) -> None:
    opened: list[str] = []
    with serving(never) as server:
        assert main(["open"], host(server, opened, display=True)) == 0
        assert KEY not in "".join(capsys.readouterr())
        assert main(["open", "a"], host(server, opened)) == 0
    assert opened == [f"{server.url}/#key={KEY}", f"{server.url}/#key={KEY}&task=a"]
    assert capsys.readouterr().out.splitlines()[-1] == opened[1]


def test_a_browser_is_tried_where_there_is_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def opening(url: str) -> bool:
        opened.append(url)
        return True

    monkeypatch.setattr("webbrowser.open", opening)
    monkeypatch.setenv("DISPLAY", ":0")
    assert command.show("http://x/dev", "k", "&task=a") is None
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert command.show("http://x/dev", "k", "") == "http://x/dev/#key=k"
    assert opened == ["http://x/dev/#key=k&task=a"]


# Terminals, pipes, Ctrl-C. --------------------------------------------------------------------------------------------


def test_what_would_steer_a_terminal_is_shown_as_what_it_is(capsys: Shown) -> None:
    evil = f"{ESCAPE}]0;owned\x07{ESCAPE}[2J"
    letter = {**a_letter(), "error": evil}
    with serving(
        in_turn(a_task("FAILED_FINAL", error=evil), (200, {"deadLetters": [letter], "cursor": None}))
    ) as server:
        run(server, "wait", "a")
        run(server, "dead-letters")
    shown = capsys.readouterr()
    assert ESCAPE not in shown.out + shown.err
    assert shown.out.count("\\x1b[2J") == 2


@contextmanager
def started(server: Server, *words: str, out: int = subprocess.PIPE, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """The command as a process of its own."""
    environment: Mapping[str, str] = {**os.environ, "TASKS_URL": server.url, "TASKS_API_KEY": KEY, **more}
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.tasks", *words],
        cwd=ROOT,
        env=environment,
        stdout=out,
        stderr=subprocess.PIPE,
        preexec_fn=heeds_ctrl_c,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def on_a_terminal(server: Server, *words: str, **more: str) -> str:
    """What it wrote to a terminal of 200 columns."""
    ours, theirs = os.openpty()
    with started(server, *words, out=theirs, TERM="xterm-256color", COLUMNS="200", **more) as process:
        os.close(theirs)
        written = b""
        while piece := _read(ours):
            written += piece
        process.wait(60)
    os.close(ours)
    return written.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # Linux's word for: nobody holds the other end any more
        return b""


def test_on_a_terminal_a_list_is_a_table_without_colours_where_they_are_not_wanted() -> None:
    with serving(in_turn((200, {"tasks": [a_summary("the-task")], "cursor": None}))) as server:
        plain = on_a_terminal(server, "list", NO_COLOR="1")
    assert "───" in plain
    assert "the-task" in plain
    assert re.search(ESCAPE + r"\[[0-9;]*3[0-9]", plain) is None


def test_on_a_terminal_the_timeline_is_drawn_anew_as_it_moves() -> None:
    with serving(in_turn(a_task("PROCESSING", 1), a_task("FAILED_PENDING", 2), a_task())) as server:
        written = on_a_terminal(server, "wait", "a")
    assert f"{ESCAPE}[1A" in written, "nothing was drawn anew"
    assert f"{ESCAPE}[32mCOMPLETED" in written
    drawn = re.sub(ESCAPE + r"\[[0-9;?]*[A-Za-z]", "", written)
    assert "PROCESSING, attempts 2 of 3" in drawn
    assert drawn.rstrip().endswith('COMPLETED: {"ok": true}')


def test_ctrl_c_leaves_the_task_running_and_says_how_to_go_on() -> None:
    with serving(in_turn(a_task("PROCESSING", 1))) as server, started(server, "wait", "a") as process:
        eventually(lambda: len(server.requests) >= 2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert {request.method for request in server.requests} == {"GET"}
    assert b"PROCESSING  attempt 1" in out
    assert err.decode().splitlines() == [
        "error: Interrupted.",
        "  next: the task is PROCESSING and goes on; tasks wait a",
    ]


def test_ctrl_c_before_anything_is_asked_ends_in_order_too(capsys: Shown) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    assert main(["list"], Host(interrupted)) == 130
    assert capsys.readouterr().err == "error: Interrupted.\n"


def test_a_reader_that_has_enough_is_no_failure() -> None:
    tasks = [a_summary(f"task-{number}", error="x" * 1000) for number in range(1000)]
    with serving(in_turn((200, {"tasks": tasks, "cursor": None}))) as server, started(server, "list") as process:
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        _, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, b"")


def test_the_command_is_installed_and_works_from_any_folder(tmp_path: Path) -> None:
    made = subprocess.run(["make", "-s", ".venv/bin/tasks"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    (tmp_path / "client").mkdir()
    (tmp_path / "client" / "__init__.py").write_text("raise AssertionError('another client')")
    done = subprocess.run(
        [ROOT / ".venv" / "bin" / "tasks", "--help"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for code in ("0 ", "1 ", "2 ", "3 ", "4 ", "5 ", "130 "):
        assert f"\n  {code}" in done.stdout


def test_what_to_type_next_is_what_was_typed_for_the_command(tmp_path: Path) -> None:
    subprocess.run(["make", "-s", ".venv/bin/tasks"], cwd=ROOT, check=True)
    bin_ = ROOT / ".venv" / "bin"
    link = tmp_path / "tasks of mine"
    link.symlink_to(bin_ / "tasks")
    with serving(in_turn(an_error(404))) as server:

        def next_of(called: str, *words: str, **more: str) -> str:
            environment = {**os.environ, "TASKS_URL": server.url, "TASKS_API_KEY": KEY, **more}
            command = [called, *words]
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
            return done.stderr.partition("next: ")[2].strip()

        assert next_of(".venv/bin/tasks", "get") == ".venv/bin/tasks get --help"
        assert next_of(str(link), "get", "a") == f"'{link}' list"
        on_the_path = f"{bin_}{os.pathsep}{os.environ['PATH']}"
        assert next_of(str(bin_ / "tasks"), "get", "a", PATH=on_the_path) == "tasks list"


def test_the_library_needs_nothing_but_requests() -> None:
    program = "import sys; sys.modules['rich'] = None; import client; client.TaskClient('http://x', 'k')"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
