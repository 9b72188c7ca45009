"""GET /tasks, from the event to the answer: newest first, every task once, whatever moves between two pages."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdas.common import aws
from lambdas.common.catalog import Catalog
from lambdas.common.store import TaskStore
from lambdas.common.task import VERSION, IndexClass, Status, Task, class_sort, shard_of
from lambdas.query_tasks import handler
from lambdas.query_tasks.handler import Parts
from lambdas.query_tasks.listing import MAX_EXAMINED
from lambdas.query_tasks.stats import Cached
from lambdas.query_tasks.tasks import Wanted, tasks
from tests.support.crowd import Crowd
from tests.support.dynamodb import TABLE, task_store
from tests.support.faults import Between
from tests.support.moves import EXPIRES, moved, to
from tests.support.tasks import NOW, SECOND, TASK_ID, a_task, dead, planted, processing, waiting

HOUR = 3_600 * SECOND


class World:
    """A table, and the query function over it."""

    def __init__(self) -> None:
        self.table = Crowd()
        self.client: Any = self.table
        self.store = task_store(self.table)

    def plant(self, *numbers: int, **changes: Any) -> None:
        """task-<number>, created so many milliseconds after NOW."""
        made = ({"task_id": f"task-{number}", "created_at": NOW + number, **changes} for number in numbers)
        self.table.hold(a_task(**fields) for fields in made)

    def park(self, number: int, due: int = NOW + HOUR) -> None:
        self.plant(number, index_class=IndexClass.PARKED, next_attempt_at=due)

    def rewrite(self, task_id: str, name: str, value: int | str) -> None:
        self.table.update_item(
            TableName=TABLE,
            Key={"PK": {"S": f"T#{task_id}"}, "SK": {"S": "A"}},
            UpdateExpression="SET #name = :value",
            ExpressionAttributeNames={"#name": name},
            ExpressionAttributeValues={":value": {"S" if isinstance(value, str) else "N": str(value)}},
        )

    def get(self, **query: str) -> tuple[int, Any]:
        event = {
            "resource": "/tasks",
            "httpMethod": "GET",
            "pathParameters": None,
            "queryStringParameters": query or None,
            "multiValueQueryStringParameters": {name: [value] for name, value in query.items()} or None,
        }
        return self.answer(event)

    def answer(self, event: dict[str, Any]) -> tuple[int, Any]:
        response = handler.handle(event, None)
        return response["statusCode"], json.loads(response["body"])

    def page(self, cursor: str | None, **query: str) -> tuple[list[str], str | None]:
        status, body = self.get(**query, **({} if cursor is None else {"cursor": cursor}))
        assert status == 200, body
        return [task["taskId"] for task in body["tasks"]], body["cursor"]

    def listed(self, **query: str) -> list[str]:
        """The ids on all pages."""
        ids, cursor = self.page(None, **query)
        while cursor is not None:
            more, cursor = self.page(cursor, **query)
            ids += more
        return ids


Worlds = Callable[[], World]


@pytest.fixture
def worlds(monkeypatch: pytest.MonkeyPatch) -> Worlds:
    """Each call is a new one, and the handler's from then on."""

    def another() -> World:
        made, no_stats = World(), Cached(lambda now: {})
        monkeypatch.setattr(handler, "parts", lambda: Parts(made.store, Catalog(made.client, TABLE), no_stats))
        return made

    monkeypatch.setattr(aws, "now_ms", lambda: NOW)
    return another


@pytest.fixture
def world(worlds: Worlds) -> World:
    return worlds()


def names(*numbers: int) -> list[str]:
    return [f"task-{number}" for number in numbers]


# What is shown. -------------------------------------------------------------------------------------------------------


def test_a_task_is_shown_as_its_row_stands(world: World) -> None:
    planted(world.store, waiting(kind="mail", attempts=2, generation=3, updated_at=NOW + 9))
    assert world.get() == (
        200,
        {
            "tasks": [
                {
                    "taskId": "task-1",
                    "kind": "mail",
                    "status": "FAILED_PENDING",
                    "generation": 3,
                    "attempts": 2,
                    "maxAttempts": 3,
                    "createdAt": "2027-01-15T08:00:00.000Z",
                    "updatedAt": "2027-01-15T08:00:00.009Z",
                    "error": "Oops: it failed",
                }
            ],
            "cursor": None,
        },
    )


def test_a_task_without_an_error_says_so_and_shows_no_payload(world: World) -> None:
    planted(world.store, a_task(payload='{"secret": 1}'))
    (shown,) = world.get()[1]["tasks"]
    assert shown["error"] is None
    assert "payload" not in shown


ONE_OF_EACH: dict[str, Callable[..., Task]] = {
    "submitted": a_task,
    "parked": lambda **more: a_task(index_class=IndexClass.PARKED, next_attempt_at=NOW + HOUR, **more),
    "processing": processing,
    "pending": waiting,
    "parked after a failure": lambda **more: waiting(index_class=IndexClass.PARKED, **more),
    "dead": dead,
    "recorded": lambda **more: dead(index_class=IndexClass.RECORDED, expires_at_seconds=EXPIRES, **more),
    "completed": lambda **more: a_task(status=Status.COMPLETED, index_class=IndexClass.COMPLETED, **more),
    "cancelled": lambda **more: a_task(status=Status.CANCELLED, index_class=IndexClass.CANCELLED, **more),
}
BY_STATUS = {
    "SUBMITTED": ["parked", "submitted"],
    "PROCESSING": ["processing"],
    "FAILED_PENDING": ["parked after a failure", "pending"],
    "FAILED_FINAL": ["recorded", "dead"],
    "COMPLETED": ["completed"],
    "CANCELLED": ["cancelled"],
}


@pytest.fixture
def each(world: World) -> World:
    for number, (name, made) in enumerate(ONE_OF_EACH.items()):
        task_id = name.replace(" ", ".")
        planted(world.store, made(task_id=task_id, created_at=NOW + number, kind="mail" if number % 2 else "pay"))
    return world


def _ids(found: Sequence[str]) -> list[str]:
    return [name.replace(" ", ".") for name in found]


def test_without_a_filter_every_task_is_shown_the_newest_first(each: World) -> None:
    assert each.listed() == _ids(list(ONE_OF_EACH)[::-1])


def test_a_status_leaves_its_own_tasks(each: World) -> None:
    assert set(BY_STATUS) == set(Status)
    for status, found in BY_STATUS.items():
        for limit in ("1", "100"):
            assert each.listed(status=status, limit=limit) == _ids(found), (status, limit)


def test_a_kind_leaves_its_own_tasks(each: World) -> None:
    assert each.listed(kind="mail") == _ids(list(ONE_OF_EACH)[1::2][::-1])
    assert each.listed(kind="pay") == _ids(list(ONE_OF_EACH)[::2][::-1])
    assert each.get(kind="mai") == (200, {"tasks": [], "cursor": None})


def test_status_and_kind_must_both_fit(each: World) -> None:
    assert each.listed(status="SUBMITTED", kind="mail") == ["parked"]
    assert each.listed(status="PROCESSING", kind="mail") == []


def test_a_status_that_the_index_does_not_know_yet_is_told_from_the_row(world: World) -> None:
    """The index is behind: it leads to an open task that has completed."""
    world.plant(1, 2)
    world.client = Between(world.table, "batch_get_item", lambda: to(world.store, "task-2", "claim", "complete"))
    status, body = world.get(status="SUBMITTED")
    assert (status, [task["taskId"] for task in body["tasks"]]) == (200, ["task-1"])


@pytest.mark.parametrize("query", [{}, {"status": "COMPLETED"}])
def test_what_has_expired_or_is_of_another_version_is_hidden(query: dict[str, str], world: World) -> None:
    changes: dict[str, Any] = {"status": Status.COMPLETED, "index_class": IndexClass.COMPLETED}
    world.plant(1, 2, 3, 4, 5, **changes)
    world.rewrite("task-1", "expiresAt", NOW // 1000 - 1)
    world.rewrite("task-2", "v", VERSION + 1)
    world.rewrite("task-2", "status", "OF_A_NEWER_VERSION")
    world.rewrite("task-3", "expiresAt", NOW // 1000)
    world.rewrite("task-4", "v", VERSION - 1)
    assert world.listed(**query) == names(5, 4, 3)


def test_strays_minutes_and_cursors_of_the_sweeper_are_no_tasks(world: World) -> None:
    world.plant(1)
    fields: dict[str, Any] = {
        "classShard": "M#0",
        "classSort": class_sort(NOW, "m"),
        "reason": "x",
        "expiresAt": EXPIRES,
    }
    world.store.record_stray("m", {**fields, "body": "{", "receives": 1, "recordedAt": NOW})
    world.store.set_cursor("O#0", "x")
    assert world.listed() == names(1)


# Pages. ---------------------------------------------------------------------------------------------------------------


def test_a_page_holds_twenty_unless_another_number_is_asked_for(world: World) -> None:
    world.plant(*range(130))
    assert len({shard_of(f"task-{number}") for number in range(130)}) == 4, "every shard has a part"
    for query, count in (({}, 20), ({"limit": "1"}, 1), ({"limit": "100"}, 100)):
        ids, cursor = world.page(None, **query)
        assert ids == names(*range(129, 129 - count, -1))
        assert cursor is not None


def test_page_by_page_every_task_comes_once_the_newest_first_across_shards_and_classes(world: World) -> None:
    made = list(ONE_OF_EACH.values())
    for number in range(45):
        planted(world.store, made[number % len(made)](task_id=f"task-{number}", created_at=NOW + number))
    for limit in ("1", "7", "44", "45", "46", "100"):
        assert world.listed(limit=limit) == names(*range(44, -1, -1)), limit


def test_tasks_of_one_millisecond_are_told_apart_by_their_ids(world: World) -> None:
    world.plant(*range(12), created_at=NOW)
    assert world.listed(limit="5") == sorted(names(*range(12)), reverse=True)


def test_a_cursor_is_good_for_another_filter_and_after_its_task_is_gone(world: World) -> None:
    world.plant(*range(10))
    _, cursor = world.page(None, limit="4")
    world.table.delete_item(TableName=TABLE, Key={"PK": {"S": "T#task-6"}, "SK": {"S": "A"}})
    assert world.page(cursor, status="SUBMITTED", limit="3") == (names(5, 4, 3), world.page(cursor, limit="3")[1])


def test_a_cursor_from_before_everything_is_an_empty_last_page(world: World) -> None:
    world.plant(1)
    cursor = base64.urlsafe_b64encode(class_sort(0, "a").encode()).decode().rstrip("=")
    assert world.page(cursor) == ([], None)


WRONG = [
    ("status", "DONE", "SUBMITTED"),
    ("status", "completed", "COMPLETED"),
    ("status", "", "status"),
    *(("kind", value, "kind") for value in ("", "x" * 101)),
    *(("limit", value, "limit") for value in ("0", "101", "-1", "1.0", "٣", "")),
    *(("cursor", value, "cursor") for value in ("", "x", "not base64!", "fg")),
    ("state", "COMPLETED", "state"),
    ("strays", "true", "strays"),
]


def test_a_wrong_parameter_is_refused_by_its_name(world: World) -> None:
    for name, value, names_it in WRONG:
        status, body = world.get(**{name: value})
        assert (status, body["error"]["code"]) == (400, "invalid_request"), (name, value)
        assert names_it in body["error"]["message"], (name, value)
    assert world.table.queried == 0


def test_a_parameter_that_is_there_twice_is_refused(world: World) -> None:
    for name in ("status", "kind", "limit", "cursor"):
        event = {
            "resource": "/tasks",
            "httpMethod": "GET",
            "queryStringParameters": {name: "1"},
            "multiValueQueryStringParameters": {name: ["1", "1"]},
        }
        status, body = world.answer(event)
        assert (status, body["error"]["message"]) == (400, f"{name} may be given once.")


# Bounded work. --------------------------------------------------------------------------------------------------------

MANY = 2_600


@cache
def many_tasks() -> Crowd:
    """The oldest one alone is of kind mail."""
    rows = ((number, "simulated" if number else "mail") for number in range(MANY))
    return Crowd(a_task(task_id=f"task-{number}", created_at=NOW + number, kind=kind) for number, kind in rows)


@pytest.fixture
def many(world: World) -> World:
    world.table = world.client = many_tasks()
    world.table.reset()
    return world


@pytest.mark.parametrize("query", [{"kind": "mail"}, {"status": "PROCESSING"}, {"status": "SUBMITTED", "kind": "mail"}])
def test_a_page_behind_a_sharp_filter_is_short_carries_a_cursor_and_examines_a_thousand_keys(
    query: dict[str, str], many: World
) -> None:
    ids, cursor = many.page(None, **query)
    assert ids == []
    assert cursor is not None
    assert 900 < many.table.queried <= MAX_EXAMINED == 1_000


def test_behind_a_sharp_filter_every_page_is_bounded_and_the_last_one_holds_what_is_sought(many: World) -> None:
    found: list[str] = []
    cursor, pages = None, 0
    while pages == 0 or cursor is not None:
        many.table.reset()
        ids, cursor = many.page(cursor, kind="mail")
        assert many.table.queried <= MAX_EXAMINED
        found, pages = found + ids, pages + 1
    assert (found, pages >= MANY / MAX_EXAMINED) == (names(0), True)


@pytest.mark.parametrize("limit", [1, 20, 100])
@pytest.mark.parametrize("query", [{}, {"status": "SUBMITTED"}])
def test_a_page_without_a_sharp_filter_reads_about_what_it_shows(
    query: dict[str, str], limit: int, many: World
) -> None:
    ids, _ = many.page(None, limit=str(limit), **query)
    assert ids == names(*range(MANY - 1, MANY - 1 - limit, -1))
    assert many.table.queried <= 2 * (4 * 101 + 101), "four shards have tasks, and what is open is read twice"
    assert many.table.got <= 3 * 101


# Tasks that move. -----------------------------------------------------------------------------------------------------

LIFE = ("claim", "retry", "claim", "die", "mark_recorded", "replay", "claim", "complete")


PLACES = (29, 25, 24, 10, 0)
"""First and last of the first page, first and somewhere on the second, the oldest."""


@pytest.mark.parametrize("number", range(len(LIFE)), ids=LIFE)
def test_a_task_that_moves_between_two_pages_is_shown_once_in_its_place(number: int, worlds: Worlds) -> None:
    for task in PLACES:
        world = worlds()
        world.plant(*range(30), max_attempts=10)
        to(world.store, f"task-{task}", *LIFE[:number])
        first, cursor = world.page(None, limit="5")
        to(world.store, f"task-{task}", LIFE[number])
        second, cursor = world.page(cursor, limit="5")
        rest, cursor = world.page(cursor, limit="100")
        assert first + second + rest == names(*range(29, -1, -1)), task
        assert cursor is None


@pytest.mark.parametrize(
    "step", ["claim", "claim complete", "claim die", "claim die mark_recorded", "cancel", "claim park"]
)
def test_a_task_that_goes_on_while_one_page_is_read_is_shown_once(step: str, worlds: Worlds) -> None:
    """Partitions are read in the order in which tasks move, so that it is met before or after, or twice.

    The one that moves is the last of the first keys that are looked up together.
    """
    for number in range(1, 25):
        world = worlds()
        world.plant(*range(45))
        move = partial(to, world.store, "task-4", *step.split())
        world.client = Between(world.table, "query", move, number=number)
        assert world.listed(limit="100") == names(*range(44, -1, -1)), number


def test_a_task_that_comes_back_to_the_queue_while_one_page_is_read_is_shown_once(worlds: Worlds) -> None:
    def come_back(store: TaskStore) -> None:
        to(store, "task-4", "mark_sent")
        to(store, "task-5", "replay")

    for number in range(1, 29):
        world = worlds()
        world.plant(*(other for other in range(45) if other not in (4, 5)))
        world.park(4)
        world.plant(5, status=Status.FAILED_FINAL, index_class=IndexClass.RECORDED)
        world.client = Between(world.table, "query", partial(come_back, world.store), number=number)
        assert world.listed(limit="100") == names(*range(44, -1, -1)), number


def test_a_parked_task_stands_at_its_creation_like_all_others(world: World) -> None:
    world.plant(1, 3, 5)
    world.park(2, due=NOW + 300 * HOUR)
    world.park(4)
    assert world.listed() == names(5, 4, 3, 2, 1)
    assert world.listed(limit="1", status="SUBMITTED") == names(5, 4, 3, 2, 1)


@pytest.mark.parametrize("steps", [("mark_sent",), ("mark_sent", "claim", "park"), ("cancel",)], ids=" ".join)
def test_a_parked_task_that_moves_between_two_pages_is_shown_once_in_its_place(
    steps: tuple[str, ...], worlds: Worlds
) -> None:
    for task in PLACES:
        world = worlds()
        world.plant(*(number for number in range(30) if number != task))
        world.park(task)
        first, cursor = world.page(None, limit="5")
        to(world.store, f"task-{task}", *steps)
        second, cursor = world.page(cursor, limit="100")
        assert first + second == names(*range(29, -1, -1)), task


def test_a_task_that_parks_between_two_pages_keeps_its_place(worlds: Worlds) -> None:
    for task in PLACES:
        world = worlds()
        world.plant(*range(30))
        to(world.store, f"task-{task}", "claim")
        first, cursor = world.page(None, limit="5")
        to(world.store, f"task-{task}", "park")
        second, cursor = world.page(cursor, limit="100")
        assert first + second == names(*range(29, -1, -1)), task


@pytest.mark.parametrize("steps", [("mark_sent",), ("cancel",), ("mark_sent", "claim", "park")], ids=" ".join)
def test_what_is_parked_alone_is_in_the_index_of_parked_tasks(steps: tuple[str, ...], world: World) -> None:
    world.park(2)
    parked = to(world.store, "task-2", *steps).parked
    item = world.table.get_item(TableName=TABLE, Key={"PK": {"S": "T#task-2"}, "SK": {"S": "A"}})["Item"]
    assert item.get("parkedSort") == ({"S": class_sort(NOW + 2, "task-2")} if parked else None)


births = st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=1, max_size=14)
moves = st.lists(st.lists(st.tuples(st.integers(0, 13), st.integers(0, 3)), max_size=10), max_size=14)


@settings(max_examples=30)
@given(births, moves, st.integers(1, 4))
def test_whatever_moves_between_pages_a_task_that_is_there_all_the_time_is_shown_once_in_order(
    born: list[tuple[int, bool]], moved_between: list[list[tuple[int, int]]], limit: int
) -> None:
    table = Crowd(
        a_task(
            task_id=f"task-{number}",
            created_at=NOW + at,
            max_attempts=99,
            index_class=IndexClass.PARKED if parked else IndexClass.OPEN,
            next_attempt_at=NOW + HOUR if parked else None,
        )
        for number, (at, parked) in enumerate(born)
    )
    store, catalog = task_store(table), Catalog(cast(Any, table), TABLE)
    seen: list[str] = []
    between, before = iter(moved_between), None
    for page in range(100):
        listed = tasks(catalog, Wanted(limit=limit, before=before), NOW)
        assert len(listed.items) <= limit
        seen += [task["taskId"] for task in listed.items]
        before = listed.cursor
        if before is None:
            break
        planted(store, a_task(task_id=f"late-{page}", created_at=NOW + 5 * (page % 8)))
        for number, choice in next(between, []):
            moved(store, f"task-{number % len(born)}", choice)
    sorts = {f"task-{number}": class_sort(NOW + at, f"task-{number}") for number, (at, _) in enumerate(born)}
    assert [one for one in seen if one in sorts] == sorted(sorts, key=lambda one: sorts[one], reverse=True)
    assert len(set(seen)) == len(seen), "a late one is shown once, or not at all"


def test_a_task_keeps_its_place_through_all_its_generations(world: World) -> None:
    world.plant(0, 1, 2, max_attempts=10)
    for _ in range(3):
        to(world.store, TASK_ID, "claim", "die", "mark_recorded", "replay")
    assert world.listed() == names(2, 1, 0)
    assert world.get()[1]["tasks"][1]["generation"] == 4
