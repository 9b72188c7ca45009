"""A debugger in one function of the running stack, until Ctrl-C. FN (process_task), DEBUG_PORT (5678)."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from bootstrap import aws_account, console, emulators, locks, state
from bootstrap.deploy import Deployment, client
from bootstrap.errors import BootstrapError
from bootstrap.paths import local_dir
from scripts import running
from scripts.debug.changes import PAUSE_SECONDS
from scripts.debug.entry import LOOPBACK, WAKE
from scripts.debug.relay import Container, Door, Relay, ThisMachine, answers
from scripts.debug.swap import Swap
from scripts.function_names import in_snake_case, logical_id
from scripts.workers import container_at

DEFAULT_FUNCTION, DEFAULT_PORT = "process_task", 5678
CONFIGURATION = "Attach to a function (make debug)"
"""In .vscode/launch.json."""
DIAL_SECONDS = 120
"""A worker starts in some ten seconds on LocalStack, and in more when the machine is busy."""
KEEP_WARM_SECONDS = 45
"""LocalStack ends a worker after two idle minutes, and a debugger's session with it."""
LET_GO_SECONDS = 30
"""What was paused may end before its worker goes."""
ONCE = Config(connect_timeout=5, read_timeout=DIAL_SECONDS, retries={"total_max_attempts": 1})
"""A second call would start a second worker."""


@dataclass(frozen=True, slots=True)
class Wanted:
    function: str
    """Logical id."""
    port: int


def wanted(variables: Mapping[str, str]) -> Wanted:
    """What the variables ask for.

    Raises:
        BootstrapError: one of them makes no sense here.
    """
    function = logical_id(variables.get("FN") or DEFAULT_FUNCTION)
    if variables.get("TARGET") == "aws":
        raise BootstrapError(
            "`make debug` is for the local AWS: nobody pauses a function of an account.",
            "Leave TARGET out; `make up` starts a local one.",
        )
    text = variables.get("DEBUG_PORT") or str(DEFAULT_PORT)
    if not text.isdigit() or not 1024 <= int(text) <= 65_535:
        raise BootstrapError(f"DEBUG_PORT is {text!r}; allowed: 1024 to 65535.", "Set DEBUG_PORT or leave it out.")
    return Wanted(function, int(text))


@dataclass(frozen=True)
class Session:
    """A function of the running stack, with a debugger in it."""

    swap: Swap
    door: Door

    def dial(self) -> socket.socket:
        """A line to the worker; one is started when there is none.

        Raises:
            BootstrapError: none came up.
        """
        deadline, why = time.monotonic() + DIAL_SECONDS, ""
        while time.monotonic() < deadline:
            try:
                line = self.door.open(self.swap.port)
            except ConnectionRefusedError:
                why = self.wake()
            except OSError as error:
                why = str(error)
            else:
                if answers(line):
                    return line
                line.close()
                why = f"port {self.swap.port} is silent"
            time.sleep(0.1)
        raise BootstrapError(f"no worker listens after {DIAL_SECONDS} s: {why or 'it has just started'}")

    def wake(self) -> str:
        """Start a worker, or use the idle one; without any work. Returns why no debugger can attach to it, or "".

        Raises:
            BootstrapError: the function failed, or is not debugged any more.
        """
        try:
            answer = self._functions.invoke(FunctionName=self.name, Payload=json.dumps(WAKE))
        except (ClientError, BotoCoreError) as error:
            found = aws_account.explained(error)
            raise BootstrapError(found.message, found.hint) from error
        said = json.loads(answer["Payload"].read())
        if "obstacle" not in (said or {}):
            raise BootstrapError(
                f"{self.name} is not debugged any more, or does not start: {json.dumps(said)[:600]}",
                "Was `make up` typed? Else type `make logs`, then `make debug` again.",
            )
        return str(said["obstacle"])

    def idle(self) -> bool:
        """Nothing waits for a worker, and none is at work; else a call could start a second one."""
        names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        counts = self._queue.get_queue_attributes(QueueUrl=self._queue_url, AttributeNames=names)["Attributes"]
        return not any(int(count) for count in counts.values())

    def await_idle(self, seconds: float) -> None:
        """At most so long: what waits for its next attempt is hidden, too."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self.idle():
            time.sleep(0.1)

    @cached_property
    def name(self) -> str:
        return str(self._outputs["functions"][self.swap.function])

    @cached_property
    def _outputs(self) -> dict[str, Any]:
        return self.swap.deployment.outputs(with_key=False)

    @property
    def _queue_url(self) -> str:
        return str(self._outputs["dlq_url" if self.swap.function == "MonitorDlq" else "queue_url"])

    @cached_property
    def _functions(self) -> Any:
        return boto3.client("lambda", config=ONCE, **self.swap.deployment.place.client_options())

    @cached_property
    def _queue(self) -> Any:
        return client(self.swap.deployment.place, "sqs")


def debug(wish: Wanted) -> None:
    """Until Ctrl-C, or SIGTERM; then everything is as it was."""
    deployment = running.deployment()
    with locks.alone(local_dir() / "debug.lock"):
        door = _door(deployment)
        session = Session(Swap(deployment, wish.function, door.free_port()), door)
        relay = Relay(wish.port, session.dial, console.say)
        try:
            with console.step(_title(session.name, wish.function)), state.exclusive():
                session.swap.begin()
            if session.idle():
                session.wake()
            relay.serve()
            _explain(relay.port)
            _stay(session)
        finally:
            _put_back(session, relay)


def _title(name: str, function: str) -> str:
    return f"A debugger for {name} ({in_snake_case(function)})"


def _explain(port: int) -> None:
    console.say(f"Attach to {LOOPBACK}:{port}. In VS Code: Run and Debug > `{CONFIGURATION}`.", "bold green")
    console.detail(f"set a breakpoint in lambdas/, then submit a task; a pause may last {PAUSE_SECONDS // 60} minutes")
    console.detail("one message and one worker at a time; Ctrl-C puts everything back")


def _stay(session: Session) -> None:
    while True:
        time.sleep(KEEP_WARM_SECONDS)
        if session.idle():
            session.wake()


def _put_back(session: Session, relay: Relay) -> None:
    """Whoever is impatient would leave the stack half changed (the next `make up` or `make debug` would mend it)."""
    with _undisturbed():
        relay.close()
        with console.step("Putting everything back"), state.exclusive():
            if session.swap.under_way():
                session.await_idle(LET_GO_SECONDS)
            if not session.swap.end():
                console.detail("nothing to do: `make up` was quicker, or nothing had begun")


@contextmanager
def _undisturbed() -> Iterator[None]:
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _door(deployment: Deployment) -> Door:
    found = state.recall()
    if found is None or found.pid is not None:
        return ThisMachine()
    assert deployment.place.endpoint_url is not None, "a local AWS has one"
    container = Container(container_at(deployment.place.endpoint_url))
    container.check()
    return container


def _as_interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    for number in (signal.SIGINT, signal.SIGTERM):  # also where the shell that started us lets SIGINT be ignored
        signal.signal(number, _as_interrupt)
    try:
        wish = wanted(os.environ)
        emulators.find()
        debug(wish)
    except BootstrapError as error:
        console.fail(error.message, error.hint)
        return 1
    except (ClientError, BotoCoreError) as error:
        found = aws_account.explained(error)
        console.fail(found.message, found.hint)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
