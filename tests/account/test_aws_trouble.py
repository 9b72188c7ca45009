"""What AWS does to a deploy and no emulator does: delays, refusals, expiry; a deploy cut off, two at once.

The product runs whole, against an emulator (tests/support/stand_in.py); only the answers named here are made up.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from bootstrap import bucket, deploy, settings
from bootstrap.deploy import APP_TEMPLATE, Deployment
from bootstrap.errors import BootstrapError
from bootstrap.paths import ROOT
from bootstrap.plan import Plan
from bootstrap.targets import AWS, Place
from tests.account.test_deploy_aws import FREE, action_of
from tests.support.account import Account, Said
from tests.support.processes import heeds_ctrl_c
from tests.support.stand_in import ACCOUNT, CREDENTIALS, REGION, error, once
from tests.unit.test_deploy_page import grants, policies


@pytest.fixture
def account(quick: Account) -> Account:
    """Here always the quicker one: nothing of this depends on the emulator."""
    return quick


def deployed(account: Account, stage: str) -> Said:
    return account.run("deploy-aws", "--yes", STAGE=stage)


def destroyed(account: Account, stage: str) -> None:
    assert account.run("destroy-aws", "--data", "delete", "--confirm", stage, STAGE=stage).code == 0


def deployment(stage: str, waited: list[float], **variables: str) -> Deployment:
    place = Place(AWS, REGION, None)
    return Deployment(place, settings.read({"STAGE": stage, **variables}), wait=waited.append)


# Delays. -------------------------------------------------------------------------------------------------------------


def test_a_throttled_control_plane_only_takes_longer(account: Account) -> None:
    for operation in ("CreateChangeSet", "DescribeChangeSet", "DescribeStackEvents", "PutObject"):
        account.between.throttle(operation, 1)

    said = deployed(account, "throttled")

    assert (said.code, said.err) == (0, "")
    assert account.between.calls["cloudformation.CreateChangeSet"] == 3
    destroyed(account, "throttled")


def test_throttling_without_end_is_named_and_the_same_again_goes_on(account: Account) -> None:
    account.between.instead("ExecuteChangeSet", once(None, error("Throttling", "Rate exceeded")))

    said = deployed(account, "slow")
    assert said.code == 1
    assert "AWS throttles these calls" in said.err
    assert "Wait a minute, then type the same again" in said.err

    assert deployed(account, "slow").code == 0
    destroyed(account, "slow")


@pytest.mark.parametrize(
    ("resource", "reason", "seconds", "why"),
    [
        (
            "TaskQueue",
            "You must wait 60 seconds after deleting a queue before you can create another with the same name.",
            61,
            "SQS gives a deleted queue's name back after 60 s",
        ),
        ("AlarmTopic", "Rate exceeded (Service: Sns, Status Code: 400)", 30, "AWS throttles these calls"),
    ],
)
def test_a_failure_that_goes_away_by_itself_is_waited_for_and_tried_again(
    account: Account, capsys: pytest.CaptureFixture[str], resource: str, reason: str, seconds: float, why: str
) -> None:
    waited: list[float] = []
    account.between.fail_execution("again-tasks-storage", resource, reason)

    one = deployment("again", waited)
    assert one.deploy_storage() is True

    said = capsys.readouterr().out
    assert waited == [seconds]
    assert f"{why}: trying again in {seconds} s" in said
    assert "again-tasks-storage is left over from a failed change (ROLLBACK_COMPLETE); deleting it first" in said
    assert account.between.executed == ["again-tasks-storage"] * 2
    assert one.storage.status() == "CREATE_COMPLETE"
    one.destroy()


def test_a_role_that_lambda_cannot_assume_yet_is_waited_for(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    waited: list[float] = []
    one = deployment("role", waited)
    one.deploy_storage()
    reason = "The role defined for the function cannot be assumed by Lambda. (Service: Lambda, Status Code: 400)"
    account.between.fail_execution("role-tasks-app", "SubmitTask", reason)

    assert one.deploy_app(one.upload_packages()) is True

    assert waited == [15]
    assert "IAM has not told Lambda of a new role yet: trying again in 15 s" in capsys.readouterr().out
    assert one.app.status() == "CREATE_COMPLETE"
    one.destroy()


@pytest.mark.parametrize("other_plan", [False, True])
def test_what_is_tried_again_is_asked_again_only_when_it_has_become_another_plan(
    account: Account, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, other_plan: bool
) -> None:
    template, asked = tmp_path / "storage.yaml", []
    template.write_text(deploy.STORAGE_TEMPLATE.read_text())
    monkeypatch.setattr(deploy, "STORAGE_TEMPLATE", template)

    def approve(_: str, plan: Plan) -> bool:
        asked.append({change.resource for change in plan.changes})
        return True

    def wait(_: float) -> None:
        if other_plan:
            template.write_text(without_accounts(template.read_text()))

    account.between.fail_execution("once-tasks-storage", "TaskQueue", "Rate exceeded")
    one = Deployment(Place(AWS, REGION, None), settings.read({"STAGE": "once"}), approve, wait)
    one.deploy_storage()

    assert account.between.executed == ["once-tasks-storage"] * 2
    assert ["AccountsTable" in resources for resources in asked] == ([True, False] if other_plan else [True])
    one.destroy()


def test_a_failure_that_stays_is_told_whole_and_not_tried_again(account: Account) -> None:
    account.between.fail_execution("fails-tasks-storage", "TaskQueue", "Access to the resource is denied.")

    said = deployed(account, "fails")

    assert said.code == 1
    assert account.between.executed == ["fails-tasks-storage"]
    assert (
        "The deploy of fails-tasks-storage failed (ROLLBACK_COMPLETE): TaskQueue (AWS::Some::Type): Access" in said.err
    )
    assert "CloudFormation rolled back: what it had made is gone" in said.err
    assert (
        f"type `AWS_REGION={REGION} STAGE=fails make deploy-aws`: it deletes what is left and begins anew" in said.err
    )
    said = account.run("plan-aws", STAGE="fails")
    assert "Plan for fails-tasks-storage: not to be had yet. It is left over from a creation that failed" in said.out
    assert account.between.calls["cloudformation.DeleteStack"] == 0
    assert deployed(account, "fails").code == 0
    destroyed(account, "fails")


# Credentials and rights. ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["CreateChangeSet", "ExecuteChangeSet", "DescribeStackEvents"])
def test_credentials_that_expire_in_the_middle_are_named_and_the_same_again_goes_on(
    account: Account, operation: str
) -> None:
    expired = error("ExpiredToken", "The security token included in the request is expired")
    account.between.instead(operation, once(None, expired))

    said = deployed(account, "expires")
    assert said.code == 1
    assert "The AWS credentials have expired" in said.err
    assert "A change that was begun goes on by itself." in said.err
    assert "type the same again: it goes on from what is there" in said.err
    assert "Traceback" not in said.err

    assert deployed(account, "expires").code == 0
    destroyed(account, "expires")


def test_a_right_that_is_missing_is_named_with_the_page_that_lists_them(account: Account) -> None:
    denied = error("AccessDenied", "User: x is not authorized to perform: cloudformation:CreateChangeSet")
    account.between.instead("CreateChangeSet", once(denied))

    said = deployed(account, "denied")

    assert said.code == 1
    assert "cloudformation:CreateChangeSet" in said.err
    assert "docs/deploy.md" in said.err


# Cut off, and two at once. -------------------------------------------------------------------------------------------


def process(account: Account, folder: Path, stage: str, **variables: str) -> subprocess.Popen[str]:
    """`deploy-aws` in a process of its own."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.stand_in", account.url, "deploy-aws", "--yes"],
        cwd=ROOT,
        env={**inherited, **CREDENTIALS, "LOCAL_DIR": str(folder), "STAGE": stage, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heeds_ctrl_c,
    )


def test_a_deploy_killed_again_and_again_is_completed_by_the_same_again(account: Account, tmp_path: Path) -> None:
    # The second change set that is carried out is the app's: by then the storage is there.
    for moment in ("CreateChangeSet 1", "ExecuteChangeSet 1", "PutObject 2", "ExecuteChangeSet 1"):
        killed = process(account, tmp_path, "cut", STOP_AFTER=f"{moment} SIGKILL")
        _, err = killed.communicate(timeout=300)
        assert killed.returncode == -9, f"{moment}: {err}"
    assert account.has("cut-tasks-app")
    completed_by_the_same_again(account, "cut")


def test_a_deploy_that_ctrl_c_ends_is_completed_by_the_same_again(account: Account, tmp_path: Path) -> None:
    ended = process(account, tmp_path, "ended", STOP_AFTER="ExecuteChangeSet 2 SIGINT")
    _, err = ended.communicate(timeout=300)
    assert ended.returncode == 130
    assert "Type the same again" in err
    completed_by_the_same_again(account, "ended")


def completed_by_the_same_again(account: Account, stage: str) -> None:
    said = deployed(account, stage)

    assert (said.code, said.err) == (0, "")
    assert account.run("plan-aws", STAGE=stage).out.count("nothing to do") == 2
    destroyed(account, stage)


def test_two_deploys_at_once_end_in_one_whole_stack(account: Account, tmp_path: Path) -> None:
    both = [process(account, tmp_path / name, "both") for name in ("one", "two")]
    said = [one.communicate(timeout=300) for one in both]

    assert 0 in [one.returncode for one in both], said
    for one, (_, err) in zip(both, said, strict=True):
        assert one.returncode == 0 or "make deploy-aws" in err
        assert "Traceback" not in err
    assert deployed(account, "both").code == 0
    assert account.run("plan-aws", STAGE="both").out.count("nothing to do") == 2
    destroyed(account, "both")


# Too large, and what may not go. -------------------------------------------------------------------------------------


def oversized(path: Path, bytes_: int) -> Path:
    text = APP_TEMPLATE.read_text()
    path.write_text(text + "# ".ljust(bytes_ - len(text.encode()) - 1, "x") + "\n")
    return path


def test_a_template_too_long_for_a_call_goes_through_the_bucket(
    account: Account, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(deploy, "APP_TEMPLATE", oversized(tmp_path / "app.yaml", bucket.INLINE_BYTES + 1))
    sent: list[Any] = []
    account.between.instead("CreateChangeSet", lambda body: sent.append(body))

    assert deployed(account, "long").code == 0

    assert "TemplateBody" in sent[0]
    assert "TemplateBody" not in sent[1]
    name = f"long-task-packages-{ACCOUNT}-{REGION}"
    assert sent[1]["TemplateURL"].startswith(f"https://s3.{REGION}.amazonaws.com/{name}/templates/")
    destroyed(account, "long")


def test_a_template_too_long_for_the_bucket_too_is_refused_with_the_number(
    account: Account, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bucket, "S3_BYTES", bucket.INLINE_BYTES + 1)
    monkeypatch.setattr(deploy, "APP_TEMPLATE", oversized(tmp_path / "app.yaml", bucket.INLINE_BYTES + 2))

    said = deployed(account, "huge")

    assert said.code == 1
    assert "app.yaml has 51,202 bytes; CloudFormation takes 51,201" in said.err
    destroyed(account, "huge")


def test_a_storage_template_too_long_is_refused_before_there_is_a_bucket(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "INLINE_BYTES", 1000)

    with pytest.raises(BootstrapError, match="bytes; CloudFormation takes 1,000"):
        deployment("nowhere", []).deploy_storage()
    assert not account.has("nowhere-tasks-storage")


def without_accounts(text: str) -> str:
    begin, end = text.index("  AccountsTable:\n"), text.index("  TaskQueue:\n")
    return text[:begin] + text[end:]


@pytest.fixture
def renamed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From now on the storage template has a queue of another name, and no table of accounts."""
    text = without_accounts(deploy.STORAGE_TEMPLATE.read_text())
    changed = text.replace('QueueName: !Sub "${Stage}-tasks"', 'QueueName: !Sub "${Stage}-jobs"')
    (tmp_path / "storage.yaml").write_text(changed)
    monkeypatch.setattr(deploy, "STORAGE_TEMPLATE", tmp_path / "storage.yaml")


def test_a_plan_that_takes_a_table_or_a_queue_is_shown_and_refused_unless_told_so_by_name(
    account: Account, request: pytest.FixtureRequest
) -> None:
    deployment("named", []).deploy_storage()
    account.between.executed.clear()
    request.getfixturevalue("renamed")

    said = account.run("plan-aws", STAGE="named")
    assert said.code == 0
    assert "! REPLACE" in said.out
    assert "DATA LOSS: every balance that deposits and transfers have written" in said.out
    assert "deploy-aws refuses this without REPLACE=" in said.out
    assert re.search(r"make deploy-aws PLAN=[0-9a-f]{16} REPLACE=\w+,\w+` carries out this plan", said.out)

    said = account.run("deploy-aws", "--yes", STAGE="named")
    assert said.code == 1
    assert "This plan would replace or remove" in said.err
    assert f"AWS_REGION={REGION} STAGE=named make deploy-aws REPLACE=" in said.err
    assert account.run("deploy-aws", "--yes", "--replace", "TaskQueue", STAGE="named").code == 1
    assert account.between.executed == []

    account.run("deploy-aws", "--yes", "--replace", "TaskQueue,AccountsTable", STAGE="named")
    assert account.between.executed[0] == "named-tasks-storage"
    assert "named-accounts" not in account.client("dynamodb").list_tables()["TableNames"]
    destroyed(account, "named")


# A stage that is kept. -----------------------------------------------------------------------------------------------


def test_the_storage_of_prod_goes_only_once_its_protection_is_switched_off_by_hand(account: Account) -> None:
    one = deployment("prod", [])
    one.deploy_storage()
    assert one.storage.is_protected()
    file = a_file(account, one)

    said = account.run("destroy-aws", "--data", "delete", "--confirm", "prod", STAGE="prod")
    assert said.code == 1
    assert "prod-tasks-storage has termination protection. Nothing was deleted." in said.err
    command = "--no-enable-termination-protection --stack-name prod-tasks-storage --region " + REGION
    assert command in said.err
    assert account.has("prod-tasks-storage")

    account.client("cloudformation").update_termination_protection(
        StackName="prod-tasks-storage", EnableTerminationProtection=False
    )
    said = account.run("destroy-aws", "--data", "delete", "--confirm", "prod", STAGE="prod")
    assert said.code == 0
    assert "TaskTable kept: prod-tasks" in said.out
    tables = {"prod-tasks", "prod-accounts"}
    assert tables <= set(account.client("dynamodb").list_tables()["TableNames"])
    for table in tables:
        account.client("dynamodb").delete_table(TableName=table)
    assert "DataBucket: kept outside of the stack" in said.out
    assert account.client("s3").get_object(**file)["Body"].read() == b"kept"
    account.client("s3").delete_object(**file)
    account.client("s3").delete_bucket(Bucket=file["Bucket"])


def a_file(account: Account, one: Deployment) -> dict[str, str]:
    """Where it lies in the data bucket."""
    file = {"Bucket": one.storage.outputs()["DataBucketName"], "Key": "in/kept.csv"}
    account.client("s3").put_object(**file, Body=b"kept")
    return file


def test_other_stages_are_not_protected(account: Account) -> None:
    one = deployment("free", [])
    one.deploy_storage()
    file = a_file(account, one)

    assert not one.storage.is_protected()
    one.destroy()
    assert "free-tasks" not in account.client("dynamodb").list_tables()["TableNames"]
    assert file["Bucket"] not in [found["Name"] for found in account.client("s3").list_buckets()["Buckets"]]


# Drift. --------------------------------------------------------------------------------------------------------------


def test_what_was_changed_by_hand_is_told_property_by_property(account: Account) -> None:
    assert deployed(account, "drift").code == 0
    said = account.run("drift-aws", STAGE="drift")
    assert said.code == 0
    assert "drift-tasks-storage: 0 of " in said.out

    account.client("logs").put_retention_policy(logGroupName="/aws/lambda/drift-submit-task", retentionInDays=1)

    said = account.run("drift-aws", STAGE="drift")
    assert said.code == 1
    assert "drift-tasks-storage: 1 of " in said.out
    assert "SubmitTaskLogs: MODIFIED" in said.out
    assert "/RetentionInDays: 14 -> 1" in said.out
    destroyed(account, "drift")


def test_code_that_was_put_in_place_by_hand_is_told_with_what_puts_the_deployed_one_back(account: Account) -> None:
    assert deployed(account, "code").code == 0
    before = account.between.calls.copy()
    said = account.run("drift-aws", STAGE="code")
    assert said.code == 0
    assert "code-tasks-app: 0 of 6 functions run other code." in said.out
    _, deploys, _ = policies()
    made = {action_of(call) for call in account.between.calls - before}
    assert [action for action in made - FREE if not grants(deploys, action)] == []

    changed = io.BytesIO()
    with zipfile.ZipFile(changed, "w") as archive:
        archive.writestr("lambdas/submit_task/handler.py", "def handle(event, context): ...")
    account.client("lambda").update_function_code(FunctionName="code-submit-task", ZipFile=changed.getvalue())

    said = account.run("drift-aws", STAGE="code")
    assert said.code == 1
    assert "code-tasks-app: 1 of 6 functions run other code." in said.out
    assert "SubmitTask: its code is not the package that was deployed" in said.out
    put_back = re.search(
        r"aws lambda update-function-code --function-name (\S+) --s3-bucket (\S+) --s3-key (\S+)", said.out
    )
    assert put_back is not None
    function, bucket_name, key = put_back.groups()
    account.client("lambda").update_function_code(FunctionName=function, S3Bucket=bucket_name, S3Key=key)
    assert account.run("drift-aws", STAGE="code").code == 0

    account.client("s3").delete_object(Bucket=bucket_name, Key=key)
    assert "SubmitTask: its code is not the package that was deployed" in account.run("drift-aws", STAGE="code").out
    destroyed(account, "code")


def test_a_target_that_cannot_detect_drift_says_so(account: Account) -> None:
    deployment("blind", []).deploy_storage()
    account.between.instead("DetectStackDrift", once(error("InternalFailure", "not yet been emulated by LocalStack")))

    said = account.run("drift-aws", STAGE="blind")

    assert said.code == 1
    assert "This target cannot detect drift" in said.err
    deployment("blind", []).destroy()


def test_drift_of_what_is_not_deployed_names_the_command(account: Account) -> None:
    said = account.run("drift-aws", STAGE="nothing")

    assert said.code == 1
    assert "nothing-tasks-storage is not deployed" in said.err
    assert "make deploy-aws" in said.err
