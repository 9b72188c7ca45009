"""TaskDlq: log each dead task, record it, let its message go."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from lambdas.common import aws, telemetry
from lambdas.common.dead_letters import Recorder
from lambdas.common.queue import TaskQueue
from lambdas.common.settings import Environment
from lambdas.common.store import TaskStore
from lambdas.common.telemetry import MetricUnit
from lambdas.monitor_dlq.monitor import DeadMessage, Handled, Monitor

log = telemetry.logger("monitor-dlq")


@dataclass(frozen=True)
class Parts:
    """What a warm function reuses."""

    monitor: Monitor
    metrics: telemetry.Metrics


@cache
def parts() -> Parts:
    env = Environment(os.environ)
    store = TaskStore(aws.dynamodb(), env.text("TABLE_NAME"))
    retention_seconds = env.integer("TASK_RETENTION_DAYS", 15, 3650) * 86_400
    recorder = Recorder(store, retention_seconds, aws.now_ms, aws.new_token)
    queue = TaskQueue(aws.sqs(), env.text("QUEUE_URL"))
    metrics = telemetry.metrics(env.text("STAGE"), env.choice("METRICS", telemetry.ON_OFF))
    return Parts(Monitor(store, queue, recorder, aws.now_ms, aws.new_token), metrics)


def handle(event: Mapping[str, Any], context: object) -> dict[str, list[dict[str, str]]]:
    """A partial batch response: a message that could not be handled stays in the queue."""
    p = parts()
    failed = [record["messageId"] for record in event["Records"] if not _handled(record, p)]
    p.metrics.flush_metrics()
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def _handled(record: Mapping[str, Any], p: Parts) -> bool:
    dead = _dead_message(record)
    try:
        handled = p.monitor.handle(dead)
    except Exception:
        log.exception("dead letter not handled", extra=_named(dead))
        return False
    _report(handled, dead, p.metrics)
    return True


def _dead_message(record: Mapping[str, Any]) -> DeadMessage:
    attributes = record["attributes"]
    return DeadMessage(
        record["messageId"],
        record["body"],
        int(attributes["ApproximateReceiveCount"]),
        attributes.get("DeadLetterQueueSourceArn"),
    )


def _named(dead: DeadMessage) -> dict[str, str]:
    task = {} if dead.task_id is None else {"task_id": dead.task_id}
    return {**task, "message_id": dead.message_id}


def _report(handled: Handled, dead: DeadMessage, metrics: telemetry.Metrics) -> None:
    task = handled.task
    if task is None:
        metrics.add_metric("StrayMessages", MetricUnit.Count, 1)
        log.warning(handled.event, extra=_named(dead))
        return
    log.warning(
        handled.event,
        task_id=task.task_id,
        kind=task.kind,
        status=str(task.status),
        generation=task.generation,
        attempts=task.attempts,
        error=task.error,
        created_at=task.created_at,
        message_id=dead.message_id,
    )
    if handled.event == "task dead":
        metrics.add_metric("DeadLettersRecorded", MetricUnit.Count, 1)
