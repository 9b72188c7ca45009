"""What the store does when DynamoDB answers less well than it can."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from lambdas.common import transitions
from lambdas.common.task import Claim, Message, Task
from tests.support.dynamodb import TABLE, FakeDynamoDB, task_store
from tests.support.tasks import NOW, TASK_ID, a_task, planted


class Stingy:
    """Leaves all but the first key of a batch unprocessed."""

    def __init__(self, client: FakeDynamoDB) -> None:
        self._client = client
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def batch_get_item(self, *, RequestItems: dict[str, Any]) -> dict[str, Any]:  # noqa: N803  as in boto3
        self.calls += 1
        wanted = RequestItems[TABLE]
        first, *rest = wanted["Keys"]
        answer = self._client.batch_get_item(RequestItems={TABLE: {**wanted, "Keys": [first]}})
        return {**answer, "UnprocessedKeys": {TABLE: {**wanted, "Keys": rest}} if rest else {}}


class Failing:
    """Every write ends with this error."""

    def __init__(self, code: str, **more: Any) -> None:
        self._error = ClientError({"Error": {"Code": code, "Message": ""}, **more}, "Write")  # type: ignore[typeddict-item]  # the keys of a cancelled transaction

    def __getattr__(self, name: str) -> Any:
        def call(**request: Any) -> Any:
            raise self._error

        return call


def test_keys_that_were_not_processed_are_asked_for_again() -> None:
    client = FakeDynamoDB()
    tasks = [planted(task_store(client), a_task(task_id=f"task-{number}")) for number in range(3)]
    stingy = Stingy(client)
    assert list(task_store(stingy).get_many([task.task_id for task in tasks])) == tasks
    assert stingy.calls == 3


class Eventual:
    """Nothing that was written has arrived yet where a read is not asked to be consistent."""

    def __init__(self, client: FakeDynamoDB) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def get_item(self, **request: Any) -> dict[str, Any]:
        return self._client.get_item(**request) if request.get("ConsistentRead") else {}

    def query(self, **request: Any) -> dict[str, Any]:
        return self._client.query(**request) if request.get("ConsistentRead") else {"Items": []}

    def batch_get_item(self, *, RequestItems: dict[str, Any]) -> dict[str, Any]:  # noqa: N803  as in boto3
        consistent = RequestItems[TABLE].get("ConsistentRead")
        return self._client.batch_get_item(RequestItems=RequestItems) if consistent else {"Responses": {TABLE: []}}


def test_a_task_is_read_as_it_was_written_last() -> None:
    store, payload = task_store(Eventual(FakeDynamoDB())), '{"text": "%s"}' % ("x" * 2000)
    task = store.create(a_task(), payload, NOW)
    assert isinstance(task, Task)
    assert (store.get(TASK_ID), list(store.get_many([TASK_ID])), store.payload(task)) == (task, [task], payload)
    found = store.find(TASK_ID, NOW)
    assert found is not None
    assert found.payload == payload


ERRORS: dict[str, Failing] = {
    "throttled": Failing("ProvisionedThroughputExceededException"),
    "wrong": Failing("ValidationException"),
    "a conflict of transactions": Failing(
        "TransactionCanceledException", CancellationReasons=[{"Code": "TransactionConflict"}, {"Code": "None"}]
    ),
    "a transaction without reasons": Failing("TransactionCanceledException"),
}


@pytest.mark.parametrize("client", ERRORS.values(), ids=ERRORS)
def test_an_error_that_is_no_broken_condition_is_not_taken_for_a_refusal(client: Failing) -> None:
    store = task_store(client)
    with pytest.raises(ClientError):
        store.create(a_task(), "{}", NOW)
    with pytest.raises(ClientError):
        store.create(a_task(), '{"text": "%s"}' % ("x" * 2000), NOW)
    with pytest.raises(ClientError):
        store.apply(transitions.claim(Claim(Message(TASK_ID, 1), "message-1", "token", NOW, NOW)))
