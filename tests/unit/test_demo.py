"""The demo's killer: one worker, at the right moment, and never silently none."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from scripts.demo import Killer, plan, tell_how_to_go_on

AT_WORK = {"submitted": 5, "processing": 3, "waiting": 0, "completed": 1, "dead": 0}


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
    return Killer(lambda: workers, "dev-process-task", kills)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("quiet", [{"completed": 0}, {"processing": 0}])
def test_nobody_is_killed_before_the_work_is_in_full_swing(quiet: Mapping[str, int]) -> None:
    workers = FakeWorkers(11)
    killer(workers).look({**AT_WORK, **quiet})
    assert workers.killed == []


def test_one_worker_is_killed_once_and_told_of() -> None:
    workers = FakeWorkers(11, 12)
    one = killer(workers)
    for _ in range(3):
        one.look(AT_WORK)
    assert (workers.killed, one.told(), one.problems()) == ([11], "1 worker killed, ", [])


def test_a_worker_that_had_ended_by_itself_does_not_count_as_killed() -> None:
    one = killer(FakeWorkers(11, gone=True))
    one.look(AT_WORK)
    assert (one.told(), one.problems()) == ("0 worker killed, ", ["no worker was killed: none was found at work"])


def test_a_kill_that_did_not_happen_is_a_problem() -> None:
    one = killer(FakeWorkers())
    one.look(AT_WORK)
    assert one.problems() == ["no worker was killed: none was found at work"]


def test_without_an_order_nobody_is_looked_for() -> None:
    workers = FakeWorkers(11)
    one = killer(workers, kills=0)
    one.look(AT_WORK)
    assert (workers.killed, one.told(), one.problems()) == ([], "", [])
    assert (plan({}).kills, plan({"KILL": "1"}).kills) == (0, 1)


def test_how_to_go_on_is_told_without_the_key(capsys: pytest.CaptureFixture[str]) -> None:
    tell_how_to_go_on({"api_url": "http://here/tasks", "api_key": "the-key-itself"})
    said = capsys.readouterr().out
    assert "outputs --key" in said
    assert "the-key-itself" not in said
