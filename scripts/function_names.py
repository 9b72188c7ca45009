"""The functions by the names that people type: `process_task` or `process-task` is ProcessTask."""

from __future__ import annotations

import re

from bootstrap.errors import BootstrapError
from bootstrap.package import PACKAGES


def logical_id(typed: str) -> str:
    """The function in the template.

    Raises:
        BootstrapError: there is no such function; with those that there are.
    """
    known = {in_snake_case(function): function for function in PACKAGES}
    function = known.get(typed.replace("-", "_"))
    if function is None:
        raise BootstrapError(f"FN is {typed!r}; there are: {', '.join(sorted(known))}.")
    return function


def in_snake_case(function: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", function).lower()
