"""Both designs as deployed functions, driven batch by batch: invocations, billed time and log bytes of each phase.

The event source mappings are off; what Lambda's poller does is done here, so that a batch is as full as is meant.
"""

from __future__ import annotations

import io
import json
import re
import statistics
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bootstrap.deploy import client
from bootstrap.operate import switch
from bootstrap.paths import ROOT
from scripts.cost.bill import Counts
from scripts.cost.designs import MAX_RECEIVES
from scripts.cost.lab import BATCH, TOGETHER, Lab, Record
from scripts.cost.original import MAX_ATTEMPTS, TABLE

EVENT_BYTES = 26
"""CloudWatch Logs adds them to each event (PutLogEvents, "the maximum batch size")."""
SYSTEM = re.compile(r"(START|END|REPORT) RequestId: ")
BILLED = re.compile(r"REPORT RequestId: .*Billed Duration: (\d+) ms")
LOG_SECONDS = 30
PACKAGED = ("__init__.py", "cost/__init__.py", "cost/original.py", "cost/original_handlers.py")


@dataclass(frozen=True, slots=True)
class Ran:
    """What the functions of a phase did."""

    invocations: int = 0
    milliseconds: float = 0
    """Billed, by the emulator's own REPORT line: this machine's time, not AWS's."""
    own_bytes: int = 0
    metric_bytes: int = 0
    """Of them: embedded metrics."""
    system_bytes: int = 0
    """Lambda's own lines: start, end, report."""

    def __add__(self, other: Ran) -> Ran:
        return Ran(
            self.invocations + other.invocations,
            self.milliseconds + other.milliseconds,
            self.own_bytes + other.own_bytes,
            self.metric_bytes + other.metric_bytes,
            self.system_bytes + other.system_bytes,
        )


def read(lines: Sequence[str]) -> Ran:
    """What the lines of one function tell. Its time is the median of its invocations, as often as there were any: what
    else the machine has to do makes some of them slow."""
    system = [line for line in lines if SYSTEM.match(line)]
    own = [line for line in lines if not SYSTEM.match(line)]
    billed = [int(found[1]) for found in map(BILLED.match, system) if found]
    metrics = [line for line in own if line.startswith('{"_aws"')]
    return Ran(
        len(billed), statistics.median(billed or [0]) * len(billed), _bytes(own), _bytes(metrics), _bytes(system)
    )


def _bytes(lines: Sequence[str]) -> int:
    return sum(len(line.encode()) + EVENT_BYTES for line in lines)


@dataclass(frozen=True, slots=True)
class Site:
    """One of the two designs, deployed."""

    name: str
    submit: str
    process: str
    monitor: str
    queue_url: str
    dlq_url: str
    max_receives: int
    memory_gb: float
    system_lines: bool
    """Whether Lambda's own lines are kept (LoggingConfig of app.yaml drops them)."""

    @property
    def functions(self) -> tuple[str, ...]:
        return self.submit, self.process, self.monitor

    def counts(self, ran: Ran) -> Counts:
        log_bytes = ran.own_bytes + (ran.system_bytes if self.system_lines else 0)
        seconds = ran.milliseconds / 1000 * self.memory_gb
        return Counts({"invocations": ran.invocations, "gb_seconds": seconds, "log_bytes": log_bytes})


class Functions:
    """Runs phases of ten tasks, and reads what their functions logged."""

    def __init__(self, lab: Lab, outputs: Mapping[str, Any]) -> None:
        self.lab, self.outputs = lab, outputs
        self._read: dict[str, int] = {}
        """How many lines of each log group belong to phases that are over."""
        self._calls = 0

    @cached_property
    def lambdas(self) -> Any:
        return client(self.lab.place, "lambda")

    @cached_property
    def logs(self) -> Any:
        return client(self.lab.place, "logs")

    @cached_property
    def ours(self) -> Site:
        names = self.outputs["functions"]
        self._stop()
        memory = self.lambdas.get_function_configuration(FunctionName=names["ProcessTask"])["MemorySize"]
        chain = (names["SubmitTask"], names["ProcessTask"], names["MonitorDlq"])
        urls = self.outputs["queue_url"], self.outputs["dlq_url"]
        return Site("ours", *chain, *urls, MAX_RECEIVES, memory / 1024, system_lines=False)

    def _stop(self) -> None:
        """Nothing runs but what is run here."""
        for mapping in self.lambdas.list_event_source_mappings()["EventSourceMappings"]:
            switch(self.lambdas, mapping["UUID"], "Disabled", 0.1)
        events = client(self.lab.place, "events")
        for rule in events.list_rules()["Rules"]:
            events.disable_rule(Name=rule["Name"])

    @cached_property
    def original(self) -> Site:
        queue_url, dlq_url = self.lab.queues(MAX_ATTEMPTS)
        variables = {"TABLE_NAME": self.lab.table(TABLE), "QUEUE_URL": queue_url, "DLQ_URL": dlq_url}
        submit, process, monitor = (self._made(name, variables) for name in ("submit", "process", "monitor"))
        urls, memory = (queue_url, dlq_url), self.ours.memory_gb
        return Site("original", submit, process, monitor, *urls, MAX_ATTEMPTS, memory, system_lines=True)

    def _made(self, name: str, variables: Mapping[str, str]) -> str:
        function = f"original-{name}"
        self.lambdas.create_function(
            FunctionName=function,
            Runtime="python3.13",
            Role=self._role,
            Handler=f"scripts.cost.original_handlers.{name}",
            Code={"ZipFile": _package()},
            Timeout=30,
            MemorySize=round(self.ours.memory_gb * 1024),
            Environment={"Variables": dict(variables)},
        )
        self.lambdas.get_waiter("function_active_v2").wait(FunctionName=function, WaiterConfig={"Delay": 1})
        return function

    @cached_property
    def _role(self) -> str:
        """May do what the original's functions do; on an emulator, for this run."""
        iam = client(self.lab.place, "iam")
        trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        actions = ["dynamodb:PutItem", "dynamodb:GetItem", "dynamodb:UpdateItem", "sqs:*", "logs:*"]
        allowed = {"Effect": "Allow", "Action": actions, "Resource": "*"}
        role = iam.create_role(RoleName="original", AssumeRolePolicyDocument=_policy(trust))["Role"]
        iam.put_role_policy(RoleName="original", PolicyName="original", PolicyDocument=_policy(allowed))
        return str(role["Arn"])

    def tasks(self, site: Site, failures: int, batch: int) -> Ran:
        """Ten tasks to COMPLETED, the first attempts failing, in batches of so many."""
        self._submit(site, list(range(1, failures + 1)))
        for _ in range(failures + 1):
            self._poll(site.process, site.queue_url, batch)
        return self._ran(site.functions)

    def submits(self, site: Site) -> Ran:
        """Ten tasks, each submitted for itself."""
        self._submit(site, [])
        ran = self._ran([site.submit])
        self._work_off(site, BATCH)
        return ran

    def submits_together(self, site: Site) -> Ran:
        """TOGETHER tasks, submitted by one request."""
        body = json.dumps({"tasks": [_a_task([]) for _ in range(TOGETHER)]})
        event = {"resource": "/tasks/batch", "httpMethod": "POST", "headers": {}, "body": body}
        answer = self._invoke(site.submit, event)
        statuses = [result["status"] for result in json.loads(answer["body"])["results"]]
        assert statuses == [202] * TOGETHER, answer
        ran = self._ran([site.submit])
        self._work_off(site, TOGETHER)
        return ran

    def _work_off(self, site: Site, count: int) -> None:
        for _ in range(0, count, BATCH):
            self._poll(site.process, site.queue_url, BATCH)
        self._ran([site.process])

    def deaths(self, site: Site, batch: int) -> Ran:
        """Ten tasks that fail in all attempts, carried to the dead-letter queue and through the monitor."""
        self._submit(site, list(range(1, MAX_ATTEMPTS + 1)))
        for _ in range(site.max_receives):
            records = self._poll(site.process, site.queue_url, batch)
        self.lab.carry_to_dlq(site.queue_url, site.dlq_url, records)
        self._poll(site.monitor, site.dlq_url, batch)
        return self._ran(site.functions)

    def sweep(self) -> Ran:
        """One run of the sweeper that finds nothing to do; the run before it starts the function."""
        function = self.outputs["functions"]["SweepTasks"]
        for _ in range(2):
            self._invoke(function, {})
            ran = self._ran([function])
        return ran

    def metric_names(self) -> set[str]:
        """Of every metric that our functions have written in any phase."""
        groups = self.outputs["functions"].values()
        lines = [json.loads(line) for group in groups for line in self._lines(group) if line.startswith('{"_aws"')]
        directives = [directive for line in lines for directive in line["_aws"]["CloudWatchMetrics"]]
        return {metric["Name"] for directive in directives for metric in directive["Metrics"]}

    def _ran(self, functions: Sequence[str]) -> Ran:
        """What was logged since the last phase, once every invocation of this one has its report."""
        deadline = time.monotonic() + LOG_SECONDS
        while True:
            lines = {function: self._lines(function) for function in functions}
            ran = sum((read(found[self._read.get(function, 0) :]) for function, found in lines.items()), Ran())
            if ran.invocations >= self._calls:
                break
            if time.monotonic() > deadline:
                raise TimeoutError(f"{ran.invocations} of {self._calls} invocations are in the logs of {functions}")
            time.sleep(0.1)
        assert ran.invocations == self._calls, f"{ran.invocations} invocations for {self._calls} calls"
        self._read.update({function: len(found) for function, found in lines.items()})
        self._calls = 0
        return ran

    def _lines(self, function: str) -> list[str]:
        pages = self.logs.get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/{function}")
        try:
            return [event["message"] for page in pages for event in page["events"]]
        except self.logs.exceptions.ResourceNotFoundException:
            return []

    def _invoke(self, function: str, event: Mapping[str, Any]) -> Any:
        answer = self.lambdas.invoke(FunctionName=function, Payload=json.dumps(event))
        found = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, f"{function}: {found}"
        self._calls += 1
        return found

    def _submit(self, site: Site, failures: list[int]) -> None:
        for _ in range(BATCH):
            event = {"httpMethod": "POST", "path": "/tasks", "headers": {}, "body": json.dumps(_a_task(failures))}
            answer = self._invoke(site.submit, event)
            assert answer["statusCode"] == 202, answer

    def _poll(self, function: str, queue_url: str, batch: int) -> list[Record]:
        """Ten messages, in batches of so many; what did not fail is deleted."""
        records = self.lab.receive(self.lab.sqs, queue_url)
        for first in range(0, BATCH, batch):
            part = records[first : first + batch]
            answer = self._invoke(function, {"Records": part})
            failed = {item["itemIdentifier"] for item in (answer or {}).get("batchItemFailures", [])}
            self.lab.delete(self.lab.sqs, queue_url, [each for each in part if each["messageId"] not in failed])
        return records


def _a_task(failures: list[int]) -> dict[str, Any]:
    return {"payload": {"text": "x" * 100, "simulate": {"failAttempts": failures}}}


def _policy(statement: Mapping[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _package() -> bytes:
    """The original's code as a Lambda package."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as package:
        for name in PACKAGED:
            package.writestr(f"scripts/{name}", (ROOT / "scripts" / name).read_text())
    return buffer.getvalue()
