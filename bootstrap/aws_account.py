"""A real account: who and where, what is refused before and while deploying, the question."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from typing import Any

import botocore.session
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    SSOTokenLoadError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)

from bootstrap import console
from bootstrap.deploy import Approve, client
from bootstrap.errors import BootstrapError
from bootstrap.plan import Plan, lines
from bootstrap.planned import Planned
from bootstrap.targets import AWS, Place

DUMMY_KEYS = frozenset({"test", "dummy", "mock", "fake", "foo", "AKIAIOSFODNN7EXAMPLE"})
"""LocalStack's, those of samples, and the one in AWS's own documentation."""
DUMMY_ACCOUNTS = frozenset({"000000000000", "123456789012"})
"""The emulators' account, and the one in AWS's own documentation."""
EXPIRED_CODES = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"})
EXPIRED_ERRORS = (UnauthorizedSSOTokenError, SSOTokenLoadError, TokenRetrievalError)
THROTTLED_CODES = frozenset({"Throttling", "ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded"})
NEW_CREDENTIALS = "Set AWS_PROFILE, or type `aws sso login`"


def place(variables: Mapping[str, str]) -> Place:
    """The account's region, from AWS_REGION or AWS_DEFAULT_REGION, else eu-west-1.

    Raises:
        BootstrapError: an endpoint override would send the deploy somewhere else.
    """
    for name in variables:
        if name.startswith("AWS_ENDPOINT_URL"):
            raise BootstrapError(f"{name} is set: the calls would not go to AWS.", f"Type `unset {name}`.")
    _check_profile()
    region = variables.get("AWS_REGION") or variables.get("AWS_DEFAULT_REGION") or AWS.region
    return Place(AWS, region, None)


def _check_profile() -> None:
    """A profile can name endpoints, too (AWS SDKs guide, "Service-specific endpoints")."""
    session = botocore.session.Session()
    try:
        profile, everything = session.get_scoped_config(), session.full_config
    except BotoCoreError as error:
        raise BootstrapError(f"The AWS configuration cannot be used: {error}", NEW_CREDENTIALS + ".") from error
    services: Any = everything.get("services", {}).get(profile.get("services", ""), {})
    if "endpoint_url" in profile or any("endpoint_url" in settings for settings in services.values()):
        name = session.profile or "default"
        raise BootstrapError(
            f"Profile {name} in the AWS configuration sets endpoint_url: the calls would not go to AWS.",
            "Set AWS_PROFILE to one without it.",
        )


def check_keys() -> None:
    """Refuse keys that are never real, before any call.

    Raises:
        BootstrapError: naming the key.
    """
    try:
        found = botocore.session.Session().get_credentials()
    except BotoCoreError as error:
        raise BootstrapError(f"AWS credentials cannot be had: {error}", NEW_CREDENTIALS + ".") from error
    if found is not None and found.access_key in DUMMY_KEYS:
        raise BootstrapError(
            f"The AWS access key is {found.access_key!r}, which is nobody's: an emulator's or a sample's.",
            f"{NEW_CREDENTIALS}; `make up` is for the local AWS.",
        )


def introduce(where: Place) -> str:
    """Say which account, as whom, and which region; the account's number.

    Raises:
        BootstrapError: there are no credentials, or they are not accepted.
    """
    try:
        identity = client(where, "sts").get_caller_identity()
    except (ClientError, BotoCoreError) as error:
        raise BootstrapError(f"AWS does not know these credentials: {error}", f"{NEW_CREDENTIALS}.") from error
    console.say(f"AWS account {identity['Account']} as {identity['Arn']}, region {where.region}.", "bold")
    return str(identity["Account"])


def check_account(account: str) -> None:
    """
    Raises:
        BootstrapError: an emulator answers in the place of AWS.
    """
    if account in DUMMY_ACCOUNTS:
        raise BootstrapError(
            f"Account {account} is no real one: an emulator answers in the place of AWS.",
            "Look for a proxy or an entry in /etc/hosts that leads the calls elsewhere.",
        )


def approval(yes: bool, replace: Collection[str] = (), again: str = "make deploy-aws") -> Approve:
    """Show the plan; go on when told so beforehand (`yes`), else ask. `replace`: by name, what may be lost."""

    def approve(stack: str, plan: Plan) -> bool:
        show(stack, plan)
        check_losses(plan, replace, again)
        return yes or ask("Deploy this? Type yes: ", "yes", f"`{again} YES=1` once the plan is approved")

    return approve


def as_planned(planned: Planned, replace: Collection[str], again: str) -> Approve:
    """Go on with what was shown and approved by its digest, and with nothing else."""

    def approve(stack: str, plan: Plan) -> bool:
        check_losses(plan, replace, again)
        if not planned.covers(stack, plan):
            show(stack, plan)
            raise BootstrapError(
                f"This plan of {stack} is another one than was approved. It was not carried out.",
                f"Type `{again.replace('deploy-aws', 'plan-aws')}` for a new plan.",
            )
        return True

    return approve


def check_losses(plan: Plan, allowed: Collection[str], again: str) -> None:
    """
    Raises:
        BootstrapError: it would replace or remove what holds data, or the key, and that is not allowed by name.
    """
    unwanted = plan.unwanted(allowed)
    if unwanted:
        names = ",".join(change.resource for change in unwanted)
        raise BootstrapError(
            f"This plan would replace or remove {names.replace(',', ', ')}. Nothing was done.",
            f"If that is what you want, with the loss above, type `{again} REPLACE={names}`.",
        )


def ask(question: str, wanted: str, otherwise: str) -> bool:
    """Whether a person types `wanted`.

    Raises:
        BootstrapError: there is nobody to ask; `otherwise` is what to type instead.
    """
    if not sys.stdin.isatty():
        raise BootstrapError("Nobody can be asked here.", f"Type {otherwise}.")
    return console.out.input(question).strip() == wanted


def show(stack: str, plan: Plan) -> None:
    for text, style in lines(stack, plan):
        console.say(text, style)


def explained(error: ClientError | BotoCoreError) -> BootstrapError:
    """A failed call for people. Nothing that was begun is lost: CloudFormation goes on, and the next run finds it."""
    code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
    goes_on = "type the same again: it goes on from what is there"
    if code in EXPIRED_CODES or isinstance(error, EXPIRED_ERRORS):
        return BootstrapError(
            f"The AWS credentials have expired: {error} A change that was begun goes on by itself.",
            f"Get new ones (`aws sso login`), then {goes_on}.",
        )
    if code in THROTTLED_CODES:
        return BootstrapError(f"AWS throttles these calls: {error}", f"Wait a minute, then {goes_on}.")
    if code in ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation"):
        return BootstrapError(
            f"AWS refuses: {error}", f"docs/deploy.md lists the permissions. When you have them, {goes_on}."
        )
    return BootstrapError(f"AWS call failed: {error}", f"When that is mended, {goes_on}.")
