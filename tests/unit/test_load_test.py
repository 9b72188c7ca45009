"""The load test, against a real server."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from bootstrap.paths import ROOT
from scripts.load_test import NO_ANSWER, Load, main, percentile, run
from tests.support.processes import heeds_ctrl_c
from tests.support.server import Reply, Request, in_turn, serving
from tests.support.stack import free_port
from tests.support.waiting import eventually

ACCEPTED: Reply = (202, {"message": "Task accepted"})
KEY = ("--api-key", "secret")

Shown = pytest.CaptureFixture[str]


def test_a_percentile_is_the_smallest_value_that_enough_values_do_not_exceed() -> None:
    for values, share, value in (
        ([7.0], 0.5, 7),
        ([7.0], 0.99, 7),
        ([1.0, 2.0], 0.5, 1),
        ([1.0, 2.0], 0.51, 2),
        ([3.0, 1.0, 2.0], 0.5, 2),
        ([float(n) for n in range(1, 101)], 0.5, 50),
        ([float(n) for n in range(1, 101)], 0.95, 95),
        ([float(n) for n in range(1, 101)], 0.99, 99),
        ([float(n) for n in range(1, 101)], 1, 100),
        ([float(n) for n in range(1, 1001)], 0.95, 950),
        ([1.0, 2.0, 3.0], 0, 1),
    ):
        assert percentile(values, share) == value, values


def test_every_task_is_posted_once_under_an_id_of_its_own_with_key_and_payload(capsys: Shown) -> None:
    with serving(in_turn(ACCEPTED)) as server:
        assert main([server.url, "12", "3", *KEY, "--payload", '{"a": 1}']) == 0
    assert {(request.method, request.path) for request in server.requests} == {("POST", "/tasks")}
    assert len({request.body["taskId"] for request in server.requests}) == len(server.requests) == 12
    assert all(request.headers["x-api-key"] == "secret" for request in server.requests)
    assert all(request.body["payload"] == {"a": 1} for request in server.requests)
    assert _rows(capsys.readouterr().out)["accepted"] == "12"


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_answer_is_tried_again_with_the_same_id_and_counted(status: int, capsys: Shown) -> None:
    with serving(in_turn((status, {}), ACCEPTED)) as server:
        assert main([server.url, "1", *KEY]) == 0
    first, second = server.requests
    assert first.body == second.body
    rows = _rows(capsys.readouterr().out)
    assert (rows["accepted"], rows["tries that were repeated"]) == ("1", "1")


def test_rejected_tasks_are_counted_by_their_status_and_make_it_fail(capsys: Shown) -> None:
    with serving(_rejecting({0: 400, 1: 400, 2: 409})) as server:
        assert main([server.url, "6", *KEY]) == 1
        assert len(server.requests) == 6, "none of them is tried again"
    rows = _rows(capsys.readouterr().out)
    assert (rows["accepted"], rows["rejected with 400"], rows["rejected with 409"]) == ("3", "2", "1")


def test_a_wrong_key_is_told_with_the_way_to_set_it(capsys: Shown) -> None:
    with serving(in_turn((403, {"message": "Forbidden"}))) as server:
        assert main([server.url, "2", *KEY]) == 1
    shown = capsys.readouterr()
    assert "Forbidden" in shown.err
    assert "--api-key" in shown.err
    assert "make outputs" in shown.err
    assert "latency" not in shown.out


def test_no_answer_is_counted_as_such_and_tried_again() -> None:
    load = Load(f"http://127.0.0.1:{free_port()}", "secret", {})
    answer = load._post({}, 1)  # one try: eight of them take their time
    assert (answer.status, answer.tries) == (NO_ANSWER, 1)
    assert "refused" in answer.message


def test_answers_are_measured_one_by_one() -> None:
    with serving(in_turn(ACCEPTED)) as server:
        answers, seconds = run(Load(f"{server.url}/tasks", "secret", {}), 5, 2)
    assert [answer.status for answer in answers] == [202] * 5
    assert 0 < sum(answer.seconds for answer in answers) <= seconds * 2


def test_ctrl_c_ends_it_with_130_and_what_was_answered_until_then() -> None:
    with serving(in_turn(ACCEPTED)) as server:
        process = subprocess.Popen(
            [sys.executable, "-m", "scripts.load_test", server.url, "5000", *KEY],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=heeds_ctrl_c,
        )
        try:
            eventually(lambda: len(server.requests) >= 100)
            process.send_signal(signal.SIGINT)
            shown, _ = process.communicate(timeout=300)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 130
    assert "Interrupted; this is what was done until now." in shown
    assert int(_rows(shown)["accepted"]) == len(server.requests), "what was on its way is counted, too"


BAD_ARGUMENTS = {
    "no URL": [],
    "count zero": ["http://x", "0"],
    "count negative": ["http://x", "-1"],
    "count a part": ["http://x", "1.5"],
    "count a word": ["http://x", "many"],
    "count too large": ["http://x", "1000001"],
    "concurrency zero": ["http://x", "1", "0"],
    "concurrency a foreign digit": ["http://x", "1", "\u0663"],
    "one more": ["http://x", "1", "1", "1"],
    "payload no JSON": ["http://x", "--payload", "{"],
    "payload an array": ["http://x", "--payload", "[]"],
    "payload a number": ["http://x", "--payload", "1"],
}


def test_wrong_arguments_are_told_and_nothing_is_sent(capsys: Shown) -> None:
    for arguments in BAD_ARGUMENTS.values():
        with pytest.raises(SystemExit) as error:
            main(arguments)
        assert error.value.code == 2, arguments
        assert "usage: python -m scripts.load_test" in capsys.readouterr().err, arguments


def _rejecting(statuses: dict[int, int]) -> Callable[[Request], Reply]:
    """The task whose number is a key is answered with that status."""

    def answer(request: Request) -> Reply:
        number = int(request.body["taskId"].rsplit("-", 1)[1])
        return (statuses[number], {}) if number in statuses else ACCEPTED

    return answer


def _rows(shown: str) -> dict[str, str]:
    """The table of the report: name -> value."""
    lines = [line.strip("│| ").split("│") for line in shown.splitlines() if "│" in line]
    return {line[0].strip(): line[1].strip() for line in lines if len(line) == 2}
