"""Every minute: sweep, and say what was healed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from lambdas.common import aws, telemetry
from lambdas.common.dead_letters import Recorder
from lambdas.common.queue import TaskQueue
from lambdas.common.settings import Environment
from lambdas.common.store import TaskStore
from lambdas.common.task import Task
from lambdas.common.telemetry import MetricUnit
from lambdas.sweep_tasks.sweep import Sweeper

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

log = telemetry.logger("sweep-tasks")
KEPT_FOR_ENDING_MS = 3_000


@dataclass(frozen=True)
class Parts:
    """What a warm function reuses."""

    sweeper: Sweeper
    metrics: telemetry.Metrics


@cache
def parts() -> Parts:
    env = Environment(os.environ)
    store = TaskStore(aws.dynamodb(), env.text("TABLE_NAME"))
    queue = TaskQueue(aws.sqs(), env.text("QUEUE_URL"))
    retention = env.integer("TASK_RETENTION_DAYS", 15, 3650) * 86_400
    recorder = Recorder(store, retention, aws.now_ms, aws.new_token)
    resend_after_ms = env.integer("RESEND_AFTER_SECONDS", 1, 43_200) * 1000
    paused = partial(is_paused, aws.event_source_mappings(), env.text("MAPPING_ID"))
    sweeper = Sweeper(store, queue, recorder, paused, resend_after_ms, aws.now_ms, complain, tell)
    return Parts(sweeper, telemetry.metrics(env.text("STAGE"), env.choice("METRICS", telemetry.ON_OFF)))


def is_paused(client: LambdaClient, mapping_id: str) -> bool:
    """Whether the mapping that feeds ProcessTask is switched off. When nobody can tell, it is not."""
    try:
        state = client.get_event_source_mapping(UUID=mapping_id)["State"]
    except (BotoCoreError, ClientError):
        log.exception("state of the event source mapping unknown")
        return False
    return state in ("Disabled", "Disabling")


def complain(task: Task, error: Exception) -> None:
    log.error("not healed", task_id=task.task_id, error=f"{type(error).__name__}: {error}")


def tell(event: str, task: Task) -> None:
    log.info(event, task_id=task.task_id, generation=task.generation)


def handle(event: Mapping[str, Any], context: Any) -> dict[str, int]:
    p = parts()
    healed = p.sweeper.sweep(lambda: context.get_remaining_time_in_millis() > KEPT_FOR_ENDING_MS)
    log.info("swept", trigger=event.get("source", "invoked"), **asdict(healed))
    p.metrics.add_metric("TasksHealed", MetricUnit.Count, healed.resent + healed.unparked + healed.recorded)
    p.metrics.add_metric("OldestDeadUnrecorded", MetricUnit.Seconds, healed.oldest_dead_seconds)
    if healed.recorded:
        p.metrics.add_metric("DeadLettersRecorded", MetricUnit.Count, healed.recorded)
    p.metrics.flush_metrics()
    return asdict(healed)
