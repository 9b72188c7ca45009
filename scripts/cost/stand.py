"""A stack of its own to count on: embedded, quick, gone afterwards."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bootstrap.errors import BootstrapError
from bootstrap.paths import ROOT, local_dir
from bootstrap.targets import TARGETS, Place
from scripts.ports import free_port

SETTINGS = {
    "TARGET": "embedded",
    "STAGE": "dev",
    "FAILURE_RATE": "0",
    "WORK_SECONDS": "0",
    "BACKOFF_BASE_SECONDS": "0",
    "BATCH_SIZE": "10",
    "MAX_RETRIES": "2",
    "FIXED": "full",
    "LOG_LEVEL": "INFO",
}
"""Work takes no time and waits are none: neither is what is counted."""


@contextmanager
def stack() -> Iterator[tuple[Place, dict[str, Any]]]:
    """Its place and outputs."""
    folder = local_dir() / f"cost-{os.getpid()}"
    variables = {**os.environ, **SETTINGS, "LOCAL_DIR": str(folder), "EDGE_PORT": str(free_port())}
    try:
        _bootstrap(variables, "up")
        outputs: dict[str, Any] = json.loads(_bootstrap(variables, "outputs", "--json"))
        yield Place(TARGETS[outputs["target"]], outputs["region"], outputs["endpoint_url"]), outputs
    finally:
        subprocess.run([sys.executable, "-m", "bootstrap", "clean"], cwd=ROOT, env=variables, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def _bootstrap(variables: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "-m", "bootstrap", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BootstrapError(f"`{arguments[0]}` failed:\n{done.stdout}{done.stderr}")
    return done.stdout
