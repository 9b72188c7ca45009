"""`make debug`: a real debugger attaches to the function while SQS triggers it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bootstrap import operate
from bootstrap.deploy import Deployment
from bootstrap.paths import ROOT
from client import Task
from lambdas.process_task.attempt import LEASE_MARGIN_MS
from scripts import running
from scripts.debug.swap import Swap
from scripts.function_names import logical_id
from tests.conftest import own_stack
from tests.support import workers
from tests.support.dap import Debugger
from tests.support.processes import not_for_ever
from tests.support.stack import FAST, DeployedStack, bootstrap, free_port, new_id
from tests.support.waiting import eventually

TIMEOUT_SECONDS = 4
"""Of ProcessTask, as deployed: whoever looks longer at a task would lose it."""
SETTINGS = {**FAST, "PROCESS_TIMEOUT_SECONDS": str(TIMEOUT_SECONDS)}
PAUSE_SECONDS = TIMEOUT_SECONDS + LEASE_MARGIN_MS / 1000 + 2
"""Longer than the function, and the lease of the task, live without the debugger's measures."""
WORK = ROOT / "lambdas" / "process_task" / "kinds" / "simulated.py"
WORK_LINE = 'orders = work.payload.get("simulate", {})'
OF_A_FUNCTION = ("CodeSha256", "CodeSize", "Handler", "Environment", "Timeout", "MemorySize", "Runtime", "Role")
OF_A_MAPPING = ("BatchSize", "FunctionArn", "EventSourceArn", "FunctionResponseTypes", "ScalingConfig", "State")
OF_A_QUEUE: Any = ["VisibilityTimeout", "RedrivePolicy", "MessageRetentionPeriod", "DelaySeconds"]
"""Not MaximumMessageSize: LocalStack lowers it at any change of a queue."""
OTHER_FUNCTIONS = [
    ("submit_task", "lambdas/submit_task/handler.py", "body = body_of(event)"),
    ("monitor_dlq", "lambdas/monitor_dlq/handler.py", "dead = _dead_message(record)"),
]
"""FN, and a line that it must come by."""
ONE_RUN = ["SUBMITTED", "PROCESSING", "COMPLETED"]


@pytest.fixture(scope="module")
def own() -> Iterator[DeployedStack]:
    """A stack whose function lives for a few seconds only."""
    with own_stack("embedded", "debug", SETTINGS) as stack:
        yield stack


@dataclass
class MakeDebug:
    """What `make debug` runs, in a process of its own."""

    process: subprocess.Popen[str]
    port: int
    said: list[str] = field(default_factory=list)

    def ready(self) -> None:
        self.until(f"127.0.0.1:{self.port}")

    def until(self, words: str) -> None:
        """Read on until a line holds these words."""
        assert self.process.stdout is not None
        while words not in (line := self.process.stdout.readline()):
            assert line, f"it ended before it said {words!r}:\n{''.join(self.said)}"
            self.said.append(line)
        self.said.append(line)

    def interrupt(self) -> None:
        """Ctrl-C; waits for its end."""
        self.process.send_signal(signal.SIGINT)
        rest, _ = self.process.communicate()
        self.said.append(rest)
        assert self.process.returncode == 0, "".join(self.said)


@contextmanager
def make_debug(stack: DeployedStack, **variables: str) -> Iterator[MakeDebug]:
    port = free_port()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment = {**inherited, "LOCAL_DIR": str(stack.folder), "DEBUG_PORT": str(port), **variables}
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "scripts.debug"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    debug = MakeDebug(process, port)
    try:
        with not_for_ever(process):
            yield debug
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            debug.said.append(process.communicate()[0])
        print("".join(debug.said))  # shown when the test fails


def line_of(path: Path, text: str) -> int:
    [number] = [number for number, line in enumerate(path.read_text().splitlines(), 1) if text in line]
    return number


@contextmanager
def attached(debug: MakeDebug, path: Path = WORK, line: str = WORK_LINE) -> Iterator[Debugger]:
    """With one breakpoint: where the work begins, unless another place is named."""
    debugger = Debugger(debug.port)
    try:
        [taken] = debugger.attach({path: [line_of(path, line)]})
        assert taken["verified"], taken
        yield debugger
    finally:
        debugger.hang_up()


def up(stack: DeployedStack) -> str:
    port = stack.outputs["endpoint_url"].rsplit(":", 1)[1]
    done = bootstrap(stack.folder, "up", **{**SETTINGS, "TARGET": stack.outputs["target"], "EDGE_PORT": port})
    assert done.returncode == 0, done.stderr
    return done.stdout


def statuses(task: Task) -> list[str]:
    return [str(entry["status"]) for entry in task.timeline]


def deployed(stack: DeployedStack) -> dict[str, Any]:
    """All that `make debug` changes: functions with their code, queues, mappings."""
    functions, sqs = stack.aws("lambda"), stack.aws("sqs")
    found: dict[str, Any] = {}
    for name in stack.outputs["functions"].values():
        configuration = functions.get_function_configuration(FunctionName=name)
        found[name] = {key: configuration[key] for key in OF_A_FUNCTION}
    for queue in ("queue_url", "dlq_url"):
        url = stack.outputs[queue]
        found[queue] = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=OF_A_QUEUE)["Attributes"]
    mappings = functions.list_event_source_mappings()["EventSourceMappings"]
    found["mappings"] = {one["UUID"]: {key: one.get(key) for key in OF_A_MAPPING} for one in mappings}
    return found


def depths(stack: DeployedStack, queue: str) -> set[int]:
    names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    url = stack.outputs[queue]
    counts = stack.aws("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return {int(count) for count in counts.values()}


def at_rest(stack: DeployedStack) -> None:
    """Nothing waits, and nothing is hidden."""
    for queue in ("queue_url", "dlq_url"):
        eventually(partial(depths, stack, queue), lambda counts: counts == {0})


def gives_time(stack: DeployedStack, function: str, queue: str) -> None:
    """The function lives for as long as it can, and what its queue hands out, one at a time, is hidden for longer."""
    found, name = deployed(stack), stack.outputs["functions"][logical_id(function)]
    assert found[name]["Timeout"] == 900
    assert int(found[queue]["VisibilityTimeout"]) > 900
    [mapping] = [one for one in found["mappings"].values() if one["FunctionArn"].endswith(f":{name}")]
    assert mapping["BatchSize"] == 1


def pause(seconds: float) -> None:
    """Somebody looks at a task for so long."""
    over = time.monotonic() + seconds
    eventually(time.monotonic, lambda now: now >= over, seconds + 30)


def test_a_task_that_is_looked_at_for_longer_than_its_function_lives_is_neither_lost_nor_run_twice(
    own: DeployedStack,
) -> None:
    before, task_id = deployed(own), new_id("debug")
    with make_debug(own) as debug:
        debug.ready()
        gives_time(own, "process_task", "queue_url")
        with attached(debug) as debugger:
            submitted = own.tasks.submit(payload={}, task_id=task_id)
            stop = debugger.stopped()
            assert stop["reason"] == "breakpoint"
            assert stop["frame"]["source"]["path"] == str(WORK)
            assert debugger.value(stop, "work.task_id") == repr(task_id)
            assert debugger.value(stop, "work.attempt") == "1"
            pause(PAUSE_SECONDS)
            assert own.tasks.get(task_id).status == "PROCESSING"
            debugger.go_on(stop)
            task = submitted.wait()
            assert debugger.count("stopped") == 1
        debug.interrupt()

    assert (task.status, task.attempts, statuses(task)) == ("COMPLETED", 1, ONE_RUN)
    assert task.dead_letters == ()
    at_rest(own)
    assert deployed(own) == before
    assert statuses(own.tasks.submit(payload={}).wait()) == ONE_RUN
    assert "Putting everything back" in "".join(debug.said)
    assert "Nothing to do" in up(own)


@pytest.mark.parametrize("stack", ["localstack"], indirect=True)
def test_a_debugger_attaches_on_localstack_too(stack: DeployedStack) -> None:
    before = deployed(stack)
    with make_debug(stack) as debug:
        debug.ready()
        gives_time(stack, "process_task", "queue_url")
        with attached(debug) as debugger:
            submitted = stack.tasks.submit(payload={})
            stop = debugger.stopped()
            assert debugger.value(stop, "work.task_id") == repr(submitted.task_id)
            debugger.go_on(stop)
            assert statuses(submitted.wait()) == ONE_RUN
        debug.interrupt()
    assert deployed(stack) == before
    assert statuses(stack.tasks.submit(payload={}).wait()) == ONE_RUN


def test_of_several_tasks_at_once_each_one_stops_and_a_worker_that_starts_anew_can_be_attached_again(
    own: DeployedStack,
) -> None:
    with make_debug(own) as debug:
        debug.ready()
        with attached(debug) as debugger:
            tasks = [own.tasks.submit(payload={}) for _ in range(3)]
            seen = [debugger.stopped(1)]
            while len(seen) < len(tasks):
                debugger.go_on(seen[-1])
                seen.append(debugger.stopped(len(seen) + 1))
            ids = {debugger.value(seen[-1], "work.task_id").strip("'")}
            pid = int(debugger.value(seen[-1], "__import__('os').getpid()"))
            debugger.go_on(seen[-1])
            ended = [task.wait() for task in tasks]
            assert ids < {task.task_id for task in ended}
            assert {(task.status, task.attempts) for task in ended} == {("COMPLETED", 1)}
            assert debugger.count("stopped") == len(tasks)

            at_rest(own)  # a message that is not acknowledged yet would be hidden for as long as a debugger may look
            assert workers.kill(own, pid)
            debugger.event("terminated")
            debugger.send("disconnect")  # as VS Code answers it
            assert debugger.ended.wait(180)
        with attached(debug) as again:
            submitted = own.tasks.submit(payload={})
            stop = again.stopped()
            assert again.value(stop, "work.task_id") == repr(submitted.task_id)
            again.go_on(stop)
            assert statuses(submitted.wait()) == ONE_RUN
        debug.interrupt()
    at_rest(own)


def test_a_debugger_that_hangs_up_lets_the_paused_task_go_on_and_another_can_attach(own: DeployedStack) -> None:
    before = deployed(own)
    with make_debug(own) as debug:
        debug.ready()
        for _ in range(2):
            with attached(debug) as debugger:
                submitted = own.tasks.submit(payload={})
                debugger.stopped()
            assert statuses(submitted.wait()) == ONE_RUN
        debug.process.send_signal(signal.SIGTERM)
        rest, _ = debug.process.communicate()
    assert debug.process.returncode == 0
    assert "Putting everything back" in rest
    assert deployed(own) == before
    assert rest.count("A debugger attached.") == 2
    at_rest(own)


def test_ctrl_c_in_the_middle_of_a_pause_lets_the_task_end_before_its_worker_goes(own: DeployedStack) -> None:
    with make_debug(own) as debug:
        debug.ready()
        with attached(debug) as debugger:
            submitted = own.tasks.submit(payload={"simulate": {"workSeconds": 3}})
            debugger.stopped()
            debug.interrupt()
            assert debugger.ended.wait(180)
    task = submitted.get()
    assert (task.status, task.attempts, statuses(task)) == ("COMPLETED", 1, ONE_RUN)
    at_rest(own)


def test_make_debug_killed_in_the_middle_of_a_pause_leaves_nothing_that_is_not_mended(own: DeployedStack) -> None:
    before, process_task = deployed(own), own.outputs["functions"]["ProcessTask"]
    with make_debug(own) as debug:
        debug.ready()
        with attached(debug) as debugger:
            submitted = own.tasks.submit(payload={})
            debugger.stopped()
            debug.process.kill()
            debug.process.communicate()
            assert debugger.ended.wait(180)
        task = submitted.wait()
    assert (task.status, task.attempts, statuses(task)) == ("COMPLETED", 1, ONE_RUN)
    assert deployed(own)[process_task] != before[process_task]

    # The next `make debug` puts it back, and when that is killed too, `make up` does.
    with make_debug(own, FN="sweep_tasks") as again:
        again.ready()
        assert deployed(own)[process_task] == before[process_task]
        again.process.kill()
        again.process.communicate()
    assert deployed(own) != before
    up(own)
    assert deployed(own) == before
    assert statuses(own.tasks.submit(payload={}).wait()) == ONE_RUN
    at_rest(own)


class Killed(Exception):
    """Between two stacks."""


def test_make_debug_killed_before_it_reached_the_function_is_mended_too(
    own: DeployedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(_: Deployment) -> None:
        raise Killed

    monkeypatch.setenv("LOCAL_DIR", str(own.folder))
    before = deployed(own)
    with monkeypatch.context() as patched:
        patched.setattr(operate, "switches_kept", kill)
        with pytest.raises(Killed):
            Swap(running.deployment(), "ProcessTask", free_port()).begin()
    assert deployed(own) != before
    with make_debug(own, FN="query_tasks") as debug:
        debug.ready()
        debug.interrupt()
    assert deployed(own) == before


def test_up_in_the_middle_ends_the_debugging_and_the_end_changes_nothing(own: DeployedStack) -> None:
    before = deployed(own)
    with make_debug(own) as debug:
        debug.ready()
        assert deployed(own) != before
        up(own)
        assert deployed(own) == before
        debug.interrupt()
    assert "nothing to do" in debug.said[-1]
    assert deployed(own) == before


@pytest.mark.parametrize(("function", "path", "line"), OTHER_FUNCTIONS)
def test_other_functions_stop_too(own: DeployedStack, function: str, path: str, line: str) -> None:
    """A task that dies goes through all of them: submitted by the API, recorded from the DLQ, looked at."""
    where = ROOT / path
    with make_debug(own, FN=function) as debug:
        debug.ready()
        if function == "monitor_dlq":
            gives_time(own, function, "dlq_url")
        with attached(debug, where, line) as debugger, ThreadPoolExecutor(1) as pool:
            dead = pool.submit(lambda: own.tasks.submit(payload={"simulate": {"permanent": True}}).wait())
            stop = debugger.stopped()
            assert stop["frame"]["source"]["path"] == str(where)
            debugger.go_on(stop)
            # Whatever comes next, such as a second look at the task, is not held.
            debugger.set_breakpoints(where, [])
            debugger.hang_up()
            task = dead.result()
        assert (task.status, task.attempts) == ("FAILED_FINAL", 1)
        debug.interrupt()
    recorded = eventually(lambda: own.tasks.get(task.task_id).dead_letters)
    assert len(recorded) == 1


def test_a_port_that_is_taken_is_refused_before_anything_changes(own: DeployedStack) -> None:
    before = deployed(own)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        with make_debug(own, DEBUG_PORT=port) as debug:
            said, _ = debug.process.communicate()
    assert debug.process.returncode == 1
    assert f"Port {port} is taken" in said
    assert "make debug DEBUG_PORT=" in said
    assert deployed(own) == before
