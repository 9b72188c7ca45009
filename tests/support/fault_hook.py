"""Faults in the calls of an SDK client: throttling, errors, lost answers, hangs, crashes. Each on order, each recorded.

A botocore hook below the SDK's own retries, which meet a fault as they would meet it on a network. A function of a test
stack gets it into its package (tests/support/faulty.py); a package that `bootstrap` builds never holds it.
"""

from __future__ import annotations

import copy
import io
import json
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any, Literal, Protocol

import boto3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ConnectionClosedError
from botocore.httpsession import URLLib3Session

Fault = Literal[
    "throttled",
    "server-error",
    "not-in-flight",
    "reset",
    "lost-ack",
    "hang",
    "late",
    "crash-before",
    "crash-after",
    "stop-before",
    "stop-after",
]
"""`reset`: the connection breaks before the service hears of the call; `lost-ack`: after it has carried it out. `hang`:
nobody answers, until the client's own time-out. `late`: the call is held up on its way, until the test releases it. A
crash ends the whole process, before or after the call; a stop freezes it there (SIGSTOP), until somebody kills it.
`not-in-flight`: what SQS says of a receipt whose message is visible again, and neither local AWS does."""

ANSWERS: Mapping[str, tuple[int, str]] = {
    "throttled": (400, "ThrottlingException"),
    "server-error": (500, "InternalServerError"),
    "not-in-flight": (400, "com.amazonaws.sqs#MessageNotInflight"),
}
"""Fault -> status and error code of the answer that the service seems to give."""
CLOCK = "clock"
"""In the ledger of a function: by so many seconds its clock is ahead, or behind."""
HELD_POLL_SECONDS = 0.05
REACHES: frozenset[Fault] = frozenset({"lost-ack", "crash-after", "stop-after"})
"""Faults that come over a call once the service has carried it out."""
EVERY_TRY = (1, 2, 3)
"""All tries that the SDK makes of one call, as lambdas/common/aws.py sets it."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What happens to which calls."""

    service: str
    """As in botocore's events: dynamodb, sqs, lambda."""
    operation: str
    fault: Fault
    calls: Sequence[int] = (1,)
    """Numbers of the calls that it happens to, among those that the rule is about; each try of the SDK is a call."""
    match: Sequence[str] = ()
    """Texts that the body of the request must hold, such as a task id."""
    name: str = field(default_factory=lambda: uuid.uuid4().hex)

    def about(self, service: str, operation: str, body: str) -> bool:
        return (service, operation) == (self.service, self.operation) and all(text in body for text in self.match)


@dataclass(frozen=True, slots=True)
class Firing:
    """A fault that happened."""

    call: int
    answer: int | None = None
    """HTTP status with which the service answered, before that answer was lost."""
    pid: int = field(default_factory=os.getpid, compare=False)
    """Of the process that it happened to, as that process knows itself."""


class Ledger(Protocol):
    """The rules and what became of them, the same for every process that obeys them."""

    def rules(self) -> Sequence[Rule]: ...
    def count(self, rule: Rule) -> int:
        """One more call that the rule is about: its number."""

    def note(self, rule: Rule, firing: Firing) -> None: ...
    def released(self, rule: Rule) -> bool:
        """Whether calls that the rule holds may go on."""


class Emitter(Protocol):
    """Botocore's events, of a session (for all clients that it will make) or of one client (`client.meta.events`)."""

    def register(self, event_name: str, handler: Any) -> None: ...


def install(events: Emitter, ledger: Ledger) -> None:
    events.register("before-send", Hook(ledger))


@dataclass(frozen=True)
class Hook:
    """Called right before each request is sent; what it returns is taken for the answer (None: it is sent)."""

    ledger: Ledger

    def __call__(self, event_name: str, request: AWSPreparedRequest, **_: object) -> AWSResponse | None:
        _event, service, operation = event_name.split(".")
        body = request.body.decode(errors="replace") if isinstance(request.body, bytes) else str(request.body)
        about = [rule for rule in self.ledger.rules() if rule.about(service, operation, body)]
        # Every rule counts the call, also the one that another rule fires at.
        numbered = [(rule, self.ledger.count(rule)) for rule in about]
        due = [(rule, call) for rule, call in numbered if call in rule.calls]
        if not due:
            return None
        rule, call = due[0]
        if rule.fault == "late":
            self._hold(rule, call)
            return None
        return fire(rule.fault, request, lambda answer: self.ledger.note(rule, Firing(call, answer)))

    def _hold(self, rule: Rule, call: int) -> None:
        """Let the call go on only when it is released, or never."""
        self.ledger.note(rule, Firing(call))
        while not self.ledger.released(rule):
            time.sleep(HELD_POLL_SECONDS)  # no deadline of its own: the end of the function ends it


def fire(fault: Fault, request: AWSPreparedRequest, note: Callable[[int | None], None]) -> AWSResponse | None:
    """Let the fault happen to the request; `note` hears the status that got lost with it, before anything breaks.

    Raises:
        ConnectionClosedError: as the SDK meets a broken connection.
    """
    note(URLLib3Session().send(request).status_code if fault in REACHES else None)
    if fault.startswith("stop"):
        os.kill(os.getpid(), signal.SIGSTOP)
    if fault.startswith("crash"):
        os._exit(1)
    if fault in ANSWERS:
        return _answer(request.url, *ANSWERS[fault])
    if fault == "hang":
        request.url = _silent_url()  # the client itself sends it there, and waits as long as it is set to
        return None
    raise ConnectionClosedError(endpoint_url=request.url)


def land_late(request: AWSPreparedRequest, seconds: float, landed: Callable[[int], None]) -> None:
    """The client meets silence until its own time-out; the very request is sent all the same, `seconds` from now.

    `landed` hears of the status with which the service answered it. A process that ends before sends nothing.
    """
    real = copy.copy(request)

    def send() -> None:
        time.sleep(seconds)  # the delay is the fault itself
        landed(URLLib3Session().send(real).status_code)

    threading.Thread(target=send, daemon=True).start()
    request.url = _silent_url()


class _Body(io.BytesIO):
    """As urllib3 hands it over."""

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        yield self.read()


def _answer(url: str, status: int, code: str) -> AWSResponse:
    body = json.dumps({"__type": code, "message": "A fault on order."}).encode()
    headers = HTTPHeaders()
    headers["Content-Type"] = "application/x-amz-json-1.0"
    return AWSResponse(url, status, headers, _Body(body))


@cache
def _silence() -> socket.socket:
    """The kernel takes connections to it, and nobody ever reads from them."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(128)
    return listening


def _silent_url() -> str:
    return f"http://127.0.0.1:{_silence().getsockname()[1]}/"


class MemoryLedger:
    """For one client in the test's own process."""

    def __init__(self, *rules: Rule) -> None:
        self._rules = rules
        self._calls = {rule.name: 0 for rule in rules}
        self._released: set[str] = set()
        self.fired: list[Firing] = []

    def rules(self) -> Sequence[Rule]:
        return self._rules

    def count(self, rule: Rule) -> int:
        self._calls[rule.name] += 1
        return self._calls[rule.name]

    def note(self, rule: Rule, firing: Firing) -> None:
        self.fired.append(firing)

    def released(self, rule: Rule) -> bool:
        return rule.name in self._released

    def release(self, rule: Rule) -> None:
        self._released.add(rule.name)


class TableLedger:
    """A DynamoDB table: rules of a function, which the test writes, and its worker processes read before each call."""

    def __init__(self, client: Any, table: str, function: str) -> None:
        """`client` must not obey the rules itself."""
        self._client, self._table, self._function = client, table, function

    def rules(self) -> Sequence[Rule]:
        found = self._client.query(
            TableName=self._table,
            KeyConditionExpression="#function = :function",
            ExpressionAttributeNames={"#function": "function"},
            ExpressionAttributeValues={":function": {"S": self._function}},
            ConsistentRead=True,
        )
        return [Rule(**json.loads(item["rule"]["S"])) for item in found["Items"] if "rule" in item]

    def count(self, rule: Rule) -> int:
        return self.tally(rule.name)

    def tally(self, name: str) -> int:
        """One more of `name`: its number."""
        return int(self._add(name, "ADD calls :one", {":one": {"N": "1"}})["calls"]["N"])

    def set(self, name: str, number: int) -> None:
        """From now on `name` is tallied so often."""
        self._client.put_item(TableName=self._table, Item={**self._key(name), "calls": {"N": str(number)}})

    def tallied(self, name: str) -> int:
        found = self._client.get_item(TableName=self._table, Key=self._key(name), ConsistentRead=True)
        return int(found["Item"]["calls"]["N"]) if "Item" in found else 0

    def note(self, rule: Rule, firing: Firing) -> None:
        entry = {"L": [{"S": json.dumps(asdict(firing))}]}
        self._add(rule.name, "SET fired = list_append(fired, :entry)", {":entry": entry})

    def released(self, rule: Rule) -> bool:
        return self.tallied(_release_of(rule)) > 0

    def release(self, rule: Rule) -> None:
        self.tally(_release_of(rule))

    def write(self, rule: Rule) -> None:
        item = {
            **self._key(rule.name),
            "rule": {"S": json.dumps(asdict(rule))},
            "calls": {"N": "0"},
            "fired": {"L": []},
        }
        self._client.put_item(TableName=self._table, Item=item)

    def fired(self, rule: Rule) -> list[Firing]:
        item = self._client.get_item(TableName=self._table, Key=self._key(rule.name), ConsistentRead=True)["Item"]
        return [Firing(**json.loads(entry["S"])) for entry in item["fired"]["L"]]

    def forget(self, rule: Rule) -> None:
        self._client.delete_item(TableName=self._table, Key=self._key(rule.name))

    def _add(self, name: str, expression: str, values: Mapping[str, Any]) -> Any:
        return self._client.update_item(
            TableName=self._table,
            Key=self._key(name),
            UpdateExpression=expression,
            ExpressionAttributeValues=values,
            ReturnValues="ALL_NEW",
        )["Attributes"]

    def _key(self, name: str) -> dict[str, Any]:
        return {"function": {"S": self._function}, "name": {"S": name}}


def _release_of(rule: Rule) -> str:
    return f"{rule.name} released"


def ledger_of(order: Mapping[str, str], variables: Mapping[str, str]) -> TableLedger:
    """The ledger of a deployed function, with the rights of the emulator's root; on real AWS there is none."""
    return TableLedger(_root(variables["AWS_ENDPOINT_URL"], variables["AWS_REGION"]), order["table"], order["function"])


@cache
def _root(endpoint_url: str, region: str) -> Any:
    """Made once, of a session of its own: it must not obey the rules itself."""
    return boto3.Session().client(
        "dynamodb",
        endpoint_url=endpoint_url,
        region_name=region,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
