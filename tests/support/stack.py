"""A deployed stack for tests: made by `python -m bootstrap up`, on a port and in a folder of its own."""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil

from bootstrap import embedded
from bootstrap.deploy import client
from bootstrap.paths import ROOT
from bootstrap.settings import KEPT_SECONDS
from bootstrap.state import Running
from bootstrap.targets import TARGETS, Place
from client import TaskClient
from lambdas.common.kinds import load
from lambdas.common.queue import TaskQueue
from lambdas.common.store import TaskStore
from lambdas.process_task import kinds
from scripts import running
from scripts.walkthrough import unset
from tests.support.processes import ended
from tests.support.waiting import eventually


def function_timeout(seconds: int) -> str:
    """At least so much, and enough for the slowest kind of this checkout."""
    slowest = max((kind["timeout_seconds"] or 0 for kind in load(kinds).manifest()), default=0)
    return str(max(seconds, math.ceil(slowest) + KEPT_SECONDS))


FAST = {
    "FAILURE_RATE": "0",
    "WORK_SECONDS": "0",
    "MAX_RETRIES": "2",
    "BACKOFF_BASE_SECONDS": "1",
    "BACKOFF_CAP_SECONDS": "900",
    "BACKOFF_JITTER": "equal",
    "BATCH_SIZE": "10",
    "BATCH_WINDOW_SECONDS": "0",
    "MAX_CONCURRENCY": "2",
    "PROCESS_TIMEOUT_SECONDS": function_timeout(10),
    "RESEND_AFTER_SECONDS": "900",
    "LOG_LEVEL": "INFO",
    "FIXED": "full",
    "API_RATE_LIMIT": "1000",
    "WEBHOOK_NETWORKS": "127.0.0.0/8",
}
"""Quick settings (two cores, no work, short waits, failures only on order), and those that tests count on whatever the
defaults are; webhooks reach receivers on this machine."""

PORTS = range(20_000, 32_000)
"""Below those that a system hands out itself: Linux begins at 32768, macOS at 49152."""
_SHIFT = os.getpid() * 61 % len(PORTS)
"""Processes that begin one after the other, as the workers of pytest do, do not look at the same ports."""
_ports: Iterator[int] = itertools.cycle([*PORTS[_SHIFT:], *PORTS[:_SHIFT]])


@dataclass(frozen=True)
class DeployedStack:
    """What tests ask of a running stack."""

    outputs: Mapping[str, Any]
    folder: Path
    said: str = ""
    """All that `up` printed."""

    @property
    def place(self) -> Place:
        return Place(TARGETS[self.outputs["target"]], self.outputs["region"], self.outputs["endpoint_url"])

    def aws(self, service: str) -> Any:
        """A client with the rights of a developer; made once, since that takes longer than a call."""
        if service not in self._clients:
            self._clients[service] = client(self.place, service)
        return self._clients[service]

    @cached_property
    def _clients(self) -> dict[str, Any]:
        return {}

    @cached_property
    def tasks(self) -> TaskClient:
        return TaskClient(self.outputs["api_url"], self.outputs["api_key"])

    @property
    def dynamodb(self) -> Any:
        return self.aws("dynamodb")

    @cached_property
    def store(self) -> TaskStore:
        return TaskStore(self.dynamodb, self.outputs["table_name"])

    @cached_property
    def queue(self) -> TaskQueue:
        return TaskQueue(self.aws("sqs"), self.outputs["queue_url"])


def new_id(name: str = "test") -> str:
    """A task id that no other test uses."""
    return f"{name}-{uuid.uuid4().hex[:12]}"


def environment() -> dict[str, str]:
    """That of this process without the user's settings and AWS profile."""
    return {**unset(os.environ), "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}


def bootstrap(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m bootstrap` as a user would, its state kept in `folder`."""
    env = {**environment(), "LOCAL_DIR": str(folder), **variables}
    command = [sys.executable, "-m", "bootstrap", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)


def purge_queues(stack: DeployedStack) -> None:
    """A cancelled task leaves its message behind, for minutes if it was delayed; other tests look for empty queues."""
    for url in (stack.outputs["queue_url"], stack.outputs["dlq_url"]):
        stack.aws("sqs").purge_queue(QueueUrl=url)


def unschedule(stack: DeployedStack) -> list[str]:
    """From now on what has a schedule, as the sweeper, runs only when a test says so. The rules that were enabled."""
    events = stack.aws("events")
    enabled = [rule["Name"] for rule in events.list_rules()["Rules"] if rule["State"] == "ENABLED"]
    for name in enabled:
        events.disable_rule(Name=name)
    return enabled


@contextmanager
def unscheduled(stack: DeployedStack) -> Iterator[None]:
    """As `unschedule`, inside; afterwards the rules are as they were."""
    enabled = unschedule(stack)
    try:
        yield
    finally:
        for name in enabled:
            stack.aws("events").enable_rule(Name=name)


def deploy(folder: Path, target: str = "embedded", port: int | None = None, **variables: str) -> DeployedStack:
    """`up` with fast settings; fails with everything that it printed."""
    where = {"TARGET": target, "EDGE_PORT": str(port or free_port())}
    done = bootstrap(folder, "up", **{**FAST, **where, **variables})
    assert done.returncode == 0, f"`up` failed:\n{done.stdout}\n{done.stderr}"
    return DeployedStack(outputs_of(folder, **variables), folder, done.stdout + done.stderr)


def outputs_of(folder: Path, **variables: str) -> dict[str, Any]:
    """As `outputs --json` shows them, without a process of its own."""
    with patch.dict(os.environ, {"LOCAL_DIR": str(folder), **variables}):
        return running.deployment().outputs(with_key=True)


def remove(folder: Path) -> None:
    """Stop what runs for `folder` and delete it. An embedded AWS is killed: what it would save is not wanted."""
    server = _embedded_server(folder)
    if server is not None:
        family = [server, *server.children(recursive=True)]
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        eventually(lambda: all(ended(process) for process in family))
        shutil.rmtree(folder)
        return
    done = bootstrap(folder, "clean")
    assert done.returncode == 0, done.stderr


def _embedded_server(folder: Path) -> psutil.Process | None:
    note = folder / "running.json"
    return embedded.process_of(Running(**json.loads(note.read_text()))) if note.exists() else None


def free_port() -> int:
    """A port that is free, and most likely still is once it is used: nobody but this process is given it."""
    for port in _ports:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("these ports never end")


def new_folder(tests: Path, name: str) -> Path:
    """A folder named after this process, so that a later run can tell that its owner is gone."""
    folder = tests / f"{os.getpid()}-{name}-{uuid.uuid4().hex[:6]}"
    folder.mkdir(parents=True)
    return folder


def remove_leftovers(tests: Path) -> None:
    """Stop what killed test runs have left behind."""
    for folder in tests.glob("*-*"):
        owner = folder.name.split("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            bootstrap(folder, "down")
            shutil.rmtree(folder, ignore_errors=True)
