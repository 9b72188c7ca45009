"""Lists out of several partitions: everything once, newest first, in bounded steps."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.common.rows import IndexKey, KeyPage
from lambdas.common.task import SHARDS, IndexClass, class_shard, class_sort
from lambdas.query_tasks.listing import MAX_EXAMINED, Listed, Merge, page_of, sort_in, to_cursor


class Index:
    """Keys in memory; counts how many it gave out."""

    def __init__(self, keys: Mapping[str, IndexClass], at: Mapping[str, int]) -> None:
        self._sorted: dict[str, list[IndexKey]] = {}
        for task_id, index_class in keys.items():
            key = IndexKey(task_id, class_sort(at[task_id], task_id), "simulated")
            self._sorted.setdefault(class_shard(index_class, task_id), []).append(key)
        for found in self._sorted.values():
            found.sort(key=lambda key: key.sort, reverse=True)
        self.given = 0

    def newest(self, partition: str, limit: int, before: str | None) -> KeyPage:
        found = [key for key in self._sorted.get(partition, []) if before is None or key.sort < before]
        self.given += len(found[:limit])
        return KeyPage(tuple(found[:limit]), len(found) >= limit)  # as DynamoDB: full means more, or not


def an_index(count: int, index_class: IndexClass = IndexClass.RECORDED, every: int = 1) -> Index:
    """task-0 is the oldest."""
    ids = [f"task-{number}" for number in range(count)]
    return Index(dict.fromkeys(ids, index_class), {task_id: n // every for n, task_id in enumerate(ids)})


def everything(keys: Sequence[IndexKey]) -> dict[str, str]:
    return {key.id: key.id for key in keys}


def numbers(listed: Listed[str]) -> list[int]:
    return [int(item.removeprefix("task-")) for item in listed.items]


DEAD = [IndexClass.RECORDED]


def test_the_shards_are_one_list_with_the_newest_first() -> None:
    listed = page_of(Merge(an_index(60), DEAD, 50), everything, 50)
    assert numbers(listed) == list(range(59, 9, -1))
    assert listed.cursor == class_sort(10, "task-10")


def test_the_next_page_begins_behind_the_cursor() -> None:
    index, seen, cursor = an_index(60), [], None
    for _ in range(4):
        listed = page_of(Merge(index, DEAD, 17, cursor), everything, 17)
        seen.append(numbers(listed))
        cursor = listed.cursor
    assert seen == [list(range(59, 42, -1)), list(range(42, 25, -1)), list(range(25, 8, -1)), list(range(8, -1, -1))]
    assert cursor is None


def test_a_full_page_has_a_cursor_only_when_something_follows() -> None:
    for surplus in (
        -1,
        0,
        1,
    ):
        for limit in (
            1,
            10,
            24,
            25,
            99,
            100,
        ):
            listed = page_of(Merge(an_index(limit + surplus), DEAD, limit), everything, limit)
            assert (len(listed.items), listed.cursor is not None) == (limit + min(0, surplus), surplus > 0), (
                surplus,
                limit,
            )


def test_an_empty_list_ends_at_once() -> None:
    assert page_of(Merge(an_index(0), DEAD, 10), everything, 10) == Listed((), None)


def test_a_request_reads_no_more_than_a_thousand_keys_and_says_where_to_go_on() -> None:
    index = an_index(5000)
    listed = page_of(Merge(index, DEAD, 20), lambda keys: dict[str, str](), 20)
    assert listed.items == ()
    assert listed.cursor is not None
    assert 900 < index.given <= MAX_EXAMINED


def test_however_few_keys_a_request_may_read_the_pages_hold_everything_in_order() -> None:
    for most in (
        4,
        5,
        7,
        30,
        50,
        101,
    ):
        index, seen = an_index(300), list[int]()
        cursor: str | None = None
        while not seen or cursor is not None:
            before = index.given
            listed = page_of(Merge(index, DEAD, 100, cursor, most=most), everything, 100)
            assert listed.items, most
            assert index.given - before <= most, most
            seen, cursor = seen + numbers(listed), listed.cursor
        assert seen == list(range(299, -1, -1)), most


def test_what_nobody_wants_is_passed_by_until_the_last_that_somebody_wants() -> None:
    index, cursor, pages = an_index(5000), None, 0
    found: list[int] = []
    while pages == 0 or cursor is not None:
        before = index.given
        merge = Merge(index, DEAD, 20, cursor)
        listed = page_of(merge, lambda keys: {key.id: key.id for key in keys if key.id == "task-3"}, 20)
        assert index.given - before <= MAX_EXAMINED
        found, cursor, pages = found + numbers(listed), listed.cursor, pages + 1
    assert (found, pages) == ([3], 6)


def test_a_list_that_ends_at_a_time_reads_nothing_older() -> None:
    index = an_index(5000)
    merge = Merge(index, DEAD, 100, None, class_sort(4990, ""))
    assert page_of(merge, everything, 100) == Listed(tuple(f"task-{n}" for n in range(4999, 4989, -1)), None)
    assert index.given <= SHARDS * 100


def test_a_task_that_joins_or_leaves_between_two_pages_moves_no_other() -> None:
    index = an_index(40)
    first = page_of(Merge(index, DEAD, 10), everything, 10)
    # The newest and one that was not shown yet leave; one joins among those already shown.
    left = [f"task-{n}" for n in range(40) if n not in (39, 20)] + ["task-late"]
    at = {task_id: 35 if task_id == "task-late" else int(task_id.removeprefix("task-")) for task_id in left}
    second = page_of(Merge(Index(dict.fromkeys(left, IndexClass.RECORDED), at), DEAD, 30, first.cursor), everything, 30)
    assert numbers(first) + numbers(second) == [n for n in range(39, -1, -1) if n != 20]


tasks = st.dictionaries(
    st.integers(0, 10**6).map("task-{}".format),
    st.tuples(st.sampled_from([IndexClass.OPEN, IndexClass.RECORDED, IndexClass.STRAY]), st.integers(0, 20)),
    max_size=120,
)


@given(
    tasks,
    st.integers(1, 100),
    st.integers(8, 60),
    st.sets(st.sampled_from(list(IndexClass)), min_size=1, max_size=2),
    st.integers(1, 5),
)
def test_page_by_page_everything_wanted_comes_once_and_in_order_whatever_the_bounds(
    rows: dict[str, tuple[IndexClass, int]], limit: int, most: int, classes: set[IndexClass], every: int
) -> None:
    index = Index({one: row[0] for one, row in rows.items()}, {one: row[1] for one, row in rows.items()})

    def look(keys: Sequence[IndexKey]) -> dict[str, str]:
        return {key.id: key.id for key in keys if hash_of(key.id) % every == 0}

    def hash_of(task_id: str) -> int:
        return int(task_id.removeprefix("task-"))

    seen: list[str] = []
    cursor: str | None = None
    while True:
        before = index.given
        listed = page_of(Merge(index, sorted(classes), limit, cursor, most=most), look, limit)
        assert len(listed.items) <= limit
        assert index.given - before <= most
        seen += listed.items
        if listed.cursor is None:
            break
        assert cursor is None or listed.cursor < cursor, "each page gets further"
        cursor = listed.cursor
    wanted = [one for one, (index_class, _) in rows.items() if index_class in classes and hash_of(one) % every == 0]
    assert seen == sorted(wanted, key=lambda one: class_sort(rows[one][1], one), reverse=True)


# Cursors. -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sort", [class_sort(0, "a"), class_sort(1_800_000_000_000, "A.z_9:-"), class_sort(1, "x" * 128)]
)
def test_a_cursor_brings_back_the_sort_key(sort: str) -> None:
    cursor = to_cursor(sort)
    assert cursor is not None
    assert sort_in(cursor) == sort


def _encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


GOOD = _encoded("1800000000000#task-1")


def test_what_is_no_cursor_of_ours_is_known_as_such() -> None:
    for cursor in (
        "",
        "x",
        "not base64!",
        "ä",
        GOOD + "=",
        GOOD + "\n",
        GOOD[:5] + "!" + GOOD[5:],
        GOOD[:-1],
        _encoded("180000000000#task-1"),
        _encoded("1800000000000#"),
        _encoded("1800000000000#task 1"),
        _encoded("1800000000000#" + "x" * 129),
        _encoded("180000000000\u0660#task-1"),
        _encoded("~"),
    ):
        assert sort_in(GOOD) is not None, cursor
        assert sort_in(cursor) is None, cursor


def test_the_end_has_no_cursor() -> None:
    assert to_cursor(None) is None
