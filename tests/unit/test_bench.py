"""The benchmark's own parts: the same tasks for all, ratios pair by pair, a report that says what it holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bootstrap.errors import BootstrapError
from bootstrap.paths import ROOT
from bootstrap.template import load
from tests.benchmarks import page, tables
from tests.benchmarks.__main__ import turns, wish
from tests.benchmarks.contenders import Request, Submits, original
from tests.benchmarks.kills import Toll
from tests.benchmarks.measure import Figures, ratios
from tests.benchmarks.report import Report, Target, rounded
from tests.benchmarks.site import PROCESSES
from tests.benchmarks.workloads import ATTEMPTS, FULL, NO_OP, QUICK, Workload

FAILING = Workload("failing", 2000, failure_rate=0.3)


def figures(contender: str, run: int, tasks_per_second: float, submit_ms: float = 10) -> Figures:
    submit = (submit_ms, submit_ms * 2, submit_ms * 3)
    accepted = tasks_per_second + 10
    return Figures(contender, NO_OP.name, run, 1000, 0, *submit, accepted, tasks_per_second, 0.5, 0.9, 8, 7, 50, 12)


def a_report() -> Report:
    report = Report(2, ceilings=[100, 120])
    for run, (ours, first, celery) in enumerate([(50.0, 60.0, 30.0), (80.0, 70.0, 20.0)], 1):
        report.figures += [
            figures("ours", run, ours),
            figures("ours, batch", run, ours * 4),
            figures("original", run, first, submit_ms=8),
            figures("Celery", run, celery),
        ]
    report.tolls = [Toll("ours", 200, 3, 0, 1, 12.5), Toll("Celery", 200, 3, 2, 0, 33.5)]
    return report


# What all are given. --------------------------------------------------------------------------------------------------


def test_a_task_fails_in_the_same_attempts_whoever_works_on_it() -> None:
    drawn = [FAILING.payload(number) for number in range(FAILING.tasks)]
    assert drawn == [replace(FAILING).payload(number) for number in range(FAILING.tasks)]
    failed = sum(len(FAILING.failing(number)) for number in range(FAILING.tasks))
    assert failed / (FAILING.tasks * ATTEMPTS) == pytest.approx(0.3, abs=0.03)
    assert NO_OP.payload(7) == {"text": "x" * 100, "simulate": {"workSeconds": 0, "failAttempts": []}}


def test_only_the_failing_workload_has_tasks_that_die() -> None:
    dying = {load.name for load in FULL for number in range(load.tasks) if len(load.failing(number)) == ATTEMPTS}
    assert dying == {"30 % of attempts fail"}


def test_the_quick_run_keeps_the_workloads_that_the_targets_are_about() -> None:
    assert {load.name for load in QUICK} < {load.name for load in FULL}
    assert {load.tasks for load in QUICK} == {20}


def test_each_contender_takes_its_turn_at_the_begin() -> None:
    assert ["".join(turns("abc", run)) for run in range(4)] == ["abc", "bca", "cab", "abc"]


def test_the_original_has_as_many_processes_as_the_others() -> None:
    messages = load(original.TEMPLATE)["Resources"]["Process"]["Properties"]["Events"]["Messages"]
    assert messages["Properties"]["ScalingConfig"] == {"MaximumConcurrency": PROCESSES}
    assert messages["Properties"]["BatchSize"] == 10


def test_the_task_of_a_batch_was_submitted_when_its_request_began() -> None:
    submits = Submits([f"t-{n}" for n in range(5)], [Request(10, 1), Request(20, 1), Request(30, 1)], per_request=2)
    assert [submits.begun(number) for number in range(5)] == [10, 10, 20, 20, 30]


# What comes of it. ----------------------------------------------------------------------------------------------------


def test_a_ratio_is_the_median_of_the_runs_ratios() -> None:
    assert ratios([10, 20, 90], [10, 10, 10]) == 2
    with pytest.raises(ValueError, match="shorter"):
        ratios([1, 2], [1])


def test_targets_are_ratios_of_runs_that_stood_side_by_side() -> None:
    found = {target.what: target for target in a_report().targets()}
    assert found["single submit p50, ours / original"].reached_is == pytest.approx(1.25)
    assert found["no-op tasks/s, ours / original"].reached_is == pytest.approx((50 / 60 + 80 / 70) / 2)
    assert found["accepted/s, batch / original"].reached_is == pytest.approx((210 / 70 + 330 / 80) / 2)
    assert found["no-op tasks/s, ours / the bare calls"].reached_is == pytest.approx((50 / 100 + 80 / 120) / 2)
    assert found["tasks lost by kills, ours"].reached
    assert not found["single submit p50, ours / original"].reached
    assert not any("1 s" in what for what in found), "it was not measured"


@pytest.mark.parametrize(
    ("target", "reached"),
    [
        (Target("speed", 3.0, at_least=3), True),
        (Target("speed", 2.99, at_least=3), False),
        (Target("lost", 0, at_most=0), True),
        (Target("lost", 1, at_most=0), False),
    ],
    ids=lambda value: f"{value.reached_is} {value.asked}" if isinstance(value, Target) else "",
)
def test_a_target_is_reached_at_its_bound(target: Target, reached: bool) -> None:
    assert target.reached is reached


def test_the_report_is_json_and_a_page_that_loads_nothing(tmp_path: Path) -> None:
    a_report().write(tmp_path)
    document = json.loads((tmp_path / "report.json").read_text())
    assert [each["contender"] for each in document["figures"]][:2] == ["ours", "ours, batch"]
    assert document["kills"][1] == {
        "contender": "Celery",
        "tasks": 200,
        "kills": 3,
        "lost": 2,
        "worked_twice": 0,
        "last_end_seconds": 33.5,
    }
    shown = (tmp_path / "index.html").read_text()
    assert "1.25" in shown
    assert "<svg" in shown
    assert "src=" not in shown
    assert "<link" not in shown


def test_the_figures_of_the_docs_are_those_of_the_committed_report() -> None:
    folder = ROOT / "docs" / "benchmarks"
    document = json.loads((folder / "report.json").read_text())
    assert (folder / "figures.md").read_text() == tables.of(document)
    told = (ROOT / "docs" / "benchmarks.md").read_text()
    for target in document["targets"]:
        assert f"| {target['what']} | {target['reached_is']:,.2f} |" in told


def test_an_interrupted_report_is_whole_as_far_as_it_goes(tmp_path: Path) -> None:
    half = Report(3, figures=[figures("ours", 1, 50)])
    half.write(tmp_path)
    assert half.targets() == []
    assert "50.0" in page.of(half)


def test_figures_are_kept_to_four_digits() -> None:
    assert rounded({"a": [1.23456, 12345.6], "b": "1.23456"}) == {"a": [1.235, 12350.0], "b": "1.23456"}


# What is asked for. ---------------------------------------------------------------------------------------------------


def test_three_runs_unless_said_and_one_when_quick() -> None:
    assert (wish({}).runs, wish({"QUICK": "1"}).runs, wish({"QUICK": "1", "RUNS": "2"}).runs) == (3, 1, 2)
    assert wish({"REPORT": "here"}).folder == Path("here")


@pytest.mark.parametrize("variables", [{"RUNS": "many"}, {"RUNS": "0"}, {"QUICK": "yes"}])
def test_a_wish_that_is_no_number_is_refused(variables: dict[str, str]) -> None:
    with pytest.raises(BootstrapError, match=next(iter(variables))):
        wish(variables)


def test_the_command_says_what_is_wrong_before_it_starts_anything() -> None:
    command = [sys.executable, "-m", "tests.benchmarks"]
    done = subprocess.run(command, env={**os.environ, "RUNS": "x"}, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "RUNS" in done.stdout + done.stderr
