"""A chaos run's own parts: the plan is a pure function, the journal loses nothing, each broken guarantee is seen."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bootstrap.errors import BootstrapError
from bootstrap.paths import ROOT
from lambdas.common import aws, transitions
from lambdas.common.task import Claim, IndexClass, Message, Status, Task, TimelineEntry
from tests.chaos import happened, page, report, verdict
from tests.chaos.__main__ import wish
from tests.chaos.handler import operation
from tests.chaos.happened import Planned
from tests.chaos.history import told
from tests.chaos.journal import Journal, task_id
from tests.chaos.plan import CHANCES, LATE_SECONDS, LATER_MESSAGE, SKEWS_MS, Plan
from tests.chaos.run import Look, Run
from tests.chaos.verdict import Breach, Facts
from tests.support.dynamodb import FakeDynamoDB, task_store
from tests.support.tasks import NOW, a_task, processing

ID = task_id("chaos", 7)

# The plan. -----------------------------------------------------------------------------------------------------------


def faults_of(plan: Plan, tasks: int = 100) -> list[tuple[int, str, int, str]]:
    calls = {(task, name): 6 for task in range(tasks) for name in CHANCES}
    return list(plan.planned(calls))


def test_the_same_seed_plans_the_same_faults_and_another_seed_others() -> None:
    assert faults_of(Plan(1)) == faults_of(Plan(1))
    assert faults_of(Plan(1)) != faults_of(Plan(2))


def test_a_plan_does_not_depend_on_the_order_in_which_it_is_asked() -> None:
    forwards = {(task, nth): Plan(3).fault(task, "claim", nth) for task in range(200) for nth in (1, 2, 3)}
    backwards = {(task, nth): Plan(3).fault(task, "claim", nth) for nth in (3, 2, 1) for task in reversed(range(200))}
    assert forwards == backwards
    assert set(forwards.values()) > {None, "lost-ack"}


def test_every_fault_of_every_operation_is_planned_somewhere() -> None:
    planned = {(name, fault) for _, name, _, fault in faults_of(Plan(5), tasks=2_000)}
    assert planned == {(name, fault) for name, (weights, _) in CHANCES.items() for fault in weights}


def test_a_task_may_lose_its_first_message_and_keeps_the_later_ones() -> None:
    met = Counter((nth > 1, Plan(1).fault(task, "message", nth)) for task in range(500) for nth in range(1, 9))
    assert set(met) == {(False, "lost"), *((later, fault) for later in (False, True) for fault in LATER_MESSAGE)}


def test_a_request_that_lands_late_does_so_after_its_client_has_given_up() -> None:
    late = [Plan(1).late_seconds(task, "put", 1) for task in range(500)]
    assert late == [Plan(1).late_seconds(task, "put", 1) for task in range(500)]
    assert LATE_SECONDS[0] <= min(late) < max(late) <= LATE_SECONDS[1]
    assert LATE_SECONDS[0] > vars(aws.CONFIG)["read_timeout"]


def test_without_intensity_nothing_goes_wrong() -> None:
    calm = Plan(1, intensity=0)
    assert faults_of(calm) == []
    assert {calm.skew_ms(nth) for nth in range(1, 9)} == {0}
    assert {Plan(1).skew_ms(nth) for nth in range(1, 9)} == set(SKEWS_MS)


# The journal. --------------------------------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from tests.chaos.journal import Journal
journal = Journal(Path(sys.argv[1]))
for number in range(500):
    journal.write("start", task=f"chaos-{number:06d}", nth=journal.next("claims", 3))
"""


def test_several_processes_write_whole_lines_and_count_every_call(tmp_path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)]) for _ in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    journal = Journal(tmp_path)
    assert sorted(line["nth"] for line in journal.read()) == list(range(1, 1501))
    assert journal.counts("claims") == [0, 0, 0, 1500]
    assert (len(journal.new()), journal.new()) == (1500, [])


def test_a_line_half_written_is_counted_once_whole(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write("fault", nth=1)
    half, rest = b'\n{"at": 1, "event": "fault", ', b'"nth": 2}\n'
    with (tmp_path / "journal.jsonl").open("ab", buffering=0) as lines:
        lines.write(half)
        assert [line["nth"] for line in journal.new()] == [1]
        lines.write(rest)
        assert [line["nth"] for line in journal.new()] == [2]
    assert [line["nth"] for line in journal.read()] == [1, 2]


def test_a_writer_killed_within_a_line_spoils_no_other(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write("fault", nth=1)
    with (tmp_path / "journal.jsonl").open("ab", buffering=0) as lines:
        lines.write(b'\n{"at": ')
    journal.write("fault", nth=2)
    assert [line["nth"] for line in journal.new()] == [1, 2]
    assert [line["nth"] for line in journal.read()] == [1, 2]


# What a request is. --------------------------------------------------------------------------------------------------


class Requests(FakeDynamoDB):
    """Keeps the updates as they go out."""

    def __init__(self) -> None:
        super().__init__()
        self.updates: list[str] = []

    def update_item(self, **request: Any) -> dict[str, Any]:
        self.updates.append(json.dumps(request, default=sorted))
        return super().update_item(**request)


def test_each_write_of_a_worker_is_known_by_its_request() -> None:
    row = processing()
    writes = {
        "claim": transitions.claim(Claim(Message(row.task_id, 1), "message", "token", NOW, NOW + 1)),
        "complete": transitions.complete(row, NOW, "{}", NOW),
        "retry": transitions.retry(row, NOW, "Oops", NOW + 1),
        "die": transitions.die(row, NOW, "Oops"),
        "bury": transitions.bury(row, NOW, "Oops", "token"),
        "hand_back": transitions.hand_back(row, "message", NOW, "token"),
        "mark_sent": transitions.mark_sent(row, NOW),
        "mark_recorded": transitions.mark_recorded(row, NOW, "token"),
        "cancel": transitions.cancel(row, NOW, NOW, "token"),
        "replay": transitions.replay(row, NOW, "token"),
    }
    functions = {
        **dict.fromkeys(("hand_back", "mark_recorded"), "MonitorDlq"),
        **dict.fromkeys(("cancel", "replay"), "SteerTasks"),
        "mark_sent": "SweepTasks",
    }
    for name, write in writes.items():
        client = Requests()
        task_store(client).apply(write)
        [body] = client.updates
        assert operation(functions.get(name, "ProcessTask"), "UpdateItem", body) == name


# The verdict. --------------------------------------------------------------------------------------------------------


def history(*statuses: str, generations: tuple[int, ...] = ()) -> tuple[TimelineEntry, ...]:
    numbers = generations or (1,) * len(statuses)
    return tuple(TimelineEntry(NOW + at, status, numbers[at]) for at, status in enumerate(statuses))


COMPLETED = a_task(
    task_id=ID,
    status=Status.COMPLETED,
    index_class=IndexClass.COMPLETED,
    attempts=1,
    payload='{"number": 7}',
    timeline=history("SUBMITTED", "PROCESSING", "COMPLETED"),
)
DEAD = replace(
    COMPLETED,
    status=Status.FAILED_FINAL,
    index_class=IndexClass.RECORDED,
    attempts=3,
    max_attempts=3,
    error="Failed: attempt 3",
    timeline=history("SUBMITTED", *("PROCESSING", "FAILED_PENDING") * 2, "PROCESSING", "FAILED_FINAL"),
)
OPEN = processing(task_id=ID, payload=COMPLETED.payload, timeline=history("SUBMITTED", "PROCESSING"))
DEAD_AT_ONCE = replace(DEAD, attempts=1, timeline=history("SUBMITTED", "PROCESSING", "FAILED_FINAL"))
START = {"event": "start", "task": ID, "generation": 1, "attempt": 1, "at": NOW, "pid": 7}


def answer(to: str, status: int) -> dict[str, Any]:
    return {"event": "answer", "task": ID, "to": to, "status": status, "at": NOW, "pid": 7}


FAULTS = [Planned(ID, "claim", nth, "reset") for nth in range(1, 6)]
OTHERS = [Planned(ID, "retry", nth, "reset") for nth in range(1, 6)]


def line_of(planned: Planned, event: str = "fault", **changes: Any) -> dict[str, Any]:
    return {"event": event, **planned._asdict(), "at": NOW, "pid": 7, **changes}


def facts(task: Task | None = COMPLETED, **changes: Any) -> Facts:
    known: dict[str, Any] = {
        "accepted": frozenset({ID}),
        "unknown": frozenset(),
        "tasks": {} if task is None else {ID: task},
        "letters": {ID: [1]} if task is not None and task.status is Status.FAILED_FINAL else {},
        "effects": {ID: 1} if task is not None and task.status is Status.COMPLETED else {},
        "cancels": frozenset(),
        "lines": [START],
    }
    return Facts(**{**known, **changes})


RIGHT = {
    "completed": facts(),
    "dead and recorded": facts(DEAD),
    "answered as it should be, or not at all": facts(
        lines=[START, answer("submit", 202), *map(answer, (*verdict.WANTED, *verdict.WANTED), (200, 409, 400, 0, 0, 0))]
    ),
    "dead for good on the first attempt": facts(replace(DEAD_AT_ONCE, error="PermanentError: no")),
    "cancelled": facts(
        replace(
            COMPLETED,
            status=Status.CANCELLED,
            index_class=IndexClass.CANCELLED,
            attempts=0,
            timeline=history("SUBMITTED", "CANCELLED"),
        ),
        effects={},
        cancels=frozenset({ID}),
        lines=[],
    ),
    "of unknown outcome and not there": facts(None, accepted=frozenset(), unknown=frozenset({ID}), lines=[]),
    "dead, replayed and completed": facts(
        replace(
            COMPLETED,
            generation=2,
            timeline=history(
                "SUBMITTED",
                "PROCESSING",
                "FAILED_FINAL",
                "SUBMITTED",
                "PROCESSING",
                "COMPLETED",
                generations=(1, 1, 1, 2, 2, 2),
            ),
        ),
        letters={ID: [1]},
        lines=[START, {**START, "generation": 2}],
    ),
}
WRONG: Mapping[str, tuple[str, Facts]] = {
    "accepted and gone": ("lost", facts(None)),
    "completed without its effect": ("lost", facts(effects={})),
    "its effect written twice": ("double", facts(effects={ID: 2})),
    "dead, and its effect written": ("double", facts(DEAD, effects={ID: 1})),
    "an effect without a row": ("double", facts(None, accepted=frozenset(), effects={ID: 1})),
    "one attempt begun twice": ("double", facts(lines=[START, START])),
    "an attempt too many": ("double", facts(lines=[{**START, "attempt": COMPLETED.max_attempts + 1}])),
    "open": ("stuck", facts(OPEN)),
    "dead and not recorded": ("stuck", facts(replace(DEAD, index_class=IndexClass.DEAD))),
    "cancelled by nobody": ("wrong-terminal", replace(RIGHT["cancelled"], cancels=frozenset())),
    "dead before its last attempt": ("wrong-terminal", facts(DEAD_AT_ONCE)),
    "dead without a letter": ("dead-letter", facts(DEAD, letters={})),
    "a letter of a task that lives": ("dead-letter", facts(letters={ID: [1]})),
    "the letter of another generation": ("dead-letter", facts(DEAD, letters={ID: [2]})),
    "an end that was left": (
        "history",
        facts(replace(COMPLETED, timeline=history("SUBMITTED", "PROCESSING", "COMPLETED", "COMPLETED"))),
    ),
    "a generation that nobody began": (
        "history",
        facts(replace(COMPLETED, timeline=history("SUBMITTED", "PROCESSING", "COMPLETED", generations=(1, 2, 2)))),
    ),
    "another status than its timeline": (
        "history",
        facts(replace(COMPLETED, timeline=history("SUBMITTED", "PROCESSING"))),
    ),
    "an attempt without its claim": ("history", facts(lines=[START, {**START, "attempt": 2}])),
    "more attempts than claims": ("history", facts(replace(COMPLETED, attempts=2))),
    "begun and gone": ("lost", facts(None, accepted=frozenset(), unknown=frozenset({ID}))),
    "a fault planned again and again, and never met": ("run", facts(planned=[*FAULTS, *OTHERS], lines=[START])),
    "a fault that only one operation never meets": (
        "run",
        facts(planned=[*FAULTS, *OTHERS], lines=[START, *map(line_of, OTHERS)]),
    ),
    "another body taken": ("answer", facts(lines=[START, answer("other body", 200)])),
    "another body kept": ("answer", facts(replace(COMPLETED, payload='{"number": -8}'))),
    "a bad request taken": ("answer", facts(lines=[START, answer("bad request", 202)])),
    "a good one refused": ("answer", facts(lines=[START, answer("submit", 409)])),
    "one id that is new twice": ("answer", facts(lines=[START, answer("submit", 202), answer("submit", 202)])),
    "submitted by nobody": ("phantom", facts(others=["chaos-999999"])),
    "a message left": ("queue", facts(messages_left=1)),
}


@pytest.mark.parametrize("case", RIGHT.values(), ids=RIGHT.keys())
def test_a_right_end_breaks_nothing(case: Facts) -> None:
    assert verdict.breaches(case) == []


@pytest.mark.parametrize(("kind", "case"), WRONG.values(), ids=WRONG.keys())
def test_a_broken_guarantee_is_seen(kind: str, case: Facts) -> None:
    assert kind in {breach.kind for breach in verdict.breaches(case)}


def test_no_claim_is_missed_of_a_generation_that_the_timeline_has_no_room_for() -> None:
    timeline = history("SUBMITTED", "PROCESSING", "COMPLETED", generations=(2, 2, 2))
    cut = facts(replace(COMPLETED, generation=2, timeline=timeline), lines=[START, {**START, "generation": 2}])
    assert not [breach for breach in verdict.breaches(cut) if "claim" in breach.text]


def test_a_run_waits_for_the_sweeper_as_long_as_it_can_have_lost_messages() -> None:
    silent = a_task(task_id=ID, status=Status.FAILED_PENDING, next_attempt_at=NOW, sent_at=NOW)
    lost = [replace(silent, sends=sends) for sends in range(verdict.MOST_SENDS + 2)]
    assert [verdict.resent_by([task], 1000) - NOW for task in lost[:-1]] == [1000, 4000, 16_000, 64_000]
    assert verdict.resent_by([COMPLETED, lost[0], lost[2]], 1000) == NOW + 16_000
    assert verdict.resent_by([COMPLETED, DEAD, lost[-1]], 1000) == 0


def test_what_is_open_when_a_run_is_interrupted_is_not_stuck_and_what_is_lost_is_lost() -> None:
    _, stuck = WRONG["open"]
    _, left = WRONG["a message left"]
    _, lost = WRONG["accepted and gone"]
    assert verdict.breaches(replace(stuck, ended=False)) == []
    assert verdict.breaches(replace(left, ended=False)) == []
    assert [breach.kind for breach in verdict.breaches(replace(lost, ended=False))] == ["lost"]


def test_a_task_that_completes_twice_is_seen_while_the_run_goes_on_and_told_once() -> None:
    effects = {ID: 2, "chaos-000008": 1}
    assert [breach.task_id for breach in verdict.of_effects(effects)] == [ID]
    assert list(verdict.of_effects(effects, told=[ID])) == []


# What did not happen. ------------------------------------------------------------------------------------------------

UNMET = FAULTS[1]
DUE = line_of(UNMET, "due", at=NOW + 10)
ENDED_BY = {**line_of(FAULTS[0], at=NOW), "fault": "crash-after"}
WHY: Mapping[str, tuple[bool, list[dict[str, Any]]]] = {
    "its process was ended by another fault": (True, [ENDED_BY, DUE]),
    "the same, a moment later": (True, [DUE, {**ENDED_BY, "at": NOW + 20}]),
    "another process was ended": (False, [{**ENDED_BY, "pid": 8}, DUE]),
    "another fault came over its process and did not end it": (False, [{**ENDED_BY, "fault": "reset"}, DUE]),
    "the time-out of the function ended its process": (True, [{**ENDED_BY, "fault": "hang", "at": NOW - 9_000}, DUE]),
    "its process was to end long before": (False, [{**ENDED_BY, "at": NOW - 9_000}, DUE]),
    "its process went on": (False, [ENDED_BY, DUE, {**START, "at": NOW + 5_000}]),
    "its process was ended later": (False, [DUE, {**ENDED_BY, "at": NOW + 5_000}]),
    "nobody was about to meet it": (False, [ENDED_BY]),
}


@pytest.mark.parametrize(("explained", "lines"), WHY.values(), ids=WHY.keys())
def test_a_fault_that_did_not_happen_is_explained_only_by_the_end_of_its_own_process(
    explained: bool, lines: list[dict[str, Any]]
) -> None:
    assert happened.pending(FAULTS[:2], [line_of(FAULTS[0]), *lines]) == {UNMET}
    assert happened.explained({UNMET}, lines) == ({UNMET} if explained else set())


def test_a_fault_planned_a_few_times_may_never_happen() -> None:
    assert list(happened.silent(FAULTS[:4], [])) == []
    assert list(happened.silent(FAULTS, [line_of(FAULTS[4])])) == []


# The history of a breach. --------------------------------------------------------------------------------------------


def test_the_whole_history_of_a_lost_task_is_told() -> None:
    lost = facts(None, lines=[{"event": "accepted", "task": ID, "at": NOW, "pid": 7}, START])
    found = [Breach("queue", "-", "2 messages are left at rest"), *verdict.breaches(lost)]
    [(head, lines)] = told(lost, found)
    assert head == f"lost: {ID} was accepted, and is in no row. Its whole history:"
    assert lines == [
        f"{NOW} accepted pid=7",
        f"{NOW} start generation=1 attempt=1 pid=7",
        "row: there is none",
        "dead letters: [], effects: 0",
    ]
    assert list(told(lost, found[:1])) == []


CHANGES = {
    "left its end": (DEAD, replace(DEAD, status=Status.PROCESSING), True),
    "begun generation 2": (DEAD, replace(DEAD, status=Status.SUBMITTED, generation=2), False),
    "attempts fell": (processing(attempts=2), processing(attempts=1), True),
    "generation fell": (replace(DEAD, generation=2), DEAD, True),
}


@pytest.mark.parametrize(("said", "case"), CHANGES.items())
def test_what_must_not_happen_between_two_looks_is_seen(said: str, case: tuple[Task, Task, bool]) -> None:
    assert [said in breach.text for breach in verdict.of_change(*case)] == [True]


def test_a_replay_may_begin_a_generation() -> None:
    assert not list(verdict.of_change(DEAD, replace(DEAD, status=Status.SUBMITTED, generation=2, attempts=0), True))


# The report. ---------------------------------------------------------------------------------------------------------


def test_the_report_tells_planned_from_happened_and_its_page_needs_nothing_from_outside(tmp_path: Path) -> None:
    plan, journal = Plan(1), Journal(tmp_path)
    struck = next(task for task in range(500) if plan.fault(task, "claim", 1) == "throttled")
    for operation_name in ("put", "claim", "complete"):
        journal.next(f"chaos.{operation_name}", struck)
        journal.next(f"calm.{operation_name}", 0)
    met, unmet = Planned(ID, "claim", 1, "throttled"), Planned(ID, "claim", 2, "throttled")
    seen = facts(lines=[START, line_of(met, at=NOW - 500)], planned=[met, unmet])
    run = Run(None, plan, journal, 1, 1, print)  # type: ignore[arg-type]  # no stack: nothing is run
    run.looks.append(Look(1.0, 1, Counter(COMPLETED=1, SUBMITTED=2), 1, 0))

    made = report.made(wish({"COUNT": "20", "SEED": "1"}), run, seen, [], interrupted=False)

    claims = [line for line in made["faults"] if line["operation"] == "claim"]
    counts = {"planned": 2, "fired": 1, "explained": 0, "unexplained": 1, "recovered": 1}
    assert claims == [{"operation": "claim", "fault": "throttled", **counts}]
    summary = report.summary(made)
    assert summary["faults"] == {"planned": 2, "fired": 1, "explained": 0, "unexplained": 1}
    assert (summary["kinds_of_fault"], summary["most_open"]) == (1, 2)
    assert made["recovery_ms"]["throttled"] == {"tasks": 1, "p50": 500, "p95": 500, "max": 500}
    assert (made["lost_share_at_most"], made["calls_per_task"]["claim"]) == (3.0, {"calm": 1.0, "chaos": 1.0})
    html = page.of(made)
    assert "Every guarantee was kept" in html
    assert html.count("<svg") == len(page.PLOTS)
    assert "src=" not in html
    assert "<script" not in html


@pytest.mark.parametrize(("name", "value"), [("COUNT", "5"), ("COUNT", "many"), ("SEED", "-1"), ("CONCURRENCY", "0")])
def test_a_wrong_wish_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(BootstrapError, match=f"{name} is '{value}'"):
        wish({name: value})


def test_the_proof_quotes_the_committed_summary() -> None:
    kept = json.loads((ROOT / "docs/chaos.json").read_text())
    largest = (ROOT / "docs/proof.md").read_text().partition("The largest run so far")[2]
    assert not any(kept["broken"].values())
    names = ("submitted", "accepted", "unknown", "unknown_but_there", "attempts", "receives", "landed_late", "died")
    counts = [kept[name] for name in (*names, "replayed", "kinds_of_fault", "pairs_of_operation_and_fault")]
    counts += [*kept["faults"].values(), *kept["ends"].values(), kept["outside_effects"]["tasks"]]
    counts += [
        kept["answers"]["bad request"]["400"],
        kept["answers"]["other body"]["409"],
        round(kept["most_open"], -2),
    ]
    calm, chaos = kept["calls_per_task"]["calm"], kept["calls_per_task"]["chaos"]
    p50, p95, longest = (kept["recovery_all_ms"][name] / 1000 for name in ("p50", "p95", "max"))
    figures = [
        *(f"{count:,}" for count in counts),
        f"`make chaos COUNT={kept['count']} SEED={kept['seed']}`, {kept['seconds']:.0f} s",
        f"{kept['lost_share_at_most'] * 100:.3f} %",
        f"{chaos:.2f}, against {calm:.2f} without faults",
        f"p50 {p50:.1f} s, p95 {p95:.0f} s, max {longest:.0f} s",
    ]
    assert [figure for figure in figures if figure not in largest] == []
