"""docs/operations.md: every command that it marks as runnable runs, and every alarm has its section."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator

import pytest

from bootstrap.paths import ROOT
from lambdas.common.task import IndexClass
from tests.conftest import TESTS
from tests.support import stack as stacks
from tests.support.stack import FAST, DeployedStack, new_id
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
ALARMS = {
    resource["Properties"]["AlarmName"]["Fn::Sub"].replace("${Stage}", "dev"): resource["Condition"]
    for resource in template("app")["Resources"].values()
    if resource["Type"] == "AWS::CloudWatch::Alarm"
}
"""Name -> condition: some are there only where a kind has a schedule, and none of ours has one."""


@pytest.fixture(scope="module")
def own() -> Iterator[DeployedStack]:
    """An embedded stack of its own, on which a task has died."""
    folder = stacks.new_folder(TESTS, "operations")
    try:
        stack = stacks.deploy(folder, "embedded")
        task_id = new_id("dead")
        stack.tasks.submit(payload={"simulate": {"permanent": True}}, task_id=task_id).wait()
        eventually(lambda: next(iter(stack.store.get_many([task_id]))).index_class, lambda c: c is IndexClass.RECORDED)
        yield stack
    finally:
        stacks.remove(folder)


def run(stack: DeployedStack, command: str) -> subprocess.CompletedProcess[str]:
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
    }
    return subprocess.run(["bash", "-c", command], cwd=ROOT, env=variables, capture_output=True, text=True, check=False)


def test_the_page_has_commands() -> None:
    assert len(COMMANDS) > 20


@pytest.mark.xdist_group("operations")
@pytest.mark.parametrize(("section", "command"), COMMANDS, ids=[f"{n}-{c[:40]}" for n, (_, c) in enumerate(COMMANDS)])
def test_a_command_of_the_page_works_as_written(own: DeployedStack, section: str, command: str) -> None:
    done = run(own, command)
    assert (done.returncode, done.stderr) == (0, ""), f"{section}: {done.stdout}"


@pytest.mark.xdist_group("operations")
def test_what_the_first_look_shows_is_there(own: DeployedStack) -> None:
    shown = "".join(run(own, command).stdout for section, command in COMMANDS if section == "First look")
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
