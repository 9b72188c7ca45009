"""Commands that a test runs in its own process, and processes that it starts and interrupts."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any
from unittest.mock import patch

import psutil


def called(
    main: Callable[[list[str]], int], *arguments: str, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """What a process of its own would print, for a command that starts nothing."""
    out, err = StringIO(), StringIO()
    with patch.dict(os.environ, environment, clear=True), redirect_stdout(out), redirect_stderr(err):
        code = main(list(arguments))
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


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
