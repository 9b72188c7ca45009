"""The six packages this project is about: each declared, and each really used."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootstrap.paths import ROOT

USES = {
    "boto3": ("import", "boto3"),
    "localstack": ("command", "localstack"),
    "awscli-local": ("readme", "awslocal"),
    "pytest": ("import", "pytest"),
    "testcontainers": ("import", "testcontainers"),
    "requests": ("import", "requests"),
}
"""Package -> how it is used: a module that is imported, a command that is run, or one that the README teaches."""
SOURCES = ("bootstrap", "lambdas", "client", "scripts", "tests")


def declared() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    return {re.split(r"[^\w.-]", requirement, maxsplit=1)[0] for requirement in requirements}


def modules_in(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


def commands_in(tree: ast.AST) -> Iterator[str]:
    """What is run: the first word of a list of words, or the end of a path (`folder / "awslocal"`)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.List) and node.elts:
            yield from map(ast.unparse, ast.walk(node.elts[0]))
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            yield ast.unparse(node.right)


def sources() -> Iterator[ast.AST]:
    for folder in SOURCES:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path != Path(__file__):
                yield ast.parse(path.read_text())


@pytest.mark.parametrize("package", sorted(USES))
def test_each_of_the_six_packages_is_declared(package: str) -> None:
    assert package in declared()


@pytest.mark.parametrize("package", sorted(USES))
def test_each_of_the_six_packages_is_used(package: str) -> None:
    how, name = USES[package]
    if how == "import":
        assert any(name in modules_in(tree) for tree in sources()), f"nobody imports {name}"
    elif how == "readme":
        # tests/operating/test_looking_inside.py runs these as written.
        commands = re.findall(rf"```sh run {name}\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
        assert f"bin/{name} " in commands[0]
    else:
        recipes = [line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("\t")]
        in_make = any(re.search(rf"(^\t@?|bin/){name} ", line) for line in recipes)
        assert in_make or any(repr(name) in commands_in(tree) for tree in sources()), f"nobody runs {name}"
