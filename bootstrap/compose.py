"""LocalStack by docker compose, and where its image comes from."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time

from bootstrap import console, embedded, state
from bootstrap.errors import BootstrapError
from bootstrap.paths import ROOT
from bootstrap.state import Running

ASK_SECONDS = 10
STALL_SECONDS = 20
"""A registry that moves nothing for so long is given up."""
OWN_NAME = "task-processing/localstack"
LOG_LINES = "15"


def official_image() -> str:
    """The image that docker-compose.yml names: the one place where its tag is written."""
    found = re.search(r"\$\{LOCALSTACK_IMAGE:-(\S+)\}", (ROOT / "docker-compose.yml").read_text())
    assert found, "docker-compose.yml names a default image"
    return found[1]


def own_image() -> str:
    """Our own image of the same release, from `make localstack-image`."""
    return f"{OWN_NAME}:{official_image().rsplit(':', 1)[1]}"


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
            return _why(done.stderr)
    return None


def _why(stderr: str) -> str:
    """Docker's complaint in one plain sentence."""
    lines = stderr.strip().splitlines() or ["docker failed without a word"]
    if "permission denied" in stderr.lower():
        return "you may not use its socket: add yourself to the group docker, or use sudo"
    if "cannot connect" in stderr.lower():
        return "Docker is installed but not running"
    if "'compose' is not a docker command" in stderr:
        return "the compose plugin is missing"
    return lines[-1][:200]


def has_image(image: str) -> bool:
    return subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False).returncode == 0


def obtain(image: str, patience_seconds: float = STALL_SECONDS) -> str | None:
    """Have the image here, pulled if need be with its progress shown. None when it is, else why not."""
    if has_image(image):
        return None
    console.detail(f"pulling {image}")
    # Docker draws its progress on a terminal only, and a sign of life is needed more often than once a layer.
    ours, theirs = pty.openpty()
    pull = subprocess.Popen(["docker", "pull", image], stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL)
    os.close(theirs)
    said, stalled = _watch(pull, ours, patience_seconds)
    os.close(ours)
    if stalled:
        return f"its registry moved nothing for {patience_seconds:g} s"
    if pull.wait() == 0:
        return None
    lines = [line for line in said.splitlines() if line.strip()]
    return lines[-1].strip()[:200] if lines else "docker pull failed"


def _watch(pull: subprocess.Popen[bytes], terminal: int, patience_seconds: float) -> tuple[str, bool]:
    """What the pull said, and whether it was ended for saying nothing. Shows it where there is a terminal."""
    said, moved = b"", time.monotonic()
    while True:
        if select.select([terminal], [], [], 0.5)[0]:
            try:
                chunk = os.read(terminal, 4096)
            except OSError:  # the other end is closed
                return said.decode(errors="replace"), False
            said, moved = (said + chunk)[-4000:], time.monotonic()
            if console.out.is_terminal:
                sys.stdout.write(chunk.decode(errors="replace"))
                sys.stdout.flush()
        elif time.monotonic() - moved > patience_seconds:
            pull.terminate()
            pull.wait()
            return said.decode(errors="replace"), True


def runs_already(port: int) -> bool:
    """LocalStack answers on this port, whoever started it."""
    found = embedded.health(port)
    return found is not None and "services" in found and found.get("edition") != embedded.EDITION


def take(port: int) -> Running:
    """Use the LocalStack that runs on this port; `down` will leave it alone."""
    running = Running("localstack", port, owned=False)
    state.remember(running)
    return running


def start(port: int, image: str) -> Running:
    """`docker compose up --wait`.

    Raises:
        BootstrapError: the container did not come up; with its last words.
    """
    running = Running("localstack", port, image=image)
    state.remember(running)
    with console.step(f"Starting LocalStack ({image})"):
        done = _compose(running, "up", "--wait", "--quiet-pull", capture=True)
    if done.returncode:
        words = _compose(running, "logs", "--no-log-prefix", "--tail", LOG_LINES, capture=True).stdout.strip()
        _compose(running, "down", capture=True)
        state.forget()
        raise _did_not_come_up(port, done.stderr, words)
    return running


def _did_not_come_up(port: int, stderr: str, words: str) -> BootstrapError:
    if "port is already allocated" in stderr or "address already in use" in stderr:
        return BootstrapError(f"Port {port} is taken.", f"Stop that, or type `EDGE_PORT={port + 1} make up`.")
    if "auth token" in words.lower() or "license" in words.lower():
        return BootstrapError(
            f"LocalStack refuses to start without a valid token. Its last words:\n{words}",
            "Set LOCALSTACK_AUTH_TOKEN, or unset LOCALSTACK_IMAGE: the default needs none.",
        )
    reason = words or stderr.strip()[-800:]
    return BootstrapError(
        f"LocalStack did not come up. Its last words:\n{reason}", "Or type `TARGET=embedded make up`."
    )


def stop(running: Running) -> bool:
    """False when its container was gone already, or is not ours to stop."""
    if not running.owned:
        console.detail(f"LocalStack on port {running.port} was not started by `make up`: it is left running")
        state.forget()
        return False
    console.detail("LocalStack keeps no data: tasks and stacks end with it")
    was_there = bool(_compose(running, "ps", "--quiet", capture=True).stdout.strip())
    _compose(running, "down", capture=True)
    state.forget()
    return was_there


def _compose(running: Running, *arguments: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "EDGE_PORT": str(running.port), "LOCALSTACK_IMAGE": running.image or official_image()}
    if running.image and running.image.startswith(OWN_NAME):
        environment["DOCKER_SOCK"] = os.devnull  # our own image runs functions as processes and has no use for it
    return subprocess.run(
        ["docker", "compose", *arguments], cwd=ROOT, env=environment, capture_output=capture, text=True, check=False
    )
