"""From nothing to a running stack and back, and what happens when something is in the way."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import requests

from bootstrap.package import OPENAPI
from bootstrap.paths import ROOT
from client import TaskClient
from tests.local_aws.conftest import SETTINGS, place_of
from tests.support import stack as stacks
from tests.support.account import commands
from tests.support.processes import ended
from tests.support.stack import FAST, DeployedStack, bootstrap, free_port
from tests.support.waiting import eventually

on_embedded_only = pytest.mark.parametrize("own", ["embedded"], indirect=True)
"""For what only a process that `up` starts by itself can show."""


def pid_of(folder: Path) -> int:
    return int(json.loads((folder / "running.json").read_text())["pid"])


def up(stack: DeployedStack, **variables: str) -> subprocess.CompletedProcess[str]:
    return bootstrap(stack.folder, "up", **{**SETTINGS, **place_of(stack), **variables})


def test_up_again_changes_nothing_and_says_so(here: DeployedStack) -> None:
    done = up(here)

    assert done.returncode == 0
    assert "Nothing to do" in done.stdout
    assert here.outputs["api_url"] in done.stdout


@on_embedded_only
def test_down_leaves_no_process_and_the_data_are_there_after_the_next_up(here: DeployedStack) -> None:
    task = here.tasks.submit(payload={"keep": "me"}).wait()
    server = psutil.Process(pid_of(here.folder))
    family = [server, *server.children(recursive=True)]

    assert bootstrap(here.folder, "down").returncode == 0
    assert not [process for process in family if not ended(process)]
    with pytest.raises(requests.ConnectionError):
        requests.get(here.outputs["api_url"], timeout=5)

    assert up(here).returncode == 0
    again = TaskClient(here.outputs["api_url"], stacks.outputs_of(here.folder)["api_key"])
    assert again.get(task.task_id) == task
    assert again.submit(payload={}).wait().status == "COMPLETED"


def test_down_when_nothing_runs_says_so(local_folder: Path) -> None:
    done = bootstrap(local_folder, "down")

    assert (done.returncode, done.stdout.strip()) == (0, "Nothing was running.")


@on_embedded_only
def test_a_server_killed_without_warning_is_started_anew_by_up(here: DeployedStack) -> None:
    server = psutil.Process(pid_of(here.folder))
    server.kill()
    eventually(lambda: ended(server))

    status = bootstrap(here.folder, "status")
    assert status.returncode == 1
    assert "make up" in status.stderr

    assert up(here).returncode == 0
    outputs = stacks.outputs_of(here.folder)
    assert TaskClient(outputs["api_url"], outputs["api_key"]).submit(payload={}).wait().status == "COMPLETED"


def test_a_damaged_or_stale_note_of_what_runs_is_no_obstacle(local_folder: Path) -> None:
    note = local_folder / "running.json"
    for text in ("", "{", '{"target": "embedded"}', '{"target": "embedded", "port": 1, "pid": 1}'):
        note.write_text(text)
        assert bootstrap(local_folder, "down").returncode == 0
        note.write_text(text)
    done = bootstrap(local_folder, "up", **FAST, TARGET="embedded", EDGE_PORT=str(free_port()))
    assert done.returncode == 0, done.stderr


def test_a_taken_port_is_named_with_its_owner_and_what_to_type(local_folder: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = bootstrap(local_folder, "up", TARGET="embedded", EDGE_PORT=str(port))

    assert done.returncode == 1
    assert f"Port {port} is taken by" in done.stderr
    assert f"(pid {os.getpid()})" in done.stderr
    assert f"EDGE_PORT={port + 1} make up" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_start_cut_off_in_the_middle_is_completed_by_the_next_up(local_folder: Path) -> None:
    variables = {**FAST, "TARGET": "embedded", "EDGE_PORT": str(free_port()), "LOCAL_DIR": str(local_folder)}
    command = [sys.executable, "-m", "bootstrap", "up"]
    first = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **variables}, stdout=subprocess.DEVNULL)
    eventually((local_folder / "running.json").exists)
    first.kill()
    first.wait()

    done = bootstrap(local_folder, "up", **variables)

    assert done.returncode == 0, done.stderr
    outputs = stacks.outputs_of(local_folder)
    assert TaskClient(outputs["api_url"], outputs["api_key"]).submit(payload={}).wait().status == "COMPLETED"


def test_two_starts_at_once_do_not_disturb_each_other(local_folder: Path) -> None:
    variables = {**FAST, "TARGET": "embedded", "EDGE_PORT": str(free_port()), "LOCAL_DIR": str(local_folder)}
    command = [sys.executable, "-m", "bootstrap", "up"]
    both = [
        subprocess.Popen(command, cwd=ROOT, env={**os.environ, **variables}, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    errors = [one.communicate()[1] for one in both]

    codes = sorted(one.returncode for one in both)
    assert codes in ([0, 0], [0, 1])
    if codes == [0, 1]:
        assert any("Another bootstrap command is at work" in text for text in errors)
    assert bootstrap(local_folder, "up", **variables).returncode == 0


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"FAILURE_RATE": "2"}, "FAILURE_RATE is '2'; allowed: a number from 0 to 1"),
        ({"BATCH_SIZE": "20"}, "asks for a batch window"),
        ({"STAGE": "Prod!"}, "STAGE is 'Prod!'"),
        ({"EDGE_PORT": "http"}, "EDGE_PORT is 'http'"),
        ({"TARGET": "azure"}, "TARGET is 'azure'; allowed here: embedded, localstack"),
    ],
)
def test_a_bad_setting_is_refused_before_anything_starts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variables: dict[str, str],
    words: str,
) -> None:
    said = commands(monkeypatch, tmp_path, capsys)("up", **{"TARGET": "embedded", **variables})

    assert said.code == 1
    assert words in said.err
    assert not (tmp_path / "running.json").exists()


def test_destroy_leaves_no_resource_behind_and_the_three_steps_bring_it_back(here: DeployedStack) -> None:
    here.tasks.submit(payload={}).wait()

    assert bootstrap(here.folder, "destroy").returncode == 0

    assert here.aws("dynamodb").list_tables()["TableNames"] == []
    assert here.aws("sqs").list_queues().get("QueueUrls", []) == []
    assert here.aws("lambda").list_functions()["Functions"] == []
    assert here.aws("lambda").list_event_source_mappings()["EventSourceMappings"] == []
    assert here.aws("s3").list_buckets()["Buckets"] == []
    assert here.aws("apigateway").get_rest_apis()["items"] == []
    assert here.aws("apigateway").get_api_keys()["items"] == []
    assert here.aws("apigateway").get_usage_plans()["items"] == []
    assert here.aws("logs").describe_log_groups()["logGroups"] == []
    assert here.aws("events").list_rules()["Rules"] == []
    assert here.aws("iam").list_roles()["Roles"] == []
    assert here.aws("cloudwatch").describe_alarms()["MetricAlarms"] == []
    assert "nothing to delete" in bootstrap(here.folder, "destroy").stdout

    assert "Type `python -m bootstrap storage`" in bootstrap(here.folder, "package", **SETTINGS).stderr
    for step in ("storage", "package", "app"):
        done = bootstrap(here.folder, step, **SETTINGS)
        assert done.returncode == 0, done.stderr
    outputs = stacks.outputs_of(here.folder)
    assert TaskClient(outputs["api_url"], outputs["api_key"]).submit(payload={}).wait().status == "COMPLETED"


@pytest.fixture
def checkout(local_folder: Path) -> Path:
    """A copy of the code that a test may change."""
    copy = local_folder / "checkout"
    for name in ("bootstrap", "lambdas", "requirements-lambda.lock", "requirements-embedded.lock"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / name if source.is_dir() else copy)
    (copy / OPENAPI).parent.mkdir()
    shutil.copy(ROOT / OPENAPI, copy / OPENAPI)
    (copy / ".local").mkdir()
    (copy / ".local" / "cache").symlink_to(ROOT / ".local" / "cache")
    return copy


def up_from(checkout: Path, stack: DeployedStack) -> subprocess.CompletedProcess[str]:
    """`up` of the copied code, on the stack that is deployed."""
    return subprocess.run(
        [sys.executable, "-m", "bootstrap", "up"],
        cwd=checkout,
        env={**os.environ, **SETTINGS, **place_of(stack), "LOCAL_DIR": str(stack.folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


HEALTH = "        Health: {Type: Api, Properties: {RestApiId: !Ref TaskApi, Path: /health, Method: GET}}\n"


def test_a_route_more_and_a_route_less_are_really_served_after_up_and_the_data_stay(
    checkout: Path, here: DeployedStack
) -> None:
    task = here.tasks.submit(payload={"keep": "me"}).wait()
    template = checkout / "bootstrap" / "app.yaml"
    before = template.read_text()
    # A route of its own, beside `{proxy+}`, is answered by the same function; its `resource` tells that it is served.
    handler = checkout / "lambdas" / "query_tasks" / "handler.py"
    handler.write_text(handler.read_text().replace("No such path.", 'No such path in " + resource + ".'))

    template.write_text(before.replace("        GetTask: {Type: Api", HEALTH + "        GetTask: {Type: Api"))
    assert served_after_up(checkout, here) == "/health"
    template.write_text(before)
    assert served_after_up(checkout, here) == "/{proxy+}"

    outputs = stacks.outputs_of(here.folder)
    tasks = TaskClient(outputs["api_url"], outputs["api_key"])
    assert tasks.get(task.task_id) == task
    assert tasks.submit(payload={}).wait().status == "COMPLETED"


def served_after_up(checkout: Path, here: DeployedStack) -> str:
    """The route that answers GET /health, once the changed template is deployed."""
    done = up_from(checkout, here)
    assert done.returncode == 0, done.stderr
    assert "made anew" in done.stdout
    outputs = stacks.outputs_of(here.folder)
    kept = "keeps_api_url" in here.place.target.capabilities
    assert (outputs["api_url"] == here.outputs["api_url"]) is kept or "The API URL changed" in done.stdout
    url, headers = f"{outputs['base_url']}/health", {"x-api-key": outputs["api_key"]}
    message = requests.get(url, headers=headers, timeout=60).json()["error"]["message"]
    return str(message).removeprefix("No such path in ").split(".")[0]


@on_embedded_only
def test_a_failed_deploy_names_the_resource_and_the_reason_and_the_next_up_recovers(here: DeployedStack) -> None:
    buckets = [one["Name"] for one in here.aws("s3").list_buckets()["Buckets"]]
    bucket = next(name for name in buckets if "-task-packages-" in name)
    assert bootstrap(here.folder, "destroy").returncode == 0
    here.aws("s3").create_bucket(Bucket=bucket)

    failed = up(here)
    assert failed.returncode == 1
    assert "PackageBucket (AWS::S3::Bucket): " in failed.stderr
    assert "already exists" in failed.stderr

    here.aws("s3").delete_bucket(Bucket=bucket)
    recovered = up(here)
    assert recovered.returncode == 0, recovered.stderr
    outputs = stacks.outputs_of(here.folder)
    assert TaskClient(outputs["api_url"], outputs["api_key"]).submit(payload={}).wait().status == "COMPLETED"


def test_the_compose_file_starts_the_pinned_localstack_on_loopback_only_with_a_health_check() -> None:
    yaml = pytest.importorskip("yaml")
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["localstack"]

    assert service["image"] == "${LOCALSTACK_IMAGE:-localstack/localstack:4.14.0}"
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert "_localstack/health" in " ".join(service["healthcheck"]["test"])
