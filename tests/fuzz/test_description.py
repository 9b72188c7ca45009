"""Answers of the deployed API, held against the description that it serves itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import requests
import schemathesis
from schemathesis.openapi.checks import JsonSchemaError

from client import Task
from tests.support.stack import DeployedStack, new_id, purge_queues
from tests.support.waiting import eventually

FAR = 3600
"""Seconds that no queue can hold a message back: the task is parked."""


class Described:
    """The API of a stack, each answer of which is validated: status, content type and schema."""

    def __init__(self, stack: DeployedStack) -> None:
        self._stack, self.base_url = stack, stack.outputs["base_url"]
        self.schema = schemathesis.openapi.from_url(f"{self.base_url}/openapi.json")

    def ask(self, method: str, path: str, **values: str) -> requests.Response:
        url = f"{self.base_url}{path.format(**values)}"

        def answer() -> requests.Response:
            given = requests.request(method, url, headers={"x-api-key": self._stack.outputs["api_key"]}, timeout=60)
            self.validate(method, path, given)
            return given

        return eventually(answer, lambda given: given.status_code != 503)  # which tells the client to come again

    def validate(self, method: str, path: str, answer: requests.Response) -> None:
        self.schema[path][method].validate_response(answer)


@pytest.fixture
def described(stack: DeployedStack) -> Described:
    return Described(stack)


Made = Callable[[DeployedStack], str]


def submitted(stack: DeployedStack, until: Callable[[Task], object], **arguments: Any) -> str:
    """The id of a task that has come to stand so."""
    task = stack.tasks.submit("simulated", task_id=new_id("described"), **arguments)
    eventually(task.get, until)
    return task.task_id


def simulating(until: Callable[[Task], object], **orders: Any) -> Made:
    return lambda stack: submitted(stack, until, payload={"simulate": orders})


def cancelled(stack: DeployedStack) -> str:
    task_id = parked(stack)
    stack.tasks.cancel(task_id)
    return task_id


def parked(stack: DeployedStack) -> str:
    return submitted(stack, bool, payload={}, delay_seconds=FAR)


def replayed(stack: DeployedStack) -> str:
    task_id = simulating(lambda task: task.dead_letters, failGenerations=[1])(stack)
    stack.tasks.redrive(task_id)
    eventually(lambda: stack.tasks.get(task_id), lambda task: task.status == "COMPLETED")
    return task_id


STANDING: dict[str, tuple[Made, dict[str, Any]]] = {
    "parked": (parked, {"status": "SUBMITTED", "attempts": 0, "error": None, "result": None}),
    "processing": (
        simulating(lambda task: task.status == "PROCESSING", workSeconds=8),
        {"status": "PROCESSING", "attempts": 1, "nextAttemptAt": None, "result": None},
    ),
    "parked between two attempts": (
        simulating(lambda task: task.status == "FAILED_PENDING", failAttempts=[1], retryAfterSeconds=FAR),
        {"status": "FAILED_PENDING", "attempts": 1, "result": None},
    ),
    "completed": (
        simulating(lambda task: task.status == "COMPLETED"),
        {"status": "COMPLETED", "result": {"workSeconds": 0, "attempt": 1}, "deadLetters": []},
    ),
    "dead": (
        simulating(lambda task: task.dead_letters, permanent=True),
        {"status": "FAILED_FINAL", "error": "PermanentError: told to fail for good", "result": None},
    ),
    "replayed": (replayed, {"status": "COMPLETED", "generation": 2, "attempts": 1}),
    "cancelled": (cancelled, {"status": "CANCELLED", "attempts": 0, "result": None}),
}


on_embedded_only = pytest.mark.parametrize("stack", ["embedded"], indirect=True)
"""The functions make these answers, whatever serves them."""


@on_embedded_only
@pytest.mark.parametrize("name", STANDING)
def test_a_task_is_shown_as_described_however_it_stands(name: str, stack: DeployedStack, described: Described) -> None:
    make, wanted = STANDING[name]
    task_id = make(stack)
    shown = described.ask("GET", "/tasks/{taskId}", taskId=task_id).json()
    assert {field: shown[field] for field in wanted} == wanted
    if name in ("parked", "parked between two attempts"):
        assert shown["nextAttemptAt"] is not None
    assert bool(shown["deadLetters"]) == (name in ("dead", "replayed"))
    if shown["status"] not in ("COMPLETED", "FAILED_FINAL", "CANCELLED"):
        assert described.ask("DELETE", "/tasks/{taskId}", taskId=task_id).status_code == 200
        purge_queues(stack)


@on_embedded_only
@pytest.mark.parametrize("change", ["a field more", "a field less", "null for a text"])
def test_an_answer_that_is_not_as_described_is_found_out(
    change: str, stack: DeployedStack, described: Described
) -> None:
    answer = described.ask("GET", "/tasks/{taskId}", taskId=STANDING["completed"][0](stack))
    document = answer.json()
    match change:
        case "a field more":
            document["secret"] = 1
        case "a field less":
            del document["nextAttemptAt"]
        case _:
            document["kind"] = None
    answer._content = json.dumps(document).encode()
    with pytest.raises(JsonSchemaError):
        described.validate("GET", "/tasks/{taskId}", answer)


def test_a_wish_for_one_task_is_answered_as_described(stack: DeployedStack, described: Described) -> None:
    dead = STANDING["dead"][0](stack)
    answers = [
        described.ask("POST", "/tasks/{taskId}/redrive", taskId=dead).status_code,
        described.ask("GET", "/tasks/{taskId}", taskId="nobody").status_code,
        described.ask("DELETE", "/tasks/{taskId}", taskId="nobody").status_code,
        described.ask("DELETE", "/tasks/{taskId}", taskId=STANDING["completed"][0](stack)).status_code,
    ]
    assert answers == [202, 404, 404, 409]


@pytest.mark.parametrize("path", ["/tasks", "/dead-letters", "/stats"])
def test_what_tells_of_many_tasks_does_so_as_described(path: str, described: Described) -> None:
    assert described.ask("GET", path).status_code == 200
