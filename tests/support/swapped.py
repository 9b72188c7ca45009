"""Functions of a running test stack with other code around their handler, and as they were afterwards."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from bootstrap.paths import ROOT
from tests.support.stack import DeployedStack
from tests.support.waiting import eventually


@dataclass(frozen=True)
class Version:
    """What of a function changes."""

    name: str
    code: Mapping[str, Any]
    handler: str
    variables: Mapping[str, str]

    def wrapped(self, stack: DeployedStack, handler: str, modules: Mapping[str, str], **more: str) -> Version:
        """The same with `modules` (path in the package: path in the repository) on top, and `handler` in front."""
        stored = stack.aws("s3").get_object(Bucket=self.code["S3Bucket"], Key=self.code["S3Key"])
        code = {"ZipFile": _with_modules(stored["Body"].read(), modules)}
        return replace(self, code=code, handler=handler, variables={**self.variables, **more})


def deployed(stack: DeployedStack, function: str) -> Version:
    """The function (logical id) as `bootstrap` has deployed it."""
    name = stack.outputs["functions"][function]
    found = stack.aws("lambda").get_function_configuration(FunctionName=name)
    return Version(name, _package(stack, function), found["Handler"], found["Environment"]["Variables"])


@contextmanager
def swapped(stack: DeployedStack, before: Sequence[Version], during: Sequence[Version]) -> Iterator[None]:
    try:
        _deploy(stack, during)
        yield
    finally:
        _deploy(stack, before)


def _package(stack: DeployedStack, function: str) -> dict[str, str]:
    """Where the package of a function lies."""
    storage, app = (
        stack.aws("cloudformation").describe_stacks(StackName=stack.outputs[name])["Stacks"][0]
        for name in ("storage_stack_name", "stack_name")
    )
    outputs = {one["OutputKey"]: one["OutputValue"] for one in storage["Outputs"]}
    parameters = {one["ParameterKey"]: one["ParameterValue"] for one in app["Parameters"]}
    return {"S3Bucket": outputs["PackageBucketName"], "S3Key": parameters[f"{function}Package"]}


def _with_modules(code: bytes, modules: Mapping[str, str]) -> bytes:
    archive = io.BytesIO(code)
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as package:
        for name, path in modules.items():
            package.write(ROOT / path, name)
    return archive.getvalue()


def _deploy(stack: DeployedStack, versions: Sequence[Version]) -> None:
    """Both emulators, as AWS does, start new workers afterwards."""
    functions = stack.aws("lambda")
    for version in versions:
        functions.update_function_code(FunctionName=version.name, **version.code)
    _settled(functions, versions)
    for version in versions:
        functions.update_function_configuration(
            FunctionName=version.name, Handler=version.handler, Environment={"Variables": version.variables}
        )
    _settled(functions, versions)


def _settled(functions: Any, versions: Sequence[Version]) -> None:
    def states() -> set[str]:
        found = (functions.get_function_configuration(FunctionName=version.name) for version in versions)
        return {one["LastUpdateStatus"] for one in found}

    eventually(states, lambda states: states == {"Successful"})
