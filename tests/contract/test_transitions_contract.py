"""Every status change: made when all its terms hold, refused with the old row when any single one does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from lambdas.common import transitions
from lambdas.common.store import Refused, TaskStore
from lambdas.common.task import (
    MAX_HISTORY,
    READABLE,
    Claim,
    IndexClass,
    Message,
    Status,
    Task,
    TimelineEntry,
    class_sort,
    shard_of,
)
from lambdas.common.transitions import Write
from tests.contract.conftest import Table
from tests.support.stack import new_id
from tests.support.tasks import NOW, SECOND, TASK_ID, a_task, dead, planted, processing, waiting

LATER = NOW + 20 * SECOND
"""When each transition is tried."""
MUCH_LATER = NOW + 3_600 * SECOND
EXPIRES = NOW // 1000 + 86_400
SUBMITTED_AT = TimelineEntry(NOW, "SUBMITTED", 1)

Violation = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """A write decided on `row`, what it changes, and changes that somebody else makes first, one per broken term."""

    row: Task
    write: Callable[[Task], Write]
    after: dict[str, Any]
    broken: tuple[Violation, ...]

    def changed(self) -> Task:
        return replace(self.row, **self.after)


def _logged(status: Status, note: str | None = None) -> tuple[TimelineEntry, ...]:
    return (SUBMITTED_AT, TimelineEntry(LATER, str(status), 1, note))


def _claim(_: Task) -> Write:
    return transitions.claim(Claim(Message(TASK_ID, 1), "message-9", "token-9", LATER, MUCH_LATER))


CLAIMED = {
    "status": Status.PROCESSING,
    "token": "token-9",
    "lease_until": MUCH_LATER,
    "message_id": "message-9",
    "sends": 0,
    "next_attempt_at": None,
    "updated_at": LATER,
    "timeline": _logged(Status.PROCESSING),
}
HOLDER: tuple[Violation, ...] = (
    ("still_processing", {"status": Status.FAILED_PENDING}),
    ("still_processing", {"status": Status.CANCELLED}),
    ("own_token", {"token": "somebody-else"}),
    ("same_generation", {"generation": 2}),
)
AS_READ: tuple[Violation, ...] = (
    ("same_generation", {"generation": 2}),
    ("status_as_read", {"status": Status.SUBMITTED}),
    ("token_as_read", {"token": "somebody-else"}),
    ("attempts_as_read", {"attempts": 2}),
    ("no_live_lease", {"lease_until": LATER}),
)
AGAIN_DUE = waiting(next_attempt_at=NOW)


def _cancel(row: Task) -> Write:
    return transitions.cancel(row, LATER, EXPIRES, "token-9")


CANCELLED = {
    "status": Status.CANCELLED,
    "index_class": IndexClass.CANCELLED,
    "expires_at_seconds": EXPIRES,
    "token": "token-9",
    "lease_until": None,
    "next_attempt_at": None,
    "message_id": None,
    "updated_at": LATER,
    "timeline": _logged(Status.CANCELLED),
}
RECORDED = dead(
    index_class=IndexClass.RECORDED,
    expires_at_seconds=EXPIRES,
    sends=2,
    handed_back=frozenset({"message-1"}),
    timeline=_logged(Status.FAILED_FINAL, "Oops: it failed"),
)
"""With everything on it that a new generation must not keep."""


def _replay(row: Task) -> Write:
    return transitions.replay(row, LATER, "token-9")


REPLAYED: dict[str, Any] = {
    "status": Status.SUBMITTED,
    "index_class": IndexClass.OPEN,
    "generation": 2,
    "attempts": 0,
    "sends": 0,
    "sent_at": LATER,
    "token": "token-9",
    "message_id": None,
    "handed_back": frozenset(),
    "error": None,
    "expires_at_seconds": None,
    "updated_at": LATER,
    "timeline": (*RECORDED.timeline, TimelineEntry(LATER, "SUBMITTED", 2)),
}
FIRST_LIFE = tuple(TimelineEntry(NOW + number, "PROCESSING", 1) for number in range(MAX_HISTORY))
SECOND_LIFE = (TimelineEntry(LATER - 2, "SUBMITTED", 2), TimelineEntry(LATER - 1, "FAILED_FINAL", 2))

CASES = {
    "claim": Case(
        a_task(sends=2),
        _claim,
        {**CLAIMED, "attempts": 1},
        (
            ("known_version", {"version": READABLE[0] - 1}),
            ("known_version", {"version": READABLE[1] + 1}),
            ("same_generation", {"generation": 2}),
            ("not_parked_nor_ended", {"index_class": IndexClass.PARKED}),
            ("not_parked_nor_ended", {"index_class": IndexClass.CANCELLED}),
            ("attempts_left", {"attempts": 3}),
            ("due_or_abandoned", {"next_attempt_at": LATER + 1}),
            ("due_or_abandoned", {"status": Status.FAILED_PENDING, "next_attempt_at": LATER + 1}),
            ("due_or_abandoned", {"status": Status.PROCESSING, "lease_until": LATER}),
            ("due_or_abandoned", {"status": Status.COMPLETED}),
            ("due_or_abandoned", {"status": Status.FAILED_FINAL}),
            ("due_or_abandoned", {"status": Status.CANCELLED}),
        ),
    ),
    "claim of a task of the version before": Case(a_task(version=READABLE[0]), _claim, {**CLAIMED, "attempts": 1}, ()),
    "claim of a task that failed and is due": Case(AGAIN_DUE, _claim, {**CLAIMED, "attempts": 2}, ()),
    "claim of a task due this very moment": Case(
        waiting(next_attempt_at=LATER), _claim, {**CLAIMED, "attempts": 2}, ()
    ),
    "claim of a task that was to run at this time": Case(
        a_task(next_attempt_at=LATER), _claim, {**CLAIMED, "attempts": 1}, ()
    ),
    "claim of a task whose worker has died": Case(
        processing(lease_until=LATER - 1), _claim, {**CLAIMED, "attempts": 2}, ()
    ),
    "complete": Case(
        processing(error="Oops: the attempt before"),
        lambda row: transitions.complete(row, LATER, '{"ok": true}', EXPIRES),
        {
            "status": Status.COMPLETED,
            "index_class": IndexClass.COMPLETED,
            "lease_until": None,
            "error": None,
            "result": '{"ok": true}',
            "expires_at_seconds": EXPIRES,
            "updated_at": LATER,
            "timeline": _logged(Status.COMPLETED),
        },
        HOLDER,
    ),
    "retry": Case(
        processing(),
        lambda row: transitions.retry(row, LATER, "Oops: again", MUCH_LATER),
        {
            "status": Status.FAILED_PENDING,
            "lease_until": None,
            "error": "Oops: again",
            "next_attempt_at": MUCH_LATER,
            "updated_at": LATER,
            "timeline": _logged(Status.FAILED_PENDING, "Oops: again"),
        },
        HOLDER,
    ),
    "park": Case(
        processing(),
        lambda row: transitions.park(row, LATER, "Oops: much later", MUCH_LATER),
        {
            "status": Status.FAILED_PENDING,
            "index_class": IndexClass.PARKED,
            "lease_until": None,
            "message_id": None,
            "error": "Oops: much later",
            "next_attempt_at": MUCH_LATER,
            "updated_at": LATER,
            "timeline": _logged(Status.FAILED_PENDING, "Oops: much later"),
        },
        HOLDER,
    ),
    "die": Case(
        processing(attempts=3),
        lambda row: transitions.die(row, LATER, "Oops: for good"),
        {
            "status": Status.FAILED_FINAL,
            "index_class": IndexClass.DEAD,
            "lease_until": None,
            "error": "Oops: for good",
            "updated_at": LATER,
            "timeline": _logged(Status.FAILED_FINAL, "Oops: for good"),
        },
        HOLDER,
    ),
    "bury": Case(
        processing(attempts=3, lease_until=LATER - 1, next_attempt_at=NOW),
        lambda row: transitions.bury(row, LATER, "WorkerDied: silent", "token-9"),
        {
            "status": Status.FAILED_FINAL,
            "index_class": IndexClass.DEAD,
            "lease_until": None,
            "next_attempt_at": None,
            "token": "token-9",
            "error": "WorkerDied: silent",
            "updated_at": LATER,
            "timeline": _logged(Status.FAILED_FINAL, "WorkerDied: silent"),
        },
        (*AS_READ, ("open", {"index_class": IndexClass.PARKED})),
    ),
    "mark_recorded": Case(
        dead(),
        lambda row: transitions.mark_recorded(row, EXPIRES, "token-9"),
        {"index_class": IndexClass.RECORDED, "expires_at_seconds": EXPIRES, "token": "token-9"},
        (
            ("same_generation", {"generation": 2}),
            ("dead", {"status": Status.SUBMITTED}),
            ("not_recorded", {"index_class": IndexClass.RECORDED}),
        ),
    ),
    "hand_back": Case(
        AGAIN_DUE,
        lambda row: transitions.hand_back(row, "message-9", LATER, "token-9"),
        {
            "token": "token-9",
            "sent_at": LATER,
            "message_id": None,
            "handed_back": frozenset({"message-9"}),
            "updated_at": LATER,
        },
        (
            *AS_READ,
            ("due", {"next_attempt_at": LATER + 1}),
            ("hand_backs_left", {"handed_back": frozenset({"message-1", "message-2", "message-3"})}),
        ),
    ),
    "hand_back of a message that was handed back before": Case(
        replace(AGAIN_DUE, handed_back=frozenset({"message-1", "message-2", "message-9"})),
        lambda row: transitions.hand_back(row, "message-9", LATER, "token-9"),
        {"token": "token-9", "sent_at": LATER, "message_id": None, "updated_at": LATER},
        (),
    ),
    "hand_back of a third message": Case(
        replace(AGAIN_DUE, handed_back=frozenset({"message-1", "message-2"})),
        lambda row: transitions.hand_back(row, "message-9", LATER, "token-9"),
        {
            "token": "token-9",
            "sent_at": LATER,
            "message_id": None,
            "handed_back": frozenset({"message-1", "message-2", "message-9"}),
            "updated_at": LATER,
        },
        (),
    ),
    "mark_sent": Case(
        AGAIN_DUE,
        lambda row: transitions.mark_sent(row, LATER),
        {"sent_at": LATER, "sends": 1, "message_id": None},
        (
            ("same_generation", {"generation": 2}),
            ("class_as_read", {"index_class": IndexClass.CANCELLED}),
            ("not_sent_since", {"sent_at": NOW + 1}),
            ("no_live_lease", {"lease_until": LATER}),
            ("due", {"next_attempt_at": LATER + 1}),
        ),
    ),
    "mark_sent of a parked task that is due": Case(
        waiting(index_class=IndexClass.PARKED, next_attempt_at=LATER, message_id=None),
        lambda row: transitions.mark_sent(row, LATER),
        {"sent_at": LATER, "sends": 1, "index_class": IndexClass.OPEN},
        (("class_as_read", {"index_class": IndexClass.OPEN}),),
    ),
    "cancel": Case(
        processing(),
        _cancel,
        CANCELLED,
        (
            ("same_generation", {"generation": 2}),
            ("status_as_read", {"status": Status.COMPLETED}),
            ("status_as_read", {"status": Status.FAILED_PENDING}),
            ("token_as_read", {"token": "somebody-else"}),
        ),
    ),
    "cancel of a task that nobody has taken": Case(a_task(), _cancel, CANCELLED, ()),
    "cancel of a task that waits": Case(waiting(), _cancel, CANCELLED, ()),
    "cancel of a parked task": Case(
        waiting(index_class=IndexClass.PARKED, next_attempt_at=MUCH_LATER, message_id=None), _cancel, CANCELLED, ()
    ),
    "replay": Case(
        RECORDED,
        _replay,
        REPLAYED,
        (
            ("same_generation", {"generation": 2}),
            ("dead", {"status": Status.SUBMITTED}),
            ("dead", {"status": Status.CANCELLED}),
            ("recorded", {"index_class": IndexClass.DEAD}),
            ("recorded", {"index_class": IndexClass.OPEN}),
            ("not_expired", {"expires_at_seconds": LATER // 1000 - 1}),
        ),
    ),
    "replay of a task that expires this very second": Case(
        replace(RECORDED, expires_at_seconds=LATER // 1000), _replay, REPLAYED, ()
    ),
    "replay of a task without an expiry": Case(replace(RECORDED, expires_at_seconds=None), _replay, REPLAYED, ()),
    "replay of a task with a long history": Case(
        replace(RECORDED, generation=2, timeline=(*FIRST_LIFE, *SECOND_LIFE)),
        _replay,
        {**REPLAYED, "generation": 3, "timeline": (*SECOND_LIFE, TimelineEntry(LATER, "SUBMITTED", 3))},
        (),
    ),
}
REFUSALS = [
    pytest.param(case, term, change, id=f"{name} - {term} - {', '.join(change)} {number}")
    for name, case in CASES.items()
    for number, (term, change) in enumerate(case.broken)
]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_transition_changes_what_it_says_and_nothing_else(case: Case, store: TaskStore) -> None:
    row = planted(store, case.row)
    assert store.apply(case.write(row)) == case.changed()
    assert store.get(row.task_id) == case.changed()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_transition_whose_row_nobody_needs_changes_the_same(case: Case, store: TaskStore) -> None:
    row = planted(store, case.row)
    assert store.write(case.write(row)) is None
    assert store.get(row.task_id) == case.changed()
    if case.broken:  # what cannot be told from its own repetition has no such term
        assert store.write(case.write(row)) == Refused(case.changed())


@pytest.mark.parametrize(("case", "term", "change"), REFUSALS)
def test_a_transition_is_refused_with_the_old_row_when_a_single_term_does_not_hold(
    case: Case, term: str, change: dict[str, Any], store: TaskStore
) -> None:
    row = planted(store, replace(case.row, **change))
    write = case.write(case.row)
    assert store.apply(write) == Refused(row)
    assert store.get(row.task_id) == row
    assert isinstance(store.apply(write.without(term)), Task), "another term was broken as well"


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_transition_of_a_task_that_is_not_there_makes_no_row(case: Case, store: TaskStore) -> None:
    assert store.apply(case.write(case.row)) == Refused(None)
    assert store.get(case.row.task_id) is None


@pytest.mark.parametrize("name", sorted({name.split()[0] for name in CASES}))
def test_every_term_of_every_transition_has_a_case_that_breaks_it_alone(name: str) -> None:
    assert {term for term, _ in CASES[name].broken} == set(CASES[name].write(CASES[name].row).conditions)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_after_a_transition_the_index_holds_the_task_in_its_class_only(case: Case, store: TaskStore) -> None:
    store.apply(case.write(planted(store, case.row)))
    where = [kind for kind in IndexClass if store.page(kind, shard_of(TASK_ID), 10).tasks]
    assert where == [case.changed().index_class]


def test_a_parked_task_is_sorted_by_its_due_time_and_by_its_creation_once_it_is_sent(store: TaskStore) -> None:
    row = planted(store, processing())
    store.apply(transitions.park(row, LATER, "Oops: much later", MUCH_LATER))
    assert not _found(store, IndexClass.PARKED, MUCH_LATER - 1)
    (parked,) = _found(store, IndexClass.PARKED, MUCH_LATER)
    store.apply(transitions.mark_sent(parked, MUCH_LATER))
    assert [task.task_id for task in _found(store, IndexClass.OPEN, NOW)] == [TASK_ID]


def _found(store: TaskStore, index_class: IndexClass, up_to: int) -> tuple[Task, ...]:
    return store.page(index_class, shard_of(TASK_ID), 10, None, class_sort(up_to, "~")).tasks


def test_a_parked_task_that_is_cancelled_is_sorted_by_its_creation_again(store: TaskStore) -> None:
    row = planted(store, processing())
    parked = store.apply(transitions.park(row, LATER, "Oops: much later", MUCH_LATER))
    assert isinstance(parked, Task)
    store.apply(_cancel(parked))
    assert [task.task_id for task in _found(store, IndexClass.CANCELLED, NOW)] == [TASK_ID]


# A replay with its payload. -------------------------------------------------------------------------------------------
# DynamoDB remembers a transaction's token for the whole account: each must be new.

LONG = '{"text": "%s"}' % ("x" * 2000)
PAYLOAD_KEY = {"PK": {"S": f"T#{TASK_ID}"}, "SK": {"S": "P"}}


def _recorded_with_a_long_payload(table: Table, **changes: Any) -> Task:
    """Dead and recorded; row and payload expire together."""
    row = table.store.create(replace(RECORDED, token=new_id("token"), **changes), LONG, NOW)
    assert isinstance(row, Task)
    table.client.update_item(
        TableName=table.name,
        Key=PAYLOAD_KEY,
        UpdateExpression="SET expiresAt = :at",
        ExpressionAttributeValues={":at": {"N": str(EXPIRES)}},
    )
    assert _payload(table) == {**PAYLOAD_KEY, "payload": {"S": LONG}, "expiresAt": {"N": str(EXPIRES)}}
    return row


def _payload(table: Table) -> dict[str, Any] | None:
    return table.item(f"T#{TASK_ID}", "P")


def _replayed(row: Task, token: str) -> Task:
    return replace(row, **{**REPLAYED, "token": token})


def test_a_replay_of_a_task_with_a_short_payload_writes_its_row(table: Table) -> None:
    row = planted(table.store, RECORDED)
    assert table.store.replay(row, _replay(row), "token-9") is None
    assert table.store.get(TASK_ID) == _replayed(row, "token-9")
    assert _payload(table) is None


def test_a_replay_that_is_refused_says_what_stands_there_and_changes_nothing(store: TaskStore) -> None:
    row = planted(store, replace(RECORDED, generation=2))
    assert store.replay(RECORDED, _replay(RECORDED), "token-9") == Refused(row)
    assert store.get(TASK_ID) == row


def test_a_replay_keeps_a_long_payload_from_expiring(table: Table) -> None:
    row, token = _recorded_with_a_long_payload(table), new_id("token")
    assert table.store.replay(row, transitions.replay(row, LATER, token), token) is None
    assert table.store.get(TASK_ID) == _replayed(row, token)
    assert _payload(table) == {**PAYLOAD_KEY, "payload": {"S": LONG}}


def test_a_replay_that_is_refused_leaves_a_long_payload_to_expire(table: Table) -> None:
    there, token = _recorded_with_a_long_payload(table, generation=2), new_id("token")
    seen = replace(there, generation=1)
    assert table.store.replay(seen, transitions.replay(seen, LATER, token), token) == Refused(there)
    assert table.store.get(TASK_ID) == there
    assert _payload(table) == {**PAYLOAD_KEY, "payload": {"S": LONG}, "expiresAt": {"N": str(EXPIRES)}}


def test_a_task_whose_long_payload_is_gone_is_not_replayed(table: Table) -> None:
    row, token = _recorded_with_a_long_payload(table), new_id("token")
    table.client.delete_item(TableName=table.name, Key=PAYLOAD_KEY)
    assert table.store.replay(row, transitions.replay(row, LATER, token), token) == Refused(None)
    assert table.store.get(TASK_ID) == row
    assert _payload(table) is None


def test_a_replay_that_is_repeated_under_its_token_counts_once(table: Table) -> None:
    row, token = _recorded_with_a_long_payload(table), new_id("token")
    write = transitions.replay(row, LATER, token)
    assert [table.store.replay(row, write, token) for _ in range(2)] == [None, None]
    assert table.store.get(TASK_ID) == _replayed(row, token)
