"""Whatever reads: tasks, dead letters, stats; and the answers to paths and methods that do not exist."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any
from urllib.parse import unquote

from botocore.exceptions import BotoCoreError, ClientError

from lambdas.common import aws, telemetry
from lambdas.common.catalog import Catalog
from lambdas.common.http import Cors, HttpError, Response, error_response, json_response
from lambdas.common.minute_table import MinuteTable
from lambdas.common.queue import TaskQueue
from lambdas.common.settings import Environment
from lambdas.common.store import TaskStore
from lambdas.query_tasks import dead_letters, kinds, openapi, tasks
from lambdas.query_tasks.listing import to_cursor
from lambdas.query_tasks.page import page
from lambdas.query_tasks.stats import Cached, Sources, stats
from lambdas.query_tasks.view import task_view

log = telemetry.logger("query-tasks")
METHODS = {
    "/": "GET",
    "/tasks": "GET, POST",
    "/tasks/batch": "POST",
    "/tasks/{taskId}": "GET, DELETE",
    "/tasks/{taskId}/redrive": "POST",
    "/dead-letters": "GET",
    "/dead-letters/redrive": "POST",
    "/stats": "GET",
    "/openapi.json": "GET",
}
"""What each path serves; all else on it is answered with 405, but for OPTIONS of a page that CORS_ORIGINS lists."""


@dataclass(frozen=True)
class Parts:
    """What a warm function reuses."""

    store: TaskStore
    catalog: Catalog
    stats: Cached


@cache
def parts() -> Parts:
    env, client, sqs = Environment(os.environ), aws.dynamodb(), aws.sqs()
    table = env.text("TABLE_NAME")
    catalog, minutes = Catalog(client, table), MinuteTable(client, table)
    queue, dlq = TaskQueue(sqs, env.text("QUEUE_URL")), TaskQueue(sqs, env.text("DLQ_URL"))
    sources = Sources(catalog, minutes, queue, dlq, kinds.names())
    return Parts(TaskStore(client, table), catalog, Cached(partial(stats, sources)))


@cache
def cors() -> Cors:
    return Cors(Environment(os.environ).words("CORS_ORIGINS"))


def handle(event: Mapping[str, Any], context: object) -> Response:
    return cors().answer(event, _query(event))


def _query(event: Mapping[str, Any]) -> Response:
    try:
        return _route(event)
    except HttpError as error:
        log.info("query refused", code=error.code, status=error.status)
        return error_response(error)
    except (BotoCoreError, ClientError):
        log.exception("query failed")
        return error_response(HttpError(503, "unavailable", "The task table or a queue did not answer. Try again."))


def _route(event: Mapping[str, Any]) -> Response:
    resource, method = event["resource"], event["httpMethod"]
    if resource not in METHODS:
        raise HttpError(404, "not_found", f"No such path. There are {', '.join(METHODS)}.")
    match method, resource:
        case "GET", "/":
            return page().answer(event)
        case "GET", "/tasks":
            return _tasks(event)
        case "GET", "/tasks/{taskId}":
            return _get(unquote(event["pathParameters"]["taskId"]))
        case "GET", "/dead-letters":
            return _dead_letters(event)
        case "GET", "/stats":
            return json_response(200, parts().stats.at(aws.now_ms()))
        case "GET", "/openapi.json":
            return openapi.answer()
    allowed = METHODS[resource]
    if method == "OPTIONS" and (preflight := cors().preflight(event, allowed)) is not None:
        return preflight
    raise HttpError(405, "method_not_allowed", f"{resource} takes {allowed}, not {method[:20]}.", allowed)


def _get(task_id: str) -> Response:
    found = parts().store.find(task_id, aws.now_ms()) if 0 < len(task_id.encode(errors="replace")) <= 128 else None
    if found is None:
        raise HttpError(404, "no_such_task", "There is no task with this id, or it has expired.")
    document, raw = task_view(found)
    log.info("task read", task_id=task_id, status=str(found.task.status))
    return json_response(200, document, raw)


def _tasks(event: Mapping[str, Any]) -> Response:
    listed = tasks.tasks(parts().catalog, tasks.wanted(event), aws.now_ms())
    log.info("tasks listed", found=len(listed.items), more=listed.cursor is not None)
    return json_response(200, {"tasks": list(listed.items), "cursor": to_cursor(listed.cursor)})


def _dead_letters(event: Mapping[str, Any]) -> Response:
    asked = dead_letters.wanted(event)
    name, listing = ("strays", dead_letters.strays) if asked.strays else ("deadLetters", dead_letters.letters)
    listed = listing(parts().catalog, asked, aws.now_ms())
    log.info("dead letters listed", found=len(listed.items), strays=asked.strays, more=listed.cursor is not None)
    return json_response(200, {name: list(listed.items), "cursor": to_cursor(listed.cursor)})
