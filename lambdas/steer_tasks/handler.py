"""DELETE /tasks/{taskId} cancels; POST /tasks/{taskId}/redrive replays."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import unquote

from botocore.exceptions import BotoCoreError, ClientError

from lambdas.common import aws, telemetry
from lambdas.common.decisions import Answer
from lambdas.common.effects import Busy
from lambdas.common.http import Cors, HttpError, Response, body_of, error_response, json_response
from lambdas.common.queue import TaskQueue
from lambdas.common.settings import Environment
from lambdas.common.store import TaskStore
from lambdas.common.task import TASK_ID, UnknownVersion
from lambdas.steer_tasks.steer import Steered, Steering, StillChanging

UNKNOWN_OUTCOME = HttpError(
    503,
    "unknown_outcome",
    "It may or may not have been done. Send it again; a replay with its generation, to be safe.",
)
BUSY = HttpError(503, "busy", "The task is changing too fast, or is of another version. Nothing was done; try again.")
REFUSED = {
    Answer.NO_SUCH_TASK: (404, "There is no task with this id, or it has expired."),
    Answer.OPEN: (409, "The task has not ended; only a task that is FAILED_FINAL can be replayed."),
    Answer.ENDED: (409, "The task has ended in another way."),
    Answer.UNRECORDED: (409, "The task is dead, but its dead letter is not written yet. Try again in a moment."),
}

log = telemetry.logger("steer-tasks")


@cache
def steering() -> Steering:
    env = Environment(os.environ)
    return Steering(
        TaskStore(aws.dynamodb(), env.text("TABLE_NAME")),
        TaskQueue(aws.sqs(), env.text("QUEUE_URL")),
        env.integer("TASK_RETENTION_DAYS", 15, 3650) * 86_400,
        aws.now_ms,
        aws.new_token,
    )


@cache
def cors() -> Cors:
    return Cors(Environment(os.environ).words("CORS_ORIGINS"))


def handle(event: Mapping[str, Any], context: object) -> Response:
    return cors().answer(event, _steer(event))


def _steer(event: Mapping[str, Any]) -> Response:
    task_id = unquote(event["pathParameters"]["taskId"])
    try:
        if not TASK_ID.fullmatch(task_id):
            raise _refusal(Answer.NO_SUCH_TASK)
        return _cancel(task_id) if event["httpMethod"] == "DELETE" else _redrive(task_id, _generation(body_of(event)))
    except HttpError as error:
        log.info("steering refused", task_id=task_id, code=error.code, status=error.status)
        return error_response(error)
    except (Busy, StillChanging, UnknownVersion):
        log.warning("steering not possible at present", task_id=task_id)
        return error_response(BUSY)
    except (BotoCoreError, ClientError):
        log.exception("steering outcome unknown", task_id=task_id)
        return error_response(UNKNOWN_OUTCOME)


def _cancel(task_id: str) -> Response:
    steered = steering().cancel(task_id)
    match steered.answer:
        case Answer.GO:
            return _done("task cancelled", 200, "Task cancelled", steered)
        case Answer.DONE_BEFORE:
            return _done("task cancelled before", 200, "Task already cancelled", steered)
        case answer:
            raise _refusal(answer)


def _redrive(task_id: str, generation: int | None) -> Response:
    steered = steering().replay(task_id, generation)
    match steered.answer:
        case Answer.GO:
            return _done("task replayed", 202, "Task replayed", steered)
        case Answer.DONE_BEFORE:
            return _done("task replayed before", 200, "Task already replayed", steered)
        case answer:
            raise _refusal(answer)


def _done(event: str, status: int, message: str, steered: Steered) -> Response:
    task = steered.task
    if task is None:
        raise AssertionError("a task that was steered has a row")
    log.info(event, task_id=task.task_id, status=str(task.status), generation=task.generation)
    document = {"taskId": task.task_id, "status": str(task.status), "generation": task.generation}
    return json_response(status, {"message": message, **document})


def _refusal(answer: Answer) -> HttpError:
    status, message = REFUSED[answer]
    return HttpError(status, str(answer), message)


def _generation(body: str) -> int | None:
    """The generation that the caller saw dead, from an optional body `{"generation": 1}`.

    Raises:
        HttpError: 400, the body is something else.
    """
    if not body.strip():
        return None
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    generation = document.get("generation") if isinstance(document, dict) else None
    fits = isinstance(generation, int) and not isinstance(generation, bool) and 1 <= generation <= 10**9
    if not isinstance(document, dict) or set(document) - {"generation"} or not (fits or document == {}):
        raise HttpError(400, "invalid_request", 'The body must be empty or {"generation": <whole number from 1>}.')
    return generation
