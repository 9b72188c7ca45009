"""docs/operations.md: what its first look shows, its commands for AWS, a section for every alarm.

`make walkthrough` runs every command that the page marks as runnable.
"""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from bootstrap.paths import ROOT
from tests.support.stack import FAST, DeployedStack
from tests.support.templates import template
from tests.support.waiting import eventually

PAGE = (ROOT / "docs" / "operations.md").read_text()
SECTIONS = re.split(r"^#{2,3} ", PAGE, flags=re.MULTILINE)[1:]
COMMANDS = [
    (section.splitlines()[0], command)
    for section in SECTIONS
    for block in re.findall(r"```sh run\n(.*?)```", section, re.DOTALL)
    for command in block.splitlines()
]
FIRST_LOOK = "First look"
ON_AWS = [command for block in re.findall(r"```sh aws\n(.*?)```", PAGE, re.DOTALL) for command in block.splitlines()]
LOOKING_ON_AWS = {command for command in ON_AWS if re.match(r"aws \S+ (get|describe|list)-", command)}
TOOLS = f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"
"""A PATH on which `aws` is ours."""
ALARMS = {
    resource["Properties"]["AlarmName"]["Fn::Sub"].replace("${Stage}", "dev"): resource["Condition"]
    for resource in template("app")["Resources"].values()
    if resource["Type"] == "AWS::CloudWatch::Alarm"
}
"""Name -> condition: some are there only where a kind has a schedule, and none of ours has one."""


@pytest.fixture(scope="module")
def own(embedded_stack: DeployedStack) -> DeployedStack:
    """A stack on which a task has died."""
    task = embedded_stack.tasks.submit(payload={"simulate": {"permanent": True}})
    eventually(task.get, lambda found: found.dead_letters)
    return embedded_stack


def run(stack: DeployedStack, command: str, **more: str) -> subprocess.CompletedProcess[str]:
    host = stack.outputs["endpoint_url"].removeprefix("http://")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MAKE"))}
    variables = {
        **inherited,
        **FAST,
        "LOCAL_DIR": str(stack.folder),
        "LOCALSTACK_HOST": host,
        "AWS_DEFAULT_REGION": stack.place.region,
        "TARGET": "embedded",
        "EDGE_PORT": host.rsplit(":", 1)[1],
        **more,
    }
    return subprocess.run(["bash", "-c", command], cwd=ROOT, env=variables, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", sorted(LOOKING_ON_AWS))
def test_a_command_for_aws_that_only_looks_works_as_written_on_a_local_aws(own: DeployedStack, command: str) -> None:
    done = run(own, command, **an_account(own))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_the_look_for_what_failed_shows_what_failed_and_no_more(own: DeployedStack) -> None:
    [command] = [command for command in LOOKING_ON_AWS if "describe-stack-events" in command]
    assert run(own, command, **an_account(own)).stdout == ""
    ended = command.replace("'FAILED'", "'CREATE_COMPLETE'")
    assert "TaskApi\t" in run(own, ended, **an_account(own)).stdout


@pytest.mark.parametrize("command", sorted(set(ON_AWS) - LOOKING_ON_AWS))
def test_a_command_for_aws_that_changes_something_is_one_that_the_command_line_takes(command: str) -> None:
    done = parsed(command)
    assert (done.returncode, done.stderr) == (0, "")
    assert parsed(f"{command} --no-such-option").returncode != 0


def test_every_command_for_aws_of_the_page_is_tried_by_one_of_the_two() -> None:
    assert len(ON_AWS) >= 3
    assert all(command.startswith("aws ") for command in ON_AWS)


def an_account(stack: DeployedStack) -> dict[str, str]:
    """Variables by which `aws` takes the local AWS for one."""
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    return {"PATH": TOOLS, "AWS_ENDPOINT_URL": stack.outputs["endpoint_url"], **keys}


def parsed(command: str) -> subprocess.CompletedProcess[str]:
    """By the command line, which then shows the form of an answer instead of calling."""
    variables = {"PATH": TOOLS, "AWS_DEFAULT_REGION": "eu-west-1", "AWS_CONFIG_FILE": os.devnull}
    shown = f"{command} --generate-cli-skeleton output"
    return subprocess.run(["bash", "-c", shown], env=variables, capture_output=True, text=True, check=False)


def test_what_the_first_look_shows_is_there(own: DeployedStack) -> None:
    looks = [run(own, command) for section, command in COMMANDS if section == FIRST_LOOK]
    assert {(done.returncode, done.stderr) for done in looks} == {(0, "")}
    shown = "".join(done.stdout for done in looks)
    assert "task dead" in shown
    alarms = {line.split("\t")[0] for line in shown.splitlines() if line.startswith("dev-") and "\t" in line}
    assert alarms == {name for name, condition in ALARMS.items() if condition == "Watched"}


def test_every_alarm_has_a_section_and_every_section_an_alarm() -> None:
    named = [name for section in SECTIONS for name in re.findall(r"`(dev-[a-z0-9-]+)`", section.splitlines()[0])]
    assert sorted(named) == sorted(ALARMS)


def test_every_make_command_of_the_page_exists() -> None:
    named = set(re.findall(r"\bmake ([a-z-]+)", PAGE))
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named <= known
