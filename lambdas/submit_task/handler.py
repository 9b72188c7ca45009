"""POST /tasks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from lambdas.common import aws, kinds, telemetry
from lambdas.common.http import Cors, HttpError, Response, body_of, error_response, json_response
from lambdas.common.queue import TaskQueue
from lambdas.common.settings import Environment
from lambdas.common.store import TaskStore
from lambdas.process_task import kinds as kinds_package
from lambdas.submit_task.request import parse
from lambdas.submit_task.submit import Accepted, submit

UNKNOWN_OUTCOME = HttpError(
    503,
    "unknown_outcome",
    "The task may or may not have been stored. Send it again with the same taskId: it runs once.",
)

log = telemetry.logger("submit-task")


@dataclass(frozen=True)
class Parts:
    """What a warm function reuses."""

    store: TaskStore
    queue: TaskQueue
    registry: kinds.Registry
    default_attempts: int


@cache
def parts() -> Parts:
    env = Environment(os.environ)
    return Parts(
        TaskStore(aws.dynamodb(), env.text("TABLE_NAME")),
        TaskQueue(aws.sqs(), env.text("QUEUE_URL")),
        kinds.load(kinds_package),
        env.integer("MAX_RETRIES", 0, 20) + 1,
    )


@cache
def cors() -> Cors:
    return Cors(Environment(os.environ).words("CORS_ORIGINS"))


def handle(event: Mapping[str, Any], context: object) -> Response:
    return cors().answer(event, _submit(event))


def _submit(event: Mapping[str, Any]) -> Response:
    p, now = parts(), aws.now_ms()
    try:
        submission = parse(body_of(event), p.registry, now)
    except HttpError as error:
        log.info("submit refused", code=error.code, status=error.status)
        return error_response(error)
    try:
        max_attempts = p.registry.attempts(submission.kind, p.default_attempts)
        accepted = submit(submission, p.store, p.queue, max_attempts=max_attempts, now=now, token=aws.new_token())
    except (BotoCoreError, ClientError):
        log.exception("submit outcome unknown", task_id=submission.task_id)
        return error_response(UNKNOWN_OUTCOME)
    log.info("submitted", task_id=accepted.task.task_id, outcome=accepted.outcome, kind=accepted.task.kind)
    return _answer(accepted)


def _answer(accepted: Accepted) -> Response:
    task = accepted.task
    match accepted.outcome:
        case "new":
            return json_response(202, {"message": "Task accepted", "taskId": task.task_id, "status": task.status})
        case "known":
            body = {"message": "Task already accepted", "taskId": task.task_id, "status": task.status}
            return json_response(200, body)
        case "conflict":
            message = f"taskId {task.task_id!r} belongs to a task with another body."
            return error_response(HttpError(409, "task_id_taken", message))
