"""The processes in which a local AWS runs functions: found and killed by their ids, never by a name."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

from bootstrap.errors import BootstrapError

NAMED = "AWS_LAMBDA_FUNCTION_NAME"
"""In the environment of a worker process, on both local AWSs."""


@dataclass(frozen=True, slots=True)
class Workers:
    """Of the embedded AWS (`server` is its process), or of our LocalStack image (`container` is its id).

    The official LocalStack image gives each worker a container of its own, which are not found.
    """

    server: int | None
    container: str | None = None

    @classmethod
    def at(cls, server: int | None, endpoint_url: str) -> Workers:
        """`server` is None for a container."""
        return cls(None, container_at(endpoint_url)) if server is None else cls(server)

    def of(self, function_name: str) -> list[int]:
        """Busy or idle, each by the number that the process itself knows.

        Of the embedded AWS the busiest first: a worker has a thread for each task at hand, and none when it is idle.
        """
        mark = f"{NAMED}={function_name}"
        if self.container is not None:
            listed = f"grep -lzxF '{mark}' /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3"
            return [int(pid) for pid in self._inside(listed).split()]
        family = psutil.Process(self.server).children(recursive=True)
        found = [process.pid for process in family if mark in _environment(process.pid)]
        return sorted(found, key=_threads, reverse=True)

    def kill(self, pid: int) -> bool:
        """SIGKILL, from outside. False: it had ended by itself since it was found, as idle workers do."""
        if self.container is not None:
            return bool(self._inside(f"kill -9 {pid} 2>/dev/null && echo killed || true"))
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def alive(self, pid: int) -> bool:
        """A process that has ended, but was not collected yet, is not alive."""
        if self.container is not None:
            state = self._inside(f"grep ^State: /proc/{pid}/status 2>/dev/null || true")
            return bool(state) and "Z" not in state
        with contextlib.suppress(psutil.Error):
            return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
        return False

    def _inside(self, command: str) -> str:
        assert self.container is not None
        return _docker("exec", self.container, "sh", "-c", command)


def container_at(endpoint_url: str) -> str:
    """The id of the container that serves this port of this machine.

    Raises:
        BootstrapError: there is none.
    """
    port = endpoint_url.rsplit(":", 1)[1]
    found = _docker("ps", "--quiet", "--no-trunc", "--filter", f"publish={port}").split()
    if len(found) != 1:
        raise BootstrapError(f"{len(found)} containers serve port {port}, not one.", "Look at `docker ps`.")
    return found[0]


def _threads(pid: int) -> int:
    with contextlib.suppress(psutil.Error):
        return int(psutil.Process(pid).num_threads())
    return 0


def _environment(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/environ").read_text(errors="replace").split("\0")
    except OSError:
        return []


def _docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BootstrapError(f"docker {arguments[0]} failed: {done.stderr.strip()}", "Does Docker run?")
    return done.stdout
