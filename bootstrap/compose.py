"""LocalStack by docker compose."""

from __future__ import annotations

import os
import subprocess

from bootstrap import console, state
from bootstrap.errors import BootstrapError
from bootstrap.paths import ROOT
from bootstrap.state import Running

ASK_SECONDS = 10


def docker_answers() -> str | None:
    """None when a Docker engine with compose answers, else why not."""
    for command in (["docker", "info", "--format", "{{.ServerVersion}}"], ["docker", "compose", "version"]):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=ASK_SECONDS, check=False)
        except FileNotFoundError:
            return "there is no docker command"
        except subprocess.TimeoutExpired:
            return f"`{' '.join(command[:2])}` gave no answer within {ASK_SECONDS} s"
        if done.returncode:
            lines = done.stderr.strip().splitlines()
            return lines[-1] if lines else f"`{' '.join(command[:2])}` failed"
    return None


def start(port: int) -> Running:
    """`docker compose up --wait`.

    Raises:
        BootstrapError: Docker or the container did not come up.
    """
    reason = docker_answers()
    if reason:
        raise BootstrapError(f"Docker does not answer: {reason}.", "Start Docker, or type `TARGET=embedded make up`.")
    with console.step("Starting LocalStack (docker compose)"):
        done = subprocess.run(["docker", "compose", "up", "--wait"], cwd=ROOT, env=_environment(port), check=False)
    if done.returncode:
        raise BootstrapError(
            "LocalStack did not come up.", "Look at `docker compose logs`, or type `TARGET=embedded make up`."
        )
    running = Running("localstack", port)
    state.remember(running)
    return running


def stop(running: Running) -> bool:
    subprocess.run(["docker", "compose", "down"], cwd=ROOT, env=_environment(running.port), check=True)
    state.forget()
    return True


def _environment(port: int) -> dict[str, str]:
    return {**os.environ, "EDGE_PORT": str(port)}
