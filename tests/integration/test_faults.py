"""What the guarantees say when calls between the parts go wrong: each fault is seen to happen, then its promise kept.

The deployed functions obey rules for their SDK calls (tests/support/fault_hook.py). Every test names the calls that go
wrong, and fails when they did not; the SDK's own retries are on, as in production.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from client import Submitted, Task, TaskClient, Unavailable
from lambdas.common.queue import body_of
from lambdas.common.task import IndexClass, Message, Status
from tests.integration.test_pipeline import logged, milliseconds_between, sweep, times, until_queues_are_empty
from tests.support import faulty
from tests.support.fault_hook import EVERY_TRY, Fault, Rule
from tests.support.faulty import Faults
from tests.support.stack import DeployedStack, new_id, unscheduled
from tests.support.waiting import eventually

# What tells the writes to a task's row from one another: a value that only this write has.
CLAIM, COMPLETION, RETRY = ":leaseUntil", ":result", ":nextAttemptAt"
COMES_BACK_SECONDS = 3
"""Visibility timeout where a test needs a message again that nobody gave back."""


@pytest.fixture(scope="module")
def faults(stack: DeployedStack) -> Iterator[Faults]:
    """The functions of the stack obey rules. A message counts as lost after a second; so nothing but a test sweeps."""
    soon = {"RESEND_AFTER_SECONDS": "1"}
    with (
        unscheduled(stack),
        faulty.visibility(stack, "dlq_url", COMES_BACK_SECONDS),
        faulty.functions(stack, SubmitTask={}, ProcessTask={}, MonitorDlq={}, SweepTasks=soon) as faults,
    ):
        yield faults


@pytest.fixture
def task_id() -> str:
    return new_id("fault")


def once(stack: DeployedStack) -> TaskClient:
    """A client that does not repeat a request by itself."""
    return TaskClient(stack.outputs["api_url"], stack.outputs["api_key"], tries=1, timeout=120)


def statuses(task: Task) -> list[str]:
    return [entry["status"] for entry in task.timeline]


ONE_RUN = ["SUBMITTED", "PROCESSING", "COMPLETED"]
TWO_RUNS = ["SUBMITTED", "PROCESSING", "FAILED_PENDING", "PROCESSING", "COMPLETED"]


def swept_until_done(stack: DeployedStack, task_id: str) -> Task:
    """The client is silent; only the sweeper can help."""

    def look() -> Task:
        sweep(stack)
        return stack.tasks.get(task_id)

    return eventually(look, lambda task: task.ended)


def ends_of_deliveries(stack: DeployedStack, task_id: str) -> list[str]:
    return [line["message"] for line in logged(stack, "ProcessTask", task_id)]


# Submit ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["lost-ack", "throttled", "server-error", "reset", "hang"])
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
    ends = eventually(lambda: ends_of_deliveries(stack, task_id), lambda ends: len(ends) >= 2)
    assert ends.count("task completed") == 1
    assert all(end.startswith("acknowledged: ") for end in ends if end != "task completed")
    assert statuses(submitted.get()) == ONE_RUN


@pytest.mark.parametrize("fault", ["reset", "throttled"])
def test_a_task_whose_message_could_not_be_sent_is_healed_by_the_sweeper_without_any_repeat(
    faults: Faults, stack: DeployedStack, task_id: str, fault: Fault
) -> None:
    with (
        faults.on("SubmitTask", Rule("sqs", "SendMessage", fault, EVERY_TRY, [task_id])),
        pytest.raises(Unavailable, match="503 unknown_outcome"),
    ):
        once(stack).submit(payload={}, task_id=task_id)

    assert statuses(swept_until_done(stack, task_id)) == ONE_RUN


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


def test_eight_submits_of_one_id_at_once_are_one_task_and_one_run_whatever_is_lost(
    faults: Faults, stack: DeployedStack, task_id: str
) -> None:
    def submit(client: TaskClient) -> Submitted:
        return client.submit(payload={"same": "body"}, task_id=task_id)

    with (
        faults.on("SubmitTask", Rule("dynamodb", "PutItem", "lost-ack", [1], [task_id])),
        ThreadPoolExecutor(8) as pool,
    ):
        answers = list(pool.map(submit, [once(stack) for _ in range(8)]))

    assert sum(answer.new for answer in answers) == 1
    assert statuses(answers[0].wait()) == ONE_RUN
    assert ends_of_deliveries(stack, task_id).count("task completed") == 1


# Process --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [CLAIM, COMPLETION])
@pytest.mark.parametrize("fault", ["lost-ack", "throttled"])
def test_a_write_of_an_attempt_that_goes_wrong_once_costs_no_attempt_and_no_second_run(
    faults: Faults, stack: DeployedStack, task_id: str, write: str, fault: Fault
) -> None:
    with faults.on("ProcessTask", Rule("dynamodb", "UpdateItem", fault, match=[task_id, write])):
        task = stack.tasks.submit(payload={}, task_id=task_id).wait()

    assert (statuses(task), task.attempts) == (ONE_RUN, 1)
    assert task.result == {"workSeconds": 0, "attempt": 1}
    assert eventually(lambda: ends_of_deliveries(stack, task_id)) == ["task completed"]


def test_a_completion_whose_answer_is_lost_on_every_try_is_known_again_by_its_token(
    faults: Faults, stack: DeployedStack, task_id: str
) -> None:
    with faults.on("ProcessTask", Rule("dynamodb", "UpdateItem", "lost-ack", EVERY_TRY, [task_id, COMPLETION])):
        task = stack.tasks.submit(payload={}, task_id=task_id).wait()
        eventually(lambda: ends_of_deliveries(stack, task_id), lambda ends: ends == ["task completed"])

    assert (statuses(task), task.attempts) == (ONE_RUN, 1)


@pytest.mark.parametrize("fault", ["reset", "throttled"])
def test_a_completion_that_is_never_written_is_a_failed_attempt_and_the_next_one_completes(
    faults: Faults, stack: DeployedStack, task_id: str, fault: Fault
) -> None:
    with faults.on("ProcessTask", Rule("dynamodb", "UpdateItem", fault, EVERY_TRY, [task_id, COMPLETION])):
        task = stack.tasks.submit(payload={}, task_id=task_id).wait()

    assert (statuses(task), task.attempts) == (TWO_RUNS, 2)


@pytest.mark.parametrize("fault", ["throttled", "crash-before"])
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
        eventually(lambda: ends_of_deliveries(stack, task_id), lambda ends: "acknowledged: already COMPLETED" in ends)

    assert stack.tasks.get(task_id) == task
    assert statuses(task) == ONE_RUN


@pytest.mark.parametrize("calls", [[1], EVERY_TRY])
@pytest.mark.parametrize(("service", "operation"), [("dynamodb", "UpdateItem"), ("sqs", "ChangeMessageVisibility")])
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


@pytest.mark.parametrize(("fault", "tries"), [("reset", EVERY_TRY), ("not-in-flight", [1])])
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


# The dead-letter queue ------------------------------------------------------------------------------------------------

DOOMED = {"simulate": {"permanent": True}}


@pytest.mark.parametrize(
    ("operation", "fault", "calls"),
    [
        ("PutItem", "lost-ack", [1]),
        ("PutItem", "throttled", EVERY_TRY),
        ("UpdateItem", "lost-ack", [1]),
        ("UpdateItem", "crash-before", [1]),
        ("UpdateItem", "crash-after", [1]),
    ],
)
def test_a_dead_task_has_exactly_one_dead_letter_whatever_goes_wrong_in_the_monitor(
    faults: Faults, stack: DeployedStack, task_id: str, operation: str, fault: Fault, calls: list[int]
) -> None:
    with faults.on("MonitorDlq", Rule("dynamodb", operation, fault, calls, [task_id])):
        stack.tasks.submit(payload=DOOMED, task_id=task_id).wait()
        task = eventually(lambda: stack.tasks.get(task_id), lambda task: task.dead_letters)
        row = eventually(lambda: stack.store.get(task_id), lambda row: row and row.index_class is IndexClass.RECORDED)
        # The monitor that dies right after its last write has no time left to tell. LocalStack loses what an invocation
        # says whose function is changed meanwhile, as the end of this block does: its log thread ends with the version.
        told_dead = int(fault != "crash-after")
        eventually(lambda: monitored(stack, task_id).count("task dead") >= told_dead)

    assert row is not None
    assert (row.status, row.generation) == (Status.FAILED_FINAL, 1)
    until_queues_are_empty(stack)
    # Neither a redelivery nor this copy records it anew.
    stack.aws("sqs").send_message(QueueUrl=stack.outputs["dlq_url"], MessageBody=body_of(Message(task_id, 1)))
    told = eventually(lambda: monitored(stack, task_id), lambda told: "recorded before" in told)
    assert told.count("task dead") == told_dead
    assert stack.tasks.get(task_id).dead_letters == task.dead_letters
    assert len(task.dead_letters) == 1


def monitored(stack: DeployedStack, task_id: str) -> list[str]:
    return [line["message"] for line in logged(stack, "MonitorDlq", task_id)]


# Effects --------------------------------------------------------------------------------------------------------------


def balance(stack: DeployedStack, account: str) -> int:
    table = f"{stack.outputs['stage']}-accounts"
    key: Any = {"account": {"S": account}}
    return int(stack.dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True)["Item"]["balance"]["N"])


@pytest.mark.parametrize(
    ("fault", "calls", "runs"),
    [
        ("lost-ack", [1], ONE_RUN),
        ("lost-ack", EVERY_TRY, ONE_RUN),
        ("throttled", [1], ONE_RUN),
        ("reset", EVERY_TRY, TWO_RUNS),
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
    eventually(lambda: ends_of_deliveries(stack, task_id), lambda ends: ends[-1:] == ["task completed"])


# The mechanism itself -------------------------------------------------------------------------------------------------


def test_functions_that_were_made_to_fail_are_as_before_afterwards(stack: DeployedStack) -> None:
    task_id = stack.tasks.submit(payload={}).task_id
    before = configuration(stack, "QueryTasks")

    with faulty.functions(stack, QueryTasks={}) as faults:
        with faults.on("QueryTasks", Rule("dynamodb", "Query", "throttled")):
            assert stack.tasks.get(task_id).task_id == task_id
        assert configuration(stack, "QueryTasks") != before

    assert configuration(stack, "QueryTasks") == before
    # The rules are gone: a worker that still looked for them could not answer.
    assert once(stack).get(task_id).task_id == task_id


def configuration(stack: DeployedStack, function: str) -> dict[str, Any]:
    name = stack.outputs["functions"][function]
    found = stack.aws("lambda").get_function_configuration(FunctionName=name)
    return {key: found[key] for key in ("CodeSha256", "Handler", "Environment", "Timeout", "Role", "MemorySize")}
