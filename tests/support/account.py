"""The commands for AWS, run in this process on an emulator that stands in for an account."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from bootstrap import deploy
from bootstrap.__main__ import main
from bootstrap.targets import AWS, Place
from tests.support.stack import DeployedStack
from tests.support.stand_in import CREDENTIALS, REGION, StandIn, standing_in


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Account:
    """An emulator that the commands take for AWS."""

    between: StandIn
    run: Callable[..., Said]
    url: str

    def client(self, service: str) -> Any:
        return deploy.client(Place(AWS, REGION, None), service)

    def has(self, stack: str) -> bool:
        """A stack of that name is there."""
        try:
            [found] = self.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
        except ClientError:
            return False
        return bool(found["StackStatus"] != "DELETE_COMPLETE")


def an_account(
    stack: DeployedStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Account]:
    run = commands(monkeypatch, tmp_path, capsys, **CREDENTIALS)
    with standing_in(stack.outputs["endpoint_url"]) as between:
        yield Account(between, run, stack.outputs["endpoint_url"])


def commands(
    monkeypatch: pytest.MonkeyPatch, local: Path, capsys: pytest.CaptureFixture[str], **always: str
) -> Callable[..., Said]:
    """`python -m bootstrap …` in this process, with these variables and those of each call to say who it is."""
    for name, value in {**always, "LOCAL_DIR": str(local)}.items():
        monkeypatch.setenv(name, value)

    def command(*arguments: str, **variables: str) -> Said:
        with monkeypatch.context() as during:
            for name, value in variables.items():
                during.setenv(name, value)
            capsys.readouterr()
            code = main(list(arguments))
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return command
