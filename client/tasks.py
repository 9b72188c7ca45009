"""The task API as a Python object, on requests alone."""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any
from urllib.parse import quote

import requests

from client.errors import RETRIED, ApiError, NotFound, Unavailable, WaitTimeout, checked, document_of, error_of
from client.records import (
    Count,
    DeadLetter,
    Result,
    Stats,
    Steered,
    Stray,
    Submission,
    Summary,
    Task,
    dead_letter_in,
    instant,
    result_in,
    stray_in,
    summary_in,
    task_in,
)

PAGE_LIMIT = 100
"""Tasks or dead letters asked for at a time: the most that the API gives."""
BATCH_TASKS = 100
BATCH_BYTES = 2_000_000
"""What one batch may hold: the API takes 100 tasks and 2 MiB."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """A task that the API has accepted."""

    client: TaskClient
    task_id: str
    new: bool
    """False when the same task had been accepted before."""

    def get(self) -> Task:
        return self.client.get(self.task_id)

    def wait(self, timeout: float = 300, poll: float = 0.2) -> Task:
        """The task once it has ended, whichever way. `timeout` and `poll` in seconds; three attempts, the waits between
        them and a line before the task fit into the default.

        Raises:
            WaitTimeout: it had not ended after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while not (task := self.get()).ended:
            if time.monotonic() > deadline:
                raise WaitTimeout(task, timeout)
            time.sleep(poll)
        return task


class TaskClient:
    """One connection pool to one API. Use it from one thread, or make one per thread."""

    def __init__(self, url: str, key: str, *, timeout: float = 30, tries: int = 5) -> None:
        """`url` is the API URL with or without `/tasks`; `timeout` is in seconds for each try."""
        self.base_url = url.rstrip("/").removesuffix("/tasks")
        self.url = self.base_url + "/tasks"
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
        body = _body(Submission(kind, payload or {}, task_id, run_at, delay_seconds))
        answer = self._call("POST", self.url, body)
        return Submitted(self, body["taskId"], answer.status_code == 202)

    def submit_batch(self, submissions: Iterable[Submission]) -> Sequence[Result]:
        """Submit many, up to 100 in a request. What became of each, in their order.

        Each is as safe as a submit of its own: what had no clear answer is sent again under the same id.

        Raises:
            Rejected, Forbidden: the API will not take the batch.
            Unavailable: a batch had no clear answer after all tries; those before it are done. With ids of your own, do
                the same again.
        """
        return self._batches(f"{self.url}/batch", map(_body, submissions))

    def get(self, task_id: str) -> Task:
        """The task as it stands.

        Raises:
            NotFound: there is none with this id.
        """
        return task_in(document_of(self._call("GET", self._url_of(task_id))))

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

    def redrive_batch(self, dead: Iterable[str | tuple[str, int]]) -> Sequence[Result]:
        """Replay many dead tasks, up to 100 in a request. What became of each, in their order.

        Each is an id, or an id and the generation that you saw dead; for an id alone it is looked up, as in `redrive`.

        Raises:
            Rejected, Forbidden: the API will not take the batch.
            Unavailable: a batch had no clear answer after all tries; those before it are done.
        """
        items = (self._seen(one) if isinstance(one, str) else {"taskId": one[0], "generation": one[1]} for one in dead)
        return self._batches(f"{self.base_url}/dead-letters/redrive", items)

    def list(self, status: str | None = None, kind: str | None = None, limit: int | None = None) -> Iterator[Summary]:
        """Tasks as they stand, newest first; each page is asked for when the one before is used up.

        `limit` is the most that are wanted in all; without one they are all listed.

        Raises:
            Rejected, Forbidden, Unavailable: at the page that could not be read.
        """
        size = PAGE_LIMIT if limit is None else max(1, min(limit, PAGE_LIMIT))
        asked = {"status": status, "kind": kind, "limit": str(size)}
        return islice(map(summary_in, self._pages(self.url, asked, "tasks")), limit)

    def stats(self) -> Stats:
        """Counts, queues, and the last hour by the minute; some seconds old at most."""
        found = document_of(self._call("GET", f"{self.base_url}/stats"))
        oldest = found["oldestOpenAt"]
        return Stats(
            counts={name: Count(counted["count"], counted["more"]) for name, counted in found["counts"].items()},
            queue=found["queue"],
            dead_letter_queue=found["deadLetterQueue"],
            oldest_open_at=datetime.fromisoformat(oldest) if oldest is not None else None,
            per_minute=tuple(found["perMinute"]),
            kinds=tuple(found.get("kinds", ())),
            exact=tuple(found["exact"]),
            approximate=tuple(found["approximate"]),
            at=datetime.fromisoformat(found["at"]),
        )

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
        asked = {"kind": kind, "error": error, **_bounds(since, until), "limit": str(PAGE_LIMIT)}
        return map(dead_letter_in, self._pages(f"{self.base_url}/dead-letters", asked, "deadLetters"))

    def strays(self, since: datetime | None = None, until: datetime | None = None) -> Iterator[Stray]:
        """The messages of the dead-letter queue that belong to no task, newest first, recorded between these times.

        Raises:
            Rejected, Forbidden, Unavailable: at the page that could not be read.
        """
        asked = {"strays": "true", **_bounds(since, until), "limit": str(PAGE_LIMIT)}
        return map(stray_in, self._pages(f"{self.base_url}/dead-letters", asked, "strays"))

    def _pages(self, url: str, asked: Mapping[str, str | None], name: str) -> Iterator[Mapping[str, Any]]:
        query = {name: value for name, value in asked.items() if value is not None}
        cursor: str | None = ""
        while cursor is not None:
            page = document_of(self._call("GET", url, query=query | ({"cursor": cursor} if cursor else {})))
            yield from page[name]
            cursor = page["cursor"]

    def _seen(self, task_id: str) -> dict[str, Any]:
        """A replay of the generation that the task has now. The API says itself what is not there."""
        try:
            return {"taskId": task_id, "generation": self.get(task_id).generation}
        except NotFound:
            return {"taskId": task_id}

    def _batches(self, url: str, items: Iterable[Mapping[str, Any]]) -> Sequence[Result]:
        return [result for batch in _batched(items) for result in self._batch(url, batch)]

    def _batch(self, url: str, items: Sequence[Mapping[str, Any]]) -> Iterator[Result]:
        """One batch; of its items those without a clear answer are sent again, as a single one would be."""
        results: dict[int, Result] = {}
        left = [*range(len(items))]
        for attempt in range(1, self._tries + 1):
            found = document_of(self._call("POST", url, {"tasks": [items[number] for number in left]}))["results"]
            results |= {number: result_in(items[number], one) for number, one in zip(left, found, strict=True)}
            left = [number for number in left if results[number].status in RETRIED]
            if not left:
                break
            if attempt < self._tries:
                _back_off(attempt)
        return iter(results.values())

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
                    return checked(answer)
                failure = error_of(answer)
            if attempt < self._tries:
                _back_off(attempt)
        if isinstance(failure, ApiError):
            raise failure
        raise Unavailable(0, "no_answer", f"{url} did not answer {self._tries} times: {failure}") from failure


def _back_off(attempt: int) -> None:
    time.sleep(random.uniform(0, 0.2 * 2**attempt))


def _bounds(since: datetime | None, until: datetime | None) -> dict[str, str]:
    bounds = {"from": since, "to": until}
    return {name: instant(at) for name, at in bounds.items() if at is not None}


def _body(one: Submission) -> dict[str, Any]:
    """Always under an id of its own, so that a repeated try makes no second task."""
    task_id = one.task_id or str(uuid.uuid4())
    body: dict[str, Any] = {"taskId": task_id, "kind": one.kind, "payload": dict(one.payload)}
    if one.run_at is not None:
        body["runAt"] = one.run_at.isoformat()
    if one.delay_seconds is not None:
        body["delaySeconds"] = one.delay_seconds
    return body


def _batched(items: Iterable[Mapping[str, Any]]) -> Iterator[Sequence[Mapping[str, Any]]]:
    batch: list[Mapping[str, Any]] = []
    size = 0
    for item in items:
        own = len(json.dumps(item)) + 2
        if batch and (len(batch) == BATCH_TASKS or size + own > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += own
    if batch:
        yield batch


def _steered(answer: requests.Response) -> Steered:
    found = document_of(answer)
    new = not str(found["message"]).startswith("Task already")
    return Steered(found["taskId"], found["status"], found["generation"], new)
