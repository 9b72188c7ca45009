"""A table of very many rows, and a count of what is read from it."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from lambdas.common.rows import row_of
from lambdas.common.task import IndexClass, Status, Task
from scripts.cost.capacity import item_bytes, query_units, read_units
from tests.support import expressions
from tests.support.dynamodb import TABLE, FakeDynamoDB, Request, Row, _row
from tests.support.tasks import NOW, a_task, dead, processing


def a_crowd(count: int) -> Iterator[Task]:
    """Of ten, six have completed, one was cancelled, one is dead, one at work and one parked: all in good order."""
    for number in range(count):
        place: dict[str, Any] = {"task_id": f"task-{number}", "created_at": NOW + number, "updated_at": NOW + number}
        match number % 10:
            case 0:
                yield processing(**place, lease_until=NOW + 10**9)
            case 1:
                yield a_task(**place, index_class=IndexClass.PARKED, next_attempt_at=NOW + 10**9)
            case 2:
                yield dead(**place, index_class=IndexClass.RECORDED)
            case 3:
                yield a_task(**place, status=Status.CANCELLED, index_class=IndexClass.CANCELLED)
            case _:
                yield a_task(**place, status=Status.COMPLETED, index_class=IndexClass.COMPLETED)


class Crowd(FakeDynamoDB):
    """The fake, made quick: a query tries its condition on one partition only, and no further than its limit.

    `queried` counts the items that queries went through, `got` the keys of batch gets, `units` what is billed.
    """

    def __init__(self, tasks: Iterable[Task] = ()) -> None:
        super().__init__()
        self.reset()
        self._sorted: dict[tuple[str, str, str], tuple[list[str], list[Row]]] = {}
        self.hold(tasks)

    def hold(self, tasks: Iterable[Task]) -> None:
        """More rows, as no request would write them."""
        self._sorted.clear()
        for task in tasks:
            row = row_of(task, task.next_attempt_at if task.parked else None)
            self._rows[TABLE, str(row["PK"]), str(row["SK"])] = dict(row)

    def reset(self) -> None:
        self.queried = self.got = 0
        self.units = 0.0

    def get_item(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            answer = super().get_item(**request)
            self.units += read_units([item_bytes(answer.get("Item", {}))], bool(request.get("ConsistentRead")))
            return answer

    def query(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            counts = request.pop("Select", None) == "COUNT"  # it reads what a query would show
            answer = super().query(**request)
            self.queried += answer["Count"]
            self.units += query_units(answer["Items"], bool(request.get("ConsistentRead")))
            return {name: value for name, value in answer.items() if not (counts and name == "Items")}

    def batch_get_item(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            asked, answer = request["RequestItems"][TABLE], super().batch_get_item(**request)
            found = [item_bytes(item) for item in answer["Responses"][TABLE]]
            missing = [0] * (len(asked["Keys"]) - len(found))
            self.got += len(asked["Keys"])
            self.units += read_units([*found, *missing], bool(asked.get("ConsistentRead")))
            return answer

    def _matching(self, request: Request, key: tuple[str, str]) -> list[Row]:
        condition, values = request["KeyConditionExpression"], _row(request["ExpressionAttributeValues"])
        named = re.match(rf"{key[0]} = (:\w+)", condition)
        assert named, f"no partition in {condition!r}"
        sorts, rows = self._partition(key, values[named[1]])
        begin = bisect_left(sorts, values[":after"]) if ":after" in values else 0
        end = bisect_left(sorts, values[":before"]) if ":before" in values else len(rows)
        forward = request.get("ScanIndexForward", True)
        places = range(begin, end) if forward else range(end - 1, begin - 1, -1)
        fitting = (rows[place] for place in places if expressions.holds(condition, rows[place], values, {}))
        found = list(islice(fitting, request.get("Limit")))
        return found if forward else found[::-1]

    def _partition(self, key: tuple[str, str], value: str) -> tuple[list[str], list[Row]]:
        """Sort keys and rows, in order; remembered until something is written."""
        if (*key, value) not in self._sorted:
            rows = [row for row in self._rows.values() if row.get(key[0]) == value and key[1] in row]
            rows.sort(key=lambda row: str(row[key[1]]))
            self._sorted[*key, value] = [str(row[key[1]]) for row in rows], rows
        return self._sorted[*key, value]

    def put_item(self, **request: Any) -> dict[str, Any]:
        return self._forgetting(super().put_item, request)

    def update_item(self, **request: Any) -> dict[str, Any]:
        return self._forgetting(super().update_item, request)

    def delete_item(self, **request: Any) -> dict[str, Any]:
        return self._forgetting(super().delete_item, request)

    def transact_write_items(self, **request: Any) -> dict[str, Any]:
        return self._forgetting(super().transact_write_items, request)

    def _forgetting(self, write: Callable[..., dict[str, Any]], request: Request) -> dict[str, Any]:
        with self._lock:
            self._sorted.clear()
            return write(**request)
