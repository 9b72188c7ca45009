"""How long `make up` takes: with nothing running and all packages built, and with nothing to do."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bootstrap.paths import ROOT
from tests.conftest import TESTS
from tests.support import stack as stacks


@dataclass(frozen=True, slots=True)
class Ups:
    """Medians, in seconds, from the command to its end."""

    runs: int
    fresh_seconds: float
    """Starts a local AWS and deploys everything to it."""
    again_seconds: float
    """Finds that all is as it should be."""


def measure(runs: int) -> Ups:
    folder = stacks.new_folder(TESTS, "up")
    try:
        up(folder)  # builds the packages, and the environment of the local AWS
        rounds = [_round(folder) for _ in range(runs)]
    finally:
        stacks.remove(folder)
    return Ups(runs, *(statistics.median(each) for each in zip(*rounds, strict=True)))


def _round(folder: Path) -> tuple[float, float]:
    stacks.remove(folder)
    folder.mkdir()
    return up(folder), up(folder)


def up(folder: Path) -> float:
    started = time.monotonic()
    done = subprocess.run(
        ["make", "up"], cwd=ROOT, env=_environment(folder), capture_output=True, text=True, check=False
    )
    seconds = time.monotonic() - started
    assert done.returncode == 0, f"`make up` failed:\n{done.stdout}\n{done.stderr}"
    return seconds


def _environment(folder: Path) -> Mapping[str, str]:
    port = folder / "port.txt"
    if not port.exists():
        port.write_text(str(stacks.free_port()))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MAKE"))}
    return {**inherited, "LOCAL_DIR": str(folder), "TARGET": "embedded", "EDGE_PORT": port.read_text()}
