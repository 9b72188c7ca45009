"""The functions of a chaos run: the deployed packages with the plan, the journal and the kind `chaos` on top."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tests.chaos.plan import Plan
from tests.support.stack import DeployedStack
from tests.support.swapped import Version

HANDLER = "tests.chaos.handler.handle"
MODULES: Mapping[str, str] = {
    **{
        name: name
        for name in (
            "tests/__init__.py",
            "tests/support/__init__.py",
            "tests/support/fault_hook.py",
            "tests/chaos/__init__.py",
            "tests/chaos/handler.py",
            "tests/chaos/journal.py",
            "tests/chaos/plan.py",
        )
    },
    "lambdas/process_task/kinds/chaos.py": "tests/chaos/work.py",
}
"""Path in the package -> path in the repository."""


def wrapped(stack: DeployedStack, function: str, version: Version, plan: Plan, folder: Path) -> Version:
    order = {
        "folder": str(folder),
        "seed": plan.seed,
        "intensity": plan.intensity,
        "handler": version.handler,
        "function": function,
    }
    return version.wrapped(stack, HANDLER, MODULES, CHAOS=json.dumps(order))
