"""The processes in which the local AWS of a deployed stack runs its functions."""

from __future__ import annotations

import json
from pathlib import Path

from scripts.workers import Workers, container_at
from tests.support.stack import DeployedStack
from tests.support.waiting import eventually


def pids(stack: DeployedStack, function: str) -> list[int]:
    """The workers of a function (logical id), busy or idle, each by the number that the process itself knows."""
    return _workers(stack).of(stack.outputs["functions"][function])


def kill(stack: DeployedStack, pid: int) -> bool:
    """SIGKILL, from outside. False: it had ended by itself."""
    return _workers(stack).kill(pid)


def alive(stack: DeployedStack, pid: int) -> bool:
    return _workers(stack).alive(pid)


def gone(stack: DeployedStack, pid: int) -> None:
    """Wait until the process has ended."""
    eventually(lambda: alive(stack, pid), lambda alive: not alive)


def server_pid(folder: Path) -> int:
    """The embedded AWS itself, from the note that `up` keeps of what runs."""
    return int(json.loads((folder / "running.json").read_text())["pid"])


def container_of(stack: DeployedStack) -> str:
    """The container that serves the stack."""
    return container_at(stack.outputs["endpoint_url"])


def _workers(stack: DeployedStack) -> Workers:
    server = server_pid(stack.folder) if stack.outputs["target"] == "embedded" else None
    return Workers.at(server, stack.outputs["endpoint_url"])
