"""File locks between processes of one machine."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bootstrap.errors import BootstrapError


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock, or fail at once.

    Raises:
        BootstrapError: another command holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise BootstrapError(
                f"Another bootstrap command is at work (pid {lock.read().strip() or 'unknown'}).",
                "Wait until it is done, then type the same again.",
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextmanager
def in_turn(path: Path) -> Iterator[None]:
    """Hold the lock, after whoever holds it now."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
