"""POST /tasks/batch, from the event to the answer: each task as safe as by a submit of its own."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from lambdas.common import aws
from lambdas.common.http import Cors, HttpError
from lambdas.common.kinds import JsonObject, Registry, Work
from lambdas.common.queue import TaskQueue
from lambdas.common.task import IndexClass, Message, Task
from lambdas.submit_task import handler
from lambdas.submit_task.batch import NEEDED_TO_BEGIN_MS, submit_all
from lambdas.submit_task.handler import Parts
from lambdas.submit_task.request import (
    MAX_BATCH_BYTES,
    MAX_BATCH_TASKS,
    MAX_PAYLOAD_BYTES,
    Posted,
    parse_batch,
    task_id_in,
)
from lambdas.submit_task.submit import Accepted, Queue
from tests.support.batch_sqs import BatchSQS
from tests.support.dynamodb import FakeDynamoDB, in_a_state_of_newer_code, task_store
from tests.support.faults import LostAnswer
from tests.support.slow import Slow
from tests.support.tasks import NOW, SECOND, Clock, Tokens
from tests.support.tasks import a_task as stored

PLENTY_MS = 29_000


@dataclass
class Context:
    """Of an invocation. `left` tells how much time it has, each time it is asked."""

    left: Callable[[], int] = lambda: PLENTY_MS

    def get_remaining_time_in_millis(self) -> int:
        return self.left()


class Throttled:
    """Refuses to put the tasks of these ids, as DynamoDB does when it is asked too much."""

    def __init__(self, client: FakeDynamoDB, *task_ids: str) -> None:
        self._client, self._keys = client, {f"T#{task_id}" for task_id in task_ids}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def put_item(self, **request: Any) -> Any:
        if request["Item"]["PK"]["S"] in self._keys:
            raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow down"}}, "PutItem")
        return self._client.put_item(**request)


def a_registry() -> Registry:
    registry = Registry()

    @registry.kind("simulated", schema={"properties": {"number": {"type": "number"}}})
    def run(work: Work) -> JsonObject | None:
        raise AssertionError("nobody works here")

    return registry


class World:
    """A table and a queue, with the function before them."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.client: Any = FakeDynamoDB()
        self.store = task_store(self.client)
        self.sqs = BatchSQS()
        self.clock = Clock()
        registry = a_registry()
        queue = TaskQueue(cast(Any, self.sqs), "queue")
        patch.setattr(handler, "parts", lambda: Parts(task_store(self.client), queue, registry, 3))
        patch.setattr(handler, "cors", lambda: Cors(()))
        patch.setattr(aws, "now_ms", self.clock)
        patch.setattr(aws, "new_token", Tokens())

    def post(self, body: str, context: Context | None = None, **event: Any) -> tuple[int, Any]:
        request = {"resource": "/tasks/batch", "httpMethod": "POST", "pathParameters": None, "body": body, **event}
        response = handler.handle(request, context or Context())
        assert response["headers"]["Content-Type"] == "application/json"
        return response["statusCode"], json.loads(response["body"])

    def submit(self, *tasks: Any, context: Context | None = None) -> list[dict[str, Any]]:
        status, document = self.post(json.dumps({"tasks": tasks}), context)
        assert status == 200, document
        assert document.keys() == {"results"}
        results: list[dict[str, Any]] = document["results"]
        assert len(results) == len(tasks)
        return results

    def row(self, task_id: str) -> Task | None:
        return self.store.get(task_id)

    @property
    def sent(self) -> list[str]:
        return sorted(task_id for task_id, _, _ in self.sqs.taken)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def a_task_of(task_id: str, number: float = 1, **more: Any) -> dict[str, Any]:
    return {"taskId": task_id, "payload": {"number": number}, **more}


def told(results: list[dict[str, Any]]) -> list[tuple[str | None, int, str]]:
    """Of each result its id, its status, and the message or the code of the error."""
    assert all(set(one) in ({"taskId", "status", "message"}, {"taskId", "status", "error"}) for one in results)
    return [(one["taskId"], one["status"], one.get("message") or one["error"]["code"]) for one in results]


NEW, KNOWN = "Task accepted", "Task already accepted"

# What is accepted. ----------------------------------------------------------------------------------------------------


def test_a_hundred_tasks_are_stored_and_sent_and_told_in_the_order_of_the_request(world: World) -> None:
    ids = [f"task-{number * 37 % 100}" for number in range(100)]
    assert told(world.submit(*map(a_task_of, ids))) == [(task_id, 202, NEW) for task_id in ids]
    assert world.sent == sorted(ids)
    assert sorted(world.sqs.batches) == [10] * 10
    assert all(world.row(task_id) is not None for task_id in ids)


def test_one_task_is_a_batch(world: World) -> None:
    assert told(world.submit(a_task_of("a"))) == [("a", 202, NEW)]
    assert world.sqs.taken == [("a", 1, 0)]


def test_tasks_without_an_id_get_one_each(world: World) -> None:
    results = world.submit({"payload": {}}, {"payload": {}}, {"payload": {}})
    assert [result["status"] for result in results] == [202] * 3
    assert world.sent == sorted(result["taskId"] for result in results)
    assert len(set(world.sent)) == 3


@pytest.mark.parametrize(
    "payload",
    [
        '{ "number" :  1.10 , "big": 123456789012345678901234567890 }',
        '{"text": "\\u00e9 ü \\ud83d\\ude00", "n": 1E2, "list": [ 1,2 , {"a":"]}"} ]}',
        "{}",
        "{\n\t}",
    ],
)
def test_the_payload_is_kept_as_the_text_that_was_sent(payload: str, world: World) -> None:
    body = (
        '{ "tasks" : [ {"taskId": "a", "payload": {}} ,\n {"payload": %s , "taskId": "b"},{"payload": {}}]}' % payload
    )
    assert world.post(body)[0] == 200
    found = world.store.find("b", NOW)
    assert found is not None
    assert found.payload == payload


def test_each_task_waits_as_long_as_it_asks_for_and_one_for_much_later_is_parked(world: World) -> None:
    world.submit(a_task_of("a"), a_task_of("b", delaySeconds=60), a_task_of("c", delaySeconds=3_600))
    assert sorted(world.sqs.taken) == [("a", 1, 0), ("b", 1, 60)]
    row = world.row("c")
    assert row is not None
    assert (row.index_class, row.next_attempt_at) == (IndexClass.PARKED, NOW + 3_600 * SECOND)


def test_a_batch_that_is_sent_again_runs_nothing_twice(world: World) -> None:
    tasks = [a_task_of("a"), a_task_of("b")]
    world.submit(*tasks)
    assert told(world.submit(*tasks)) == [("a", 200, KNOWN), ("b", 200, KNOWN)]
    assert world.sent == ["a", "b"]


def test_a_body_may_come_in_base64(world: World) -> None:
    body = base64.b64encode(json.dumps({"tasks": [a_task_of("a")]}).encode()).decode()
    assert world.post(body, isBase64Encoded=True)[1]["results"][0]["status"] == 202


def test_a_batch_needs_its_path_and_is_no_task_of_its_own(world: World) -> None:
    assert world.post(json.dumps({"tasks": [a_task_of("a")]}), resource="/tasks")[0] == 400
    assert world.row("a") is None


# One id several times. ------------------------------------------------------------------------------------------------


def test_of_one_id_the_first_is_new_the_same_again_is_known_and_another_is_refused(world: World) -> None:
    results = world.submit(a_task_of("a"), a_task_of("b"), a_task_of("a"), a_task_of("a", 2), a_task_of("a"))
    assert told(results) == [
        ("a", 202, NEW),
        ("b", 202, NEW),
        ("a", 200, KNOWN),
        ("a", 409, "task_id_taken"),
        ("a", 200, KNOWN),
    ]
    assert world.sent == ["a", "b"]


def test_of_one_id_the_first_that_can_be_read_is_the_new_one(world: World) -> None:
    results = world.submit({"taskId": "a", "payload": []}, a_task_of("a", 2), a_task_of("a", 1))
    assert told(results) == [("a", 400, "invalid_request"), ("a", 202, NEW), ("a", 409, "task_id_taken")]


@pytest.mark.parametrize("count", [2, 100])
def test_a_whole_batch_of_one_id_is_one_task(count: int, world: World) -> None:
    results = world.submit(*[a_task_of("a", number) for number in range(count)])
    assert [result["status"] for result in results] == [202, *[409] * (count - 1)]
    found = world.store.find("a", NOW)
    assert found is not None
    assert json.loads(found.payload) == {"number": 0}
    assert world.sqs.taken == [("a", 1, 0)]


@pytest.mark.parametrize(("ids", "side_by_side", "seconds"), [("aaa", 1, 0.2), ("ab", 2, 60)])
def test_tasks_of_one_id_are_put_in_turn_and_others_side_by_side(
    ids: str, side_by_side: int, seconds: float, world: World
) -> None:
    slow = world.client = Slow(world.client, "put_item", seconds)
    results = world.submit(*[a_task_of(task_id, number) for number, task_id in enumerate(ids)])
    assert slow.most == side_by_side
    assert results[0]["status"] == 202


def test_a_message_that_two_tasks_of_a_batch_ask_for_is_sent_once(world: World) -> None:
    def accept(text: str, queue: Queue) -> Accepted:
        queue.send(Message("a", 1))
        return Accepted("known", stored(task_id="a"))

    queue = TaskQueue(cast(Any, world.sqs), "queue")
    results = submit_all(
        [Posted("{}", None)] * 2, accept, queue, lambda: PLENTY_MS, HttpError(503, "x", "x"), lambda *_: None
    )
    assert told(results) == [("a", 200, KNOWN)] * 2
    assert world.sqs.taken == [("a", 1, 0)]


def test_a_silent_task_that_comes_twice_is_sent_again_once(world: World) -> None:
    world.submit(a_task_of("a"))
    world.clock.advance(61 * SECOND)
    assert told(world.submit(a_task_of("a"), a_task_of("a"))) == [("a", 200, KNOWN)] * 2
    assert world.sent == ["a", "a"]


# Wrong ones among them. -----------------------------------------------------------------------------------------------

WRONG: list[tuple[Any, tuple[str | None, int]]] = [
    (1, (None, 400)),
    (None, (None, 400)),
    ("text", (None, 400)),
    ([], (None, 400)),
    ({}, (None, 400)),
    ({"taskId": "wrong"}, ("wrong", 400)),
    ({"taskId": "wrong", "payload": []}, ("wrong", 400)),
    ({"taskId": "wrong", "payload": {"number": "no"}}, ("wrong", 400)),
    ({"taskId": "wrong", "payload": {}, "kind": "unknown"}, ("wrong", 400)),
    ({"taskId": "wrong", "payload": {}, "more": 1}, ("wrong", 400)),
    ({"taskId": "wrong", "payload": {}, "delaySeconds": -1}, ("wrong", 400)),
    ({"taskId": "batch", "payload": {}}, ("batch", 400)),
    ({"taskId": "two words", "payload": {}}, (None, 400)),
    ({"taskId": "x" * 129, "payload": {}}, (None, 400)),
    ({"taskId": 7, "payload": {}}, (None, 400)),
    ({"taskId": None, "payload": {}}, (None, 400)),
    ({"taskId": "wrong", "payload": {"text": "x" * MAX_PAYLOAD_BYTES}}, ("wrong", 413)),
    ({"taskId": "wrong", "payload": {"text": "\ud800"}}, ("wrong", 400)),
]


@pytest.mark.parametrize(("wrong", "result"), WRONG, ids=range(len(WRONG)))
def test_a_task_that_is_wrong_is_refused_by_itself(wrong: Any, result: tuple[str | None, int], world: World) -> None:
    first, refused, last = world.submit(a_task_of("a"), wrong, a_task_of("b"))
    assert (first["status"], last["status"]) == (202, 202)
    assert (refused["taskId"], refused["status"]) == result
    assert world.sent == ["a", "b"]
    assert world.row("wrong") is None
    assert world.row("batch") is None


@pytest.mark.parametrize("text", ["NaN", "-Infinity", "1e999", "9" * 5_000])
def test_a_number_that_is_none_spoils_its_own_task_only(text: str, world: World) -> None:
    body = '{"tasks": [{"taskId": "a", "payload": {"x": %s}}, {"taskId": "b", "payload": {}}]}' % text
    status, document = world.post(body)
    assert status == 200
    assert told(document["results"]) == [("a", 400, "invalid_request"), ("b", 202, NEW)]


BAD_BODIES = {
    "empty": "",
    "no JSON": "{",
    "not an object": "[]",
    "no tasks": "{}",
    "none": '{"tasks": []}',
    "too many": json.dumps({"tasks": [a_task_of("a")] * (MAX_BATCH_TASKS + 1)}),
    "no list": '{"tasks": {"a": 1}}',
    "something else beside": '{"tasks": [{"taskId": "a", "payload": {}}], "more": 1}',
    "a single task": '{"taskId": "a", "payload": {}}',
    "too deep": '{"tasks": ' + "[" * 200_000 + "]" * 200_000 + "}",
    "more behind it": '{"tasks": [{"taskId": "a", "payload": {}}]} x',
}


def test_a_wrong_batch_is_refused_as_a_whole(world: World) -> None:
    for body in BAD_BODIES.values():
        status, document = world.post(body)
        assert (status, document["error"]["code"]) == (400, "invalid_request"), body
        assert (world.row("a"), world.sent) == (None, []), body


def test_a_batch_that_is_no_utf_8_is_refused(world: World) -> None:
    status, document = world.post(base64.b64encode(b"\xff").decode(), isBase64Encoded=True)
    assert (status, document["error"]["code"]) == (400, "invalid_body")


def test_a_batch_may_be_so_large_and_no_larger(world: World) -> None:
    tasks = [a_task_of(f"task-{number}") | {"payload": {"text": "x" * 200_000}} for number in range(10)]
    body = json.dumps({"tasks": tasks}).ljust(MAX_BATCH_BYTES)
    assert world.post(body + " ")[0] == 413
    assert world.sent == []
    assert [one["status"] for one in world.post(body)[1]["results"]] == [202] * 10


def test_the_size_of_a_batch_is_counted_in_bytes() -> None:
    with pytest.raises(HttpError) as raised:
        parse_batch('{"tasks": ["%s"]}' % ("ü" * (MAX_BATCH_BYTES // 2)))
    assert raised.value.status == 413


def test_a_batch_is_taken_apart_into_the_very_texts_of_its_tasks() -> None:
    for body, texts in (
        ('{"tasks": [1, "a,]" ,{"b": [ ]} , null]}', ["1", '"a,]"', '{"b": [ ]}', "null"]),
        ('{"tasks":[NaN,-Infinity,1e999]}', ["NaN", "-Infinity", "1e999"]),
        ('{"tasks": [1], "tasks": [ 2 ]}', ["2"]),
        ('\r\n {\t"tasks"\n:\r[\n"\\"]"\t]\n} ', ['"\\"]"']),
        ('{"ta\\u0073ks": [1]}', ["1"]),
    ):
        assert [task.text for task in parse_batch(body)] == texts, body


def test_a_task_goes_by_an_id_that_could_be_one() -> None:
    for text, task_id in (
        ('{"taskId": "a"}', "a"),
        ('{"taskId": "a b"}', None),
        ('{"taskId": 1}', None),
        ("[]", None),
        ("NaN", None),
    ):
        assert task_id_in(text) == task_id, text
        assert parse_batch(f'{{"tasks": [{text}]}}') == [Posted(text, task_id)], text


# Trouble. -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["InternalError", None], ids=["failed", "not mentioned"])
def test_a_message_that_sqs_does_not_take_is_an_unknown_outcome_of_its_task_alone(
    code: str | None, world: World
) -> None:
    world.sqs.refused = {"task-4": code}
    results = told(world.submit(*[a_task_of(f"task-{number}") for number in range(12)]))
    assert results.pop(4) == ("task-4", 503, "unknown_outcome")
    assert {(status, said) for _, status, said in results} == {(202, NEW)}
    assert len(world.sqs.taken) == 11
    # Its row stands; the same again is known, and is sent when nothing was for a minute.
    world.sqs.refused = {}
    assert told(world.submit(a_task_of("task-4"))) == [("task-4", 200, KNOWN)]
    world.clock.advance(61 * SECOND)
    assert told(world.submit(a_task_of("task-4"))) == [("task-4", 200, KNOWN)]
    assert world.sent.count("task-4") == 1


def test_when_a_call_of_sqs_fails_the_tasks_of_the_other_calls_are_accepted(world: World) -> None:
    world.sqs.lost = {"task-0"}
    results = told(world.submit(*[a_task_of(f"task-{number}") for number in range(30)]))
    unknown = [task_id for task_id, status, said in results if (status, said) == (503, "unknown_outcome")]
    assert len(unknown) == 10
    assert "task-0" in unknown
    assert world.sent == sorted(task_id for task_id, status, _ in results if status == 202 and task_id)
    assert len(world.sent) == 20


def test_every_result_of_a_task_whose_message_was_not_sent_says_so(world: World) -> None:
    world.sqs.refused = {"a": "InternalError"}
    results = told(world.submit(a_task_of("a"), a_task_of("a"), a_task_of("a", 2)))
    assert results == [*[("a", 503, "unknown_outcome")] * 2, ("a", 409, "task_id_taken")]


def test_a_put_that_is_throttled_is_an_unknown_outcome_and_sends_nothing_and_a_repeat_heals_it(world: World) -> None:
    table = world.client
    world.client = Throttled(table, "b", "d")
    tasks = [a_task_of(task_id) for task_id in "abcde"]
    said = {
        "a": (202, NEW),
        "b": (503, "unknown_outcome"),
        "c": (202, NEW),
        "d": (503, "unknown_outcome"),
        "e": (202, NEW),
    }
    assert told(world.submit(*tasks)) == [(task_id, *said[task_id]) for task_id in "abcde"]
    assert world.sent == ["a", "c", "e"]
    world.client = table
    again = {task_id: (202, NEW) if task_id in "bd" else (200, KNOWN) for task_id in "abcde"}
    assert told(world.submit(*tasks)) == [(task_id, *again[task_id]) for task_id in "abcde"]
    assert world.sent == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize(
    ("repeats", "first", "messages"), [(True, (202, NEW), 1), (False, (503, "unknown_outcome"), 0)]
)
def test_a_put_whose_answer_is_lost_is_known_again(
    repeats: bool, first: tuple[int, str], messages: int, world: World
) -> None:
    world.client = LostAnswer(world.client, "put_item", repeats=repeats)
    assert told(world.submit(a_task_of("a"))) == [("a", *first)]
    assert len(world.sent) == messages
    world.clock.advance(61 * SECOND)
    assert told(world.submit(a_task_of("a"))) == [("a", 200, KNOWN)]
    assert len(world.sent) == messages + 1


def test_a_row_that_this_code_cannot_read_keeps_no_other_task_from_being_sent(world: World) -> None:
    """During a rolling deploy: a task of this id is there, in a state that only newer code knows."""
    world.submit(a_task_of("b"))
    in_a_state_of_newer_code(world.client, "b")
    results = told(world.submit(a_task_of("a"), a_task_of("b"), a_task_of("c")))
    assert results == [("a", 202, NEW), ("b", 503, "unknown_outcome"), ("c", 202, NEW)]
    assert world.sent == ["a", "b", "c"]


def test_what_there_is_no_time_for_is_not_begun(world: World) -> None:
    results = world.submit(*map(a_task_of, "abc"), context=Context(lambda: NEEDED_TO_BEGIN_MS - 1))
    assert told(results) == [(task_id, 503, "busy") for task_id in "abc"]
    assert [world.row(task_id) for task_id in "abc"] == [None] * 3
    assert world.sqs.batches == []
    assert told(world.submit(a_task_of("a"), context=Context(lambda: NEEDED_TO_BEGIN_MS))) == [("a", 202, NEW)]


def test_when_the_time_runs_out_what_was_stored_is_sent_and_the_rest_is_told(world: World) -> None:
    times = iter([PLENTY_MS] * 3 + [0] * 7)
    tasks = [a_task_of("a", number) for number in range(10)]
    results = world.submit(*tasks, context=Context(lambda: next(times)))
    assert [result["status"] for result in results] == [202, 409, 409, *[503] * 7]
    assert world.sent == ["a"]
