"""What would come of it if one term of a condition was not there: where no other test tells of the harm."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from lambdas.common import transitions
from lambdas.common.dead_letters import Recorder
from lambdas.common.kinds import JsonObject, Registry, Work
from lambdas.common.queue import MAX_DELAY_SECONDS
from lambdas.common.retry import Backoff, PermanentError, RetryAfter
from lambdas.common.store import Refused, TaskStore
from lambdas.common.task import Claim, IndexClass, Message, Status, Task
from lambdas.process_task.attempt import LEASE_MARGIN_MS, Delivery, Outcome, Worker
from tests.support.dynamodb import FakeDynamoDB, task_store
from tests.support.faults import Between
from tests.support.tasks import NOW, SECOND, TASK_ID, Clock, Tokens, a_task, dead, planted, waiting

RETENTION_SECONDS = 30 * 86_400
DELIVERY = Delivery(Message(TASK_ID, 1), "message-1", 1)
DEADLINE = NOW + 25 * SECOND
OUTLIVED = DEADLINE + LEASE_MARGIN_MS + 1


def a_worker(store: TaskStore, clock: Clock, run: Callable[[Work], JsonObject]) -> Worker:
    registry = Registry()
    registry.kind("simulated", schema={})(run)
    rng = random.Random(1)
    return Worker(store, registry, Backoff(5, 900, "none"), RETENTION_SECONDS, clock, Tokens(), rng, lambda _: None)


def a_recorder(store: TaskStore, tokens: Tokens) -> Recorder:
    return Recorder(store, RETENTION_SECONDS, Clock(NOW + SECOND), tokens)


def read(store: TaskStore) -> Task:
    row = store.get(TASK_ID)
    assert row is not None
    return row


def die_again(store: TaskStore) -> None:
    """A replay of the recorded task, whose new generation dies of a permanent error."""
    store.apply(transitions.replay(read(store), NOW + SECOND, "replay"))
    claim = Claim(Message(TASK_ID, 2), "message-2", "worker-2", NOW + SECOND, NOW + 30 * SECOND)
    store.apply(transitions.claim(claim))
    store.apply(transitions.die(read(store), NOW + SECOND, "Oops: it failed again"))
    assert (read(store).status, read(store).generation) == (Status.FAILED_FINAL, 2)


def _never(work: Work) -> JsonObject:
    raise AssertionError("work was begun")


def test_a_late_message_begins_no_attempt_of_a_parked_task_even_when_that_is_due() -> None:
    """It would be worked on in the class in which the sweeper looks for tasks to send."""
    store = task_store(FakeDynamoDB())
    parked = planted(store, waiting(index_class=IndexClass.PARKED, next_attempt_at=NOW, message_id=None))
    outcome = a_worker(store, Clock(NOW), _never).deliver(DELIVERY, DEADLINE)
    assert outcome == Outcome("acknowledged: parked, the sweeper sends it when due", TASK_ID, True)
    assert read(store) == parked


ENDS: dict[str, Exception | None] = {
    "complete": None,
    "retry": ValueError("it broke"),
    "park": RetryAfter("later", MAX_DELAY_SECONDS + 1),
    "die": PermanentError("for good"),
}


@pytest.mark.parametrize("error", ENDS.values(), ids=ENDS.keys())
def test_a_worker_that_wakes_up_while_another_is_at_its_task_ends_nothing(error: Exception | None) -> None:
    """It would end the attempt of the other one, whose work would then be done for nothing, or twice (I7)."""
    store, clock, others = task_store(FakeDynamoDB()), Clock(NOW), list[Task]()
    planted(store, a_task())

    def run(work: Work) -> JsonObject:
        clock.at = OUTLIVED
        claimed = store.apply(transitions.claim(Claim(DELIVERY.message, "message-1", "other", OUTLIVED, OUTLIVED * 2)))
        assert isinstance(claimed, Task)
        others.append(claimed)
        if error is not None:
            raise error
        return {}

    outcome = a_worker(store, clock, run).deliver(DELIVERY, DEADLINE)
    assert (outcome.event, outcome.acknowledge) == ("stale worker: the task has gone on without it", False)
    assert [read(store)] == others


def test_the_record_of_one_generation_does_not_pass_for_that_of_the_next_one_that_died() -> None:
    """Moved to the recorded without a letter of its own, it would be out of the sweeper's sight for ever (I8)."""
    client, tokens = FakeDynamoDB(), Tokens()
    store = task_store(client)
    first = planted(store, dead())

    def record_replay_and_die_again() -> None:
        assert isinstance(a_recorder(store, tokens).record(first, "message-1", 5, None), Task)
        die_again(store)

    late = a_recorder(task_store(Between(client, "update_item", record_replay_and_die_again)), tokens)
    assert isinstance(late.record(first, "message-1", 5, None), Refused)
    assert (read(store).generation, read(store).index_class) == (2, IndexClass.DEAD)
    a_recorder(store, tokens).record(read(store), "message-2", 5, None)
    found = store.find(TASK_ID, NOW)
    assert found is not None
    assert [letter.generation for letter in found.dead_letters] == [1, 2]
