"""The processes in which a local AWS runs functions: found and killed by their ids, never by a name."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path

import psutil

from tests.support.stack import DeployedStack

NAMED = "AWS_LAMBDA_FUNCTION_NAME"
"""In the environment of a worker process, on both local AWSs."""


def pids(stack: DeployedStack, function: str) -> list[int]:
    """The workers of a function (logical id), busy or idle, each by the number that the process itself knows."""
    mark = f"{NAMED}={stack.outputs['functions'][function]}"
    container = _container(stack)
    if container is not None:
        listed = f"grep -lzxF '{mark}' /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3"
        return [int(pid) for pid in _in(container, listed).split()]
    family = psutil.Process(server_pid(stack.folder)).children(recursive=True)
    return [process.pid for process in family if mark in _environment(process.pid)]


def kill(stack: DeployedStack, pid: int) -> None:
    """SIGKILL, from outside."""
    container = _container(stack)
    if container is None:
        os.kill(pid, signal.SIGKILL)
    else:
        _in(container, f"kill -9 {pid}")


def alive(stack: DeployedStack, pid: int) -> bool:
    """A process that has ended, but was not collected yet, is not alive."""
    container = _container(stack)
    if container is not None:
        state = _in(container, f"grep ^State: /proc/{pid}/status 2>/dev/null || true")
        return bool(state) and "Z" not in state
    with contextlib.suppress(psutil.Error):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


def server_pid(folder: Path) -> int:
    """The embedded AWS itself, from the note that `up` keeps of what runs."""
    return int(json.loads((folder / "running.json").read_text())["pid"])


def container_of(stack: DeployedStack) -> str:
    """The container that serves the stack, by its port on this machine."""
    port = str(stack.outputs["endpoint_url"]).rsplit(":", 1)[1]
    [found] = _docker("ps", "--quiet", "--no-trunc", "--filter", f"publish={port}").split()
    return found


def _container(stack: DeployedStack) -> str | None:
    return None if stack.outputs["target"] == "embedded" else container_of(stack)


def _environment(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/environ").read_text(errors="replace").split("\0")
    except OSError:
        return []


def _in(container: str, command: str) -> str:
    return _docker("exec", container, "sh", "-c", command)


def _docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
