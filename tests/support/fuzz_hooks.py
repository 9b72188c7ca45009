"""What schemathesis loads beside its settings: what a schema cannot say of a request, and a tally of the answers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import schemathesis

TALLY = "FUZZ_TALLY"
"""Variable that names the file; a line for each answer: operation and status."""
NOWHERE = "http://127.0.0.1:9/"
"""Where a made-up webhook goes: this machine, a port that nothing listens on."""
LONGEST_URL = 2048


def beyond_the_schema(operation: str, query: Mapping[str, Any], body: Any) -> str | None:
    """Why a request may be refused that fits its schema; None: it may not."""
    if "cursor" in query:
        return "a cursor is one that an answer held"
    if str(query.get("strays")).lower() == "true" and ("kind" in query or "error" in query):
        return "a stray has no kind and no error"
    if {"from", "to"} <= set(query):
        return "from may lie after to"
    if operation == "submitTask" and "runAt" in body:
        return "a time that moves with the clock: at most 365 days ahead"
    if operation == "submitTask" and body.get("kind") == "webhook" and "headers" in body["payload"]:
        return "OpenAPI 3.0 has no names by pattern"
    return None


@schemathesis.check
def a_request_that_fits_is_taken(ctx: Any, response: Any, case: Any) -> None:
    """As positive_data_acceptance, but for what beyond_the_schema says."""
    positive = case.meta is not None and case.meta.generation.mode.is_positive
    if positive and response.status_code in (400, 413):
        why = beyond_the_schema(case.operation.definition.raw["operationId"], case.query or {}, case.body)
        assert why is not None, f"refused, though it fits its schema: {response.text[:500]}"


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """No made-up webhook leaves this machine."""
    body = case.body if isinstance(case.body, dict) else {}
    for submission in body.get("tasks", [body]) if isinstance(body.get("tasks", []), list) else []:
        _kept_here(submission)


def _kept_here(submission: Any) -> None:
    """A good address becomes another good one; a bad one stays as it is, or it would no longer be refused for it."""
    payload: Any = submission.get("payload") if isinstance(submission, dict) else None
    url = payload.get("url") if isinstance(payload, dict) else None
    if isinstance(url, str) and url.lower().startswith("http") and len(url) <= LONGEST_URL:
        payload["url"] = NOWHERE


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    with Path(os.environ[TALLY]).open("a") as tally:
        tally.write(f"{case.operation.definition.raw['operationId']} {response.status_code}\n")
