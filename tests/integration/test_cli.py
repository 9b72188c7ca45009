"""The `tasks` command against the deployed stack, found by itself as the one that runs here, and by its URL and key."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from bootstrap.paths import ROOT
from client import cli
from client.target import Host
from scripts import dashboard, running
from scripts import tasks as command
from scripts.running import running_outputs
from tests.support.account import Account, Said
from tests.support.stack import DeployedStack, free_port, new_id
from tests.support.stand_in import ACCOUNT, error, once
from tests.support.waiting import eventually

HERE = Host(running_outputs, command.show, command.account)
NOT_INHERITED = ("TASKS_URL", "TASKS_API_KEY", "DISPLAY", "WAYLAND_DISPLAY")
Tasks = Callable[..., Said]


@pytest.fixture
def tasks(embedded_stack: DeployedStack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tasks:
    """The command as typed beside the running stack, in this process."""
    for name in NOT_INHERITED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOCAL_DIR", str(embedded_stack.folder))

    def run(*words: str) -> Said:
        capsys.readouterr()
        code = cli.main(words, HERE)
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return run


def installed(stack: DeployedStack, *words: str, stdin: str) -> Said:
    """The same by the command that `make` installs."""
    inherited = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    done = subprocess.run(
        [ROOT / ".venv" / "bin" / "tasks", *words],
        env={**inherited, "LOCAL_DIR": str(stack.folder)},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr)


def document(done: Said) -> Any:
    assert done.err == ""
    return json.loads(done.out)


def is_listed_dead(tasks: Tasks, task_id: str) -> bool:
    done = tasks("dead-letters", "--kind", "transfer", "--limit", "all", "--json")
    assert done.code == 0, done.err
    return any(letter["taskId"] == task_id for letter in document(done)["deadLetters"])


def test_a_task_is_seen_to_die_replayed_and_seen_to_complete(tasks: Tasks, embedded_stack: DeployedStack) -> None:
    stack = embedded_stack
    task_id, source, target = new_id("cli"), new_id("from"), new_id("to")
    deposit = json.dumps({"account": source, "amount": 10})
    assert tasks("submit", deposit, "--kind", "deposit", "--wait").code == 0

    transfer = json.dumps({"source": source, "target": target, "amount": 4})
    died = installed(stack, "submit", "-", "--kind", "transfer", "--id", task_id, "--wait", stdin=transfer)
    assert died.code == 1, died.err
    assert f"{stack.outputs['base_url']}/#task={task_id}\n" in died.out
    assert died.out.splitlines()[-1] == f"FAILED_FINAL: NoSuchAccount: there is no account {target}"
    again = tasks("submit", transfer, "--kind", "transfer", "--id", task_id)
    assert (again.code, again.out.split()[:2]) == (0, ["known", task_id])

    eventually(lambda: is_listed_dead(tasks, task_id))
    assert tasks("submit", json.dumps({"account": target, "amount": 1}), "--kind", "deposit", "--wait").code == 0
    shown = tasks("redrive", task_id)
    assert (shown.code, stack.tasks.get(task_id).generation) == (0, 1), shown.err
    assert "would be replayed" in shown.out
    replayed = tasks("redrive", task_id, new_id("none"), "--yes")
    assert replayed.code == 3, replayed.err
    assert [line.split()[:2] for line in replayed.out.splitlines()[1:2]] == [[task_id, "replayed"]]

    done = tasks("wait", task_id)
    assert (done.code, done.out.splitlines()[-1]) == (0, 'COMPLETED: {"moved": 4}'), done.err
    assert done.out.count("PROCESSING") == 2
    seen = document(tasks("get", task_id, "--json"))
    assert (seen["status"], seen["generation"], seen["payload"]["target"]) == ("COMPLETED", 2, target)
    assert not is_listed_dead(tasks, task_id)


def test_tasks_that_wait_are_listed_counted_and_cancelled(tasks: Tasks) -> None:
    one, two = new_id("later"), new_id("later")
    for task_id in (one, two):
        assert tasks("submit", "{}", "--id", task_id, "--delay", "1h").code == 0
    late = tasks("wait", one, "--timeout", "0")
    assert (late.code, f"next: tasks wait {one}" in late.err) == (5, True)

    def open_ids() -> set[str]:
        done = tasks("list", "--status", "submitted", "--limit", "all", "--json")
        return {task["taskId"] for task in document(done)["tasks"]}

    eventually(open_ids, lambda ids: {one, two} <= ids)
    assert document(tasks("stats", "--json"))["counts"]["open"]["count"] >= 2
    assert "waiting" in tasks("stats").out

    cancelled = tasks("cancel", one, two)
    assert cancelled.code == 0, cancelled.err
    assert [line.split()[:2] for line in cancelled.out.splitlines()[1:]] == [[one, "cancelled"], [two, "cancelled"]]
    assert "cancelled before" in tasks("cancel", one).out
    ended = tasks("wait", two)
    assert (ended.code, ended.out.splitlines()[-1]) == (1, "CANCELLED")
    assert tasks("redrive", two, "--yes").code == 2
    eventually(open_ids, lambda ids: not {one, two} & ids)


def test_what_the_api_refuses_is_told_in_its_words_and_by_the_exit_code(
    tasks: Tasks, embedded_stack: DeployedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    rejected = tasks("submit", '{"amount": -1}', "--kind", "deposit")
    assert (rejected.code, rejected.out) == (2, "")
    assert "The API rejected it: payload" in rejected.err
    assert tasks("get", new_id("none")).code == 3
    url, wrong = embedded_stack.outputs["api_url"], "x" * 30
    monkeypatch.setenv("TASKS_API_KEY", wrong)
    refused = tasks("list", "--url", url)
    assert (refused.code, "The API refused the key" in refused.err) == (2, True)
    away = tasks("list", "--url", f"http://127.0.0.1:{free_port()}", "--key", wrong)
    assert (away.code, wrong in away.err) == (4, False)


def test_only_open_ever_shows_the_key(tasks: Tasks, embedded_stack: DeployedStack) -> None:
    key = embedded_stack.outputs["api_key"]
    for words in (("submit", "--json"), ("list",), ("stats",), ("get", new_id("none")), ("wait", new_id("none"))):
        done = tasks(*words)
        assert key not in done.out + done.err
    opened = tasks("open")
    assert opened.out.splitlines()[-1] == f"{embedded_stack.outputs['base_url']}/#key={key}"


# On AWS. --------------------------------------------------------------------------------------------------------------


def test_with_target_aws_command_and_dashboard_take_the_stack_of_the_account(
    quick: Account, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert quick.run("deploy-aws", "--yes", STAGE="seen").code == 0
    try:
        monkeypatch.setenv("STAGE", "seen")
        outputs = running.deployment_of("aws").outputs(with_key=True)
        capsys.readouterr()
        assert dashboard.main(["--target", "aws"]) == 0
        opened = capsys.readouterr()
        assert opened.out.splitlines()[-1] == f"{outputs['base_url']}/#key={outputs['api_key']}"
        assert opened.err.startswith(f"AWS account {ACCOUNT} as ")

        assert cli.main(["open", "--target", "aws", "--json"], HERE) == 0
        assert json.loads(capsys.readouterr().out)["address"] == opened.out.splitlines()[-1]
    finally:
        monkeypatch.delenv("STAGE", raising=False)
        assert quick.run("destroy-aws", "--data", "delete", "--confirm", "seen", STAGE="seen").code == 0


def test_on_aws_a_call_that_is_refused_is_explained_and_no_local_stack_taken(
    quick: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    quick.between.instead("DescribeStacks", once(error("AccessDenied", "not for you")))
    assert dashboard.main(["--target", "aws"]) == 1
    quick.between.instead("DescribeStacks", once(error("AccessDenied", "not for you")))
    assert cli.main(["list", "--target", "aws"], HERE) == 2
    assert capsys.readouterr().err.count("AWS refuses") == 2
