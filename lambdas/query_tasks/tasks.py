"""GET /tasks: tasks as they stand, newest first. The index leads to them, their rows say how they stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lambdas.common.rows import IndexKey
from lambdas.common.task import IndexClass, Status, Task
from lambdas.query_tasks.listing import Index, Listed, Merge, page_of
from lambdas.query_tasks.parameters import MAX_KIND_CHARACTERS, Parameters
from lambdas.query_tasks.view import summary

PARAMETERS = ("status", "kind", "limit", "cursor")
WAITING = (IndexClass.OPEN, IndexClass.PARKED, IndexClass.OPEN)
CLASSES: Mapping[Status, tuple[IndexClass, ...]] = {
    Status.SUBMITTED: WAITING,
    Status.PROCESSING: (IndexClass.OPEN,),
    Status.FAILED_PENDING: WAITING,
    Status.COMPLETED: (IndexClass.COMPLETED,),
    Status.FAILED_FINAL: (IndexClass.DEAD, IndexClass.RECORDED),
    Status.CANCELLED: (IndexClass.CANCELLED,),
}
"""Where the index keeps tasks of each status."""
ENDED = (IndexClass.DEAD, IndexClass.RECORDED, IndexClass.COMPLETED, IndexClass.CANCELLED)
ALL = (IndexClass.OPEN, IndexClass.PARKED, *ENDED, IndexClass.OPEN)
"""In the order in which tasks move, and at last where a parked or replayed task comes back to: one that moves while the
partitions are read is found twice rather than never."""


class Catalog(Index, Protocol):
    def tasks(self, task_ids: Sequence[str]) -> list[Task]: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request, read. `before` is a sort key."""

    status: Status | None = None
    kind: str | None = None
    limit: int = 20
    before: str | None = None


def wanted(event: Mapping[str, Any]) -> Wanted:
    """Read the query parameters.

    Raises:
        HttpError: 400, naming the parameter and what is allowed.
    """
    given = Parameters(event, PARAMETERS)
    status = given.choice("status", tuple(Status))
    return Wanted(
        status=None if status is None else Status(status),
        kind=given.text("kind", MAX_KIND_CHARACTERS),
        limit=given.limit(),
        before=given.cursor(),
    )


def tasks(catalog: Catalog, asked: Wanted, now: int) -> Listed[dict[str, Any]]:
    """Newest first, by the time of creation."""

    def look(keys: Sequence[IndexKey]) -> dict[str, dict[str, Any]]:
        of_kind = [key for key in keys if asked.kind in (None, key.kind)]
        rows = catalog.tasks(list(dict.fromkeys(key.id for key in of_kind)))
        found = {task.task_id: task for task in rows if _fits(task, asked, now)}
        return {task_id: summary(task) for task_id, task in found.items()}

    classes = ALL if asked.status is None else CLASSES[asked.status]
    return page_of(Merge(catalog, classes, asked.limit, asked.before), look, asked.limit)


def _fits(task: Task, asked: Wanted, now: int) -> bool:
    return not task.expired(now) and asked.status in (None, task.status)
