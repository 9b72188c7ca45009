"""What the kinds ask of a deployment: read from their code, and turned into queue and permissions."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from bootstrap import kinds, settings
from bootstrap.errors import BootstrapError
from bootstrap.kinds import most_attempts, table_arns
from bootstrap.paths import ROOT
from tests.support.broken_templates import a_kind
from tests.support.templates import template

TABLE_ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/blue-tasks"
LIVES_26 = {"PROCESS_TIMEOUT_SECONDS": "29"}
DEPENDENCIES = Path(next(folder for folder in sys.path if (Path(folder) / "fastjsonschema").is_dir()))
A_KIND = """
from lambdas.common.kinds import kind

@kind("mail", schema={}, %s)
def send(work):
    return None
"""
PLAIN = A_KIND.replace("schema={}, %s", "schema={'type': 'object'}").replace("mail", "plain")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kinds of a project of this test's own: none yet."""
    shutil.copytree(ROOT / "lambdas/common", tmp_path / "lambdas/common")
    kinds_of_users = shutil.ignore_patterns("[!_]*", "__pycache__")
    monkeypatch.setattr(kinds, "ROOT", tmp_path)
    package = "lambdas/process_task/kinds"
    return Path(shutil.copytree(ROOT / package, tmp_path / package, ignore=kinds_of_users))


# Read. ----------------------------------------------------------------------------------------------------------------


def test_kinds_are_read_without_importing_them_here(folder: Path) -> None:
    (folder / "mail.py").write_text(A_KIND % "attempts=7, timeout_seconds=2.5, tables=('letters', 'stamps')")
    (folder / "plain.py").write_text(PLAIN)
    before = set(sys.modules)
    assert kinds.read(DEPENDENCIES) == [
        a_kind(attempts=7, timeout_seconds=2.5, tables=("letters", "stamps")),
        a_kind(name="plain", schema={"type": "object"}),
    ]
    assert not {name for name in set(sys.modules) - before if name.startswith("lambdas.process_task.kinds.mail")}


def test_what_a_module_prints_is_no_part_of_the_answer(folder: Path) -> None:
    (folder / "mail.py").write_text("print('hello')\n" + A_KIND % "attempts=7")
    assert a_kind(attempts=7, schema={}) in kinds.read(DEPENDENCIES)


def test_no_kinds_at_all_are_none(folder: Path) -> None:
    assert kinds.read(DEPENDENCIES) == []


BROKEN = {
    "no Python": ("x = 1\ndef half(:\n", 2, "SyntaxError"),
    "a package that is not there": ("x = 1\n\nimport no_such_package\n", 3, "No module named 'no_such_package'"),
    "an error": ("x = 1 / 0\n", 1, "ZeroDivisionError"),
    "a limit that makes no sense": (A_KIND % "attempts=0", 4, "kind mail: attempts is 0"),
    "a name that is taken": (A_KIND % "" * 2, 10, "two kinds are called 'mail'"),
    "an error far inside": ("import json\n\njson.loads('{')\n", 3, "JSONDecodeError"),
}


@pytest.mark.parametrize(("text", "line", "said"), BROKEN.values(), ids=BROKEN)
def test_a_broken_module_is_named_with_its_line_and_what_is_wrong(
    text: str, line: int, said: str, folder: Path
) -> None:
    (folder / "mail.py").write_text(text)
    with pytest.raises(BootstrapError) as error:
        kinds.read(DEPENDENCIES)
    first, *_, last = error.value.message.splitlines()
    assert first == "The kinds of task cannot be loaded:"
    assert error.value.message.count(f'process_task/kinds/mail.py", line {line}') == 1
    assert said in last
    assert error.value.hint == "Mend the module, then try again."


# Fitted. --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attempts", "default", "most"), [((), 3, 3), ((None,), 3, 3), ((2, None), 3, 3), ((4, 9, None), 3, 9)], ids=str
)
def test_the_most_attempts_are_those_of_any_kind_or_the_usual_ones(
    attempts: tuple[int | None, ...], default: int, most: int
) -> None:
    assert most_attempts([a_kind(attempts=number) for number in attempts], default) == most


@pytest.mark.parametrize(
    ("retries", "attempts", "receives"),
    [("2", None, "5"), ("2", 1, "5"), ("2", 4, "6"), ("2", 100, "102"), ("20", 4, "23"), ("0", None, "5")],
)
def test_the_queue_gives_a_message_to_the_dlq_after_more_receives_than_any_kind_has_attempts(
    retries: str, attempts: int | None, receives: str
) -> None:
    before = settings.read({"MAX_RETRIES": retries})
    fitted = settings.fitted(before, [a_kind(attempts=attempts), a_kind(name="other")])
    assert fitted.storage == {**before.storage, "MaxReceiveCount": receives}
    assert (fitted.app, fitted.stage) == (before.app, before.stage)
    there = template("storage")["Parameters"]["MaxReceiveCount"]
    assert there["MinValue"] <= int(receives) <= there["MaxValue"]


def test_without_kinds_the_settings_stay_as_they_are() -> None:
    assert settings.fitted(settings.read({}), []) == settings.read({})


@pytest.mark.parametrize("timeout", [26, 0.5, None])
def test_a_time_out_that_fits_into_its_function_is_taken(timeout: float | None) -> None:
    settings.fitted(settings.read(LIVES_26), [a_kind(timeout_seconds=timeout)])


@pytest.mark.parametrize(("timeout", "needed"), [(26.5, 30), (27, 30), (60, 63), (897, 900)])
def test_a_time_out_longer_than_its_function_lives_is_refused_with_the_number_to_set(
    timeout: float, needed: int
) -> None:
    slow = [a_kind(), a_kind(name="slow", timeout_seconds=timeout)]
    with pytest.raises(BootstrapError) as error:
        settings.fitted(settings.read(LIVES_26), slow)
    assert error.value.message == f"Kind slow has a time-out of {timeout:g} s; its function has 26 s for it."
    assert error.value.hint == f"Set PROCESS_TIMEOUT_SECONDS to {needed} or more."
    settings.fitted(settings.read({"PROCESS_TIMEOUT_SECONDS": str(needed)}), slow)


# Permissions. ---------------------------------------------------------------------------------------------------------


def test_the_tables_of_all_kinds_lie_beside_the_table_of_tasks_each_once() -> None:
    found = table_arns([a_kind(tables=("b", "a")), a_kind(tables=("b", "c")), a_kind()], TABLE_ARN, "blue")
    assert found == [TABLE_ARN.replace("blue-tasks", f"blue-{name}") for name in "abc"]


def test_kinds_without_tables_have_no_arns() -> None:
    assert table_arns([a_kind()], TABLE_ARN, "blue") == []


def test_every_table_that_a_kind_lists_is_in_the_storage_template_under_the_name_it_is_looked_for() -> None:
    resources = template("storage")["Resources"].values()
    names = {r["Properties"]["TableName"]["Fn::Sub"] for r in resources if r["Type"] == "AWS::DynamoDB::Table"}
    listed = {f"${{Stage}}-{table}" for kind in kinds.read(DEPENDENCIES) for table in kind.tables}
    assert listed - names == set(), "add what is missing to bootstrap/storage.yaml"


def test_without_tables_the_statement_that_names_them_is_left_out() -> None:
    app = template("app")
    assert app["Conditions"]["HasEffectTables"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "EffectTableArns"}, ""]}]}
    (policy,) = app["Resources"]["ProcessTaskRole"]["Properties"]["Policies"]
    (choice,) = [s["Fn::If"] for s in policy["PolicyDocument"]["Statement"] if "Fn::If" in s]
    condition, statement, otherwise = choice
    assert (condition, otherwise) == ("HasEffectTables", {"Ref": "AWS::NoValue"})
    assert statement["Resource"] == {"Fn::Split": [",", {"Ref": "EffectTableArns"}]}
