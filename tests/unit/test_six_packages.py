"""The six packages this project is about: each declared, and each really used."""

from __future__ import annotations

import re
import tomllib

import pytest

from bootstrap.paths import ROOT

USED = {
    "boto3": ("bootstrap/*.py", r"^import boto3$"),
    "localstack": ("bootstrap/status.py", r'\[str\(.* / "localstack"\), "status"'),
    "awscli-local": ("README.md", r"```sh run awslocal\n.*bin/awslocal "),  # `make walkthrough` runs it
    "pytest": ("Makefile", r"^PYTEST := \$\(PY\) -m pytest "),
    "testcontainers": ("tests/support/localstack.py", r"^from testcontainers\."),
    "requests": ("client/*.py", r"^import requests$"),
}
"""Package -> the files that import it, run it or teach it, and the line that does."""


@pytest.mark.parametrize("package", USED)
def test_each_of_the_six_packages_is_declared_and_used(package: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    files, line = USED[package]
    assert package in {re.split(r"[^\w.-]", requirement, maxsplit=1)[0] for requirement in requirements}
    assert any(re.search(line, path.read_text(), re.MULTILINE) for path in ROOT.glob(files))
