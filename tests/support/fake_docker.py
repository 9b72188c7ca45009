"""A `docker` command that says what a test wants it to say, for what a working engine cannot show."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

NOT_RUNNING = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
NO_PERMISSION = "permission denied while trying to connect to the docker API at unix:///var/run/docker.sock"


def fake_docker(folder: Path, answers: Mapping[str, tuple[int, str]], hangs: str = "") -> str:
    """A PATH on which `docker` answers its first word with (exit code, standard error); one word may hang instead."""
    folder.mkdir(parents=True, exist_ok=True)
    cases = [f'{word}) echo "{text}" >&2; exit {code};;' for word, (code, text) in answers.items()]
    if hangs:
        cases.append(f"{hangs}) exec sleep 600;;")
    script = folder / "docker"
    script.write_text("\n".join(["#!/bin/sh", 'case "$1" in', *cases, "*) exit 0;;", "esac"]) + "\n")
    script.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def without_docker(folder: Path) -> str:
    """A PATH on which there is no `docker`, but all that bootstrap itself runs."""
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)
