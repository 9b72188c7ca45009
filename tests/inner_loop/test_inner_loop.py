"""From a saved file to running code: `make watch` and `make new-kind`, in a copy of the checkout, on each local AWS."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from client import TaskClient
from tests.conftest import BACKENDS, TESTS, local_aws
from tests.support import stack as stacks
from tests.support.checkout import Checkout, copied
from tests.support.stack import FAST, DeployedStack, new_id
from tests.support.waiting import eventually

KIND = "lambdas/process_task/kinds/resize_image.py"
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


@pytest.fixture(scope="module", params=BACKENDS)
def own(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    """Named as the fixtures that keep the tests of one local AWS together (tests/conftest.py)."""
    local = stacks.new_folder(TESTS, "loop")
    checkout, log = copied(tmp_path_factory.mktemp("checkout"), local), local / "watch.log"
    with local_aws(request.param) as port:
        try:
            where = {"TARGET": request.param, "EDGE_PORT": str(port or stacks.free_port())}
            made = checkout.python("scripts.new_kind", "resize-image")
            assert made.returncode == 0, made.stderr
            done = checkout.python("bootstrap", "up", **FAST, **where)
            assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
            stack = DeployedStack(stacks.outputs_of(local), local)
            with checkout.started("scripts.watch", log) as watch:
                eventually(log.read_text, lambda text: "Save a file" in text, seconds=180)
                yield Loop(checkout, stack, log, watch)
        finally:
            stacks.remove(local)


@pytest.fixture(autouse=True)
def as_they_were(own: Loop) -> Iterator[None]:
    """Each test begins with the same files, and a stack that runs them."""
    paths = (KIND, APP)
    before = {path: own.checkout.read(path) for path in paths}
    yield
    for path in paths:
        if own.checkout.read(path) != before[path] and own.watch.poll() is None:
            own.saved(partial(own.checkout.write, path, before[path]))


def test_a_new_kind_runs_as_soon_as_it_is_written_and_its_test_passes(own: Loop) -> None:
    printed: list[str] = []

    def made() -> None:
        done = own.checkout.python("scripts.new_kind", "shrink-image")
        assert done.returncode == 0, done.stderr
        printed.extend(done.stdout.splitlines())

    said = own.saved(made)
    assert "lambdas/process_task/kinds/shrink_image.py" in said
    assert re.search(r"SubmitTask, QueryTasks, ProcessTask  [\d.]+ s after the save", said)
    program, *submit = shlex.split(printed[-1])
    assert program == ".venv/bin/tasks"
    where = {"TASKS_URL": own.stack.outputs["api_url"], "TASKS_API_KEY": own.stack.outputs["api_key"]}
    done = own.checkout.python("scripts.tasks", *submit, **where)
    assert (done.returncode, '{"words": 4}' in done.stdout) == (0, True), done.stdout + done.stderr
    tested = own.checkout.python("pytest", "tests/unit/test_shrink_image.py", REQUIRE_LOCALSTACK="")
    assert tested.returncode == 0, tested.stdout
    assert "......" in tested.stdout


def test_a_saved_change_runs_and_only_the_functions_that_hold_it_are_updated(own: Loop) -> None:
    functions, said = own.updated(KIND, ANSWER, '{"first": words[0]}')
    assert own.result("resize-image", {"text": "to be"}) == {"first": "to"}
    assert functions == {"SubmitTask", "ProcessTask"}
    assert "SubmitTask, ProcessTask" in said
    functions, said = own.updated("lambdas/sweep_tasks/sweep.py", "PAGE_SIZE = 100", "PAGE_SIZE = 99")
    assert functions == {"SweepTasks"}
    assert "SweepTasks  " in said


def test_the_line_of_a_save_tells_how_long_it_took_until_the_function_runs_it(
    own: Loop, record_property: Callable[[str, object], None]
) -> None:
    began = time.time()
    said = own.edited(KIND, ANSWER, '{"second": words[1]}')
    found = re.search(r"([\d.]+) s after the save", said)
    assert found is not None, said
    seconds = float(found[1])
    assert own.result("resize-image", {"text": "to be"}) == {"second": "be"}
    assert 0 < seconds <= time.time() - began
    # For a log or a report (--junit-xml) to be collected from; how quick is quick enough is the machine's affair.
    record_property("save-to-running seconds", seconds)
    print(f"save-to-running on {own.stack.outputs['target']}: {seconds:.2f} s")


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


def test_a_scheduled_kind_is_submitted_by_the_minute_each_firing_once(own: Loop) -> None:
    own.saved(lambda: own.checkout.write("lambdas/process_task/kinds/pulse.py", PULSE))
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


def test_up_deploys_the_same_bytes_and_finds_nothing_to_do_about_the_code(own: Loop) -> None:
    watched = own.hashes()
    own.up()
    assert own.hashes() == watched
    assert NOTHING_TO_DO in own.up()


def test_after_a_killed_watch_and_a_reverted_file_up_has_the_function_run_what_the_file_says(own: Loop) -> None:
    before = own.checkout.read(KIND)
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
        assert watch.wait(30) == 130
    assert log.read_text().rstrip().endswith("The stack goes on with the code of the last save.")
    assert TaskClient(own.stack.outputs["api_url"], own.stack.outputs["api_key"]).stats() is not None


def test_without_a_stack_watch_says_what_to_type(own: Loop, tmp_path: Path) -> None:
    done = own.checkout.python("scripts.watch", LOCAL_DIR=str(tmp_path))
    assert done.returncode == 1
    assert "make up" in done.stderr
