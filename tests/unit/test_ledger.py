"""The account of a run: every accepted task, and what contradicts the promise."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lambdas.common.rows import DeadLetter
from lambdas.common.store import TaskStore
from lambdas.common.task import IndexClass, Status, Task
from scripts.ledger import DeadTask, Ledger
from tests.support.dynamodb import FakeDynamoDB, task_store
from tests.support.tasks import NOW, a_task, dead, planted, processing, waiting

DONE = a_task(task_id="done", status=Status.COMPLETED, index_class=IndexClass.COMPLETED)
RECORDED = dead(task_id="dead", index_class=IndexClass.RECORDED)
UNRECORDED = dead(task_id="unrecorded")
CANCELLED = a_task(task_id="cancelled", status=Status.CANCELLED, index_class=IndexClass.CANCELLED)


def a_ledger(*tasks: Task, lost: tuple[str, ...] = ()) -> Ledger:
    return Ledger([*(task.task_id for task in tasks), *lost], {task.task_id: task for task in tasks})


@pytest.fixture
def store() -> TaskStore:
    return task_store(FakeDynamoDB())


def test_an_account_without_problems_has_none() -> None:
    assert a_ledger(DONE, RECORDED, CANCELLED).problems([DeadTask(RECORDED, 1, 1, "Oops")]) == []


def test_a_task_that_was_accepted_and_is_not_there_is_lost() -> None:
    assert a_ledger(DONE, lost=("gone-1", "gone-2")).problems([]) == [
        "lost: no row for accepted task gone-1",
        "lost: no row for accepted task gone-2",
    ]


@pytest.mark.parametrize("task", [a_task(), processing(), waiting()], ids=["submitted", "processing", "waiting"])
def test_a_task_that_has_not_ended_is_a_problem(task: Task) -> None:
    assert a_ledger(task).problems([]) == [f"not ended: task-1 is {task.status}"]


@pytest.mark.parametrize("records", [0, 2])
def test_a_dead_task_without_exactly_one_record_is_a_problem(records: int) -> None:
    assert a_ledger(RECORDED).problems([DeadTask(RECORDED, 1, records, "Oops")]) == [
        f"dead died in generation 1 with {records} dead-letter records, not 1"
    ]


def test_every_problem_is_told() -> None:
    problems = a_ledger(a_task(), RECORDED, lost=("gone",)).problems([DeadTask(RECORDED, 1, 0, "Oops")])
    assert [problem.split()[0] for problem in problems] == ["lost:", "not", "dead"]


@pytest.mark.parametrize(
    ("ledger", "at_rest"),
    [
        (a_ledger(DONE, RECORDED, CANCELLED), True),
        (a_ledger(), True),
        (a_ledger(DONE, UNRECORDED), False),
        (a_ledger(DONE, waiting()), False),
        (a_ledger(DONE, lost=("gone",)), False),
    ],
    ids=["all ended", "nothing", "a dead one is not recorded", "one waits", "one is lost"],
)
def test_a_run_is_at_rest_when_every_task_has_ended_and_each_dead_one_is_recorded(
    ledger: Ledger, at_rest: bool
) -> None:
    assert ledger.at_rest() is at_rest


def test_every_status_is_counted_under_one_state() -> None:
    tasks = [replace(a_task(), task_id=str(status), status=status) for status in Status]
    assert a_ledger(*tasks).counts() == {"submitted": 1, "processing": 1, "waiting": 1, "completed": 2, "dead": 1}


def test_an_account_is_read_from_the_table(store: TaskStore) -> None:
    planted(store, DONE)
    ledger = Ledger.read(store, ["done", "gone"])
    assert (ledger.tasks, ledger.missing(), ledger.open()) == ({"done": DONE}, ["gone"], [])


def test_every_death_is_counted_with_the_records_of_its_generation(store: TaskStore) -> None:
    second = planted(store, dead(task_id="second", generation=2, index_class=IndexClass.RECORDED))
    none = planted(store, UNRECORDED)
    for generation in (1, 2):
        store.record(_letter("second", generation), NOW)
    assert a_ledger(DONE, second, none).dead(store) == [
        DeadTask(second, 1, 1, "Error of 1"),
        DeadTask(second, 2, 1, "Error of 2"),
        DeadTask(none, 1, 0, "Oops: it failed"),
    ]


@pytest.mark.parametrize(
    ("recorded", "records"), [((1, 2), [1, 1]), ((2,), [0, 1]), ((1,), [1, 0]), ((1, 2, 3), [1, 1])]
)
def test_a_replay_that_completes_leaves_the_deaths_before_it(
    store: TaskStore, recorded: tuple[int, ...], records: list[int]
) -> None:
    done = planted(store, replace(DONE, generation=3))
    for generation in recorded:
        store.record(_letter("done", generation), NOW)
    assert [one.records for one in a_ledger(done).dead(store)] == records


def test_a_dead_letter_that_a_replayed_generation_lacks_is_a_problem(store: TaskStore) -> None:
    ledger = a_ledger(planted(store, replace(DONE, generation=2)))
    assert ledger.problems(ledger.dead(store)) == ["done died in generation 1 with 0 dead-letter records, not 1"]


def _letter(task_id: str, generation: int) -> DeadLetter:
    error = f"Error of {generation}"
    return DeadLetter(task_id, generation, "simulated", error, 3, 4, "message-1", None, NOW, NOW, NOW)
