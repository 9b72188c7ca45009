"""POST /dead-letters/redrive, from the event to the answer: each task as by a replay of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from lambdas.common.http import Cors
from lambdas.common.task import VERSION, IndexClass, Message, Status, Task
from lambdas.steer_tasks import handler
from lambdas.steer_tasks.batch import MAX_GENERATION, MAX_TASKS, NEEDED_TO_BEGIN_MS
from lambdas.steer_tasks.steer import Steering
from tests.support.dynamodb import FakeDynamoDB, in_a_state_of_newer_code, task_store
from tests.support.faults import LostAnswer
from tests.support.moves import EXPIRES, to
from tests.support.queue import FakeQueue
from tests.support.slow import Slow
from tests.support.tasks import Clock, Tokens, a_task, dead, planted

DONE, DONE_BEFORE = "Task replayed", "Task already replayed"


@dataclass
class Context:
    """Of an invocation. `left` tells how much time it has, each time it is asked."""

    left: Callable[[], int] = lambda: 29_000

    def get_remaining_time_in_millis(self) -> int:
        return self.left()


@dataclass
class PickyQueue(FakeQueue):
    """Does not take the messages of these tasks."""

    refused: tuple[str, ...] = ()

    def send(self, message: Message, delay_seconds: int = 0) -> None:
        if message.task_id in self.refused:
            raise ReadTimeoutError(endpoint_url="http://sqs")
        super().send(message, delay_seconds)


class World:
    """A table and a queue, with the function before them."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.client: Any = FakeDynamoDB()
        self.store = task_store(self.client)
        self.queue = PickyQueue()
        tokens, clock = Tokens(), Clock()
        patch.setattr(
            handler, "steering", lambda: Steering(task_store(self.client), self.queue, 86_400 * 30, clock, tokens)
        )
        patch.setattr(handler, "cors", lambda: Cors(()))

    def bury(self, *task_ids: str, **changes: Any) -> None:
        for task_id in task_ids:
            row = {"index_class": IndexClass.RECORDED, "expires_at_seconds": EXPIRES, "token": "monitor", **changes}
            planted(self.store, dead(task_id=task_id, **row))

    def post(self, body: str | None, context: Context | None = None) -> tuple[int, Any]:
        event = {"resource": "/dead-letters/redrive", "httpMethod": "POST", "pathParameters": None, "body": body}
        response = handler.handle(event, context or Context())
        assert response["headers"]["Content-Type"] == "application/json"
        return response["statusCode"], json.loads(response["body"])

    def redrive(self, *tasks: Any, context: Context | None = None) -> list[tuple[str | None, int, str]]:
        """Of each result its id, its status, and the message or the code of the error."""
        status, document = self.post(json.dumps({"tasks": tasks}), context)
        assert (status, document.keys()) == (200, {"results"}), document
        results = document["results"]
        assert all(set(one) in ({"taskId", "status", "message"}, {"taskId", "status", "error"}) for one in results)
        return [(one["taskId"], one["status"], one.get("message") or one["error"]["code"]) for one in results]

    def row(self, task_id: str) -> Task:
        row = self.store.get(task_id)
        assert row is not None
        return row

    @property
    def sent(self) -> list[tuple[str, int]]:
        return sorted((message.task_id, message.generation) for message, _ in self.queue.sent)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def wish(task_id: str, generation: int | None = None) -> dict[str, Any]:
    return {"taskId": task_id} if generation is None else {"taskId": task_id, "generation": generation}


def test_a_hundred_tasks_are_replayed_and_told_in_the_order_of_the_request(world: World) -> None:
    ids = [f"task-{number * 37 % 100}" for number in range(100)]
    world.bury(*ids)
    assert world.redrive(*[wish(task_id, 1) for task_id in ids]) == [(task_id, 202, DONE) for task_id in ids]
    assert world.sent == sorted((task_id, 2) for task_id in ids)
    assert {(world.row(one).status, world.row(one).generation) for one in ids} == {(Status.SUBMITTED, 2)}


def test_a_batch_that_is_sent_again_with_generations_replays_nothing_twice(world: World) -> None:
    world.bury("a", "b")
    assert [status for _, status, _ in world.redrive(wish("a", 1), wish("b", 1))] == [202, 202]
    assert world.redrive(wish("a", 1), wish("b", 1)) == [("a", 200, DONE_BEFORE), ("b", 200, DONE_BEFORE)]
    assert world.sent == [("a", 2), ("b", 2)]


def test_each_task_is_told_how_it_stands(world: World) -> None:
    world.bury("recorded", "expired", expires_at_seconds=EXPIRES)
    planted(world.store, a_task(task_id="open"))
    planted(world.store, a_task(task_id="done", status=Status.COMPLETED, index_class=IndexClass.COMPLETED))
    planted(world.store, dead(task_id="dead"))
    world.bury("newer", version=VERSION + 1)
    asked = [wish(one) for one in ("open", "recorded", "nobody", "done", "dead", "newer")]
    assert world.redrive(*asked) == [
        ("open", 409, "task_open"),
        ("recorded", 202, DONE),
        ("nobody", 404, "no_such_task"),
        ("done", 409, "task_ended"),
        ("dead", 409, "not_recorded_yet"),
        ("newer", 503, "busy"),
    ]
    assert world.sent == [("recorded", 2)]


def test_one_task_several_times_is_done_in_turn(world: World) -> None:
    world.bury("a", "b")
    asked = [wish("a", 1), wish("b"), wish("a", 1), wish("a"), wish("a", 2)]
    assert world.redrive(*asked) == [
        ("a", 202, DONE),
        ("b", 202, DONE),
        ("a", 200, DONE_BEFORE),
        ("a", 409, "task_open"),
        ("a", 409, "task_open"),
    ]
    assert world.sent == [("a", 2), ("b", 2)]


@pytest.mark.parametrize(("ids", "side_by_side", "seconds"), [("aaa", 1, 0.2), ("ab", 2, 60)])
def test_wishes_for_one_task_are_carried_out_in_turn_and_others_side_by_side(
    ids: str, side_by_side: int, seconds: float, world: World
) -> None:
    world.bury(*{*ids})
    slow = world.client = Slow(world.client, "update_item", seconds)
    assert world.redrive(*[wish(one, 1) for one in ids])[0] == ("a", 202, DONE)
    assert slow.most == side_by_side


WRONG: list[tuple[Any, str | None]] = [
    (1, None),
    (None, None),
    ("a", None),
    ([], None),
    ({}, None),
    ({"generation": 1}, None),
    ({"taskId": 1}, None),
    ({"taskId": ""}, None),
    ({"taskId": "two words"}, None),
    ({"taskId": "x" * 129}, None),
    ({"taskId": "a", "generation": 0}, "a"),
    ({"taskId": "a", "generation": -1}, "a"),
    ({"taskId": "a", "generation": 1.0}, "a"),
    ({"taskId": "a", "generation": "1"}, "a"),
    ({"taskId": "a", "generation": True}, "a"),
    ({"taskId": "a", "generation": None}, "a"),
    ({"taskId": "a", "generation": MAX_GENERATION + 1}, "a"),
    ({"taskId": "a", "more": 1}, "a"),
]


def test_a_wish_that_is_wrong_is_refused_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong, task_id in WRONG:
        world = World(monkeypatch)
        world.bury("a", "b", "c")
        assert world.redrive(wish("b"), wrong, wish("c")) == [
            ("b", 202, DONE),
            (task_id, 400, "invalid_request"),
            ("c", 202, DONE),
        ], wrong
        assert world.row("a").generation == 1, wrong


BAD_BODIES = {
    "none": None,
    "empty": "",
    "no JSON": "{",
    "not an object": "[]",
    "no tasks": "{}",
    "no task": '{"tasks": []}',
    "too many": json.dumps({"tasks": [wish("a")] * (MAX_TASKS + 1)}),
    "no list": '{"tasks": {"taskId": "a"}}',
    "a single task": '{"taskId": "a"}',
    "something else beside": '{"tasks": [{"taskId": "a"}], "dryRun": true}',
    "too deep": '{"tasks": ' + "[" * 200_000 + "]" * 200_000 + "}",
    "a number of too many digits": '{"tasks": [{"taskId": "a", "generation": ' + "9" * 5_000 + "}]}",
}


def test_a_wrong_batch_is_refused_as_a_whole(world: World) -> None:
    world.bury("a")
    for body in BAD_BODIES.values():
        status, document = world.post(body)
        assert (status, document["error"]["code"]) == (400, "invalid_request"), body
        assert (world.row("a").generation, world.sent) == (1, []), body


def test_a_message_that_is_not_sent_is_an_unknown_outcome_of_its_task_alone_and_a_repeat_is_told(world: World) -> None:
    world.bury("a", "b", "c")
    world.queue.refused = ("b",)
    asked = [wish(one, 1) for one in "abc"]
    assert world.redrive(*asked) == [("a", 202, DONE), ("b", 503, "unknown_outcome"), ("c", 202, DONE)]
    assert world.sent == [("a", 2), ("c", 2)]
    world.queue.refused = ()
    assert world.redrive(*asked) == [(one, 200, DONE_BEFORE) for one in "abc"]
    # Row first, message second: the row is open, and the sweeper answers for its message.
    assert (world.row("b").status, world.row("b").index_class) == (Status.SUBMITTED, IndexClass.OPEN)


def test_a_write_whose_answer_is_lost_is_an_unknown_outcome_of_its_task_alone(world: World) -> None:
    world.bury("a", "b")
    world.client = LostAnswer(world.client, "update_item", repeats=False)
    results = world.redrive(wish("a", 1), wish("b", 1))
    assert sorted(status for _, status, _ in results) == [202, 503]
    assert [status for _, status, _ in world.redrive(wish("a", 1), wish("b", 1))] == [200, 200]


def test_a_task_that_no_rule_foresees_is_an_unknown_outcome_of_its_own(world: World) -> None:
    """During a rolling deploy: a row in a state that only newer code knows."""
    world.bury("a", "b", "c")
    in_a_state_of_newer_code(world.client, "b")
    told = world.redrive(wish("a"), wish("b"), wish("c"))
    assert [(task_id, status) for task_id, status, _ in told] == [("a", 202), ("b", 503), ("c", 202)]


def test_what_there_is_no_time_for_is_not_begun(world: World) -> None:
    world.bury("a", "b")
    late = Context(lambda: NEEDED_TO_BEGIN_MS - 1)
    assert world.redrive(wish("a"), {}, wish("b"), context=late) == [
        ("a", 503, "busy"),
        (None, 400, "invalid_request"),
        ("b", 503, "busy"),
    ]
    assert (world.row("a").generation, world.sent) == (1, [])
    assert world.redrive(wish("a"), context=Context(lambda: NEEDED_TO_BEGIN_MS)) == [("a", 202, DONE)]


def test_a_second_death_is_replayed_by_its_own_generation(world: World) -> None:
    world.bury("a", max_attempts=99)
    world.redrive(wish("a", 1))
    to(world.store, "a", "claim", "die", "mark_recorded")
    assert world.redrive(wish("a", 1), wish("a", 2)) == [("a", 200, DONE_BEFORE), ("a", 202, DONE)]
    assert world.row("a").generation == 3
