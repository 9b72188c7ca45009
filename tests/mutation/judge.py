"""Runs each named test twice, with the deployed code as it is and with one term dropped, and judges it by that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from _pytest.runner import runtestprotocol

from bootstrap.paths import ROOT
from tests.mutation.registry import Term, dropped

PASSED, FAILED, BROKEN = "passed", "failed", "broken"
"""BROKEN: it did not come to a verdict (its fixtures failed, it was skipped), which proves nothing."""
Killers = Mapping[str, Sequence[str]]
"""The tests named for each term: node ids, or how they begin when a list of parameters stands at the end."""


@dataclass(frozen=True)
class Trial:
    """One test, without and with the mutation."""

    test: str
    intact: str
    mutated: str

    @property
    def kills(self) -> bool:
        return self.intact == PASSED and self.mutated == FAILED

    @property
    def problem(self) -> str | None:
        if self.intact != PASSED:
            return f"{self.test} {self.intact} though nothing was dropped"
        if self.mutated == FAILED:
            return None
        return f"{self.test} {self.mutated} though the term was dropped"


@dataclass(frozen=True)
class Verdict:
    term: Term
    trials: tuple[Trial, ...]
    missing: tuple[str, ...]
    """Tests that are named and do not exist."""

    @property
    def killed(self) -> bool:
        return any(trial.kills for trial in self.trials)

    @property
    def problems(self) -> list[str]:
        found = [f"there is no test {test}" for test in self.missing]
        found += [trial.problem for trial in self.trials if trial.problem]
        if not self.trials and not self.missing:
            found.append("no test is named for it")
        return [f"{self.term}: {problem}" for problem in found]


class NotCollected(Exception):
    """The tests could not even be read."""


@dataclass
class Judge:
    """A plugin of pytest. One session for all: the tests are read once and run as often as they are named."""

    terms: Sequence[Term]
    killers: Killers
    verdicts: list[Verdict] = field(default_factory=list)
    interrupted: bool = False
    """By Ctrl-C; `verdicts` are those until then."""
    _intact: dict[str, str] = field(default_factory=dict)

    def run(self) -> list[Verdict]:
        """Judge every term.

        Raises:
            NotCollected: a test file has an error.
        """
        named = {test.split("::")[0] for term in self.terms for test in self.killers.get(str(term), ())}
        files = sorted(file for file in named if (ROOT / file).is_file())
        if not files:
            self.verdicts = [self._judged(term, []) for term in self.terms]
            return self.verdicts
        left_out = [f"-pno:{plugin}" for plugin in ("terminal", "cacheprovider", "schemathesis", "anyio")]
        # An option of the terminal's is unknown without it.
        quiet = ["-o", "addopts=", *left_out, "-W", "ignore::pytest.PytestConfigWarning", "--rootdir", str(ROOT)]
        code = pytest.main([*quiet, *(str(ROOT / file) for file in files)], plugins=[self])
        if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED) and not self.interrupted:
            raise NotCollected(f"pytest ended with {code}; look for the reason by: python -m pytest {' '.join(files)}")
        return self.verdicts

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        wanted = [test for term in self.terms for test in self.killers.get(str(term), ())]
        items[:] = [item for item in items if any(is_named(item.nodeid, test) for test in wanted)]

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            raise session.Interrupted("a test file has an error")
        for term in self.terms:
            self.verdicts.append(self._judged(term, session.items))
        return True

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        self.interrupted = not isinstance(excinfo.value, pytest.Session.Interrupted)

    def _judged(self, term: Term, items: Sequence[pytest.Item]) -> Verdict:
        named = {test: _of(items, test) for test in self.killers.get(str(term), ())}
        missing = tuple(test for test, found in named.items() if not found)
        chosen = {item.nodeid: item for found in named.values() for item in found}
        return Verdict(term, tuple(self._trial(term, item) for item in chosen.values()), missing)

    def _trial(self, term: Term, item: pytest.Item) -> Trial:
        if item.nodeid not in self._intact:
            self._intact[item.nodeid] = _outcome(item)
        with dropped(term):
            return Trial(item.nodeid, self._intact[item.nodeid], _outcome(item))


def is_named(node: str, test: str) -> bool:
    return node == test or node.startswith(test if "[" in test else test + "[")


def _of(items: Sequence[pytest.Item], test: str) -> list[pytest.Item]:
    return [item for item in items if is_named(item.nodeid, test)]


def _outcome(item: pytest.Item) -> str:
    reports = {report.when: report.outcome for report in runtestprotocol(item, log=False, nextitem=None)}
    if set(reports.values()) == {PASSED}:
        return PASSED
    others = {outcome for when, outcome in reports.items() if when != "call"}
    return FAILED if others == {PASSED} and reports.get("call") == FAILED else BROKEN
