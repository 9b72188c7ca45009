"""Deployed functions whose SDK calls fail on order: put into a running stack, and taken out again."""

from __future__ import annotations

import io
import json
import uuid
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bootstrap.paths import ROOT
from tests.support.fault_hook import Rule, TableLedger
from tests.support.stack import DeployedStack
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
    before = {function: _deployed(stack, function) for function in settings}
    _make_table(faults)
    try:
        _deploy(stack, [_hooked(faults, before[function], more) for function, more in settings.items()])
        yield faults
    finally:
        _deploy(stack, list(before.values()))
        stack.dynamodb.delete_table(TableName=faults.table)


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


@dataclass(frozen=True)
class _Version:
    """What of a function changes."""

    name: str
    code: Mapping[str, Any]
    handler: str
    variables: Mapping[str, str]


def _deployed(stack: DeployedStack, function: str) -> _Version:
    name = stack.outputs["functions"][function]
    found = stack.aws("lambda").get_function_configuration(FunctionName=name)
    return _Version(name, _package(stack, function), found["Handler"], found["Environment"]["Variables"])


def _package(stack: DeployedStack, function: str) -> dict[str, str]:
    """Where the package of a function lies."""
    storage, app = (
        stack.aws("cloudformation").describe_stacks(StackName=stack.outputs[name])["Stacks"][0]
        for name in ("storage_stack_name", "stack_name")
    )
    outputs = {one["OutputKey"]: one["OutputValue"] for one in storage["Outputs"]}
    parameters = {one["ParameterKey"]: one["ParameterValue"] for one in app["Parameters"]}
    return {"S3Bucket": outputs["PackageBucketName"], "S3Key": parameters[f"{function}Package"]}


def _hooked(faults: Faults, before: _Version, more: Mapping[str, str]) -> _Version:
    order = json.dumps({"table": faults.table, "function": before.name, "handler": before.handler})
    stored = faults.stack.aws("s3").get_object(Bucket=before.code["S3Bucket"], Key=before.code["S3Key"])
    code = {"ZipFile": _with_modules(stored["Body"].read())}
    return _Version(before.name, code, HANDLER, {**before.variables, **more, "FAULTS": order})


def _with_modules(code: bytes) -> bytes:
    archive = io.BytesIO(code)
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as package:
        for name in MODULES:
            package.write(ROOT / name, name)
    return archive.getvalue()


def _deploy(stack: DeployedStack, versions: Sequence[_Version]) -> None:
    """Both emulators, as AWS does, start new workers afterwards."""
    functions = stack.aws("lambda")
    for version in versions:
        functions.update_function_code(FunctionName=version.name, **version.code)
    _settled(functions, versions)
    for version in versions:
        functions.update_function_configuration(
            FunctionName=version.name, Handler=version.handler, Environment={"Variables": version.variables}
        )
    _settled(functions, versions)


def _settled(functions: Any, versions: Sequence[_Version]) -> None:
    def states() -> set[str]:
        found = (functions.get_function_configuration(FunctionName=version.name) for version in versions)
        return {one["LastUpdateStatus"] for one in found}

    eventually(states, lambda states: states == {"Successful"})
