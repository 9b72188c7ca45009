"""Process 1 of the container: runs LocalStack, reaps orphans, and stops within seconds.

LocalStack ends its own shutdown only when all of its threads do, which can take longer than `docker stop` waits. There
is nothing to save: without persistence its state is gone either way.
"""

import contextlib
import os
import signal
import subprocess
import sys
from types import FrameType

GRACE_VARIABLE = "LOCALSTACK_STOP_GRACE_SECONDS"
DEFAULT_GRACE_SECONDS = 3.0


def run(command: list[str], grace_seconds: float) -> int:
    """Run the command until it ends or is told to stop; the exit code is the command's, and 0 for a stop asked for."""
    child = subprocess.Popen(command, start_new_session=True)
    stop_asked = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stop_asked
        stop_asked = True
        child.send_signal(signal.SIGTERM)
        signal.setitimer(signal.ITIMER_REAL, grace_seconds)

    def kill(_signal: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGALRM, kill)
    status = _wait_for(child.pid)
    return 0 if stop_asked else os.waitstatus_to_exitcode(status) % 256


def _wait_for(pid: int) -> int:
    """Reap whatever ends, since orphans of handlers become children of process 1, until `pid` does."""
    while True:
        ended, status = os.wait()
        if ended == pid:
            return status


def main() -> None:
    command = sys.argv[1:] or [sys.executable, "-m", "localstack.runtime.main"]
    sys.exit(run(command, float(os.environ.get(GRACE_VARIABLE) or DEFAULT_GRACE_SECONDS)))
