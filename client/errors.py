"""What goes wrong with a request to the task API, and how an answer tells."""

from __future__ import annotations

from typing import Any

import requests

from client.records import Task

RETRIED = frozenset({429, 500, 502, 503, 504})
"""Too busy, or the outcome is unknown. Repeating is safe: the task id makes it the same task, and a replay carries its
generation."""


class ApiError(Exception):
    """The API answered with an error. `status` is the HTTP status, `code` the API's own."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code, self.message = status, code, message


class Rejected(ApiError):
    """400, 405 or 413: the request is wrong; the message names the field."""


class Forbidden(ApiError):
    """403: the API key is missing or wrong."""


class NotFound(ApiError):
    """404: no such task, or no such path."""


class Conflict(ApiError):
    """409: the task id belongs to a task with another body, or the task is in no state for this; `code` says which."""


class Unavailable(ApiError):
    """429 or 5xx after every retry: whether it was done is unknown; do the same again (submit with the same id)."""


class NoApi(ApiError):
    """What answered is not the task API; the URL is another's."""


class WaitTimeout(Exception):
    """The task had not ended in time. `task` is its last known state."""

    def __init__(self, task: Task, timeout: float) -> None:
        super().__init__(f"task {task.task_id} is {task.status} after {timeout:g} s (attempts: {task.attempts})")
        self.task = task


def document_of(answer: requests.Response) -> dict[str, Any]:
    try:
        document = answer.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise NoApi(answer.status_code, "no_api", f"What answers at {answer.url} is not the task API's.")
    return document


def checked(answer: requests.Response) -> requests.Response:
    if not answer.ok:
        raise error_of(answer)
    return answer


def error_of(answer: requests.Response) -> ApiError:
    """The error in the API's own form, or in API Gateway's (`{"message": …}`), or whatever text came."""
    try:
        document = answer.json()
    except ValueError:
        document = {}
    error = document.get("error") if isinstance(document, dict) else None
    if isinstance(error, dict):
        code, message = str(error.get("code")), str(error.get("message"))
    else:
        said = document.get("message") if isinstance(document, dict) else None
        code, message = "http_error", str(said or answer.text[:200])
    kinds = {403: Forbidden, 404: NotFound, 409: Conflict}
    kind = Unavailable if answer.status_code in RETRIED else kinds.get(answer.status_code, Rejected)
    return kind(answer.status_code, code, message)
