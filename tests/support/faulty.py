"""Deployed functions whose SDK calls fail on order: put into a running stack, and taken out again."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.fault_hook import CLOCK, REACHES, Firing, Rule, TableLedger
from tests.support.stack import DeployedStack
from tests.support.swapped import Version, deployed, swapped
from tests.support.waiting import eventually

HANDLER = "tests.support.faulty_handler.handle"
MODULES = (
    "tests/__init__.py",
    "tests/support/__init__.py",
    "tests/support/fault_hook.py",
    "tests/support/faulty_handler.py",
)
"""What a package gets on top."""
COMES_BACK_SECONDS = 3
"""Visibility timeout where a test needs a message again that nobody gave back."""
SKEW_SECONDS = 300
"""By so much a wrong clock is wrong."""
# What tells the writes to a task's row from one another: a value that only this write has.
CLAIM, COMPLETION, RETRY = ":leaseUntil", ":result", ":nextAttemptAt"
OUTSIDE = "outside"
"""A kind of task that only these functions know (tests/support/outside_kind.py)."""
KINDS = {f"lambdas/process_task/kinds/{OUTSIDE}.py": "tests/support/outside_kind.py"}


@dataclass(frozen=True)
class Faults:
    """Orders to the functions that obey them."""

    stack: DeployedStack
    table: str

    @contextmanager
    def on(self, function: str, *rules: Rule) -> Iterator[None]:
        """`rules` hold inside; at the end each of them must have fired at each of its calls."""
        ledger = self._ledger(function)
        for rule in rules:
            ledger.write(rule)
        try:
            yield
            for rule in rules:
                self._check(ledger, rule)
        finally:
            for rule in rules:
                if rule.fault == "late":
                    ledger.release(rule)
                ledger.forget(rule)

    def firing(self, function: str, rule: Rule) -> Firing:
        """The first firing of a rule, as soon as it happens."""
        ledger = self._ledger(function)
        return eventually(lambda: ledger.fired(rule))[0]

    def release(self, function: str, rule: Rule) -> None:
        """Let a call go on that a rule holds up (`late`)."""
        self._ledger(function).release(rule)

    @contextmanager
    def clocks(self, **seconds: int) -> Iterator[None]:
        """The clocks of functions (logical id = seconds) are ahead by so much, or behind."""
        for function, skew in seconds.items():
            self._ledger(function).set(CLOCK, skew)
        try:
            yield
        finally:
            for function in seconds:
                self._ledger(function).set(CLOCK, 0)

    def outside(self) -> TableLedger:
        """The system outside that the kind OUTSIDE calls."""
        return TableLedger(self.stack.dynamodb, self.table, OUTSIDE)

    def _ledger(self, function: str) -> TableLedger:
        return TableLedger(self.stack.dynamodb, self.table, self.stack.outputs["functions"][function])

    def _check(self, ledger: TableLedger, rule: Rule) -> None:
        fired = eventually(lambda: ledger.fired(rule), lambda fired: [one.call for one in fired] == list(rule.calls))
        if rule.fault in REACHES:
            # The first one was carried out: what got lost is the acknowledgement, not a refusal.
            assert fired[0].answer == 200, f"{rule} lost another answer: {fired}"


@contextmanager
def functions(stack: DeployedStack, **settings: Mapping[str, str]) -> Iterator[Faults]:
    """Let the functions (logical id = more environment variables) obey orders; afterwards they are as before."""
    faults = Faults(stack, f"faults-{uuid.uuid4().hex[:8]}")
    before = {function: deployed(stack, function) for function in settings}
    _make_table(faults)
    try:
        with swapped(
            stack, list(before.values()), [_hooked(faults, before[name], more) for name, more in settings.items()]
        ):
            yield faults
    finally:
        stack.dynamodb.delete_table(TableName=faults.table)


def _hooked(faults: Faults, before: Version, more: Mapping[str, str]) -> Version:
    order = json.dumps({"table": faults.table, "function": before.name, "handler": before.handler})
    return before.wrapped(faults.stack, HANDLER, {name: name for name in MODULES} | KINDS, **more, FAULTS=order)


@contextmanager
def configured(stack: DeployedStack, function: str, **changes: Any) -> Iterator[None]:
    """A function (logical id) with another configuration; `Variables` are added to those that it has."""
    functions, name = stack.aws("lambda"), stack.outputs["functions"][function]
    found = functions.get_function_configuration(FunctionName=name)
    variables = found["Environment"]["Variables"]
    more = changes.pop("Variables", {})
    before = {"Environment": {"Variables": variables}, **{key: found[key] for key in changes}}
    during = {"Environment": {"Variables": {**variables, **more}}, **changes}
    try:
        _configure(functions, name, during)
        yield
    finally:
        _configure(functions, name, before)


def _configure(functions: Any, name: str, configuration: Mapping[str, Any]) -> None:
    functions.update_function_configuration(FunctionName=name, **configuration)
    status = "LastUpdateStatus"
    eventually(lambda: functions.get_function_configuration(FunctionName=name)[status], lambda now: now == "Successful")


@contextmanager
def visibility(stack: DeployedStack, queue: str, seconds: int) -> Iterator[None]:
    """Another visibility timeout of `queue_url` or `dlq_url`: what is not acknowledged comes back within the test."""
    sqs, url = stack.aws("sqs"), stack.outputs[queue]
    name: Any = "VisibilityTimeout"
    before = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"][name]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={name: str(seconds)})
    try:
        yield
    finally:
        sqs.set_queue_attributes(QueueUrl=url, Attributes={name: before})


def _make_table(faults: Faults) -> None:
    keys, dynamodb = {"function": "HASH", "name": "RANGE"}, faults.stack.dynamodb
    dynamodb.create_table(
        TableName=faults.table,
        KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys.items()],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in keys],
        BillingMode="PAY_PER_REQUEST",
    )
    dynamodb.get_waiter("table_exists").wait(TableName=faults.table)
