"""What people send, and the API key, stand in no log: every event of every log group. Only who asks sees the key."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from bootstrap.__main__ import main
from lambdas.common.rows import INLINE_PAYLOAD_BYTES
from tests.support.looking import call, log_lines
from tests.support.stack import DeployedStack, new_id
from tests.support.waiting import eventually

pytestmark = pytest.mark.embedded
SPOKEN = ("submit-task", "query-tasks", "steer-tasks", "process-task", "monitor-dlq")
"""Services, as their lines name them, that these tests make talk."""


def post(stack: DeployedStack, document: Any, path: str = "/tasks") -> int:
    return call(stack, "POST", path, document if isinstance(document, str) else json.dumps(document)).status_code


def a_task(task_id: str, mark: str, **simulate: Any) -> dict[str, Any]:
    return {"taskId": task_id, "payload": {"simulate": simulate, "note": mark, mark: mark}}


def good(stack: DeployedStack, task_id: str, mark: str) -> None:
    assert post(stack, a_task(task_id, mark)) == 202


def long(stack: DeployedStack, task_id: str, mark: str) -> None:
    assert post(stack, a_task(task_id, mark + "." * INLINE_PAYLOAD_BYTES)) == 202


def failing(stack: DeployedStack, task_id: str, mark: str) -> None:
    assert post(stack, a_task(task_id, mark, failAttempts=[1, 2, 3])) == 202


def failing_for_good(stack: DeployedStack, task_id: str, mark: str) -> None:
    assert post(stack, a_task(task_id, mark, permanent=True)) == 202


def a_webhook_that_nobody_takes(stack: DeployedStack, task_id: str, mark: str) -> None:
    secret = {"url": f"http://192.0.2.1/{mark}?key={mark}", "headers": {"authorization": mark}, "body": {mark: mark}}
    assert post(stack, {"taskId": task_id, "kind": "webhook", "payload": secret}) == 202


def one_of_a_batch(stack: DeployedStack, task_id: str, mark: str) -> None:
    tasks = [a_task(task_id, mark), {"payload": mark}, {"kind": mark, "payload": {}}, {mark: mark}, mark]
    assert post(stack, {"tasks": tasks}, "/tasks/batch") in (200, 207)


def refused(stack: DeployedStack, task_id: str, mark: str) -> None:
    """Everything that a request can hold in a wrong place; then the same id, so that there is something to wait for."""
    simulate = {"permanent": mark, mark: mark}
    bodies = [
        '{"payload": "%s' % mark,
        {"payload": mark},
        {"payload": {"simulate": simulate}},
        {"payload": {}, "kind": mark},
        {"payload": {}, mark: mark},
        {"payload": {}, "runAt": mark},
        {"payload": {}, "taskId": f"{mark} {mark}"},
    ]
    assert [post(stack, body) for body in bodies] == [400] * len(bodies)
    assert post(stack, {"taskId": task_id, "payload": {}}) == 202
    assert post(stack, a_task(task_id, mark)) == 409


def poison(stack: DeployedStack, task_id: str, mark: str) -> None:
    """Messages that are not ours, in both queues; the one that is has a field of somebody else's."""
    sqs = stack.aws("sqs")
    for queue in ("queue_url", "dlq_url"):
        for body in ('{"order": "%s' % mark, json.dumps({"order": mark})):
            sqs.send_message(QueueUrl=stack.outputs[queue], MessageBody=body)
    message = {"v": 1, "taskId": task_id, "generation": 1, "order": mark}
    sqs.send_message(QueueUrl=stack.outputs["dlq_url"], MessageBody=json.dumps(message))


def the_key_itself(stack: DeployedStack, task_id: str, mark: str) -> None:
    key = stack.outputs["api_key"]
    assert post(stack, {"taskId": task_id, "payload": {"key": key, key: mark}}) == 202
    assert post(stack, {"payload": {}, key: key}) == 400
    assert call(stack, "GET", f"/tasks/{task_id}").status_code == 200
    assert call(stack, "GET", "/dead-letters", limit=key).status_code == 400
    assert call(stack, "DELETE", f"/tasks/{task_id}x").status_code == 404


WAYS: Mapping[str, tuple[Callable[[DeployedStack, str, str], None], str, str]] = {
    "good": (good, "process-task", "task completed"),
    "long": (long, "process-task", "task completed"),
    "failing": (failing, "monitor-dlq", "task dead"),
    "failing for good": (failing_for_good, "monitor-dlq", "task dead"),
    "webhook": (a_webhook_that_nobody_takes, "monitor-dlq", "task dead"),
    "batch": (one_of_a_batch, "process-task", "task completed"),
    "refused": (refused, "process-task", "task completed"),
    "poison": (poison, "monitor-dlq", "stray"),
    "key": (the_key_itself, "process-task", "task completed"),
}
"""How it is sent, and the last line about it: service and how its event begins."""


def missing(said: list[str], ids: Mapping[str, str]) -> list[str]:
    """Ways whose last line is not there yet: until then, that nothing else is there proves nothing."""
    return [
        way
        for way, (_, service, event) in WAYS.items()
        if not any(_is(line, ids[way], service, event) for line in said)
    ]


def _is(line: str, task_id: str, service: str, event: str) -> bool:
    return task_id in line and f'"{service}"' in line and event in line


def leaks(said: list[str], secrets: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    yield from ((way, line) for line in said for way, secret in secrets.items() if secret in line)


def test_no_payload_and_no_key_is_in_any_log_whichever_way_it_went(stack: DeployedStack) -> None:
    ids = {way: new_id("private") for way in WAYS}
    secrets = {way: new_id("payload").replace("-", "_") for way in WAYS}
    for way, (send, _, _) in WAYS.items():
        send(stack, ids[way], secrets[way])

    def look() -> tuple[list[str], list[str]]:
        said = list(log_lines(stack))
        return missing(said, ids), said

    _, said = eventually(look, lambda looked: not looked[0], seconds=240)

    assert {service for service in SPOKEN if not any(f'"{service}"' in line for line in said)} == set()
    assert list(leaks(said, {**secrets, "the API key": stack.outputs["api_key"]})) == []


def test_up_and_status_do_not_show_the_key_and_outputs_does(
    stack: DeployedStack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key = stack.outputs["api_key"]
    monkeypatch.setenv("LOCAL_DIR", str(stack.folder))

    def said(*words: str) -> str:
        assert main(list(words)) == 0
        return "".join(capsys.readouterr())

    assert stack.said
    shown = {"up": stack.said, "status": said("status"), "outputs": said("outputs")}
    assert {name for name, text in shown.items() if key in text} == {"outputs"}
    assert said("outputs", "--key") == f"{key}\n"
