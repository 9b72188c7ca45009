"""`plan-aws`, `drift-aws` and `destroy-aws`: what would change, what was changed by hand, and the end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from bootstrap import aws_account, code, console
from bootstrap.deploy import APP_TEMPLATE, HANDED_ON, PROTECTED_STAGE, Deployment, Wanted, client
from bootstrap.errors import BootstrapError
from bootstrap.plan import LOST, Plan
from bootstrap.planned import Part, Planned
from bootstrap.stack import Stack

DETECTION_SECONDS = 600
KEPT_IN_PROD = ("TaskTable", "AccountsTable", "DataBucket")
"""By their DeletionPolicy in storage.yaml."""
NOT_THERE = ("InternalFailure", "NotImplemented", "InvalidAction", "UnsupportedOperation", "501")
"""How an emulator says that it does not know a call."""


# plan-aws ------------------------------------------------------------------------------------------------------------


def plan(deployment: Deployment, account: str) -> Planned:
    """Show what `deploy-aws` would do, in its order. Nothing is changed: the change sets are deleted again."""
    packages = deployment.package_keys()
    storage = deployment.storage_wanted(raised=True)
    parts = {storage.stack.name: _shown(deployment, storage)}
    if set(HANDED_ON) <= set(deployment.storage.outputs()):
        parts[deployment.app.name] = _shown(deployment, deployment.app_wanted(packages))
    else:
        known = {**deployment.checked.app, **packages}
        parts[deployment.app.name] = Part(APP_TEMPLATE.read_text(), known, None, foreseen=False)
        console.say(
            f"Plan for {deployment.app.name}: not to be had yet. It depends on outputs of {storage.stack.name}, which "
            "are not all there yet; `make deploy-aws` shows it and asks, once that is deployed."
        )
    for change in deployment.to_settle():
        console.say(f"Then, with the new app in place, {storage.stack.name} once more:\n  {change}")
    where = (account, deployment.place.region, deployment.settings.stage)
    return Planned(where, parts, deployment.to_settle())


def end_of_plan(planned: Planned, again: str, output: str | None) -> None:
    """Say how it is carried out, and name it to a workflow's later jobs in the file `output` (GITHUB_OUTPUT)."""
    if all(part.plan is None and part.foreseen for part in planned.parts.values()):
        console.say("Nothing would change: all is as deployed. Nothing was changed.", "bold")
    else:
        console.say("Nothing was changed.", "bold")
        may_go = [change.resource for part in planned.parts.values() if part.plan for change in part.plan.unwanted(())]
        replace = f" REPLACE={','.join(may_go)}" if may_go else ""
        console.say(f"`{again} PLAN={planned.digest}{replace}` carries out this plan and no other, without asking.")
    if output:
        with Path(output).open("a") as file:
            file.write(f"plan={planned.digest}\n")


def _shown(deployment: Deployment, wanted: Wanted) -> Part:
    part = partial(Part, wanted.template.read_text(), wanted.parameters)
    if wanted.stack.is_leftover():
        console.say(
            f"Plan for {wanted.stack.name}: not to be had yet. It is left over from a creation that failed; "
            "`make deploy-aws` deletes what is left, shows the plan, and asks."
        )
        return part(None, foreseen=False)
    found = deployment.plan(wanted)
    if found is None:
        console.say(f"Plan for {wanted.stack.name}: nothing to do.", "bold")
        return part(None)
    try:
        aws_account.show(wanted.stack.name, found)
        _warn(found)
    finally:
        wanted.stack.discard(found)
    return part(found)


def _warn(found: Plan) -> None:
    unwanted = [change.resource for change in found.unwanted(())]
    if unwanted:
        console.say(f"  deploy-aws refuses this without REPLACE={','.join(unwanted)}.", "bold red")


# drift-aws -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Drift:
    """A resource that is not as deployed."""

    resource: str
    status: str
    """MODIFIED or DELETED."""
    differences: tuple[str, ...]


def drift(deployment: Deployment) -> int:
    """Compare both stacks with what is there; 1 when something differs.

    Raises:
        BootstrapError: nothing is deployed, or the target cannot detect drift.
    """
    drifted = 0
    for stack in (deployment.storage, deployment.app):
        if not stack.exists():
            raise BootstrapError(f"{stack.name} is not deployed.", f"Type `{deployment.again}`.")
        found, compared = detect(
            client(deployment.place, "cloudformation"), stack, deployment.place.target.pause_seconds
        )
        drifted += len(found)
        console.say(f"{stack.name}: {len(found)} of {compared} resources that can be compared differ.", "bold")
        for one in found:
            console.say(f"  {one.resource}: {one.status}", "bold red")
            for difference in one.differences:
                console.say(f"    {difference}")
    if drifted:
        console.say(
            "Somebody changed these by hand. Put them back by hand: CloudFormation sees no change in its own template, "
            f"so `{deployment.again}` would leave them as they are."
        )
    return 1 if _drifted_code(deployment) + drifted else 0


def _drifted_code(deployment: Deployment) -> int:
    """CloudFormation compares the properties of a function, not its code. How many run other code than was deployed."""
    deployed = deployment.deployed_code()
    found = code.drifted(client(deployment.place, "lambda"), client(deployment.place, "s3"), deployed)
    console.say(f"{deployment.app.name}: {len(found)} of {len(deployed)} functions run other code.", "bold")
    for name in found:
        one = deployed[name]
        console.say(f"  {name}: its code is not the package that was deployed", "bold red")
        console.say(
            f"    aws lambda update-function-code --function-name {one.function} --s3-bucket {one.bucket} "
            f"--s3-key {one.key} --region {deployment.place.region}"
        )
    return len(found)


def detect(cloudformation: Any, stack: Stack, pause_seconds: float) -> tuple[list[Drift], int]:
    """What differs, and how many resources were compared; CloudFormation cannot compare every type.

    Raises:
        BootstrapError: the target cannot detect drift, or its detection failed.
    """
    try:
        detection = cloudformation.detect_stack_drift(StackName=stack.name)["StackDriftDetectionId"]
    except ClientError as error:
        if error.response["Error"]["Code"] not in NOT_THERE:
            raise
        raise BootstrapError(
            f"This target cannot detect drift: {error}", "Nothing was compared. Look at the resources themselves."
        ) from error
    _await_detection(cloudformation, stack, detection, pause_seconds)
    found = list(_drifts(cloudformation, stack))
    return [_drift(one) for one in found if one["StackResourceDriftStatus"] in ("MODIFIED", "DELETED")], len(found)


def _await_detection(cloudformation: Any, stack: Stack, detection: str, pause_seconds: float) -> None:
    deadline = time.monotonic() + DETECTION_SECONDS
    while time.monotonic() < deadline:
        seen = cloudformation.describe_stack_drift_detection_status(StackDriftDetectionId=detection)
        if seen["DetectionStatus"] == "DETECTION_COMPLETE":
            return
        if seen["DetectionStatus"] == "DETECTION_FAILED":
            # What could be compared can still be read (CloudFormation API, DescribeStackDriftDetectionStatus).
            console.say(
                f"Not every resource of {stack.name} could be compared: {seen['DetectionStatusReason']}", "yellow"
            )
            return
        time.sleep(pause_seconds)
    raise BootstrapError(
        f"The comparison of {stack.name} has not ended within {DETECTION_SECONDS} s.", "Type it again."
    )


def _drifts(cloudformation: Any, stack: Stack) -> Iterator[Mapping[str, Any]]:
    """Of resources that were compared."""
    arguments = {"StackName": stack.name}
    while True:
        page = cloudformation.describe_stack_resource_drifts(**arguments)
        yield from (one for one in page["StackResourceDrifts"] if one["StackResourceDriftStatus"] != "NOT_CHECKED")
        if not page.get("NextToken"):
            return
        arguments["NextToken"] = page["NextToken"]


def _drift(found: Mapping[str, Any]) -> Drift:
    differences = (
        f"{one['PropertyPath']}: {one.get('ExpectedValue', 'nothing')} -> {one.get('ActualValue', 'nothing')}"
        for one in found.get("PropertyDifferences", [])
    )
    return Drift(found["LogicalResourceId"], found["StackResourceDriftStatus"], tuple(differences))


# destroy-aws ---------------------------------------------------------------------------------------------------------


def destroy(deployment: Deployment, with_data: bool, yes: bool, confirmed: str) -> None:
    """Delete the app stack; the storage stack only with `with_data` and the stage's name typed, or `confirmed`.

    Raises:
        BootstrapError: nobody could be asked, or the storage stack is protected.
    """
    app, storage, stage = deployment.app, deployment.storage, deployment.settings.stage
    if app.status() is None and storage.status() is None:
        console.say("There is nothing to delete.")
        return
    if with_data:
        _check_unprotected(storage, deployment.place.region)
    console.say(f"Deleting {app.name}: API, functions, schedule, alarms. The API URL goes for good.", "bold")
    if with_data:
        console.say(f"Deleting {storage.name}, data included:", "bold red")
        for resource, lost in LOST.items():
            kept = stage == PROTECTED_STAGE and resource in KEPT_IN_PROD
            console.say(f"  {resource}: {'kept outside of the stack' if kept else lost.split(';')[0]}", "bold red")
    else:
        console.say(f"{storage.name} stays, with all data: tables, queues, files, packages, logs, API key.")
    if not _confirmed(stage, with_data, yes, confirmed):
        console.say("Not confirmed: nothing was changed.")
        return
    with console.step(f"App ({app.name})"):
        console.detail("deleted" if app.delete() else "was not there")
    if with_data:
        with console.step(f"Storage ({storage.name})"):
            console.detail("deleted" if deployment.delete_storage() else "was not there")


def _check_unprotected(storage: Stack, region: str) -> None:
    if storage.is_protected():
        raise BootstrapError(
            f"{storage.name} has termination protection. Nothing was deleted.",
            "If it is really to go, switch that off by hand, then type the same again: "
            "`aws cloudformation update-termination-protection --no-enable-termination-protection "
            f"--stack-name {storage.name} --region {region}`.",
        )


def _confirmed(stage: str, with_data: bool, yes: bool, confirmed: str) -> bool:
    if with_data:
        if confirmed:
            return confirmed == stage
        return aws_account.ask(
            f"Type the stage's name ({stage}): ", stage, f"`make destroy-aws DATA=delete CONFIRM={stage}`"
        )
    return yes or aws_account.ask("Delete it? Type yes: ", "yes", "`make destroy-aws YES=1`")
