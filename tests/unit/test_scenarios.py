"""docs/scenarios.md names tests that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from bootstrap.paths import ROOT

PAGE = ROOT / "docs" / "scenarios.md"
ROW = re.compile(r"^\| (?P<name>[^|]+?) \| (?P<tests>`.+`) \|$", re.MULTILINE)


def scenarios() -> Mapping[str, Sequence[str]]:
    rows = ROW.finditer(PAGE.read_text())
    return {row["name"]: re.findall(r"`([^`]+)`", row["tests"]) for row in rows}


@cache
def names_in(path: Path) -> frozenset[str]:
    """Names of the tests that pytest collects from a file."""
    module = ast.parse(path.read_text())
    names = (node.name for node in module.body if isinstance(node, ast.FunctionDef))
    return frozenset(name for name in names if name.startswith("test_"))


def test_each_scenario_has_tests_and_each_of_them_exists() -> None:
    for scenario, tests in scenarios().items():
        for named in tests:
            file, _, name = named.partition("::")
            assert name in names_in(ROOT / "tests" / file), f"{scenario}: no {named}"


def test_every_row_of_the_table_is_read() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    assert len(scenarios()) == len(rows) - 2  # the head and the line below it
