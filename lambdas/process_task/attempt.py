"""One delivery of one message: claim the task, do its work, write how it ended."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypedDict

from lambdas.common import transitions
from lambdas.common.kinds import MAX_RESULT_BYTES, JsonObject, Registry, Work
from lambdas.common.queue import MAX_DELAY_SECONDS
from lambdas.common.retry import Backoff, PermanentError, RetryAfter
from lambdas.common.store import Refused
from lambdas.common.task import (
    Acknowledge,
    Bury,
    Claim,
    Defer,
    Message,
    OwnWrite,
    Task,
    after_refused_claim,
    seconds_until,
)
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

    def deliver(
        self, delivery: Delivery, deadline: int, on_claim: Callable[[Task], None] = lambda task: None
    ) -> Outcome:
        """Work on one delivery. `on_claim` hears of the claimed task before its work begins."""
        claimed = self._claim(delivery, deadline)
        if isinstance(claimed, Outcome):
            return claimed
        on_claim(claimed)
        try:
            result = self._run(claimed, deadline)
        except Exception as error:  # noqa: BLE001  the work of a kind may raise anything, and any of it is a failed attempt
            return self.fail(claimed, error)
        return self._complete(claimed, result)

    def fail(self, task: Task, error: Exception) -> Outcome:
        """End the attempt as failed: wait for the next one, or die of the last."""
        now, text = self.now(), error_text(error)
        if isinstance(error, PermanentError) or task.attempts >= task.max_attempts:
            # Its message is never acknowledged: SQS itself carries it to the dead-letter queue.
            dead = Outcome("task dead", task.task_id, False, 0, **_about(task, text), age_ms=now - task.created_at)
            return self._finish(transitions.die(task, now, text), task, dead)
        wait = self._wait_seconds(task, error)
        due = now + round(wait * 1000)
        if wait > MAX_DELAY_SECONDS:
            parked = Outcome("task parked", task.task_id, True, **_about(task, text))
            return self._finish(transitions.park(task, now, text, due), task, parked)
        failed = Outcome("task failed", task.task_id, False, seconds_until(due, now), **_about(task, text))
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

    def _run(self, task: Task, deadline: int) -> str | None:
        kind = self.registry.get(task.kind)
        if kind is None:
            raise PermanentError(f"kind {task.kind!r} is not known to this deployment")
        payload: JsonObject = json.loads(self.store.payload(task))
        work = Work(
            task.task_id, payload, task.attempts, task.generation, lambda: max(0.0, (deadline - self.now()) / 1000)
        )
        return result_text(kind.run(work))

    def _complete(self, task: Task, result: str | None) -> Outcome:
        now = self.now()
        expires_at = now // 1000 + self.retention_seconds
        completed = Outcome("task completed", task.task_id, True, **_about(task, None), age_ms=now - task.created_at)
        outcome = self._finish(transitions.complete(task, now, result, expires_at), task, completed)
        if outcome is completed:
            self.store.expire_payload(task, expires_at)
        return outcome

    def _finish(self, write: Write, task: Task, outcome: Outcome) -> Outcome:
        """The outcome, if the write was made; also when a repeated call was refused by the very write it repeats."""
        written = self.store.apply(write)
        row = written if isinstance(written, Task) else written.row
        if row is not None and row.token == task.token and row.status == write.values[":status"]:
            return outcome
        return Outcome("stale worker: the task has gone on without it", task.task_id, False, None, task.attempts)

    def _wait_seconds(self, task: Task, error: Exception) -> float:
        asked = error.seconds if isinstance(error, RetryAfter) else None
        wait = self.backoff.wait_seconds(task.attempts, self.rng) if asked is None else asked
        return max(0.0, min(MAX_WAIT_SECONDS, wait))


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
