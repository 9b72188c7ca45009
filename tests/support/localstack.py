"""LocalStack in a container, by testcontainers, with the settings of docker-compose.yml."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NoReturn

import pytest

from bootstrap import compose
from bootstrap.paths import ROOT
from tests.support.required import required
from tests.support.stack import free_port

# The helper container that cleans up after a killed test run would have to be pulled.
os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
# The container's port is published on this machine's loopback, also when the tests themselves run in a container.
os.environ.setdefault("TESTCONTAINERS_CONNECTION_MODE", "docker_host")

from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import HttpWaitStrategy

START_SECONDS = 120
LOG_LINES = 40
CONTAINER_PORT = 4566
LOGS = ROOT / ".local" / "logs"
"""Where the logs of LocalStack's containers are kept after a test run, until `make clean`."""


def image() -> tuple[str | None, str]:
    """The image to test on, or None and why there is none."""
    # A busy engine is late now and then, and all the tests that ask would be skipped.
    reason = compose.docker_answers() and compose.docker_answers()
    if reason is not None:
        return None, f"Docker does not answer: {reason}"
    asked = os.environ.get("LOCALSTACK_IMAGE")
    for known in [asked] if asked else [compose.own_image(), compose.official_image()]:
        if known and compose.has_image(known):
            return known, ""
    wanted = asked or compose.official_image()
    reason = compose.obtain(wanted)
    return (wanted, "") if reason is None else (None, f"{wanted} cannot be had: {reason}")


def cannot_be_had(why: str) -> NoReturn:
    """Skips the test; with REQUIRE_LOCALSTACK=1 that is a failure."""
    if required("LOCALSTACK"):
        pytest.fail(f"no LocalStack: {why}")
    pytest.skip(why)


@contextmanager
def container(name: str) -> Iterator[int]:
    """Start LocalStack from the image `name`; its port on this machine. Shows its log when something fails inside."""
    port = free_port()
    service = _service(name, port)
    box = DockerContainer(name).with_envs(**service["environment"])
    ports: dict[str, Any] = box.ports
    ports[f"{CONTAINER_PORT}/tcp"] = ("127.0.0.1", port)  # this machine only
    for volume in service.get("volumes", []):
        box.with_volume_mapping(volume["source"], volume["target"], "rw")
    healthy = HttpWaitStrategy(CONTAINER_PORT, "/_localstack/health").with_startup_timeout(
        timedelta(seconds=START_SECONDS)
    )
    box.waiting_for(healthy)
    try:
        box.start()
        yield port
    except BaseException:
        print(_last_words(box))
        raise
    finally:
        _keep_log(box, port)
        box.stop()


def _service(name: str, port: int) -> dict[str, Any]:
    """The service of docker-compose.yml, as compose itself reads it."""
    variables = {**os.environ, "LOCALSTACK_IMAGE": name, "EDGE_PORT": str(port)}
    if name.startswith(compose.OWN_NAME):
        variables["DOCKER_SOCK"] = os.devnull
    command = ["docker", "compose", "config", "--format", "json"]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=True)
    service: dict[str, Any] = json.loads(done.stdout)["services"]["localstack"]
    return service


def _log(box: DockerContainer) -> str:
    if box.get_wrapped_container() is None:
        return "LocalStack's container was not created."
    out, err = box.get_logs()
    return (out + err).decode(errors="replace")


def _last_words(box: DockerContainer) -> str:
    return "\n".join(["Last lines of LocalStack's log:", *_log(box).splitlines()[-LOG_LINES:]])


def _keep_log(box: DockerContainer, port: int) -> None:
    """The container goes, its log stays: the reason of a failed test may stand there."""
    LOGS.mkdir(parents=True, exist_ok=True)
    (LOGS / f"localstack-{os.getpid()}-{port}.log").write_text(_log(box))
