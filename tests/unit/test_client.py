"""The Python client, against a real server."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from client import (
    ApiError,
    Conflict,
    DeadLetter,
    Forbidden,
    NotFound,
    Rejected,
    Steered,
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


# Cancel and replay. ---------------------------------------------------------------------------------------------------


def steered(http_status: int, message: str, status: str, generation: int = 1) -> Reply:
    return http_status, {"message": message, "taskId": "task-1", "status": status, "generation": generation}


@pytest.mark.parametrize(("message", "new"), [("Task cancelled", True), ("Task already cancelled", False)])
def test_a_task_is_cancelled_or_was_before(message: str, new: bool) -> None:
    with serving(in_turn(steered(200, message, "CANCELLED"))) as server:
        assert client_of(server).cancel("task-1") == Steered("task-1", "CANCELLED", 1, new)
    (request,) = server.requests
    assert (request.method, request.path, request.body) == ("DELETE", "/tasks/task-1", None)


@pytest.mark.parametrize(
    ("http_status", "message", "new"), [(202, "Task replayed", True), (200, "Task already replayed", False)]
)
def test_a_task_is_replayed_by_the_generation_that_was_seen_dead(http_status: int, message: str, new: bool) -> None:
    with serving(in_turn(steered(http_status, message, "SUBMITTED", 3))) as server:
        assert client_of(server).redrive("task-1", 2) == Steered("task-1", "SUBMITTED", 3, new)
    (request,) = server.requests
    assert (request.method, request.path, request.body) == ("POST", "/tasks/task-1/redrive", {"generation": 2})


def test_a_replay_without_a_generation_is_of_the_one_that_the_task_has_now() -> None:
    with serving(in_turn(a_task("FAILED_FINAL"), steered(202, "Task replayed", "SUBMITTED", 2))) as server:
        assert client_of(server).redrive("task-1").generation == 2
    assert [(request.method, request.body) for request in server.requests] == [
        ("GET", None),
        ("POST", {"generation": 1}),
    ]


def test_a_replay_whose_answer_was_lost_is_sent_again_with_the_same_generation() -> None:
    again = steered(200, "Task already replayed", "SUBMITTED", 2)
    with serving(in_turn(a_task("FAILED_FINAL"), an_error(503), again)) as server:
        assert not client_of(server).redrive("task-1").new
    assert [request.body for request in server.requests] == [None, {"generation": 1}, {"generation": 1}]


@pytest.mark.parametrize("code", ["task_open", "task_ended", "not_recorded_yet"])
def test_a_task_in_no_state_for_it_is_a_conflict_that_says_which(code: str) -> None:
    with serving(in_turn(an_error(409, code))) as server:
        for act in (client_of(server).cancel, lambda task_id: client_of(server).redrive(task_id, 1)):
            with pytest.raises(Conflict) as error:
                act("task-1")
            assert error.value.code == code


def test_an_id_of_foreign_characters_stays_one_part_of_the_path() -> None:
    with serving(in_turn(an_error(404))) as server:
        for act in (client_of(server).get, client_of(server).cancel, client_of(server).redrive):
            with pytest.raises(NotFound):
                act("a/b?c:d")
    assert {request.path for request in server.requests} == {"/tasks/a%2Fb%3Fc:d"}


# Dead letters. --------------------------------------------------------------------------------------------------------


def a_letter(task_id: str = "task-1", **changes: Any) -> dict[str, Any]:
    document = {
        "taskId": task_id,
        "kind": "simulated",
        "generation": 2,
        "attempts": 3,
        "receives": 6,
        "errorClass": "SimulatedFailure",
        "error": "attempt 3 failed",
        "createdAt": "2027-01-15T08:00:00.000Z",
        "firstAt": "2027-01-15T08:00:01.000Z",
        "deadAt": "2027-01-15T08:00:20.500Z",
        "recordedAt": "2027-01-15T08:00:21.000Z",
        "sourceQueue": "dev-tasks",
    }
    return {**document, **changes}


def letters(*found: dict[str, Any], cursor: str | None = None) -> Reply:
    return 200, {"deadLetters": found, "cursor": cursor}


def test_a_dead_letter_is_read_as_the_api_shows_it() -> None:
    with serving(in_turn(letters(a_letter()))) as server:
        assert list(client_of(server).dead_letters()) == [
            DeadLetter(
                task_id="task-1",
                kind="simulated",
                generation=2,
                attempts=3,
                receives=6,
                error_class="SimulatedFailure",
                error="attempt 3 failed",
                created_at=datetime(2027, 1, 15, 8, tzinfo=UTC),
                first_at=datetime(2027, 1, 15, 8, 0, 1, tzinfo=UTC),
                dead_at=datetime(2027, 1, 15, 8, 0, 20, 500_000, tzinfo=UTC),
                recorded_at=datetime(2027, 1, 15, 8, 0, 21, tzinfo=UTC),
                source_queue="dev-tasks",
            )
        ]


def test_what_a_dead_letter_does_not_know_is_none() -> None:
    with serving(in_turn(letters(a_letter(firstAt=None, sourceQueue=None)))) as server:
        (letter,) = client_of(server).dead_letters()
    assert (letter.first_at, letter.source_queue) == (None, None)


def test_every_page_is_read_also_behind_one_that_is_empty() -> None:
    one, two, three = (a_letter(f"task-{number}") for number in (1, 2, 3))
    pages = [letters(one, two, cursor="c/1"), letters(cursor="c2"), letters(three)]
    with serving(in_turn(*pages)) as server:
        found = [letter.task_id for letter in client_of(server).dead_letters("simulated")]
    assert found == ["task-1", "task-2", "task-3"]
    assert [asked(request.path) for request in server.requests] == [
        {"kind": "simulated", "limit": "100"},
        {"kind": "simulated", "limit": "100", "cursor": "c/1"},
        {"kind": "simulated", "limit": "100", "cursor": "c2"},
    ]


def test_a_page_is_asked_for_when_the_one_before_is_used_up() -> None:
    with serving(in_turn(letters(a_letter(), cursor="c1"), letters(a_letter("task-2")))) as server:
        found = client_of(server).dead_letters()
        assert server.requests == []
        assert (next(found).task_id, len(server.requests)) == ("task-1", 1)
        assert (next(found).task_id, len(server.requests)) == ("task-2", 2)


@pytest.mark.parametrize("ending", ["", "/", "/tasks", "/tasks/"])
def test_filters_travel_as_the_api_names_them_and_times_in_utc(ending: str) -> None:
    since = datetime(2027, 1, 15, 9, tzinfo=timezone(timedelta(hours=1)))
    until = datetime(2027, 1, 15, 8, 0, 20, 500_999, tzinfo=UTC)
    with serving(in_turn(letters())) as server:
        list(TaskClient(server.url + ending, "secret").dead_letters("simulated", "it & that", since, until))
    (request,) = server.requests
    assert (request.method, urlsplit(request.path).path, request.body) == ("GET", "/dead-letters", None)
    assert asked(request.path) == {
        "kind": "simulated",
        "error": "it & that",
        "from": "2027-01-15T08:00:00.000Z",
        "to": "2027-01-15T08:00:20.500Z",
        "limit": "100",
    }


def test_a_list_that_cannot_be_read_on_is_an_error_at_that_page() -> None:
    with serving(in_turn(letters(a_letter(), cursor="c1"), an_error(400, "bad_cursor"))) as server:
        found = client_of(server).dead_letters()
        assert next(found).task_id == "task-1"
        with pytest.raises(Rejected, match="bad_cursor"):
            next(found)


def asked(path: str) -> dict[str, str]:
    return {name: value for name, (value,) in parse_qs(urlsplit(path).query, strict_parsing=True).items()}
