"""For tests of kinds of task: an attempt as the function of a kind sees it, and what its schema says of a payload."""

from __future__ import annotations

from lambdas.common import kinds
from lambdas.common.kinds import JsonObject, Work
from lambdas.process_task import kinds as package


def work(payload: JsonObject, attempt: int = 1, remaining_seconds: float = 20) -> Work:
    return Work("task-1", payload, attempt, 1, lambda: remaining_seconds)


def payload_error(kind: str, payload: JsonObject) -> str | None:
    """What the API would answer to a submit with this payload; None: it would take it."""
    found = kinds.load(package).get(kind)
    assert found is not None, f"there is no kind {kind}"
    return found.payload_error(payload)
