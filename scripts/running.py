"""The stack that runs on this machine, or in the account."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from bootstrap import aws_account, emulators, settings
from bootstrap.deploy import Deployment
from bootstrap.errors import BootstrapError
from bootstrap.settings import Settings


def deployment() -> Deployment:
    """The deployment of this checkout's local stack.

    Raises:
        BootstrapError: no local AWS is running.
    """
    return Deployment(emulators.find(), _stage())


def deployment_of(target: str | None) -> Deployment:
    """In the account with `aws`, else on the local AWS that runs. The account is introduced on standard error.

    Raises:
        BootstrapError: no local AWS is running, or there are no credentials that AWS knows.
    """
    if target != "aws":
        return deployment()
    found = Deployment(aws_account.place(os.environ), _stage())
    with redirect_stdout(sys.stderr):
        aws_account.introduce(found.place)
    return found


def outputs_of_account() -> dict[str, Any]:
    """The outputs of the stage in the account, key included.

    Raises:
        BootstrapError: nothing is deployed there, or AWS refuses.
    """
    try:
        return deployment_of("aws").outputs(with_key=True)
    except (ClientError, BotoCoreError) as error:
        raise aws_account.explained(error) from error


def running_outputs() -> dict[str, Any] | None:
    """Its outputs, key included; None when there is no such stack."""
    try:
        return deployment().outputs(with_key=True)
    except BootstrapError:
        return None


def _stage() -> Settings:
    return settings.read({name: os.environ[name] for name in ("STAGE",) if name in os.environ})
