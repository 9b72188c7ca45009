"""`make invoke`: which function, which event, and what is shown of an answer."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest

from bootstrap.errors import BootstrapError
from bootstrap.package import PACKAGES
from bootstrap.paths import ROOT
from scripts.function_names import in_snake_case, logical_id
from scripts.invoke import Answered, Wanted, event, failure, invoke, show, wanted


@pytest.mark.parametrize("typed", ["process_task", "process-task"])
def test_a_function_is_found_by_either_form_of_its_name(typed: str) -> None:
    assert logical_id(typed) == "ProcessTask"


def test_every_function_has_a_name_to_type_and_a_sample_event() -> None:
    names = {in_snake_case(function): function for function in PACKAGES}
    assert {name: logical_id(name) for name in names} == names
    assert {path.stem for path in (ROOT / "events").glob("*.json")} == set(names)


@pytest.mark.parametrize("typed", ["ProcessTask", "process", "foo"])
def test_an_unknown_function_is_refused_with_the_six_that_there_are(typed: str) -> None:
    with pytest.raises(BootstrapError) as refused:
        logical_id(typed)
    assert repr(typed) in refused.value.message
    assert all(in_snake_case(function) in refused.value.message for function in PACKAGES)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, Wanted("ProcessTask", Path("events/process_task.json"))),
        ({"FN": "sweep-tasks", "EVENT": ""}, Wanted("SweepTasks", Path("events/sweep_tasks.json"))),
        ({"FN": "sweep_tasks", "EVENT": "other.json"}, Wanted("SweepTasks", Path("other.json"))),
    ],
    ids=["nothing said", "a function", "a function and an event"],
)
def test_what_is_not_said_has_a_default(variables: dict[str, str], expected: Wanted) -> None:
    assert wanted(variables) == expected


def test_an_account_is_refused() -> None:
    with pytest.raises(BootstrapError, match="for the local AWS"):
        wanted({"TARGET": "aws"})


def test_broken_json_is_shown_with_its_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "event.json"
    path.write_text('{\n  "a": 1,\n  "b" 2\n}\n')
    with pytest.raises(BootstrapError, match=r"event\.json is not JSON: line 3, column 7: Expecting ':' delimiter\."):
        event(path)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "event.json"
    path.write_bytes(b'"\xff"')
    with pytest.raises(BootstrapError, match="not UTF-8"):
        event(path)


def test_a_missing_file_is_refused_with_the_samples_that_there_are() -> None:
    with pytest.raises(BootstrapError) as refused:
        event(Path("events/nothing.json"))
    assert "events/nothing.json cannot be read (No such file or directory)" in refused.value.message
    assert "events/submit_task.json" in refused.value.hint


class Functions:
    """A client of Lambda that knows one answer, and remembers how it was asked."""

    def __init__(self, payload: bytes, **more: str) -> None:
        self._answer = {"Payload": io.BytesIO(payload), **more}
        self.asked: dict[str, Any] = {}

    def invoke(self, **asked: Any) -> dict[str, Any]:
        self.asked = asked
        return self._answer


def test_an_answer_comes_with_the_log_of_its_invocation() -> None:
    functions = Functions(b'{"a": 1}', LogResult=base64.b64encode("first\nsecond ü".encode()).decode())
    answered = invoke(functions, "dev-process-task", b"{}")
    assert functions.asked == {"FunctionName": "dev-process-task", "Payload": b"{}", "LogType": "Tail"}
    assert (answered.payload, answered.error, answered.log) == ({"a": 1}, None, "first\nsecond ü")


def test_a_target_without_logs_and_an_empty_answer_are_fine() -> None:
    answered = invoke(Functions(b""), "dev-process-task", b"{}")
    assert (answered.payload, answered.log) == (None, "")


def test_the_answer_alone_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    show("dev-query-tasks", Answered({"a": ["ü"]}, None, "a line", 0.5))
    said = capsys.readouterr()
    assert said.out == json.dumps({"a": ["ü"]}, indent=2, ensure_ascii=False) + "\n"
    assert said.err == "  a line\ndev-query-tasks answered in 0.50 s\n"


def test_a_function_that_failed_is_shown_with_its_error_and_trace(capsys: pytest.CaptureFixture[str]) -> None:
    told = {"errorType": "KeyError", "errorMessage": "'Records'", "stackTrace": ['  File "a.py", line 1\n', "    x\n"]}
    with pytest.raises(BootstrapError) as failed:
        show("dev-process-task", Answered(told, "Unhandled", "", 0.5))
    assert failed.value.message == "dev-process-task failed: KeyError: 'Records'\n  File \"a.py\", line 1\n    x"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("payload", [None, "text", {}])
def test_a_failure_without_an_error_of_the_known_form_is_shown_as_it_is(payload: Any) -> None:
    assert failure("f", Answered(payload, "Unhandled", "", 0)) == f"f failed: Unhandled: {payload}"
