"""Deliver a JSON document to a URL: `webhook`.

The receiver gets `Idempotency-Key` (the task's id: the same for every attempt and replay, so that it can tell a
repetition), `X-Task-Attempt`, and what the payload says. Any 2xx is success; Retry-After is heeded; what a receiver
will never take ends the task. It goes to public addresses only, and to WEBHOOK_NETWORKS; no redirect is followed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from lambdas.common.kinds import JsonObject, Work, kind
from lambdas.common.settings import Environment, SettingError

if TYPE_CHECKING:
    from lambdas.process_task.outbound import Request, Way

DEFAULT_TIMEOUT_SECONDS, MAX_TIMEOUT_SECONDS = 10, 20
KEPT_SECONDS = 0.25
"""Of the attempt's time, to tell what happened before the attempt is given up from outside."""
USER_AGENT = "task-processing-webhook/1"
OURS = (
    "accept-encoding|connection|content-length|expect|host|idempotency-key|keep-alive|proxy-[^:]*|te|trailer"
    "|transfer-encoding|upgrade|user-agent|x-task-attempt"
)
"""Names of headers that the payload may not give: they are set here, or steer the connection itself."""
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["url"],
    "properties": {
        "url": {
            "type": "string",
            "maxLength": 2048,
            "pattern": r"^https?://(?![^/?#]*[@\\])[!-~]+$",
        },
        "method": {"enum": ["POST", "PUT", "PATCH"]},
        "headers": {
            "type": "object",
            "maxProperties": 20,
            "additionalProperties": False,
            "patternProperties": {
                rf"^(?!(?i:{OURS})$)[A-Za-z0-9!#$%&'*+.^_`|~-]{{1,64}}\Z": {
                    "type": "string",
                    "maxLength": 1024,
                    "pattern": r"^([!-~]([ -~]*[!-~])?)?$",
                }
            },
        },
        "body": {},
        "timeoutSeconds": {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_TIMEOUT_SECONDS},
    },
}


@kind("webhook", schema=SCHEMA)
def run(work: Work) -> JsonObject:
    return deliver(work, way(), time.monotonic, time.time)


@cache
def way() -> Way:
    import ssl

    # Imported here: SubmitTask loads the kinds too, sends nothing, and its package does not hold these.
    from lambdas.process_task.destinations import Rules, networks_of, runtime_of
    from lambdas.process_task.outbound import Way, system_resolve

    words = Environment(os.environ).words("WEBHOOK_NETWORKS")
    try:
        networks = networks_of(words)
    except ValueError as error:
        raise SettingError(f"WEBHOOK_NETWORKS is {','.join(words)!r}: {error}") from error
    runtime = runtime_of(os.environ.get("AWS_LAMBDA_RUNTIME_API", ""))
    return Way(Rules(networks, runtime), system_resolve, ssl.create_default_context())


def deliver(work: Work, way: Way, clock: Callable[[], float], now: Callable[[], float]) -> JsonObject:
    """One attempt. `clock` measures time, `now` is the time of day in seconds (a Retry-After may be a date)."""
    from lambdas.process_task.answers import verdict
    from lambdas.process_task.outbound import send

    ends_at = clock() + work.payload.get("timeoutSeconds", DEFAULT_TIMEOUT_SECONDS)
    request = request_of(work)
    answer = send(request, lambda: min(ends_at - clock(), work.remaining_seconds() - KEPT_SECONDS), way)
    return verdict(answer, request.url, now())


def request_of(work: Work) -> Request:
    from lambdas.process_task.destinations import parse_url
    from lambdas.process_task.outbound import Request

    payload = work.payload
    body = json.dumps(payload["body"]).encode() if "body" in payload else None
    headers = {
        **({"Content-Type": "application/json"} if body is not None else {}),
        # A name that is given in other letters is the same name.
        **{name.title(): value for name, value in payload.get("headers", {}).items()},
        "User-Agent": USER_AGENT,
        "Idempotency-Key": work.task_id,
        "X-Task-Attempt": str(work.attempt),
    }
    return Request(payload.get("method", "POST"), parse_url(payload["url"]), headers, body)
