"""An emulator in the place of AWS. The product runs as it is, with no endpoint given: the network leads elsewhere.

`python -m tests.support.stand_in URL COMMAND …` runs `python -m bootstrap COMMAND …` so, in a process of its own.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders

from bootstrap.__main__ import main

ACCOUNT = "210987654321"
REGION = "eu-west-1"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": ACCOUNT,  # both emulators take twelve digits for the account of that number
    "AWS_SECRET_ACCESS_KEY": "of-nobody",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}

Answer = Mapping[str, Any]
"""A parsed response; one with "Error" is raised by the client."""
Instead = Callable[[Mapping[str, Any]], Answer | None]
"""Asked for each call of an operation, with its parameters: the answer, or None to let the emulator give it."""


@dataclass
class StandIn:
    """What stands between the product and the emulator: counts, and answers as AWS where an emulator would not."""

    url: str
    calls: Counter[str] = field(default_factory=Counter)
    """Requests by `service.Operation`, the SDK's own retries included."""
    executed: list[str] = field(default_factory=list)
    """Stacks whose change sets were carried out, in order."""
    stop_after: tuple[str, int, signal.Signals] | None = None
    """Operation, how often it must have been answered, and the signal that this process then gets."""
    _answered: Counter[str] = field(default_factory=Counter)
    _instead: dict[str, list[Instead]] = field(default_factory=dict)
    _throttled: dict[str, int] = field(default_factory=dict)

    def instead(self, operation: str, answer: Instead) -> None:
        """Let `answer` be asked first."""
        self._instead.setdefault(operation, []).append(answer)

    def throttle(self, operation: str, times: int) -> None:
        """Refuse the next requests as AWS does when there are too many, below the SDK's retries."""
        self._throttled[operation] = times

    def session(self) -> boto3.Session:
        session = botocore.session.Session()
        hooks: dict[str, Any] = {
            "before-call.*.*": self._answer,
            "before-send.*.*": self._send,
            "after-call.*.*": self._after,
        }
        for event, hook in hooks.items():
            session.register(event, hook)
        return boto3.Session(botocore_session=session)

    def fail_execution(self, stack: str, resource: str, reason: str) -> None:
        """Let the next change of the stack fail at that resource and be rolled back, as CloudFormation shows it."""
        failed = FailedExecution(stack, resource, reason)
        for operation in ("ExecuteChangeSet", "DescribeStacks", "DescribeStackEvents", "DeleteStack"):
            self.instead(operation, partial(failed.answer, operation))

    def _after(self, model: Any, **_: Any) -> None:
        self._answered[model.name] += 1
        if self.stop_after and self.stop_after[:2] == (model.name, self._answered[model.name]):
            os.kill(os.getpid(), self.stop_after[2])

    def _answer(self, model: Any, event_name: str, params: Mapping[str, Any], **_: Any) -> Any:
        if model.name == "ExecuteChangeSet":
            self.executed.append(params["body"]["StackName"])
        for answer in self._instead.get(model.name, []):
            found = answer(params["body"])
            if found is not None:
                self.calls[_name(event_name)] += 1
                status = 400 if "Error" in found else 200
                return AWSResponse("", status, HTTPHeaders(), None), {"ResponseMetadata": {}, **found}
        return None

    def _send(self, request: AWSPreparedRequest, event_name: str, **_: Any) -> AWSResponse | None:
        self.calls[_name(event_name)] += 1
        operation = event_name.rsplit(".", 1)[1]
        if self._throttled.get(operation, 0):
            self._throttled[operation] -= 1
            return _rate_exceeded(request.url)
        # What would have gone by TLS does, for policies: MiniStack goes by this header.
        request.headers["X-Forwarded-Proto"] = urlsplit(request.url).scheme
        request.url = elsewhere(request.url, self.url)
        return None


def _name(event_name: str) -> str:
    return event_name.split(".", 1)[1]


def elsewhere(url: str, target: str) -> str:
    """The same request to the emulator: a bucket in the host's name goes into the path."""
    asked = urlsplit(url)
    bucket = re.match(r"(.+)\.s3[.-]", asked.hostname or "")
    path = f"/{bucket[1]}{asked.path}" if bucket else asked.path
    return f"{target}{path}{'?' + asked.query if asked.query else ''}"


class _Body:
    def __init__(self, text: str) -> None:
        self._text = text.encode()

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self._text


def _rate_exceeded(url: str) -> AWSResponse:
    text = (
        "<ErrorResponse><Error><Type>Sender</Type><Code>Throttling</Code><Message>Rate exceeded</Message></Error>"
        "<RequestId>1</RequestId></ErrorResponse>"
    )
    return AWSResponse(url, 400, HTTPHeaders(), _Body(text))


@dataclass
class FailedExecution:
    """A new stack that fails and is rolled back; deleted, it is the emulator's again."""

    stack: str
    resource: str
    reason: str
    state: str = "waits"

    def answer(self, operation: str, asked: Mapping[str, Any]) -> Answer | None:
        if self.state == "over" or asked["StackName"] != self.stack:
            return None
        if operation == "ExecuteChangeSet":
            self.state = "failed"
            return {}
        if self.state == "waits":
            return None
        if operation == "DeleteStack":
            self.state = "over"
            return None
        status = "ROLLBACK_COMPLETE"
        if operation == "DescribeStacks":
            return {"Stacks": [{"StackName": self.stack, "StackId": self.stack, "StackStatus": status}]}
        ended = self._event("3", self.stack, status, "")
        return {"StackEvents": [ended, self._event("2", self.resource, "CREATE_FAILED", self.reason)]}

    def _event(self, number: str, resource: str, status: str, reason: str) -> Answer:
        event = {"EventId": f"failed-{number}", "LogicalResourceId": resource, "ResourceType": "AWS::Some::Type"}
        return {**event, "ResourceStatus": status, "ResourceStatusReason": reason}


def error(code: str, message: str) -> Answer:
    return {"Error": {"Code": code, "Message": message}}


def once(*answers: Answer | None) -> Instead:
    """These answers in turn, then the emulator's. None lets one call through."""
    left = list(answers)

    def answer(_: Mapping[str, Any]) -> Answer | None:
        return left.pop(0) if left else None

    return answer


@contextmanager
def standing_in(url: str) -> Iterator[StandIn]:
    """Every client made meanwhile, in this process, talks to the emulator at `url`."""
    found, before = StandIn(url), boto3.DEFAULT_SESSION
    boto3.DEFAULT_SESSION = found.session()
    try:
        yield found
    finally:
        boto3.DEFAULT_SESSION = before


def _stop_after(text: str) -> tuple[str, int, signal.Signals] | None:
    """From STOP_AFTER, such as `ExecuteChangeSet 2 SIGKILL`."""
    if not text:
        return None
    operation, times, name = text.split()
    return operation, int(times), signal.Signals[name]


if __name__ == "__main__":
    with standing_in(sys.argv[1]) as between:
        between.stop_after = _stop_after(os.environ.get("STOP_AFTER", ""))
        code = main(sys.argv[2:])
    print(json.dumps(between.calls), file=sys.stderr)
    sys.exit(code)
