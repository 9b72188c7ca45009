"""The API key is shown to who asks for it, and stands in no log."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tests.integration.test_steering import call
from tests.support.stack import FAST, DeployedStack, bootstrap, new_id
from tests.support.waiting import eventually

SPOKEN = ("submit-task", "query-tasks", "steer-tasks", "process-task")
"""Services, as their lines name them, that this test makes talk."""


def lines(stack: DeployedStack) -> Iterator[str]:
    """Every line in every log group."""
    logs = stack.aws("logs")
    for page in logs.get_paginator("describe_log_groups").paginate():
        for group in page["logGroups"]:
            for events in logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"]):
                yield from (event["message"] for event in events["events"])


def test_the_key_is_in_no_log_whatever_is_done_with_it(stack: DeployedStack) -> None:
    task_id, key = new_id("key"), stack.outputs["api_key"]
    call(stack, "POST", "/tasks", json.dumps({"taskId": task_id, "payload": {"key": key}}))
    call(stack, "POST", "/tasks", json.dumps({"taskId": new_id(), "payload": {key: key}, key: key}))
    call(stack, "POST", "/tasks", json.dumps({"taskId": new_id("dies"), "payload": {"simulate": {"permanent": True}}}))
    call(stack, "GET", f"/tasks/{task_id}")
    call(stack, "GET", "/dead-letters", limit=key)
    call(stack, "DELETE", f"/tasks/{task_id}x")

    def completed(said: list[str]) -> bool:
        return any(task_id in line and "task completed" in line for line in said)

    said = eventually(lambda: list(lines(stack)), completed)
    for function in SPOKEN:
        assert any(function in line for line in said), f"{function} has said nothing"
    assert [line for line in said if key in line] == []


def test_up_and_status_do_not_show_the_key_and_outputs_does(stack: DeployedStack) -> None:
    key = stack.outputs["api_key"]
    # The same settings as before: the tests after this one use the same stack.
    where = {"TARGET": stack.outputs["target"], "EDGE_PORT": stack.outputs["endpoint_url"].rsplit(":", 1)[1]}
    said = {name: bootstrap(stack.folder, name, **FAST, **where) for name in ("up", "status", "outputs")}
    shown = {name for name, done in said.items() if key in done.stdout + done.stderr}
    assert {name: done.returncode for name, done in said.items()} == dict.fromkeys(said, 0), said["up"].stderr
    assert shown == {"outputs"}
    assert bootstrap(stack.folder, "outputs", "--key").stdout == f"{key}\n"
