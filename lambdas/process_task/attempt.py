"""One delivery of one message: claim the task, do its work, write how it ended."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypedDict

from lambdas.common import transitions
from lambdas.common.decisions import Acknowledge, Bury, Defer, OwnWrite, after_refused_claim
from lambdas.common.effects import Busy, Effect, EffectRefused, Effects
from lambdas.common.kinds import MAX_RESULT_BYTES, JsonObject, Registry, Work
from lambdas.common.queue import MAX_DELAY_SECONDS
from lambdas.common.retry import Backoff, PermanentError, RetryAfter
from lambdas.common.store import Refused
from lambdas.common.task import Claim, Message, Status, Task, seconds_until
from lambdas.common.transitions import Write

LEASE_MARGIN_MS = 5_000
"""The lease outlives the invocation by this much: time for clocks that differ and for a last write on its way."""
MAX_ERROR_CHARACTERS = 300
MAX_WAIT_SECONDS = 43_200


class About(TypedDict):
    attempt: int
    kind: str
    error: str | None


class Store(Protocol):
    def get(self, task_id: str) -> Task | None: ...
    def payload(self, task: Task) -> str: ...
    def apply(self, write: Write) -> Task | Refused: ...
    def write(self, write: Write) -> Refused | None: ...
    def commit(self, write: Write, effects: Sequence[Effect], token: str) -> Refused | EffectRefused | None: ...
    def expire_payload(self, task: Task, expires_at_seconds: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as SQS handed it out."""

    message: Message
    message_id: str
    receives: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a delivery ended: acknowledged, or reported as failed (with a new visibility, when one is given)."""

    event: str
    task_id: str | None
    acknowledge: bool
    visibility_seconds: int | None = None
    attempt: int | None = None
    kind: str | None = None
    error: str | None = None
    age_ms: int | None = None
    """Submit to end, for a task that ended here."""


@dataclass(frozen=True)
class Worker:
    """What an attempt needs from the world. `now` is in milliseconds, `deadline` the end of this invocation."""

    store: Store
    registry: Registry
    backoff: Backoff
    retention_seconds: int
    now: Callable[[], int]
    new_token: Callable[[], str]
    rng: random.Random
    sleep: Callable[[float], None]
    """Seconds; between two tries of a transaction that was in conflict."""

    def deliver(
        self, delivery: Delivery, deadline: int, on_claim: Callable[[Task, int], None] = lambda task, ends_at: None
    ) -> Outcome:
        """Work on one delivery. Before the work begins, `on_claim` hears of the task and of when to give it up."""
        claimed = self._claim(delivery, deadline)
        if isinstance(claimed, Outcome):
            return claimed
        ends_at = self._ends_at(claimed, deadline)
        on_claim(claimed, ends_at)
        try:
            effects = self._run(claimed, ends_at)
            write = transitions.complete(claimed, self.now(), result_text(effects.result), self._expires_at())
            written = self._commit(write, effects, claimed, ends_at)
        except Exception as error:  # noqa: BLE001  the work of a kind may raise anything, and any of it is a failed attempt
            return self.fail(claimed, error)
        if _as_written(claimed, written, Status.COMPLETED):
            return self._completed(claimed)
        return _stale(claimed)

    def fail(self, task: Task, error: Exception) -> Outcome:
        """End the attempt as failed: wait for the next one, or die of the last."""
        now, text = self.now(), error_text(error)
        if isinstance(error, PermanentError) or task.attempts >= task.max_attempts:
            # Its message is never acknowledged: SQS itself carries it to the dead-letter queue.
            dead = Outcome("task dead", task.task_id, False, 0, **_about(task, text), age_ms=now - task.created_at)
            return self._finish(transitions.die(task, now, text), task, dead)
        wait = self._wait_seconds(task, error)
        ready = now + round(wait * 1000)
        # After the claim at any rate: one whose request hung and lands only now must not find the task due.
        due = max(ready, task.updated_at + 1)
        if wait > MAX_DELAY_SECONDS:
            parked = Outcome("task parked", task.task_id, True, **_about(task, text))
            return self._finish(transitions.park(task, now, text, due), task, parked)
        failed = Outcome("task failed", task.task_id, False, seconds_until(ready, now), **_about(task, text))
        return self._finish(transitions.retry(task, now, text, due), task, failed)

    def _claim(self, delivery: Delivery, deadline: int) -> Task | Outcome:
        lease_until = deadline + LEASE_MARGIN_MS
        wish = Claim(delivery.message, delivery.message_id, self.new_token(), self.now(), lease_until)
        claimed = self.store.apply(transitions.claim(wish))
        if isinstance(claimed, Task):
            return claimed
        decision = after_refused_claim(claimed.row, wish)
        task_id = delivery.message.task_id
        match decision, claimed.row:
            case OwnWrite(), Task() as row:
                return row
            case Bury(error), Task() as row:
                buried = self.store.apply(transitions.bury(row, wish.now, error, self.new_token()))
                if isinstance(buried, Refused):
                    return Outcome("changed while burying", task_id, False, 1)
                age = buried.updated_at - buried.created_at
                return Outcome("task dead", task_id, False, 0, **_about(buried, error), age_ms=age)
            case Acknowledge(reason), _:
                return Outcome(f"acknowledged: {reason}", task_id, True)
            case Defer(reason, seconds), _:
                return Outcome(f"deferred: {reason}", task_id, False, seconds)
        raise AssertionError(f"no rule for {decision}")

    def _ends_at(self, task: Task, deadline: int) -> int:
        """When the attempt is given up: its kind's time-out, but never later than the invocation allows."""
        kind = self.registry.get(task.kind)
        if kind is None or kind.timeout_seconds is None:
            return deadline
        return min(deadline, self.now() + round(kind.timeout_seconds * 1000))

    def _run(self, task: Task, ends_at: int) -> Effects:
        """Do the work; what it wants written and its result.

        Raises:
            PermanentError: nobody here knows the kind, or it returned what cannot be stored. Else what the work raises.
        """
        kind = self.registry.get(task.kind)
        if kind is None:
            raise PermanentError(f"kind {task.kind!r} is not known to this deployment")
        payload: JsonObject = json.loads(self.store.payload(task))
        work = Work(
            task.task_id, payload, task.attempts, task.generation, lambda: max(0.0, (ends_at - self.now()) / 1000)
        )
        returned = kind.run(work)
        effects = returned if isinstance(returned, Effects) else Effects((), returned)
        if problem := effects.problem(kind.tables):
            raise PermanentError(problem)
        return effects

    def _commit(self, write: Write, effects: Effects, task: Task, ends_at: int) -> Refused | None:
        """Write COMPLETED, with the effects when there are any; what conflicts is tried again while time is left.

        Raises:
            Busy: it conflicted to the end. Or the error that an effect declared for its own condition.
        """
        if not effects.items:
            return self.store.write(write)
        for tries in itertools.count(1):
            try:
                answer = self.store.commit(write, effects.items, task.token)
            except Busy:
                pause = self.rng.uniform(0, min(1.0, 0.05 * 2 ** min(tries, 10)))  # a larger power is no float
                if self.now() + pause * 1000 >= ends_at:
                    raise
                self.sleep(pause)
                continue
            if isinstance(answer, EffectRefused):
                raise effects.items[answer.index].refused
            return answer
        raise AssertionError("unreachable")

    def _expires_at(self) -> int:
        return self.now() // 1000 + self.retention_seconds

    def _finish(self, write: Write, task: Task, outcome: Outcome) -> Outcome:
        written = self.store.write(write)
        if _as_written(task, written, Status(str(write.values[":status"]))):
            return outcome
        if _as_written(task, written, Status.COMPLETED):  # only the acknowledgement of that was lost
            return self._completed(task)
        return _stale(task)

    def _completed(self, task: Task) -> Outcome:
        self.store.expire_payload(task, self._expires_at())
        age = self.now() - task.created_at
        return Outcome("task completed", task.task_id, True, **_about(task, None), age_ms=age)

    def _wait_seconds(self, task: Task, error: Exception) -> float:
        kind = self.registry.get(task.kind)
        backoff = kind.backoff if kind is not None and kind.backoff is not None else self.backoff
        asked = error.seconds if isinstance(error, RetryAfter) else None
        wait = backoff.wait_seconds(task.attempts, self.rng) if asked is None else asked
        return max(0.0, min(MAX_WAIT_SECONDS, wait))


def _as_written(task: Task, written: Refused | None, status: Status) -> bool:
    """Whether the holder's write was made; also when a repeated call was refused by the very write it repeats."""
    if written is None:
        return True
    row = written.row
    return row is not None and row.token == task.token and row.status is status


def _stale(task: Task) -> Outcome:
    return Outcome("stale worker: the task has gone on without it", task.task_id, False, None, task.attempts)


def _about(task: Task, error: str | None) -> About:
    return {"attempt": task.attempts, "kind": task.kind, "error": error}


def error_text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:MAX_ERROR_CHARACTERS]


def result_text(result: JsonObject | None) -> str | None:
    """The result as JSON.

    Raises:
        PermanentError: it is not a JSON object, or longer than 4 KB; the next attempt would return the same.
    """
    if result is None:
        return None
    try:
        text = json.dumps(result, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise PermanentError(f"the result is not JSON: {error}") from error
    if not isinstance(result, dict) or len(text.encode()) > MAX_RESULT_BYTES:
        raise PermanentError(f"the result must be a JSON object of at most {MAX_RESULT_BYTES} bytes")
    return text
