"""One life of a handler: a process that runs AWS's runtime interface client, from cold start to its end."""

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from localstack_process_lambda.runtime_api import Event, Exited, Invocation, RuntimeApi

# Starting Python costs a core for a third of a second; more at once than there are cores only makes all of them late.
_START_GATE = threading.BoundedSemaphore(max(2, os.cpu_count() or 1))
_OUTPUT_KEPT_BYTES = 1_000_000


class HandlerProcess:
    """`python -m awslambdaric HANDLER`, the Runtime API it talks to, and what it prints."""

    def __init__(self, python: str, handler: str, code: Path, workspace: Path, environment: dict[str, str]) -> None:
        self._api = RuntimeApi()
        self._output = _Output(workspace / "output.log")
        self._process = subprocess.Popen(
            [python, "-m", "awslambdaric", handler],
            cwd=code,
            env=environment | {"AWS_LAMBDA_RUNTIME_API": self._api.address},
            stdin=subprocess.DEVNULL,
            stdout=self._output.descriptor,
            stderr=self._output.descriptor,
            start_new_session=True,  # so that a kill reaches what the handler started, too
        )
        threading.Thread(target=self._reap, name=f"lambda-reaper-{self._process.pid}", daemon=True).start()

    @property
    def is_alive(self) -> bool:
        return self._process.returncode is None

    def submit(self, invocation: Invocation) -> None:
        self._api.submit(invocation)

    def next_event(self, deadline: float) -> Event | None:
        """What the runtime reports next; None at the deadline (on the monotonic clock)."""
        try:
            return self._api.events.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return None

    def take_output(self) -> str:
        """What was printed since the last call. The file is read after the fact, so nothing printed is missed."""
        return self._output.take()

    def peak_memory_mb(self) -> int:
        with contextlib.suppress(OSError, StopIteration, ValueError):
            status = Path(f"/proc/{self._process.pid}/status").read_text()
            peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
            return int(peak.split()[1]) // 1024
        return 0

    def close(self) -> None:
        """Kill the process and all it started, without grace: AWS gives none after a time-out either."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._api.close()
        self._output.close()

    def _reap(self) -> None:
        self._api.events.put(Exited(self._process.wait()))


@contextlib.contextmanager
def start_gate(deadline: float) -> Iterator[None]:
    """Let only as many handlers start at once as there are cores; raise TimeoutError at the deadline."""
    if not _START_GATE.acquire(timeout=max(0.0, deadline - time.monotonic())):
        raise TimeoutError("too many handlers are starting at once")
    try:
        yield
    finally:
        _START_GATE.release()


class _Output:
    """A file that the handler appends to and that we read: no pipe that fills up, no thread that lags behind."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._offset = os.fstat(self.descriptor).st_size

    def take(self) -> str:
        size = os.fstat(self.descriptor).st_size
        data = os.pread(self.descriptor, size - self._offset, self._offset)
        self._offset += len(data)
        if self._offset > _OUTPUT_KEPT_BYTES:
            os.ftruncate(self.descriptor, 0)
            self._offset = 0
        return data.decode("utf-8", errors="replace")

    def close(self) -> None:
        os.close(self.descriptor)
