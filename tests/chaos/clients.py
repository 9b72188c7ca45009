"""What the clients of a chaos run do: submit, in every way there is, and meddle with what was accepted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import requests

from client import ApiError, Conflict, Submission, TaskClient, Unavailable
from client.errors import RETRIED
from lambdas.common.queue import body_of
from lambdas.common.task import Message
from tests.chaos.journal import Journal, payload_of, task_id, wrong_id
from tests.chaos.plan import Plan
from tests.support.stack import DeployedStack

KIND = "chaos"


@dataclass
class Clients:
    """`accepted` and `unknown` are what they know of their tasks, `cancels` what they asked to be cancelled."""

    stack: DeployedStack
    plan: Plan
    journal: Journal
    halt: threading.Event
    accepted: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    cancels: set[str] = field(default_factory=set)
    _local: threading.local = field(default_factory=threading.local)

    @property
    def api(self) -> TaskClient:
        """Of this thread."""
        if not hasattr(self._local, "api"):
            self._local.api = TaskClient(self.stack.outputs["api_url"], self.stack.outputs["api_key"], tries=1)
        api: TaskClient = self._local.api
        return api

    def known(self) -> list[str]:
        """Every id that may be a task."""
        return [*self.accepted, *self.unknown]

    def submit(self, number: int) -> None:
        if self.halt.is_set():
            return
        task = task_id("chaos", number)
        self.journal.write("submit", task=task)
        try:
            self._try_to_submit(number, task)
        except Unavailable as error:
            self.unknown.add(task)
            self.journal.write("unknown", task=task, error=str(error))
            return
        self.journal.write("accepted", task=task)
        self.accepted.add(task)
        self._meddle(number, task)

    def steer(self, call: Callable[[], object]) -> None:
        try:
            call()
        except (Conflict, Unavailable):
            return  # it had ended before, or nobody knows: both are looked at in the end

    def send(self, queue: str, body: str) -> None:
        self.stack.aws("sqs").send_message(QueueUrl=self.stack.outputs[queue], MessageBody=body)

    def note(self, task: str, operation: str, nth: int, fault: str) -> None:
        self.journal.write("fault", task=task, operation=operation, nth=nth, fault=fault, function="run")

    # Submits. --------------------------------------------------------------------------------------------------------

    def _try_to_submit(self, number: int, task: str) -> None:
        """Some clients repeat what got no clear answer, and then know; the others never do.

        Raises:
            Unavailable: whether the task was accepted is unknown.
        """
        fault = self._fault(number, task, "submit")
        if fault == "after-bad-ones":
            self._bad_ones(number, task)
        ways = {"in-a-batch": self._in_a_batch, "twice-at-once": self._twice_at_once}
        try:
            ways.get(fault or "", self._once)(number, task)
        except Unavailable:
            if not self.plan.repeats(number):
                raise
            self._once(number, task)

    def _once(self, number: int, task: str) -> None:
        """Raises Unavailable; what else the API may say against it is an answer that the run is not to get."""
        try:
            submitted = self.api.submit(KIND, payload_of(number), task_id=task)
        except ApiError as error:
            self._answered(task, "submit", error.status)
            raise Unavailable(error.status, error.code, error.message) from error
        self._answered(task, "submit", 202 if submitted.new else 200)

    def _twice_at_once(self, number: int, task: str) -> None:
        """Raises Unavailable: neither of the two had a clear answer."""
        with ThreadPoolExecutor(2) as pool:
            both = [pool.submit(self._once, number, task) for _ in range(2)]
        errors = [error for error in (one.exception() for one in both) if error]
        if len(errors) == len(both):
            raise errors[0]

    def _in_a_batch(self, number: int, task: str) -> None:
        """Raises Unavailable: neither of its two had a clear answer."""
        good = Submission(KIND, payload_of(number), task)
        bad = Submission("no such kind", payload_of(number), wrong_id(number, "batch"))
        try:
            *results, refused = self.api.submit_batch([good, good, bad])
        except ApiError as error:
            self._answered(task, "submit", error.status)
            raise Unavailable(error.status, error.code, error.message) from error
        self._answered(task, "bad request", refused.status)
        for result in results:
            self._answered(task, "submit", result.status)
        if not any(result.done for result in results):
            raise Unavailable(results[0].status, results[0].code or "", results[0].message)

    def _bad_ones(self, number: int, task: str) -> None:
        bad: dict[str, dict[str, Any]] = {
            "payload": {"kind": KIND, "payload": [number]},
            "field": {"kind": KIND, "payload": payload_of(number), "priority": 1},
            "kind": {"kind": "no such kind", "payload": payload_of(number)},
        }
        for kind, document in bad.items():
            self._answered(task, "bad request", self._post({**document, "taskId": wrong_id(number, kind)}))

    def _post(self, document: Any) -> int:
        """The status of an answer to what the client itself would not send; 0: there was none."""
        key = {"x-api-key": self.stack.outputs["api_key"]}
        try:
            return requests.post(self.stack.outputs["api_url"], json=document, headers=key, timeout=30).status_code
        except requests.RequestException:
            return 0

    def _answered(self, task: str, to: str, status: int) -> None:
        self.journal.write("answer", task=task, to=to, status=0 if status in RETRIED else status)

    # What is done to a task that was accepted. -----------------------------------------------------------------------

    def _fault(self, number: int, task: str, operation: str) -> str | None:
        nth = self.journal.next(f"chaos.{operation}", number)
        fault = self.plan.fault(number, operation, nth)
        if fault is not None:
            self.note(task, operation, nth, fault)
        return fault

    def _meddle(self, number: int, task: str) -> None:
        match self._fault(number, task, "client"):
            case "duplicate":
                self.send("queue_url", body_of(Message(task, 1)))
            case "stray-in-dlq":
                self.send("dlq_url", body_of(Message(task, 1)))
            case "garbage":
                self.send("queue_url", f"no message of {task}")
            case "other-body":
                other = {"kind": KIND, "payload": payload_of(-1 - number), "taskId": task}
                self._answered(task, "other body", self._post(other))
            case "cancelled":
                self.cancels.add(task)
                self.steer(partial(self.api.cancel, task))
