"""`make logs` on a deployed stack: one stream of all functions, one task to its end, documents for programs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from bootstrap.paths import ROOT
from scripts import logs
from tests.support.account import Account
from tests.support.processes import called, heeds_ctrl_c, not_for_ever
from tests.support.stack import DeployedStack, new_id, purge_queues
from tests.support.stand_in import ACCOUNT, error, once
from tests.support.waiting import eventually

COMMAND = [sys.executable, "-m", "scripts.logs"]
Document = Mapping[str, Any]


def environment(stack: DeployedStack, **variables: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {**inherited, "LOCAL_DIR": str(stack.folder), **variables}


def said(stack: DeployedStack, **variables: str) -> subprocess.CompletedProcess[str]:
    return called(logs.main, environment=environment(stack, **variables))


def documents(out: str) -> list[Document]:
    return [json.loads(line) for line in out.splitlines()]


def shown(stack: DeployedStack, **variables: str) -> list[Document]:
    done = said(stack, JSON="1", **variables)
    assert (done.returncode, done.stderr) == (0, "")
    return documents(done.stdout)


@contextmanager
def follower(stack: DeployedStack, **variables: str) -> Iterator[subprocess.Popen[str]]:
    run = environment(stack, FOLLOW="1", **variables)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        COMMAND, cwd=ROOT, env=run, stdout=pipe, stderr=pipe, text=True, preexec_fn=heeds_ctrl_c
    ) as process:
        try:
            with not_for_ever(process):
                yield process
        finally:
            process.kill()


@contextmanager
def more_to_do(stack: DeployedStack) -> Iterator[None]:
    """Meanwhile tasks come: an emulator may hold the last line of a worker back until that is called again."""
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(2):
            stack.tasks.submit(payload={})

    going = threading.Thread(target=go_on)
    going.start()
    try:
        yield
    finally:
        over.set()
        going.join()


# One task. ------------------------------------------------------------------------------------------------------------


def _completes(stack: DeployedStack, task_id: str) -> None:
    stack.tasks.submit(payload={"simulate": {"failAttempts": [1]}}, task_id=task_id)


def _dies(stack: DeployedStack, task_id: str) -> None:
    stack.tasks.submit(payload={"simulate": {"permanent": True}}, task_id=task_id)


def _is_cancelled(stack: DeployedStack, task_id: str) -> None:
    stack.tasks.submit(payload={}, task_id=task_id, delay_seconds=600)
    stack.tasks.cancel(task_id)
    purge_queues(stack)


WAYS: dict[str, tuple[Callable[[DeployedStack, str], None], list[tuple[str, str]], str]] = {
    "completed": (
        _completes,
        [("submit-task", "submitted"), ("process-task", "task failed"), ("process-task", "task completed")],
        "COMPLETED after ",
    ),
    "dead": (
        _dies,
        [("submit-task", "submitted"), ("process-task", "task dead"), ("monitor-dlq", "task dead")],
        "FAILED_FINAL after ",
    ),
    "cancelled": (
        _is_cancelled,
        [("submit-task", "submitted"), ("steer-tasks", "task cancelled")],
        "CANCELLED after ",
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_task_is_followed_through_all_functions_to_its_end(stack: DeployedStack, way: str) -> None:
    act, steps, end = WAYS[way]
    task_id = new_id(way)
    act(stack, task_id)

    done = said(stack, TASK=task_id, FOLLOW="1", JSON="1")

    assert done.returncode == 0, done.stderr
    found = documents(done.stdout)
    assert {document["task_id"] for document in found} == {task_id}
    told = [(document["function"], document["message"]) for document in found]
    # The first to tell may be overtaken: it sends the message, which another process works on at once.
    assert [step for step in told if step in steps[1:]] == steps[1:]
    assert told.count(steps[0]) == 1
    times = [document["time"] for document in found if (document["function"], document["message"]) in steps]
    assert times == sorted(times)
    assert done.stderr.startswith(end)


def test_a_replayed_task_is_followed_into_its_second_life(embedded_stack: DeployedStack) -> None:
    task_id = new_id("again")
    embedded_stack.tasks.submit(payload={"simulate": {"failGenerations": [1]}}, task_id=task_id)
    assert said(embedded_stack, TASK=task_id, FOLLOW="1").returncode == 0
    embedded_stack.tasks.redrive(task_id)

    done = said(embedded_stack, TASK=task_id, FOLLOW="1", JSON="1")

    told = [document["message"] for document in documents(done.stdout)]
    # What a replay sends may be worked on before it has said so itself.
    assert told.index("task dead") < min(told.index("task replayed"), told.index("task completed"))
    assert "generation 2" in done.stderr


def test_for_people_each_step_shows_how_long_it_waited(embedded_stack: DeployedStack) -> None:
    task_id = new_id("waits")
    _completes(embedded_stack, task_id)
    assert said(embedded_stack, TASK=task_id, FOLLOW="1").returncode == 0

    first, *more = [line for line in said(embedded_stack, TASK=task_id).stdout.splitlines() if "task read" not in line]

    assert "+" not in first
    assert more
    assert all(" s  " in line and "+" in line for line in more)
    assert "\x1b" not in first


def test_an_unknown_task_is_named_with_how_long_logs_are_kept(embedded_stack: DeployedStack) -> None:
    nobody = new_id("nobody")
    for variables in ({}, {"FOLLOW": "1"}):
        done = said(embedded_stack, TASK=nobody, **variables)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"There is no task '{nobody}'" in done.stderr
        assert "Logs are kept for 14 days (LOG_RETENTION_DAYS)" in done.stderr


# All of them. ---------------------------------------------------------------------------------------------------------


def test_all_functions_come_in_one_stream_by_time(embedded_stack: DeployedStack) -> None:
    task_id = new_id("dead")
    _dies(embedded_stack, task_id)
    assert said(embedded_stack, TASK=task_id, FOLLOW="1").returncode == 0

    found = shown(embedded_stack, SINCE="1h")

    assert {"submit-task", "process-task", "monitor-dlq"} <= {document["function"] for document in found}
    assert [document["time"] for document in found] == sorted(document["time"] for document in found)
    assert not any("_aws" in document for document in found)


def test_only_the_function_and_the_levels_that_were_asked_for_are_shown(embedded_stack: DeployedStack) -> None:
    task_id = new_id("dead")
    _dies(embedded_stack, task_id)
    assert said(embedded_stack, TASK=task_id, FOLLOW="1").returncode == 0

    found = shown(embedded_stack, SINCE="1h", FN="process-task", LEVEL="WARNING")

    assert task_id in {document.get("task_id") for document in found}
    assert {document["function"] for document in found} == {"process-task"}
    assert {document["level"] for document in found} <= {"WARNING", "ERROR"}


def test_a_crash_of_a_function_is_an_error_with_its_text(embedded_stack: DeployedStack) -> None:
    embedded_stack.aws("lambda").invoke(FunctionName=embedded_stack.outputs["functions"]["MonitorDlq"], Payload=b"{}")

    def crashes() -> list[str]:
        done = said(embedded_stack, FN="monitor-dlq", LEVEL="ERROR")
        assert (done.returncode, done.stderr) == (0, "")
        return [line for line in done.stdout.splitlines() if "KeyError" in line]

    assert "'Records'" in eventually(crashes)[0]
    assert 'event["Records"]' in said(embedded_stack, FN="monitor-dlq", LEVEL="ERROR").stdout


def test_following_shows_each_line_of_many_once(embedded_stack: DeployedStack) -> None:
    names = [new_id("many") for _ in range(40)]
    found: Counter[tuple[str, str]] = Counter()
    wanted = {(name, message) for name in names for message in ("submitted", "task completed")}
    with follower(embedded_stack, JSON="1", SINCE="1m") as process:
        for name in names:
            embedded_stack.tasks.submit(payload={}, task_id=name)
        assert process.stdout is not None
        with more_to_do(embedded_stack):
            for line in process.stdout:
                document = json.loads(line)
                found[document.get("task_id", ""), document.get("message", "")] += 1
                if wanted <= set(found):
                    break
    assert {key: found[key] for key in wanted} == dict.fromkeys(wanted, 1)


# How it ends. ---------------------------------------------------------------------------------------------------------


def test_a_stage_that_is_not_deployed_is_named(embedded_stack: DeployedStack) -> None:
    done = said(embedded_stack, STAGE="nobody")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Nothing is deployed on " in done.stderr


def test_a_reader_that_has_enough_ends_it_in_order(embedded_stack: DeployedStack) -> None:
    for _ in range(3):
        embedded_stack.tasks.submit(payload={}).wait()
    for how in ("", "--json"):
        command = f"{sys.executable} -m scripts.logs {how} | head -1; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=ROOT,
            env=environment(embedded_stack, SINCE="1h"),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.stdout.splitlines()[1:], done.stderr) == (["0"], "")


def test_ctrl_c_ends_it_in_order(embedded_stack: DeployedStack) -> None:
    embedded_stack.tasks.submit(payload={}).wait()
    with follower(embedded_stack, SINCE="1h") as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert (process.wait(timeout=180), process.communicate()[1]) == (130, "")


# On AWS. --------------------------------------------------------------------------------------------------------------


def test_on_aws_the_account_is_introduced_beside_the_stream_and_throttling_waited_for(
    quick: Account, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert quick.run("deploy-aws", "--yes", STAGE="logged").code == 0
    try:
        refused = json.dumps({"resource": "/tasks", "httpMethod": "POST", "headers": {}, "body": "no JSON"})
        quick.client("lambda").invoke(FunctionName="logged-submit-task", Payload=refused.encode())
        quick.between.instead("FilterLogEvents", once(error("ThrottlingException", "Rate exceeded")))
        monkeypatch.setenv("STAGE", "logged")
        capsys.readouterr()

        code = logs.main(["--target", "aws", "--json"])

        out, err = capsys.readouterr()
        assert code == 0, err
        assert "submit refused" in {document["message"] for document in documents(out)}
        assert err.startswith(f"AWS account {ACCOUNT} as ")
        assert "throttles" in err
    finally:
        monkeypatch.delenv("STAGE")
        assert quick.run("destroy-aws", "--data", "delete", "--confirm", "logged", STAGE="logged").code == 0


def test_on_aws_a_call_that_is_refused_is_explained(quick: Account, capsys: pytest.CaptureFixture[str]) -> None:
    quick.between.instead("DescribeStacks", once(error("AccessDenied", "not for you")))
    assert logs.main(["--target", "aws"]) == 1
    assert "AWS refuses" in capsys.readouterr().err
