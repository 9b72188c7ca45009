"""What the sweeper heals, and what it leaves alone."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from itertools import islice, product
from operator import itemgetter

import pytest

from lambdas.common import transitions
from lambdas.common.dead_letters import Recorder
from lambdas.common.decisions import Consumption, resend_due_at
from lambdas.common.store import Page, Refused, TaskStore
from lambdas.common.task import SHARDS, VERSION, Claim, IndexClass, Message, Status, Task, class_sort, shard_of
from lambdas.common.transitions import Write
from lambdas.sweep_tasks.sweep import PAGE_SIZE, PAGES_PER_SHARD, Healed, Store, Sweeper
from tests.support.dynamodb import FakeDynamoDB, task_store
from tests.support.faults import Between
from tests.support.queue import FakeQueue
from tests.support.tasks import NOW, SECOND, TASK_ID, Clock, Tokens, a_task, dead, planted, processing, waiting

RESEND_AFTER_MS = 900 * SECOND
OLD = NOW - 2 * RESEND_AFTER_MS
"""When those tasks were made that a sweep at NOW looks at, and finds in order."""
RETENTION_SECONDS = 30 * 86_400
MESSAGE = Message(TASK_ID, 1)


class World:
    def __init__(self) -> None:
        self.client = FakeDynamoDB()
        self.store = task_store(self.client)
        self.queue = FakeQueue()
        self.clock = Clock()
        self.paused = False
        self.resend_after_ms = RESEND_AFTER_MS
        self.complaints: list[tuple[str, str]] = []

    def sweep(
        self, time_left: Callable[[], bool] = lambda: True, client: object = None, store: Store | None = None
    ) -> Healed:
        store = store or task_store(client or self.client)
        recorder = Recorder(self.store, RETENTION_SECONDS, self.clock, Tokens())
        after = self.resend_after_ms
        sweeper = Sweeper(store, self.queue, recorder, lambda: self.paused, after, self.clock, self._complain)
        return sweeper.sweep(time_left)

    def row(self, task_id: str = TASK_ID) -> Task:
        row = self.store.get(task_id)
        assert row is not None
        return row

    def _complain(self, task: Task, error: Exception) -> None:
        self.complaints.append((task.task_id, type(error).__name__))


class Mirror:
    """The table with its rows (none parked) kept as values, too: thousands are looked at a hundred times in seconds.

    Every write goes to the table and is carried out, or refused, there.
    """

    def __init__(self, store: TaskStore, tasks: Iterable[Task]) -> None:
        self._store = store
        self.rows = {task.task_id: planted(store, task) for task in tasks}
        self._sorted: dict[tuple[IndexClass, int], list[tuple[str, Task]]] = {}

    def page(
        self, index_class: IndexClass, shard: int, limit: int, after: str | None = None, up_to: str | None = None
    ) -> Page:
        entries = self._partition(index_class, shard)
        found = [entry for entry in entries if (after or "") <= entry[0] <= (up_to or "~")][:limit]
        return Page(tuple(task for _, task in found), found[-1][0] + "!" if len(found) == limit else None)

    def youngest(self, index_class: IndexClass, shard: int) -> Task | None:
        entries = self._partition(index_class, shard)
        return entries[-1][1] if entries else None

    def apply(self, write: Write) -> Task | Refused:
        written = self._store.apply(write)
        if isinstance(written, Task):
            self.rows[written.task_id] = written
            self._sorted.clear()
        return written

    def cursor(self, name: str) -> str | None:
        return self._store.cursor(name)

    def set_cursor(self, name: str, cursor: str | None) -> None:
        self._store.set_cursor(name, cursor)

    def _partition(self, index_class: IndexClass, shard: int) -> list[tuple[str, Task]]:
        if not self._sorted:
            ordered = sorted(
                ((class_sort(task.created_at, task.task_id), task) for task in self.rows.values()), key=itemgetter(0)
            )
            for sort, task in ordered:
                self._sorted.setdefault((task.index_class, shard_of(task.task_id)), []).append((sort, task))
        return self._sorted.get((index_class, shard), [])


@pytest.fixture
def world() -> World:
    return World()


# Lost messages. -------------------------------------------------------------------------------------------------------

SILENT = {
    "submitted": a_task(),
    "submitted to run soon": a_task(sent_at=NOW - 9 * SECOND, next_attempt_at=NOW),
    "failed and due": waiting(sent_at=NOW - 9 * SECOND, next_attempt_at=NOW),
    "its worker died": processing(sent_at=NOW - 9 * SECOND, lease_until=NOW),
    "its last worker died": processing(sent_at=NOW - 9 * SECOND, lease_until=NOW, attempts=3),
}


@pytest.mark.parametrize("row", SILENT.values(), ids=SILENT)
def test_a_task_that_is_silent_for_too_long_is_sent_again(row: Task, world: World) -> None:
    planted(world.store, row)
    world.clock.advance(RESEND_AFTER_MS)
    assert world.sweep() == Healed(examined=1)
    world.clock.advance(1)
    assert world.sweep() == Healed(examined=1, resent=1)
    assert world.queue.sent == [(MESSAGE, 0)]
    assert (world.row().sent_at, world.row().sends, world.row().message_id) == (world.clock.at, 1, None)
    assert world.row().status is row.status


def test_each_resend_waits_longer_until_somebody_claims_the_task(world: World) -> None:
    planted(world.store, a_task())
    # 15 minutes, then four times as long each, at most twelve hours.
    looked_at = (15, 16, 76, 77, 317, 318, 1038, 1039, 1439)
    assert [minute for minute in looked_at if _swept_at(world, minute).resent] == [16, 77, 318, 1039]


def test_a_claim_ends_the_growing_of_the_waits(world: World) -> None:
    planted(world.store, a_task(sends=3))
    claimed = world.store.apply(transitions.claim(Claim(MESSAGE, "message-1", "worker", NOW, NOW + SECOND)))
    assert isinstance(claimed, Task)
    world.store.apply(transitions.retry(claimed, NOW, "Oops", NOW))
    world.clock.at = NOW + RESEND_AFTER_MS + 1
    assert world.sweep().resent == 1


def test_a_message_belongs_to_the_generation_of_the_row(world: World) -> None:
    planted(world.store, a_task(generation=3))
    world.clock.advance(RESEND_AFTER_MS + 1)
    world.sweep()
    assert world.queue.sent == [(Message(TASK_ID, 3), 0)]


def test_of_two_sweepers_one_sends(world: World) -> None:
    planted(world.store, a_task())
    world.clock.advance(RESEND_AFTER_MS + 1)
    other: list[Healed] = []
    racing = Between(world.client, "update_item", lambda: other.append(world.sweep()))
    assert (world.sweep(client=racing).resent, other[0].resent) == (0, 1)
    assert (len(world.queue.sent), world.complaints) == (1, []), "whoever comes second has no trouble to tell of"


def test_a_task_that_is_claimed_while_it_is_swept_is_not_sent(world: World) -> None:
    planted(world.store, a_task())
    world.clock.advance(RESEND_AFTER_MS + 1)
    claim = transitions.claim(Claim(MESSAGE, "message-1", "worker", world.clock.at, world.clock.at + 30 * SECOND))
    racing = Between(world.client, "update_item", lambda: world.store.apply(claim))
    assert world.sweep(client=racing).resent == 0
    assert (world.queue.sent, world.row().message_id) == ([], "message-1")


@pytest.mark.parametrize(
    "row",
    [
        a_task(status=Status.COMPLETED, index_class=IndexClass.COMPLETED),
        a_task(status=Status.CANCELLED, index_class=IndexClass.CANCELLED),
        dead(index_class=IndexClass.RECORDED),
    ],
    ids=["completed", "cancelled", "dead and recorded"],
)
def test_a_task_that_has_ended_is_not_even_looked_at(row: Task, world: World) -> None:
    planted(world.store, row)
    world.clock.advance(1000 * RESEND_AFTER_MS)
    assert world.sweep() == Healed()
    assert world.row() == row


# A consumer that is paused, and one that is behind. -------------------------------------------------------------------


def test_while_nobody_consumes_nothing_is_sent_again_but_due_and_dead_tasks_are_handled(world: World) -> None:
    parked = a_task(task_id="parked", index_class=IndexClass.PARKED, next_attempt_at=NOW)
    for row in (a_task(task_id="lost"), parked, dead(task_id="dead")):
        planted(world.store, row)
    world.paused = True
    world.clock.at = NOW + 1000 * RESEND_AFTER_MS
    healed = Healed(paused=True, examined=4, unparked=1, recorded=1, oldest_dead_seconds=RESEND_AFTER_MS)
    assert world.sweep() == healed, "the unparked one also as open"
    assert world.queue.sent == [(Message("parked", 1), 0)]
    assert world.row("lost").sends == 0

    world.paused = False
    assert world.sweep().resent == 1
    assert world.queue.sent[-1] == (Message("lost", 1), 0)


@pytest.mark.parametrize(
    ("backlog", "completed", "wait_ms"),
    [
        (0, None, RESEND_AFTER_MS),
        (1, None, 4 * RESEND_AFTER_MS),
        (1, a_task(task_id="done", created_at=NOW), 4 * RESEND_AFTER_MS),
        (1, a_task(task_id="done", created_at=NOW + 1), RESEND_AFTER_MS),
        (1, a_task(task_id="done", created_at=NOW - 1, updated_at=NOW + SECOND), 4 * RESEND_AFTER_MS),
    ],
    ids=["empty queue", "long line", "as old as itself done", "a younger one done", "an older one done just now"],
)
def test_in_a_long_line_a_message_is_waited_for_four_times_longer_unless_younger_tasks_had_their_turn(
    backlog: int, completed: Task | None, wait_ms: int, world: World
) -> None:
    planted(world.store, a_task())
    if completed is not None:
        planted(world.store, replace(completed, status=Status.COMPLETED, index_class=IndexClass.COMPLETED))
    world.queue.backlog = backlog
    world.clock.at = NOW + wait_ms
    assert world.sweep().resent == 0
    world.clock.advance(1)
    assert world.sweep().resent == 1


@pytest.mark.parametrize(
    "younger",
    [
        a_task(task_id="younger", created_at=NOW + SECOND, sent_at=NOW + 10 * RESEND_AFTER_MS),
        processing(task_id="younger", created_at=NOW + SECOND, lease_until=NOW + 10 * RESEND_AFTER_MS),
        dead(task_id="younger", created_at=NOW + SECOND, index_class=IndexClass.RECORDED),
        a_task(task_id="younger", created_at=NOW + SECOND, status=Status.CANCELLED, index_class=IndexClass.CANCELLED),
    ],
    ids=["submitted", "processing", "dead", "cancelled"],
)
def test_only_completed_tasks_are_evidence_of_how_far_the_queue_is(younger: Task, world: World) -> None:
    planted(world.store, a_task())
    planted(world.store, younger)
    world.queue.backlog = 1
    world.clock.at = NOW + RESEND_AFTER_MS + 1
    assert world.sweep().resent == 0


@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_completed_task_of_any_shard_is_evidence(shard: int, world: World) -> None:
    planted(world.store, a_task())
    name = next(name for name in _of_shard(shard, 2) if name != TASK_ID)
    done = a_task(task_id=name, created_at=NOW + 1, status=Status.COMPLETED, index_class=IndexClass.COMPLETED)
    planted(world.store, done)
    world.queue.backlog = 1
    world.clock.at = NOW + RESEND_AFTER_MS + 1
    assert world.sweep().resent == 1


class LongLine:
    """Tasks whose messages all wait, because nobody consumes them; then somebody does, slowly and in no order."""

    def __init__(self, world: World, count: int) -> None:
        self.world = world
        self.table = Mirror(world.store, [a_task(task_id=f"task-{n}", **_at(NOW + 10 * n)) for n in range(count)])
        self.messages = [Message(task_id, 1) for task_id in self.table.rows]
        self.claims: Counter[str] = Counter()
        self._order = random.Random(1)

    @property
    def sends(self) -> Counter[str]:
        """The submit's own included."""
        return Counter([*self.table.rows, *(message.task_id for message, _ in self.world.queue.sent)])

    def sweep(self, minute: int) -> Healed:
        self.world.clock.at = NOW + minute * 60 * SECOND
        self.world.queue.backlog = len(self.messages)
        sent_before = len(self.world.queue.sent)
        healed = self.world.sweep(store=self.table)
        self.messages += [message for message, _ in self.world.queue.sent[sent_before:]]
        return healed

    def consume(self, count: int) -> None:
        self._order.shuffle(self.messages)
        taken, self.messages = self.messages[:count], self.messages[count:]
        for number, message in enumerate(taken):
            now = self.world.clock.at
            wish = Claim(message, f"message-{number}", f"worker-{number}", now, now + 30 * SECOND)
            claimed = self.table.apply(transitions.claim(wish))
            if isinstance(claimed, Task):
                self.claims[message.task_id] += 1
                self.table.apply(transitions.complete(claimed, now, None, now // 1000 + RETENTION_SECONDS))


@pytest.mark.parametrize(("known", "minutes"), [(True, 120), (False, 60)], ids=["pause known", "pause unknown"])
def test_a_long_time_without_a_consumer_is_followed_by_no_storm(known: bool, minutes: int, world: World) -> None:
    """By itself the sweeper waits four times 15 minutes; for as long as it knows of a pause, it waits on."""
    line = LongLine(world, 400)
    world.paused = known
    assert sum(line.sweep(minute).resent for minute in range(minutes + 1)) == 0

    world.paused = False
    minute = minutes
    while line.messages:
        line.consume(20)
        minute += 1
        line.sweep(minute)

    assert set(line.sends.values()) <= {1, 2}
    assert set(line.claims.values()) == {1}
    assert {row.status for row in line.table.rows.values()} == {Status.COMPLETED}
    assert line.claims.keys() == line.table.rows.keys()


def _at(moment: int) -> dict[str, int]:
    return {"created_at": moment, "updated_at": moment, "sent_at": moment}


# Parked tasks. --------------------------------------------------------------------------------------------------------


def test_a_parked_task_is_sent_when_it_is_due_and_not_before(world: World) -> None:
    due = NOW + 3_600 * SECOND
    planted(world.store, waiting(index_class=IndexClass.PARKED, next_attempt_at=due, message_id=None))
    world.clock.at = due - 1
    assert world.sweep() == Healed()
    world.clock.at = due
    assert world.sweep() == Healed(examined=2, unparked=1), "once as parked, then once as open"
    assert world.queue.sent == [(MESSAGE, 0)]
    assert (world.row().index_class, world.row().sent_at, world.row().status) == (
        IndexClass.OPEN,
        due,
        Status.FAILED_PENDING,
    )
    assert world.sweep().unparked == 0


def test_a_task_that_was_unparked_can_be_claimed(world: World) -> None:
    due = NOW + 3_600 * SECOND
    planted(world.store, a_task(index_class=IndexClass.PARKED, next_attempt_at=due))
    world.clock.at = due
    world.sweep()
    claim = transitions.claim(Claim(MESSAGE, "message-1", "worker", due, due + 30 * SECOND))
    assert isinstance(world.store.apply(claim), Task)


def test_an_unpark_whose_message_is_lost_is_healed_as_a_lost_message(world: World) -> None:
    planted(world.store, a_task(index_class=IndexClass.PARKED, next_attempt_at=NOW))
    world.queue.failure = ConnectionError()
    assert (world.sweep().failed, world.complaints) == (1, [(TASK_ID, "ConnectionError")])
    world.queue.failure = None
    # The mark counts as a re-send, so that the wait is four times as long.
    world.clock.at = NOW + 4 * RESEND_AFTER_MS
    assert world.sweep().resent == 0
    world.clock.advance(1)
    assert world.sweep().resent == 1
    assert world.queue.sent == [(MESSAGE, 0)]


def test_a_task_of_a_newer_version_is_left_to_the_sweeper_of_its_own_deployment(world: World) -> None:
    planted(world.store, a_task(version=VERSION + 1))
    world.clock.at = NOW + 100 * RESEND_AFTER_MS
    assert world.sweep() == Healed(examined=1)
    assert world.queue.sent == []


# Dead tasks. ----------------------------------------------------------------------------------------------------------


def test_the_age_told_is_that_of_the_task_that_died_first_also_when_it_cannot_be_recorded(world: World) -> None:
    for number in range(2):
        planted(world.store, dead(task_id=f"dead-{number}", updated_at=NOW + 60 * number * SECOND))
    planted(world.store, dead(task_id="newer", updated_at=NOW - 60 * SECOND, version=VERSION + 1))
    world.clock.at = NOW + 90 * SECOND
    assert world.sweep() == Healed(examined=3, oldest_dead_seconds=150)


def test_a_dead_task_that_nobody_recorded_is_recorded_after_a_quarter_of_an_hour(world: World) -> None:
    planted(world.store, dead())
    world.clock.at = NOW + 15 * 60 * SECOND
    assert world.sweep() == Healed(examined=1, oldest_dead_seconds=900)
    world.clock.advance(1)
    assert world.sweep() == Healed(examined=1, recorded=1, oldest_dead_seconds=900)
    found = world.store.find(TASK_ID, NOW)
    assert found is not None
    assert found.task.index_class is IndexClass.RECORDED
    assert [(letter.error, letter.message_id, letter.receives) for letter in found.dead_letters] == [
        ("Oops: it failed", "message-1", 0)
    ]
    assert world.queue.sent == []


@pytest.mark.parametrize(
    ("resend_after", "recorded_after"),
    [(1 * SECOND, 15 * SECOND), (20 * SECOND, 20 * SECOND), (3_600 * SECOND, 900 * SECOND)],
)
def test_a_dead_task_waits_as_long_as_any_other_message_within_bounds(
    resend_after: int, recorded_after: int, world: World
) -> None:
    planted(world.store, dead())
    world.resend_after_ms = resend_after
    world.clock.at = NOW + recorded_after
    assert world.sweep().recorded == 0
    world.clock.advance(1)
    assert world.sweep().recorded == 1


def test_a_dead_task_without_a_message_is_recorded_too(world: World) -> None:
    planted(world.store, dead(message_id=None))
    world.clock.at = NOW + 15 * 60 * SECOND + 1
    assert world.sweep().recorded == 1
    found = world.store.find(TASK_ID, NOW)
    assert found is not None
    assert [letter.message_id for letter in found.dead_letters] == ["none"]


# Bounds. --------------------------------------------------------------------------------------------------------------


def test_one_task_that_cannot_be_healed_keeps_no_other_from_it(world: World) -> None:
    names = _of_shard(0, 3)
    for name in names:
        planted(world.store, a_task(task_id=name))
    world.clock.advance(RESEND_AFTER_MS + 1)

    def broken() -> None:
        raise ConnectionError

    healed = world.sweep(client=Between(world.client, "update_item", broken))
    assert (healed.examined, healed.resent, healed.failed) == (3, 2, 1)
    assert world.complaints == [(min(names), "ConnectionError")]


def test_a_run_that_finds_nothing_to_heal_writes_nothing(world: World) -> None:
    planted(world.store, a_task(created_at=OLD))

    def written() -> None:
        raise AssertionError

    client: object = world.client
    for operation in ("put_item", "update_item", "delete_item"):
        client = Between(client, operation, written)
    assert world.sweep(client=client) == Healed(examined=1)


@pytest.mark.parametrize("paused", [False, True])
def test_a_task_that_is_too_young_to_be_looked_at_could_not_have_been_due(paused: bool) -> None:
    """A sweep does not read them: so whatever such a task looks like, it must not be due."""
    for row, after in product(SILENT.values(), (15 * SECOND, RESEND_AFTER_MS, 40 * RESEND_AFTER_MS)):
        for waits in (False, True):
            due_at = resend_due_at(row, after, Consumption(paused, waits, NOW))
            assert due_at is None or due_at >= row.created_at + after
        world = World()
        planted(world.store, row)
        world.resend_after_ms, world.paused = after, paused
        world.clock.at = row.created_at + after - 1
        assert world.sweep() == Healed(paused=paused), row
        world.clock.advance(1)
        assert world.sweep() == Healed(paused=paused, examined=1), row


def test_a_place_behind_the_youngest_that_is_looked_at_is_forgotten(world: World) -> None:
    """RESEND_AFTER was shorter when the last run stopped: BETWEEN a key and a smaller one is an error of DynamoDB's."""
    (name,) = _of_shard(0, 1)
    planted(world.store, a_task(task_id=name, created_at=OLD))
    world.store.set_cursor("O#0", class_sort(NOW, name) + "!")
    assert world.sweep() == Healed(examined=1)
    assert world.store.cursor("O#0") is None


@pytest.mark.parametrize("message_waits", [False, True])
def test_how_far_the_queue_is_worked_off_is_asked_only_while_messages_wait(message_waits: bool, world: World) -> None:
    """It decides about messages that wait, and costs a query and a read of each shard, each minute."""
    asked: list[int] = []

    class Asked(Mirror):
        def youngest(self, index_class: IndexClass, shard: int) -> Task | None:
            asked.append(shard)
            return super().youngest(index_class, shard)

    table = Asked(world.store, [])
    world.queue.backlog = int(message_waits)
    world.sweep(store=table)
    assert asked == (list(range(SHARDS)) if message_waits else [])


def test_another_shard_begins_each_minute(world: World) -> None:
    names = [_of_shard(shard, 1)[0] for shard in range(SHARDS)]
    for name in names:
        planted(world.store, a_task(task_id=name))
    healed = []
    for minute in range(100, 100 + SHARDS):
        world.clock.at = NOW + minute * 60 * SECOND
        first_two_pages = iter([True, True])  # of parked tasks and of open ones
        assert world.sweep(time_left=partial(next, first_two_pages, False)).resent == 1
        healed.append(shard_of(world.queue.sent[-1][0].task_id))
    assert healed == [(healed[0] + turn) % SHARDS for turn in range(SHARDS)]


def test_each_shard_is_gone_on_with_where_it_stopped_itself(world: World) -> None:
    for shard in range(SHARDS):
        for name in _of_shard(shard, PAGE_SIZE + 10):
            planted(world.store, a_task(task_id=name, created_at=OLD))
    for minute in range(SHARDS):
        world.clock.at = NOW + minute * 60 * SECOND
        first_two_pages = iter([True, True])
        assert world.sweep(time_left=partial(next, first_two_pages, False)).examined == PAGE_SIZE
    assert len({world.store.cursor(f"O#{shard}") for shard in range(SHARDS)} - {None}) == SHARDS
    assert world.sweep().examined == SHARDS * 10, "behind the first page of each"
    assert world.sweep().examined == SHARDS * (PAGE_SIZE + 10), "each from its beginning"


def test_every_shard_is_swept(world: World) -> None:
    names = [_of_shard(shard, 1)[0] for shard in range(SHARDS)]
    for name in names:
        planted(world.store, a_task(task_id=name))
    world.clock.advance(RESEND_AFTER_MS + 1)
    assert world.sweep().resent == SHARDS
    assert {message.task_id for message, _ in world.queue.sent} == set(names)


BOUND = PAGE_SIZE * PAGES_PER_SHARD


def test_a_run_looks_at_so_many_tasks_of_a_shard_the_next_goes_on_behind_them_and_the_last_wraps(world: World) -> None:
    names = _of_shard(0, BOUND + 5)
    rows = (a_task(task_id=name, created_at=OLD + number) for number, name in enumerate(names))
    table = Mirror(world.store, rows)
    assert [world.sweep(store=table).examined for _ in range(3)] == [BOUND, 5, BOUND]
    world.clock.advance(RESEND_AFTER_MS + 1)
    assert [world.sweep(store=table).resent, world.sweep(store=table).resent] == [5, BOUND]
    assert {message.task_id for message, _ in world.queue.sent} == set(names)


def test_a_run_without_time_begins_no_page_and_forgets_no_place(world: World) -> None:
    planted(world.store, a_task(task_id=_of_shard(0, 1)[0]))
    world.store.set_cursor("O#0", "0")
    assert world.sweep(time_left=lambda: False) == Healed()
    assert world.store.cursor("O#0") == "0"


def test_a_run_that_runs_out_of_time_is_gone_on_with_where_it_stopped(world: World) -> None:
    names = _of_shard(0, PAGE_SIZE + 1)
    for number, name in enumerate(names):
        planted(world.store, a_task(task_id=name, created_at=OLD + number))
    # The first page is of parked tasks, the second of open ones.
    answers = iter([True, True])
    assert world.sweep(time_left=lambda: next(answers, False)).examined == PAGE_SIZE
    assert world.sweep().examined == 1


def test_parked_tasks_that_are_due_are_found_behind_any_number_of_others(world: World) -> None:
    """They are sorted by their due time, so that those to come stand behind them."""
    due, *later = _of_shard(0, PAGE_SIZE + 1)
    for name in later:
        planted(world.store, a_task(task_id=name, index_class=IndexClass.PARKED, next_attempt_at=NOW + SECOND))
    planted(world.store, a_task(task_id=due, index_class=IndexClass.PARKED, next_attempt_at=NOW))
    assert world.sweep().unparked == 1
    assert world.queue.sent == [(Message(due, 1), 0)]


def _of_shard(shard: int, count: int) -> list[str]:
    names = (f"task-{number}" for number in range(100_000))
    return list(islice((name for name in names if shard_of(name) == shard), count))


def _swept_at(world: World, minute: int) -> Healed:
    world.clock.at = NOW + minute * 60 * SECOND
    return world.sweep()
