"""People and tasks: dead letters looked at and replayed, tasks cancelled, strays left alone; on the deployed stack."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lambdas.common.task import IndexClass, Status
from tests.support.looking import balance, call, until_queues_are_empty
from tests.support.stack import DeployedStack, new_id
from tests.support.waiting import eventually


def listed(stack: DeployedStack, **query: str) -> list[dict[str, Any]]:
    """Everything on all pages of GET /dead-letters."""
    found: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        answer = call(stack, "GET", "/dead-letters", **query, **({"cursor": cursor} if cursor else {}))
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += page.get("deadLetters", page.get("strays"))
        cursor = page["cursor"]
    return found


def letter_of(stack: DeployedStack, task_id: str, **query: str) -> dict[str, Any] | None:
    return next((letter for letter in listed(stack, **query) if letter["taskId"] == task_id), None)


def deposit(stack: DeployedStack, account: str, amount: int) -> None:
    stack.tasks.submit("deposit", {"account": account, "amount": amount}).wait()


def a_transfer_to_nobody(stack: DeployedStack) -> tuple[str, str, str]:
    """A task that dies for good, and its accounts: the one it gives to does not exist."""
    task_id, source, target = new_id("transfer"), new_id("from"), new_id("to")
    deposit(stack, source, 10)
    stack.tasks.submit("transfer", {"source": source, "target": target, "amount": 4}, task_id=task_id).wait()
    return task_id, source, target


def test_a_dead_task_is_listed_looked_for_and_replayed_to_its_completion(stack: DeployedStack) -> None:
    task_id, source, target = a_transfer_to_nobody(stack)
    letter = eventually(lambda: letter_of(stack, task_id))
    assert letter is not None
    assert (letter["kind"], letter["generation"], letter["attempts"]) == ("transfer", 1, 1)
    assert (letter["errorClass"], letter["error"]) == ("NoSuchAccount", f"there is no account {target}")
    assert letter["receives"] >= 1
    assert letter["createdAt"] <= letter["firstAt"] <= letter["deadAt"] <= letter["recordedAt"]
    # The embedded AWS does not name the source in a function's event (docs/parity.md, dead-letter-source-in-event).
    named = stack.outputs["target"] != "embedded"
    assert letter["sourceQueue"] == (stack.outputs["queue_url"].rpartition("/")[2] if named else None)

    assert letter_of(stack, task_id, kind="transfer", error=f"ACCOUNT {target}".upper()) == letter
    assert letter_of(stack, task_id, kind="simulated") is None
    assert letter_of(stack, task_id, **{"from": letter["deadAt"], "to": letter["deadAt"]}) == letter
    assert letter_of(stack, task_id, **{"from": letter["recordedAt"], "error": "nosuchaccount"}) in (None, letter)
    assert letter_of(stack, task_id, to=letter["createdAt"]) is None

    assert (balance(stack, source), balance(stack, target)) == (10, None)
    deposit(stack, target, 1)
    answer = call(stack, "POST", f"/tasks/{task_id}/redrive", json.dumps({"generation": 1}))
    assert answer.status_code == 202, answer.text
    said = answer.json()
    assert (said["message"], said["taskId"], said["generation"]) == ("Task replayed", task_id, 2)
    task = eventually(lambda: stack.tasks.get(task_id), lambda task: task.status == "COMPLETED")
    assert (task.generation, task.attempts, task.result, task.error) == (2, 1, {"moved": 4}, None)
    assert (balance(stack, source), balance(stack, target)) == (6, 5)
    assert {entry["generation"] for entry in task.timeline} == {1, 2}
    assert [one["generation"] for one in task.dead_letters] == [1]
    eventually(lambda: letter_of(stack, task_id), lambda letter: letter is None)
    again = call(stack, "POST", f"/tasks/{task_id}/redrive", json.dumps({"generation": 1}))
    assert (again.status_code, again.json()["message"]) == (200, "Task already replayed")
    ended = call(stack, "POST", f"/tasks/{task_id}/redrive")
    assert (ended.status_code, ended.json()["error"]["code"]) == (409, "task_ended")
    assert (balance(stack, source), balance(stack, target)) == (6, 5)


@pytest.mark.embedded
def test_a_task_that_dies_again_is_listed_with_its_second_letter(stack: DeployedStack) -> None:
    task_id, _, _ = a_transfer_to_nobody(stack)
    first = eventually(lambda: letter_of(stack, task_id))
    assert call(stack, "POST", f"/tasks/{task_id}/redrive").status_code == 202
    second = eventually(
        lambda: letter_of(stack, task_id), lambda letter: letter is not None and letter["generation"] == 2
    )
    assert first is not None
    assert second is not None
    assert (second["createdAt"], second["attempts"]) == (first["createdAt"], 1)
    assert second["firstAt"] > first["deadAt"]
    assert [one["generation"] for one in stack.tasks.get(task_id).dead_letters] == [1, 2]


@pytest.mark.embedded
def test_a_long_payload_is_there_in_the_second_life(stack: DeployedStack) -> None:
    text = "long " * 1000
    submitted = stack.tasks.submit(payload={"simulate": {"permanent": True}, "text": text})
    eventually(lambda: letter_of(stack, submitted.task_id))
    assert call(stack, "POST", f"/tasks/{submitted.task_id}/redrive").status_code == 202
    letter = eventually(
        lambda: letter_of(stack, submitted.task_id), lambda letter: letter is not None and letter["generation"] == 2
    )
    assert letter is not None
    assert letter["errorClass"] == "PermanentError"
    assert submitted.get().payload["text"] == text


@pytest.mark.embedded
def test_the_pages_of_the_list_hold_each_dead_task_once_with_the_newest_first(stack: DeployedStack) -> None:
    own = [stack.tasks.submit(payload={"simulate": {"permanent": True}}).task_id for _ in range(5)]
    eventually(lambda: {letter["taskId"] for letter in listed(stack)} >= set(own))
    since = min(letter["deadAt"] for letter in listed(stack) if letter["taskId"] in own)
    for limit in ("1", "3", "100"):
        found = listed(stack, limit=limit, **{"from": since})
        ids = [letter["taskId"] for letter in found]
        assert len(ids) == len(set(ids))
        assert [task_id for task_id in ids if task_id in own] == own[::-1]
        assert [letter["createdAt"] for letter in found] == sorted((x["createdAt"] for x in found), reverse=True)


def test_a_bad_query_is_refused_with_the_name_of_the_parameter(stack: DeployedStack) -> None:
    for query in ({"limit": "0"}, {"cursor": "x"}, {"from": "2026-11-24T12:00:00"}, {"status": "COMPLETED"}):
        answer = call(stack, "GET", "/dead-letters", **query)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")
        assert next(iter(query)) in answer.json()["error"]["message"]


@pytest.mark.parametrize(("path", "method"), [("/dead-letters", "POST"), ("/tasks/x/redrive", "GET")])
def test_a_wrong_method_is_405_and_names_the_right_one(stack: DeployedStack, path: str, method: str) -> None:
    answer = call(stack, method, path)
    right = {"POST": "GET", "GET": "POST"}[method]
    assert (answer.status_code, answer.headers["Allow"]) == (405, right)


# Cancelling. ----------------------------------------------------------------------------------------------------------


def cancelled(stack: DeployedStack, task_id: str) -> None:
    """Cancel the task; again is no harm; and it has ended so."""
    first, again = call(stack, "DELETE", f"/tasks/{task_id}"), call(stack, "DELETE", f"/tasks/{task_id}")
    assert (first.status_code, first.json()["message"]) == (200, "Task cancelled"), first.text
    assert (again.status_code, again.json()["message"]) == (200, "Task already cancelled"), again.text
    row = stack.store.get(task_id)
    assert row is not None
    assert (row.status, row.index_class) == (Status.CANCELLED, IndexClass.CANCELLED)


@pytest.mark.embedded
def test_a_delayed_task_that_is_cancelled_is_never_begun(stack: DeployedStack) -> None:
    submitted = stack.tasks.submit(payload={}, delay_seconds=6)
    cancelled(stack, submitted.task_id)
    # Its message comes six seconds later and is let go; a task submitted after it shows that its time has come.
    stack.tasks.submit(payload={}, delay_seconds=7).wait()
    task = submitted.get()
    assert (task.status, task.attempts) == ("CANCELLED", 0)


def test_a_parked_task_that_is_cancelled_is_parked_no_more(stack: DeployedStack) -> None:
    submitted = stack.tasks.submit(payload={}, delay_seconds=3600)
    cancelled(stack, submitted.task_id)
    row = stack.store.get(submitted.task_id)
    assert row is not None
    assert (row.attempts, row.next_attempt_at) == (0, None)


def test_what_has_ended_cannot_be_cancelled_and_what_is_open_cannot_be_replayed(stack: DeployedStack) -> None:
    done = stack.tasks.submit(payload={}).wait()
    answer = call(stack, "DELETE", f"/tasks/{done.task_id}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "task_ended")

    parked = stack.tasks.submit(payload={}, delay_seconds=3600)
    answer = call(stack, "POST", f"/tasks/{parked.task_id}/redrive")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "task_open")
    assert parked.get().status == "SUBMITTED"
    cancelled(stack, parked.task_id)


@pytest.mark.parametrize("task_id", ["nobody", "x" * 3000, "a%20b", "%ff", "☃"])
@pytest.mark.parametrize(("method", "rest"), [("DELETE", ""), ("POST", "/redrive")])
def test_what_is_not_there_cannot_be_steered(stack: DeployedStack, method: str, rest: str, task_id: str) -> None:
    assert call(stack, method, f"/tasks/{task_id}{rest}").status_code == 404


@pytest.mark.embedded
@pytest.mark.parametrize("body", ["{", "[]", "null", '{"generation": 0}', '{"generation": "1"}', '{"other": 1}'])
def test_a_replay_with_a_bad_body_is_refused(stack: DeployedStack, body: str) -> None:
    answer = call(stack, "POST", "/tasks/nobody/redrive", body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")


# Strays. --------------------------------------------------------------------------------------------------------------


def test_a_stray_message_in_the_dead_letter_queue_is_recorded_harmless_and_listed(stack: DeployedStack) -> None:
    bystander = stack.tasks.submit(payload={}).wait()
    body = "order 7 " + "☃" * 1000  # no JSON: LocalStack writes JSON anew, in ASCII
    sent = stack.aws("sqs").send_message(QueueUrl=stack.outputs["dlq_url"], MessageBody=body)

    def found() -> dict[str, Any] | None:
        return next((one for one in listed(stack, strays="true") if one["messageId"] == sent["MessageId"]), None)

    stray = eventually(found)
    assert stray is not None
    assert stray["reason"] == "unreadable"
    assert stray["body"] == "order 7 " + "☃" * 338  # 1,022 bytes: another one would be cut in half
    assert stray["sourceQueue"] is None
    assert sent["MessageId"] not in {letter["taskId"] for letter in listed(stack)}
    assert stack.tasks.get(bystander.task_id) == bystander
    until_queues_are_empty(stack)
