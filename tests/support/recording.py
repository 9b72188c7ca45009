"""Deployed functions whose SDK calls are noted, and the policies of their roles as deployed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.iam_uses import Use
from tests.support.stack import DeployedStack
from tests.support.swapped import Version, deployed, swapped

HANDLER = "tests.support.recording_handler.handle"
MODULES = (
    "tests/__init__.py",
    "tests/support/__init__.py",
    "tests/support/iam_uses.py",
    "tests/support/recording_handler.py",
)
"""What a package gets on top."""
KINDS = {"lambdas/process_task/kinds/every_effect.py": "tests/support/every_effect_kind.py"}


@contextmanager
def recorded(stack: DeployedStack, file: Path) -> Iterator[None]:
    """Every function notes its calls in `file`."""
    before = {function: deployed(stack, function) for function in stack.outputs["functions"]}
    during = [_recording(stack, function, version, file) for function, version in before.items()]
    with swapped(stack, list(before.values()), during):
        yield


def _recording(stack: DeployedStack, function: str, before: Version, file: Path) -> Version:
    order = json.dumps({"file": str(file), "function": function, "handler": before.handler})
    return before.wrapped(stack, HANDLER, {name: name for name in MODULES} | KINDS, RECORDING=order)


def used(file: Path, function: str, denied: bool = False) -> frozenset[Use]:
    """What the function (logical id) carried out, or with `denied` what its role did not allow."""
    lines = map(json.loads, file.read_text().splitlines())
    found = (line for line in lines if (line["function"], line["denied"]) == (function, denied))
    return frozenset((line["action"], line["resource"]) for line in found)


def granted(stack: DeployedStack, function: str) -> frozenset[Use]:
    """What the role of the function (logical id) allows, by the policies that CloudFormation has made."""
    return frozenset(_grants(stack, function))


def _grants(stack: DeployedStack, function: str) -> Iterator[Use]:
    for statement in statements(stack, function):
        assert set(statement) <= {"Effect", "Action", "Resource"}, f"{function}: {statement}"
        assert statement["Effect"] == "Allow"
        for action in _listed(statement["Action"]):
            for resource in _listed(statement["Resource"]):
                # arn:partition:service:region:account:resource; a wildcard in the first five would be a use of none
                service, region = resource.split(":")[2:4]
                here = "" if service == "s3" else stack.place.region  # a bucket's name is one for all regions
                assert (service, region) == (action.split(":")[0], here), f"{function}: {resource}"
                yield action, resource.split(":", 5)[5]


def statements(stack: DeployedStack, function: str) -> Iterator[Mapping[str, Any]]:
    """Of all policies of the function's role."""
    iam, role = stack.aws("iam"), role_of(stack, function)
    attached = iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    assert attached == [], f"{function} has managed policies: {attached}"
    for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
        document = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        yield from (json.loads(document) if isinstance(document, str) else document)["Statement"]


def role_of(stack: DeployedStack, function: str) -> str:
    """The name of the function's role."""
    name = stack.outputs["functions"][function]
    arn: str = stack.aws("lambda").get_function_configuration(FunctionName=name)["Role"]
    return arn.rpartition("/")[2]


def _listed(one_or_more: str | list[str]) -> list[str]:
    return [one_or_more] if isinstance(one_or_more, str) else one_or_more
