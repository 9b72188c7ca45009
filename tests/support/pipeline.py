"""The real use cases on a table and a queue, one actor at a time, for one task; what they left, in the model's words.

Only time, tokens and the work itself are the test's.
"""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lambdas.common import rows
from lambdas.common.dead_letters import Recorder
from lambdas.common.decisions import RESEND_SUBMITTED_AFTER_MS
from lambdas.common.effects import Effects, update
from lambdas.common.kinds import Registry, Work
from lambdas.common.queue import TaskQueue
from lambdas.common.retry import Backoff, PermanentError, RetryAfter
from lambdas.common.store import TaskStore
from lambdas.common.task import Message, Task, parse_message
from lambdas.common.wire import from_wire
from lambdas.monitor_dlq.monitor import DeadMessage, Monitor
from lambdas.process_task.attempt import LEASE_MARGIN_MS, Delivery, Outcome, Worker
from lambdas.process_task.batch import KEPT_FOR_ENDING_MS, Record, respond, work_through
from lambdas.steer_tasks.steer import Steering
from lambdas.submit_task.request import Submission
from lambdas.submit_task.submit import submit
from lambdas.sweep_tasks.sweep import RECORD_DEAD_AFTER_MS, Sweeper
from tests.model.conformance import Ending, Numbers
from tests.model.rules import Bounds
from tests.model.state import ACKNOWLEDGE, LEAVE, TICK, Entry, Row
from tests.support.acting import Act
from tests.support.sqs import Poller, Receipt, Waiting
from tests.support.tasks import Clock

INVOCATION_MS = 3 * TICK
BACKOFF_SECONDS = 2
PARKED_SECONDS = 1_000
RESEND_AFTER_SECONDS = 10
RETENTION_SECONDS = 30 * 86_400
EFFECTS = "accounts"
BOUNDS = Bounds(
    attempts=3,
    max_receives=4,
    visibility=20,
    dlq_visibility=20,
    lease=(INVOCATION_MS - KEPT_FOR_ENDING_MS + LEASE_MARGIN_MS) // TICK,
    backoff=BACKOFF_SECONDS,
    parked=PARKED_SECONDS,
    resend_after=RESEND_AFTER_SECONDS,
    resubmit_after=RESEND_SUBMITTED_AFTER_MS // TICK,
    record_after=RECORD_DEAD_AFTER_MS[0] // TICK,  # a message counts as lost sooner here
)
"""The model's ticks fitted to the settings below."""


@dataclass
class Attempt:
    """How an attempt goes. The end may be chosen while it has stopped."""

    end: Ending = "complete"
    stops: bool = False
    """In the middle of its work."""
    heard: bool = True
    """Whether SQS learns how the delivery ended; False: the invocation dies at its very end."""
    said: int | None = None
    """What it said in the end, as the model says it; None: nothing yet."""


class NoneWaiting(TaskQueue):
    """SQS counts approximately: here it shows nobody waiting."""

    def waiting(self) -> int:
        return 0


@dataclass
class Pipeline:
    """`effects_prefix` stands before the name of the table that the work writes to."""

    dynamodb: Any
    table: str
    effects_prefix: str
    poller: Poller
    clock: Clock
    task_id: str
    seen: Counter[str]
    """What the actors said that they did."""
    numbers: Numbers = field(default_factory=Numbers)
    _count: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    # What the actors do. ---------------------------------------------------------------------------------------------

    def submit(self, act: Act, body_hash: str) -> None:
        submission = Submission(self.task_id, "simulated", "{}", None, body_hash)
        store, queue, now, token = self._store(act), self._queue(act), self.clock(), self._new_token()
        accepted = submit(submission, store, queue, max_attempts=BOUNDS.attempts, now=now, token=token)
        self.seen[f"submit: {accepted.outcome}"] += 1

    def deliver(self, act: Act, receipt: Receipt, attempt: Attempt) -> None:
        """What Lambda and SQS do with one message: invoke, then delete it unless it is named as failed."""
        worker, deadline = self._worker(act, attempt), self.clock() + INVOCATION_MS
        outcomes: list[tuple[Record, Outcome]]
        if attempt.stops:  # a batch waits by the real clock, and would give the work up
            delivery = Delivery(_message(receipt), receipt.message_id, receipt.number)
            outcomes = [(receipt.record, worker.deliver(delivery, deadline - KEPT_FOR_ENDING_MS))]
        else:
            outcomes = work_through([receipt.record], worker, deadline, 1)
        attempt.said = _said(outcomes[0][1])
        self.seen.update(_told(outcome) for _, outcome in outcomes)
        if attempt.heard and not respond(outcomes, self._queue(act))["batchItemFailures"]:
            self.poller.delete(receipt)

    def monitor(self, act: Act, receipt: Receipt, heard: bool) -> None:
        monitor = Monitor(self._store(act), self._queue(act), self._recorder(act), self.clock, self._new_token)
        dead = DeadMessage(receipt.message_id, receipt.body, receipt.number, None)
        self.seen[f"monitor: {monitor.handle(dead).event}"] += 1
        if heard:
            self.poller.delete(receipt)

    def sweep(self, act: Act, eager: bool) -> None:
        store, queue = self._store(act), self._queue(act, NoneWaiting if eager else TaskQueue)
        resend_after_ms = BOUNDS.resend_after * TICK
        sweeper = Sweeper(store, queue, self._recorder(act), _not_paused, resend_after_ms, self.clock, _complain)
        healed = sweeper.sweep(lambda: True)
        counts = {"resent": healed.resent, "unparked": healed.unparked, "recorded": healed.recorded}
        self.seen.update({f"sweeper: {what}": count for what, count in counts.items() if count})

    def steer(self, act: Act, wish: str) -> None:
        steering = Steering(self._store(act), self._queue(act), RETENTION_SECONDS, self.clock, self._new_token)
        steered = steering.cancel(self.task_id) if wish == "cancel" else steering.replay(self.task_id)
        self.seen[f"{wish}: {steered.answer}"] += 1

    def _new_token(self) -> str:
        """Of this task alone: DynamoDB remembers the tokens of transactions for ten minutes."""
        return f"{self.task_id}-{next(self._count)}"

    def _store(self, act: Act) -> TaskStore:
        return TaskStore(act.counted(self.dynamodb), self.table, self.effects_prefix)

    def _queue(self, act: Act, kind: type[TaskQueue] = TaskQueue) -> TaskQueue:
        return kind(act.counted(self.poller), self.poller.url)

    def _recorder(self, act: Act) -> Recorder:
        return Recorder(self._store(act), RETENTION_SECONDS, self.clock, self._new_token)

    def _worker(self, act: Act, attempt: Attempt) -> Worker:
        registry, backoff = Registry(), Backoff(BACKOFF_SECONDS, BACKOFF_SECONDS, "none")

        @registry.kind("simulated", schema={}, tables=(EFFECTS,))
        def work(work: Work) -> Effects:
            if attempt.stops:
                act.stop()
            return _ended(work, attempt.end)

        rng = random.Random(1)
        store = self._store(act)
        return Worker(store, registry, backoff, RETENTION_SECONDS, self.clock, self._new_token, rng, _no_conflict)

    # What they left. -------------------------------------------------------------------------------------------------

    def read(self) -> tuple[Row | tuple[()], tuple[int, ...]]:
        """The row, and the generations with a dead letter."""
        found = TaskStore(self.dynamodb, self.table).find(self.task_id, self.clock())
        if found is None:
            return (), ()
        records = tuple(sorted(letter.generation for letter in found.dead_letters))
        return self.numbers.row(found.task, self.clock()), records

    def effects(self) -> tuple[int, ...]:
        """A generation for each time that its effects are in the table."""
        key = {"account": {"S": self.task_id}}
        answer = self.dynamodb.get_item(TableName=f"{self.effects_prefix}{EFFECTS}", Key=key, ConsistentRead=True)
        counts = {name: count for name, count in from_wire(answer.get("Item", {})).items() if name != "account"}
        return tuple(sorted(int(name[1:]) for name, count in counts.items() for _ in range(count)))

    def entries(self) -> tuple[Entry, ...]:
        return tuple(sorted(self.entry(waiting) for waiting in self.poller.messages.values()))

    def entry(self, waiting: Waiting) -> Entry:
        hidden = max(0, waiting.hidden_until - self.clock()) // TICK
        number, generation = self.numbers[waiting.message_id], json.loads(waiting.body)["generation"]
        return Entry(int(waiting.dead), generation, waiting.receives, hidden, False, number)

    def forget(self) -> None:
        """Take the task out of the table: the sweeper of the next example must not find it."""
        self.poller.empty()
        key = {"PK": {"S": rows.partition(self.task_id)}, "SK": {"S": rows.STATE}}
        self.dynamodb.delete_item(TableName=self.table, Key=key)


def _message(receipt: Receipt) -> Message:
    message = parse_message(json.loads(receipt.body))
    assert message is not None, f"a message of ours that cannot be read: {receipt.body}"
    return message


def _said(outcome: Outcome) -> int:
    if outcome.acknowledge:
        return ACKNOWLEDGE
    return LEAVE if outcome.visibility_seconds is None else outcome.visibility_seconds


def _told(outcome: Outcome) -> str:
    return outcome.event if outcome.error is None else f"{outcome.event}: {outcome.error.partition(':')[0]}"


def _ended(work: Work, end: Ending) -> Effects:
    match end:
        case "retry":
            raise ValueError("it failed")
        case "park":
            raise RetryAfter("not before long", PARKED_SECONDS)
        case "die":
            raise PermanentError("it can never succeed")
    # Counted by generation, so that effects made twice sattempt.
    count = update(EFFECTS, {"account": work.task_id}, f"ADD g{work.generation} :one", values={":one": 1})
    return Effects([count])


def _not_paused() -> bool:
    return False


def _complain(task: Task, error: Exception) -> None:
    raise AssertionError(f"the sweeper could not heal {task.task_id}") from error


def _no_conflict(seconds: float) -> None:
    raise AssertionError("a transaction met another, where only one actor moves at a time")
