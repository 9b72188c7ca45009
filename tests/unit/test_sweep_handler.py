"""What the sweeper's function says of a run: its answer, its log line, its metrics; and what a pause is to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from lambdas.common import telemetry
from lambdas.common.dead_letters import Recorder
from lambdas.common.task import IndexClass, Task
from lambdas.sweep_tasks import handler
from lambdas.sweep_tasks.sweep import Sweeper
from tests.support.dynamodb import FakeDynamoDB, task_store
from tests.support.queue import FakeQueue
from tests.support.tasks import NOW, SECOND, Clock, Tokens, a_task, dead, planted

RESEND_AFTER_MS = 900 * SECOND
DENIED: Any = {"Error": {"Code": "AccessDeniedException", "Message": "not authorized"}}


@dataclass
class Context:
    """The end of an invocation, as Lambda tells it."""

    remaining_ms: int = 50_000

    def get_remaining_time_in_millis(self) -> int:
        return self.remaining_ms


@dataclass
class Mappings:
    """Lambda's event source mappings, of which there is one."""

    state: str | Exception

    def get_event_source_mapping(self, **request: str) -> Mapping[str, str]:
        assert request == {"UUID": "mapping-1"}
        if isinstance(self.state, Exception):
            raise self.state
        return {"State": self.state}


class World:
    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.store = task_store(FakeDynamoDB())
        self.queue = FakeQueue()
        self.mappings = Mappings("Enabled")
        self.clock = Clock(NOW + RESEND_AFTER_MS + 1)
        recorder = Recorder(self.store, 86_400, self.clock, Tokens())
        paused = partial(handler.is_paused, cast(Any, self.mappings), "mapping-1")
        sweeper = Sweeper(
            self.store, self.queue, recorder, paused, RESEND_AFTER_MS, self.clock, handler.complain, handler.tell
        )
        parts = handler.Parts(sweeper, telemetry.metrics("dev"))
        patch.setattr(handler, "parts", lambda: parts)

    def plant(self, *rows: Task) -> None:
        for row in rows:
            planted(self.store, row)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Lines:
    """What the function has written since the last call."""
    monkeypatch.setattr(handler, "log", telemetry.logger("sweep-tasks"))
    for each in handler.log.handlers:
        monkeypatch.setattr(each, "stream", _Standard())
    return lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]


class _Standard:
    """Standard output as it is at the moment: pytest puts another one in its place for each test."""

    def write(self, text: str) -> None:
        print(text, end="")

    def flush(self) -> None:
        pass


ROWS = (
    a_task(task_id="lost"),
    a_task(task_id="parked", index_class=IndexClass.PARKED, next_attempt_at=NOW),
    dead(task_id="dead"),
)
AGE = RESEND_AFTER_MS // 1000
HEALED = {
    "paused": False,
    "examined": 4,
    "resent": 1,
    "unparked": 1,
    "recorded": 1,
    "failed": 0,
    "oldest_dead_seconds": AGE,
}


def test_a_run_answers_logs_and_counts_what_it_healed(world: World, lines: Lines) -> None:
    world.plant(*ROWS)

    assert handler.handle({"source": "aws.events"}, Context()) == HEALED

    *_, said, metrics = lines()
    assert {**HEALED, "trigger": "aws.events", "message": "swept"}.items() <= said.items()
    counted = {name: metrics[name] for name in ("TasksHealed", "OldestDeadUnrecorded", "DeadLettersRecorded", "stage")}
    assert counted == {
        "TasksHealed": [3.0],
        "OldestDeadUnrecorded": [AGE],
        "DeadLettersRecorded": [1.0],
        "stage": "dev",
    }


def test_each_healed_task_is_named_with_what_was_done(world: World, lines: Lines) -> None:
    world.plant(*ROWS)

    handler.handle({}, Context())

    told = {(line["task_id"], line["message"], line["generation"]) for line in lines() if "task_id" in line}
    assert told == {("lost", "task resent", 1), ("parked", "task unparked", 1), ("dead", "task recorded", 1)}


def test_a_run_that_finds_nothing_is_a_heartbeat_all_the_same(world: World, lines: Lines) -> None:
    handler.handle({}, Context())

    said, metrics = lines()
    assert (said["message"], said["trigger"]) == ("swept", "invoked")
    assert (metrics["TasksHealed"], metrics["OldestDeadUnrecorded"]) == ([0.0], [0.0])
    assert "DeadLettersRecorded" not in metrics


def test_the_heartbeat_and_the_healed_are_what_the_alarm_and_its_readers_look_for(world: World, lines: Lines) -> None:
    handler.handle({}, Context())

    [told] = lines()[-1]["_aws"]["CloudWatchMetrics"]
    assert told["Namespace"] == "TaskProcessing"
    assert told["Dimensions"] == [["stage"]]
    assert [metric["Name"] for metric in told["Metrics"]] == ["TasksHealed", "OldestDeadUnrecorded"]


@pytest.mark.parametrize(("state", "resent"), [("Disabled", 0), ("Disabling", 0), ("Enabled", 1), ("Enabling", 1)])
def test_nothing_is_sent_again_while_the_mapping_is_off(state: str, resent: int, world: World) -> None:
    world.plant(*ROWS)
    world.mappings.state = state

    assert handler.handle({}, Context()) == {
        **HEALED,
        "paused": not resent,
        "resent": resent,
    }


@pytest.mark.parametrize(
    "error",
    [ClientError(DENIED, "GetEventSourceMapping"), EndpointConnectionError(endpoint_url="http://lambda")],
    ids=["denied", "unreachable"],
)
def test_a_mapping_that_cannot_be_asked_does_not_stop_the_sweep(error: Exception, world: World, lines: Lines) -> None:
    world.plant(*ROWS)
    world.mappings.state = error

    assert handler.handle({}, Context()) == HEALED

    complaint, *_, said, _ = lines()
    assert (complaint["level"], complaint["message"]) == ("ERROR", "state of the event source mapping unknown")
    assert said["paused"] is False


def test_a_task_that_cannot_be_healed_is_named_and_no_payload_is(world: World, lines: Lines) -> None:
    world.plant(a_task(payload='{"secret": "hunter2"}'))
    world.queue.failure = ConnectionError("no queue")

    assert handler.handle({}, Context())["failed"] == 1

    found = lines()
    assert (found[0]["message"], found[0]["task_id"], found[0]["error"]) == (
        "not healed",
        "task-1",
        "ConnectionError: no queue",
    )
    assert "hunter2" not in json.dumps(found)


@pytest.mark.parametrize(("remaining_ms", "examined"), [(3_000, 0), (3_001, 4)])
def test_the_last_three_seconds_are_kept_for_ending(remaining_ms: int, examined: int, world: World) -> None:
    world.plant(*ROWS)
    assert handler.handle({}, Context(remaining_ms))["examined"] == examined
