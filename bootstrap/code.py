"""The code that the functions run: compared with a package, and put in place without a deploy.

`make watch` and `make debug` change code past CloudFormation, which goes on naming the packages of the last deploy. So
every local deploy ends by comparing what runs with what it has built.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from bootstrap.package import Package

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

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


def put(functions: LambdaClient, names: Mapping[str, str], packages: Iterable[Package]) -> None:
    """Have the functions run these packages: the next invocation of each does."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(partial(_put, functions, names), packages))


def code_sha256(package: Package) -> str:
    """As Lambda tells it (CodeSha256): of the zip, in base 64."""
    return base64.b64encode(hashlib.sha256(package.path.read_bytes()).digest()).decode()


def _put(functions: LambdaClient, names: Mapping[str, str], package: Package) -> None:
    name = names[package.function]
    functions.update_function_code(FunctionName=name, ZipFile=package.path.read_bytes())
    settled = functions.get_waiter("function_updated")
    settled.wait(FunctionName=name, WaiterConfig=SETTLES)  # type: ignore[arg-type]  # the stubs know whole seconds only
