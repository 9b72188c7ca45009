"""POST /tasks/batch: each task as by a submit of its own, but for the messages, which are sent together at the end."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from lambdas.common.chains import in_chains
from lambdas.common.http import HttpError
from lambdas.common.task import Message
from lambdas.submit_task.request import Posted
from lambdas.submit_task.submit import Accepted, Queue

NEEDED_TO_BEGIN_MS = 20_000
"""A task is not begun with less time than this left: its write, and then the sends, may each take three tries."""
NO_TIME = HttpError(503, "busy", "There was no time left for this task. Nothing was stored; send it again.")

Accept = Callable[[str, Queue], Accepted]
"""Reads one task and submits it. Raises HttpError as it would be answered."""


class BatchQueue(Protocol):
    def send_all(self, messages: Sequence[tuple[Message, int]]) -> dict[Message, str]: ...


@dataclass(frozen=True, slots=True)
class Outbox:
    """Holds what a submit sends. Safe to use from several threads."""

    messages: list[tuple[Message, int]] = field(default_factory=list)

    def send(self, message: Message, delay_seconds: int = 0) -> None:
        self.messages.append((message, delay_seconds))


@dataclass(frozen=True, slots=True)
class _Item:
    number: int
    task: Posted


def submit_all(
    tasks: Sequence[Posted],
    accept: Accept,
    queue: BatchQueue,
    left_ms: Callable[[], int],
    unknown: HttpError,
    complain: Callable[[Message, str], None],
) -> list[dict[str, Any]]:
    """A result for each task, in their order; `unknown` is that of a task whose row stands and
    whose message may not; `complain` hears of it.

    Tasks of one id are taken in turn: the first is new, and the others find it there.
    """
    outbox = Outbox()
    items = [_Item(number, task) for number, task in enumerate(tasks)]
    outcomes = in_chains(items, _link, partial(_outcome, accept, outbox, left_ms))
    # One id can be in the outbox twice; one message is enough, and SQS takes no id of an entry twice.
    unsent = queue.send_all(list(dict(outbox.messages).items()))
    for message, reason in unsent.items():
        complain(message, reason)
    return [_result(item, outcome, unsent, unknown) for item, outcome in zip(items, outcomes, strict=True)]


def _link(item: _Item) -> str | int:
    return item.number if item.task.task_id is None else item.task.task_id


def _outcome(accept: Accept, outbox: Outbox, left_ms: Callable[[], int], item: _Item) -> Accepted | HttpError:
    if left_ms() < NEEDED_TO_BEGIN_MS:
        return NO_TIME
    try:
        return accept(item.task.text, outbox)
    except HttpError as error:
        return error


def _result(
    item: _Item, outcome: Accepted | HttpError, unsent: Collection[Message], unknown: HttpError
) -> dict[str, Any]:
    if isinstance(outcome, Accepted):
        task = outcome.task
        if Message(task.task_id, task.generation) not in unsent:
            new = outcome.outcome == "new"
            message = "Task accepted" if new else "Task already accepted"
            return {"taskId": task.task_id, "status": 202 if new else 200, "message": message}
        return _refusal(task.task_id, unknown)
    return _refusal(item.task.task_id, outcome)


def _refusal(task_id: str | None, error: HttpError) -> dict[str, Any]:
    return {"taskId": task_id, "status": error.status, "error": {"code": error.code, "message": error.message}}
