"""Effects against the deployed stack: money is moved once per task, however often its message is delivered."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from client import Task
from lambdas.common.task import Message
from tests.support.looking import balance, ends, until_queues_are_empty
from tests.support.stack import DeployedStack, new_id
from tests.support.waiting import eventually

COPIES = 5
"""Messages sent for one task beside its own."""
TRANSFERS = 6
"""Each way."""


def deposited(stack: DeployedStack, account: str, amount: int) -> str:
    task = stack.tasks.submit("deposit", {"account": account, "amount": amount}).wait()
    assert task.status == "COMPLETED"
    return account


def transferred(stack: DeployedStack, source: str, target: str, amount: int, copies: int = 0) -> Task:
    payload = {"source": source, "target": target, "amount": amount}
    submitted = stack.tasks.submit("transfer", payload)
    for _ in range(copies):
        stack.queue.send(Message(submitted.task_id, 1))
    return submitted.wait()


def test_a_deposit_delivered_many_times_is_made_once(stack: DeployedStack) -> None:
    account = new_id("account")
    submitted = stack.tasks.submit("deposit", {"account": account, "amount": 7})
    for _ in range(COPIES):
        stack.queue.send(Message(submitted.task_id, 1))
    assert submitted.wait().status == "COMPLETED"

    for _ in range(COPIES):
        stack.queue.send(Message(submitted.task_id, 1))
    told = eventually(lambda: ends(stack, submitted.task_id), lambda told: len(told) > 2 * COPIES)
    assert told.count("task completed") == 1
    assert balance(stack, account) == 7


def test_no_money_is_made_or_lost_by_transfers_back_and_forth_at_once_all_of_them_delivered_twice(
    stack: DeployedStack,
) -> None:
    ann, bob = (deposited(stack, new_id("account"), 100) for _ in range(2))
    ways = [(ann, bob, 3), (bob, ann, 2)] * TRANSFERS

    def move(way: tuple[str, str, int]) -> Task:
        return transferred(stack, *way, copies=1)

    with ThreadPoolExecutor(8) as pool:
        tasks = list(pool.map(move, ways))

    assert {task.status for task in tasks} == {"COMPLETED"}
    assert [task.result for task in tasks] == [{"moved": amount} for _, _, amount in ways]
    until_queues_are_empty(stack)
    assert (balance(stack, ann), balance(stack, bob)) == (100 - TRANSFERS, 100 + TRANSFERS)


@pytest.mark.embedded
def test_an_account_that_everybody_takes_from_at_once_gives_what_it_has_and_no_more(stack: DeployedStack) -> None:
    poor, rich = (deposited(stack, new_id("account"), amount) for amount in (10, 1))
    with ThreadPoolExecutor(8) as pool:
        tasks = list(pool.map(lambda _: transferred(stack, poor, rich, 3, copies=1), range(8)))

    assert sorted(task.status for task in tasks) == ["COMPLETED"] * 3 + ["FAILED_FINAL"] * 5
    assert {task.error for task in tasks} == {None, f"NotEnough: account {poor} does not hold 3"}
    assert (balance(stack, poor), balance(stack, rich)) == (1, 10)


@pytest.mark.parametrize("refused", [pytest.param("NotEnough", marks=pytest.mark.embedded), "NoSuchAccount"])
def test_a_transfer_that_cannot_be_made_fails_for_good_at_once_with_the_error_that_it_declared(
    refused: str, stack: DeployedStack
) -> None:
    ann, nobody = deposited(stack, new_id("account"), 5), new_id("account")
    way, error = {
        "NotEnough": ((ann, deposited(stack, new_id("account"), 1), 6), f"NotEnough: account {ann} does not hold 6"),
        "NoSuchAccount": ((ann, nobody, 5), f"NoSuchAccount: there is no account {nobody}"),
    }[refused]
    task = transferred(stack, *way)

    assert (task.status, task.attempts, task.error, task.result) == ("FAILED_FINAL", 1, error, None)
    letters = eventually(lambda: stack.tasks.get(task.task_id).dead_letters)
    assert [letter["error"] for letter in letters] == [error]
    assert (balance(stack, ann), balance(stack, nobody)) == (5, None)
