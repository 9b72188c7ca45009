"""Calls of SubmitTask that go wrong: each fault is seen to happen, then the promise kept."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from client import Submitted, TaskClient, Unavailable
from lambdas.common.task import Status
from tests.support.fault_hook import EVERY_TRY, Fault, Rule
from tests.support.faulty import Faults
from tests.support.looking import ONE_RUN, ends, once, statuses, swept_until_done
from tests.support.stack import DeployedStack
from tests.support.waiting import eventually

EMBEDDED = pytest.mark.embedded


@pytest.mark.parametrize(
    "fault",
    ["lost-ack", *(pytest.param(fault, marks=EMBEDDED) for fault in ("throttled", "server-error", "reset", "hang"))],
)
def test_a_put_that_goes_wrong_once_is_one_task_that_runs_once(
    faults: Faults, stack: DeployedStack, task_id: str, fault: Fault
) -> None:
    with faults.on("SubmitTask", Rule("dynamodb", "PutItem", fault, match=[task_id])):
        submitted = once(stack).submit(payload={}, task_id=task_id)

    assert submitted.new
    assert statuses(submitted.wait()) == ONE_RUN


def test_a_send_whose_answer_is_lost_makes_two_messages_and_one_run(
    faults: Faults, stack: DeployedStack, task_id: str
) -> None:
    with faults.on("SubmitTask", Rule("sqs", "SendMessage", "lost-ack", match=[task_id])):
        submitted = once(stack).submit(payload={}, task_id=task_id)

    assert submitted.new
    told = eventually(lambda: ends(stack, task_id), lambda told: len(told) >= 2)
    assert told.count("task completed") == 1
    assert all(end.startswith("acknowledged: ") for end in told if end != "task completed")
    assert statuses(submitted.get()) == ONE_RUN


@pytest.mark.parametrize("fault", ["reset", pytest.param("throttled", marks=EMBEDDED)])
def test_a_task_whose_message_could_not_be_sent_is_healed_by_the_sweeper_without_any_repeat(
    faults: Faults, stack: DeployedStack, task_id: str, fault: Fault
) -> None:
    with (
        faults.on("SubmitTask", Rule("sqs", "SendMessage", fault, EVERY_TRY, [task_id])),
        pytest.raises(Unavailable, match="503 unknown_outcome"),
    ):
        once(stack).submit(payload={}, task_id=task_id)

    assert statuses(swept_until_done(stack, task_id)) == ONE_RUN


@EMBEDDED
def test_repeating_a_submit_whose_message_could_not_be_sent_finds_the_task_and_the_sweeper_runs_it_once(
    faults: Faults, stack: DeployedStack, task_id: str
) -> None:
    with (
        faults.on("SubmitTask", Rule("sqs", "SendMessage", "reset", EVERY_TRY, [task_id])),
        pytest.raises(Unavailable, match="503 unknown_outcome"),
    ):
        once(stack).submit(payload={}, task_id=task_id)

    assert once(stack).submit(payload={}, task_id=task_id).new is False
    assert statuses(swept_until_done(stack, task_id)) == ONE_RUN


@EMBEDDED
def test_a_put_whose_answer_is_lost_on_every_try_is_settled_by_a_repeat(
    faults: Faults, stack: DeployedStack, task_id: str
) -> None:
    with (
        faults.on("SubmitTask", Rule("dynamodb", "PutItem", "lost-ack", EVERY_TRY, [task_id])),
        pytest.raises(Unavailable, match="503 unknown_outcome"),
    ):
        once(stack).submit(payload={}, task_id=task_id)

    assert once(stack).submit(payload={}, task_id=task_id).new is False
    assert statuses(swept_until_done(stack, task_id)) == ONE_RUN


def test_a_table_that_does_not_answer_at_all_is_an_unknown_outcome_within_the_time_of_the_function(
    faults: Faults, stack: DeployedStack, task_id: str
) -> None:
    with (
        faults.on("SubmitTask", Rule("dynamodb", "PutItem", "hang", EVERY_TRY, [task_id])),
        pytest.raises(Unavailable, match="503 unknown_outcome"),
    ):
        once(stack).submit(payload={}, task_id=task_id)

    assert stack.store.get(task_id) is None
    submitted = once(stack).submit(payload={}, task_id=task_id)
    assert submitted.new
    assert statuses(submitted.wait()) == ONE_RUN


def test_a_submit_that_dies_between_row_and_message_is_healed_by_the_sweeper(
    faults: Faults, stack: DeployedStack, task_id: str
) -> None:
    with (
        faults.on("SubmitTask", Rule("sqs", "SendMessage", "crash-before", match=[task_id])),
        pytest.raises(Unavailable),
    ):
        once(stack).submit(payload={}, task_id=task_id)

    row = stack.store.get(task_id)
    assert row is not None
    assert row.status is Status.SUBMITTED
    assert statuses(swept_until_done(stack, task_id)) == ONE_RUN


@EMBEDDED
def test_a_submit_that_dies_after_its_message_was_sent_has_submitted(
    faults: Faults, stack: DeployedStack, task_id: str
) -> None:
    with (
        faults.on("SubmitTask", Rule("sqs", "SendMessage", "crash-after", match=[task_id])),
        pytest.raises(Unavailable),
    ):
        once(stack).submit(payload={}, task_id=task_id)

    again = once(stack).submit(payload={}, task_id=task_id)
    assert again.new is False
    assert statuses(again.wait()) == ONE_RUN


@EMBEDDED
def test_eight_submits_of_one_id_at_once_are_one_task_and_one_run_whatever_is_lost(
    faults: Faults, stack: DeployedStack, task_id: str
) -> None:
    def submit(client: TaskClient) -> Submitted:
        return client.submit(payload={"same": "body"}, task_id=task_id)

    lost = Rule("dynamodb", "PutItem", "lost-ack", [1], [task_id])
    with faults.on("SubmitTask", lost), ThreadPoolExecutor(8) as pool:
        first = pool.submit(submit, once(stack))
        faults.firing("SubmitTask", lost)  # before the others begin: what gets lost is no refusal
        answers = [*pool.map(submit, [once(stack) for _ in range(7)]), first.result()]

    assert sum(answer.new for answer in answers) == 1
    assert statuses(answers[0].wait()) == ONE_RUN
    ended = eventually(lambda: ends(stack, task_id), lambda ended: "task completed" in ended)
    assert ended.count("task completed") == 1
