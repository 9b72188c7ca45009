"""Processes that a test starts and interrupts."""

from __future__ import annotations

import signal


def heeds_ctrl_c() -> None:
    """As `preexec_fn`: a shell that runs the tests in the background has them, and all they start, ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
