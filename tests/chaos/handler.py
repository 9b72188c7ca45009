"""Stands in for the handler of each function in a chaos run: what the plan says happens to its calls and to its work.

CHAOS is JSON: `folder` of the journal, `seed`, `intensity`, the real `handler`, and what this `function` is called.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from lambdas.common import aws
from lambdas.common.kinds import Work
from tests.chaos.journal import TASK, Journal, number_of
from tests.chaos.plan import LANDS_LATE, Plan
from tests.support.fault_hook import Emitter, Fault, fire, land_late

WRITES = (
    (":leaseUntil", "claim"),
    (":result", "complete"),
    (":nextAttemptAt", "retry"),
    (":messageIds", "hand_back"),
    (":readSentAt", "mark_sent"),
    (":history", "replay"),
)
"""A value that only this write has, or only this function's."""
OF_FUNCTION = {
    ("MonitorDlq", "PutItem"): "record",
    ("MonitorDlq", "UpdateItem"): "mark_recorded",
    ("SweepTasks", "PutItem"): "record",
    ("SweepTasks", "UpdateItem"): "mark_recorded",
    ("SteerTasks", "UpdateItem"): "cancel",
    ("SubmitTask", "PutItem"): "put",
    ("ProcessTask", "UpdateItem"): "die",
}


def operation(function: str, call: str, body: str) -> str:
    """What the design calls this request."""
    if call in ("SendMessage", "SendMessageBatch"):
        return "send"
    if call == "ChangeMessageVisibility":
        return "hide"
    if call in ("GetItem", "Query"):
        return "read"
    for mark, name in WRITES:
        if mark in body:
            return name
    if ":readToken" in body:
        return "cancel" if function == "SteerTasks" else "bury"
    return OF_FUNCTION.get((function, call), "read")


@dataclass
class Chaos:
    """The plan and the journal in one worker process."""

    function: str
    plan: Plan
    journal: Journal
    receipts: dict[str, str] = field(default_factory=dict)
    """Receipt handle -> task, of the present invocation: a change of visibility names nothing else."""

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> Chaos:
        order = json.loads(variables["CHAOS"])
        plan = Plan(order["seed"], order["intensity"])
        return cls(order["function"], plan, Journal(Path(order["folder"])))

    def begin(self) -> int:
        """Note this worker; how wrong its clock is, in ms."""
        nth = self.journal.next("workers")
        skew = self.plan.skew_ms(nth)
        self.journal.write("worker", function=self.function, nth=nth, skew_ms=skew)
        return skew

    def hear(self, event: Any) -> None:
        """Note what was delivered."""
        records = event.get("Records", ()) if isinstance(event, dict) else ()
        self.receipts.clear()
        for record in records:
            if found := TASK.search(record["body"]):
                self.receipts[record["receiptHandle"]] = found[0]
                receives = int(record["attributes"]["ApproximateReceiveCount"])
                message = {"message": record["messageId"], "receives": receives}
                self.journal.write("delivery", task=found[0], function=self.function, **message)

    def strike(self, event_name: str, request: AWSPreparedRequest, **_: object) -> AWSResponse | None:
        """Called by botocore right before each request is sent."""
        call = event_name.split(".")[2]
        body = request.body.decode(errors="replace") if isinstance(request.body, bytes) else str(request.body)
        task = self._task(call, body)
        if task is None:
            return None
        name = operation(self.function, call, body)
        nth, fault = self.fault(task, name)
        if fault is None:
            return None

        def note(answer: int | None) -> None:
            self._fired(task, name, nth, fault, answer=answer)

        if fault == LANDS_LATE:
            note(None)
            seconds = self.plan.late_seconds(number_of(task), name, nth)
            land_late(request, seconds, partial(self._landed, task, name, nth))
            return None
        return fire(cast(Fault, fault), request, note)

    def _landed(self, task: str, operation: str, nth: int, answer: int) -> None:
        self.journal.write("landed", task=task, operation=operation, nth=nth, answer=answer)

    def fault(self, task: str, operation: str) -> tuple[int, str | None]:
        """Count one more call; its number and what is to happen to it, which the journal knows before it happens."""
        run, number = task.partition("-")[0], number_of(task)
        nth = self.journal.next(f"{run}.{operation}", number)
        fault = self.plan.fault(number, operation, nth) if run == "chaos" else None
        if fault is not None:
            self.journal.write("due", task=task, operation=operation, nth=nth, fault=fault)
        return nth, fault

    def work(self, work: Work) -> str | None:
        """Note that an attempt begins its work; what is to happen to it."""
        about = {"generation": work.generation, "attempt": work.attempt}
        self.journal.write("start", task=work.task_id, **about)
        nth, fault = self.fault(work.task_id, "work")
        if fault is not None:
            self._fired(work.task_id, "work", nth, fault)
        return fault

    def _task(self, call: str, body: str) -> str | None:
        """The one task that a request is about."""
        if call == "ChangeMessageVisibility":
            return self.receipts.get(json.loads(body)["ReceiptHandle"])
        found = {match[0] for match in TASK.finditer(body)}
        return found.pop() if len(found) == 1 else None

    def _fired(self, task: str, operation: str, nth: int, fault: str, **fields: Any) -> None:
        about = {"operation": operation, "nth": nth, "fault": fault, "function": self.function}
        self.journal.write("fault", task=task, **about, **fields)


@cache
def chaos() -> Chaos:
    return Chaos.of(os.environ)


def strike_work(fault: str | None, work: Work) -> None:
    """What comes over the work before it has done anything.

    Raises:
        Exception: it fails.
    """
    if fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "frozen":
        os.kill(os.getpid(), signal.SIGSTOP)
    if fault == "overdue":  # the sleep is the fault itself
        time.sleep(work.remaining_seconds() + 2)


def hooked(variables: Mapping[str, str]) -> Callable[[Any, Any], Any]:
    """The real handler, imported after its future clients are hooked and its clock is set wrong."""
    here = chaos()
    skew, now = here.begin(), aws.now_ms
    aws.now_ms = lambda: now() + skew
    events: Emitter = aws.session().get_component("event_emitter")
    events.register("before-send", here.strike)
    module, _, name = json.loads(variables["CHAOS"])["handler"].rpartition(".")
    real = getattr(importlib.import_module(module), name)

    def handle(event: Any, context: Any) -> Any:
        here.hear(event)
        return real(event, context)

    return handle


if "CHAOS" in os.environ:
    handle = hooked(os.environ)
