"""Where things lie."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def local_dir() -> Path:
    """Everything that is of this machine only and may be deleted: `.local/`, or LOCAL_DIR (tests)."""
    return Path(os.environ.get("LOCAL_DIR") or ROOT / ".local")


def cache_dir() -> Path:
    """What can be made again from the lock files and sources, shared by every stack of this checkout."""
    return ROOT / ".local" / "cache"
