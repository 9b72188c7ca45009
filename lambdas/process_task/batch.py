"""A batch from SQS: its messages side by side, each with an outcome of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypedDict

from botocore.exceptions import BotoCoreError, ClientError

from lambdas.common.task import Task, UnknownVersion, parse_message
from lambdas.process_task.attempt import Delivery, Outcome, Worker

Record = Mapping[str, Any]

NEEDED_TO_START_MS = 2_000
"""A message is not begun with less time than this left: it would burn one of its attempts."""
KEPT_FOR_ENDING_MS = 1_000
"""Work still running this long before the invocation ends is given up, so that its failure can be written."""


class BatchItemFailure(TypedDict):
    itemIdentifier: str


class BatchResponse(TypedDict):
    """Partial batch response (Lambda, "Reporting batch item failures"). Another top-level key would read as success."""

    batchItemFailures: list[BatchItemFailure]


class Queue(Protocol):
    def hide(self, receipt_handle: str, seconds: int) -> None: ...


class OutOfTime(Exception):
    """The time of the attempt, or of its invocation, ended before the work did."""


class _Slot:
    """A record on its way. Remembers the claimed task, so that its attempt can be ended from outside its thread."""

    def __init__(self, record: Record, ends_at: int, news: SimpleQueue[None]) -> None:
        self.record = record
        self.claimed: Task | None = None
        self.ends_at = ends_at
        """When it is given up."""
        self.future: Future[Outcome] = Future()
        self._news = news

    def start(self, pool: ThreadPoolExecutor, worker: Worker, deadline: int) -> None:
        self.future = pool.submit(_deliver, self, worker, deadline)
        self.future.add_done_callback(lambda _: self._news.put(None))

    def hold(self, task: Task, ends_at: int) -> None:
        self.claimed, self.ends_at = task, min(self.ends_at, ends_at)
        self._news.put(None)

    def runs(self, now: int) -> bool:
        return not self.future.done() and now < self.ends_at


def work_through(
    records: Sequence[Record], worker: Worker, deadline: int, threads: int
) -> list[tuple[Record, Outcome]]:
    """Outcomes in the order of the records. Ends before `deadline` (ms), whatever the work does."""
    news: SimpleQueue[None] = SimpleQueue()
    slots = [_Slot(record, deadline - KEPT_FOR_ENDING_MS, news) for record in records]
    pool = ThreadPoolExecutor(max_workers=min(threads, len(slots)) or 1)
    for slot in slots:
        slot.start(pool, worker, deadline)
    outcomes = _outcomes(slots, worker, news)
    pool.shutdown(wait=False, cancel_futures=True)
    return [(slot.record, outcomes[slot]) for slot in slots]


def _outcomes(slots: Sequence[_Slot], worker: Worker, news: SimpleQueue[None]) -> dict[_Slot, Outcome]:
    """Waits for every slot; `news` comes with each claim and each end. An overdue one is given up at once."""
    outcomes: dict[_Slot, Outcome] = {}
    while waiting := [slot for slot in slots if slot not in outcomes]:
        now = worker.now()
        ended = [slot for slot in waiting if not slot.runs(now)]
        outcomes |= {slot: _outcome(slot, worker) for slot in ended}
        if not ended:
            until = min(slot.ends_at for slot in waiting)
            with suppress(Empty):
                news.get(timeout=max(0, until - now) / 1000)
    return outcomes


def _outcome(slot: _Slot, worker: Worker) -> Outcome:
    if slot.future.done() and not slot.future.cancelled():
        return slot.future.result()
    if slot.claimed is None:
        return Outcome("not begun: no time left", None, False, 0)
    # The write below also fences the thread that still works: its finish finds another status and is refused.
    task, too_late = slot.claimed, OutOfTime("the attempt was given up: its time was over before its work was")
    return _reported(task.task_id, lambda: worker.fail(task, too_late))


def _deliver(slot: _Slot, worker: Worker, deadline: int) -> Outcome:
    delivery = _read(slot.record)
    if isinstance(delivery, Outcome):
        return delivery
    task_id = delivery.message.task_id
    if deadline - worker.now() < NEEDED_TO_START_MS:
        return Outcome("not begun: no time left", task_id, False, 0)
    return _reported(task_id, lambda: worker.deliver(delivery, deadline - KEPT_FOR_ENDING_MS, slot.hold))


def _reported(task_id: str, step: Callable[[], Outcome]) -> Outcome:
    """An error on the way is a failed delivery, never a lost one: SQS brings the message again."""
    try:
        return step()
    except Exception as error:  # noqa: BLE001  one record's trouble must not take the batch with it
        return Outcome("delivery failed", task_id, False, None, error=f"{type(error).__name__}: {error}"[:300])


def _read(record: Record) -> Delivery | Outcome:
    try:
        message = parse_message(json.loads(record["body"]))
    except UnknownVersion:
        return Outcome("deferred: message of a newer version", None, False, 60)
    except (ValueError, RecursionError):
        message = None
    if message is None:
        return Outcome("unreadable message", None, False, 0)
    return Delivery(message, record["messageId"], int(record["attributes"]["ApproximateReceiveCount"]))


def respond(outcomes: Sequence[tuple[Record, Outcome]], queue: Queue) -> BatchResponse:
    """Set the visibility of what failed, and name it to SQS. A lost visibility change costs a delay, no message."""
    failed: list[BatchItemFailure] = []
    for record, outcome in outcomes:
        if outcome.acknowledge:
            continue
        failed.append({"itemIdentifier": record["messageId"]})
        if outcome.visibility_seconds is not None:
            try:
                queue.hide(record["receiptHandle"], outcome.visibility_seconds)
            except (BotoCoreError, ClientError):
                continue
    return {"batchItemFailures": failed}
