"""What every contender is given: the same tasks, the same failures, from a seed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

ATTEMPTS = 3
KB = 1000


@dataclass(frozen=True, slots=True)
class Workload:
    """`concurrency` clients submit `tasks`; `payload_bytes` of text each; an attempt fails by `failure_rate`."""

    name: str
    tasks: int
    concurrency: int = 10
    payload_bytes: int = 100
    work_seconds: float = 0
    failure_rate: float = 0

    def payload(self, number: int) -> Mapping[str, Any]:
        """Of a task, by its number: also which of its attempts fail, so that each contender sees the same."""
        simulate = {"workSeconds": self.work_seconds, "failAttempts": self.failing(number)}
        return {"text": "x" * self.payload_bytes, "simulate": simulate}

    def failing(self, number: int) -> list[int]:
        chance = random.Random(f"{self.name} {number}")
        drawn = [chance.random() < self.failure_rate for _ in range(ATTEMPTS)]
        return [attempt for attempt, fails in enumerate(drawn, 1) if fails]


COLD = Workload("first task, cold", 1, concurrency=1)
"""Functions start with it. Celery's processes are there before: for them it is one task like any other."""
WARM_UP = Workload("warm-up", 20)
"""Before each measurement: the local AWS ends workers that were idle for a minute, and others take longer than that."""
NO_OP = Workload("no-op, 1,000", 1000)
WORK = Workload("1 s of work", 60, work_seconds=1)
LONG = Workload("no-op, 10,000", 10_000)
"""Takes minutes: once only, in the first run."""
FULL: Sequence[Workload] = (
    COLD,
    NO_OP,
    Workload("no-op, 100", 100),
    LONG,
    Workload("no-op, 1 client", 200, concurrency=1),
    Workload("no-op, 50 clients", 1000, concurrency=50),
    WORK,
    Workload("30 % of attempts fail", 300, failure_rate=0.3),
    Workload("10 KB", 300, payload_bytes=10 * KB),
    Workload("200 KB", 100, payload_bytes=200 * KB),
)
QUICK: Sequence[Workload] = (
    COLD,
    *(
        replace(workload, tasks=20, concurrency=2)
        for workload in FULL
        if workload.name in (NO_OP.name, WORK.name, "30 % of attempts fail", "200 KB")
    ),
)
"""To show that it runs: no figure of it means anything."""
