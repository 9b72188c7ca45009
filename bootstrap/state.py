"""What is running, remembered in `.local/` from `up` to `down`."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

from bootstrap import locks
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
    image: str | None = None
    """Of the container; None for a process."""
    owned: bool = True
    """Started by `up`, so `down` stops it; False for one that ran already."""

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


def exclusive() -> AbstractContextManager[None]:
    """One changing command at a time."""
    return locks.alone(local_dir() / "lock")


def in_turn() -> AbstractContextManager[None]:
    """The same, after the command that is at work."""
    return locks.in_turn(local_dir() / "lock")
