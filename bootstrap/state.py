"""What is running, remembered in `.local/` from `up` to `down`."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bootstrap.errors import BootstrapError
from bootstrap.paths import local_dir
from bootstrap.targets import TARGETS, Place


@dataclass(frozen=True, slots=True)
class Running:
    """The local AWS that `up` started."""

    target: str
    port: int
    pid: int | None = None
    """Of the embedded process; None for a container."""
    started_at: float | None = None
    """Start time of that process, as the system tells it: a pid alone may have been given away since."""

    @property
    def place(self) -> Place:
        target = TARGETS[self.target]
        return Place(target, target.region, f"http://127.0.0.1:{self.port}")


def recall() -> Running | None:
    """What was started last; None when nothing is, or the note is damaged (a half-written one is as good as none)."""
    try:
        return Running(**json.loads(_path().read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def remember(running: Running) -> None:
    local_dir().mkdir(parents=True, exist_ok=True)
    unfinished = _path().with_suffix(".unfinished")
    unfinished.write_text(json.dumps(asdict(running), indent=2))
    unfinished.replace(_path())


def forget() -> None:
    _path().unlink(missing_ok=True)


def _path() -> Path:
    return local_dir() / "running.json"


@contextmanager
def exclusive() -> Iterator[None]:
    """One changing command at a time.

    Raises:
        BootstrapError: another one is at work.
    """
    local_dir().mkdir(parents=True, exist_ok=True)
    with (local_dir() / "lock").open("a+") as lock:
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
