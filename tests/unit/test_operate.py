"""What `sweep`, `pause` and `resume` say, and how they wait for the mapping."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from bootstrap import operate, settings
from bootstrap.deploy import Deployment
from bootstrap.errors import BootstrapError
from bootstrap.targets import AWS, EMBEDDED, Place

HEALED: operate.Healed = {"paused": False, "examined": 9, "resent": 3, "unparked": 2, "recorded": 1, "failed": 0}


def response(answer: object, **more: str) -> dict[str, Any]:
    return {"Payload": io.BytesIO(json.dumps(answer).encode()), **more}


def test_the_answer_of_the_function_is_what_it_healed() -> None:
    assert operate.answer_of("dev-sweep-tasks", response(HEALED)) == HEALED


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"errorType": "SettingError", "errorMessage": "X is not set"}, "SettingError: X is not set"),
        ({"errorMessage": "Task timed out after 50.00 seconds"}, "Unhandled: Task timed out after 50.00 seconds"),
        ({"errorType": "Runtime.ExitError"}, "Runtime.ExitError: no message"),
    ],
)
def test_a_function_that_failed_is_named_with_its_reason_and_where_to_look(answer: object, reason: str) -> None:
    with pytest.raises(BootstrapError) as caught:
        operate.answer_of("dev-sweep-tasks", response(answer, FunctionError="Unhandled"))
    assert caught.value.message == f"dev-sweep-tasks failed: {reason}"
    assert "make logs FN=sweep-tasks" in caught.value.hint
    assert "/aws/lambda/dev-sweep-tasks" in caught.value.hint


def test_a_sweep_is_told_in_one_line() -> None:
    assert operate.summary(HEALED) == (
        "Looked at 9: 3 sent again (message lost), 2 sent (parked until now), 1 recorded (dead), 0 not healed."
    )


@pytest.mark.parametrize(
    ("place", "typed"),
    [
        (Place(EMBEDDED, "us-east-1", "http://127.0.0.1:4566"), "make resume"),
        (Place(AWS, "eu-west-1", None), "make resume TARGET=aws"),
    ],
    ids=["local", "aws"],
)
def test_what_to_type_next_is_for_the_place_that_was_paused(place: Place, typed: str) -> None:
    assert operate.command("resume", Deployment(place, settings.read({}))) == typed


@dataclass
class Mappings:
    """A mapping that goes through `states`, one at each look; `asked` is how it was switched, and when."""

    states: Iterator[str]
    looks: int = 0
    asked: list[tuple[bool, int]] = field(default_factory=list)

    def get_event_source_mapping(self, **request: str) -> Mapping[str, str]:
        assert request == {"UUID": "mapping-1"}
        self.looks += 1
        return {"State": next(self.states)}

    def update_event_source_mapping(self, **request: Any) -> None:
        assert request["UUID"] == "mapping-1"
        self.asked.append((request["Enabled"], self.looks))


@pytest.mark.parametrize(
    ("states", "wanted", "before", "asked"),
    [
        (["Enabled", "Disabled"], "Disabled", False, [(False, 1)]),
        (["Enabled", "Disabling", "Disabling", "Disabled"], "Disabled", False, [(False, 1)]),
        (["Enabled", "Enabled", "Disabling", "Disabled"], "Disabled", False, [(False, 1)]),
        (["Creating", "Updating", "Enabled", "Disabled"], "Disabled", False, [(False, 3)]),
        (["Disabling", "Disabled"], "Disabled", True, []),
        (["Disabled", "Enabling", "Enabled"], "Enabled", False, [(True, 1)]),
        (["Disabling", "Disabled", "Enabling", "Enabled"], "Enabled", False, [(True, 2)]),
        (["Enabled"], "Enabled", True, []),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, list) and value and isinstance(value[0], str) else "",
)
def test_a_mapping_is_switched_only_when_it_is_settled_and_waited_for_until_it_is_as_wanted(
    states: list[str], wanted: operate.Settled, before: bool, asked: list[tuple[bool, int]]
) -> None:
    mappings = Mappings(iter(states))
    assert operate.switch(mappings, "mapping-1", wanted, pause_seconds=0) is before
    assert mappings.asked == asked
    assert list(mappings.states) == []


def test_a_mapping_that_never_settles_is_given_up_with_the_state_it_was_last_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(operate, "SETTLE_SECONDS", 0)
    mappings = Mappings(iter(["Enabled", "Updating", "Disabling", "Disabling"]))
    with pytest.raises(BootstrapError, match=r"still \w+ after 0 s"):
        operate.switch(mappings, "mapping-1", "Disabled", pause_seconds=0)


class Shared(Mappings):
    """Of a Lambda that runs another stage as well, whose mapping is going away."""

    def get_paginator(self, operation: str) -> Shared:
        assert operation == "list_event_source_mappings"
        return self

    def paginate(self) -> list[dict[str, Any]]:
        arn = "arn:aws:lambda:us-east-1:000000000000:function:"
        other = {"UUID": "mapping-2", "FunctionArn": f"{arn}test-process-task", "State": "Deleting"}
        ours = {"UUID": "mapping-1", "FunctionArn": f"{arn}dev-process-task", "State": "Enabled"}
        return [{"EventSourceMappings": [other]}, {"EventSourceMappings": [ours]}]


def test_a_deploy_leaves_its_own_mappings_as_they_were_and_looks_at_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    mappings = Shared(iter(["Disabled", "Enabled", "Enabled"]))
    monkeypatch.setattr(Deployment, "client", lambda _, service: {"lambda": mappings}[service])
    monkeypatch.setattr(Deployment, "function_names", lambda _: {"ProcessTask": "dev-process-task"})
    with operate.switches_kept(Deployment(Place(EMBEDDED, "us-east-1", "http://127.0.0.1:4566"), settings.read({}))):
        assert mappings.looks == 0
    assert (mappings.asked, list(mappings.states)) == ([(True, 1)], [])
