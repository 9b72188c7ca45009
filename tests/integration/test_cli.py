"""The `tasks` command against the deployed stack, found by itself as the one that runs here, and by its URL and key."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from bootstrap.paths import ROOT
from client import cli
from client.target import Host
from scripts import dashboard, running
from scripts import tasks as command
from scripts.running import running_outputs
from tests.support.account import Account
from tests.support.stack import DeployedStack, free_port, new_id
from tests.support.stand_in import ACCOUNT, error, once
from tests.support.waiting import eventually

Done = subprocess.CompletedProcess[str]


def tasks(stack: DeployedStack, *words: str, stdin: str = "", **variables: str) -> Done:
    """As typed beside the running stack."""
    own = ("TASKS_URL", "TASKS_API_KEY", "DISPLAY", "WAYLAND_DISPLAY")
    inherited = {name: value for name, value in os.environ.items() if name not in own}
    return subprocess.run(
        [sys.executable, "-m", "scripts.tasks", *words],
        cwd=ROOT,
        env={**inherited, "LOCAL_DIR": str(stack.folder), **variables},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def document(done: Done) -> Any:
    assert done.stderr == ""
    return json.loads(done.stdout)


def is_listed_dead(stack: DeployedStack, task_id: str) -> bool:
    done = tasks(stack, "dead-letters", "--kind", "transfer", "--limit", "all", "--json")
    assert done.returncode == 0, done.stderr
    return any(letter["taskId"] == task_id for letter in document(done)["deadLetters"])


def test_a_task_is_seen_to_die_replayed_and_seen_to_complete(stack: DeployedStack) -> None:
    task_id, source, target = new_id("cli"), new_id("from"), new_id("to")
    deposit = json.dumps({"account": source, "amount": 10})
    assert tasks(stack, "submit", deposit, "--kind", "deposit", "--wait").returncode == 0

    transfer = json.dumps({"source": source, "target": target, "amount": 4})
    died = tasks(stack, "submit", "-", "--kind", "transfer", "--id", task_id, "--wait", stdin=transfer)
    assert died.returncode == 1, died.stderr
    assert f"{stack.outputs['base_url']}/#task={task_id}\n" in died.stdout
    assert died.stdout.splitlines()[-1] == f"FAILED_FINAL: NoSuchAccount: there is no account {target}"
    again = tasks(stack, "submit", transfer, "--kind", "transfer", "--id", task_id)
    assert (again.returncode, again.stdout.split()[:2]) == (0, ["known", task_id])

    eventually(lambda: is_listed_dead(stack, task_id))
    assert (
        tasks(stack, "submit", json.dumps({"account": target, "amount": 1}), "--kind", "deposit", "--wait").returncode
        == 0
    )
    shown = tasks(stack, "redrive", task_id)
    assert (shown.returncode, stack.tasks.get(task_id).generation) == (0, 1), shown.stderr
    assert "would be replayed" in shown.stdout
    replayed = tasks(stack, "redrive", task_id, new_id("none"), "--yes")
    assert replayed.returncode == 3, replayed.stderr
    assert [line.split()[:2] for line in replayed.stdout.splitlines()[1:2]] == [[task_id, "replayed"]]

    done = tasks(stack, "wait", task_id)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, 'COMPLETED: {"moved": 4}'), done.stderr
    assert done.stdout.count("PROCESSING") == 2
    seen = document(tasks(stack, "get", task_id, "--json"))
    assert (seen["status"], seen["generation"], seen["payload"]["target"]) == ("COMPLETED", 2, target)
    assert not is_listed_dead(stack, task_id)


def test_tasks_that_wait_are_listed_counted_and_cancelled(stack: DeployedStack) -> None:
    one, two = new_id("later"), new_id("later")
    for task_id in (one, two):
        assert tasks(stack, "submit", "{}", "--id", task_id, "--delay", "1h").returncode == 0
    late = tasks(stack, "wait", one, "--timeout", "0")
    assert (late.returncode, f"next: tasks wait {one}" in late.stderr) == (5, True)

    def open_ids() -> set[str]:
        done = tasks(stack, "list", "--status", "submitted", "--limit", "all", "--json")
        return {task["taskId"] for task in document(done)["tasks"]}

    eventually(open_ids, lambda ids: {one, two} <= ids)
    assert document(tasks(stack, "stats", "--json"))["counts"]["open"]["count"] >= 2
    assert "waiting" in tasks(stack, "stats").stdout

    cancelled = tasks(stack, "cancel", one, two)
    assert cancelled.returncode == 0, cancelled.stderr
    assert [line.split()[:2] for line in cancelled.stdout.splitlines()[1:]] == [[one, "cancelled"], [two, "cancelled"]]
    assert "cancelled before" in tasks(stack, "cancel", one).stdout
    ended = tasks(stack, "wait", two)
    assert (ended.returncode, ended.stdout.splitlines()[-1]) == (1, "CANCELLED")
    assert tasks(stack, "redrive", two, "--yes").returncode == 2
    eventually(open_ids, lambda ids: not {one, two} & ids)


def test_what_the_api_refuses_is_told_in_its_words_and_by_the_exit_code(stack: DeployedStack) -> None:
    rejected = tasks(stack, "submit", '{"amount": -1}', "--kind", "deposit")
    assert (rejected.returncode, rejected.stdout) == (2, "")
    assert "The API rejected it: payload" in rejected.stderr
    assert tasks(stack, "get", new_id("none")).returncode == 3
    url, wrong = stack.outputs["api_url"], "x" * 30
    refused = tasks(stack, "list", "--url", url, TASKS_API_KEY=wrong)
    assert (refused.returncode, "The API refused the key" in refused.stderr) == (2, True)
    away = tasks(stack, "list", "--url", f"http://127.0.0.1:{free_port()}", "--key", wrong)
    assert (away.returncode, wrong in away.stderr) == (4, False)


def test_only_open_ever_shows_the_key(stack: DeployedStack) -> None:
    key = stack.outputs["api_key"]
    for words in (("submit", "--json"), ("list",), ("stats",), ("get", new_id("none")), ("wait", new_id("none"))):
        done = tasks(stack, *words)
        assert key not in done.stdout + done.stderr
    opened = tasks(stack, "open")
    assert opened.stdout.splitlines()[-1] == f"{stack.outputs['base_url']}/#key={key}"


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

        machine = Host(running_outputs, command.show, command.account)
        assert cli.main(["open", "--target", "aws", "--json"], machine) == 0
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
    assert cli.main(["list", "--target", "aws"], Host(running_outputs, command.show, command.account)) == 2
    assert capsys.readouterr().err.count("AWS refuses") == 2
