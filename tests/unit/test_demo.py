"""The demo: its killer, its replay, its account, and what it says when it is interrupted."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bootstrap import console
from client import ApiError
from lambdas.common import kinds
from lambdas.common.decisions import WORKER_DIED
from lambdas.common.rows import DeadLetter
from lambdas.common.task import IndexClass, Status, Task, TimelineEntry
from lambdas.process_task import kinds as kinds_package
from scripts import demo, picture
from scripts.demo import DOOMED, Account, Killer, plan, tell_how_to_go_on
from scripts.ledger import Ledger
from scripts.movement import Interrupted
from scripts.replay import ROUNDS, Replay
from tests.support.dynamodb import FakeDynamoDB, task_store
from tests.support.tasks import NOW, SECOND, a_task, dead


def worked_on(task_id: str, *statuses: Status, note: str | None = None) -> Task:
    """A task with these statuses, two seconds apart; NOW is the moment of the first claim."""
    moments = [NOW + 2 * SECOND * at for at in range(-1, len(statuses))]
    entries = [TimelineEntry(at, status, 1) for at, status in zip(moments, (Status.SUBMITTED, *statuses), strict=True)]
    timeline = (*entries[:-1], replace(entries[-1], note=note))
    return a_task(task_id=task_id, status=statuses[-1], updated_at=moments[-1], timeline=timeline)


DONE = worked_on("done", Status.PROCESSING, Status.COMPLETED)
BUSY = worked_on("busy", Status.PROCESSING)
AT_WORK = [DONE, BUSY]
OTHER = replace(BUSY, updated_at=NOW + 5 * SECOND)
"""Begun by another worker, well after the kill."""


def seen(*tasks: Task) -> Ledger:
    return Ledger([task.task_id for task in tasks], {task.task_id: task for task in tasks})


class FakeWorkers:
    def __init__(self, *pids: int, gone: bool = False) -> None:
        self.pids, self.killed, self.gone = list(pids), list[int](), gone

    def of(self, function_name: str) -> list[int]:
        return self.pids if function_name == "dev-process-task" else []

    def kill(self, pid: int) -> bool:
        if not self.gone:
            self.killed.append(pid)
        return not self.gone


def killer(workers: FakeWorkers, kills: int = 1) -> Killer:
    return Killer(lambda: workers, "dev-process-task", kills, lambda: NOW)  # type: ignore[arg-type, return-value]


NOBODY = ["no worker that held a task was killed"]


@pytest.mark.parametrize("quiet", [[DONE], [BUSY]], ids=["nothing at work", "nothing done"])
def test_nobody_is_killed_before_the_work_is_in_full_swing(quiet: list[Task]) -> None:
    workers = FakeWorkers(11)
    killer(workers).look(seen(*quiet))
    assert workers.killed == []


@pytest.mark.parametrize(
    "taken_over",
    [
        worked_on("busy", Status.PROCESSING, Status.PROCESSING),
        worked_on("busy", Status.PROCESSING, Status.PROCESSING, Status.COMPLETED),
        worked_on("busy", Status.PROCESSING, Status.FAILED_FINAL, note=WORKER_DIED),
    ],
    ids=["claimed again", "claimed again and completed", "given up"],
)
def test_one_worker_is_killed_once_and_counts_when_its_task_is_taken_over(taken_over: Task) -> None:
    workers = FakeWorkers(11, 12)
    one = killer(workers)
    for _ in range(3):
        one.look(seen(*AT_WORK))
    assert (workers.killed, one.told(), one.problems()) == ([11], "0 worker killed, ", NOBODY)
    for _ in range(3):
        one.look(seen(DONE, taken_over))
    assert (workers.killed, one.told(), one.problems()) == ([11], "1 worker killed, ", [])


def test_a_worker_that_held_no_task_does_not_count_and_another_one_is_killed() -> None:
    workers = FakeWorkers(11, 12)
    one = killer(workers)
    one.look(seen(*AT_WORK))
    one.look(seen(DONE, worked_on("busy", Status.PROCESSING, Status.FAILED_PENDING), OTHER))
    assert (workers.killed, one.told(), one.problems()) == ([11], "0 worker killed, ", NOBODY)
    one.look(seen(DONE, OTHER))
    assert workers.killed == [11, 11]


def test_without_an_order_nobody_is_looked_for() -> None:
    workers = FakeWorkers(11)
    one = killer(workers, kills=0)
    one.look(seen(*AT_WORK))
    assert (workers.killed, one.told(), one.problems()) == ([], "", [])
    assert (plan({}).kills, plan({"KILL": "1"}).kills) == (0, 1)


def test_how_to_go_on_is_told_without_the_key(capsys: pytest.CaptureFixture[str]) -> None:
    tell_how_to_go_on({"api_url": "http://here/tasks", "api_key": "the-key-itself"})
    said = capsys.readouterr().out
    assert "outputs --key" in said
    assert "the-key-itself" not in said


# The replay. ----------------------------------------------------------------------------------------------------------


class World:
    """A table whose replayed tasks end at once: as `ends` says of the task and its generation, else COMPLETED."""

    def __init__(self, *ids: str, ends: Mapping[tuple[str, int], Status] | None = None) -> None:
        self.client = FakeDynamoDB()
        self.store = task_store(self.client)
        self.ids = list(ids)
        self.ends = ends or {}
        self.asked: list[tuple[str, int]] = []
        self.unavailable = Counter[tuple[str, int]]()
        for task_id in ids:
            self.put(dead(task_id=task_id, index_class=IndexClass.RECORDED))

    def put(self, task: Task) -> None:
        """Whatever row there was, this is the row now; a dead one has its dead letter."""
        self.client.delete_item(TableName="tasks", Key={"PK": {"S": f"T#{task.task_id}"}, "SK": {"S": "A"}})
        assert self.store.create(task, "{}", NOW)
        if task.status is Status.FAILED_FINAL:
            self.store.record(a_letter(task), NOW)

    def redrive(self, task_id: str, generation: int) -> int:
        self.asked.append((task_id, generation))
        if self.unavailable[task_id, generation]:
            self.unavailable[task_id, generation] -= 1
            raise ApiError(503, "unavailable", "try again")
        status = self.ends.get((task_id, generation + 1), Status.COMPLETED)
        self.put(ended(task_id, generation + 1, status))
        return generation + 1

    def replay(self) -> Replay:
        return Replay(self.ids, self.redrive, concurrency=1)

    def ledger(self) -> Ledger:
        return Ledger.read(self.store, self.ids)

    def account(self, replay: Replay, **changes: Any) -> Account:
        ledger = self.ledger()
        fields: dict[str, Any] = {
            "ledger": ledger,
            "dead": ledger.dead(self.store),
            "not_accepted": [],
            "doomed": "doomed",
            "killer": killer(FakeWorkers(), kills=0),
            "replay": replay,
        }
        return Account(**{**fields, **changes})


def replayed(world: World) -> Replay:
    replay = world.replay()
    replay.until_done(world.store, 0, "")
    return replay


CLASSES = {
    Status.COMPLETED: IndexClass.COMPLETED,
    Status.FAILED_FINAL: IndexClass.RECORDED,
    Status.CANCELLED: IndexClass.CANCELLED,
    Status.SUBMITTED: IndexClass.OPEN,
}


def ended(task_id: str, generation: int, status: Status) -> Task:
    return a_task(task_id=task_id, generation=generation, status=status, index_class=CLASSES[status])


def a_letter(task: Task) -> DeadLetter:
    return DeadLetter(task.task_id, task.generation, "simulated", "Oops: it failed", 3, 4, "m", None, NOW, NOW, NOW)


def test_every_dead_task_is_replayed_once_and_completes() -> None:
    world = World("doomed", "one")
    replay = replayed(world)
    account = world.account(replay)
    assert world.asked == [("doomed", 1), ("one", 1)]
    assert account.problems() == []
    assert account.told() == (
        "2 accepted, 2 accounted for, 0 lost; 2 failed for good, 2 dead letters, 2 replayed, 2 completed."
    )


def test_a_task_that_dies_again_is_replayed_again_and_both_deaths_are_counted() -> None:
    world = World("doomed", "one", ends={("one", 2): Status.FAILED_FINAL})
    replay = replayed(world)
    account = world.account(replay)
    assert world.asked == [("doomed", 1), ("one", 1), ("one", 2)]
    assert account.problems() == []
    assert account.told() == (
        "2 accepted, 2 accounted for, 0 lost; 2 failed for good, 1 more in replays, 3 dead letters, "
        "2 replayed, 2 completed."
    )


def test_a_task_that_dies_every_time_stays_dead_after_a_bound_and_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    ends = {("one", generation): Status.FAILED_FINAL for generation in range(2, 20)}
    world = World("doomed", "one", ends=ends)
    replay = replayed(world)
    account = world.account(replay)
    replay.show(account.ledger)
    assert world.asked == [("doomed", 1), *(("one", generation) for generation in range(1, ROUNDS + 1))]
    assert account.problems() == []
    assert account.told().endswith("2 failed for good, 3 more in replays, 5 dead letters, 2 replayed, 1 completed.")
    assert "Still dead after 3 replays: 1 dead task; one more: make redrive TASK=one" in capsys.readouterr().out


def test_a_replay_that_never_succeeds_is_a_problem() -> None:
    world = World("doomed", "one")
    world.unavailable["one", 1] = ROUNDS
    account = world.account(replayed(world))
    assert account.problems() == ["not replayed: one: 503 unavailable: try again"]
    assert account.told().endswith("2 dead letters, 1 replayed, 1 completed.")


# The account. ---------------------------------------------------------------------------------------------------------


def not_ended(world: World) -> None:
    world.put(ended("one", 2, Status.SUBMITTED))


def gone(world: World) -> None:
    world.client.delete_item(TableName="tasks", Key={"PK": {"S": "T#one"}, "SK": {"S": "A"}})


def not_recorded(world: World) -> None:
    world.client.delete_item(TableName="tasks", Key={"PK": {"S": "T#one"}, "SK": {"S": "D#000001"}})


def replayed_by_somebody_else(world: World) -> None:
    world.store.record(a_letter(dead(task_id="one", generation=2)), NOW)
    world.put(ended("one", 3, Status.COMPLETED))


@pytest.mark.parametrize(
    ("happens", "problem"),
    [
        (not_ended, "not ended: one is SUBMITTED"),
        (gone, "lost: no row for accepted task one"),
        (not_recorded, "one died in generation 1 with 0 dead-letter records, not 1"),
        (replayed_by_somebody_else, "one was replayed as generation 2, but is in 3"),
    ],
)
def test_what_happens_to_a_replayed_task_is_a_problem(happens: Callable[[World], None], problem: str) -> None:
    world = World("doomed", "one")
    replay = replayed(world)
    happens(world)
    assert world.account(replay).problems() == [problem]


@pytest.mark.parametrize(
    ("task", "found"),
    [
        (ended("doomed", 1, Status.COMPLETED), "is COMPLETED, with 0 deaths"),
        (dead(task_id="doomed", index_class=IndexClass.RECORDED), "is FAILED_FINAL, with 1 deaths"),
        (ended("doomed", 2, Status.CANCELLED), "is CANCELLED, with 1 deaths"),
    ],
    ids=["never died", "not replayed", "cancelled"],
)
def test_the_doomed_task_must_die_once_and_complete_when_it_is_replayed(task: Task, found: str) -> None:
    world = World("doomed")
    world.put(task)
    expected = f"doomed was to die once and to complete when replayed, but {found}"
    assert world.account(world.replay()).problems() == [expected]


def test_what_was_not_accepted_and_whom_nobody_killed_are_problems() -> None:
    world = World("doomed")
    replay = replayed(world)
    account = world.account(replay, not_accepted=["one: 503"], killer=killer(FakeWorkers()))
    assert account.problems() == ["not accepted: one: 503", *NOBODY]


def test_only_an_account_without_problems_is_a_success(capsys: pytest.CaptureFixture[str]) -> None:
    world = World("doomed", "one")
    replay = replayed(world)
    assert demo.verdict(world.account(replay))
    not_ended(world)
    assert not demo.verdict(world.account(replay))
    said = capsys.readouterr()
    assert "2 accepted, 1 accounted for, 0 lost" in said.out
    assert "error: not ended: one is SUBMITTED" in said.err


# Interrupted. ---------------------------------------------------------------------------------------------------------


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_replayed_tasks_that_go_on_are_counted_when_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World("doomed", "one", ends={("one", 2): Status.SUBMITTED})
    monkeypatch.setattr("scripts.movement.time.sleep", interrupt)
    with pytest.raises(Interrupted) as stopped:
        world.replay().until_done(world.store, 60, "")
    assert stopped.value.told == (
        "2 of 2 dead tasks replayed; of these, 1 of 2 tasks have ended, 1 go on without the demo"
    )


def test_an_interrupted_demo_exits_with_130_and_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> bool:
        raise Interrupted("1 of 2 dead tasks replayed", demo.how_to_go_on(datetime(2030, 1, 1, tzinfo=UTC)))

    monkeypatch.delenv("SVG", raising=False)
    monkeypatch.setattr(demo, "demo", interrupted)
    assert demo.main() == 130
    said = capsys.readouterr().err
    assert "Interrupted: 1 of 2 dead tasks replayed." in said
    assert "`make redrive SINCE=2030-01-01T00:00:00.000Z` replays it" in said


# What is seen. --------------------------------------------------------------------------------------------------------


IN_COLOUR = {"FORCE_COLOR": "1", "TTY_INTERACTIVE": "0", "TERM": "xterm"}


@pytest.mark.parametrize(
    ("environment", "coloured", "plain"),
    [(IN_COLOUR, True, False), ({**IN_COLOUR, "NO_COLOR": "1"}, False, False), ({"TERM": "xterm"}, False, True)],
    ids=["terminal", "NO_COLOR", "no terminal"],
)
def test_progress_is_coloured_only_where_that_is_wanted(
    environment: Mapping[str, str], coloured: bool, plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, seen = World("doomed"), io.StringIO()
    monkeypatch.setattr(console, "out", Console(file=seen, _environ=environment))
    replayed(world)
    assert ("\x1b[32mcompleted 1" in seen.getvalue()) is coloured
    assert ("\x1b" not in seen.getvalue()) is plain
    assert "completed 1" in seen.getvalue()


PRINTED = "Target embedded.\nAPI URL: x\n`make outputs` shows the API key.\n\x1b[32mone\x1b[0m <two> & three\n"


def test_the_picture_leaves_out_the_deploy_and_asks_no_other_place_for_anything() -> None:
    drawn = picture.svg("make demo", picture.without_deploy(PRINTED))
    assert "Target" not in drawn
    assert all(word in drawn for word in ("make&#160;demo", "one", "&lt;two&gt;&#160;&amp;&#160;three", "#98a84b"))
    assert [line for line in drawn.splitlines() if "url(" in line and "url(#" not in line] == []
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", "").replace("https://www.textualize.io", "")


@pytest.mark.parametrize("code", [0, 3])
def test_only_a_run_that_succeeds_is_drawn(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = f"import os, sys; print('SVG' in os.environ, os.environ['FORCE_COLOR']); sys.exit({code})"
    (tmp_path / "a_run.py").write_text(program, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("SVG", "set")
    file = tmp_path / "a.svg"
    assert picture.of_module("a_run", "make it", file) == code
    assert capsys.readouterr().out == "False 1\n"
    assert file.exists() is (code == 0)


def test_the_doomed_payload_is_one_that_its_kind_takes() -> None:
    found = kinds.load(kinds_package).get("simulated")
    assert found is not None
    assert found.payload_error(dict(DOOMED)) is None
