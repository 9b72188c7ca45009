"""Calls of ProcessTask that go wrong: each fault is seen to happen, then the promise kept."""

from __future__ import annotations

import pytest

from tests.support import faulty
from tests.support.fault_hook import EVERY_TRY, Fault, Rule
from tests.support.faulty import CLAIM, COMES_BACK_SECONDS, COMPLETION, RETRY, Faults
from tests.support.looking import ONE_RUN, TWO_RUNS, balance, ends, milliseconds_between, statuses, times
from tests.support.stack import DeployedStack
from tests.support.waiting import eventually

EMBEDDED = pytest.mark.embedded


@pytest.mark.parametrize(
    ("fault", "write"),
    [
        ("lost-ack", CLAIM),
        ("throttled", COMPLETION),
        pytest.param("lost-ack", COMPLETION, marks=EMBEDDED),
        pytest.param("throttled", CLAIM, marks=EMBEDDED),
    ],
)
def test_a_write_of_an_attempt_that_goes_wrong_once_costs_no_attempt_and_no_second_run(
    faults: Faults, stack: DeployedStack, task_id: str, fault: Fault, write: str
) -> None:
    with faults.on("ProcessTask", Rule("dynamodb", "UpdateItem", fault, match=[task_id, write])):
        task = stack.tasks.submit(payload={}, task_id=task_id).wait()

    assert (statuses(task), task.attempts) == (ONE_RUN, 1)
    assert task.result == {"workSeconds": 0, "attempt": 1}
    assert eventually(lambda: ends(stack, task_id)) == ["task completed"]


@EMBEDDED
def test_a_completion_whose_answer_is_lost_on_every_try_is_known_again_by_its_token(
    faults: Faults, stack: DeployedStack, task_id: str
) -> None:
    with faults.on("ProcessTask", Rule("dynamodb", "UpdateItem", "lost-ack", EVERY_TRY, [task_id, COMPLETION])):
        task = stack.tasks.submit(payload={}, task_id=task_id).wait()
        eventually(lambda: ends(stack, task_id), lambda told: told == ["task completed"])

    assert (statuses(task), task.attempts) == (ONE_RUN, 1)


@EMBEDDED
@pytest.mark.parametrize("fault", ["reset", "throttled"])
def test_a_completion_that_is_never_written_is_a_failed_attempt_and_the_next_one_completes(
    faults: Faults, stack: DeployedStack, task_id: str, fault: Fault
) -> None:
    with faults.on("ProcessTask", Rule("dynamodb", "UpdateItem", fault, EVERY_TRY, [task_id, COMPLETION])):
        task = stack.tasks.submit(payload={}, task_id=task_id).wait()

    assert (statuses(task), task.attempts) == (TWO_RUNS, 2)


@pytest.mark.parametrize("fault", ["crash-before", pytest.param("throttled", marks=EMBEDDED)])
def test_a_claim_that_is_never_written_burns_a_receive_and_no_attempt(
    faults: Faults, stack: DeployedStack, task_id: str, fault: Fault
) -> None:
    calls = EVERY_TRY if fault == "throttled" else [1]
    with (
        faulty.visibility(stack, "queue_url", COMES_BACK_SECONDS),
        faults.on("ProcessTask", Rule("dynamodb", "UpdateItem", fault, calls, [task_id, CLAIM])),
    ):
        task = stack.tasks.submit(payload={}, task_id=task_id).wait()

    assert (statuses(task), task.attempts) == (ONE_RUN, 1)


def test_a_worker_that_dies_right_after_its_completion_leaves_a_message_that_does_no_work_again(
    faults: Faults, stack: DeployedStack, task_id: str
) -> None:
    with (
        faulty.visibility(stack, "queue_url", COMES_BACK_SECONDS),
        faults.on("ProcessTask", Rule("dynamodb", "UpdateItem", "crash-after", match=[task_id, COMPLETION])),
    ):
        task = stack.tasks.submit(payload={}, task_id=task_id).wait()
        eventually(lambda: ends(stack, task_id), lambda told: "acknowledged: already COMPLETED" in told)

    assert stack.tasks.get(task_id) == task
    assert statuses(task) == ONE_RUN


@pytest.mark.parametrize(
    ("service", "operation", "calls"),
    [
        ("sqs", "ChangeMessageVisibility", [1]),
        pytest.param("sqs", "ChangeMessageVisibility", EVERY_TRY, marks=EMBEDDED),
        pytest.param("dynamodb", "UpdateItem", [1], marks=EMBEDDED),
        pytest.param("dynamodb", "UpdateItem", EVERY_TRY, marks=EMBEDDED),
    ],
)
def test_the_backoff_holds_when_an_answer_about_it_is_lost(
    faults: Faults, stack: DeployedStack, task_id: str, service: str, operation: str, calls: list[int]
) -> None:
    # A change of visibility names the receipt of its message only; no other message is on its way.
    match = [task_id, RETRY] if service == "dynamodb" else []
    with (
        faulty.visibility(stack, "queue_url", COMES_BACK_SECONDS),
        faults.on("ProcessTask", Rule(service, operation, "lost-ack", calls, match)),
    ):
        task = stack.tasks.submit(payload={"simulate": {"failAttempts": [1]}}, task_id=task_id).wait()

    assert (statuses(task), task.attempts) == (TWO_RUNS, 2)
    # Base 1 s: the wait lies in [0.5, 1] seconds.
    assert milliseconds_between(times(task, "FAILED_PENDING")[0], times(task, "PROCESSING")[1]) >= 500


@pytest.mark.parametrize(("fault", "tries"), [("not-in-flight", [1]), pytest.param("reset", EVERY_TRY, marks=EMBEDDED)])
def test_the_backoff_holds_when_the_visibility_cannot_be_changed_at_all(
    faults: Faults, stack: DeployedStack, task_id: str, fault: Fault, tries: list[int]
) -> None:
    """Also since the receipt is no longer good: a refusal, which the SDK does not try again."""
    with (
        faulty.visibility(stack, "queue_url", COMES_BACK_SECONDS),
        faults.on("ProcessTask", Rule("sqs", "ChangeMessageVisibility", fault, tries)),
    ):
        task = stack.tasks.submit(payload={"simulate": {"failAttempts": [1]}}, task_id=task_id).wait()

    assert (statuses(task), task.attempts) == (TWO_RUNS, 2)
    assert milliseconds_between(times(task, "FAILED_PENDING")[0], times(task, "PROCESSING")[1]) >= 500


# Effects. -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "calls", "runs"),
    [
        ("lost-ack", [1], ONE_RUN),
        pytest.param("lost-ack", EVERY_TRY, ONE_RUN, marks=EMBEDDED),
        pytest.param("throttled", [1], ONE_RUN, marks=EMBEDDED),
        pytest.param("reset", EVERY_TRY, TWO_RUNS, marks=EMBEDDED),
    ],
)
def test_money_moves_exactly_once_whatever_goes_wrong_with_the_transaction(
    faults: Faults, stack: DeployedStack, task_id: str, fault: Fault, calls: list[int], runs: list[str]
) -> None:
    ann, bob = f"ann-{task_id}", f"bob-{task_id}"
    for account in (ann, bob):
        stack.tasks.submit("deposit", {"account": account, "amount": 10}).wait()

    with faults.on("ProcessTask", Rule("dynamodb", "TransactWriteItems", fault, calls, [task_id])):
        transfer = {"source": ann, "target": bob, "amount": 3}
        task = stack.tasks.submit("transfer", transfer, task_id=task_id).wait()

    assert statuses(task) == runs
    assert (balance(stack, ann), balance(stack, bob)) == (7, 13)
    eventually(lambda: ends(stack, task_id), lambda told: told[-1:] == ["task completed"])
