"""DELETE /tasks/{taskId} and POST /tasks/{taskId}/redrive: events in, responses out."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from lambdas.common.task import VERSION, IndexClass, Message, Status, Task
from lambdas.steer_tasks import handler
from lambdas.steer_tasks.steer import MAX_READS, Steering
from tests.support.dynamodb import FakeDynamoDB, task_store
from tests.support.faults import Between, LostAnswer
from tests.support.queue import FakeQueue
from tests.support.tasks import NOW, TASK_ID, Clock, Tokens, a_task, dead, planted, processing

EXPIRES = NOW // 1000 + 86_400
RECORDED = dead(index_class=IndexClass.RECORDED, expires_at_seconds=EXPIRES, token="monitor")
COMPLETED = a_task(status=Status.COMPLETED, index_class=IndexClass.COMPLETED)


class World:
    """A table and a queue, with the function before them."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.client: Any = FakeDynamoDB()
        self.store = task_store(self.client)
        self.queue = FakeQueue()
        tokens = Tokens()
        patch.setattr(
            handler, "steering", lambda: Steering(task_store(self.client), self.queue, 86_400 * 30, Clock(), tokens)
        )

    def cancel(self, task_id: str = TASK_ID) -> tuple[int, Any]:
        return self._answer({"httpMethod": "DELETE", "pathParameters": {"taskId": task_id}, "body": None})

    def redrive(self, body: str | None = None, task_id: str = TASK_ID, encoded: bool = False) -> tuple[int, Any]:
        event = {"httpMethod": "POST", "pathParameters": {"taskId": task_id}, "body": body, "isBase64Encoded": encoded}
        return self._answer(event)

    def _answer(self, event: dict[str, Any]) -> tuple[int, Any]:
        response = handler.handle(event, None)
        assert response["headers"]["Content-Type"] == "application/json"
        return response["statusCode"], json.loads(response["body"])


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_a_cancelled_task_is_told_and_told_again(world: World) -> None:
    planted(world.store, processing())
    said = {"taskId": TASK_ID, "status": "CANCELLED", "generation": 1}
    assert world.cancel() == (200, {"message": "Task cancelled", **said})
    assert world.cancel() == (200, {"message": "Task already cancelled", **said})


def test_a_replayed_task_is_told_and_told_again(world: World) -> None:
    planted(world.store, RECORDED)
    said = {"taskId": TASK_ID, "status": "SUBMITTED", "generation": 2}
    assert world.redrive('{"generation": 1}') == (202, {"message": "Task replayed", **said})
    assert world.redrive('{"generation": 1}') == (200, {"message": "Task already replayed", **said})
    assert world.queue.sent == [(Message(TASK_ID, 2), 0)]


@pytest.mark.parametrize("body", [None, "", "{}"])
def test_a_replay_needs_no_generation(body: str | None, world: World) -> None:
    planted(world.store, RECORDED)
    assert world.redrive(body)[0] == 202


def test_a_body_may_come_in_base64(world: World) -> None:
    planted(world.store, RECORDED)
    assert world.redrive(base64.b64encode(b'{"generation": 1}').decode(), encoded=True)[0] == 202


BAD_BODIES = [
    "\n",  # not absent, and not JSON
    "{",
    "[]",
    "null",
    "1",
    '"1"',
    '{"generation": null}',
    '{"generation": "1"}',
    '{"generation": 1.0}',
    '{"generation": true}',
    '{"generation": 0}',
    '{"generation": -1}',
    '{"generation": 1000000001}',
    '{"generation": 1, "force": true}',
    '{"force": true}',
    "[" * 100_000,
    "9" * 5_000,
]


def test_a_body_that_is_wrong_replays_nothing_and_is_told_what_is_right(world: World) -> None:
    planted(world.store, RECORDED)
    for body in BAD_BODIES:
        status, document = world.redrive(body)
        assert (status, document["error"]["code"]) == (400, "invalid_request"), body
        assert '{"generation": <whole number from 1>}' in document["error"]["message"], body
        assert (world.store.get(TASK_ID), world.queue.sent) == (RECORDED, []), body


def test_a_body_that_is_no_text_replays_nothing(world: World) -> None:
    planted(world.store, RECORDED)
    status, document = world.redrive("/w==", encoded=True)
    assert (status, document["error"]["code"]) == (400, "invalid_body")
    assert world.store.get(TASK_ID) == RECORDED


@pytest.mark.parametrize(
    ("row", "cancel", "redrive"),
    [
        (None, (404, "no_such_task"), (404, "no_such_task")),
        (a_task(), None, (409, "task_open")),
        (COMPLETED, (409, "task_ended"), (409, "task_ended")),
        (dead(), (409, "task_ended"), (409, "not_recorded_yet")),
        (RECORDED, (409, "task_ended"), None),
        (dead(version=VERSION + 1), (503, "busy"), (503, "busy")),
    ],
    ids=["no task", "open", "completed", "dead", "recorded", "of a newer version"],
)
def test_what_cannot_be_done_is_told_with_its_reason_and_changes_nothing(
    row: Task | None, cancel: tuple[int, str] | None, redrive: tuple[int, str] | None, world: World
) -> None:
    if row is not None:
        planted(world.store, row)
    for call, expected in ((world.cancel, cancel), (world.redrive, redrive)):
        if expected is not None:
            status, document = call()
            assert (status, document["error"]["code"]) == expected
            assert document["error"]["message"]
            assert (world.store.get(TASK_ID), world.queue.sent) == (row, [])


def test_an_id_that_no_task_can_have_is_not_looked_up(world: World) -> None:
    for task_id in (
        "x" * 129,
        "x" * 5_000,
        "a%20b",
        "%ff",
        "%00",
        "☃",
        "a%2Fb",
        "",
    ):

        def never() -> None:
            raise AssertionError("looked up")

        world.client = Between(world.client, "get_item", never)
        assert [world.cancel(task_id)[0], world.redrive(task_id=task_id)[0]] == [404, 404], task_id


def test_an_id_is_read_as_the_url_wrote_it(world: World) -> None:
    planted(world.store, a_task(task_id="a:b"))
    assert world.cancel("a%3Ab")[1]["taskId"] == "a:b"


@pytest.mark.parametrize("row", [a_task(), RECORDED], ids=["cancel", "redrive"])
def test_an_answer_that_is_lost_is_an_unknown_outcome(row: Task, world: World) -> None:
    planted(world.store, row)
    world.client = LostAnswer(world.client, "update_item", repeats=False)
    status, document = world.cancel() if row is not RECORDED else world.redrive('{"generation": 1}')
    assert (status, document["error"]["code"]) == (503, "unknown_outcome")
    again = world.cancel() if row is not RECORDED else world.redrive('{"generation": 1}')
    assert again[0] == 200
    assert again[1]["message"].startswith("Task already")


def test_a_task_that_never_stands_still_is_busy(world: World) -> None:
    task = planted(world.store, a_task())
    rows = iter(range(1, MAX_READS + 1))

    class Restless:
        """Between every read and write somebody else writes."""

        def __init__(self, client: Any) -> None:
            self._client = client

        def __getattr__(self, name: str) -> Any:
            return getattr(self._client, name)

        def update_item(self, **request: Any) -> Any:
            key, token = request["Key"], {":token": {"S": f"other-{next(rows)}"}}
            self._client.update_item(
                TableName=request["TableName"],
                Key=key,
                UpdateExpression="SET #token = :token",
                ExpressionAttributeNames={"#token": "token"},
                ExpressionAttributeValues=token,
            )
            return self._client.update_item(**request)

    world.client = Restless(world.client)
    status, document = world.cancel()
    assert (status, document["error"]["code"]) == (503, "busy")
    row = world.store.get(TASK_ID)
    assert row is not None
    assert row.status is task.status
    assert next(rows, None) is None
