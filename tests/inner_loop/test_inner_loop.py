"""From a saved file to running code: `make watch` and `make new-kind`, in a copy of the checkout."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from client import TaskClient
from tests.conftest import TESTS
from tests.support import stack as stacks
from tests.support.checkout import Checkout, copied
from tests.support.stack import FAST, DeployedStack, new_id
from tests.support.waiting import eventually

KIND = "lambdas/process_task/kinds/resize_image.py"
SHRINK = "lambdas/process_task/kinds/shrink_image.py"
ANSWER = '{"words": len(words)}'
APP = "bootstrap/app.yaml"
NOTHING_TO_DO = "Nothing to do: all is as deployed"
PULSE = """
from lambdas.common.kinds import JsonObject, Work, kind
from lambdas.common.schedules import rate


@kind("pulse", schema={"type": "object"}, schedule=rate(minutes=1, payload=lambda at: {"minute": at.isoformat()}))
def run(work: Work) -> JsonObject:
    return work.payload
"""


OF_SUBMIT_TASK = {"dev-submit-task-errors", "dev-submit-task-throttles"}
"""Alarms that are there once a kind has a schedule."""


@dataclass(frozen=True)
class Loop:
    """A stack that was deployed from the copy, and the watch beside it."""

    checkout: Checkout
    stack: DeployedStack
    log: Path
    watch: subprocess.Popen[bytes]

    def said(self) -> str:
        return self.log.read_text()

    def saved(self, change: Callable[[], None]) -> str:
        """Save, and wait for the line (or the error) that tells of it; what was said since."""
        before = len(self.said())
        change()
        # Its last words: of a save that runs, of an error with what to do, of a save that changed nothing.
        last = r"s after the save|next: .*\n|changes nothing"
        return eventually(lambda: self.said()[before:], lambda text: re.search(last, text), seconds=180)

    def edited(self, path: str, old: str, new: str) -> str:
        return self.saved(lambda: self.checkout.replace(path, old, new))

    def hashes(self) -> dict[str, str]:
        """Function -> hash of the code that it runs."""
        functions, names = self.stack.aws("lambda"), self.stack.outputs["functions"]
        found = {one["FunctionName"]: one["CodeSha256"] for one in functions.list_functions()["Functions"]}
        return {function: found[name] for function, name in names.items()}

    def updated(self, path: str, old: str, new: str) -> tuple[set[str], str]:
        """The functions that run other code after an edit, and what was said of it."""
        before = self.hashes()
        said = self.edited(path, old, new)
        return {function for function, code in self.hashes().items() if code != before[function]}, said

    def result(self, kind: str, payload: dict[str, object]) -> object:
        return self.stack.tasks.submit(kind, payload, task_id=new_id()).wait(60).result

    def up(self) -> str:
        """`up` from the same files, with the settings of the first one."""
        port = self.stack.outputs["endpoint_url"].rsplit(":", 1)[1]
        done = self.checkout.python("bootstrap", "up", **FAST, EDGE_PORT=port)
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def watched(checkout: Checkout, stack: DeployedStack, log: Path) -> Iterator[Loop]:
    with checkout.started("scripts.watch", log) as watch:
        eventually(log.read_text, lambda text: "Save a file" in text)
        yield Loop(checkout, stack, log, watch)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    local = stacks.new_folder(TESTS, "loop")
    checkout = copied(tmp_path_factory.mktemp("checkout"), local)
    try:
        made = checkout.python("scripts.new_kind", "resize-image")
        assert made.returncode == 0, made.stderr
        done = checkout.python("bootstrap", "up", **FAST, TARGET="embedded", EDGE_PORT=str(stacks.free_port()))
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        with watched(checkout, DeployedStack(stacks.outputs_of(local), local), local / "watch.log") as loop:
            # Its first minute passes while the other tests run.
            assert "deployed" in loop.saved(lambda: checkout.write("lambdas/process_task/kinds/pulse.py", PULSE))
            yield loop
    finally:
        stacks.remove(local)


@pytest.fixture
def own(running: Loop) -> Iterator[Loop]:
    """Each test begins with the same files, and a stack that runs them."""
    paths = (KIND, APP)
    before = {path: running.checkout.read(path) for path in paths}
    yield running
    for path in paths:
        if running.checkout.read(path) != before[path] and running.watch.poll() is None:
            running.saved(partial(running.checkout.write, path, before[path]))


def new_kind(own: Loop) -> list[str]:
    """`make new-kind`, and wait until it runs; the words of the command that it prints to submit a task."""
    printed: list[str] = []

    def made() -> None:
        done = own.checkout.python("scripts.new_kind", "shrink-image")
        assert done.returncode == 0, done.stderr
        printed.extend(done.stdout.splitlines())

    said = own.saved(made)
    assert SHRINK in said
    assert re.search(r"SubmitTask, QueryTasks, ProcessTask  [\d.]+ s after the save", said)
    return shlex.split(printed[-1])


def test_a_new_kind_runs_as_soon_as_it_is_written_and_its_test_passes(own: Loop) -> None:
    program, *submit = new_kind(own)
    assert program == ".venv/bin/tasks"
    where = {"TASKS_URL": own.stack.outputs["api_url"], "TASKS_API_KEY": own.stack.outputs["api_key"]}
    done = own.checkout.python("scripts.tasks", *submit, **where)
    assert (done.returncode, '{"words": 4}' in done.stdout) == (0, True), done.stdout + done.stderr
    tested = own.checkout.python("pytest", "tests/unit/test_shrink_image.py", REQUIRE_LOCALSTACK="")
    assert tested.returncode == 0, tested.stdout
    assert "......" in tested.stdout


@pytest.mark.parametrize("stack", ["localstack"], indirect=True)
def test_a_new_kind_runs_on_localstack_until_it_is_deleted(stack: DeployedStack, tmp_path: Path) -> None:
    with watched(copied(tmp_path / "checkout", stack.folder), stack, tmp_path / "watch.log") as loop:
        before = loop.hashes()
        new_kind(loop)
        assert loop.result("shrink-image", {"text": "to be or not"}) == {"words": 4}
        loop.saved((loop.checkout.folder / SHRINK).unlink)
        assert loop.hashes() == before


def test_a_saved_change_runs_and_only_the_functions_that_hold_it_are_updated(own: Loop) -> None:
    began = time.time()
    functions, said = own.updated(KIND, ANSWER, '{"first": words[0]}')
    found = re.search(r"SubmitTask, ProcessTask  ([\d.]+) s after the save", said)
    assert found is not None, said
    assert 0 < float(found[1]) <= time.time() - began
    assert own.result("resize-image", {"text": "to be"}) == {"first": "to"}
    assert functions == {"SubmitTask", "ProcessTask"}
    functions, said = own.updated("lambdas/sweep_tasks/sweep.py", "PAGE_SIZE = 100", "PAGE_SIZE = 99")
    assert functions == {"SweepTasks"}
    assert "SweepTasks  " in said


def test_a_file_that_is_not_python_is_shown_with_its_line_and_the_old_code_goes_on(own: Loop) -> None:
    before = own.checkout.read(KIND)
    line = before[: before.index("@kind")].count("\n") + 2
    said = own.edited(KIND, "def run(work: Work)", "def run(work: Work")
    assert f'{KIND}", line {line}' in said
    assert "SyntaxError" in said
    assert own.result("resize-image", {"text": "a b"}) == {"words": 2}
    # A further file that is right does not carry the broken one along.
    said = own.edited("lambdas/common/ids.py", "Ids that the server makes", "Ids made by the server")
    assert "SyntaxError" in said
    own.saved(lambda: own.checkout.write(KIND, before.replace(ANSWER, '{"last": words[-1]}')))
    assert own.result("resize-image", {"text": "a b"}) == {"last": "b"}


def test_a_kind_that_cannot_be_loaded_is_told_by_its_line_and_the_old_code_goes_on(own: Loop) -> None:
    said = own.edited(KIND, "schema=PAYLOAD", "schema=PAYLOAD, attempts=0")
    assert "attempts is 0; allowed: whole numbers from 1" in said
    assert KIND in said
    assert own.result("resize-image", {"text": "a b"}) == {"words": 2}


def test_a_kind_with_more_attempts_has_the_queue_follow(own: Loop) -> None:
    def receives() -> str:
        found = own.stack.aws("sqs").get_queue_attributes(
            QueueUrl=own.stack.outputs["queue_url"], AttributeNames=["RedrivePolicy"]
        )
        return str(found["Attributes"]["RedrivePolicy"])

    assert re.search(r'"maxReceiveCount": ?"?5\b', receives())
    assert "deployed" in own.edited(KIND, "schema=PAYLOAD", "schema=PAYLOAD, attempts=9")
    assert re.search(r'"maxReceiveCount": ?"?11\b', receives())
    assert own.result("resize-image", {"text": "a b"}) == {"words": 2}


def test_a_changed_template_is_deployed_with_the_settings_that_the_stack_has(own: Loop) -> None:
    def configuration() -> tuple[int, str]:
        found = own.stack.aws("lambda").get_function_configuration(
            FunctionName=own.stack.outputs["functions"]["ProcessTask"]
        )
        return found["MemorySize"], found["Environment"]["Variables"]["FAILURE_RATE"]

    assert configuration() == (512, "0")
    assert "deployed" in own.edited(APP, "MemorySize: 512", "MemorySize: 640")
    assert configuration() == (640, "0")
    broken = own.edited(APP, "MemorySize: 640", "MemorySize: [640")
    assert "app.yaml" in broken


def test_after_a_killed_watch_and_a_reverted_file_up_has_the_function_run_what_the_file_says(own: Loop) -> None:
    before, running = own.checkout.read(KIND), own.hashes()
    own.up()
    assert own.hashes() == running, "up deploys the same bytes as the watch"
    assert NOTHING_TO_DO in own.up()
    own.edited(KIND, ANSWER, '{"other": 1}')
    own.watch.kill()
    own.watch.wait()
    own.checkout.write(KIND, before)
    said = own.up()
    assert "ran other code than that of the last deploy: mended" in said
    assert own.result("resize-image", {"text": "a b"}) == {"words": 2}
    assert NOTHING_TO_DO in own.up()


def test_ctrl_c_ends_the_watch_in_order_and_the_stack_goes_on(own: Loop, tmp_path: Path) -> None:
    log = tmp_path / "watch.log"
    with own.checkout.started("scripts.watch", log) as watch:
        eventually(log.read_text, lambda text: "Save a file" in text, seconds=180)
        watch.send_signal(signal.SIGINT)
        assert watch.wait(60) == 130
    assert log.read_text().rstrip().endswith("The stack goes on with the code of the last save.")
    assert TaskClient(own.stack.outputs["api_url"], own.stack.outputs["api_key"]).stats() is not None


def test_without_a_stack_watch_says_what_to_type(own: Loop, tmp_path: Path) -> None:
    done = own.checkout.python("scripts.watch", LOCAL_DIR=str(tmp_path))
    assert done.returncode == 1
    assert "make up" in done.stderr


def test_a_scheduled_kind_is_submitted_by_the_minute_each_firing_once(own: Loop) -> None:
    tasks = own.stack.tasks

    def fired() -> list[str]:
        return [task.task_id for task in tasks.list(kind="pulse")]

    first = eventually(fired, lambda ids: len(ids) >= 1, seconds=240)
    watching = own.stack.aws("cloudwatch")
    alarms = {alarm["AlarmName"] for alarm in watching.describe_alarms()["MetricAlarms"]}
    assert alarms >= OF_SUBMIT_TASK
    for dashboard in watching.list_dashboards()["DashboardEntries"]:  # LocalStack makes none
        body = watching.get_dashboard(DashboardName=dashboard["DashboardName"])["DashboardBody"]
        shown = json.loads(body)["widgets"][0]["properties"]["alarms"]
        assert {arn.rpartition(":")[2] for arn in shown} >= OF_SUBMIT_TASK
    function = own.stack.outputs["functions"]["SubmitTask"]
    # A double firing, and one by a second, cold function: the emulator's own EventBridge is not told to fire twice.
    at = re.sub(r"^pulse-(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)Z$", r"\1-\2-\3T\4:\5:00Z", first[0])
    event = f'{{"source": "aws.events", "time": "{at}"}}'.encode()
    answers = [own.stack.aws("lambda").invoke(FunctionName=function, Payload=event) for _ in range(2)]
    assert not [answer for answer in answers if "FunctionError" in answer]
    assert sorted(set(fired())) == sorted(fired())
    assert set(first) <= set(fired())
    found = tasks.get(first[0])
    assert found is not None
    ended = eventually(lambda: tasks.get(first[0]), lambda task: task is not None and task.status == "COMPLETED")
    assert ended is not None
    assert (ended.result, ended.attempts) == ({"minute": at.replace("Z", "+00:00")}, 1)
