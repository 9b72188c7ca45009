"""The Python client, against a real server."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from client import (
    ApiError,
    Conflict,
    Count,
    DeadLetter,
    Forbidden,
    NoApi,
    NotFound,
    Rejected,
    Result,
    Steered,
    Submission,
    Submitted,
    Summary,
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


def test_an_error_of_the_api_is_raised_by_its_class_at_once() -> None:
    for status, error in ERRORS.items():
        with serving(in_turn(an_error(status, "some_code", "What is wrong."))) as server:
            with pytest.raises(ApiError) as raised:
                client_of(server).submit()
            assert len(server.requests) == 1, status
        assert type(raised.value) is error, status
        assert (raised.value.status, raised.value.code, raised.value.message) == (
            status,
            "some_code",
            "What is wrong.",
        ), status
        assert str(raised.value) == f"{status} some_code: What is wrong.", status


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


def test_an_error_in_another_form_is_told_in_its_own_words() -> None:
    for document, message in (
        ({"message": "Forbidden"}, "Forbidden"),
        ("<html>Bad Request</html>", "<html>Bad Request</html>"),
        ("[1]", "[1]"),
        ('{"other": 1}', '{"other": 1}'),
        ("", ""),
    ):
        with serving(in_turn((400, document))) as server, pytest.raises(Rejected) as error:
            client_of(server).submit()
        assert (error.value.code, error.value.message) == ("http_error", message), document


@pytest.mark.parametrize("document", ["<html>Hello</html>", "[1]", ""], ids=["a page", "an array", "nothing"])
def test_an_answer_that_is_not_the_apis_is_said_to_be_none(document: str) -> None:
    with serving(in_turn((200, document))) as server:
        for act in (client_of(server).stats, lambda: client_of(server).get("a"), lambda: client_of(server).cancel("a")):
            with pytest.raises(NoApi, match="is not the task API's"):
                act()


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


def test_waiting_too_long_ends_with_the_last_state(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()  # of seconds: one at each look
    monkeypatch.setattr("client.tasks.time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _: None))
    with serving(in_turn(a_task("SUBMITTED", 0), a_task("FAILED_PENDING", 2))) as server:
        submitted = Submitted(client_of(server), "task-1", True)
        with pytest.raises(WaitTimeout) as error:
            submitted.wait(timeout=1)
    assert (error.value.task.status, error.value.task.attempts) == ("FAILED_PENDING", 2)
    assert str(error.value) == "task task-1 is FAILED_PENDING after 1 s (attempts: 2)"


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


# Batches. -------------------------------------------------------------------------------------------------------------


def each(request: Request, status: int = 202, message: str = "Task accepted") -> Reply:
    """The same of every task of a batch."""
    return 200, {
        "results": [{"taskId": one["taskId"], "status": status, "message": message} for one in request.body["tasks"]]
    }


def a_refusal(task_id: str | None, status: int, code: str = "a_code") -> dict[str, Any]:
    return {"taskId": task_id, "status": status, "error": {"code": code, "message": "A message."}}


def taken(task_id: str, status: int = 202) -> dict[str, Any]:
    return {"taskId": task_id, "status": status, "message": "Task accepted"}


def ids(request: Request) -> list[str]:
    return [one["taskId"] for one in request.body["tasks"]]


def test_a_batch_travels_as_single_submits_would_each_under_an_id() -> None:
    at = datetime(2027, 1, 15, 8, tzinfo=UTC)
    given = [
        Submission(),
        Submission("deposit", {"a": 1}, "mine", run_at=at),
        Submission(task_id="late", delay_seconds=0),
    ]
    with serving(each) as server:
        results = client_of(server).submit_batch(given)
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/tasks/batch")
    first, *others = request.body["tasks"]
    assert uuid.UUID(first["taskId"]).version == 4
    assert first == {"taskId": first["taskId"], "kind": "simulated", "payload": {}}
    assert others == [
        {"taskId": "mine", "kind": "deposit", "payload": {"a": 1}, "runAt": "2027-01-15T08:00:00+00:00"},
        {"taskId": "late", "kind": "simulated", "payload": {}, "delaySeconds": 0},
    ]
    assert results == [Result(one, 202, "Task accepted") for one in (first["taskId"], "mine", "late")]
    assert all(result.done and result.new for result in results)


def test_many_are_sent_a_hundred_at_a_time_and_answered_in_their_order() -> None:
    for count, sizes in (
        (0, []),
        (1, [1]),
        (100, [100]),
        (101, [100, 1]),
        (250, [100, 100, 50]),
    ):
        given = [f"task-{number}" for number in range(count)]
        with serving(each) as server:
            results = client_of(server).submit_batch(Submission(task_id=task_id) for task_id in given)
        assert [len(ids(request)) for request in server.requests] == sizes, count
        assert [result.task_id for result in results] == given, count


def test_large_payloads_are_sent_fewer_at_a_time() -> None:
    given = [Submission(payload={"text": "x" * 250_000}, task_id=f"task-{number}") for number in range(10)]
    with serving(each) as server:
        assert len(client_of(server).submit_batch(given)) == 10
    lengths = [int(request.headers["content-length"]) for request in server.requests]
    assert len(lengths) == 2
    assert max(lengths) <= 2 * 1024 * 1024


def test_what_became_of_each_is_told_in_their_order_also_of_one_that_could_not_be_read() -> None:
    results = [taken("a", 200), a_refusal(None, 400, "invalid_request"), a_refusal("c", 409, "id_taken"), taken("d")]
    with serving(in_turn((200, {"results": results}))) as server:
        told = client_of(server).submit_batch([Submission(task_id=one) for one in ("a", "b?", "c", "d")])
    assert [(one.task_id, one.status, one.code, one.done, one.new) for one in told] == [
        ("a", 200, None, True, False),
        ("b?", 400, "invalid_request", False, False),
        ("c", 409, "id_taken", False, False),
        ("d", 202, None, True, True),
    ]
    assert told[2].message == "A message."


def test_of_a_batch_only_what_had_no_clear_answer_is_sent_again() -> None:
    first = {"results": [taken("a"), a_refusal("b", 503), a_refusal("c", 409), a_refusal("d", 503)]}
    with serving(in_turn((200, first), (200, {"results": [taken("b"), taken("d", 200)]}))) as server:
        results = client_of(server).submit_batch([Submission(task_id=one) for one in "abcd"])
    assert [ids(request) for request in server.requests] == [["a", "b", "c", "d"], ["b", "d"]]
    assert server.requests[1].body["tasks"][0] == server.requests[0].body["tasks"][1]
    assert [(one.task_id, one.status) for one in results] == [("a", 202), ("b", 202), ("c", 409), ("d", 200)]


def test_one_of_a_batch_that_stays_unclear_is_told_so_after_every_try() -> None:
    with serving(in_turn((200, {"results": [a_refusal("a", 503, "unknown_outcome")]}))) as server:
        (result,) = client_of(server, tries=2).submit_batch([Submission(task_id="a")])
        assert len(server.requests) == 2
    assert (result.status, result.code, result.done) == (503, "unknown_outcome", False)


def test_a_batch_whose_answer_was_lost_is_sent_again_under_the_same_ids() -> None:
    with serving(in_turn(an_error(502), (200, {"results": [taken("x", 200)]}))) as server:
        client_of(server).submit_batch([Submission()])
    first, second = server.requests
    assert first.body == second.body


@pytest.mark.parametrize("status", [400, 403, 413])
def test_a_batch_that_is_refused_as_a_whole_is_an_error(status: int) -> None:
    with serving(in_turn(an_error(status))) as server, pytest.raises(ERRORS[status]):
        client_of(server).submit_batch([Submission()])


def test_many_are_replayed_by_the_generations_that_were_seen_dead_or_are_there_now() -> None:
    def answer(request: Request) -> Reply:
        if request.method == "POST":
            return each(request, message="Task replayed")
        return a_task("FAILED_FINAL") if request.path == "/tasks/a" else an_error(404)

    with serving(answer) as server:
        results = client_of(server).redrive_batch(["a", ("b", 7), "gone"])
    last = server.requests[-1]
    assert (last.method, last.path) == ("POST", "/dead-letters/redrive")
    assert last.body["tasks"] == [
        {"taskId": "a", "generation": 1},
        {"taskId": "b", "generation": 7},
        {"taskId": "gone"},
    ]
    assert [result.task_id for result in results] == ["a", "b", "gone"]
    assert all(result.new for result in results)


# Lists and numbers. ---------------------------------------------------------------------------------------------------


def a_summary(task_id: str = "task-1") -> dict[str, Any]:
    return {
        "taskId": task_id,
        "kind": "simulated",
        "status": "FAILED_PENDING",
        "generation": 2,
        "attempts": 1,
        "maxAttempts": 3,
        "createdAt": "2027-01-15T08:00:00.000Z",
        "updatedAt": "2027-01-15T08:00:01.500Z",
        "error": "SimulatedFailure: attempt 1 failed",
    }


def summaries(*task_ids: str, cursor: str | None = None) -> Reply:
    return 200, {"tasks": [a_summary(task_id) for task_id in task_ids], "cursor": cursor}


def test_a_task_in_the_list_is_read_as_the_api_shows_it() -> None:
    with serving(in_turn(summaries("task-1"))) as server:
        assert list(client_of(server).list()) == [
            Summary(
                task_id="task-1",
                kind="simulated",
                status="FAILED_PENDING",
                generation=2,
                attempts=1,
                max_attempts=3,
                created_at=datetime(2027, 1, 15, 8, tzinfo=UTC),
                updated_at=datetime(2027, 1, 15, 8, 0, 1, 500_000, tzinfo=UTC),
                error="SimulatedFailure: attempt 1 failed",
            )
        ]


def test_every_page_of_the_list_is_read_under_the_same_filters_also_behind_an_empty_one() -> None:
    pages = [summaries("a", "b", cursor="c/1"), summaries(cursor="c2"), summaries("c")]
    with serving(in_turn(*pages)) as server:
        found = [task.task_id for task in client_of(server).list("COMPLETED", "simulated")]
    assert found == ["a", "b", "c"]
    assert {urlsplit(request.path).path for request in server.requests} == {"/tasks"}
    filters = {"status": "COMPLETED", "kind": "simulated", "limit": "100"}
    assert [asked(request.path) for request in server.requests] == [
        filters,
        {**filters, "cursor": "c/1"},
        {**filters, "cursor": "c2"},
    ]


def test_no_more_of_the_list_is_asked_for_than_is_wanted() -> None:
    for limit, size, found, pages in (
        (1, "1", "a", 1),
        (2, "2", "ab", 1),
        (3, "3", "abc", 2),
        (1000, "100", "abcd", 2),
        (None, "100", "abcd", 2),
    ):
        with serving(in_turn(summaries("a", "b", cursor="c1"), summaries("c", "d"))) as server:
            tasks = client_of(server).list(limit=limit)
            assert server.requests == [], limit
            assert "".join(task.task_id for task in tasks) == found, limit
        assert len(server.requests) == pages, limit
        assert asked(server.requests[0].path) == {"limit": size}, limit


def test_the_numbers_are_read_as_the_api_shows_them() -> None:
    minute = {"minute": "2027-01-15T08:00:00.000Z", "completed": 1, "failed": 2, "dead": 0, "p50Ms": 10, "p95Ms": None}
    document = {
        "counts": {"open": {"count": 3, "more": False}, "COMPLETED": {"count": 10_000, "more": True}},
        "queue": {"waiting": 1, "inFlight": 2, "delayed": 0},
        "deadLetterQueue": {"waiting": 0, "inFlight": 4},
        "oldestOpenAt": "2027-01-15T07:00:00.000Z",
        "perMinute": [minute],
        "exact": ["oldestOpenAt"],
        "approximate": ["counts"],
        "at": "2027-01-15T08:00:30.000Z",
    }
    with serving(in_turn((200, document), (200, {**document, "oldestOpenAt": None}))) as server:
        stats, without = client_of(server).stats(), client_of(server).stats()
    assert (server.requests[0].method, server.requests[0].path) == ("GET", "/stats")
    assert stats.counts == {"open": Count(3, False), "COMPLETED": Count(10_000, True)}
    assert [str(count) for count in stats.counts.values()] == ["3", "10,000+"]
    assert (stats.queue["inFlight"], stats.dead_letter_queue["inFlight"]) == (2, 4)
    assert (stats.oldest_open_at, without.oldest_open_at) == (datetime(2027, 1, 15, 7, tzinfo=UTC), None)
    assert (stats.per_minute, stats.exact, stats.approximate) == ((minute,), ("oldestOpenAt",), ("counts",))
    assert stats.at == datetime(2027, 1, 15, 8, 0, 30, tzinfo=UTC)


def asked(path: str) -> dict[str, str]:
    return {name: value for name, (value,) in parse_qs(urlsplit(path).query, strict_parsing=True).items()}
