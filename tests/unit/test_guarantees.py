"""docs/guarantees.md names tests that exist, for each promise."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from bootstrap.paths import ROOT
from tests.conftest import QUICK
from tests.unit.test_scenarios import names_in

PAGE = (ROOT / "docs" / "guarantees.md").read_text()
PROMISE = re.compile(r"^\| (I\d+) \|", re.MULTILINE)
PROOF = re.compile(r"^- \*\*(?P<promise>I\d+)\*\* (?P<tests>.+)$", re.MULTILINE)
LINK = re.compile(r"\[`(?P<test>[^`]+)`\]\(\.\./tests/(?P<file>[^)]+)\)")


def proofs() -> Mapping[str, Sequence[re.Match[str]]]:
    return {line["promise"]: list(LINK.finditer(line["tests"])) for line in PROOF.finditer(PAGE)}


def test_each_promise_has_its_tests() -> None:
    assert PROMISE.findall(PAGE) == [f"I{number}" for number in range(1, 15)]
    assert {promise: bool(tests) for promise, tests in proofs().items()} == dict.fromkeys(PROMISE.findall(PAGE), True)


def test_each_test_that_a_promise_names_exists() -> None:
    for promise, tests in proofs().items():
        line = next(line for line in PROOF.finditer(PAGE) if line["promise"] == promise)
        assert LINK.sub("", line["tests"]).replace(", ", "") == "", "what is no link is not read"
        assert any(link["file"].split("/")[0] in QUICK for link in tests), f"`make test` shows nothing of {promise}"
        for link in tests:
            file, _, name = link["test"].partition("::")
            assert link["file"] == file, promise
            assert name in names_in(ROOT / "tests" / file), f"{promise}: no {link['test']}"
