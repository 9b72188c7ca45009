"""`make plan-aws`, `deploy-aws`, `drift-aws`, `destroy-aws`: what they refuse, show, ask and do.

No AWS account was used. Emulators stand in for one (tests/support/stand_in.py): only these tests lead the calls there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest

from bootstrap import aws_account, console, kinds, package, settings
from bootstrap.errors import BootstrapError
from tests.support.account import Account, Said, commands
from tests.support.stand_in import ACCOUNT, CREDENTIALS, REGION
from tests.unit.test_deploy_page import grants, policies

STORAGE = {"TaskTable", "TaskQueue", "TaskDlq", "PackageBucket", "ApiKey"}
RAISED = {"PROCESS_TIMEOUT_SECONDS": "600", "MAX_RETRIES": "20"}
COMMANDS = ("plan-aws", "deploy-aws", "drift-aws", "destroy-aws")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """`python -m bootstrap …` with the variables of the call alone to say who it is."""
    typed = commands(monkeypatch, tmp_path, capsys, AWS_EC2_METADATA_DISABLED="true", HOME="/nonexistent")

    def afresh(*arguments: str, **variables: str) -> Said:
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
        return typed(*arguments, **variables)

    return afresh


# What is refused before any call. ------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_without_credentials_it_says_so_and_what_to_set(run: Callable[..., Said], command: str) -> None:
    done = run(command)

    assert done.code == 1
    assert "AWS does not know these credentials: Unable to locate credentials" in done.err
    assert "AWS_PROFILE" in done.err


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB"])
def test_an_endpoint_override_is_refused(run: Callable[..., Said], name: str) -> None:
    done = run("deploy-aws", "--yes", **{name: "http://127.0.0.1:1"})

    assert done.code == 1
    assert f"{name} is set" in done.err
    assert f"unset {name}" in done.err


@pytest.mark.parametrize(
    "config",
    [
        "[profile elsewhere]\nendpoint_url = http://127.0.0.1:1\n",
        "[profile elsewhere]\nservices = s\n[services s]\ncloudformation =\n  endpoint_url = http://127.0.0.1:1\n",
    ],
)
def test_an_endpoint_override_in_the_profile_is_refused(run: Callable[..., Said], tmp_path: Path, config: str) -> None:
    (tmp_path / "config").write_text(config)

    done = run("deploy-aws", "--yes", AWS_CONFIG_FILE=str(tmp_path / "config"), AWS_PROFILE="elsewhere")

    assert done.code == 1
    assert "Profile elsewhere in the AWS configuration sets endpoint_url" in done.err


def test_a_profile_that_is_not_there_is_named(run: Callable[..., Said]) -> None:
    done = run("plan-aws", AWS_PROFILE="nobodys")

    assert done.code == 1
    assert "nobodys" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("key", ["test", "AKIAIOSFODNN7EXAMPLE"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_key_of_an_emulator_or_a_sample_is_refused(run: Callable[..., Said], command: str, key: str) -> None:
    done = run(command, AWS_ACCESS_KEY_ID=key, AWS_SECRET_ACCESS_KEY="test")

    assert done.code == 1
    assert f"The AWS access key is '{key}', which is nobody's" in done.err


@pytest.mark.parametrize("stage", ["Prod", "a_b", "x" * 17, "1st"])
def test_a_bad_name_of_a_stage_is_refused(run: Callable[..., Said], stage: str) -> None:
    done = run("deploy-aws", "--yes", **{**CREDENTIALS, "STAGE": stage})

    assert done.code == 1
    assert f"STAGE is '{stage}'" in done.err


def test_the_region_comes_from_the_environment_else_it_is_ireland() -> None:
    assert aws_account.place({}).region == "eu-west-1"
    assert aws_account.place({"AWS_DEFAULT_REGION": "us-west-2"}).region == "us-west-2"
    assert aws_account.place({"AWS_DEFAULT_REGION": "us-west-2", "AWS_REGION": "eu-north-1"}).region == "eu-north-1"


def test_a_package_larger_than_lambda_takes_is_refused_with_the_number_and_the_largest_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = {"small.py": b"1", "large.bin": b"0" * 1000}
    package.check_size("SubmitTask", content)
    monkeypatch.setattr(package, "UNZIPPED_BYTES", 1000)

    with pytest.raises(BootstrapError, match=r"SubmitTask has 1,001 bytes unzipped.* takes 1,000.*large\.bin"):
        package.check_size("SubmitTask", content)


# On a stand-in. ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stack", ["localstack"], indirect=True)
def test_localstack_stands_in_for_an_account_too(account: Account) -> None:
    def aws(*arguments: str, **variables: str) -> Said:
        said = account.run(*arguments, **{"STAGE": "other", **variables})
        assert (said.code, said.err) == (0, "")
        return said

    assert "Plan for other-tasks-app: not to be had yet." in aws("plan-aws").out
    aws("deploy-aws", "--yes")
    assert "Nothing would change: all is as deployed." in aws("plan-aws").out
    assert account.between.executed == ["other-tasks-storage", "other-tasks-app"]
    aws("destroy-aws", "--data", "delete", "--confirm", "other")
    assert not account.has("other-tasks-storage")


def test_a_stack_lives_from_its_first_plan_to_its_end(quick: Account) -> None:
    account = quick

    def aws(*arguments: str, **variables: str) -> Said:
        return account.run(*arguments, **{"STAGE": "life", **variables})

    # A plan before anything is there: who, where, what is known, and what is not.
    said = aws("plan-aws")
    assert said.code == 0
    assert said.out.startswith(f"AWS account {ACCOUNT} as arn:aws:iam::{ACCOUNT}:root, region {REGION}.")
    assert all(f"+ add  {name} " in said.out for name in STORAGE)
    assert "Plan for life-tasks-app: not to be had yet. It depends on outputs of life-tasks-storage" in said.out
    assert account.between.executed == []
    assert not account.has("life-tasks-storage")

    said = aws("deploy-aws", "--yes")
    assert (said.code, said.err) == (0, "")
    assert account.between.executed == ["life-tasks-storage", "life-tasks-app"]
    assert "TaskTable created" in said.out
    assert f".execute-api.{REGION}.amazonaws.com/life/tasks" in said.out
    assert f"AWS_REGION={REGION} STAGE=life .venv/bin/python -m bootstrap outputs --target aws --with-key" in said.out
    assert len(aws("outputs", "--target", "aws", "--with-key", "--json").out) > 0

    before = account.between.calls.copy()
    assert "Nothing would change: all is as deployed." in aws("plan-aws").out
    planned = {action_of(call) for call in account.between.calls - before}

    # Nothing changed, nothing done.
    account.between.executed.clear()
    said = aws("deploy-aws", "--yes")
    assert (said.code, account.between.executed) == (0, [])
    assert "Nothing to do: all is as deployed" in said.out

    # Raised: the queue first. Lowered: the function first.
    usual = settings.fitted(settings.read({}), kinds.read(package.install_dependencies()))
    seconds, receives = usual.app["ProcessTimeoutSeconds"], usual.storage["MaxReceiveCount"]
    low, high = (each.storage["QueueVisibilitySeconds"] for each in (usual, settings.read(RAISED)))
    said = aws("plan-aws", **RAISED)
    assert f"QueueVisibilitySeconds: {low} -> {high}" in said.out
    assert f"ProcessTimeoutSeconds: {seconds} -> 600" in said.out
    aws("deploy-aws", "--yes", **RAISED)
    assert account.between.executed == ["life-tasks-storage", "life-tasks-app"]
    account.between.executed.clear()
    said = aws("plan-aws")
    assert "Plan for life-tasks-storage: nothing to do." in said.out
    assert f"ProcessTimeoutSeconds: 600 -> {seconds}" in said.out
    assert "Then, with the new app in place, life-tasks-storage once more:\n" in said.out
    assert f"QueueVisibilitySeconds: {high} -> {low}" in said.out
    assert f"MaxReceiveCount: 23 -> {receives}" in said.out
    aws("deploy-aws", "--yes")
    assert account.between.executed == ["life-tasks-app", "life-tasks-storage"]
    assert visibility(account, "life") == low

    # The app goes, the data stay; with data everything goes, once the stage is named.
    account.client("dynamodb").put_item(TableName="life-accounts", Item={"account": {"S": "kept"}})
    assert aws("destroy-aws", "--yes").code == 0
    assert (account.has("life-tasks-app"), account.has("life-tasks-storage")) == (False, True)
    assert aws("deploy-aws", "--yes").code == 0
    [kept] = account.client("dynamodb").scan(TableName="life-accounts")["Items"]
    assert kept["account"]["S"] == "kept"

    said = aws("destroy-aws", "--yes", "--data", "delete")
    assert said.code == 1
    assert "make destroy-aws DATA=delete CONFIRM=life" in said.err
    assert "Not confirmed: nothing was changed." in aws("destroy-aws", "--data", "delete", "--confirm", "other").out
    assert account.has("life-tasks-app")
    assert aws("destroy-aws", "--data", "delete", "--confirm", "life").code == 0
    assert not account.has("life-tasks-app")
    assert not account.has("life-tasks-storage")
    assert "There is nothing to delete." in aws("destroy-aws", "--yes").out

    # Whoever has the permissions that docs/deploy.md lists can make every call of it.
    _, deploys, plans = policies()
    made = {action_of(call) for call in account.between.calls} - {
        "dynamodb:PutItem",
        "dynamodb:Scan",
    }  # this test's own
    assert [action for action in made - FREE if not grants(deploys, action)] == []
    assert [action for action in planned - FREE if not grants(plans, action)] == []


ACTIONS = {
    "s3.HeadObject": "s3:GetObject",
    "s3.ListObjectVersions": "s3:ListBucketVersions",
    "s3.DeleteObjects": "s3:DeleteObject",
    "api-gateway.GetApiKey": "apigateway:GET",
}
"""IAM actions of calls that are not called like them (AWS service authorization reference)."""


FREE = {"sts:GetCallerIdentity"}
"""Needs no permission (AWS STS API reference)."""


def action_of(call: str) -> str:
    return ACTIONS.get(call) or call.replace(".", ":", 1)


def visibility(account: Account, stage: str) -> str:
    """As deployed. Not asked of the queue: its policy wants TLS, which the emulators do not speak."""
    [stack] = account.client("cloudformation").describe_stacks(StackName=f"{stage}-tasks-storage")["Stacks"]
    parameters = {one["ParameterKey"]: one["ParameterValue"] for one in stack["Parameters"]}
    return str(parameters["QueueVisibilitySeconds"])


# Somebody is asked, or nobody can be. --------------------------------------------------------------------------------


def test_where_nobody_can_be_asked_the_plan_is_shown_and_nothing_is_done(quick: Account) -> None:
    said = quick.run("deploy-aws", STAGE="unasked")

    assert said.code == 1
    assert all(name in said.out for name in STORAGE)
    assert f"AWS_REGION={REGION} STAGE=unasked make deploy-aws YES=1" in said.err
    assert not quick.has("unasked-tasks-storage")


@pytest.mark.parametrize(("typed", "deployed"), [("yes", True), ("no", False), ("", False), ("Yes, please", False)])
def test_only_a_yes_deploys(quick: Account, monkeypatch: pytest.MonkeyPatch, typed: str, deployed: bool) -> None:
    answers = iter([typed, "no"])
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(console.out, "input", lambda _: next(answers))

    said = quick.run("deploy-aws", STAGE="asked")

    assert said.code == 1
    assert quick.between.executed == (["asked-tasks-storage"] if deployed else [])
    refused = "app" if deployed else "storage"
    assert f"Not approved: asked-tasks-{refused} is as it was." in said.out
    assert quick.has("asked-tasks-storage") is deployed
    quick.run("destroy-aws", "--data", "delete", "--confirm", "asked", STAGE="asked")


def test_an_account_of_an_emulator_is_refused(quick: Account) -> None:
    said = quick.run("deploy-aws", "--yes", AWS_ACCESS_KEY_ID="000000000000")

    assert said.code == 1
    assert "Account 000000000000 is no real one" in said.err
    assert set(quick.between.calls) == {"sts.GetCallerIdentity"}
