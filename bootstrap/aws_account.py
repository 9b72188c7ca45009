"""Deploying to a real account: who and where, a plan to look at, a question."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from botocore.exceptions import BotoCoreError, ClientError
from rich.table import Table

from bootstrap import console
from bootstrap.deploy import Approve, client
from bootstrap.errors import BootstrapError
from bootstrap.stack import Plan
from bootstrap.targets import AWS, Place


def place(variables: Mapping[str, str]) -> Place:
    """The account's region, from AWS_REGION or AWS_DEFAULT_REGION, else eu-west-1.

    Raises:
        BootstrapError: an endpoint override would send the deploy somewhere else.
    """
    for name in variables:
        if name.startswith("AWS_ENDPOINT_URL"):
            raise BootstrapError(f"{name} is set: the calls would not go to AWS.", f"Type `unset {name}`.")
    region = variables.get("AWS_REGION") or variables.get("AWS_DEFAULT_REGION") or AWS.region
    return Place(AWS, region, None)


def introduce(where: Place) -> None:
    """Say which account, as whom, and which region.

    Raises:
        BootstrapError: there are no credentials, or they are not accepted.
    """
    try:
        identity = client(where, "sts").get_caller_identity()
    except (ClientError, BotoCoreError) as error:
        raise BootstrapError(
            f"AWS does not know these credentials: {error}", "Set AWS_PROFILE, or type `aws sso login`."
        ) from error
    console.say(f"AWS account {identity['Account']} as {identity['Arn']}, region {where.region}.", "bold")


def approval(yes: bool) -> Approve:
    """Show the plan; go on when told so beforehand (`--yes`), else ask."""

    def approve(stack: str, plan: Plan) -> bool:
        show(stack, plan)
        if yes:
            return True
        if not sys.stdin.isatty():
            raise BootstrapError("Nobody can be asked here.", "Type `make deploy-aws YES=1` once the plan is approved.")
        return console.out.input("Deploy this? Type yes: ").strip().lower() == "yes"

    return approve


def show(stack: str, plan: Plan) -> None:
    table = Table(title=f"Plan for {stack}", title_justify="left")
    for column in ("", "resource", "type", "replacement"):
        table.add_column(column)
    for change in plan.changes:
        replaced = change.replacement == "True"
        style = "bold red" if replaced or change.action == "Remove" else ""
        table.add_row(change.action, change.resource, change.type, "REPLACED" if replaced else "", style=style)
    console.out.print(table)
