"""DELETE /tasks/{taskId} cancels; POST /tasks/{taskId}/redrive and POST /dead-letters/redrive replay."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
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
from lambdas.steer_tasks.batch import is_generation, replay_all, wishes
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

BATCH_PATH = "/dead-letters/redrive"

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


def handle(event: Mapping[str, Any], context: Any) -> Response:
    return cors().answer(event, _steer(event, context))


def _steer(event: Mapping[str, Any], context: Any) -> Response:
    if event.get("resource") == BATCH_PATH:
        return _redrive_batch(event, context)
    task_id = unquote(event["pathParameters"]["taskId"])
    if event["httpMethod"] == "DELETE":
        return _told(task_id, lambda: _cancel(task_id))
    return _told(task_id, lambda: _redrive(task_id, _generation(body_of(event))))


def _redrive_batch(event: Mapping[str, Any], context: Any) -> Response:
    try:
        asked = wishes(body_of(event))
    except HttpError as error:
        log.info("steering refused", code=error.code, status=error.status)
        return error_response(error)
    results = replay_all(asked, _replay_one, context.get_remaining_time_in_millis)
    log.info("batch replayed", tasks=len(asked), replayed=sum(result["status"] == 202 for result in results))
    return json_response(200, {"results": results})


def _replay_one(task_id: str, generation: int | None) -> tuple[int, dict[str, Any]]:
    try:
        response = _told(task_id, lambda: _redrive(task_id, generation))
    except Exception:  # one task's trouble must not hide what became of the others
        log.exception("steering outcome unknown", task_id=task_id)
        response = error_response(UNKNOWN_OUTCOME)
    return response["statusCode"], json.loads(response["body"])


def _told(task_id: str, act: Callable[[], Response]) -> Response:
    """The answer to a wish for one task, however it ends."""
    try:
        if not TASK_ID.fullmatch(task_id):
            raise _refusal(Answer.NO_SUCH_TASK)
        return act()
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
    if not body:
        return None
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    generation = document.get("generation") if isinstance(document, dict) else None
    fits = is_generation(generation) or document == {}
    if not isinstance(document, dict) or set(document) - {"generation"} or not fits:
        raise HttpError(400, "invalid_request", 'The body must be empty or {"generation": <whole number from 1>}.')
    return generation
