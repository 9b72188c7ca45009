"""`deploy-aws`: what it refuses, what it shows before it asks, and that a no changes nothing.

No AWS account was used: the embedded AWS stands in for one, at an endpoint that only this test gives.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bootstrap import aws_account, settings
from bootstrap.deploy import Deployment, NotApproved
from bootstrap.errors import BootstrapError
from bootstrap.paths import ROOT
from bootstrap.stack import Plan
from bootstrap.targets import AWS, Place
from tests.support.stack import FAST, DeployedStack

STORAGE = {"TaskTable", "TaskQueue", "TaskDlq", "PackageBucket", "ApiKey"}
APP = {"TaskApi", "SubmitTask", "QueryTasks", "ProcessTask", "MonitorDlq", "SweepTasks"}


def deploy_aws(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    nowhere = {"AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent"}
    return subprocess.run(
        [sys.executable, "-m", "bootstrap", "deploy-aws", *arguments],
        cwd=ROOT,
        env={**inherited, **nowhere, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_without_credentials_it_says_so_and_what_to_set() -> None:
    done = deploy_aws("--yes")

    assert done.returncode == 1
    assert "AWS does not know these credentials: Unable to locate credentials" in done.stderr
    assert "AWS_PROFILE" in done.stderr


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB"])
def test_an_endpoint_override_is_refused(name: str) -> None:
    done = deploy_aws("--yes", **{name: "http://127.0.0.1:1"})

    assert done.returncode == 1
    assert f"{name} is set" in done.stderr
    assert f"unset {name}" in done.stderr


def test_the_region_comes_from_the_environment_else_it_is_ireland() -> None:
    assert aws_account.place({}).region == "eu-west-1"
    assert aws_account.place({"AWS_DEFAULT_REGION": "us-west-2"}).region == "us-west-2"
    assert aws_account.place({"AWS_DEFAULT_REGION": "us-west-2", "AWS_REGION": "eu-north-1"}).region == "eu-north-1"


def stand_in(stack: DeployedStack) -> Place:
    return Place(AWS, "us-east-1", stack.outputs["endpoint_url"])


def test_who_and_where_is_said_first(embedded_stack: DeployedStack, capsys: pytest.CaptureFixture[str]) -> None:
    aws_account.introduce(stand_in(embedded_stack))

    said = capsys.readouterr().out
    assert "AWS account 000000000000 as arn:aws:iam::000000000000:root, region us-east-1." in said


def test_where_nobody_can_be_asked_the_plan_is_shown_and_nothing_is_done(
    embedded_stack: DeployedStack, capsys: pytest.CaptureFixture[str]
) -> None:
    deployment = Deployment(
        stand_in(embedded_stack), settings.read({"STAGE": "unasked"}), aws_account.approval(yes=False)
    )

    with pytest.raises(BootstrapError, match="Nobody can be asked"):
        deployment.deploy_storage()
    assert all(name in capsys.readouterr().out for name in ["TaskTable"])
    deployment.destroy()


def test_a_no_changes_nothing(embedded_stack: DeployedStack) -> None:
    seen: list[tuple[str, Plan]] = []

    def refuse(stack: str, plan: Plan) -> bool:
        seen.append((stack, plan))
        return False

    deployment = Deployment(stand_in(embedded_stack), settings.read({"STAGE": "refused"}), refuse)
    with pytest.raises(NotApproved):
        deployment.deploy_storage()

    [(name, plan)] = seen
    assert (name, plan.creates) == ("refused-tasks-storage", True)
    assert {change.resource for change in plan.changes} >= STORAGE
    assert deployment.storage.status() in (None, "DELETE_COMPLETE")
    assert "refused-tasks" not in embedded_stack.aws("dynamodb").list_tables()["TableNames"]


def test_a_yes_deploys_both_stacks_and_the_key_is_shown_only_when_asked_for(embedded_stack: DeployedStack) -> None:
    planned: dict[str, set[str]] = {}

    def agree(stack: str, plan: Plan) -> bool:
        planned[stack] = {change.resource for change in plan.changes}
        return True

    deployment = Deployment(stand_in(embedded_stack), settings.read({**FAST, "STAGE": "agreed"}), agree)
    try:
        deployment.deploy_storage()
        assert deployment.deploy_app(deployment.upload_packages()) is True
        assert planned["agreed-tasks-storage"] >= STORAGE
        assert planned["agreed-tasks-app"] >= APP
        assert deployment.outputs(with_key=False)["api_key"] is None
        assert deployment.outputs(with_key=True)["api_key"]
        url = deployment.outputs(with_key=False)["api_url"]
        assert url.endswith(".execute-api.us-east-1.amazonaws.com/agreed/tasks")
        planned.clear()
        assert deployment.deploy_storage() is False
        assert planned == {}
    finally:
        deployment.destroy()
