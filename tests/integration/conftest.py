"""Local AWSs in the place of an account, for what runs on AWS alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.account import Account, an_account
from tests.support.stack import DeployedStack


@pytest.fixture
def account(
    stack: DeployedStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Account]:
    yield from an_account(stack, monkeypatch, tmp_path, capsys)


@pytest.fixture
def quick(
    embedded_stack: DeployedStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Account]:
    """For what AWS does and no emulator: it is put before the quicker of them."""
    yield from an_account(embedded_stack, monkeypatch, tmp_path, capsys)
