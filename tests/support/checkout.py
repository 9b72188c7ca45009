"""A copy of this checkout that a test may change, and what a user types in it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bootstrap.paths import ROOT, cache_dir
from tests.support import stack
from tests.support.processes import heeds_ctrl_c

PARTS = ("bootstrap", "lambdas", "client", "scripts", "tests", "docs/openapi.yaml")
LOCKS = ("requirements-lambda.lock", "requirements-embedded.lock")
FILES = ("pyproject.toml", "Makefile", "docker-compose.yml", ".env.example", *LOCKS)


@dataclass(frozen=True)
class Checkout:
    """`local` is its LOCAL_DIR: what runs for it, and its state."""

    folder: Path
    local: Path

    def python(self, module: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """`python -m module …`, as the Makefile calls it."""
        command = [sys.executable, "-m", module, *arguments]
        environment = self._environment(variables)
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=300, check=False
        )

    @contextmanager
    def started(self, module: str, log: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
        """`python -m module` until the end of the test; what it says is in `log`."""
        with log.open("wb") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", module],
                cwd=self.folder,
                env={**self._environment(variables), "PYTHONUNBUFFERED": "1"},
                stdout=said,
                stderr=subprocess.STDOUT,
                preexec_fn=heeds_ctrl_c,
            )
            try:
                yield process
            finally:
                process.kill()
                process.wait()

    def read(self, path: str) -> str:
        return (self.folder / path).read_text()

    def write(self, path: str, text: str) -> None:
        """In one step, so that whoever watches never sees half of it."""
        saving = self.folder / "saving"
        saving.write_text(text)
        saving.replace(self.folder / path)

    def replace(self, path: str, old: str, new: str) -> None:
        """Save the file with `old`, which it must hold, replaced."""
        text = self.read(path)
        assert old in text, f"{path} does not hold {old!r}"
        self.write(path, text.replace(old, new))

    def _environment(self, variables: dict[str, str]) -> dict[str, str]:
        return {**stack.environment(), "LOCAL_DIR": str(self.local), **variables}


def copied(folder: Path, local: Path) -> Checkout:
    """What is made once per lock file (environments, unpacked dependencies, packages) is shared with the original."""
    for part in PARTS:
        source, target = ROOT / part, folder / part
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    (folder / ".local").mkdir()
    (folder / ".local" / "cache").symlink_to(cache_dir())
    return Checkout(folder, local)
