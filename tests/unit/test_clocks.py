"""Clocks that are wrong by five minutes, in every function and in any mix: tasks may be delayed, no promise breaks."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from hypothesis import example, given, settings
from hypothesis import strategies as st

from lambdas.common.dead_letters import Recorder
from lambdas.common.effects import Effects, update
from lambdas.common.kinds import Registry, Work
from lambdas.common.queue import body_of
from lambdas.common.retry import Backoff, PermanentError
from lambdas.common.store import TaskStore
from lambdas.common.task import MAX_HAND_BACKS, TERMINAL, IndexClass, Message, Status, Task
from lambdas.monitor_dlq.monitor import DeadMessage, Monitor
from lambdas.process_task.attempt import Delivery, Worker
from lambdas.submit_task.request import Submission
from lambdas.submit_task.submit import submit
from lambdas.sweep_tasks.sweep import Sweeper
from tests.support.dynamodb import TABLE, FakeDynamoDB
from tests.support.queue import FakeQueue
from tests.support.tasks import NOW, SECOND, TASK_ID, Clock, Tokens

ATTEMPTS = 2
RETENTION_SECONDS = 365 * 86_400
SKEW = 300 * SECOND
SKEWS = (-SKEW, 0, SKEW)
Function = Literal["worker", "monitor", "sweeper"]
End = Literal["completes", "fails", "fails for good"]


@dataclass(frozen=True)
class Step:
    """One function acts on the task, `after` ms later, its clock wrong by `skew` ms."""

    function: Function
    skew: int
    after: int = 0
    message_id: str = "message-1"
    end: End = "completes"
    """Of the work, if it comes to work."""
    meanwhile: tuple[Step, ...] = ()
    """What others do while it is at work."""


def steps_with(inner: st.SearchStrategy[tuple[Step, ...]]) -> st.SearchStrategy[tuple[Step, ...]]:
    step = st.builds(
        Step,
        st.sampled_from(["worker", "worker", "monitor", "sweeper"]),
        st.sampled_from(SKEWS),
        st.sampled_from([0, SECOND, 20 * SECOND, 1000 * SECOND]),
        st.sampled_from(["message-1", "message-2"]),
        st.sampled_from(["completes", "fails", "fails for good"]),
        inner,
    )
    return st.lists(step, max_size=4).map(tuple)


STEPS: st.SearchStrategy[tuple[Step, ...]] = steps_with(steps_with(st.just(())))


@dataclass
class World:
    """One task that was accepted by a SubmitTask whose clock is wrong by `skew`."""

    skew: int
    clock: Clock = field(default_factory=Clock)
    tokens: Tokens = field(default_factory=Tokens)
    queue: FakeQueue = field(default_factory=FakeQueue)
    client: FakeDynamoDB = field(default_factory=lambda: FakeDynamoDB(TABLE, {f"{TABLE}-accounts": ("account",)}))

    def __post_init__(self) -> None:
        self.store = TaskStore(cast(Any, self.client), TABLE, f"{TABLE}-")
        submission = Submission(TASK_ID, "simulated", "{}", None, "hash")
        submit(
            submission, self.store, self.queue, max_attempts=ATTEMPTS, now=self.clock() + self.skew, token=self.tokens()
        )

    def act(self, step: Step) -> None:
        before = self.row()
        self.clock.advance(step.after)
        {"worker": self.work, "monitor": self.monitor, "sweeper": self.sweep}[step.function](step)
        self.check(before)

    def wrong(self, step: Step) -> Callable[[], int]:
        return lambda: self.clock() + step.skew

    def work(self, step: Step) -> None:
        registry = Registry()

        @registry.kind("simulated", schema={}, tables=("accounts",))
        def run(work: Work) -> Effects:
            for inner in step.meanwhile:
                self.act(inner)
            if step.end == "fails":
                raise ValueError("it broke")
            if step.end == "fails for good":
                raise PermanentError("it broke for good")
            return Effects([update("accounts", {"account": TASK_ID}, "ADD balance :one", values={":one": 1})])

        now = self.wrong(step)
        backoff, rng = Backoff(1, 10, "none"), random.Random(1)
        worker = Worker(self.store, registry, backoff, RETENTION_SECONDS, now, self.tokens, rng, lambda _: None)
        worker.deliver(Delivery(Message(TASK_ID, 1), step.message_id, 1), now() + 10 * SECOND)

    def monitor(self, step: Step) -> None:
        monitor = Monitor(self.store, self.queue, self.recorder(step), self.wrong(step), self.tokens)
        monitor.handle(DeadMessage(step.message_id, body_of(Message(TASK_ID, 1)), 5, None))

    def sweep(self, step: Step) -> None:
        def complain(task: Task, error: Exception) -> None:
            raise AssertionError(f"{task.task_id} not healed") from error

        now = self.wrong(step)
        Sweeper(self.store, self.queue, self.recorder(step), lambda: False, 900 * SECOND, now, complain).sweep(
            lambda: True
        )

    def recorder(self, step: Step) -> Recorder:
        return Recorder(self.store, RETENTION_SECONDS, self.wrong(step), self.tokens)

    def row(self) -> Task:
        row = self.store.get(TASK_ID)
        assert row is not None
        return row

    def effects(self) -> int:
        found = self.client.get_item(TableName=f"{TABLE}-accounts", Key={"account": {"S": TASK_ID}}).get("Item")
        return int(found["balance"]["N"]) if found else 0

    def check(self, before: Task) -> None:
        """The promises that can be seen in the row, and what was written beside it."""
        row = self.row()
        begun = [entry for entry in row.timeline if entry.status == Status.PROCESSING]
        assert len(begun) == row.attempts <= ATTEMPTS
        assert self.effects() == (row.status is Status.COMPLETED)
        assert [entry.status for entry in row.timeline if entry.status in TERMINAL] == [row.status] * (
            row.status in TERMINAL
        )
        if before.status in TERMINAL:
            assert (row.status, row.attempts, row.timeline) == (before.status, before.attempts, before.timeline)
        if row.index_class is IndexClass.RECORDED:
            found = self.store.find(TASK_ID, self.clock())
            assert found is not None
            assert [letter.generation for letter in found.dead_letters] == [1]

    def go_on(self) -> None:
        """Everybody's clock is right from now on, and everybody does what is to be done."""
        hours = 13 * 3600 * SECOND
        for number in range(2 * (ATTEMPTS + MAX_HAND_BACKS)):
            for function in ("sweeper", "worker", "monitor"):
                self.act(Step(function, 0, hours // 3, f"later-{number}"))


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(SKEWS), STEPS)
@example(SKEW, (Step("worker", 0, end="fails for good"), Step("monitor", 0)))
@example(0, (Step("worker", 0, end="fails for good"), Step("monitor", -SKEW)))
@example(0, (Step("worker", 0, meanwhile=(Step("worker", SKEW),)),))
@example(0, (Step("worker", -SKEW, meanwhile=(Step("sweeper", SKEW), Step("worker", 0, end="fails"))),))
def test_no_promise_breaks_and_the_task_ends(skew: int, steps: tuple[Step, ...]) -> None:
    world = World(skew)
    for step in steps:
        world.act(step)

    world.go_on()

    row = world.row()
    assert row.status in TERMINAL
    assert row.index_class in (IndexClass.COMPLETED, IndexClass.RECORDED)


def test_work_that_is_taken_over_by_a_worker_whose_clock_is_ahead_runs_twice_and_counts_once() -> None:
    """What the walk above is about does happen: two workers are at it at once."""
    world = World(0)
    world.act(Step("worker", 0, meanwhile=(Step("worker", SKEW),)))

    row = world.row()
    assert (row.status, row.attempts, world.effects()) == (Status.COMPLETED, 2, 1)
    assert row.updated_at == NOW + SKEW
