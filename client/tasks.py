"""The task API as a Python object, on requests alone."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import requests

TERMINAL = frozenset({"COMPLETED", "FAILED_FINAL", "CANCELLED"})
RETRIED = frozenset({429, 500, 502, 503, 504})
"""Too busy, or the outcome is unknown. Repeating is safe: the task id makes it the same task, and a replay carries its
generation."""
PAGE_LIMIT = 100
"""Dead letters asked for at a time: the most that the API gives."""


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


class WaitTimeout(Exception):
    """The task had not ended in time. `task` is its last known state."""

    def __init__(self, task: Task, timeout: float) -> None:
        super().__init__(f"task {task.task_id} is {task.status} after {timeout:g} s (attempts: {task.attempts})")
        self.task = task


@dataclass(frozen=True, slots=True)
class Task:
    """A task as the API shows it."""

    task_id: str
    kind: str
    status: str
    generation: int
    attempts: int
    max_attempts: int
    payload: dict[str, Any]
    result: dict[str, Any] | None
    error: str | None
    timeline: tuple[Mapping[str, Any], ...]
    """Each entry: at, status, generation, attempt, and error where there was one."""
    dead_letters: tuple[Mapping[str, Any], ...]
    """One per generation that failed for good: generation, error, attempts, deadAt, recordedAt."""

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL


@dataclass(frozen=True, slots=True)
class Submitted:
    """A task that the API has accepted."""

    client: TaskClient
    task_id: str
    new: bool
    """False when the same task had been accepted before."""

    def get(self) -> Task:
        return self.client.get(self.task_id)

    def wait(self, timeout: float = 60, poll: float = 0.2) -> Task:
        """The task once it has ended, whichever way.

        Raises:
            WaitTimeout: it had not ended after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while not (task := self.get()).ended:
            if time.monotonic() > deadline:
                raise WaitTimeout(task, timeout)
            time.sleep(poll)
        return task


@dataclass(frozen=True, slots=True)
class Steered:
    """A task that was cancelled or replayed."""

    task_id: str
    status: str
    generation: int
    new: bool
    """False when it had been done before: by somebody else, or by a try of this very call whose answer was lost."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A task that is dead at present, and how its last generation died."""

    task_id: str
    kind: str
    generation: int
    attempts: int
    receives: int
    """How often SQS had given the message out when it was recorded."""
    error_class: str
    error: str
    """What it said; its class is not repeated here."""
    created_at: datetime
    first_at: datetime | None
    """When its first attempt began; None when that is not known."""
    dead_at: datetime
    recorded_at: datetime
    source_queue: str | None


class TaskClient:
    """One connection pool to one API. Use it from one thread, or make one per thread."""

    def __init__(self, url: str, key: str, *, timeout: float = 30, tries: int = 5) -> None:
        """`url` is the API URL with or without `/tasks`; `timeout` is in seconds for each try."""
        self.url = url.rstrip("/").removesuffix("/tasks") + "/tasks"
        self._timeout, self._tries = timeout, tries
        self._session = requests.Session()
        self._session.headers["x-api-key"] = key

    def submit(
        self,
        kind: str = "simulated",
        payload: Mapping[str, Any] | None = None,
        *,
        task_id: str | None = None,
        run_at: datetime | None = None,
        delay_seconds: float | None = None,
    ) -> Submitted:
        """Submit a task. It always travels under an id of its own, so that a repeated try makes no second task.

        Raises:
            Rejected, Forbidden, Conflict: the API will not take it.
            Unavailable: no clear answer after all tries.
        """
        task_id = task_id or str(uuid.uuid4())
        body: dict[str, Any] = {"taskId": task_id, "kind": kind, "payload": dict(payload or {})}
        if run_at is not None:
            body["runAt"] = run_at.isoformat()
        if delay_seconds is not None:
            body["delaySeconds"] = delay_seconds
        answer = self._call("POST", self.url, body)
        return Submitted(self, task_id, answer.status_code == 202)

    def get(self, task_id: str) -> Task:
        """The task as it stands.

        Raises:
            NotFound: there is none with this id.
        """
        found = self._call("GET", self._url_of(task_id)).json()
        return Task(
            task_id=found["taskId"],
            kind=found["kind"],
            status=found["status"],
            generation=found["generation"],
            attempts=found["attempts"],
            max_attempts=found["maxAttempts"],
            payload=found["payload"],
            result=found["result"],
            error=found["error"],
            timeline=tuple(found["timeline"]),
            dead_letters=tuple(found["deadLetters"]),
        )

    def cancel(self, task_id: str) -> Steered:
        """End a task that has not ended. A worker that is at it finds its last write refused.

        Raises:
            NotFound: there is none with this id.
            Conflict: it has ended in another way.
            Unavailable: no clear answer after all tries.
        """
        return _steered(self._call("DELETE", self._url_of(task_id)))

    def redrive(self, task_id: str, generation: int | None = None) -> Steered:
        """Replay a dead task: a new generation with all attempts anew.

        `generation` is the one that you saw dead; without it, the one that the task has now. It always travels, so that
        a repeated try replays once.

        Raises:
            NotFound: there is none with this id.
            Conflict: the task is not dead (`code` task_open or task_ended), or its dead letter is not written yet
                (not_recorded_yet).
            Unavailable: no clear answer after all tries.
        """
        seen = self.get(task_id).generation if generation is None else generation
        return _steered(self._call("POST", f"{self._url_of(task_id)}/redrive", {"generation": seen}))

    def dead_letters(
        self,
        kind: str | None = None,
        error: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Iterator[DeadLetter]:
        """The tasks that are dead at present, newest first; each page is asked for when the one before is used up.

        `error` is a part of the error, upper or lower case; `since` and `until` bound the time of death (without an
        offset they are local time).

        Raises:
            Rejected, Forbidden, Unavailable: at the page that could not be read.
        """
        bounds = {"from": since, "to": until}
        instants = {name: instant(at) for name, at in bounds.items() if at is not None}
        asked = {"kind": kind, "error": error, **instants, "limit": str(PAGE_LIMIT)}
        query = {name: value for name, value in asked.items() if value is not None}
        url = f"{self.url.removesuffix('/tasks')}/dead-letters"
        cursor: str | None = ""
        while cursor is not None:
            page = self._call("GET", url, query=query | ({"cursor": cursor} if cursor else {})).json()
            yield from map(_dead_letter, page["deadLetters"])
            cursor = page["cursor"]

    def _url_of(self, task_id: str) -> str:
        return f"{self.url}/{quote(task_id, safe=':')}"

    def _call(
        self,
        method: str,
        url: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> requests.Response:
        failure: Exception | None = None
        for attempt in range(1, self._tries + 1):
            try:
                answer = self._session.request(method, url, json=body, params=query, timeout=self._timeout)
            except requests.RequestException as error:
                failure = error
            else:
                if answer.status_code not in RETRIED:
                    return _checked(answer)
                failure = _error_of(answer)
            if attempt < self._tries:
                time.sleep(random.uniform(0, 0.2 * 2**attempt))
        if isinstance(failure, ApiError):
            raise failure
        raise Unavailable(0, "no_answer", f"{url} did not answer {self._tries} times: {failure}") from failure


def instant(at: datetime) -> str:
    """RFC 3339 in UTC, to the millisecond, as the API writes it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _steered(answer: requests.Response) -> Steered:
    found = answer.json()
    new = not str(found["message"]).startswith("Task already")
    return Steered(found["taskId"], found["status"], found["generation"], new)


def _dead_letter(found: Mapping[str, Any]) -> DeadLetter:
    first_at = found["firstAt"]
    return DeadLetter(
        task_id=found["taskId"],
        kind=found["kind"],
        generation=found["generation"],
        attempts=found["attempts"],
        receives=found["receives"],
        error_class=found["errorClass"],
        error=found["error"],
        created_at=datetime.fromisoformat(found["createdAt"]),
        first_at=datetime.fromisoformat(first_at) if first_at is not None else None,
        dead_at=datetime.fromisoformat(found["deadAt"]),
        recorded_at=datetime.fromisoformat(found["recordedAt"]),
        source_queue=found["sourceQueue"],
    )


def _checked(answer: requests.Response) -> requests.Response:
    if not answer.ok:
        raise _error_of(answer)
    return answer


def _error_of(answer: requests.Response) -> ApiError:
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
