"""Every term of every condition comes from one place, and is killed by the tests that are named for it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bootstrap.paths import ROOT
from lambdas.common import transitions
from lambdas.common.store import Refused
from lambdas.common.task import Task
from tests.model.__main__ import told_survivors
from tests.model.mutants import terms as terms_of_the_model
from tests.model.rules import WRITES
from tests.mutation import page
from tests.mutation.__main__ import main
from tests.mutation.judge import BROKEN, FAILED, PASSED, Judge, Trial, Verdict, is_named
from tests.mutation.killers import REFUSED
from tests.mutation.registry import Term, constants, dropped, makers, terms
from tests.support.dynamodb import FakeDynamoDB, task_store
from tests.support.tasks import NOW, a_task, planted, processing

TERM = Term("claim", "attempts_left", "#attempts < #maxAttempts")
BLIND = "tests/unit/test_retry.py::test_retry_after_carries_its_words_and_its_seconds"


Shown = pytest.CaptureFixture[str]


# The terms. -----------------------------------------------------------------------------------------------------------

SOURCES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in (ROOT / "lambdas").rglob("*.py")}
STORE, TRANSITIONS = "lambdas/common/store.py", "lambdas/common/transitions.py"


def everywhere() -> Iterator[tuple[str, ast.AST]]:
    return ((file, node) for file, tree in SOURCES.items() for node in ast.walk(tree))


def test_every_condition_is_a_conjunction_of_named_terms_or_that_of_an_effect() -> None:
    """An effect's condition is of the kind's own table, and its author's."""
    spelled = {file for file, node in everywhere() if isinstance(node, ast.Constant) and _spells_it(node.value)}
    assert spelled == {STORE}
    sent = {
        ast.unparse(value)
        for _, node in everywhere()
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and key.value == "ConditionExpression"
    }
    assert sent == {"condition", "effect.condition"}
    keywords = [(file, node) for file, node in everywhere() if isinstance(node, ast.keyword)]
    assert not [file for file, node in keywords if _spells_it(node.arg)]
    assert {file for file, node in keywords if node.arg == "conditions"} == {TRANSITIONS}
    made = {
        ast.unparse(node.value.func) if isinstance(node.value, ast.Call) else ast.unparse(node.value)
        for _, node in everywhere()
        if isinstance(node, ast.Assign) and "condition" in map(ast.unparse, node.targets)
    }
    assert made == {"conjunction"}


def _spells_it(text: object) -> bool:
    return isinstance(text, str) and "ConditionExpression" in text and "KeyConditionExpression" not in text


def test_every_named_term_stands_in_transitions() -> None:
    calls = [(file, node) for file, node in everywhere() if isinstance(node, ast.Call)]
    joined = {ast.unparse(node.args[0]) for _, node in calls if ast.unparse(node.func) == "conjunction"}
    put = {ast.unparse(node.args[1]) for _, node in calls if ast.unparse(node.func) == "self._put"}
    used = {f"transitions.{name.upper()}" for name in constants()}
    assert joined - used == {"conditions", "write.conditions"}
    assert put | joined & used == used
    assert {file for file, node in calls if ast.unparse(node.func).split(".")[-1] == "Write"} == {TRANSITIONS}


def test_the_registry_has_every_write_and_every_term_that_the_model_has() -> None:
    assert set(makers()) == set(WRITES)
    found = {(term.write, term.name, term.text) for term in terms()}
    assert set(terms_of_the_model()) <= found
    assert {write for write, _, _ in found} == {*WRITES, *constants()}


def test_a_term_is_dropped_in_its_own_write_alone_and_only_for_a_while() -> None:
    """A park is made from a retry, and has a term of the same name."""
    store = task_store(FakeDynamoDB())
    row = planted(store, processing())
    other = replace(row, generation=2)
    retry, park = transitions.retry(other, NOW, "Oops", NOW), transitions.park(other, NOW, "Oops", NOW)
    (term,) = [term for term in terms() if str(term) == "retry.same_generation"]
    assert store.apply(retry) == Refused(row)
    with dropped(term):
        assert store.apply(park) == Refused(row)
        assert isinstance(store.apply(retry), Task)
    second = planted(store, processing(task_id="task-2"))
    assert store.apply(transitions.retry(replace(second, generation=2), NOW, "Oops", NOW)) == Refused(second)


def test_a_condition_of_one_term_always_holds_when_that_is_dropped() -> None:
    store = task_store(FakeDynamoDB())
    row = planted(store, a_task())
    (absent,) = [term for term in terms() if term.write == "absent"]
    with dropped(absent):
        planted(store, a_task(token="another"))
    assert store.create(a_task(token="a third"), "{}", 1) != row


# The judgement. -------------------------------------------------------------------------------------------------------

JUDGED: dict[str, tuple[tuple[Trial, ...], tuple[str, ...], bool, list[str]]] = {
    "killed": ((Trial("a", PASSED, FAILED),), (), True, []),
    "killed by one and not by another": (
        (Trial("a", PASSED, FAILED), Trial("b", PASSED, PASSED)),
        (),
        True,
        ["b passed though the term was dropped"],
    ),
    "not seen": ((Trial("a", PASSED, PASSED),), (), False, ["a passed though the term was dropped"]),
    "failing anyhow": ((Trial("a", FAILED, FAILED),), (), False, ["a failed though nothing was dropped"]),
    "without a verdict when it is dropped": (
        (Trial("a", PASSED, BROKEN),),
        (),
        False,
        ["a broken though the term was dropped"],
    ),
    "without a verdict": ((Trial("a", BROKEN, FAILED),), (), False, ["a broken though nothing was dropped"]),
    "not there": ((), ("a",), False, ["there is no test a"]),
    "not named": ((), (), False, ["no test is named for it"]),
}


def test_a_term_is_killed_only_by_a_test_that_passes_with_it_and_fails_without() -> None:
    for name, (trials, missing, killed, problems) in JUDGED.items():
        verdict = Verdict(TERM, trials, missing)
        assert verdict.killed == killed, name
        assert verdict.problems == [f"claim.attempts_left: {problem}" for problem in problems], name


def test_a_name_means_one_test_or_its_rows() -> None:
    assert is_named("a.py::test_x", "a.py::test_x")
    assert is_named("a.py::test_x[1]", "a.py::test_x")
    assert is_named("a.py::test_x[1 - 2]", "a.py::test_x[1 - ")
    assert not is_named("a.py::test_xy", "a.py::test_x")
    assert not is_named("a.py::test_x[2]", "a.py::test_x[1")


def test_each_term_of_the_deployed_code_is_killed_by_each_test_that_is_named_for_it(
    tmp_path: Path, capsys: Shown
) -> None:
    shown = (ROOT / "docs" / "proof.md").read_text()
    anew = tmp_path / "proof.md"
    anew.write_text(shown)
    ended = main(["--write", str(anew)])
    shown_now = capsys.readouterr().out
    assert ended == 0, shown_now
    count = len(list(terms()))
    assert f"{count} of {count} dropped terms killed by " in shown_now
    assert anew.read_text() == shown, "type: .venv/bin/python -m tests.mutation --write docs/proof.md"


def test_a_test_that_does_not_look_lets_the_term_survive_and_the_run_fail(capsys: Shown) -> None:
    missing = ("tests/unit/test_retry.py::test_x", "tests/unit/test_that_is_not_there.py::test_x")
    arguments = [word for test in (BLIND, *missing) for word in ("--by", test)]
    assert main(["--term", "claim.attempts_left", *arguments, "--model"]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "claim.attempts_left SURVIVED by 0 of 1 test runs" in said
    for test in missing:
        assert f"there is no test {test}" in said
    assert "the model says of 1 of 1 terms what it said before" in said


def test_a_term_that_is_not_there_is_not_taken_for_one_that_was_killed() -> None:
    with pytest.raises(SystemExit, match=r"no such term: claim\.no_such_term"):
        main(["--term", "claim.no_such_term"])


def test_ctrl_c_ends_the_run_with_130_and_the_terms_until_then(monkeypatch: pytest.MonkeyPatch, capsys: Shown) -> None:
    judged = Judge._trial

    def trial(judge: Judge, term: Term, item: pytest.Item) -> Trial:
        if judge.verdicts:
            raise KeyboardInterrupt
        return judged(judge, term, item)

    monkeypatch.setattr(Judge, "_trial", trial)
    assert main(["--term", "claim.attempts_left", "--term", "claim.same_generation", "--by", BLIND]) == 130
    shown = capsys.readouterr()
    assert shown.err == "Interrupted: 1 of 2 terms were dropped.\n"
    assert "claim.attempts_left SURVIVED" in " ".join(shown.out.split())


# The table. -----------------------------------------------------------------------------------------------------------


def test_the_table_names_term_tests_and_what_the_model_finds() -> None:
    trials = (
        Trial("tests/unit/test_a.py::test_it_is_seen[1]", PASSED, FAILED),
        Trial("tests/unit/test_a.py::test_it_is_seen[2]", PASSED, FAILED),
        Trial("tests/unit/test_b.py::test_it_is_not", PASSED, PASSED),
    )
    table = page.markdown([Verdict(TERM, trials, ()), Verdict(TERM, (), ())], {str(TERM): "I4 too many"})
    assert table.splitlines()[2:] == [
        "| `claim.attempts_left` | `test_a`: it is seen (2 rows) | I4 too many |",
        "| `claim.attempts_left` | **nothing** | I4 too many |",
        "",
        "1 of 2 dropped terms killed by 3 tests, score 50%: 1 by harm that the model or a directed test shows, "
        "0 by the harm once the term beside it is gone too, 0 by the row that they alone refuse.",
    ]


HARMFUL = Trial("tests/unit/test_a.py::test_it_is_seen", PASSED, FAILED)
BY_ROW = Trial(f"{REFUSED}[fake-bury - open - x]", PASSED, FAILED)
OPEN = replace(TERM, write="bury", name="open")


SCORES: tuple[tuple[Term, tuple[Trial, ...], str | None, int], ...] = (
    (TERM, (HARMFUL, BY_ROW), None, 0),
    (TERM, (BY_ROW,), "I4 too many", 0),
    (TERM, (BY_ROW,), None, 2),
    (TERM, (replace(HARMFUL, mutated=PASSED), BY_ROW), None, 2),
    (OPEN, (HARMFUL, BY_ROW), None, 1),
    (OPEN, (HARMFUL, BY_ROW), "I8 given up", 0),
)


def test_the_score_tells_harm_from_the_row_that_a_term_alone_refuses() -> None:
    for term, trials, model, reason in SCORES:
        shown = page.score([Verdict(term, trials, ())], {str(term): model}).partition(": ")[2]
        assert [part[0] for part in shown.split(", ")] == ["1" if at == reason else "0" for at in range(3)]


def test_what_the_model_finds_otherwise_than_before_is_listed() -> None:
    before = {"a.same": "I1 lost", "a.gone": "I1 lost", "a.found": None, "a.not_asked": "I1 lost"}
    assert page.differences({"a.same": "I1 lost", "a.gone": None, "a.found": "I2 stuck", "a.new": None}, before) == [
        "a.gone: the model finds nothing; recorded is I1 lost",
        "a.found: the model finds I2 stuck; recorded is nothing",
        "a.new: the model finds nothing; recorded is not in the model",
    ]


def test_a_term_that_the_model_no_longer_finds_fails_its_own_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert (told_survivors([]), told_survivors(["claim.attempts_left"])) == (0, 1)
    assert "and no longer: claim.attempts_left" in capsys.readouterr().out


def test_what_the_model_finds_is_recorded_for_each_term_that_it_has() -> None:
    assert set(page.recorded()) == {f"{write}.{term}" for write, term, _ in terms_of_the_model()}
