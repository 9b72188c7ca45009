"""What to do with a message whose claim was refused, or that came through the dead-letter queue: one row per rule."""

from __future__ import annotations

from typing import Any

import pytest

from lambdas.common.decisions import (
    UNDELIVERABLE,
    WORKER_DIED,
    Acknowledge,
    Bury,
    Consumption,
    Defer,
    Drop,
    HandBack,
    Heal,
    OwnWrite,
    Record,
    Stray,
    after_refused_claim,
    for_dead_message,
    for_sweep,
    may_resend_submitted,
    resend_due_at,
)
from lambdas.common.task import (
    Claim,
    IndexClass,
    Message,
    Status,
    Task,
    TimelineEntry,
    UnknownVersion,
    class_sort,
    numbered,
    parse_message,
    seconds_until,
    shard_of,
)
from tests.support.tasks import NOW, SECOND, TASK_ID, a_task, dead, processing, waiting

MINE = "message-1"
CLAIM = Claim(Message(TASK_ID, 1), MINE, "my-token", NOW, NOW + 30 * SECOND)
FULL = frozenset({"message-2", "message-3", "message-4"})

LIVE = processing(lease_until=NOW + 7 * SECOND)
DIED = processing(lease_until=NOW - 1, attempts=3)
PENDING = waiting(next_attempt_at=NOW + 1_500)
DUE = waiting(next_attempt_at=NOW)
PARKED = waiting(index_class=IndexClass.PARKED, message_id=None)

REFUSED_CLAIMS: dict[str, tuple[Task | None, object]] = {
    "no row": (None, Defer("no such task", 0)),
    "a row of a newer version": (a_task(version=2), Defer("row of an unknown version", 60)),
    "a newer version comes before every other rule": (
        dead(version=2, generation=2),
        Defer("row of an unknown version", 60),
    ),
    "my own claim, its acknowledgement lost": (processing(token="my-token"), OwnWrite()),
    "my token, though the attempt has ended": (
        waiting(token="my-token", next_attempt_at=NOW + SECOND),
        Defer("busy or backing off", 1),
    ),
    "my token of a generation that is over": (
        processing(token="my-token", generation=2),
        Acknowledge("older generation"),
    ),
    "an older generation": (a_task(generation=2), Acknowledge("older generation")),
    "a newer generation than the row": (a_task(generation=0), Defer("newer generation than the row", 0)),
    "completed": (
        a_task(status=Status.COMPLETED, index_class=IndexClass.COMPLETED),
        Acknowledge("already COMPLETED"),
    ),
    "cancelled": (
        a_task(status=Status.CANCELLED, index_class=IndexClass.CANCELLED),
        Acknowledge("already CANCELLED"),
    ),
    "dead": (dead(), Defer("dead", 0)),
    "dead and recorded": (dead(index_class=IndexClass.RECORDED), Defer("dead", 0)),
    "parked": (PARKED, Acknowledge("parked, the sweeper sends it when due")),
    "parked since it was submitted": (
        a_task(index_class=IndexClass.PARKED, next_attempt_at=NOW + SECOND),
        Acknowledge("parked, the sweeper sends it when due"),
    ),
    "a live lease under my own message": (LIVE, Defer("busy or backing off", 7)),
    "a live lease under no message": (
        processing(lease_until=NOW + 7 * SECOND, message_id=None),
        Defer("busy or backing off", 7),
    ),
    "a live lease under another message": (
        processing(message_id="message-2"),
        Acknowledge("a copy of the message that holds this task"),
    ),
    "a lease that ends this moment still lives": (processing(lease_until=NOW), Defer("busy or backing off", 1)),
    "backing off under my own message": (PENDING, Defer("busy or backing off", 2)),
    "backing off under no message": (
        waiting(next_attempt_at=NOW + 1_500, message_id=None),
        Defer("busy or backing off", 2),
    ),
    "backing off under another message": (
        waiting(message_id="message-2"),
        Acknowledge("a copy of the message that holds this task"),
    ),
    "submitted to run later": (a_task(next_attempt_at=NOW + 3 * SECOND), Defer("busy or backing off", 3)),
    "the worker of the last attempt died": (DIED, Bury(WORKER_DIED)),
    "the worker of the last attempt died under another message": (
        processing(lease_until=NOW - 1, attempts=3, message_id="message-2"),
        Bury(WORKER_DIED),
    ),
    "the worker of an earlier attempt died, and somebody was quicker": (
        processing(lease_until=NOW - 1),
        Defer("changed under the claim", 1),
    ),
    "due, and somebody was quicker": (DUE, Defer("changed under the claim", 1)),
}
DEAD_MESSAGES: dict[str, tuple[Task | None, object]] = {
    "no row": (None, Stray("no such task")),
    "a newer generation than the row": (a_task(generation=0), Stray("newer generation than the row")),
    "an older generation": (dead(generation=2), Drop("older generation")),
    "dead": (dead(), Record()),
    "dead and recorded": (dead(index_class=IndexClass.RECORDED), Record()),
    "completed": (a_task(status=Status.COMPLETED, index_class=IndexClass.COMPLETED), Drop("already COMPLETED")),
    "cancelled": (a_task(status=Status.CANCELLED, index_class=IndexClass.CANCELLED), Drop("already CANCELLED")),
    "parked": (PARKED, Drop("still in hand: lease, backoff or park")),
    "a live lease": (LIVE, Drop("still in hand: lease, backoff or park")),
    "a lease that ends this moment": (processing(lease_until=NOW), Drop("still in hand: lease, backoff or park")),
    "a live lease of the last attempt": (processing(attempts=3), Drop("still in hand: lease, backoff or park")),
    "backing off": (PENDING, Drop("still in hand: lease, backoff or park")),
    "the worker of the last attempt died": (DIED, Bury(WORKER_DIED)),
    "the worker of the last attempt died, though hand-backs are used up": (
        processing(lease_until=NOW - 1, attempts=3, handed_back=FULL),
        Bury(WORKER_DIED),
    ),
    "never begun": (a_task(), HandBack(counted=True)),
    "due again": (DUE, HandBack(counted=True)),
    "the worker of an earlier attempt died": (processing(lease_until=NOW - 1), HandBack(counted=True)),
    "handed back twice under other messages": (
        a_task(handed_back=frozenset({"message-2", "message-3"})),
        HandBack(counted=True),
    ),
    "handed back before, its deletion lost": (a_task(handed_back=frozenset({MINE})), HandBack(counted=False)),
    "handed back before, and the set is full": (
        a_task(handed_back=frozenset({MINE, "message-2", "message-3"})),
        HandBack(counted=False),
    ),
    "a new message, and the set is full": (a_task(handed_back=FULL), Bury(UNDELIVERABLE)),
}


def test_a_refused_claim_is_decided_by_the_row_as_it_was() -> None:
    for row, decision in REFUSED_CLAIMS.values():
        assert after_refused_claim(row, CLAIM) == decision, row


def test_a_dead_message_is_decided_by_the_row() -> None:
    for row, decision in DEAD_MESSAGES.values():
        assert for_dead_message(row, CLAIM.message, MINE, NOW) == decision, row


def test_waits_are_rounded_up_to_whole_seconds_within_what_sqs_allows() -> None:
    for at, seconds in (
        (0, 0),
        (1, 1),
        (999, 1),
        (1000, 1),
        (1001, 2),
        (-5000, 0),
        (10**12, 43_200),
    ):
        assert seconds_until(NOW + at, NOW) == seconds, at


@pytest.mark.parametrize(("version", "read"), [(-1, False), (0, True), (1, True), (2, False)])
def test_rows_and_messages_of_this_version_and_the_one_before_are_read(version: int, read: bool) -> None:
    assert a_task(version=version).readable is read
    document = {"v": version, "taskId": TASK_ID, "generation": 1}
    if read:
        assert parse_message(document) == Message(TASK_ID, 1)
    else:
        with pytest.raises(UnknownVersion):
            parse_message(document)


FLOWING = Consumption(paused=False, waiting=False, reached=0)


def test_each_resend_waits_four_times_longer_up_to_twelve_hours() -> None:
    for sends, seconds in (
        (0, 900),
        (1, 3_600),
        (2, 14_400),
        (3, 43_200),
        (4, 43_200),
        (400, 43_200),
    ):
        assert resend_due_at(a_task(sends=sends), 900 * SECOND, FLOWING) == NOW + seconds * SECOND, sends


@pytest.mark.parametrize(
    ("row", "since"),
    [
        (a_task(sent_at=NOW + 1), NOW + 1),
        (processing(lease_until=NOW + 5), NOW + 5),
        (waiting(next_attempt_at=NOW + 7), NOW + 7),
        (waiting(sent_at=NOW + 9, next_attempt_at=NOW + 7), NOW + 9),
    ],
)
def test_silence_counts_from_the_last_moment_at_which_somebody_was_to_act(row: Task, since: int) -> None:
    assert resend_due_at(row, 900 * SECOND, FLOWING) == since + 900 * SECOND


def test_the_sweeper_decides_by_the_row() -> None:
    for row, after_seconds, heal in (
        (a_task(), 900, None),
        (a_task(), 901, Heal.SEND),
        (waiting(next_attempt_at=NOW + SECOND), 901, None),
        (a_task(index_class=IndexClass.PARKED), 0, Heal.SEND),
        (dead(), 60, None),
        (dead(), 61, Heal.RECORD),
        (dead(index_class=IndexClass.RECORDED), 10**6, None),
        (a_task(status=Status.COMPLETED, index_class=IndexClass.COMPLETED), 10**6, None),
    ):
        assert for_sweep(row, NOW + after_seconds * SECOND, 900 * SECOND, 60 * SECOND, FLOWING) is heal, row


@pytest.mark.parametrize(
    ("row", "after_seconds", "sends"),
    [
        (a_task(), 60, False),
        (a_task(), 61, True),
        (a_task(next_attempt_at=NOW + SECOND), 61, False),
        (a_task(index_class=IndexClass.PARKED), 61, False),
        (waiting(next_attempt_at=NOW), 10**6, False),
        (processing(), 10**6, False),
        (dead(), 10**6, False),
    ],
)
def test_a_repeated_submit_sends_again_only_for_a_task_that_nobody_has_begun_and_that_is_silent(
    row: Task, after_seconds: int, sends: bool
) -> None:
    assert may_resend_submitted(row, NOW + after_seconds * SECOND) is sends


def test_nothing_counts_as_lost_while_nobody_consumes() -> None:
    assert resend_due_at(a_task(), 900 * SECOND, Consumption(paused=True, waiting=True, reached=0)) is None


@pytest.mark.parametrize(
    ("waiting", "reached", "seconds"),
    [
        (True, 0, 3_600),
        (True, NOW, 3_600),
        (True, NOW + 1, 900),
        (False, 0, 900),
        (False, NOW + 1, 900),
    ],
    ids=["long line", "its own turn", "younger tasks had their turn", "empty queue", "empty queue, younger done"],
)
def test_a_message_that_may_stand_in_line_is_waited_for_four_times_longer(
    waiting: bool, reached: int, seconds: int
) -> None:
    assert resend_due_at(a_task(), 900 * SECOND, Consumption(False, waiting, reached)) == NOW + seconds * SECOND


def test_the_timeline_numbers_attempts_by_the_claims_of_their_generation() -> None:
    states = [("SUBMITTED", 1), ("PROCESSING", 1), ("FAILED_PENDING", 1), ("PROCESSING", 1), ("FAILED_FINAL", 1)]
    states += [("SUBMITTED", 2), ("PROCESSING", 2), ("COMPLETED", 2)]
    timeline = [TimelineEntry(NOW, status, generation) for status, generation in states]
    assert [attempt for _, attempt in numbered(timeline)] == [0, 1, 1, 2, 2, 0, 1, 1]


def test_a_message_that_is_not_ours_is_none() -> None:
    documents: tuple[object, ...] = (
        None,
        [],
        "text",
        {},
        {"v": 1, "taskId": "a"},
        {"v": 1, "generation": 1},
        {"taskId": "a", "generation": 1},
        {"v": "1", "taskId": "a", "generation": 1},
        {"v": True, "taskId": "a", "generation": 1},
        {"v": 1, "taskId": "a", "generation": True},
        {"v": 1, "taskId": "a", "generation": 1.5},
        {"v": 1, "taskId": 5, "generation": 1},
        {"v": 1, "taskId": "", "generation": 1},
    )
    for document in documents:
        assert parse_message(document) is None, document


@pytest.mark.parametrize("version", [0, 1])
def test_messages_of_this_version_and_the_one_before_are_read(version: int) -> None:
    assert parse_message({"v": version, "taskId": "a", "generation": 2}) == Message("a", 2)


def test_a_message_of_a_newer_version_is_not_decided_on() -> None:
    document: dict[str, Any] = {"v": 2, "taskId": "a", "generation": 1}
    with pytest.raises(UnknownVersion, match="version 2"):
        parse_message(document)


def test_the_shard_of_an_id_never_changes() -> None:
    """Rows already written keep theirs: these numbers may not be adapted to the code."""
    assert [shard_of(name) for name in ("task-1", "task-2", "a", "Z.9_:-", "task-4")] == [3, 1, 3, 1, 0]


def test_sort_keys_of_a_class_sort_by_time() -> None:
    moments = [0, 5, 999_999_999_999, NOW, 9_999_999_999_999]
    assert sorted(class_sort(at, "a") for at in reversed(moments)) == [class_sort(at, "a") for at in moments]
