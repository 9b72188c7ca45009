"""Python environments of their own, for programs whose dependencies do not go with ours: made once per lock file."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from bootstrap import console, locks
from bootstrap.errors import BootstrapError
from bootstrap.paths import cache_dir


def python(name: str, lock: Path, what: str) -> Path:
    """The Python of the environment that holds what `lock` lists; `what` says it to people.

    Raises:
        BootstrapError: it could not be installed.
    """
    lock_hash = hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    folder = cache_dir() / f"{name}-{lock_hash}"
    found = folder / "bin" / "python"
    if (folder / "complete").exists():
        return found
    with locks.in_turn(cache_dir() / f"{name}.lock"):
        if not (folder / "complete").exists():
            _install(folder, lock, what)
    return found


def _install(folder: Path, lock: Path, what: str) -> None:
    with console.step(f"Installing {what} (once)"):
        shutil.rmtree(folder, ignore_errors=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for command in ([sys.executable, "-m", "venv", str(folder)], [*pip, "--require-hashes", "-r", str(lock)]):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                reason = (done.stderr or done.stdout).strip()[-1000:]
                raise BootstrapError(
                    f"{what[0].upper()}{what[1:]} could not be installed:\n{reason}", "Is a package index reachable?"
                )
        (folder / "complete").touch()
