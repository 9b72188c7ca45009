"""What an open page of the dashboard costs in a month: the API's own code, over an index whose reads are counted.

How often the page asks is read from its own code, and every question is taken to be answered at once: slower answers
mean fewer questions. Not in it: the functions' time, and their log lines.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from uuid import UUID

from bootstrap.paths import ROOT
from lambdas.common.minutes import HOUR_MS, MINUTE_MS, Minute, added
from lambdas.common.queue import Depth
from lambdas.common.rows import IndexKey, KeyPage
from lambdas.common.task import SHARDS, IndexClass, Status, Task, class_sort
from lambdas.query_tasks.stats import MOST, Sources, stats
from lambdas.query_tasks.tasks import Wanted, tasks
from scripts.cost import capacity
from scripts.cost.bill import MINUTES, Counts

CODE = ROOT / "lambdas" / "query_tasks" / "page" / "main.js"
NOW = 1_800_000_000_000
KIND = "simulated"
ROW_UNITS = 1
"""Of a consistent read of a state row, which is kept near 1 KB."""
QUERY_BYTES = 1024 * 1024
"""Most that one Query reads (Developer Guide, "Paginating table query results")."""
MANY = MOST + MOST // 4
"""Tasks of a class: more than GET /stats counts."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What the table holds while the page is open. It is busy while any task is open, be it parked."""

    name: str
    tasks: Mapping[IndexClass, int]
    minutes: int
    """Of the last hour, in which something ended."""

    @property
    def busy(self) -> bool:
        return bool(self.tasks.keys() & {IndexClass.OPEN, IndexClass.PARKED})


ENDED = (IndexClass.COMPLETED, IndexClass.RECORDED, IndexClass.CANCELLED)
SCENES = (
    Scene("at rest, 1,000 completed tasks", {IndexClass.COMPLETED: 1000}, 0),
    Scene("at rest, over 10,000 completed, dead, cancelled each", dict.fromkeys(ENDED, MANY), 0),
    Scene("busy, 1,000 tasks, 100 of them open", {IndexClass.OPEN: 100, IndexClass.COMPLETED: 900}, 60),
    Scene(
        "busy, over 10,000 in every class",
        dict.fromkeys((IndexClass.OPEN, IndexClass.PARKED, IndexClass.DEAD, *ENDED), MANY),
        60,
    ),
)


@dataclass
class Table:
    """A table of tasks, as the catalog and the minutes see it. Counts the read units of each call."""

    scene: Scene
    units: float = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    """GET /stats reads side by side."""

    @cached_property
    def _keys(self) -> dict[str, list[IndexKey]]:
        """By partition, newest first."""
        return {
            f"{one}#{shard}": [_key(number * SHARDS + shard) for number in range(count // SHARDS)]
            for one, count in self.scene.tasks.items()
            for shard in range(SHARDS)
        }

    def newest(self, partition: str, limit: int, before: str | None) -> KeyPage:
        found = [key for key in self._keys.get(partition, ()) if before is None or key.sort < before]
        self._query(len(found[:limit]) * KEY_BYTES)
        return KeyPage(tuple(found[:limit]), len(found) > limit)

    def tasks(self, task_ids: Sequence[str]) -> list[Task]:
        self.units += ROW_UNITS * len(task_ids)
        return [_task(task_id) for task_id in task_ids]

    def count(self, partition: str, most: int) -> int:
        counted = min(most, len(self._keys.get(partition, ())))
        self._query(counted * KEY_BYTES)
        return counted

    def oldest(self, partition: str) -> IndexKey | None:
        keys = self._keys.get(partition, ())
        self._query(KEY_BYTES if keys else 0)
        return keys[-1] if keys else None

    def since(self, begin: int, now: int) -> list[Minute]:
        """Two queries, one for each of the hours that the last one lies in."""
        for size in (0, self.scene.minutes * MINUTE_BYTES):
            self._query(size)
        return []

    def _query(self, size: int) -> None:
        pages = math.ceil(size / QUERY_BYTES) or 1
        with self._lock:
            self.units += capacity.read_units([size // pages] * pages, consistent=False)


class Queue:
    def depth(self) -> Depth:
        return Depth(0, 0, 0)


def _key(number: int) -> IndexKey:
    task_id = str(UUID(int=number))
    return IndexKey(task_id, class_sort(NOW - number * MINUTE_MS, task_id), KIND)


KEY_BYTES = capacity.item_bytes(
    {
        "PK": {"S": f"T#{_key(1).id}"},
        "SK": {"S": "A"},
        "classShard": {"S": "C#0"},
        "classSort": {"S": _key(1).sort},
        "kind": {"S": KIND},
    }
)
"""Of a task in the index, its id a UUID."""
MINUTE_BYTES = capacity.item_bytes(
    {
        "PK": {"S": f"MINUTES#{NOW - NOW % HOUR_MS:013d}"},
        "SK": {"S": f"{NOW:013d}"},
        "expiresAt": {"N": "1800172800"},
        **{
            name: {"N": f"{count}"}
            for name, count in added(Minute(NOW, 99, 99, 9, dict.fromkeys(range(9, 15), 16))).items()
        },
    }
)
"""Of a minute in which tasks of six sorts of age ended."""


def _task(task_id: str) -> Task:
    return Task(task_id, KIND, Status.COMPLETED, IndexClass.COMPLETED, 1, 1, 3, "", "", NOW, NOW, NOW)


def questions(busy: bool, code: str) -> tuple[float, float]:
    """Lists and stats in an hour. The page looks at its clock once in a turn, so stats wait for the end of one."""
    turn = _milliseconds(code, "BUSY_MS" if busy else "IDLE_MS")
    stats_after = _milliseconds(code, "STATS_BUSY_MS" if busy else "STATS_IDLE_MS")
    return HOUR_MS / turn, HOUR_MS / (math.ceil(stats_after / turn) * turn)


def _milliseconds(code: str, name: str) -> int:
    found = re.search(rf"\b{name} = (\d+)", code)
    assert found, f"{CODE.name} has no {name}"
    return int(found[1])


def list_units(scene: Scene) -> float:
    table = Table(scene)
    tasks(table, Wanted(), NOW)
    return table.units


def stats_units(scene: Scene) -> float:
    table = Table(scene)
    stats(Sources(table, table, Queue(), Queue()), NOW)
    return table.units


def month(scene: Scene, code: str) -> Counts:
    """Of a page that is open, in a tab that is seen, day and night."""
    lists, numbers = (MINUTES / 60 * count for count in questions(scene.busy, code))
    return Counts(
        {
            "rest_requests": lists + numbers,
            "invocations": lists + numbers,
            "read_units": lists * list_units(scene) + numbers * stats_units(scene),
            "queue_requests": numbers * 2,
        }
    )


def months() -> Iterator[tuple[str, Counts]]:
    code = CODE.read_text()
    for scene in SCENES:
        yield scene.name, month(scene, code)
