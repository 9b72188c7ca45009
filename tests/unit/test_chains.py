"""Many things side by side, those of one link in turn; and the messages that are sent in batches."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdas.common import aws
from lambdas.common.chains import THREADS, in_chains
from lambdas.common.queue import BATCH_ENTRIES, Depth, TaskQueue
from lambdas.common.task import Message
from tests.support.batch_sqs import BatchSQS

WAIT_SECONDS = 30
"""For another thread; a test that waits so long has failed."""


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers()), max_size=60))
def test_results_stand_in_the_order_of_the_items_and_each_link_is_acted_on_in_order(
    items: list[tuple[int, int]],
) -> None:
    seen: dict[int, list[int]] = {}
    lock = threading.Lock()

    def act(item: tuple[int, int]) -> int:
        with lock:
            seen.setdefault(item[0], []).append(item[1])
        return item[1] * 2

    assert in_chains(items, lambda item: item[0], act) == [value * 2 for _, value in items]
    assert seen == {link: [value for other, value in items if other == link] for link, _ in items}


def test_different_links_are_acted_on_side_by_side() -> None:
    meeting = threading.Barrier(THREADS)
    assert (
        in_chains(range(THREADS), lambda item: item, lambda item: meeting.wait(WAIT_SECONDS) >= 0) == [True] * THREADS
    )


def test_one_link_stays_in_one_thread() -> None:
    threads = in_chains(range(50), lambda item: item % 2, lambda item: threading.get_ident())
    assert len(set(threads[0::2])) == len(set(threads[1::2])) == 1


def test_a_number_and_its_text_are_different_links() -> None:
    meeting = threading.Barrier(2)
    assert sorted(in_chains([1, "1"], lambda item: item, lambda item: meeting.wait(WAIT_SECONDS))) == [0, 1]


def test_nothing_is_no_work() -> None:
    assert in_chains([], lambda item: 0, lambda item: item) == []


def test_there_are_as_many_threads_as_a_client_has_connections() -> None:
    assert cast(Any, aws.CONFIG).max_pool_connections >= THREADS


def test_what_goes_wrong_is_heard_of() -> None:
    def act(item: int) -> int:
        if item == 3:
            raise ValueError("no")
        return item

    with pytest.raises(ValueError, match="no"):
        in_chains(range(40), lambda item: item, act)


# Messages. ------------------------------------------------------------------------------------------------------------


def messages(*task_ids: str) -> list[tuple[Message, int]]:
    return [(Message(task_id, 1), number) for number, task_id in enumerate(task_ids)]


def queue_on(sqs: BatchSQS) -> TaskQueue:
    return TaskQueue(cast(Any, sqs), "queue")


def test_messages_are_sent_by_tens_each_with_its_delay() -> None:
    for count, batches in (
        (0, []),
        (1, [1]),
        (9, [9]),
        (10, [10]),
        (11, [1, 10]),
        (100, [10] * 10),
        (95, [5, *[10] * 9]),
    ):
        sqs = BatchSQS()
        wanted = messages(*(f"task-{number:03d}" for number in range(count)))
        assert queue_on(sqs).send_all(wanted) == {}, count
        assert sorted(sqs.batches) == batches, count
        assert sorted(sqs.taken) == [(message.task_id, 1, delay) for message, delay in wanted], count


def test_ten_of_the_longest_messages_are_far_from_what_a_batch_may_weigh() -> None:
    longest = [(Message(f"{number}".ljust(128, "x"), 10**9), 900) for number in range(BATCH_ENTRIES)]
    sqs = BatchSQS()
    assert queue_on(sqs).send_all(longest) == {}
    assert sqs.batches == [BATCH_ENTRIES]


@pytest.mark.parametrize(("code", "why"), [("InternalError", "InternalError"), (None, "not confirmed")])
def test_what_sqs_does_not_confirm_is_returned_with_the_reason(code: str | None, why: str) -> None:
    sqs = BatchSQS(refused={"b": code, "m": code})
    assert queue_on(sqs).send_all(messages(*"abcdefghijklm")) == {Message("b", 1): why, Message("m", 1): why}
    assert sorted(task_id for task_id, _, _ in sqs.taken) == list("acdefghijkl")


def test_when_nothing_is_confirmed_everything_is_returned() -> None:
    sqs = BatchSQS(refused={"a": None, "b": "InternalError"})
    assert queue_on(sqs).send_all(messages("a", "b")) == {
        Message("a", 1): "not confirmed",
        Message("b", 1): "InternalError",
    }


def test_a_call_that_fails_takes_its_own_ten_with_it_and_no_other() -> None:
    sqs = BatchSQS(lost={"l"})
    unsent = queue_on(sqs).send_all(messages(*"abcdefghijklm"))
    assert {message.task_id for message in unsent} == set("klm")
    assert all(why.startswith("ClientError: ") and "ServiceUnavailable" in why for why in unsent.values())
    assert sorted(task_id for task_id, _, _ in sqs.taken) == list("abcdefghij")


def test_two_generations_of_a_task_are_two_messages() -> None:
    sqs = BatchSQS()
    queue_on(sqs).send_all([(Message("a", 1), 0), (Message("a", 2), 5)])
    assert sorted(sqs.taken) == [("a", 1, 0), ("a", 2, 5)]


def test_the_depth_of_a_queue_is_what_waits_what_is_in_flight_and_what_is_held_back() -> None:
    class Counting:
        def get_queue_attributes(self, QueueUrl: str, AttributeNames: list[str]) -> Any:  # noqa: N803  boto3's names
            counts = {"": "3", "NotVisible": "5", "Delayed": "7"}
            known = {f"ApproximateNumberOfMessages{name}": count for name, count in counts.items()}
            return {"Attributes": {name: known[name] for name in AttributeNames}}

    queue = TaskQueue(cast(Any, Counting()), "queue")
    assert queue.depth() == Depth(waiting=3, in_flight=5, delayed=7)
    assert queue.waiting() == 10
