"""The commands by which the README looks inside a running stack, run as written there."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from bootstrap.paths import ROOT
from scripts import demo
from tests.support.stack import DeployedStack, bootstrap, new_id

README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"```sh run awslocal\n(.*?)```", README, re.DOTALL)[0].splitlines()
CURL = re.findall(r"```sh run curl\n(.*?)```", README, re.DOTALL)[0]
AWSLOCAL = "awslocal"


def run(stack: DeployedStack, command: str) -> subprocess.CompletedProcess[str]:
    host = stack.outputs["endpoint_url"].removeprefix("http://")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    variables = {**inherited, "LOCALSTACK_HOST": host, "AWS_DEFAULT_REGION": stack.place.region}
    variables["LOCAL_DIR"] = str(stack.folder)
    return subprocess.run(["bash", "-c", command], cwd=ROOT, env=variables, capture_output=True, text=True, check=False)


def test_there_are_five_commands_and_each_is_of_awslocal() -> None:
    assert len(COMMANDS) == 5
    assert all(command.startswith(f".venv/bin/{AWSLOCAL} ") for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS, ids=[" ".join(command.split()[1:3]) for command in COMMANDS])
def test_a_command_of_the_readme_works_as_written(embedded_stack: DeployedStack, command: str) -> None:
    embedded_stack.tasks.submit(payload={}).wait()

    done = run(embedded_stack, command)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() not in ("", "[]", "{}")


def test_the_readme_submits_and_looks_with_curl(stack: DeployedStack) -> None:
    task_id = new_id("curl")
    url, key, *rest = CURL.splitlines()
    assert (url.split("=")[0], key.split("=")[0]) == ("API_URL", "API_KEY")
    ours = [f"API_URL={stack.outputs['api_url']}", f"API_KEY={stack.outputs['api_key']}"]

    done = run(stack, "\n".join(["set -e", *ours, *rest]).replace("curl ", "curl -sS ").replace("order-16", task_id))

    assert (done.returncode, done.stderr) == (0, "")
    assert '"message": "Task accepted"' in done.stdout
    assert done.stdout.count(f'"taskId": "{task_id}"') == 2


def test_the_demos_own_line_submits_a_task(embedded_stack: DeployedStack) -> None:
    done = run(embedded_stack, demo.curl(embedded_stack.outputs).replace("curl ", "curl -sS "))

    assert (done.returncode, done.stderr) == (0, "")
    assert '"message": "Task accepted"' in done.stdout


def test_status_tells_what_runs_with_the_help_of_the_localstack_client(stack: DeployedStack) -> None:
    done = bootstrap(stack.folder, "status")

    assert done.returncode == 0, done.stderr
    for words in (stack.outputs["endpoint_url"], "dev-tasks-app", "waiting", "dynamodb "):
        assert words in done.stdout
