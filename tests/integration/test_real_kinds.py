"""The kinds that do real work, whole: a webhook to a receiver, and a CSV file in the bucket to its summary."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import pytest

from bootstrap import compose
from client import Task
from tests.conftest import _image
from tests.support.looking import logged, milliseconds_between
from tests.support.receiver import answer, receiving
from tests.support.stack import DeployedStack, new_id
from tests.support.waiting import eventually

SECRET = "s3cr3t-of-this-test"
ORDERS = "city,amount\nBern,10.10\nZürich,-2\nBern,0.20\n=1+1,5\n"


def dead(stack: DeployedStack, kind: str, payload: dict[str, object]) -> str:
    """The error of a task that may be tried again and is not: what it died of is permanent."""
    task = stack.tasks.submit(kind, payload).wait()
    assert (task.status, task.attempts) == ("FAILED_FINAL", 1)
    return str(task.error)


# Webhooks. ------------------------------------------------------------------------------------------------------------


def test_a_receiver_that_asks_to_wait_gets_the_same_delivery_again_after_that(embedded_stack: DeployedStack) -> None:
    """On LocalStack, loopback is the container's own, where no receiver of a test runs: see the next test."""
    with receiving(answer(503, "Retry-After: 2"), answer(201, body=b"thanks")) as receiver:
        url = f"http://localhost:{receiver.port}/hooks?token={SECRET}"
        task = embedded_stack.tasks.submit("webhook", {"url": url, "body": {"order": 7}}).wait()

    assert (task.status, task.attempts, task.result) == ("COMPLETED", 2, {"status": 201, "bytes": 6})
    first, second = receiver.requests
    assert first.body == second.body == b'{"order": 7}'
    assert [one.headers["idempotency-key"] for one in (first, second)] == [task.task_id] * 2
    assert [one.headers["x-task-attempt"] for one in (first, second)] == ["1", "2"]
    assert waited_ms(task) >= 2000
    ends = eventually(lambda: logged(embedded_stack, "ProcessTask", task.task_id), lambda found: len(found) == 2)
    assert f"RetryAfter: http://localhost:{receiver.port} answered 503" in json.dumps(ends)
    assert SECRET not in json.dumps([ends, task.result, *map(dict, task.timeline)], default=str)


def waited_ms(task: Task) -> float:
    """From the end of the first attempt to the beginning of the second."""
    ends, begins = (
        next(entry["at"] for entry in task.timeline if (entry["status"], entry["attempt"]) == wanted)
        for wanted in (("FAILED_PENDING", 1), ("PROCESSING", 2))
    )
    return milliseconds_between(ends, begins)


def own_api(stack: DeployedStack) -> str:
    """The API as the functions reach it: both local AWSs serve it on the loopback that their functions see."""
    url = urlsplit(stack.outputs["api_url"])
    port = 4566 if stack.place.target.name == "localstack" else url.port
    return f"http://127.0.0.1:{port}{url.path}"


def functions_share_loopback(stack: DeployedStack) -> bool:
    """Whether a function is a process beside the local AWS, and not a container of its own."""
    image = _image()[0] or "" if stack.place.target.name == "localstack" else compose.OWN_NAME
    return image.startswith(compose.OWN_NAME)


def test_a_webhook_to_the_systems_own_api_submits_a_task(stack: DeployedStack) -> None:
    if not functions_share_loopback(stack):
        pytest.skip("the official image runs each function in a container, whose loopback is its own")
    child = new_id("child")
    headers = {"x-api-key": stack.outputs["api_key"]}
    payload = {"url": own_api(stack), "headers": headers, "body": {"taskId": child, "payload": {}}}

    task = stack.tasks.submit("webhook", payload).wait()

    assert task.result is not None
    assert (task.status, task.result["status"]) == ("COMPLETED", 202)
    assert eventually(lambda: stack.tasks.get(child), lambda found: found.ended).status == "COMPLETED"


@pytest.mark.embedded
@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:169.254.169.254]/",
        "http://10.0.0.1/",
        "http://[::1]/",
    ],
)
def test_a_webhook_to_an_address_that_is_not_public_dies_at_once(stack: DeployedStack, url: str) -> None:
    assert dead(stack, "webhook", {"url": f"{url}?token={SECRET}"}).startswith("NotAllowed: http://")


@pytest.mark.embedded
def test_what_the_schema_refuses_is_no_task(stack: DeployedStack) -> None:
    for payload in ({"url": "http://ann:x@a.example/"}, {"url": "https://a.example/", "headers": {"Host": "b"}}):
        with pytest.raises(Exception, match="payload"):
            stack.tasks.submit("webhook", payload)


# CSV. -----------------------------------------------------------------------------------------------------------------


def stored(stack: DeployedStack, text: bytes) -> str:
    key = f"in/{new_id('orders')}.csv"
    stack.aws("s3").put_object(Bucket=stack.outputs["data_bucket"], Key=key, Body=text)
    return key


def test_a_file_in_the_bucket_becomes_a_summary_beside_it(stack: DeployedStack) -> None:
    key = stored(stack, "\ufeff".encode() + ORDERS.encode())

    task = stack.tasks.submit("csv-summary", {"key": key, "groupBy": "city", "sum": "amount"}).wait()

    output = f"out/{task.task_id}.csv"
    assert (task.status, task.result) == ("COMPLETED", {"rows": 4, "groups": 3, "output": output})
    written = stack.aws("s3").get_object(Bucket=stack.outputs["data_bucket"], Key=output)
    assert written["Body"].read().decode() == "city,rows,sum\r\n'=1+1,1,5\r\nBern,2,10.30\r\nZürich,1,-2\r\n"
    assert written["ContentType"] == "text/csv; charset=utf-8"


BAD_FILES = {
    "another column": (b"town,amount\n", "BadFile: line 1: the column 'city' is not there; columns: town, amount"),
    "a bad number": (b'city,amount\nBern,1\nBern,"1,5"\n', "BadFile: line 3: '1,5' is no number such as -12.50"),
    "another encoding": (b"city,amount\nZ\xfcrich,1\n", "BadFile: not UTF-8, soon after line 0"),
    "no file": (None, "NoSuchObject: reading in/nothing.csv: there is no such object"),
}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        pytest.param(*row, id=name, marks=[] if name == "no file" else pytest.mark.embedded)
        for name, row in BAD_FILES.items()
    ],
)
def test_a_file_that_can_never_be_summed_up_ends_its_task_at_once(
    stack: DeployedStack, text: bytes | None, error: str
) -> None:
    key = "in/nothing.csv" if text is None else stored(stack, text)
    assert dead(stack, "csv-summary", {"key": key, "groupBy": "city", "sum": "amount"}).startswith(error)
