"""A task as the API shows it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from lambdas.common.http import HttpError, body_of, error_response, iso, json_response
from lambdas.common.rows import DeadLetter
from lambdas.common.store import Found
from lambdas.common.task import Status, Task, TimelineEntry
from lambdas.query_tasks.view import task_view
from tests.support.tasks import NOW, a_task, waiting

DIGITS = "123456789012345678901234567890123456789012345678901234567890"
ARN = "arn:aws:sqs:us-east-1:000000000000:dev-tasks"
LETTER = DeadLetter("task-1", 1, "simulated", "Oops", 3, 4, "message-1", ARN, NOW, NOW + 1, 9, NOW - 1)


def shown(task: Task, payload: str = "{}", letters: tuple[DeadLetter, ...] = ()) -> dict[str, Any]:
    """The body that goes out, read."""
    document, raw = task_view(Found(task, payload, letters))
    body: dict[str, Any] = json.loads(json_response(200, document, raw)["body"])
    return body


def test_a_task_is_shown_with_everything_a_user_may_know_and_nothing_else() -> None:
    task = replace(waiting(), timeline=(TimelineEntry(NOW, "SUBMITTED", 1), TimelineEntry(NOW + 1, "PROCESSING", 1)))
    assert shown(task, '{"a": 1}', (LETTER,)) == {
        "taskId": "task-1",
        "kind": "simulated",
        "status": "FAILED_PENDING",
        "generation": 1,
        "attempts": 1,
        "maxAttempts": 3,
        "createdAt": "2027-01-15T08:00:00.000Z",
        "updatedAt": "2027-01-15T08:00:00.000Z",
        "nextAttemptAt": "2027-01-15T08:00:10.000Z",
        "error": "Oops: it failed",
        "timeline": [
            {"at": "2027-01-15T08:00:00.000Z", "status": "SUBMITTED", "generation": 1, "attempt": 0},
            {"at": "2027-01-15T08:00:00.001Z", "status": "PROCESSING", "generation": 1, "attempt": 1},
        ],
        "deadLetters": [
            {
                "generation": 1,
                "error": "Oops",
                "attempts": 3,
                "receives": 4,
                "firstAt": "2027-01-15T07:59:59.999Z",
                "deadAt": "2027-01-15T08:00:00.000Z",
                "recordedAt": "2027-01-15T08:00:00.001Z",
                "sourceQueue": "dev-tasks",
            }
        ],
        "payload": {"a": 1},
        "result": None,
    }


def test_what_a_dead_letter_does_not_know_is_null() -> None:
    (letter,) = shown(a_task(), letters=(replace(LETTER, first_at=None, source_queue_arn=None),))["deadLetters"]
    assert (letter["firstAt"], letter["sourceQueue"]) == (None, None)


def test_an_entry_of_the_timeline_shows_its_error_where_there_was_one() -> None:
    task = a_task(timeline=(TimelineEntry(NOW, "FAILED_PENDING", 1, "Oops"), TimelineEntry(NOW, "PROCESSING", 1)))
    assert ["error" in entry for entry in shown(task)["timeline"]] == [True, False]


def test_payload_and_result_go_out_as_the_text_they_are() -> None:
    payload, result = f'{{ "n": {DIGITS}, "n": 1.10 }}', f'{{"r": {DIGITS}.0}}'
    document, raw = task_view(Found(a_task(status=Status.COMPLETED, result=result), payload, ()))
    body = json_response(200, document, raw)["body"]
    assert f'"payload": {payload}' in body
    assert f'"result": {result}' in body


def test_a_task_that_waits_for_nothing_has_no_next_attempt() -> None:
    assert shown(a_task())["nextAttemptAt"] is None


@pytest.mark.parametrize(
    ("at_ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1, "1970-01-01T00:00:00.001Z"),
        (NOW + 999, "2027-01-15T08:00:00.999Z"),
        (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
    ],
)
def test_times_are_shown_in_utc_with_milliseconds(at_ms: int, text: str) -> None:
    assert iso(at_ms) == text


def test_an_error_is_shown_with_its_code_and_message() -> None:
    response = error_response(HttpError(409, "task_id_taken", 'it is "taken"'))
    assert response["statusCode"] == 409
    assert json.loads(response["body"]) == {"error": {"code": "task_id_taken", "message": 'it is "taken"'}}
    assert response["headers"]["Content-Type"] == "application/json"


@pytest.mark.parametrize("allow", [None, "POST"])
def test_the_method_that_is_allowed_is_named_where_another_one_is_not(allow: str | None) -> None:
    response = error_response(HttpError(405, "method_not_allowed", "No.", allow))
    assert response["headers"].get("Allow") == allow
    assert "Allow" not in error_response(HttpError(404, "not_found", "No."))["headers"]


def test_the_body_of_an_event_is_read_as_text() -> None:
    for event, body in (
        ({"body": "{}"}, "{}"),
        ({"body": None}, ""),
        ({}, ""),
        ({"body": "e30=", "isBase64Encoded": True}, "{}"),
        ({"body": "w6Q=", "isBase64Encoded": True}, "ä"),
    ):
        assert body_of(event) == body, event


def test_a_body_that_is_no_text_is_a_bad_request() -> None:
    for body in (
        "/w==",
        "e30",
        "not base64!",
        "e3!0=",
        "ä",
    ):
        with pytest.raises(HttpError) as error:
            body_of({"body": body, "isBase64Encoded": True})
        assert error.value.status == 400, body
