"""Accept a task: row first, message second, so that neither a crash nor a lost answer can lose it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from lambdas.common.decisions import may_resend_submitted
from lambdas.common.ids import uuid7
from lambdas.common.queue import MAX_DELAY_SECONDS
from lambdas.common.store import Refused
from lambdas.common.task import IndexClass, Message, Status, Task, TimelineEntry, seconds_until
from lambdas.common.transitions import Write, mark_sent
from lambdas.submit_task.request import Submission


class Store(Protocol):
    def create(self, task: Task, payload: str, now: int) -> Task | Refused: ...
    def apply(self, write: Write) -> Task | Refused: ...


class Queue(Protocol):
    def send(self, message: Message, delay_seconds: int = 0) -> None: ...


@dataclass(frozen=True, slots=True)
class Accepted:
    """`outcome` tells a new task from one that was there already and from an id that belongs to another body."""

    outcome: Literal["new", "known", "conflict"]
    task: Task


def submit(submission: Submission, store: Store, queue: Queue, *, max_attempts: int, now: int, token: str) -> Accepted:
    """Store the task and send its message. Safe to repeat with the same id, whatever broke before."""
    task = _new_task(submission, max_attempts, now, token)
    created = store.create(task, submission.payload, now)
    if isinstance(created, Refused):
        existing = created.row
        if existing is None:
            raise RuntimeError("the put was refused, but no row stands against it")
        if existing.token != token:
            return _already_there(existing, submission, store, queue, now)
    if not task.parked:
        queue.send(Message(task.task_id, task.generation), seconds_until(task.next_attempt_at or 0, now))
    return Accepted("new", task)


def _new_task(submission: Submission, max_attempts: int, now: int, token: str) -> Task:
    run_at = submission.run_at if submission.run_at is not None and submission.run_at > now else None
    parked = run_at is not None and seconds_until(run_at, now) > MAX_DELAY_SECONDS
    return Task(
        task_id=submission.task_id or uuid7(now),
        kind=submission.kind,
        status=Status.SUBMITTED,
        index_class=IndexClass.PARKED if parked else IndexClass.OPEN,
        generation=1,
        attempts=0,
        max_attempts=max_attempts,
        token=token,
        body_hash=submission.body_hash,
        created_at=now,
        updated_at=now,
        sent_at=now,
        next_attempt_at=run_at,
        timeline=(TimelineEntry(now, Status.SUBMITTED, 1),),
    )


def _already_there(existing: Task, submission: Submission, store: Store, queue: Queue, now: int) -> Accepted:
    if existing.body_hash != submission.body_hash:
        return Accepted("conflict", existing)
    if may_resend_submitted(existing, now):
        marked = store.apply(mark_sent(existing, now))
        if isinstance(marked, Task):
            queue.send(Message(marked.task_id, marked.generation))
    return Accepted("known", existing)
