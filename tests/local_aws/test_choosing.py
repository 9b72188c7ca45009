"""Which local AWS `up` takes, and what it says when Docker or LocalStack is not to be had."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bootstrap import compose, emulators
from bootstrap.paths import ROOT
from bootstrap.targets import EMBEDDED
from tests.support import localstack
from tests.support.fake_docker import NO_PERMISSION, NOT_RUNNING, fake_docker, without_docker
from tests.support.stack import FAST, DeployedStack, bootstrap, free_port

ABSENT = {"image": (1, "No such image"), "pull": (1, "dial tcp: lookup registry-1.docker.io: no such host")}
SILENT = [
    (lambda folder: without_docker(folder), "there is no docker command"),
    (lambda folder: fake_docker(folder, {"info": (1, NOT_RUNNING)}), "Docker is installed but not running"),
    (lambda folder: fake_docker(folder, {"info": (1, NO_PERMISSION)}), "you may not use its socket"),
    (lambda folder: fake_docker(folder, ABSENT), "no such host"),
]
NAMES = ["no docker", "not running", "no permission", "no image and no registry"]


@pytest.mark.parametrize(("path", "why"), SILENT, ids=NAMES)
def test_where_localstack_cannot_be_had_the_embedded_aws_is_chosen_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: Callable[[Path], str], why: str
) -> None:
    where = {"LOCAL_DIR": str(tmp_path), "EDGE_PORT": str(free_port()), "PATH": path(tmp_path / "bin")}
    for name, value in where.items():
        monkeypatch.setenv(name, value)

    choice = emulators.choose(where)

    assert choice.target is EMBEDDED
    assert why in choice.why


@pytest.mark.parametrize(("path", "why"), SILENT, ids=NAMES)
def test_who_insists_on_localstack_is_told_why_it_cannot_be_had_and_what_to_type(
    local_folder: Path, path: Callable[[Path], str], why: str
) -> None:
    where = {"EDGE_PORT": str(free_port()), "TARGET": "localstack", "PATH": path(local_folder / "bin")}
    done = bootstrap(local_folder, "up", **where)

    assert done.returncode == 1
    assert "LocalStack cannot be started: " in done.stderr
    assert why in done.stderr
    assert "make localstack-image" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (local_folder / "running.json").exists()


def test_up_says_what_it_chooses_and_why_and_the_choice_is_kept_until_down(local_folder: Path) -> None:
    path = fake_docker(local_folder / "bin", {"info": (1, NOT_RUNNING)})
    variables = {**FAST, "EDGE_PORT": str(free_port())}
    done = bootstrap(local_folder, "up", **variables, PATH=path)
    assert done.returncode == 0, done.stderr
    first = next(line for line in done.stdout.splitlines() if line.startswith("Target "))
    assert first.startswith("Target embedded: ")
    assert "Docker is installed but not running" in first
    assert "TARGET=localstack insists" in first

    again = bootstrap(local_folder, "up", **variables)
    assert "Target embedded" in again.stdout
    assert "it was chosen before" in again.stdout
    other = bootstrap(local_folder, "up", **variables, TARGET="localstack")
    assert other.returncode == 1
    assert "embedded is running, not localstack." in other.stderr
    assert "make down" in other.stderr


def test_a_registry_that_moves_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", fake_docker(tmp_path, {"image": (1, "No such image")}, hangs="pull"))

    assert compose.obtain("some/image:1", patience_seconds=0.5) == "its registry moved nothing for 0.5 s"


@pytest.fixture
def image() -> str:
    found, why = localstack.image()
    if found is None:
        localstack.cannot_be_had(why)
    return found


def test_localstack_in_a_container_is_started_used_and_stopped_by_bootstrap(local_folder: Path, image: str) -> None:
    where = {"TARGET": "localstack", "EDGE_PORT": str(free_port()), "LOCALSTACK_IMAGE": image}
    where["COMPOSE_PROJECT_NAME"] = local_folder.name

    done = bootstrap(local_folder, "up", **FAST, **where)
    assert done.returncode == 0, done.stderr
    assert "API URL: " in done.stdout
    assert "Nothing to do" in bootstrap(local_folder, "up", **FAST, **where).stdout

    stopped = bootstrap(local_folder, "down", **where)
    assert "LocalStack keeps no data" in stopped.stdout
    assert _containers(local_folder.name) == []


@pytest.mark.parametrize("stack", ["localstack"], indirect=True)
def test_a_localstack_that_runs_already_is_used_and_left_running(local_folder: Path, stack: DeployedStack) -> None:
    port = int(stack.outputs["endpoint_url"].rsplit(":", 1)[1])
    done = bootstrap(local_folder, "up", **FAST, EDGE_PORT=str(port))
    assert done.returncode == 0, done.stderr
    assert f"it runs already on port {port}" in done.stdout
    assert "Nothing to do" in done.stdout

    stopped = bootstrap(local_folder, "down")
    assert "it is left running" in stopped.stdout
    assert compose.runs_already(port)


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        ("no space left on device", ["did not come up. Its last words:", "no space left", "TARGET=embedded make up"]),
        (
            "License activation failed! No credentials were found in the environment",
            ["without a valid token", "License activation failed", "Set LOCALSTACK_AUTH_TOKEN"],
        ),
    ],
    ids=["any reason", "a token refused"],
)
def test_a_container_that_ends_at_its_start_is_shown_with_its_last_words(
    local_folder: Path, image: str, says: str, expected: list[str]
) -> None:
    where = {"TARGET": "localstack", "EDGE_PORT": str(free_port()), "LOCALSTACK_IMAGE": image}
    where |= {"COMPOSE_PROJECT_NAME": local_folder.name, "COMPOSE_FILE": _compose_file(local_folder, says, 55)}

    done = bootstrap(local_folder, "up", **where)

    assert done.returncode == 1
    for words in expected:
        assert words in done.stderr
    assert not (local_folder / "running.json").exists()
    assert _containers(local_folder.name) == []


def test_a_port_taken_by_another_container_or_program_is_named(local_folder: Path, image: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        where = {"TARGET": "localstack", "EDGE_PORT": str(port), "LOCALSTACK_IMAGE": image}
        done = bootstrap(local_folder, "up", **where, COMPOSE_PROJECT_NAME=local_folder.name)

    assert done.returncode == 1
    assert f"Port {port} is taken" in done.stderr
    assert f"EDGE_PORT={port + 1} make up" in done.stderr
    assert _containers(local_folder.name) == []


def _compose_file(folder: Path, says: str, code: int) -> str:
    """Ours, but its container says something and ends."""
    ours = (ROOT / "docker-compose.yml").read_text()
    failing = ours.replace("    ports:", f'    entrypoint: ["sh", "-c", "echo {says}; exit {code}"]\n    ports:', 1)
    path = folder / "failing-compose.yml"
    path.write_text(failing)
    return str(path)


def _containers(project: str) -> list[str]:
    command = ["docker", "ps", "--all", "--format", "json", "--filter", f"label=com.docker.compose.project={project}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line)["Names"] for line in done.stdout.splitlines()]
