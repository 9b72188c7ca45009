"""The demo's work: takes a while and fails by chance, or exactly as its payload says.

Any payload is welcome. An optional object `simulate` in it takes orders: `failAttempts` (numbers of the attempts that
fail), `permanent` (fail for good), `failGenerations` (numbers of the generations that fail for good: a replay finds the
cause mended), `failureRate`, `workSeconds`, `retryAfterSeconds` (ask for that wait when it fails).
"""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass
from functools import cache
from typing import Any

from lambdas.common.kinds import JsonObject, Work, kind
from lambdas.common.retry import PermanentError, RetryAfter
from lambdas.common.settings import Environment

ORDERS = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "failAttempts": {"type": "array", "items": {"type": "integer", "minimum": 1}},
        "permanent": {"type": "boolean"},
        "failGenerations": {"type": "array", "items": {"type": "integer", "minimum": 1}},
        "failureRate": {"type": "number", "minimum": 0, "maximum": 1},
        "workSeconds": {"type": "number", "minimum": 0, "maximum": 20},
        "retryAfterSeconds": {"type": "number", "minimum": 0, "maximum": 43_200},
    },
}


@dataclass(frozen=True, slots=True)
class Defaults:
    work_seconds: float
    failure_rate: float


@cache
def defaults() -> Defaults:
    env = Environment(os.environ)
    return Defaults(env.number("WORK_SECONDS", 0, 20), env.number("FAILURE_RATE", 0, 1))


class SimulatedFailure(Exception):
    """Chance or the payload decided that this attempt fails."""


@kind("simulated", schema={"type": "object", "properties": {"simulate": ORDERS}})
def run(work: Work) -> JsonObject:
    orders = work.payload.get("simulate", {})
    seconds = orders.get("workSeconds", defaults().work_seconds)
    time.sleep(seconds)
    if orders.get("permanent") or work.generation in orders.get("failGenerations", []):
        raise PermanentError("told to fail for good")
    if _fails(orders, work.attempt):
        if "retryAfterSeconds" in orders:
            raise RetryAfter("told to come back later", orders["retryAfterSeconds"])
        raise SimulatedFailure(f"attempt {work.attempt} failed")
    return {"workSeconds": seconds, "attempt": work.attempt}


def _fails(orders: dict[str, Any], attempt: int) -> bool:
    if "failAttempts" in orders:
        return attempt in orders["failAttempts"]
    rate: float = orders.get("failureRate", defaults().failure_rate)
    return random.random() < rate
