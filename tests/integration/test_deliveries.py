"""Messages as SQS really delivers them: twice, at once, too late, in any order, beside poison; on a deployed stack."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

import boto3
import pytest
from botocore.config import Config

from client import Steered, TaskClient
from lambdas.common.queue import body_of
from lambdas.common.task import VERSION, IndexClass, Message, Status
from tests.support import faulty
from tests.support.deliveries import a_delivery, a_record, deliver, forget, invocations, paused, silent_task
from tests.support.looking import (
    A_COPY,
    ONE_RUN,
    TWO_RUNS,
    ends,
    statuses,
    stray_of,
    sweep,
    until_queues_are_empty,
)
from tests.support.stack import DeployedStack, new_id
from tests.support.waiting import eventually

EMBEDDED = pytest.mark.embedded


# Twice. ---------------------------------------------------------------------------------------------------------------


def test_copies_delivered_at_the_same_instant_are_one_run(stack: DeployedStack) -> None:
    task = silent_task(stack, {"simulate": {"workSeconds": 1}})

    assert deliver(stack, [a_delivery(task) for _ in range(5)]) == []

    told = eventually(lambda: ends(stack, task.task_id), lambda told: len(told) == 5)
    assert Counter(told) == {"task completed": 1, A_COPY: 4}
    assert statuses(stack.tasks.get(task.task_id)) == ONE_RUN


# After the end. -------------------------------------------------------------------------------------------------------


def completed(stack: DeployedStack) -> str:
    return stack.tasks.submit(payload={}).wait().task_id


def cancelled(stack: DeployedStack) -> str:
    submitted = stack.tasks.submit(payload={}, delay_seconds=3600)
    assert stack.tasks.cancel(submitted.task_id).status == "CANCELLED"
    return submitted.task_id


def failed_for_good(stack: DeployedStack) -> str:
    submitted = stack.tasks.submit(payload={"simulate": {"permanent": True}})
    eventually(lambda: stack.store.get(submitted.task_id), lambda row: row and row.index_class is IndexClass.RECORDED)
    return submitted.task_id


@pytest.mark.parametrize(
    ("end", "function", "said"),
    [
        (completed, "ProcessTask", "acknowledged: already COMPLETED"),
        pytest.param(cancelled, "ProcessTask", "acknowledged: already CANCELLED", marks=EMBEDDED),
        (failed_for_good, "MonitorDlq", "recorded before"),
    ],
)
def test_a_message_that_comes_after_the_end_changes_nothing(
    stack: DeployedStack, end: Any, function: str, said: str
) -> None:
    task_id = end(stack)
    before = stack.tasks.get(task_id)

    stack.queue.send(Message(task_id, 1))

    eventually(lambda: ends(stack, task_id, function), lambda told: said in told)
    assert stack.tasks.get(task_id) == before
    until_queues_are_empty(stack)


# In any order. --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_messages_of_two_lives_in_any_order_are_one_run_of_the_present_life(
    stack: DeployedStack, order: tuple[int, int]
) -> None:
    task = silent_task(stack, generation=2)

    for generation in order:
        assert deliver(stack, [a_delivery(task, generation=generation)]) == []

    told = eventually(lambda: ends(stack, task.task_id), lambda told: len(told) == 2)
    assert sorted(told) == ["acknowledged: older generation", "task completed"]
    assert stack.tasks.get(task.task_id).generation == 2


def test_a_message_ahead_of_the_life_it_belongs_to_changes_nothing_and_must_come_again(stack: DeployedStack) -> None:
    task = silent_task(stack)

    [failed] = deliver(stack, [a_delivery(task, "early", generation=2)])

    assert failed == "early"
    assert stack.store.get(task.task_id) == task


def test_tasks_whose_messages_come_in_reverse_order_each_run_once(stack: DeployedStack) -> None:
    tasks = [silent_task(stack, {"number": number}) for number in range(5)]

    for task in reversed(tasks):
        assert deliver(stack, [a_delivery(task)]) == []

    for task in tasks:
        assert statuses(stack.tasks.get(task.task_id)) == ONE_RUN


# A batch. -------------------------------------------------------------------------------------------------------------


def told(batch: list[dict[str, Any]], message: str) -> list[dict[str, Any]]:
    """Lines of one invocation that say so; its metrics say nothing."""
    return [line for line in batch if line.get("message") == message]


def test_nine_tasks_beside_a_poison_message_complete_in_the_same_batch_and_the_poison_is_recorded(
    stack: DeployedStack,
) -> None:
    with paused(stack):
        queue = stack.outputs["queue_url"]
        poison = stack.aws("sqs").send_message(QueueUrl=queue, MessageBody='{"v": 1, "taskId":')["MessageId"]
        good = [stack.tasks.submit(payload={"number": number}) for number in range(9)]
        eventually(stack.queue.waiting, lambda waiting: waiting == 10)

    tasks = [one.wait() for one in good]
    assert {(tuple(statuses(task)), task.attempts) for task in tasks} == {(tuple(ONE_RUN), 1)}
    ids = {task.task_id for task in tasks}

    def beside_poison() -> set[str]:
        """Tasks completed by an invocation that had a poison message in its batch."""
        batches = [batch for batch in invocations(stack, "ProcessTask") if told(batch, "unreadable message")]
        return {line["task_id"] for batch in batches for line in told(batch, "task completed")} & ids

    eventually(beside_poison, lambda found: found == ids)
    stray = eventually(lambda: stray_of(stack, poison))
    assert (stray["reason"], stray["body"]) == ({"S": "unreadable"}, {"S": '{"v": 1, "taskId":'})
    until_queues_are_empty(stack)


def test_a_batch_in_which_everything_fails_comes_again_task_by_task_and_completes(stack: DeployedStack) -> None:
    with paused(stack):
        submitted = [stack.tasks.submit(payload={"simulate": {"failAttempts": [1]}}) for _ in range(10)]
        eventually(stack.queue.waiting, lambda waiting: waiting == 10)

    tasks = [one.wait() for one in submitted]
    assert {(tuple(statuses(task)), task.attempts) for task in tasks} == {(tuple(TWO_RUNS), 2)}
    ids = {task.task_id for task in tasks}

    def failed_together() -> list[set[str]]:
        batches = invocations(stack, "ProcessTask")
        return [{line["task_id"] for line in told(batch, "task failed")} & ids for batch in batches]

    eventually(failed_together, lambda batches: ids in batches)


def test_a_response_to_a_batch_of_every_sort_names_what_must_come_again_and_nothing_else(stack: DeployedStack) -> None:
    good, failing = silent_task(stack), silent_task(stack, {"simulate": {"failAttempts": [1]}})
    doomed = silent_task(stack, {"simulate": {"permanent": True}})
    ended = silent_task(stack, status=Status.CANCELLED, index_class=IndexClass.CANCELLED)
    again = {
        "poison": a_record("no json", "poison"),
        "no task": a_record(body_of(Message(new_id("nobody"), 1)), "no task"),
        "failing": a_delivery(failing, "failing"),
        "doomed": a_delivery(doomed, "doomed"),
        "newer": a_record(json.dumps({"v": VERSION + 1, "taskId": good.task_id, "generation": 1}), "newer"),
    }

    failed = deliver(stack, [a_delivery(good), *again.values(), a_delivery(ended)])

    assert failed == list(again)


# Versions. ------------------------------------------------------------------------------------------------------------


def test_a_message_of_an_unknown_version_is_kept_by_every_consumer_and_its_task_is_healed_by_the_sweeper(
    stack: DeployedStack,
) -> None:
    def newer(task_id: str) -> dict[str, Any]:
        return a_record(json.dumps({"v": VERSION + 1, "taskId": task_id, "generation": 1}), "newer")

    task = silent_task(stack)  # too young for the sweeper, which runs by its schedule too

    assert deliver(stack, [newer(task.task_id)]) == ["newer"]
    assert deliver(stack, [newer(task.task_id)], "MonitorDlq") == ["newer"]

    # Neither recorded as a stray nor taken for the task's own: it waits, at last in the DLQ, for code that knows it.
    assert stray_of(stack, "newer") is None
    assert stack.store.get(task.task_id) == task

    old = silent_task(stack, created_at=1_700_000_000_000, sent_at=1_700_000_000_000).task_id
    assert deliver(stack, [newer(old)]) == ["newer"]
    eventually(lambda: sweep(stack), lambda _: stack.tasks.get(old).attempts)
    assert statuses(eventually(lambda: stack.tasks.get(old), lambda task: task.ended))[-1] == "COMPLETED"


# Replays. -------------------------------------------------------------------------------------------------------------


@EMBEDDED
def test_a_dead_task_that_is_replayed_by_eight_people_at_once_has_one_second_life(stack: DeployedStack) -> None:
    task_id = failed_for_good(stack)
    clients = [TaskClient(stack.outputs["api_url"], stack.outputs["api_key"]) for _ in range(8)]

    def replay(client: TaskClient) -> Steered:
        return client.redrive(task_id, 1)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(replay, clients))

    assert Counter(answer.new for answer in answers) == {True: 1, False: 7}
    task = eventually(lambda: stack.tasks.get(task_id), lambda task: len(task.dead_letters) == 2)
    assert [entry["generation"] for entry in task.timeline if entry["status"] == "PROCESSING"] == [1, 2]


# Throttling. ----------------------------------------------------------------------------------------------------------

MESSAGES = {"embedded": 200, "localstack": 60}
"""Enough that some come while every call of the function is refused."""
COMES_BACK_SECONDS = 2
CAPPED, CALLERS = 2, 4


@contextmanager
def concurrency(stack: DeployedStack, function: str, most: int) -> Iterator[None]:
    functions, name = stack.aws("lambda"), stack.outputs["functions"][function]
    functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=most)
    try:
        yield
    finally:
        functions.delete_function_concurrency(FunctionName=name)


@contextmanager
def crowded(stack: DeployedStack) -> Iterator[list[str]]:
    """Others call ProcessTask all the time, so that the queue finds it throttled; the answers they get."""
    config = Config(retries={"mode": "standard", "total_max_attempts": 1})
    functions = boto3.client("lambda", config=config, **stack.place.client_options())
    name, over = stack.outputs["functions"]["ProcessTask"], Event()
    answers: list[str] = []

    def call() -> None:
        while not over.wait(0.01):
            try:
                functions.invoke(FunctionName=name, Payload=json.dumps({"Records": []}))
                answers.append("taken")
            except functions.exceptions.TooManyRequestsException:
                answers.append("throttled")

    with ThreadPoolExecutor(CALLERS) as pool:
        callers = [pool.submit(call) for _ in range(CALLERS)]
        try:
            yield answers
        finally:
            over.set()
            for caller in callers:
                caller.result()


def test_messages_through_a_throttled_function_cost_receives_and_no_attempt(
    stack: DeployedStack,
) -> None:
    tasks = [silent_task(stack, {"number": number}) for number in range(MESSAGES[stack.outputs["target"]])]
    ids = [task.task_id for task in tasks]

    with (
        faulty.visibility(stack, "queue_url", COMES_BACK_SECONDS),
        concurrency(stack, "ProcessTask", CAPPED),
    ):
        with crowded(stack) as answers:
            send_all(stack, ids)
            eventually(lambda: answers.count("throttled"), lambda count: count >= 20)
            # Messages that were given out before, and whose tasks nobody began.
            eventually(lambda: burnt(stack))
        eventually(lambda: open_ones(stack, ids), lambda left: left == 0)

    rows = list(stack.store.get_many(ids))
    assert Counter((row.status, row.attempts) for row in rows) == {(Status.COMPLETED, 1): len(ids)}
    until_queues_are_empty(stack)
    forget(stack, ids)


def burnt(stack: DeployedStack) -> list[str]:
    """Some tasks whose message waits though it was received before this look, which is a receive as well."""
    count: Any = "ApproximateReceiveCount"
    looked = stack.aws("sqs").receive_message(
        QueueUrl=stack.outputs["queue_url"], MaxNumberOfMessages=10, VisibilityTimeout=0, AttributeNames=[count]
    )
    again = [message for message in looked.get("Messages", []) if int(message["Attributes"][count]) > 1]
    return [json.loads(message["Body"])["taskId"] for message in again]


def send_all(stack: DeployedStack, ids: list[str]) -> None:
    sqs, url = stack.aws("sqs"), stack.outputs["queue_url"]
    bodies = [body_of(Message(task_id, 1)) for task_id in ids]
    for start in range(0, len(bodies), 10):
        entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies[start : start + 10])]
        assert not sqs.send_message_batch(QueueUrl=url, Entries=entries).get("Failed")


def open_ones(stack: DeployedStack, ids: list[str]) -> int:
    return sum(row.status is not Status.COMPLETED for row in stack.store.get_many(ids))
