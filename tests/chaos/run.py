"""One chaos run: first tasks without any fault, to compare with, then the others while everything breaks."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from lambdas.common import rows
from lambdas.common.task import IndexClass, Status, Task
from lambdas.common.wire import from_wire
from tests.chaos import orders, verdict
from tests.chaos.clients import KIND, Clients
from tests.chaos.happened import Planned
from tests.chaos.journal import TASK, Journal, number_of, task_id
from tests.chaos.plan import CHANCES, LANDS_LATE, LATE_SECONDS, Plan
from tests.chaos.verdict import Breach, Facts
from tests.support.faulty import visibility
from tests.support.stack import DeployedStack, function_timeout
from tests.support.swapped import deployed, swapped
from tests.support.waiting import eventually

PROFILE = {
    "PROCESS_TIMEOUT_SECONDS": function_timeout(6),
    "BACKOFF_BASE_SECONDS": "1",
    "BACKOFF_CAP_SECONDS": "4",
    "RESEND_AFTER_SECONDS": "15",
    "MAX_CONCURRENCY": "4",
    "API_RATE_LIMIT": "10000",
}
"""Short time-outs, so that what production heals in minutes is healed in seconds. All rules between them still hold."""
RESEND_AFTER_MS = int(PROFILE["RESEND_AFTER_SECONDS"]) * 1000
QUEUE_VISIBILITY_SECONDS = 13
"""A lease lasts at most 6 + 5 s."""
DLQ_VISIBILITY_SECONDS = 10
SWEEP_SECONDS = 5
SHOWN = {
    **PROFILE,
    "queue visibility": f"{QUEUE_VISIBILITY_SECONDS} s",
    "dead-letter queue visibility": f"{DLQ_VISIBILITY_SECONDS} s",
    "sweep": f"every {SWEEP_SECONDS} s",
}
"""The profile for people."""
TAKE_SECONDS = 0.25
"""Between two messages that the run takes from the queue itself."""
BESIDE = 2
"""Jobs that go on beside the clients: the sweeps, and the taking of messages."""
LATE_SLACK_SECONDS = 3
"""For a request that lands late to be carried out, and to be seen."""
LOOK_SECONDS = 1.0
EFFECTS_EVERY = 10
"""Looks between two at all effects."""
STUCK_SECONDS = 150
"""Without any change, and after the sweeper's time to send again: what has not ended by then is stuck."""
FUNCTIONS = ("SubmitTask", "ProcessTask", "MonitorDlq", "SweepTasks", "SteerTasks")


@dataclass(frozen=True)
class Look:
    """The run at one moment."""

    seconds: float
    accepted: int
    counts: Mapping[str, int]
    """Tasks by status."""
    faults: int
    breaches: int


@dataclass
class Run:
    stack: DeployedStack
    plan: Plan
    journal: Journal
    count: int
    concurrency: int
    tell: Callable[[Look], None]
    looks: list[Look] = field(default_factory=list)
    calm_seconds: float = 0
    seconds: float = 0
    _replayed: set[str] = field(default_factory=set)
    _seen: dict[str, Task] = field(default_factory=dict)
    _live: list[Breach] = field(default_factory=list)
    _late_until: float = 0
    """When the last request that lands late has landed, by the monotonic clock."""
    _halt: threading.Event = field(default_factory=threading.Event)

    @cached_property
    def clients(self) -> Clients:
        return Clients(self.stack, self.plan, self.journal, self._halt)

    def calm(self, count: int) -> None:
        """The same functions and the same work, and nothing goes wrong."""
        started = time.monotonic()
        ids = [task_id("calm", number) for number in range(count)]
        with ThreadPoolExecutor(self.concurrency) as pool:
            list(pool.map(lambda one: self.clients.api.submit(KIND, {}, task_id=one), ids))
        eventually(lambda: list(self.stack.store.get_many(ids)), lambda tasks: all(map(verdict.at_rest, tasks)), 600)
        self.calm_seconds = time.monotonic() - started

    def storm(self) -> None:
        """Until every task is at rest or stuck, or somebody interrupts it."""
        started = time.monotonic()
        pool = ThreadPoolExecutor(self.concurrency + BESIDE)
        sweeping, taking = pool.submit(self._sweep), pool.submit(self._take_messages)
        try:
            submits = [pool.submit(self.clients.submit, number) for number in range(self.count)]
            self._watch(started, lambda: all(submit.done() for submit in submits))
            ended = [*submits, *(job for job in (sweeping, taking) if job.done())]
            # An error of the run itself is not to be hidden, and must not hide the account either.
            errors = [error for error in (job.exception() for job in ended if not job.cancelled()) if error]
            self._live += [Breach("run", "-", f"{type(error).__name__}: {error}") for error in errors]
        finally:
            self._halt.set()
            pool.shutdown(wait=True, cancel_futures=True)
            self.seconds = time.monotonic() - started

    def facts(self, ended: bool = True) -> Facts:
        """Read everything there is to know. In a run that has not `ended` tasks still move: those are left out."""
        # The journal before the table: what it says of a task is on the row by then.
        lines = [line for line in self.journal.read() if not line.get("task", "").startswith("calm-")]
        before, _ = self._table()
        effects = self._effects()
        tasks, letters = self._table()
        moving = {one for one, task in tasks.items() if not ended and before.get(one) != task}
        chaos = {one: task for one, task in tasks.items() if one.startswith("chaos-") and one not in moving}
        submitted = {task_id("chaos", number) for number in range(self.count)}
        return Facts(
            ended=ended,
            accepted=frozenset(self.clients.accepted - moving),
            unknown=frozenset(self.clients.unknown),
            tasks=chaos,
            letters=letters,
            effects={name: n for name, n in effects.items() if name.startswith("chaos-") and name not in moving},
            cancels=frozenset(self.clients.cancels),
            lines=lines,
            messages_left=sum(self._depths()),
            others=sorted(one for one in set(tasks) - submitted if not one.startswith("calm-")),
            live=self._live,
            planned=self._planned(),
        )

    def _planned(self) -> list[Planned]:
        calls = {
            (task, operation): count
            for operation in CHANCES
            for task, count in enumerate(self.journal.counts(f"chaos.{operation}"))
            if count
        }
        planned = self.plan.planned(calls)
        return [Planned(task_id("chaos", task), operation, nth, fault) for task, operation, nth, fault in planned]

    # What goes on beside. --------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        """Every few seconds instead of every minute; a sweep that the plan lets die is the next one's business."""
        functions, name = self.stack.aws("lambda"), self.stack.outputs["functions"]["SweepTasks"]
        while not self._halt.wait(SWEEP_SECONDS):
            try:
                functions.invoke(FunctionName=name)["Payload"].read()
            except (BotoCoreError, ClientError) as error:
                self.journal.write("sweep failed", error=str(error))

    def _take_messages(self) -> None:
        """Take messages from under the workers' noses: lose one, keep one for a while, send one twice."""
        sqs, url = self.stack.aws("sqs"), self.stack.outputs["queue_url"]
        while not self._halt.wait(TAKE_SECONDS):
            received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=1, VisibilityTimeout=5)
            for message in received.get("Messages", ()):
                self._take(sqs, url, message)

    def _take(self, sqs: Any, url: str, message: Mapping[str, Any]) -> None:
        found = TASK.search(message["Body"])
        if not found or found[1] != "chaos":
            return
        nth = self.journal.next("chaos.message", int(found[2]))
        fault = self.plan.fault(int(found[2]), "message", nth)
        if fault is None:
            return
        self.clients.note(found[0], "message", nth, fault)
        if fault == "copied":
            self.clients.send("queue_url", message["Body"])
        if fault == "lost":
            try:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            except ClientError as error:  # somebody has received it again since: it is only one receive the poorer
                self.journal.write("not lost", task=found[0], error=str(error))

    # What is seen meanwhile. -----------------------------------------------------------------------------------------

    def _watch(self, started: float, submitted: Callable[[], bool]) -> None:
        changed, last, faults = time.monotonic(), Counter[str](), 0
        while True:
            time.sleep(LOOK_SECONDS)  # the pace of the looks; the loop ends by itself, at the latest when all is stuck
            all_submitted = submitted()
            self._look()
            if len(self.looks) % EFFECTS_EVERY == 0:
                self._live += verdict.of_effects(self._effects(), {breach.task_id for breach in self._live})
            counts = Counter(str(task.status) for task in self._seen.values())
            for line in self.journal.new():
                faults += line["event"] == "fault"
                if line.get("fault") == LANDS_LATE:
                    self._late_until = time.monotonic() + LATE_SECONDS[1] + LATE_SLACK_SECONDS
            look = Look(time.monotonic() - started, len(self.clients.accepted), counts, faults, len(self._live))
            self.looks.append(look)
            self.tell(look)
            if counts != last:
                changed, last = time.monotonic(), counts
            since_resend = time.time() - verdict.resent_by(self._seen.values(), RESEND_AFTER_MS) / 1000
            quiet = min(time.monotonic() - changed, since_resend)
            if quiet > STUCK_SECONDS or (all_submitted and self._is_over()):
                return

    def _look(self) -> None:
        known = self.clients.known()
        open_ones = [one for one in known if one not in self._seen or not self._done(self._seen[one])]
        for task in self.stack.store.get_many(open_ones):
            before = self._seen.get(task.task_id)
            if before is not None:
                self._live += verdict.of_change(before, task, task.task_id in self._replayed)
            self._seen[task.task_id] = task
        for task in [task for task in self._seen.values() if self._to_replay(task)]:
            self._replayed.add(task.task_id)
            self.clients.steer(partial(self.clients.api.redrive, task.task_id, 1))

    def _done(self, task: Task) -> bool:
        return verdict.at_rest(task) and not self._to_replay(task)

    def _to_replay(self, task: Task) -> bool:
        recorded = task.status is Status.FAILED_FINAL and task.index_class is IndexClass.RECORDED
        fresh = task.generation == 1 and task.task_id not in self._replayed
        return recorded and fresh and self.plan.replays(number_of(task.task_id))

    def _is_over(self) -> bool:
        """Every accepted task rests, no message is left, and no request is on its way any more."""
        if time.monotonic() < self._late_until:
            return False
        if not set(self.clients.accepted) <= set(self._seen) or not all(map(self._done, self._seen.values())):
            return False
        if sum(self._depths()):
            return False
        # A replay whose answer was lost may have begun a life that nobody has looked at since.
        looked = {task.task_id: task for task in self.stack.store.get_many(self.clients.known())}
        for one, task in looked.items():
            if one in self._seen:
                self._live += verdict.of_change(self._seen[one], task, one in self._replayed)
        self._seen.update(looked)
        return all(map(self._done, looked.values()))

    def _depths(self) -> Iterator[int]:
        names: list[Any] = [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesDelayed",
        ]
        for queue in ("queue_url", "dlq_url"):
            url = self.stack.outputs[queue]
            found = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
            yield sum(int(found[name]) for name in names)

    @cached_property
    def _sqs(self) -> Any:
        return self.stack.aws("sqs")

    # What is there in the end. ---------------------------------------------------------------------------------------

    def _table(self) -> tuple[dict[str, Task], dict[str, list[int]]]:
        tasks: dict[str, Task] = {}
        letters: dict[str, list[int]] = {}
        for row in self._scan(self.stack.outputs["table_name"]):
            if row["SK"] == rows.STATE and str(row["PK"]).startswith("T#"):
                task = rows.task_of(row)
                tasks[task.task_id] = task
            elif str(row["SK"]).startswith("D#") and str(row["PK"]).startswith("T#"):
                letter = rows.dead_letter_of(row)
                letters.setdefault(letter.task_id, []).append(letter.generation)
        return tasks, letters

    def _effects(self) -> dict[str, int]:
        return {
            str(row["account"]): int(row["balance"]) for row in self._scan(f"{self.stack.outputs['stage']}-accounts")
        }

    def _scan(self, table: str) -> Iterator[dict[str, Any]]:
        for page in self.stack.dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True):
            yield from map(from_wire, page["Items"])


@contextmanager
def hooked(stack: DeployedStack, plan: Plan, folder: Path) -> Iterator[None]:
    """The functions of the stack obey the plan, and the queues are as short of patience as the profile says."""
    before = [(name, deployed(stack, name)) for name in FUNCTIONS]
    during = [orders.wrapped(stack, name, version, plan, folder) for name, version in before]
    with ExitStack() as all_of_it:
        all_of_it.enter_context(visibility(stack, "queue_url", QUEUE_VISIBILITY_SECONDS))
        all_of_it.enter_context(visibility(stack, "dlq_url", DLQ_VISIBILITY_SECONDS))
        all_of_it.enter_context(swapped(stack, [version for _, version in before], during))
        yield


def fresh_seed() -> int:
    return random.SystemRandom().randrange(1, 1_000_000)
