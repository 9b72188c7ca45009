"""The partial batch responses that the functions give, held to AWS's form: one local AWS takes wrong ones."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from bootstrap.doctor.parity import BACKENDS, recorded
from lambdas.common import telemetry
from lambdas.common.queue import body_of
from lambdas.common.task import VERSION, Message
from lambdas.monitor_dlq import handler
from lambdas.process_task.attempt import Outcome
from lambdas.process_task.batch import respond
from tests.support.deliveries import a_record, problem
from tests.support.queue import FakeQueue
from tests.support.tasks import dead, planted, processing
from tests.unit.test_monitor import World

SENT = ["message-1", "message-2"]
WRONG: dict[str, Any] = {
    "batch-unknown-id": {"batchItemFailures": [{"itemIdentifier": "message-3"}]},
    "batch-empty-id": {"batchItemFailures": [{"itemIdentifier": ""}]},
    "batch-null-id": {"batchItemFailures": [{"itemIdentifier": None}]},
    "batch-wrong-inner-key": {"batchItemFailures": [{"id": "message-1"}]},
    "batch-null-list": {"batchItemFailures": None},
    "batch-empty-response": {},
    "batch-null-response": None,
    "batch-wrong-top-key": {"failures": [{"itemIdentifier": "message-1"}]},
}
"""Probe of docs/parity.md -> a response of that form."""
MORE_THAT_IS_WRONG = [
    {"batchItemFailures": [{"itemIdentifier": "message-1"}], "more": 1},
    {"batchItemFailures": [{"itemIdentifier": "message-1", "more": 1}]},
    {"batchItemFailures": [{"itemIdentifier": "message-1"}] * 2},
    {"batchItemFailures": ["message-1"]},
    {"batchItemFailures": {"itemIdentifier": "message-1"}},
    [],
]


@pytest.mark.parametrize("response", [*WRONG.values(), *MORE_THAT_IS_WRONG])
def test_a_malformed_response_is_refused(response: object) -> None:
    assert problem(response, SENT) is not None


@pytest.mark.parametrize("named", [[], ["message-2"], ["message-2", "message-1"]])
def test_a_well_formed_response_is_taken(named: list[str]) -> None:
    assert problem({"batchItemFailures": [{"itemIdentifier": one} for one in named]}, SENT) is None


def test_every_form_that_the_doctor_probes_is_refused_and_some_of_them_only_here() -> None:
    page = recorded()
    probed = {name for name in page if name.startswith("batch-")}
    assert probed - {"batch-empty-list", "batch-exception", "batch-window-waits"} == set(WRONG)
    unseen = {backend: {name for name in WRONG if page[name][backend] == "differs"} for backend in BACKENDS}
    assert unseen == {
        "embedded": {"batch-unknown-id", "batch-empty-id", "batch-null-id", "batch-wrong-inner-key", "batch-null-list"},
        "localstack": set(),
    }


@pytest.mark.parametrize("acknowledged", list(itertools.product([True, False], repeat=3)))
def test_the_worker_answers_in_this_form_whatever_becomes_of_its_batch(acknowledged: tuple[bool, ...]) -> None:
    records = [a_record("{}") for _ in acknowledged]
    outcomes = [Outcome("event", "task-1", one, 1) for one in acknowledged]

    response = respond(list(zip(records, outcomes, strict=True)), FakeQueue())

    assert problem(response, [record["messageId"] for record in records]) is None
    assert len(response["batchItemFailures"]) == acknowledged.count(False)


def test_the_monitor_answers_in_this_form_and_names_what_it_could_not_handle(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    planted(world.store, dead())
    planted(world.store, processing(task_id="busy", token="other"))
    monkeypatch.setattr(handler, "parts", lambda: handler.Parts(world.monitor(), telemetry.metrics("dev")))
    records = [
        a_record(body_of(Message("task-1", 1))),
        a_record("no json"),
        a_record(json.dumps({"v": VERSION + 1, "taskId": "task-1", "generation": 1}), "newer"),
        a_record(body_of(Message("busy", 1))),
    ]

    response = handler.handle({"Records": records}, None)

    assert problem(response, [record["messageId"] for record in records]) is None
    assert response == {"batchItemFailures": [{"itemIdentifier": "newer"}]}
