"""The Python client, against a real server."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from client import (
    ApiError,
    Conflict,
    Forbidden,
    NotFound,
    Rejected,
    Submitted,
    TaskClient,
    Unavailable,
    WaitTimeout,
)
from tests.support.server import Reply, Request, Server, in_turn, serving
from tests.support.stack import free_port

ACCEPTED: Reply = (202, {"message": "Task accepted", "taskId": "task-1", "status": "SUBMITTED"})
KNOWN: Reply = (200, {"message": "Task already accepted", "taskId": "task-1", "status": "PROCESSING"})


def a_task(status: str = "COMPLETED", attempts: int = 1) -> Reply:
    document: dict[str, Any] = {
        "taskId": "task-1",
        "kind": "simulated",
        "status": status,
        "generation": 1,
        "attempts": attempts,
        "maxAttempts": 3,
        "payload": {"a": 1},
        "result": {"ok": True} if status == "COMPLETED" else None,
        "error": None,
        "timeline": [{"at": "2027-01-15T08:00:00.000Z", "status": "SUBMITTED", "generation": 1, "attempt": 0}],
        "deadLetters": [],
        "createdAt": "2027-01-15T08:00:00.000Z",
    }
    return 200, document


def an_error(status: int, code: str = "a_code", message: str = "A message.") -> Reply:
    return status, {"error": {"code": code, "message": message}}


def client_of(server: Server, tries: int = 3) -> TaskClient:
    return TaskClient(server.url, "secret", tries=tries)


@pytest.mark.parametrize("ending", ["", "/", "/tasks", "/tasks/"])
def test_the_url_may_end_in_tasks_or_not(ending: str) -> None:
    with serving(in_turn(ACCEPTED)) as server:
        TaskClient(server.url + ending, "secret").submit()
    assert [request.path for request in server.requests] == ["/tasks"]


def test_a_task_travels_with_the_key_and_under_an_id_of_its_own() -> None:
    with serving(in_turn(ACCEPTED)) as server:
        submitted = client_of(server).submit("simulated", {"a": 1})
    (request,) = server.requests
    assert (request.method, request.headers["x-api-key"]) == ("POST", "secret")
    assert request.body == {"taskId": submitted.task_id, "kind": "simulated", "payload": {"a": 1}}
    assert uuid.UUID(submitted.task_id).version == 4
    assert submitted.new


def test_an_id_and_a_time_to_run_are_sent_as_given() -> None:
    at = datetime(2027, 1, 15, 8, tzinfo=UTC)
    with serving(in_turn(ACCEPTED)) as server:
        client = client_of(server)
        assert client.submit(task_id="mine", run_at=at).task_id == "mine"
        client.submit(task_id="mine", delay_seconds=0)
    assert [request.body for request in server.requests] == [
        {"taskId": "mine", "kind": "simulated", "payload": {}, "runAt": "2027-01-15T08:00:00+00:00"},
        {"taskId": "mine", "kind": "simulated", "payload": {}, "delaySeconds": 0},
    ]


def test_a_task_that_was_accepted_before_is_not_new() -> None:
    with serving(in_turn(KNOWN)) as server:
        assert not client_of(server).submit().new


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_or_unclear_answer_is_followed_by_the_same_request_again(status: int) -> None:
    with serving(in_turn(an_error(status), ACCEPTED)) as server:
        assert client_of(server).submit().new
    first, second = server.requests
    assert first.body == second.body


def test_no_answer_at_all_is_followed_by_the_same_request_again() -> None:
    with serving(in_turn(ACCEPTED)) as server:
        server.answer = _hanging_up_once(server)
        assert client_of(server).submit().new
    assert len(server.requests) == 2
    assert server.requests[0].body == server.requests[1].body


def _hanging_up_once(server: Server) -> Callable[[Request], Reply]:
    def answer(request: Request) -> Reply:
        # A status line that is none: to the client the connection is broken.
        return (999_999, "") if len(server.requests) == 1 else ACCEPTED

    return answer


ERRORS: dict[int, type[ApiError]] = {
    400: Rejected,
    403: Forbidden,
    404: NotFound,
    405: Rejected,
    409: Conflict,
    413: Rejected,
}


@pytest.mark.parametrize(("status", "error"), ERRORS.items())
def test_an_error_of_the_api_is_raised_by_its_class_at_once(status: int, error: type[ApiError]) -> None:
    with serving(in_turn(an_error(status, "some_code", "What is wrong."))) as server:
        with pytest.raises(ApiError) as raised:
            client_of(server).submit()
        assert len(server.requests) == 1
    assert type(raised.value) is error
    assert (raised.value.status, raised.value.code, raised.value.message) == (status, "some_code", "What is wrong.")
    assert str(raised.value) == f"{status} some_code: What is wrong."


@pytest.mark.parametrize("status", [429, 503])
def test_an_api_that_stays_busy_is_unavailable_after_every_try(status: int) -> None:
    with serving(in_turn(an_error(status))) as server:
        with pytest.raises(Unavailable) as error:
            client_of(server, tries=2).submit()
        assert len(server.requests) == 2
    assert error.value.status == status


def test_an_api_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="did not answer 2 times") as error:
        TaskClient(f"http://127.0.0.1:{free_port()}", "secret", tries=2).submit()
    assert (error.value.status, error.value.code) == (0, "no_answer")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"message": "Forbidden"}, "Forbidden"),
        ("<html>Bad Request</html>", "<html>Bad Request</html>"),
        ("[1]", "[1]"),
        ('{"other": 1}', '{"other": 1}'),
        ("", ""),
    ],
    ids=["API Gateway's own", "a page", "an array", "another object", "nothing"],
)
def test_an_error_in_another_form_is_told_in_its_own_words(document: Any, message: str) -> None:
    with serving(in_turn((400, document))) as server, pytest.raises(Rejected) as error:
        client_of(server).submit()
    assert (error.value.code, error.value.message) == ("http_error", message)


def test_a_task_is_read_as_the_api_shows_it() -> None:
    with serving(in_turn(a_task())) as server:
        task = client_of(server).get("task-1")
    assert (server.requests[0].method, server.requests[0].path) == ("GET", "/tasks/task-1")
    assert (task.task_id, task.status, task.payload, task.result) == ("task-1", "COMPLETED", {"a": 1}, {"ok": True})
    assert (task.attempts, task.max_attempts, task.generation, task.error) == (1, 3, 1, None)
    assert (task.timeline[0]["status"], task.dead_letters) == ("SUBMITTED", ())


@pytest.mark.parametrize("end", ["COMPLETED", "FAILED_FINAL", "CANCELLED"])
def test_waiting_looks_again_until_the_task_has_ended_whichever_way(end: str) -> None:
    states = [a_task("SUBMITTED", 0), a_task("PROCESSING"), a_task("FAILED_PENDING"), a_task(end)]
    with serving(in_turn(*states)) as server:
        task = Submitted(client_of(server), "task-1", True).wait(poll=0)
        assert len(server.requests) == 4
    assert (task.status, task.ended) == (end, True)


def test_waiting_too_long_ends_with_the_last_state() -> None:
    with serving(in_turn(a_task("SUBMITTED", 0), a_task("FAILED_PENDING", 2))) as server:
        submitted = Submitted(client_of(server), "task-1", True)
        with pytest.raises(WaitTimeout) as error:
            submitted.wait(timeout=0.05, poll=0.01)
    assert (error.value.task.status, error.value.task.attempts) == ("FAILED_PENDING", 2)
    assert str(error.value) == "task task-1 is FAILED_PENDING after 0.05 s (attempts: 2)"


def test_an_ended_task_is_returned_though_there_is_no_time_to_wait() -> None:
    with serving(in_turn(a_task())) as server:
        assert Submitted(client_of(server), "task-1", True).wait(timeout=0).ended
