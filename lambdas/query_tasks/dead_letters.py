"""GET /dead-letters: the tasks that are dead now, with the letter of the generation that died; or the strays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lambdas.common.dead_letters import first_at
from lambdas.common.http import iso
from lambdas.common.rows import DeadLetter, IndexKey, StrayMessage
from lambdas.common.task import IndexClass, Task, class_sort
from lambdas.query_tasks.listing import Index, Listed, Merge, page_of
from lambdas.query_tasks.parameters import MAX_KIND_CHARACTERS, Parameters, bad
from lambdas.query_tasks.view import queue_name

PARAMETERS = ("kind", "error", "from", "to", "limit", "cursor", "strays")
MAX_ERROR_CHARACTERS = 300
CLOCKS_DIFFER_BY_MS = 60_000
"""A task may seem to have died so much earlier than it was created, by the clock of another machine."""


class Catalog(Index, Protocol):
    def tasks(self, task_ids: Sequence[str]) -> list[Task]: ...
    def dead_letters(self, generations: Sequence[tuple[str, int]]) -> list[DeadLetter]: ...
    def strays(self, message_ids: Sequence[str]) -> list[StrayMessage]: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request, read. `since` and `until` are in milliseconds, both included; `before` is a sort key."""

    kind: str | None = None
    error: str | None = None
    since: int | None = None
    until: int | None = None
    limit: int = 20
    before: str | None = None
    strays: bool = False

    def within(self, at: int) -> bool:
        return (self.since is None or at >= self.since) and (self.until is None or at <= self.until)

    def start(self, slack_ms: int = 0) -> str | None:
        """Where the list begins: behind the cursor, and behind what is too new for `until`."""
        if self.until is None:
            return self.before
        newest = _sort_at(self.until + slack_ms + 1)
        return newest if self.before is None else min(newest, self.before)


def wanted(event: Mapping[str, Any]) -> Wanted:
    """Read the query parameters.

    Raises:
        HttpError: 400, naming the parameter and what is allowed.
    """
    given = Parameters(event, PARAMETERS)
    since, until = given.span()
    asked = Wanted(
        kind=given.text("kind", MAX_KIND_CHARACTERS),
        error=given.text("error", MAX_ERROR_CHARACTERS),
        since=since,
        until=until,
        limit=given.limit(),
        before=given.cursor(),
        strays=given.flag("strays"),
    )
    if asked.strays and (asked.kind is not None or asked.error is not None):
        bad("A stray has no kind and no error: with strays=true, leave kind and error out.")
    return asked


def letters(catalog: Catalog, asked: Wanted, now: int) -> Listed[dict[str, Any]]:
    """Newest task first. The index leads to the tasks, their rows say which are dead now, the letters tell why."""

    def look(keys: Sequence[IndexKey]) -> dict[str, dict[str, Any]]:
        ids = [key.id for key in keys if asked.kind in (None, key.kind)]
        dead = {task.task_id: task for task in catalog.tasks(ids) if _dead_now(task, now)}
        found = catalog.dead_letters([(task.task_id, task.generation) for task in dead.values()])
        fitting = (one for one in found if _fits(one, dead[one.task_id], asked))
        return {one.task_id: letter_view(one, dead[one.task_id]) for one in fitting}

    merge = Merge(catalog, [IndexClass.RECORDED], asked.limit, asked.start(CLOCKS_DIFFER_BY_MS))
    return page_of(merge, look, asked.limit)


def strays(catalog: Catalog, asked: Wanted, now: int) -> Listed[dict[str, Any]]:
    """The newest record first."""

    def look(keys: Sequence[IndexKey]) -> dict[str, dict[str, Any]]:
        found = catalog.strays([key.id for key in keys])
        kept = (one for one in found if one.expires_at_seconds >= now // 1000 and asked.within(one.recorded_at))
        return {one.message_id: stray_view(one) for one in kept}

    not_below = "" if asked.since is None else _sort_at(asked.since)
    return page_of(Merge(catalog, [IndexClass.STRAY], asked.limit, asked.start(), not_below), look, asked.limit)


def _sort_at(at: int) -> str:
    """Before every sort key of this millisecond or later. Sort keys have 13 digits, from 1970 to 2286."""
    return class_sort(max(0, min(10**13 - 1, at)), "")


def _dead_now(task: Task, now: int) -> bool:
    return task.index_class is IndexClass.RECORDED and not task.expired(now)


def _fits(letter: DeadLetter, task: Task, asked: Wanted) -> bool:
    if letter.recorded_at < task.created_at:  # of an expired task of the same id
        return False
    said = (letter.error_class.casefold(), letter.error_text.casefold())
    sought = asked.error is None or any(asked.error.casefold() in part for part in said)
    return sought and asked.within(letter.dead_at)


def letter_view(letter: DeadLetter, task: Task) -> dict[str, Any]:
    return {
        "taskId": task.task_id,
        "kind": task.kind,
        "generation": letter.generation,
        "attempts": letter.attempts,
        "receives": letter.receives,
        "errorClass": letter.error_class,
        "error": letter.error_text,
        "createdAt": iso(task.created_at),
        "firstAt": iso(first_at(task) if letter.first_at is None else letter.first_at),
        "deadAt": iso(letter.dead_at),
        "recordedAt": iso(letter.recorded_at),
        "sourceQueue": queue_name(letter.source_queue_arn),
    }


def stray_view(stray: StrayMessage) -> dict[str, Any]:
    return {
        "messageId": stray.message_id,
        "reason": stray.reason,
        "body": stray.body,
        "receives": stray.receives,
        "recordedAt": iso(stray.recorded_at),
        "sourceQueue": queue_name(stray.source_queue_arn),
    }
