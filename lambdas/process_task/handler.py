"""TaskQueue: work on tasks, report partial failures, back off by visibility time-out."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from botocore.exceptions import BotoCoreError, ClientError

from lambdas.common import aws, kinds, telemetry
from lambdas.common.minute_table import MinuteTable
from lambdas.common.minutes import minute_of
from lambdas.common.queue import TaskQueue
from lambdas.common.retry import Backoff, Jitter
from lambdas.common.settings import Environment
from lambdas.common.store import TaskStore
from lambdas.common.telemetry import MetricUnit
from lambdas.process_task import kinds as kinds_package
from lambdas.process_task.attempt import Outcome, Worker
from lambdas.process_task.batch import BatchResponse, respond, work_through

log = telemetry.logger("process-task")
EXPECTED = ("task completed", "task parked", "acknowledged", "deferred", "not begun")
"""Outcomes that are part of the day's work; the others are warnings."""
ENDS = {"task completed": "completed", "task failed": "failed", "task parked": "failed", "task dead": "dead"}
"""What GET /stats counts by the minute."""
NEEDED_TO_COUNT_MS = 900
"""One hasty write takes at most 0.75 s, and must not cost the batch its answer."""
METRICS = {"task completed": "TasksCompleted", "task failed": "AttemptsFailed", "task dead": "AttemptsFailed"}
"""A task that is dead is counted where its dead letter is written: once, whoever found it dead."""


@dataclass(frozen=True)
class Parts:
    """What a warm function reuses."""

    worker: Worker
    queue: TaskQueue
    threads: int
    metrics: telemetry.Metrics
    minutes: MinuteTable


@cache
def parts() -> Parts:
    env = Environment(os.environ)
    worker = Worker(
        store=TaskStore(aws.dynamodb(), env.text("TABLE_NAME"), f"{env.text('STAGE')}-"),
        registry=kinds.load(kinds_package),
        backoff=Backoff(
            env.number("BACKOFF_BASE_SECONDS", 0, 3600),
            env.number("BACKOFF_CAP_SECONDS", 1, 43_200),
            cast(Jitter, env.choice("BACKOFF_JITTER", ("none", "equal", "full"))),
        ),
        retention_seconds=env.integer("TASK_RETENTION_DAYS", 15, 3650) * 86_400,
        now=aws.now_ms,
        new_token=aws.new_token,
        rng=random.Random(),
        sleep=time.sleep,
    )
    queue = TaskQueue(aws.sqs(), env.text("QUEUE_URL"))
    metrics = telemetry.metrics(env.text("STAGE"), env.choice("METRICS", telemetry.ON_OFF))
    minutes = MinuteTable(aws.hasty_dynamodb(), env.text("TABLE_NAME"))
    return Parts(worker, queue, env.integer("BATCH_THREADS", 1, 1000), metrics, minutes)


def handle(event: Mapping[str, Any], context: Any) -> BatchResponse:
    p = parts()
    deadline = aws.now_ms() + context.get_remaining_time_in_millis()
    outcomes = work_through(event["Records"], p.worker, deadline, p.threads)
    response = respond(outcomes, p.queue)
    _report([outcome for _, outcome in outcomes], p.metrics)
    if context.get_remaining_time_in_millis() >= NEEDED_TO_COUNT_MS:
        _count([outcome for _, outcome in outcomes], p.minutes)
    return response


def _report(outcomes: Sequence[Outcome], metrics: telemetry.Metrics) -> None:
    for outcome in outcomes:
        known = {name: value for name, value in _fields(outcome).items() if value is not None}
        (log.info if outcome.event.startswith(EXPECTED) else log.warning)(outcome.event, extra=known)
        if outcome.event in METRICS:
            metrics.add_metric(METRICS[outcome.event], MetricUnit.Count, 1)
        if outcome.age_ms is not None:
            metrics.add_metric("TaskAge", MetricUnit.Milliseconds, outcome.age_ms)
    if any(outcome.event in METRICS for outcome in outcomes):
        metrics.flush_metrics()


def _count(outcomes: Sequence[Outcome], minutes: MinuteTable) -> None:
    """Best effort: what is not counted is missing from GET /stats, and nothing else."""
    ends = Counter(ENDS[outcome.event] for outcome in outcomes if outcome.event in ENDS)
    ages = [outcome.age_ms for outcome in outcomes if outcome.age_ms is not None]
    minute = minute_of(aws.now_ms(), ends["completed"], ends["failed"], ends["dead"], ages)
    if minute.empty:
        return
    try:
        minutes.add(minute)
    except (BotoCoreError, ClientError) as error:
        log.warning("minute not counted", error=f"{type(error).__name__}: {error}"[:300])


def _fields(outcome: Outcome) -> dict[str, object]:
    return {
        "task_id": outcome.task_id,
        "kind": outcome.kind,
        "attempt": outcome.attempt,
        "error": outcome.error,
        "visibility_seconds": outcome.visibility_seconds,
        "age_ms": outcome.age_ms,
    }
