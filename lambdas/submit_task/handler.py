"""POST /tasks and POST /tasks/batch; and every minute, where a kind has a schedule, what is due by it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from lambdas.common import aws, kinds, telemetry
from lambdas.common.http import Cors, HttpError, Response, body_of, error_response, json_response
from lambdas.common.queue import TaskQueue
from lambdas.common.schedules import minute_of
from lambdas.common.settings import Environment
from lambdas.common.store import TaskStore
from lambdas.common.task import Message
from lambdas.process_task import kinds as kinds_package
from lambdas.submit_task.batch import submit_all
from lambdas.submit_task.request import parse, parse_batch, task_id_in
from lambdas.submit_task.submit import Accepted, Queue, submit
from lambdas.submit_task.ticks import Ticks

BATCH_PATH = "/tasks/batch"
SCHEDULER = "aws.events"

UNKNOWN_OUTCOME = (
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


@cache
def ticks() -> Ticks:
    return Ticks(parts().registry, lambda body: _accept(body, parts().queue), _refused_firing, _broken_firing)


def _refused_firing(task_id: str, error: HttpError) -> None:
    """Nobody reads this answer: without the line a schedule could go wrong for ever unseen."""
    log.error("scheduled task refused", task_id=task_id, code=error.code)


def _broken_firing(task_id: str) -> None:
    log.exception("scheduled task not submitted", task_id=task_id)


def handle(event: Mapping[str, Any], context: Any) -> Any:
    """The answer to a request, or the ids of the tasks that a tick has made."""
    if event.get("source") == SCHEDULER:
        return ticks().tick(minute_of(datetime.fromisoformat(event["time"])))
    return cors().answer(event, _submit(event, context))


def _submit(event: Mapping[str, Any], context: Any) -> Response:
    try:
        body = body_of(event)
        if event.get("resource") == BATCH_PATH:
            return _submit_batch(body, context)
        return _answer(_accept(body, parts().queue))
    except HttpError as error:
        return error_response(_logged(error))


def _submit_batch(body: str, context: Any) -> Response:
    tasks = parse_batch(body)
    unknown, left_ms = HttpError(*UNKNOWN_OUTCOME), context.get_remaining_time_in_millis
    results = submit_all(tasks, _accept_item, parts().queue, left_ms, unknown, _complain)
    log.info("batch submitted", tasks=len(tasks), accepted=sum(result["status"] < 300 for result in results))
    return json_response(200, {"results": results})


def _complain(message: Message, reason: str) -> None:
    log.error("message not sent", task_id=message.task_id, error=reason)


def _accept_item(body: str, queue: Queue) -> Accepted:
    try:
        return _accept(body, queue)
    except HttpError as error:
        raise _logged(error) from None
    except Exception:  # one task's trouble must not keep the messages of the others from being sent
        log.exception("submit outcome unknown", task_id=task_id_in(body))
        raise HttpError(*UNKNOWN_OUTCOME) from None


def _accept(body: str, queue: Queue) -> Accepted:
    """Submit what a body asks for.

    Raises:
        HttpError: it is wrong, its id is taken, or the outcome is unknown.
    """
    p, now = parts(), aws.now_ms()
    submission = parse(body, p.registry, now)
    try:
        max_attempts = p.registry.attempts(submission.kind, p.default_attempts)
        accepted = submit(submission, p.store, queue, max_attempts=max_attempts, now=now, token=aws.new_token())
    except (BotoCoreError, ClientError):
        log.exception("submit outcome unknown", task_id=submission.task_id)
        raise HttpError(*UNKNOWN_OUTCOME) from None
    task_id = accepted.task.task_id
    log.info("submitted", task_id=task_id, outcome=accepted.outcome, kind=accepted.task.kind)
    if accepted.outcome == "conflict":
        raise HttpError(409, "task_id_taken", f"taskId {task_id!r} belongs to a task with another body.")
    return accepted


def _logged(error: HttpError) -> HttpError:
    if error.status < 500 and error.status != 409:  # of those a line tells already
        log.info("submit refused", code=error.code, status=error.status)
    return error


def _answer(accepted: Accepted) -> Response:
    task, new = accepted.task, accepted.outcome == "new"
    message = "Task accepted" if new else "Task already accepted"
    return json_response(202 if new else 200, {"message": message, "taskId": task.task_id, "status": task.status})
