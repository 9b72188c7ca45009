"""The benchmark's own parts: the same tasks for all, ratios pair by pair, a report that says what it holds."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import psutil
import pytest

from bootstrap.errors import BootstrapError
from bootstrap.paths import ROOT
from bootstrap.template import load
from tests.benchmarks import page, profiled, tables
from tests.benchmarks.__main__ import turns, wish
from tests.benchmarks.contenders import Request, Submits, ceiling, original
from tests.benchmarks.contenders.web import begun
from tests.benchmarks.kills import Killer, Toll, summed
from tests.benchmarks.measure import Figures, Watch, measure, ratios
from tests.benchmarks.profiled import Profiled
from tests.benchmarks.report import Report, Target, rounded
from tests.benchmarks.site import PROCESSES, Site
from tests.benchmarks.ups import Ups
from tests.benchmarks.workloads import ATTEMPTS, COLD, FULL, NO_OP, QUICK, WARM_UP, WORK, Workload
from tests.support.waiting import eventually

FAILING = Workload("failing", 2000, failure_rate=0.3)


def figures(contender: str, run: int, tasks_per_second: float, submit_ms: float = 10) -> Figures:
    submit = (submit_ms, submit_ms * 2, submit_ms * 3)
    accepted = tasks_per_second + 10
    return Figures(contender, NO_OP.name, run, 1000, 0, *submit, accepted, tasks_per_second, 0.5, 0.9, 8, 7, 50, 12)


def a_report() -> Report:
    report = Report(2, ups=Ups(5, 2.5, 1.25))
    for run, (ours, first, celery, bare) in enumerate([(50.0, 60.0, 30.0, 100.0), (80.0, 70.0, 20.0, 120.0)], 1):
        report.figures += [
            figures("ours", run, ours),
            figures("ours, batch", run, ours * 4),
            figures("original", run, first, submit_ms=8),
            figures("Celery", run, celery),
            figures("the bare calls", run, bare),
            figures("the bare calls, batch", run, bare * 4),
        ]
    report.tolls = [Toll("ours", 600, 3, 9, 0, 1, 12.5), Toll("Celery", 600, 3, 9, 2, 0, 33.5)]
    report.profiles = [Profiled("submit", 100, 0.75, {"botocore": 1.5, "ours": 0.25}, {"PutItem": 1})]
    return report


class Pretender:
    """A contender whose tasks end at once."""

    name = "pretender"

    def __init__(self) -> None:
        self.done: list[str] = []

    def submit(self, load: Workload, run: str) -> Submits:
        self.done.append(load.name)
        return Submits([f"{run}-{number}" for number in range(load.tasks)], [Request(10, 1)] * load.tasks)

    def ends(self, task_ids: Sequence[str], seconds: float) -> Mapping[str, float]:
        return dict.fromkeys(task_ids, 12.0)

    def chill(self) -> None:
        self.done.append("chilled")

    def processes(self) -> Sequence[int]:
        return [os.getpid()]


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
    assert {load.tasks for load in QUICK if load != COLD} == {20}
    assert QUICK[0] == FULL[0] == COLD, "before anything has warmed up"


def test_each_contender_takes_its_turn_at_the_begin() -> None:
    assert ["".join(turns("abc", run)) for run in range(4)] == ["abc", "bca", "cab", "abc"]


def test_the_original_has_as_many_processes_as_the_others() -> None:
    messages = load(original.TEMPLATE)["Resources"]["Process"]["Properties"]["Events"]["Messages"]
    assert messages["Properties"]["ScalingConfig"] == {"MaximumConcurrency": PROCESSES}
    assert messages["Properties"]["BatchSize"] == 10


def test_the_task_of_a_batch_was_submitted_when_its_request_began() -> None:
    submits = Submits([f"t-{n}" for n in range(5)], [Request(10, 1), Request(20, 1), Request(30, 1)], per_request=2)
    assert [submits.begun(number) for number in range(5)] == [10, 10, 20, 20, 30]


def test_a_contender_is_warmed_up_before_each_measurement_but_for_what_is_to_be_cold() -> None:
    pretender = Pretender()
    for given in (COLD, NO_OP):
        found = measure(pretender, given, 1, os.getpid())
        assert (found.tasks, found.unended, found.tasks_per_second) == (given.tasks, 0, given.tasks / 2)
    assert pretender.done == ["chilled", COLD.name, WARM_UP.name, NO_OP.name]


def test_the_bare_calls_stand_beside_tasks_without_work_and_threads_beside_work_that_waits() -> None:
    here = Site(
        *[cast(Any, name) for name in ("stack", 1, "ours", "batch", "original", "Celery", "results", "threads")]
    )
    usual = ["ours", "batch", "original", "Celery", "results"]
    found = {given.name: [str(each) for each in here.contenders(given)] for given in FULL}
    beside = {name: each[len(usual) :] for name, each in found.items()}
    assert all(each[: len(usual)] == usual for each in found.values())
    assert {name: len(more) for name, more in beside.items() if more} == {NO_OP.name: 2, WORK.name: 1}
    assert beside[WORK.name] == ["threads"]


def test_the_bare_calls_are_named_with_what_they_write() -> None:
    small, large = ceiling.mix(NO_OP), ceiling.mix(replace(NO_OP, payload_bytes=10_000))
    assert list(small) == ["the bare calls", "the bare calls, batch"]
    assert "SendMessageBatch (10 x" in small["the bare calls, batch"]
    assert "per task: PutItem" in small["the bare calls"]
    sizes = [int(re.search(r"PutItem \((\d+) bytes\)", each["the bare calls"])[1]) for each in (small, large)]  # type: ignore[index]  # it is there
    assert sizes[1] - sizes[0] == 9_900


# What a machine did meanwhile. ----------------------------------------------------------------------------------------


def test_what_a_process_used_counts_although_it_has_ended() -> None:
    code = "import sys, time\nsys.stdin.readline()\nwhile time.process_time() < 0.5: pass\ntime.sleep(60)"
    busy = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, text=True)
    pids = [busy.pid]
    watch = Watch(lambda: pids)
    with watch:
        before = sum(psutil.Process(busy.pid).cpu_times()[:2])
        with busy:
            assert busy.stdin is not None
            print("go on", file=busy.stdin, flush=True)
            eventually(lambda: sum(psutil.Process(busy.pid).cpu_times()[:2]), lambda used: used >= before + 0.25)
            watch.look()
            busy.kill()
        pids.clear()
    assert watch.spent() >= 0.2
    assert watch.memory_mb > 1
    assert list(watch.seen) == [busy.pid]


# What is killed. ------------------------------------------------------------------------------------------------------


def test_only_a_process_that_has_begun_a_task_is_killed() -> None:
    idle, busy = (subprocess.Popen(["sleep", "60"]) for _ in range(2))
    begun = Counter({idle.pid: 3})
    try:
        killer = Killer(lambda: [idle.pid, busy.pid], lambda: Counter(begun))
        killer.strike()
        assert (killer.killed, idle.poll(), busy.poll()) == (0, None, None), "what it did before does not count"
        begun[busy.pid] += 1
        killer.strike()
        assert (killer.killed, idle.poll(), busy.wait()) == (1, None, -signal.SIGKILL)
    finally:
        idle.kill()
        idle.wait()


def test_the_runs_of_a_killing_are_added_up() -> None:
    tolls = [Toll("ours", 200, 1, 3, 0, 1, 12.5), Toll("ours", 200, 1, 2, 1, 0, 40.0)]
    assert summed(tolls) == Toll("ours", 400, 2, 5, 1, 1, 40.0)


def test_who_has_begun_is_read_beside_the_journal(tmp_path: Path) -> None:
    journal = tmp_path / "worked.txt"
    assert begun(journal) == Counter()
    (tmp_path / "worked.begun").write_text("12 task-1\n13 task-2\n12 task-3\n")
    assert begun(journal) == Counter({12: 2, 13: 1})


# What our own code takes. ---------------------------------------------------------------------------------------------


def test_the_handlers_run_over_canned_answers_and_their_time_is_told_by_package() -> None:
    found = profiled.measure(20)
    assert [each.what for each in found] == ["submit", "submit, batches of 100", "process, batches of 10"]
    assert [each.calls for each in found] == [
        {"PutItem": 1, "SendMessage": 1},
        {"PutItem": 1, "SendMessageBatch": 0.1},
        {"UpdateItem": 2.1},
    ]
    for each in found:
        assert each.cpu_ms > 0
        assert {"ours", "botocore", "standard library", "aws_lambda_powertools"} <= set(each.own_ms)
        assert "the benchmark" not in each.own_ms
        assert not any("/" in name for name in each.own_ms)


def test_every_task_over_canned_answers_comes_to_a_good_end() -> None:
    """Else it would be the refusals that are measured."""
    program = (
        "import json, tests.benchmarks.profiled as p\n"
        "from lambdas.common import aws\nfrom lambdas.process_task import handler as process\n"
        "from lambdas.submit_task import handler as submit\n"
        "aws.session().get_component('event_emitter').register('before-send.*.*', p.answers())\n"
        "said = [process.handle(p.received(0), p.Context())]\n"
        "said.append(submit.handle(p.submitted(0), p.Context())['statusCode'])\n"
        "said.append(submit.handle(p.submitted_together(0), p.Context())['body'])\n"
        "print(json.dumps(said))"
    )
    environment = {**profiled.SETTINGS, "LOG_LEVEL": "WARNING", "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    failures, single, together = json.loads(done.stdout.splitlines()[-1])
    assert failures == {"batchItemFailures": []}
    assert single == 202
    assert [each["status"] for each in json.loads(together)["results"]] == [202] * 100


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
    assert found["no-op tasks/s, batch / the bare calls, batch"].reached_is == pytest.approx((50 / 100 + 80 / 120) / 2)
    assert found["`make up`, nothing running, s"].reached
    assert not found["`make up`, nothing to do, s"].reached
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
        "tasks": 600,
        "runs": 3,
        "kills": 9,
        "lost": 2,
        "worked_twice": 0,
        "last_end_seconds": 33.5,
    }
    shown = (tmp_path / "index.html").read_text()
    assert "1.25" in shown
    assert "<svg" in shown
    assert "src=" not in shown
    assert "<link" not in shown


def test_the_page_shows_the_committed_summary() -> None:
    summary = json.loads(tables.SUMMARY.read_text())
    told = tables.PAGE.read_text()
    assert told == tables.filled(told, summary)
    for target in summary["targets"]:
        assert f"| {target['what']} | {target['reached_is']:,.2f} |" in told


def test_a_page_gets_the_tables_of_another_report_and_keeps_its_words(tmp_path: Path) -> None:
    a_report().write(tmp_path)
    page = (
        "Before.\n\n<!-- targets -->\nold\n<!-- end -->\n\nBetween.\n\n<!-- cpu -->\n<!-- end -->\n"
        "After.\n\n<!-- no_op -->\n<!-- end -->\n"
    )
    summary = json.loads((tmp_path / "summary.json").read_text())
    filled = tables.filled(page, summary)
    assert tables.filled(filled, summary) == filled
    assert "old" not in filled
    assert "| `make up`, nothing to do, s | 1.25 | at most 1 | **no** |" in filled
    assert "| submit | PutItem 1 | 0.75 | 1.50 | 0.25 |" in filled
    assert "| ours | 65.0 | 75.0 | 10 / 20 / 30 | 0.50 / 0.90 | 8.0 / 7.0 | 50 |" in filled, "medians of 50 and 80"
    assert [line for line in filled.splitlines() if line and line[0] not in "|<"] == ["Before.", "Between.", "After."]


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
