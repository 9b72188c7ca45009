"""A batch from SQS: its messages side by side, each with an outcome of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
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
    """The invocation ended before the work did."""


class _Slot:
    """A record on its way. Remembers the claimed task, so that its attempt can be ended from outside its thread."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.claimed: Task | None = None

    def hold(self, task: Task) -> None:
        self.claimed = task


def work_through(
    records: Sequence[Record], worker: Worker, deadline: int, threads: int
) -> list[tuple[Record, Outcome]]:
    """Outcomes in the order of the records. Ends before `deadline` (ms), whatever the work does."""
    slots = [_Slot(record) for record in records]
    pool = ThreadPoolExecutor(max_workers=min(threads, len(slots)) or 1)
    futures = [pool.submit(_deliver, slot, worker, deadline) for slot in slots]
    wait(futures, timeout=max(0, deadline - KEPT_FOR_ENDING_MS - worker.now()) / 1000)
    pool.shutdown(wait=False, cancel_futures=True)
    return [(slot.record, _outcome(slot, future, worker)) for slot, future in zip(slots, futures, strict=True)]


def _outcome(slot: _Slot, future: Future[Outcome], worker: Worker) -> Outcome:
    if future.done() and not future.cancelled():
        return future.result()
    if slot.claimed is None:
        return Outcome("not begun: no time left", None, False, 0)
    # The write below also fences the thread that still works: its finish finds another status and is refused.
    task, too_late = slot.claimed, OutOfTime("the invocation ended before the work did")
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
