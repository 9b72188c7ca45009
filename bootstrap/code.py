"""The code that the functions run: compared with a package, and put in place without a deploy.

`make watch` and `make debug` change code past CloudFormation, which goes on naming the packages of the last deploy. So
every local deploy ends by comparing what runs with what it has built; `drift-aws` compares it with what was deployed.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bootstrap.package import Package

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client

SETTLES = {"Delay": 0.05, "MaxAttempts": 600}
"""How often to ask whether an update has ended, in seconds: on a local AWS it takes a fifth of one."""


def outdated(functions: LambdaClient, names: Mapping[str, str], packages: Iterable[Package]) -> list[Package]:
    """Those whose function (`names`: logical id -> name) runs other bytes."""
    runs = {
        function["FunctionName"]: function["CodeSha256"]
        for page in functions.get_paginator("list_functions").paginate()
        for function in page["Functions"]
    }
    return [built for built in packages if runs.get(names[built.function]) != code_sha256(built)]


@dataclass(frozen=True, slots=True)
class Deployed:
    """What the stack says that a function runs."""

    function: str
    """Its name."""
    bucket: str
    key: str


def drifted(functions: LambdaClient, s3: S3Client, deployed: Mapping[str, Deployed]) -> list[str]:
    """Those (by logical id) whose function runs other bytes than the package that was deployed, or whose package is
    gone.
    """
    found = []
    for logical_id, one in deployed.items():
        runs = functions.get_function_configuration(FunctionName=one.function)["CodeSha256"]
        if runs != _stored_sha256(s3, one):
            found.append(logical_id)
    return found


def _stored_sha256(s3: S3Client, one: Deployed) -> str | None:
    try:
        content = s3.get_object(Bucket=one.bucket, Key=one.key)["Body"].read()
    except s3.exceptions.NoSuchKey:
        return None
    return _sha256(content)


def put(functions: LambdaClient, names: Mapping[str, str], packages: Iterable[Package]) -> None:
    """Have the functions run these packages: the next invocation of each does."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(partial(_put, functions, names), packages))


def code_sha256(package: Package) -> str:
    """As Lambda tells it (CodeSha256): of the zip, in base 64."""
    return _sha256(package.path.read_bytes())


def _sha256(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


def _put(functions: LambdaClient, names: Mapping[str, str], package: Package) -> None:
    name = names[package.function]
    functions.update_function_code(FunctionName=name, ZipFile=package.path.read_bytes())
    settled = functions.get_waiter("function_updated")
    settled.wait(FunctionName=name, WaiterConfig=SETTLES)  # type: ignore[arg-type]  # the stubs know whole seconds only
