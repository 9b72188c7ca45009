"""What becomes of a message in the dead-letter queue: recorded, handed back, or dropped. Decided by the task's row."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from lambdas.common import transitions
from lambdas.common.dead_letters import Recorder
from lambdas.common.decisions import Bury, Drop, HandBack, Record, Stray, for_dead_message
from lambdas.common.rows import StrayMessage, cut_body, stray_fields
from lambdas.common.store import Refused, message_of
from lambdas.common.task import Message, Task, UnknownVersion, parse_message
from lambdas.common.transitions import Value, Write

MAX_READS = 5
"""The row may change between read and write; it is read again so often, then left for the next delivery."""


class Store(Protocol):
    def get(self, task_id: str) -> Task | None: ...
    def apply(self, write: Write) -> Task | Refused: ...
    def record_stray(self, message_id: str, fields: Mapping[str, Value]) -> None: ...


class Queue(Protocol):
    def send(self, message: Message, delay_seconds: int = 0) -> None: ...


class StillChanging(Exception):
    """The task changed under every decision; the message comes again."""


@dataclass(frozen=True, slots=True)
class DeadMessage:
    """A message as the dead-letter queue handed it out."""

    message_id: str
    body: str
    receives: int
    source_queue_arn: str | None

    @property
    def task_id(self) -> str | None:
        """Of the task that it names, if it can be read."""
        with suppress(UnknownVersion):
            message = parse_message(_json(self.body))
            return None if message is None else message.task_id
        return None


@dataclass(frozen=True, slots=True)
class Handled:
    """What was done, with the task as it stands now (None for a stray)."""

    event: str
    task: Task | None


@dataclass(frozen=True)
class Monitor:
    """`now` is in milliseconds."""

    store: Store
    queue: Queue
    recorder: Recorder
    now: Callable[[], int]
    new_token: Callable[[], str]

    def handle(self, dead: DeadMessage) -> Handled:
        """Act on one message; afterwards it may be deleted.

        Raises:
            StillChanging: the row changed under every decision.
            UnknownVersion: a newer deployment wrote the message.
        """
        message = parse_message(_json(dead.body))
        if message is None:
            return self._stray(dead, "unreadable")
        for _ in range(MAX_READS):
            handled = self._decide(dead, message)
            if handled is not None:
                return handled
        raise StillChanging(f"task {message.task_id} changed {MAX_READS} times under the monitor")

    def _decide(self, dead: DeadMessage, message: Message) -> Handled | None:
        """None: the row changed between reading and writing; read again."""
        row, now = self.store.get(message.task_id), self.now()
        decision = for_dead_message(row, message, dead.message_id, now)
        match decision, row:
            case Stray(reason), _:
                return self._stray(dead, reason)
            case Drop(reason), Task() as task:
                return Handled(f"dropped: {reason}", task)
            case Bury(error), Task() as task:
                self.store.apply(transitions.bury(task, now, error, self.new_token()))
                return None
            case HandBack(), Task() as task:
                return self._hand_back(task, dead.message_id, now)
            case Record(), Task() as task:
                recorded = self.recorder.record(task, dead.message_id, dead.receives, dead.source_queue_arn)
                return Handled("task dead" if isinstance(recorded, Task) else "recorded before", task)
        raise AssertionError(f"no rule for {decision}")

    def _hand_back(self, task: Task, message_id: str, now: int) -> Handled | None:
        written = self.store.apply(transitions.hand_back(task, message_id, now, self.new_token()))
        if isinstance(written, Refused):
            return None
        self.queue.send(message_of(written))
        return Handled("handed back", written)

    def _stray(self, dead: DeadMessage, reason: str) -> Handled:
        now = self.now()
        stray = StrayMessage(
            message_id=dead.message_id,
            reason=reason,
            body=cut_body(dead.body),
            receives=dead.receives,
            source_queue_arn=dead.source_queue_arn,
            recorded_at=now,
            expires_at_seconds=now // 1000 + self.recorder.retention_seconds,
        )
        self.store.record_stray(dead.message_id, stray_fields(stray))
        return Handled(f"stray: {reason}", None)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
