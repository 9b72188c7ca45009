"""Deployed functions whose SDK calls fail on order: put into a running stack, and taken out again."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.fault_hook import Rule, TableLedger
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


@dataclass(frozen=True)
class Faults:
    """Orders to the functions that obey them."""

    stack: DeployedStack
    table: str

    @contextmanager
    def on(self, function: str, *rules: Rule) -> Iterator[None]:
        """`rules` hold inside; at the end each of them must have fired at each of its calls."""
        ledger = TableLedger(self.stack.dynamodb, self.table, self.stack.outputs["functions"][function])
        for rule in rules:
            ledger.write(rule)
        try:
            yield
            for rule in rules:
                self._check(ledger, rule)
        finally:
            for rule in rules:
                ledger.forget(rule)

    def _check(self, ledger: TableLedger, rule: Rule) -> None:
        fired = eventually(lambda: ledger.fired(rule), lambda fired: [one.call for one in fired] == list(rule.calls))
        if rule.fault in ("lost-ack", "crash-after"):
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
    return before.wrapped(faults.stack, HANDLER, {name: name for name in MODULES}, **more, FAULTS=order)


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
