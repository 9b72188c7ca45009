"""Monitor, sweeper, people and workers at one task at once: what each term of a condition keeps from happening.

First the terms that alone keep it off. Then the second locks: the first is taken away, and they hold by themselves.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from lambdas.common import transitions
from lambdas.common.dead_letters import Recorder
from lambdas.common.decisions import Answer
from lambdas.common.kinds import JsonObject, Registry, Work
from lambdas.common.queue import MAX_DELAY_SECONDS, body_of
from lambdas.common.retry import Backoff, PermanentError, RetryAfter
from lambdas.common.task import MAX_HAND_BACKS, Claim, IndexClass, Message, Status, Task, recent
from lambdas.monitor_dlq.monitor import DeadMessage, Monitor
from lambdas.process_task.attempt import Delivery, Worker
from lambdas.steer_tasks.steer import Steering
from lambdas.sweep_tasks.sweep import Sweeper
from tests.mutation.registry import dropped, terms
from tests.support.dynamodb import FakeDynamoDB, task_store
from tests.support.faults import Between
from tests.support.queue import FakeQueue
from tests.support.tasks import NOW, SECOND, TASK_ID, Clock, Tokens, a_task, dead, planted, processing

RETENTION_SECONDS = 30 * 86_400
RESEND_AFTER_MS = 900 * SECOND
FULL = frozenset(f"message-{number}" for number in range(11, 11 + MAX_HAND_BACKS))


@dataclass
class World:
    """One table, and everybody who acts on it. `meanwhile` happens right before the first update of the one asked."""

    client: Any = field(default_factory=FakeDynamoDB)
    queue: FakeQueue = field(default_factory=FakeQueue)
    clock: Clock = field(default_factory=Clock)
    tokens: Tokens = field(default_factory=Tokens)

    def store(self, meanwhile: Callable[[], object] | None = None) -> Any:
        return task_store(Between(self.client, "update_item", meanwhile) if meanwhile else self.client)

    def row(self) -> Task:
        row: Task | None = self.store().get(TASK_ID)
        assert row is not None
        return row

    def monitor(self, message_id: str, meanwhile: Callable[[], object] | None = None) -> str:
        store = self.store(meanwhile)
        recorder = Recorder(store, RETENTION_SECONDS, self.clock, self.tokens)
        dead_message = DeadMessage(message_id, body_of(Message(TASK_ID, 1)), 6, None)
        return Monitor(store, self.queue, recorder, self.clock, self.tokens).handle(dead_message).event

    def sweep(self, meanwhile: Callable[[], object]) -> int:
        store = self.store(meanwhile)
        recorder = Recorder(store, RETENTION_SECONDS, self.clock, self.tokens)
        sweeper = Sweeper(store, self.queue, recorder, lambda: False, RESEND_AFTER_MS, self.clock, _complain)
        return sweeper.sweep(lambda: True).resent

    def steering(self, meanwhile: Callable[[], object] | None = None) -> Steering:
        return Steering(self.store(meanwhile), self.queue, RETENTION_SECONDS, self.clock, self.tokens)

    def claim(self, generation: int = 1) -> Task:
        """Another worker takes the task; its lease lives for 30 s."""
        now = self.clock()
        wish = Claim(Message(TASK_ID, generation), "message-9", self.tokens(), now, now + 30 * SECOND)
        claimed = self.store().apply(transitions.claim(wish))
        assert isinstance(claimed, Task)
        return claimed

    def second_life(self) -> None:
        """The task fails for good, is recorded and replayed, and a worker is at the first attempt of that life."""
        self.store().apply(transitions.die(self.claim(), self.clock(), "Oops: for good"))
        Recorder(self.store(), RETENTION_SECONDS, self.clock, self.tokens).record(self.row(), "message-9", 6, None)
        assert self.steering().replay(TASK_ID).answer is Answer.GO
        self.queue.sent.clear()
        assert self.claim(generation=2).attempts == 1


@pytest.fixture
def world() -> World:
    return World()


def _complain(task: Task, error: Exception) -> None:
    raise AssertionError(f"{task.task_id} could not be healed") from error


@contextmanager
def without(write: str, *names: str) -> Iterator[None]:
    """While this lasts, these terms of a write are not sent."""
    with ExitStack() as all_of_them:
        for term in [term for term in terms() if term.write == write and term.name in names]:
            all_of_them.enter_context(dropped(term))
        yield


# The only lock. -------------------------------------------------------------------------------------------------------


def test_a_task_that_is_cancelled_while_it_is_swept_is_not_put_back_among_the_open(world: World) -> None:
    """It would be CANCELLED in the class of the open, and be sent again and again (I3)."""
    planted(world.store(), a_task())
    world.clock.advance(RESEND_AFTER_MS + 1)
    assert world.sweep(meanwhile=lambda: world.steering().cancel(TASK_ID)) == 0
    assert (world.row().status, world.row().index_class) == (Status.CANCELLED, IndexClass.CANCELLED)
    assert world.queue.sent == []


def test_a_task_that_is_tried_and_fails_while_it_is_swept_waits_for_its_backoff(world: World) -> None:
    """Its own message is hidden until then; another one would be a copy, and the row would no longer know its own."""
    planted(world.store(), a_task())
    world.clock.advance(RESEND_AFTER_MS + 1)

    def try_and_fail() -> None:
        now = world.clock()
        world.store().apply(transitions.retry(world.claim(), now, "Oops: it failed", now + 10 * SECOND))

    assert world.sweep(meanwhile=try_and_fail) == 0
    assert (world.row().message_id, world.queue.sent) == ("message-9", [])


def test_a_task_that_completes_while_it_is_handed_back_is_not_sent_again(world: World) -> None:
    """A slow worker ends what the monitor took for abandoned (I3: nothing touches an end)."""
    row = planted(world.store(), processing(lease_until=NOW - 1))
    complete = transitions.complete(row, NOW, None, NOW // 1000 + RETENTION_SECONDS)
    said = world.monitor("message-1", meanwhile=lambda: world.store().apply(complete))
    assert (said, world.row().token, world.row().handed_back) == ("dropped: already COMPLETED", "worker", frozenset())
    assert world.queue.sent == []


def test_a_task_that_fails_while_it_is_given_up_waits_for_its_next_attempt(world: World) -> None:
    """It has attempts left, and its own message will bring it to them (I8: no live task is given up)."""
    row = planted(world.store(), processing(lease_until=NOW - 1, handed_back=FULL))
    retry = transitions.retry(row, NOW, "Oops: it failed", NOW + 10 * SECOND)
    said = world.monitor("message-1", meanwhile=lambda: world.store().apply(retry))
    assert (said, world.row().status) == ("dropped: still in hand: lease, backoff or park", Status.FAILED_PENDING)


def test_a_replay_that_hung_until_another_task_of_the_same_id_has_died_does_not_replay_it_unrecorded(
    world: World,
) -> None:
    """The first task expires, its id is taken again, and that one dies. Its dead letter would never be written (I8)."""
    soon = NOW // 1000 + 1
    planted(world.store(), dead(index_class=IndexClass.RECORDED, expires_at_seconds=soon))

    def expire_and_die_anew() -> None:
        world.clock.advance(3 * SECOND)
        anew = a_task(token="another submit", created_at=world.clock(), sent_at=world.clock())
        assert world.store().create(anew, "{}", world.clock()) == anew
        world.store().apply(transitions.die(world.claim(), world.clock(), "Oops: for good"))

    answer = world.steering(meanwhile=expire_and_die_anew).replay(TASK_ID).answer
    assert answer is Answer.UNRECORDED
    assert (world.row().status, world.row().index_class) == (Status.FAILED_FINAL, IndexClass.DEAD)


# The second lock, the first one gone. ---------------------------------------------------------------------------------

ENDS: dict[str, Exception | None] = {
    "complete": None,
    "retry": ValueError("it broke"),
    "park": RetryAfter("later", MAX_DELAY_SECONDS + 1),
    "die": PermanentError("for good"),
}


@pytest.mark.parametrize(("write", "error"), ENDS.items(), ids=ENDS.keys())
def test_even_without_its_token_a_worker_of_the_life_before_ends_nothing(
    write: str, error: Exception | None, world: World
) -> None:
    planted(world.store(), a_task())
    registry, others = Registry(), list[Task]()

    def run(work: Work) -> JsonObject:
        world.clock.advance(60 * SECOND)
        world.second_life()
        others.append(world.row())
        if error is not None:
            raise error
        return {}

    registry.kind("simulated", schema={})(run)
    backoff, rng = Backoff(5, 900, "none"), random.Random(1)
    worker = Worker(world.store(), registry, backoff, RETENTION_SECONDS, world.clock, world.tokens, rng, lambda _: None)
    with without(write, "own_token"):
        worker.deliver(Delivery(Message(TASK_ID, 1), "message-1", 1), NOW + 25 * SECOND)
    assert [world.row()] == others


@pytest.mark.parametrize(
    ("gone", "meanwhile"),
    [
        (("attempts_as_read", "no_live_lease"), World.claim),
        (("token_as_read", "no_live_lease"), World.claim),
        (("token_as_read", "attempts_as_read"), World.claim),
        (("token_as_read", "no_live_lease"), World.second_life),
    ],
    ids=["token_as_read", "attempts_as_read", "no_live_lease", "same_generation"],
)
@pytest.mark.parametrize(
    ("write", "handed_back"), [("bury", FULL), ("hand_back", frozenset())], ids=["bury", "hand_back"]
)
def test_any_one_term_keeps_the_monitor_from_a_task_that_another_worker_has_taken_since(
    write: str, handed_back: frozenset[str], gone: Sequence[str], meanwhile: Callable[[World], object], world: World
) -> None:
    planted(world.store(), processing(lease_until=NOW - 1, handed_back=handed_back))
    with without(write, *gone):
        said = world.monitor("message-1", meanwhile=lambda: meanwhile(world))
    assert said.startswith("dropped: ")
    assert (world.row().status, world.row().message_id) == (Status.PROCESSING, "message-9")
    assert world.queue.sent == []


def test_even_by_an_old_read_the_monitor_gives_up_no_task_that_has_completed(world: World) -> None:
    row = planted(world.store(), processing(attempts=3, lease_until=NOW - 1))
    complete = transitions.complete(row, NOW, None, NOW // 1000 + RETENTION_SECONDS)
    with without("bury", "status_as_read"):
        world.monitor("message-1", meanwhile=lambda: world.store().apply(complete))
    assert world.row().status is Status.COMPLETED


def test_even_by_an_old_read_the_monitor_hands_back_no_task_that_waits_for_its_backoff(world: World) -> None:
    row = planted(world.store(), processing(lease_until=NOW - 1))
    retry = transitions.retry(row, NOW, "Oops: it failed", NOW + 10 * SECOND)
    with without("hand_back", "status_as_read"):
        world.monitor("message-1", meanwhile=lambda: world.store().apply(retry))
    assert (world.row().message_id, world.queue.sent) == ("message-1", [])


def test_even_by_an_old_read_two_monitors_hand_back_no_more_messages_than_there_may_be(world: World) -> None:
    planted(world.store(), a_task(handed_back=FULL - {min(FULL)}))
    with without("hand_back", "token_as_read"):
        world.monitor("message-1", meanwhile=lambda: world.monitor("message-2"))
    assert len(world.row().handed_back) == MAX_HAND_BACKS


def test_even_by_an_old_read_a_cancel_stands_in_the_history_of_the_life_that_it_ended(world: World) -> None:
    planted(world.store(), processing(lease_until=NOW - 1))
    with without("cancel", "token_as_read"):
        world.steering(meanwhile=world.second_life).cancel(TASK_ID)
    last = recent(world.row().timeline)[-1]
    assert (last.status, last.generation) == (Status.CANCELLED, 2)
