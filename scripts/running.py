"""The stack that runs on this machine."""

from __future__ import annotations

import os
from typing import Any

from bootstrap import emulators, settings
from bootstrap.deploy import Deployment
from bootstrap.errors import BootstrapError


def deployment() -> Deployment:
    """The deployment of this checkout's local stack.

    Raises:
        BootstrapError: no local AWS is running.
    """
    return Deployment(
        emulators.find(), settings.read({name: os.environ[name] for name in ("STAGE",) if name in os.environ})
    )


def running_outputs() -> dict[str, Any] | None:
    """Its outputs, key included; None when there is no such stack."""
    try:
        return deployment().outputs(with_key=True)
    except BootstrapError:
        return None
