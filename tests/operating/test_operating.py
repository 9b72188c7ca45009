"""`sweep`, `pause` and `resume`, as a person types them."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bootstrap.__main__ import main
from client import Submitted
from lambdas.common.rows import INLINE_PAYLOAD_BYTES
from lambdas.common.task import SHARDS, IndexClass, Status
from lambdas.common.task import Task as Row
from tests.conftest import own_stack
from tests.support import stack as stacks
from tests.support.processes import called
from tests.support.stack import FAST, DeployedStack, bootstrap, new_id
from tests.support.tasks import a_task, dead, planted
from tests.support.waiting import eventually

SETTINGS = {**FAST, "RESEND_AFTER_SECONDS": "1"}
LONG_AGO = 1_700_000_000_000


@pytest.fixture(scope="module")
def own() -> Iterator[DeployedStack]:
    """A stack in which a second of silence means that a message is lost, and in which only these tests sweep."""
    with own_stack("embedded", "operating", SETTINGS, swept=False) as stack:
        yield stack


@pytest.fixture(autouse=True)
def resumed(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test leaves the stack paused to the next."""
    yield
    if "own" in request.fixturenames:
        operate(request.getfixturevalue("own"), "resume")


def operate(stack: DeployedStack, command: str) -> str:
    """What the command printed."""
    done = typed(stack.folder, command)
    assert done.returncode == 0, done.stderr
    return done.stdout


def typed(folder: Path, command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return called(main, command, environment={**stacks.environment(), "LOCAL_DIR": str(folder), **variables})


def rows(stack: DeployedStack, tasks: list[Submitted]) -> list[Row]:
    return list(stack.store.get_many([task.task_id for task in tasks]))


def silent_for_too_long(stack: DeployedStack, tasks: list[Submitted]) -> None:
    """Wait until a sweep would count the messages as lost."""
    last = max(row.silent_since() for row in rows(stack, tasks))
    eventually(lambda: time.time() * 1000 - last, lambda silence: silence > 1000)


def waiting(stack: DeployedStack) -> int:
    return stack.queue.waiting()


def test_paused_tasks_are_accepted_and_wait_and_nothing_is_sent_again_and_resumed_each_is_worked_on_once(
    own: DeployedStack,
) -> None:
    said = operate(own, "pause")
    assert "paused: tasks are accepted and wait" in said
    assert "make resume" in said

    accepted = [own.tasks.submit(payload={"number": number}) for number in range(12)]
    assert all(task.new for task in accepted)
    silent_for_too_long(own, accepted)
    said = operate(own, "sweep")
    assert "Looked at 12: 0 sent again" in said
    assert "paused" in said
    assert {(row.status, row.attempts, row.sends) for row in rows(own, accepted)} == {(Status.SUBMITTED, 0, 0)}
    assert waiting(own) == 12

    assert "worked on again" in operate(own, "resume")
    ended = [task.wait() for task in accepted]
    assert {(task.status, task.attempts) for task in ended} == {("COMPLETED", 1)}
    assert {tuple(entry["status"] for entry in task.timeline) for task in ended} == {
        ("SUBMITTED", "PROCESSING", "COMPLETED")
    }
    assert {row.sends for row in rows(own, accepted)} == {0}


@pytest.mark.parametrize("stack", ["localstack"], indirect=True)
def test_localstack_is_paused_swept_and_resumed_too(stack: DeployedStack) -> None:
    try:
        assert "paused: tasks are accepted and wait" in operate(stack, "pause")
        accepted = [stack.tasks.submit(payload={"number": number}) for number in range(3)]
        assert "paused" in operate(stack, "sweep")
        assert {(row.status, row.attempts) for row in rows(stack, accepted)} == {(Status.SUBMITTED, 0)}
    finally:
        assert "worked on again" in operate(stack, "resume")
    assert {(task.status, task.attempts) for task in (task.wait() for task in accepted)} == {("COMPLETED", 1)}


def test_tasks_whose_messages_are_gone_are_healed_by_a_sweep(own: DeployedStack) -> None:
    operate(own, "pause")
    lost = [own.tasks.submit(payload={"number": number}) for number in range(3)]
    eventually(lambda: waiting(own), lambda count: count == 3)
    own.aws("sqs").purge_queue(QueueUrl=own.outputs["queue_url"])
    eventually(lambda: waiting(own), lambda count: count == 0)
    silent_for_too_long(own, lost)
    operate(own, "resume")
    assert {(row.status, row.attempts) for row in rows(own, lost)} == {(Status.SUBMITTED, 0)}

    assert operate(own, "sweep") == (
        "Looked at 3: 3 sent again (message lost), 0 sent (parked until now), 0 recorded (dead), 0 not healed.\n"
    )
    assert {(task.status, task.attempts) for task in (task.wait() for task in lost)} == {("COMPLETED", 1)}


def test_pausing_and_resuming_twice_is_as_good_as_once(own: DeployedStack) -> None:
    assert "it was before" not in operate(own, "pause")
    assert "it was before" in operate(own, "pause")
    assert "they were before" not in operate(own, "resume")
    assert "they were before" in operate(own, "resume")
    assert own.tasks.submit(payload={}).wait().status == "COMPLETED"


def test_status_and_up_tell_of_a_pause_and_up_does_not_end_it(own: DeployedStack) -> None:
    assert "paused" not in operate(own, "status")
    operate(own, "pause")
    assert "paused" in operate(own, "status")

    port = own.outputs["endpoint_url"].rsplit(":", 1)[1]
    where = {"TARGET": own.outputs["target"], "EDGE_PORT": port}
    for changed in ({}, {"BATCH_SIZE": "5"}, {}):
        done = bootstrap(own.folder, "up", **{**SETTINGS, **where, **changed})
        assert done.returncode == 0, done.stderr
        assert "paused: tasks are accepted and wait, as before. Type `make resume`" in done.stdout
    mapping = own.aws("lambda").get_event_source_mapping(UUID=own.outputs["mapping_id"])
    assert mapping["State"] == "Disabled"


def test_when_nothing_is_deployed_each_command_says_so(own: DeployedStack) -> None:
    for command in ("sweep", "pause", "resume"):
        done = typed(own.folder, command, STAGE="nobody")
        assert (done.returncode, done.stdout) == (1, "")
        assert "Nothing is deployed" in done.stderr
        assert "make up" in done.stderr


@pytest.mark.parametrize("command", ["sweep", "pause", "resume"])
def test_when_nothing_runs_each_command_says_so(command: str, local_folder: Path) -> None:
    done = typed(local_folder, command)

    assert done.returncode == 1
    assert "No local AWS is running" in done.stderr
    assert "make up" in done.stderr


def test_the_sweeper_may_do_all_that_it_has_to_do(own: DeployedStack) -> None:
    """A lost message, a parked task that is due, a dead one with a long payload, a place to go on from, a pause."""
    lost, parked, buried = (new_id(name) for name in ("lost", "parked", "dead"))
    planted(own.store, aged(a_task(task_id=lost)))
    planted(own.store, aged(a_task(task_id=parked, index_class=IndexClass.PARKED, next_attempt_at=LONG_AGO)))
    long = "x" * INLINE_PAYLOAD_BYTES
    planted_long = own.store.create(aged(dead(task_id=buried, token=new_id("token"))), json.dumps(long), LONG_AGO)
    assert isinstance(planted_long, Row)
    for shard in range(SHARDS):
        own.store.set_cursor(f"D#{shard}", "0")
        own.store.set_cursor(f"O#{shard}", "0")

    assert "1 sent again (message lost), 1 sent (parked until now), 1 recorded (dead), 0 not healed." in operate(
        own, "sweep"
    )
    assert [own.store.cursor(f"O#{shard}") for shard in range(SHARDS)] == [None] * SHARDS
    operate(own, "pause")
    assert "paused" in operate(own, "sweep")

    lines = logged_by_the_sweeper(own)
    assert sum(line.get("message") == "swept" for line in lines) >= 2
    assert [line for line in lines if line.get("level") in ("ERROR", "CRITICAL")] == []


def aged(row: Row) -> Row:
    return replace(row, created_at=LONG_AGO, updated_at=LONG_AGO, sent_at=LONG_AGO, timeline=())


def logged_by_the_sweeper(stack: DeployedStack) -> list[dict[str, Any]]:
    group = f"/aws/lambda/{stack.outputs['functions']['SweepTasks']}"

    def lines() -> list[dict[str, Any]]:
        events = stack.aws("logs").filter_log_events(logGroupName=group)["events"]
        return [json.loads(event["message"]) for event in events if event["message"].startswith("{")]

    # Each run prints its metrics last: once those of the last run are there, so is all that it said.
    return eventually(lines, lambda found: bool(found) and "_aws" in found[-1])


def test_a_sweeper_that_fails_is_shown_with_its_reason(own: DeployedStack) -> None:
    functions, name = own.aws("lambda"), own.outputs["functions"]["SweepTasks"]
    before = functions.get_function_configuration(FunctionName=name)["Environment"]
    broken = {"Variables": {**before["Variables"], "RESEND_AFTER_SECONDS": "soon"}}
    try:
        change(functions, name, broken)
        done = eventually(lambda: typed(own.folder, "sweep"), lambda done: done.returncode)
        assert (done.returncode, done.stdout) == (1, "")
        assert "error: dev-sweep-tasks failed: " in done.stderr
        assert "RESEND_AFTER_SECONDS is 'soon'; allowed: a whole number from 1 to 43200" in done.stderr
        assert "make logs FN=sweep-tasks" in done.stderr
    finally:
        change(functions, name, before)


def change(functions: Any, name: str, environment: Any) -> None:
    functions.update_function_configuration(FunctionName=name, Environment=environment)
    functions.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
