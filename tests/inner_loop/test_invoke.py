"""`make invoke`, as a person types it: each sample event, and what goes wrong."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from bootstrap.package import PACKAGES
from bootstrap.paths import ROOT
from scripts import invoke
from scripts.function_names import in_snake_case
from tests.support.processes import called
from tests.support.stack import DeployedStack
from tests.support.waiting import eventually

STRAY = json.loads((ROOT / "events/monitor_dlq.json").read_text())["Records"][0]
LOST = json.loads((ROOT / "events/process_task.json").read_text())["Records"][0]


def make_invoke(stack: DeployedStack, **variables: str) -> subprocess.CompletedProcess[str]:
    return called(lambda _: invoke.main(), environment={**os.environ, "LOCAL_DIR": str(stack.folder), **variables})


def answer(stack: DeployedStack, function: str) -> Any:
    """To the function's sample, called by the name with hyphens; what it says is shown beside it."""
    name = function.replace("_", "-")
    done = invoked(stack, name, f'"service":"{name}"')
    assert f"dev-{name} answered in " in done.stderr
    return json.loads(done.stdout)


def invoked(stack: DeployedStack, function: str, words: str) -> subprocess.CompletedProcess[str]:
    """What shows these words of the function: a busy emulator may leave a line out of its answer, but not each time."""
    done = eventually(
        lambda: make_invoke(stack, FN=function), lambda done: done.returncode or words in done.stderr.replace(": ", ":")
    )
    assert done.returncode == 0, done.stderr
    return done


def body(answered: Any, status: int) -> Any:
    assert answered["statusCode"] == status
    return json.loads(answered["body"])


def test_submit_accepts_a_task_that_then_completes(stack: DeployedStack) -> None:
    accepted = body(answer(stack, "submit_task"), 202)
    assert accepted["message"] == "Task accepted"
    task = eventually(lambda: stack.tasks.get(accepted["taskId"]), lambda task: task.status == "COMPLETED")
    assert (task.kind, task.payload) == ("simulated", {"report": "monthly"})


def test_query_lists_at_most_as_many_tasks_as_the_event_asks_for(embedded_stack: DeployedStack) -> None:
    submitted = [embedded_stack.tasks.submit(payload={}).task_id for _ in range(6)]
    eventually(lambda: {one["taskId"] for one in listed(embedded_stack)} < set(submitted))
    assert len(listed(embedded_stack)) == 5


def listed(stack: DeployedStack) -> Any:
    return body(answer(stack, "query_tasks"), 200)["tasks"]


def test_steer_finds_no_task_to_cancel(embedded_stack: DeployedStack) -> None:
    assert body(answer(embedded_stack, "steer_tasks"), 404)["error"]["code"] == "no_such_task"


def test_process_reports_the_message_of_a_task_that_is_not_there(embedded_stack: DeployedStack) -> None:
    assert answer(embedded_stack, "process_task") == {"batchItemFailures": [{"itemIdentifier": LOST["messageId"]}]}


def test_monitor_takes_a_body_that_is_not_ours_for_a_stray(embedded_stack: DeployedStack) -> None:
    done = invoked(embedded_stack, "monitor_dlq", "stray:unreadable")
    assert json.loads(done.stdout) == {"batchItemFailures": []}
    assert STRAY["messageId"] in done.stderr


def test_sweep_says_what_it_healed(embedded_stack: DeployedStack) -> None:
    done = invoked(embedded_stack, "sweep_tasks", '"trigger":"aws.events"')
    assert json.loads(done.stdout)["failed"] == 0


def test_each_function_is_tried_here() -> None:
    tried = {name.removeprefix("test_").split("_")[0] for name in globals() if name.startswith("test_")}
    assert {in_snake_case(function).split("_")[0] for function in PACKAGES} <= tried


def test_a_function_that_fails_is_shown_with_its_error_and_trace(embedded_stack: DeployedStack, tmp_path: Path) -> None:
    event = tmp_path / "event.json"
    event.write_text('{"no": "records"}')
    done = make_invoke(embedded_stack, EVENT=str(event))
    assert (done.returncode, done.stdout) == (1, "")
    assert "error: dev-process-task failed: " in done.stderr
    assert "'Records'" in done.stderr
    assert "lambdas/process_task/handler.py" in done.stderr
