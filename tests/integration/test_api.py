"""The API's answers to everything a client can send, and that a refused request leaves nothing behind."""

from __future__ import annotations

import json

import pytest
import requests

from client import Forbidden, TaskClient
from tests.support.stack import DeployedStack, new_id

DEEP = '{"a":' * 40 + "1" + "}" * 40
BAD_BODIES = {
    "malformed": ("{", 400, "not JSON"),
    "empty": ("", 400, "empty"),
    "not an object": ("[1]", 400, "must be a JSON object"),
    "a bare string": ('"x"', 400, "must be a JSON object"),
    "no payload": ('{"taskId": "ID"}', 400, "payload is required"),
    "null payload": ('{"taskId": "ID", "payload": null}', 400, "payload is required"),
    "payload of a wrong type": ('{"taskId": "ID", "payload": [1]}', 400, "payload is required"),
    "unknown field": ('{"taskId": "ID", "payload": {}, "priority": 1}', 400, "'priority'"),
    "id of a wrong type": ('{"taskId": 7, "payload": {}}', 400, "taskId must be"),
    "id null": ('{"taskId": null, "payload": {}}', 400, "taskId must be"),
    "id with a space": ('{"taskId": "ID x", "payload": {}}', 400, "taskId must be"),
    "id too long": ('{"taskId": "%s", "payload": {}}' % ("x" * 129), 400, "taskId must be"),
    "unknown kind": ('{"taskId": "ID", "kind": "nope", "payload": {}}', 400, "kind must be one of"),
    "kind of a wrong type": ('{"taskId": "ID", "kind": 1, "payload": {}}', 400, "kind must be one of"),
    "payload against the kind's schema": (
        '{"taskId": "ID", "payload": {"simulate": {"permanent": 1}}}',
        400,
        "payload.simulate.permanent must be boolean",
    ),
    "NaN": ('{"taskId": "ID", "payload": {"x": NaN}}', 400, "NaN is not a JSON number"),
    "Infinity": ('{"taskId": "ID", "payload": {"x": -Infinity}}', 400, "Infinity is not a JSON number"),
    "number out of range": ('{"taskId": "ID", "payload": {"x": 1e999}}', 400, "out of range"),
    "lone surrogate": ('{"taskId": "ID", "payload": {"x": "\\ud800"}}', 400, "surrogate"),
    "nested too deep": ('{"taskId": "ID", "payload": %s}' % DEEP, 400, "nested"),
    "nested absurdly": ("[" * 100_000, 400, "nested"),
    "too large": ('{"taskId": "ID", "payload": {"x": "%s"}}' % ("x" * 262_144), 413, "262144 bytes"),
    "runAt no time": ('{"taskId": "ID", "payload": {}, "runAt": "soon"}', 400, "runAt must be a time"),
    "runAt without offset": ('{"taskId": "ID", "payload": {}, "runAt": "2026-11-24T12:00:00"}', 400, "with offset"),
    "runAt too far": ('{"taskId": "ID", "payload": {}, "runAt": "9999-01-01T00:00:00Z"}', 400, "365 days"),
    "negative delay": ('{"taskId": "ID", "payload": {}, "delaySeconds": -1}', 400, "delaySeconds must be"),
    "delay of a wrong type": ('{"taskId": "ID", "payload": {}, "delaySeconds": true}', 400, "delaySeconds must be"),
    "both times": (
        '{"taskId": "ID", "payload": {}, "delaySeconds": 1, "runAt": "2026-11-24T12:00:00Z"}',
        400,
        "not both",
    ),
}


def post(stack: DeployedStack, body: str, content_type: str = "application/json") -> requests.Response:
    headers = {"x-api-key": stack.outputs["api_key"], "Content-Type": content_type}
    return requests.post(stack.outputs["api_url"], data=body.encode(), headers=headers, timeout=60)


@pytest.mark.parametrize("name", BAD_BODIES)
def test_bad_input_is_refused_with_an_error_that_says_what_is_wrong_and_leaves_no_row(
    stack: DeployedStack, name: str
) -> None:
    body, status, words = BAD_BODIES[name]
    task_id = new_id("bad")

    answer = post(stack, body.replace("ID", task_id))

    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"]["message"]
    assert stack.store.get(task_id) is None


def test_an_accepted_task_is_answered_with_202_and_its_id(stack: DeployedStack) -> None:
    task_id = new_id()
    answer = post(stack, json.dumps({"taskId": task_id, "payload": {}}))

    assert (answer.status_code, answer.headers["Content-Type"]) == (202, "application/json")
    assert answer.json() == {"message": "Task accepted", "taskId": task_id, "status": "SUBMITTED"}


def test_the_server_makes_a_sortable_id_when_the_client_brings_none(stack: DeployedStack) -> None:
    first, second = (post(stack, '{"payload": {}}').json()["taskId"] for _ in range(2))

    assert first[14] == second[14] == "7"
    assert first[:13] <= second[:13]


def test_a_number_of_60_digits_and_every_character_come_back_as_they_were_sent(stack: DeployedStack) -> None:
    digits = "123456789012345678901234567890123456789012345678901234567890"
    payload = '{"whole": %s, "part": 0.%s, "text": "\\u0000 \\u2028 \U0001f600"}' % (digits, digits)
    task_id = new_id()
    assert post(stack, '{"taskId": "%s", "payload": %s}' % (task_id, payload)).status_code == 202

    headers = {"x-api-key": stack.outputs["api_key"]}
    answer = requests.get(f"{stack.outputs['api_url']}/{task_id}", headers=headers, timeout=60)
    assert payload.encode() in answer.content


def test_the_largest_payload_comes_back_with_every_character_of_the_basic_plane(stack: DeployedStack) -> None:
    characters = [chr(code) for code in (*range(0xD800), *range(0xE000, 0x10000), *range(0x10000, 0x110000, 0x1000))]
    text = json.dumps("".join(characters), ensure_ascii=False)
    frame = '{"text": %s, "rest": "%s"}'
    rest = "r" * (256 * 1024 - len((frame % (text, "")).encode()))
    payload, task_id = frame % (text, rest), new_id()
    assert len(payload.encode()) == 256 * 1024
    assert post(stack, '{"taskId": "%s", "payload": %s}' % (task_id, payload)).status_code == 202

    headers = {"x-api-key": stack.outputs["api_key"]}
    answer = requests.get(f"{stack.outputs['api_url']}/{task_id}", headers=headers, timeout=60)
    assert payload.encode() in answer.content


@pytest.mark.parametrize("key", [None, "", "wrong"])
def test_without_the_key_there_is_403_on_every_path(stack: DeployedStack, key: str | None) -> None:
    headers = {} if key is None else {"x-api-key": key}
    for path in ("/tasks", "/tasks/x", "/dead-letters", "/stats", "/elsewhere"):
        answer = requests.get(stack.outputs["base_url"] + path, headers=headers, timeout=60)
        assert answer.status_code == 403
    with pytest.raises(Forbidden):
        TaskClient(stack.outputs["api_url"], key or "").submit()


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_a_wrong_method_on_tasks_is_405_and_names_the_right_one(stack: DeployedStack, method: str) -> None:
    answer = requests.request(method, stack.outputs["api_url"], headers=key_of(stack), timeout=60)

    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")
    assert "POST" in answer.json()["error"]["message"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_a_wrong_method_on_a_task_is_405(stack: DeployedStack, method: str) -> None:
    url = f"{stack.outputs['api_url']}/{new_id()}"

    assert requests.request(method, url, headers=key_of(stack), timeout=60).status_code == 405


@pytest.mark.parametrize("path", ["/nowhere", "/tasks/a/b", "/tasks-x"])
def test_a_wrong_path_is_404(stack: DeployedStack, path: str) -> None:
    answer = requests.get(stack.outputs["base_url"] + path, headers=key_of(stack), timeout=60)

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize("task_id", ["nobody", "x" * 500, "%00", "a%20b", "%ff", "☃"])
def test_a_task_that_is_not_there_is_404(stack: DeployedStack, task_id: str) -> None:
    answer = requests.get(f"{stack.outputs['api_url']}/{task_id}", headers=key_of(stack), timeout=60)

    assert answer.status_code == 404


def key_of(stack: DeployedStack) -> dict[str, str]:
    return {"x-api-key": stack.outputs["api_key"]}


def test_the_api_has_our_stage_alone_under_the_usage_plan_of_the_key(stack: DeployedStack) -> None:
    gateway, name = stack.aws("apigateway"), f"{stack.outputs['stage']}-tasks"
    [api_id] = [api["id"] for api in gateway.get_rest_apis(limit=500)["items"] if api["name"] == name]
    [stage] = gateway.get_stages(restApiId=api_id)["item"]
    assert stage["stageName"] == stack.outputs["stage"]
    assert stage["deploymentId"] in [one["id"] for one in gateway.get_deployments(restApiId=api_id)["items"]]

    [plan] = [plan for plan in gateway.get_usage_plans()["items"] if plan["name"] == name]
    assert [(one["apiId"], one["stage"]) for one in plan["apiStages"]] == [(api_id, stage["stageName"])]
    keys = gateway.get_usage_plan_keys(usagePlanId=plan["id"])["items"]
    assert [key["id"] for key in keys] == [stack.outputs["api_key_id"]]
