"""Processes that a test starts and interrupts."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil


def heeds_ctrl_c() -> None:
    """As `preexec_fn`: a shell that runs the tests in the background has them, and all they start, ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def ended(process: psutil.Process) -> bool:
    """Whether it does nothing any more, whether or not somebody has collected it yet."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@contextmanager
def not_for_ever(process: subprocess.Popen[Any], seconds: float = 600) -> Iterator[None]:
    """Whoever reads what it prints and waits in vain meets its end."""
    end = threading.Timer(seconds, process.kill)
    end.start()
    try:
        yield
    finally:
        end.cancel()
