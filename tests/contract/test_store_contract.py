"""What TaskStore promises, on the table in memory and on the emulator alike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from lambdas.common import transitions
from lambdas.common.rows import INLINE_PAYLOAD_BYTES, DeadLetter
from lambdas.common.store import Refused, TaskStore
from lambdas.common.task import SHARDS, Claim, IndexClass, Message, Task, class_sort, shard_of
from tests.contract.conftest import Table
from tests.support.faults import Between
from tests.support.stack import new_id
from tests.support.tasks import NOW, TASK_ID, a_task, dead, planted

LONG = json.dumps({"text": "x" * INLINE_PAYLOAD_BYTES})
EXPIRES = NOW // 1000 + 86_400


def a_letter(**changes: Any) -> DeadLetter:
    letter = DeadLetter(
        task_id=TASK_ID,
        generation=1,
        kind="simulated",
        error="Oops: it failed",
        attempts=3,
        receives=4,
        message_id="message-1",
        source_queue_arn="arn:aws:sqs:us-east-1:000000000000:tasks",
        dead_at=NOW,
        recorded_at=NOW + 1,
        expires_at_seconds=EXPIRES,
    )
    return replace(letter, **changes)


# Putting a task. ------------------------------------------------------------------------------------------------------
# DynamoDB remembers a transaction's token for the whole account: those of long payloads must be new.


def test_a_new_task_is_stored_as_it_is(store: TaskStore) -> None:
    task = a_task(handed_back=frozenset({"message-1", "message-2"}), next_attempt_at=NOW + 1, error="none yet")
    assert store.create(task, "{}", NOW) == task
    assert store.get(TASK_ID) == task


def test_a_task_that_is_there_is_not_replaced(store: TaskStore) -> None:
    there = planted(store, a_task())
    assert store.create(a_task(token="other", body_hash="other"), "{}", NOW) == Refused(there)
    assert store.get(TASK_ID) == there


@pytest.mark.parametrize(("expired_for_seconds", "replaced"), [(1, True), (0, False), (-1, False)])
def test_only_a_task_past_its_expiry_counts_as_absent(
    expired_for_seconds: int, replaced: bool, store: TaskStore
) -> None:
    there = planted(store, a_task(expires_at_seconds=NOW // 1000 - expired_for_seconds))
    fresh = a_task(token="other")
    assert store.create(fresh, "{}", NOW) == (fresh if replaced else Refused(there))
    assert store.get(TASK_ID) == (fresh if replaced else there)


@pytest.mark.parametrize(("length", "inline"), [(1024, True), (1025, False)])
def test_a_payload_of_up_to_1_kb_lies_in_the_row_and_a_longer_one_beside_it(
    length: int, inline: bool, table: Table
) -> None:
    # Counted in bytes: the letter takes two.
    payload = '{"t":"%s"}' % ("ä" + "x" * (length - 10))
    stored = table.store.create(a_task(token=new_id("token")), payload, NOW)
    assert isinstance(stored, Task)
    assert stored == table.store.get(TASK_ID)
    assert stored.payload == (payload if inline else None)
    assert (table.item(f"T#{TASK_ID}", "P") is None) is inline
    assert table.store.payload(stored) == payload


def test_a_long_payload_is_found_with_its_task(store: TaskStore) -> None:
    task = a_task(token=new_id("token"))
    store.create(task, LONG, NOW)
    found = store.find(TASK_ID, NOW)
    assert found is not None
    assert (found.task, found.payload) == (replace(task, payload=None), LONG)


def test_an_expired_task_is_not_found_though_its_items_may_still_be_there(table: Table) -> None:
    ends = NOW // 1000
    table.store.create(dead(expires_at_seconds=ends), LONG, NOW)
    found = table.store.find(TASK_ID, NOW)
    assert found is not None
    assert table.store.find(TASK_ID, NOW + 1000) is None
    # DynamoDB deletes the items of an expired task in any order: the payload may be gone before the row.
    table.client.delete_item(TableName=table.name, Key={"PK": {"S": f"T#{TASK_ID}"}, "SK": {"S": "P"}})
    assert table.store.find(TASK_ID, NOW + 1000) is None


def test_a_task_with_a_long_payload_is_refused_with_the_row_that_is_there_and_leaves_nothing(table: Table) -> None:
    there = planted(table.store, a_task())
    assert table.store.create(a_task(token=new_id("token")), LONG, NOW) == Refused(there)
    assert table.store.get(TASK_ID) == there
    assert table.item(f"T#{TASK_ID}", "P") is None


def test_a_put_of_a_long_payload_that_is_repeated_under_its_token_counts_once(store: TaskStore) -> None:
    task = a_task(token=new_id("token"))
    first, second = (store.create(task, LONG, NOW) for _ in range(2))
    assert first == second == store.get(TASK_ID)


def test_a_put_of_a_short_payload_that_is_repeated_is_refused_by_its_own_row(store: TaskStore) -> None:
    mine = planted(store, a_task(token="mine"))
    assert store.create(mine, "{}", NOW) == Refused(mine)


def test_a_task_that_replaces_an_expired_one_has_its_own_payload_and_no_dead_letters_of_the_former_life(
    store: TaskStore,
) -> None:
    store.create(a_task(expires_at_seconds=NOW // 1000 - 1, token=new_id("token")), LONG, NOW)
    store.record(a_letter(), NOW)
    later = NOW + 10_000
    other = LONG.replace("x", "y")
    store.create(a_task(created_at=later, token=new_id("token")), other, later)
    found = store.find(TASK_ID, NOW)
    assert found is not None
    assert (found.payload, found.dead_letters) == (other, ())


# Reading tasks. -------------------------------------------------------------------------------------------------------


def test_a_task_that_is_not_there_is_none(store: TaskStore) -> None:
    assert (store.get("nobody"), store.find("nobody", NOW)) == (None, None)


@pytest.mark.parametrize("count", [0, 1, 101])
def test_many_tasks_are_read_at_once_and_those_that_do_not_exist_are_left_out(count: int, store: TaskStore) -> None:
    there = [planted(store, a_task(task_id=f"task-{number}")) for number in range(count)]
    asked = [name for task in there for name in (task.task_id, f"no-{task.task_id}")]
    assert sorted(store.get_many(asked), key=_id) == sorted(there, key=_id)


def test_a_task_is_found_with_its_dead_letters_oldest_first(store: TaskStore) -> None:
    planted(store, dead(generation=2))
    letters = [a_letter(generation=generation, recorded_at=NOW + generation) for generation in (2, 1)]
    for letter in letters:
        store.record(letter, NOW)
    found = store.find(TASK_ID, NOW)
    assert found is not None
    assert found.dead_letters == tuple(reversed(letters))


# Dead letters, strays, expiry, cursors. -------------------------------------------------------------------------------


def test_a_dead_letter_once_recorded_is_left_alone(store: TaskStore) -> None:
    planted(store, dead())
    store.record(a_letter(), NOW)
    store.record(a_letter(error="another", recorded_at=NOW + 9), NOW)
    found = store.find(TASK_ID, NOW)
    assert found is not None
    assert found.dead_letters == (a_letter(),)


def test_a_dead_letter_of_the_moment_of_creation_belongs_to_the_task(store: TaskStore) -> None:
    planted(store, dead())
    store.record(a_letter(recorded_at=NOW), NOW)
    store.record(a_letter(error="another", recorded_at=NOW + 9), NOW)
    found = store.find(TASK_ID, NOW)
    assert found is not None
    assert found.dead_letters == (a_letter(recorded_at=NOW),)


def test_a_dead_letter_of_an_expired_task_of_the_same_id_is_replaced(store: TaskStore) -> None:
    planted(store, dead(created_at=NOW + 100))
    store.record(a_letter(), NOW)
    mine = a_letter(error="mine", source_queue_arn=None, recorded_at=NOW + 200)
    store.record(mine, NOW + 100)
    found = store.find(TASK_ID, NOW)
    assert found is not None
    assert found.dead_letters == (mine,)


def test_a_stray_message_is_kept_under_its_own_id(table: Table) -> None:
    for _ in range(2):
        table.store.record_stray("message-1", {"reason": "unreadable", "receives": 2})
    item = table.item("M#message-1", "D#000000")
    assert item is not None
    assert (item["reason"], item["receives"]) == ({"S": "unreadable"}, {"N": "2"})


def test_a_long_payload_expires_with_its_task_and_stays_readable_until_then(table: Table) -> None:
    task = table.store.create(a_task(token=new_id("token")), LONG, NOW)
    assert isinstance(task, Task)
    table.store.expire_payload(task, EXPIRES)
    assert table.store.payload(task) == LONG
    item = table.item(f"T#{TASK_ID}", "P")
    assert item is not None
    assert item["expiresAt"] == {"N": str(EXPIRES)}


def test_a_payload_inside_the_row_has_no_item_of_its_own_to_expire(table: Table) -> None:
    table.store.expire_payload(planted(table.store, a_task()), EXPIRES)
    assert table.item(f"T#{TASK_ID}", "P") is None


def test_a_cursor_is_kept_replaced_and_forgotten(store: TaskStore) -> None:
    seen = [store.cursor("O#0")]
    for cursor in ("first", "second", None):
        store.set_cursor("O#0", cursor)
        seen.append(store.cursor("O#0"))
    assert seen == [None, "first", "second", None]


def test_cursors_of_different_names_are_kept_apart(store: TaskStore) -> None:
    store.set_cursor("O#0", "here")
    assert (store.cursor("O#1"), store.cursor("O#0")) == (None, "here")


# Pages of the index. --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 5, 100])
def test_pages_together_hold_every_task_of_the_class_once_oldest_first(limit: int, store: TaskStore) -> None:
    # Three of each moment, so that pages end between tasks of the same one.
    tasks = [planted(store, a_task(task_id=f"task-{n}", created_at=NOW + n // 3)) for n in range(20)]
    planted(store, dead(task_id="not-open"))
    for shard in range(SHARDS):
        expected = [task for task in tasks if shard_of(task.task_id) == shard]
        assert list(_walk(store, shard, limit)) == sorted(expected, key=_age)


def test_a_page_after_the_cursor_goes_on_though_the_task_at_the_cursor_has_left_the_class(store: TaskStore) -> None:
    tasks = sorted((planted(store, task) for task in _in_one_shard(5)), key=_age)
    first = store.page(IndexClass.OPEN, 0, 2)
    for task in first.tasks:
        _complete(store, task)
    second = store.page(IndexClass.OPEN, 0, 10, first.cursor)
    assert [*first.tasks, *second.tasks] == tasks
    assert second.cursor is None


def test_a_task_that_leaves_the_class_while_the_page_is_read_is_not_in_it(table: Table) -> None:
    gone, *stay = sorted((planted(table.store, task) for task in _in_one_shard(3)), key=_age)
    racing = replace(table, client=Between(table.client, "batch_get_item", lambda: _complete(table.store, gone)))
    assert racing.store.page(IndexClass.OPEN, 0, 10).tasks == tuple(stay)


def test_a_page_ends_at_the_largest_key_that_is_wanted(store: TaskStore) -> None:
    tasks = sorted((planted(store, task) for task in _in_one_shard(4)), key=_age)
    up_to = class_sort(tasks[1].created_at, "~")
    assert store.page(IndexClass.OPEN, 0, 10, None, up_to).tasks == tuple(tasks[:2])


def test_a_page_of_an_empty_class_is_empty_and_the_last(store: TaskStore) -> None:
    page = store.page(IndexClass.DEAD, 0, 10)
    assert (page.tasks, page.cursor) == ((), None)


def _walk(store: TaskStore, shard: int, limit: int) -> Iterator[Task]:
    cursor = None
    while True:
        page = store.page(IndexClass.OPEN, shard, limit, cursor)
        assert len(page.tasks) <= limit
        yield from page.tasks
        cursor = page.cursor
        if cursor is None:
            return


def _in_one_shard(count: int) -> list[Task]:
    names = (f"task-{number}" for number in range(1000))
    chosen = [name for name in names if shard_of(name) == 0][:count]
    return [a_task(task_id=name, created_at=NOW + number) for number, name in enumerate(chosen)]


def _complete(store: TaskStore, task: Task) -> None:
    claimed = store.apply(transitions.claim(Claim(Message(task.task_id, 1), "message-1", "worker", NOW, NOW + 1)))
    assert isinstance(claimed, Task)
    assert isinstance(store.apply(transitions.complete(claimed, NOW, None, EXPIRES)), Task)


def _id(task: Task) -> str:
    return task.task_id


def _age(task: Task) -> tuple[int, str]:
    return task.created_at, task.task_id
