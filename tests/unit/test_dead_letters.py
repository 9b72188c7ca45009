"""Dead letters: what is recorded, and GET /dead-letters from the event to the answer."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from lambdas.common import aws
from lambdas.common.catalog import Catalog
from lambdas.common.dead_letters import Recorder, first_at
from lambdas.common.http import iso
from lambdas.common.rows import DeadLetter, StrayMessage, stray_fields
from lambdas.common.task import VERSION, IndexClass, Status, Task, TimelineEntry
from lambdas.common.transitions import bury, replay
from lambdas.monitor_dlq.monitor import DeadMessage, Monitor
from lambdas.query_tasks import handler
from lambdas.query_tasks.handler import METHODS, Parts
from lambdas.query_tasks.stats import Cached
from tests.support.dynamodb import TABLE, FakeDynamoDB, task_store
from tests.support.faults import Between
from tests.support.queue import FakeQueue
from tests.support.tasks import NOW, SECOND, TASK_ID, Clock, Tokens, a_task, dead, planted

RETENTION_SECONDS = 30 * 86_400
EXPIRES = NOW // 1000 + RETENTION_SECONDS
QUEUE_ARN = "arn:aws:sqs:us-east-1:000000000000:dev-tasks"


class World:
    """A table, and the query function over it."""

    def __init__(self) -> None:
        self.client: Any = FakeDynamoDB()
        self.store = task_store(self.client)

    def bury(self, task_id: str = TASK_ID, **changes: Any) -> Task:
        """A dead task with its letter."""
        task = planted(self.store, dead(task_id=task_id, **changes))
        recorder = Recorder(self.store, RETENTION_SECONDS, Clock(max(task.created_at, task.updated_at) + 1), Tokens())
        recorded = recorder.record(task, "message-1", 4, QUEUE_ARN)
        assert isinstance(recorded, Task)
        return recorded

    def rewrite(self, task: Task, name: str, value: int) -> None:
        self.client.update_item(
            TableName=TABLE,
            Key={"PK": {"S": f"T#{task.task_id}"}, "SK": {"S": "A"}},
            UpdateExpression="SET #name = :value",
            ExpressionAttributeNames={"#name": name},
            ExpressionAttributeValues={":value": {"N": str(value)}},
        )

    def stray(self, number: int, body: str = "{", at: int = NOW) -> None:
        message_id = f"m-{number:03d}"
        stray = StrayMessage(message_id, "unreadable", body, 2, QUEUE_ARN, at, EXPIRES)
        self.store.record_stray(message_id, stray_fields(stray))

    def get(self, **query: str) -> Any:
        event = {
            "resource": "/dead-letters",
            "httpMethod": "GET",
            "pathParameters": None,
            "queryStringParameters": query or None,
            "multiValueQueryStringParameters": {name: [value] for name, value in query.items()} or None,
        }
        return self.answer(event)

    def answer(self, event: dict[str, Any]) -> Any:
        response = handler.handle(event, None)
        return response["statusCode"], json.loads(response["body"]), response["headers"]

    def listed(self, **query: str) -> list[str]:
        """The ids on all pages."""
        ids: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            status, body, _ = self.get(**query, **({"cursor": cursor} if cursor else {}))
            assert status == 200, body
            ids += [item.get("taskId") or item["messageId"] for item in body.get("deadLetters", body.get("strays"))]
            cursor = body["cursor"]
        return ids


NO_STATS = Cached(lambda now: {})


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(handler, "parts", lambda: Parts(made.store, Catalog(made.client, TABLE), NO_STATS))
    monkeypatch.setattr(aws, "now_ms", lambda: NOW)
    return made


# What is recorded. ----------------------------------------------------------------------------------------------------

TIMELINES = {
    "attempts": ([("SUBMITTED", 1), ("PROCESSING", 1), ("FAILED_PENDING", 1), ("PROCESSING", 1)], 1, NOW + 1),
    "no attempt": ([("SUBMITTED", 1), ("FAILED_FINAL", 1)], 1, NOW),
    "a second generation": ([("SUBMITTED", 1), ("PROCESSING", 1), ("SUBMITTED", 2), ("PROCESSING", 2)], 2, NOW + 3),
    "replayed, no attempt": ([("SUBMITTED", 1), ("PROCESSING", 1), ("SUBMITTED", 2), ("FAILED_FINAL", 2)], 2, NOW + 2),
    "nothing known": ([], 1, NOW - 7),
}


@pytest.mark.parametrize(("entries", "generation", "expected"), TIMELINES.values(), ids=TIMELINES)
def test_the_first_time_is_when_the_first_attempt_of_the_generation_began_or_else_the_generation(
    entries: list[tuple[str, int]], generation: int, expected: int
) -> None:
    timeline = tuple(TimelineEntry(NOW + n, status, number) for n, (status, number) in enumerate(entries))
    assert first_at(dead(timeline=timeline, generation=generation, created_at=NOW - 7)) == expected


@pytest.mark.parametrize(
    ("error", "error_class", "text"),
    [
        ("ValueError: it broke", "ValueError", "it broke"),
        ("ValueError: a: b", "ValueError", "a: b"),
        ("ValueError: ", "ValueError", ""),
        ("unknown", "unknown", ""),
    ],
)
def test_an_error_is_a_class_and_a_text(error: str, error_class: str, text: str) -> None:
    letter = DeadLetter(TASK_ID, 1, "simulated", error, 3, 4, "message-1", None, NOW, NOW, EXPIRES)
    assert (letter.error_class, letter.error_text) == (error_class, text)


def test_monitor_and_sweeper_say_the_same_of_the_task_and_whoever_is_first_stays() -> None:
    timeline = (TimelineEntry(NOW, "SUBMITTED", 1), TimelineEntry(NOW + 5, "PROCESSING", 1))
    letters = []
    for by_monitor in (True, False):
        client = FakeDynamoDB()
        store, clock = task_store(client), Clock()
        task = planted(store, dead(timeline=timeline, updated_at=NOW + 9))
        recorder = Recorder(store, RETENTION_SECONDS, clock, Tokens())
        monitor = Monitor(store, FakeQueue(), recorder, clock, Tokens())
        message = DeadMessage("message-1", '{"v": 1, "taskId": "task-1", "generation": 1}', 6, QUEUE_ARN)
        if by_monitor:
            monitor.handle(message)
        else:
            recorder.record(task, "message-1", 0, None)
            assert monitor.handle(message).event == "recorded before"
        found = store.find(TASK_ID, NOW)
        assert found is not None
        letters.append(found.dead_letters)
    (told,), (healed,) = letters
    assert (told.receives, told.source_queue_arn) == (6, QUEUE_ARN)
    assert healed == replace(told, receives=0, source_queue_arn=None)


# The list. ------------------------------------------------------------------------------------------------------------


def test_a_dead_task_is_listed_with_everything_that_its_letter_tells(world: World) -> None:
    timeline = (TimelineEntry(NOW, "SUBMITTED", 1), TimelineEntry(NOW + 5, "PROCESSING", 1))
    world.bury(kind="mail", timeline=timeline, updated_at=NOW + 9, error="Smtp: no: route")
    status, body, headers = world.get()
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert body == {
        "deadLetters": [
            {
                "taskId": "task-1",
                "kind": "mail",
                "generation": 1,
                "attempts": 3,
                "receives": 4,
                "errorClass": "Smtp",
                "error": "no: route",
                "createdAt": "2027-01-15T08:00:00.000Z",
                "firstAt": "2027-01-15T08:00:00.005Z",
                "deadAt": "2027-01-15T08:00:00.009Z",
                "recordedAt": "2027-01-15T08:00:00.010Z",
                "sourceQueue": "dev-tasks",
            }
        ],
        "cursor": None,
    }


def test_nothing_dead_is_an_empty_list(world: World) -> None:
    planted(world.store, a_task())
    assert world.get()[:2] == (200, {"deadLetters": [], "cursor": None})
    assert world.get(strays="true")[:2] == (200, {"strays": [], "cursor": None})


def test_a_letter_of_older_code_has_its_first_time_from_the_timeline(world: World) -> None:
    timeline = (TimelineEntry(NOW, "SUBMITTED", 1), TimelineEntry(NOW + 5, "PROCESSING", 1))
    world.bury(timeline=timeline)
    key = {"PK": {"S": f"T#{TASK_ID}"}, "SK": {"S": "D#000001"}}
    world.client.update_item(TableName=TABLE, Key=key, UpdateExpression="REMOVE firstAt")
    assert world.get()[1]["deadLetters"][0]["firstAt"] == iso(NOW + 5)


def test_the_newest_task_comes_first_and_every_page_goes_on_where_the_last_one_ended(world: World) -> None:
    for number in range(45):
        world.bury(f"task-{number}", created_at=NOW + number)
    newest_first = [f"task-{number}" for number in range(44, -1, -1)]
    _, body, _ = world.get()
    assert [letter["taskId"] for letter in body["deadLetters"]] == newest_first[:20]
    for limit in ("1", "7", "45", "100"):
        assert world.listed(limit=limit) == newest_first


def test_only_tasks_that_are_dead_now_and_recorded_are_listed(world: World) -> None:
    world.bury("dead")
    planted(world.store, dead(task_id="not-recorded"))
    planted(world.store, a_task(task_id="open"))
    planted(world.store, a_task(task_id="done", status=Status.COMPLETED, index_class=IndexClass.COMPLETED))
    replayed = world.bury("replayed")
    world.store.apply(replay(replayed, NOW, "person"))
    world.rewrite(world.bury("expired"), "expiresAt", NOW // 1000 - 1)
    world.rewrite(world.bury("newer"), "v", VERSION + 1)
    assert world.listed() == ["dead"]


def test_a_task_that_is_replayed_while_it_is_listed_is_left_out(world: World) -> None:
    task = world.bury("replayed")
    world.bury("stays")
    world.client = Between(world.client, "batch_get_item", lambda: world.store.apply(replay(task, NOW, "person")))
    assert world.listed() == ["stays"]


def test_a_task_that_died_again_while_it_is_listed_is_left_out_until_it_is_recorded(world: World) -> None:
    task = world.bury()

    def die_again() -> None:
        row = world.store.apply(replay(task, NOW, "person"))
        assert isinstance(row, Task)
        died = world.store.apply(bury(row, NOW, "Oops: again", "worker"))
        assert isinstance(died, Task)
        world.store.record(_letter_of(died, generation=2), NOW)

    world.client = Between(world.client, "batch_get_item", die_again)
    assert world.listed() == []


def test_of_a_task_that_died_twice_the_letter_of_the_last_death_is_listed(world: World) -> None:
    task = world.bury(error="First: it broke")
    world.store.record(_letter_of(task, generation=2, error="Second: it broke"), NOW)
    planted_again = replace(task, generation=2)
    world.client.delete_item(TableName=TABLE, Key={"PK": {"S": f"T#{TASK_ID}"}, "SK": {"S": "A"}})
    planted(world.store, planted_again)
    (letter,) = world.get()[1]["deadLetters"]
    assert (letter["generation"], letter["errorClass"]) == (2, "Second")
    assert world.listed(error="first") == []


def test_a_letter_of_an_expired_task_of_the_same_id_is_not_taken_for_its_own(world: World) -> None:
    task = planted(world.store, dead(index_class=IndexClass.RECORDED, created_at=NOW + 9, expires_at_seconds=EXPIRES))
    world.store.record(_letter_of(task, recorded_at=NOW + 8), NOW)
    assert world.listed() == []


def _letter_of(task: Task, **changes: Any) -> DeadLetter:
    letter = DeadLetter(task.task_id, 1, task.kind, "Oops: no", 3, 4, "message-1", None, NOW, NOW, EXPIRES, NOW)
    return replace(letter, **changes)


# Filters. -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def three(world: World) -> World:
    world.bury("mail-1", kind="mail", created_at=NOW, updated_at=NOW + 10 * SECOND, error="Smtp: no ROUTE")
    world.bury("mail-2", kind="mail", created_at=NOW + 1, updated_at=NOW + 20 * SECOND, error="ValueError: Überlauf")
    world.bury("pay-1", kind="pay", created_at=NOW + 2, updated_at=NOW + 15 * SECOND, error="Declined: by smtp")
    return world


FILTERS = {
    "a kind": ({"kind": "mail"}, ["mail-2", "mail-1"]),
    "a kind, exactly": ({"kind": "mai"}, []),
    "part of an error's class or text": ({"error": "smtp"}, ["pay-1", "mail-1"]),
    "in upper case": ({"error": "SMTP"}, ["pay-1", "mail-1"]),
    "beyond ASCII": ({"error": "üBER"}, ["mail-2"]),
    "not across class and text": ({"error": "smtp: no"}, []),
    "from": ({"from": iso(NOW + 15 * SECOND)}, ["pay-1", "mail-2"]),
    "from a part of a millisecond later": ({"from": "2027-01-15T08:00:15.0001Z"}, ["mail-2"]),
    "to": ({"to": iso(NOW + 15 * SECOND)}, ["pay-1", "mail-1"]),
    "to a part of a millisecond later": ({"to": "2027-01-15T08:00:15.0009Z"}, ["pay-1", "mail-1"]),
    "to a part of a millisecond before": ({"to": "2027-01-15T08:00:14.9999Z"}, ["mail-1"]),
    "to a time with more digits than a sort key": ({"to": "2300-01-01T00:00:00Z"}, ["pay-1", "mail-2", "mail-1"]),
    "to a millisecond before": ({"to": "2027-01-15T08:00:14.999Z"}, ["mail-1"]),
    "one instant": ({"from": "2027-01-15T09:00:15+01:00", "to": "2027-01-15T07:00:15-01:00"}, ["pay-1"]),
    "small letters": ({"from": "2027-01-15t08:00:16z"}, ["mail-2"]),
    "to before everything": ({"to": "1969-12-31T23:59:59Z"}, []),
    "to the end of time": ({"to": "9999-12-31T23:59:59Z"}, ["pay-1", "mail-2", "mail-1"]),
    "from the end of time": ({"from": "9999-12-31T23:59:59Z"}, []),
    "all together": ({"kind": "mail", "error": "route", "from": iso(NOW), "to": iso(NOW + 10 * SECOND)}, ["mail-1"]),
}


def test_a_filter_leaves_what_it_says(three: World) -> None:
    for query, found in FILTERS.values():
        for limit in (
            "1",
            "100",
        ):
            ids = three.listed(**query, limit=limit)
            assert sorted(ids) == sorted(found), (query, limit)
            assert ids == sorted(ids, key=["pay-1", "mail-2", "mail-1"].index), (query, limit)


def test_a_page_behind_a_sharp_filter_is_short_and_carries_a_cursor(world: World) -> None:
    # As many as make a request stop before the end: the one that is wanted is the oldest.
    for number in range(1100):
        world.bury(f"task-{number}", kind="mail" if number == 0 else "pay", created_at=NOW + number)
    _, body, _ = world.get(kind="mail")
    assert body["deadLetters"] == []
    assert body["cursor"] is not None
    assert world.listed(kind="mail") == ["task-0"]


# Strays. --------------------------------------------------------------------------------------------------------------


def test_strays_are_listed_by_themselves_the_newest_record_first(world: World) -> None:
    world.bury()
    for number in range(30):
        world.stray(number, at=NOW + number)
    _, body, _ = world.get(strays="true", limit="1")
    assert body["strays"] == [
        {
            "messageId": "m-029",
            "reason": "unreadable",
            "body": "{",
            "receives": 2,
            "recordedAt": "2027-01-15T08:00:00.029Z",
            "sourceQueue": "dev-tasks",
        }
    ]
    assert world.listed(strays="true", limit="7") == [f"m-{number:03d}" for number in range(29, -1, -1)]
    assert world.listed(strays="false") == world.listed() == [TASK_ID]
    span = {"from": iso(NOW + 3), "to": iso(NOW + 5)}
    assert world.listed(strays="true", **span) == ["m-005", "m-004", "m-003"]


@pytest.mark.parametrize(("expires_in_seconds", "listed"), [(-1, []), (0, ["m-001"])])
def test_a_stray_past_its_expiry_is_not_listed(expires_in_seconds: int, listed: list[str], world: World) -> None:
    stray = StrayMessage("m-001", "unreadable", "{", 2, None, NOW - 9, NOW // 1000 + expires_in_seconds)
    world.store.record_stray("m-001", stray_fields(stray))
    assert world.listed(strays="true") == listed


def test_a_message_that_the_monitor_found_to_be_a_stray_is_listed(world: World) -> None:
    recorder = Recorder(world.store, RETENTION_SECONDS, Clock(), Tokens())
    monitor = Monitor(world.store, FakeQueue(), recorder, Clock(), Tokens())
    monitor.handle(DeadMessage("0f-1", "☃" * 1000, 1, None))
    (stray,) = world.get(strays="true")[1]["strays"]
    assert (stray["messageId"], stray["body"], stray["sourceQueue"]) == ("0f-1", "☃" * 341, None)


# What is refused. -----------------------------------------------------------------------------------------------------

LIMIT = "limit must be a whole number from 1 to 100."
WHEN = "must be a time with offset, such as 2026-11-24T12:00:00Z"
BAD = {
    "unknown parameter": ({"status": "x"}, "Unknown query parameter: 'status'. Allowed: kind, error, from, to"),
    "two unknown": ({"b": "x", "a": "y"}, "Unknown query parameter: 'a', 'b'."),
    "limit 0": ({"limit": "0"}, LIMIT),
    "limit 101": ({"limit": "101"}, LIMIT),
    "negative limit": ({"limit": "-1"}, LIMIT),
    "limit with a fraction": ({"limit": "1.5"}, LIMIT),
    "empty limit": ({"limit": ""}, LIMIT),
    "limit in other digits": ({"limit": "\u0661"}, LIMIT),
    "limit with a line end": ({"limit": "1\n"}, LIMIT),
    "huge limit": ({"limit": "9" * 5000}, LIMIT),
    "empty kind": ({"kind": ""}, "kind must be a text of 1 to 100 characters."),
    "long kind": ({"kind": "x" * 101}, "kind must be a text of 1 to 100 characters."),
    "empty error": ({"error": ""}, "error must be a text of 1 to 300 characters."),
    "long error": ({"error": "x" * 301}, "error must be a text of 1 to 300 characters."),
    "no time": ({"from": "yesterday"}, f"from {WHEN}"),
    "a time without offset": ({"to": "2026-11-24T12:00:00"}, f"to {WHEN}"),
    "a date": ({"to": "2026-11-24"}, f"to {WHEN}"),
    "a week": ({"from": "2026-W48-2T12:00:00Z"}, f"from {WHEN}"),
    "a plus that was not encoded": ({"from": "2026-11-24T12:00:00 01:00"}, "write + as %2B"),
    "no such day": ({"from": "2026-02-30T12:00:00Z"}, f"from {WHEN}"),
    "no such offset": ({"from": "2026-02-20T12:00:00+99:00"}, f"from {WHEN}"),
    "the first moment of all, and an hour": ({"from": "0001-01-01T00:00:00+01:00"}, None),
    "from after to": ({"from": "2026-11-24T12:00:01Z", "to": "2026-11-24T12:00:00Z"}, "from must not lie after to."),
    "a cursor of somebody else": ({"cursor": "abc"}, "cursor must be one that an answer of this path held"),
    "strays neither true nor false": ({"strays": "1"}, "strays must be true or false."),
    "strays of a kind": ({"strays": "true", "kind": "mail"}, "with strays=true, leave kind and error out"),
    "strays with an error": ({"strays": "true", "error": "x"}, "with strays=true, leave kind and error out"),
}


def test_a_bad_parameter_is_named_with_what_is_allowed(world: World) -> None:
    for query, words in BAD.values():
        status, body, _ = world.get(**query)
        if words is None:
            assert (status, body) == (200, {"deadLetters": [], "cursor": None}), query
        else:
            assert (status, body["error"]["code"]) == (400, "invalid_request"), query
            assert words in body["error"]["message"], query


def test_a_parameter_may_be_given_once(world: World) -> None:
    event = {
        "resource": "/dead-letters",
        "httpMethod": "GET",
        "queryStringParameters": {"limit": "2"},
        "multiValueQueryStringParameters": {"limit": ["1", "2"]},
    }
    status, body, _ = world.answer(event)
    assert (status, body["error"]["message"]) == (400, "limit may be given once.")


@pytest.mark.parametrize(
    ("resource", "method", "allowed"),
    [
        ("/tasks", "PUT", "GET, POST"),
        ("/tasks/{taskId}", "POST", "GET, DELETE"),
        ("/tasks/{taskId}/redrive", "GET", "POST"),
        ("/dead-letters", "POST", "GET"),
        ("/dead-letters", "DELETE", "GET"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(resource: str, method: str, allowed: str, world: World) -> None:
    status, body, headers = world.answer({"resource": resource, "httpMethod": method, "pathParameters": {}})
    assert (status, body["error"]["code"], headers["Allow"]) == (405, "method_not_allowed", allowed)


def test_a_wrong_path_is_told_the_right_ones(world: World) -> None:
    status, body, _ = world.answer({"resource": "/{proxy+}", "httpMethod": "GET", "pathParameters": {"proxy": "x"}})
    assert (status, body["error"]["code"]) == (404, "not_found")
    assert all(path in body["error"]["message"] for path in METHODS)


def test_a_task_is_still_found_by_its_id(world: World) -> None:
    world.bury()
    event = {"resource": "/tasks/{taskId}", "httpMethod": "GET", "pathParameters": {"taskId": TASK_ID}}
    status, body, _ = world.answer(event)
    assert (status, body["taskId"], len(body["deadLetters"])) == (200, TASK_ID, 1)
