"""What the contenders behind an API Gateway have in common: the same client, and rows that say when a task ended."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests

from tests.benchmarks.contenders import Request

Body = Mapping[str, Any]
LOOK_SECONDS = 0.25
FINAL = ("COMPLETED", "FAILED_FINAL")


def post_all(url: str, key: str, bodies: Iterable[Body], clients: int) -> list[Request]:
    """In the order of `bodies`; one connection per client."""
    here = threading.local()

    def post(body: Body) -> Request:
        if not hasattr(here, "session"):
            here.session = requests.Session()
            here.session.headers.update({"x-api-key": key, "content-type": "application/json"})
        text, begun, started = json.dumps(body), time.time(), time.perf_counter()
        answer = here.session.post(url, data=text, timeout=120)
        seconds = time.perf_counter() - started
        assert answer.status_code in (200, 202), f"{answer.status_code}: {answer.text[:300]}"
        return Request(begun, seconds)

    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(post, bodies))


def begun(journal: Path) -> Counter[int]:
    """Tasks that each process has begun, as whoever works notes them beside its journal: "process task" a line."""
    noted = journal.with_suffix(".begun")
    return Counter(int(line.split()[0]) for line in noted.read_text().splitlines()) if noted.exists() else Counter()


def renew(functions: Any, name: str, **variables: str) -> None:
    """More variables for a function; new workers start with them, on the local AWS as on the real one."""
    found = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    functions.update_function_configuration(FunctionName=name, Environment={"Variables": {**found, **variables}})
    functions.get_waiter("function_updated").wait(FunctionName=name, WaiterConfig={"Delay": 1})


def until_quiet(sqs: Any, queue_urls: Sequence[str], deadline: float) -> None:
    """Wait while any message is in the queues: one cheap call each, so that waiting takes little from the work."""
    while time.time() < deadline and not all(is_quiet(sqs, url) for url in queue_urls):
        time.sleep(LOOK_SECONDS)


def is_quiet(sqs: Any, queue_url: str) -> bool:
    names = [f"ApproximateNumberOfMessages{state}" for state in ("", "NotVisible", "Delayed")]
    found = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)["Attributes"]
    return not any(int(found[name]) for name in names)


def collected(
    read: Callable[[Sequence[str]], Mapping[str, float]], ids: Sequence[str], deadline: float
) -> dict[str, float]:
    """Ends of all tasks; one that has not ended by the deadline is missing."""
    ended: dict[str, float] = {}
    while True:
        ended.update(read([task_id for task_id in ids if task_id not in ended]))
        if len(ended) == len(ids) or time.time() > deadline:
            return ended
        time.sleep(LOOK_SECONDS)


def rows(dynamodb: Any, table: str, keys: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """BatchGetItem over any number of keys."""
    for first in range(0, len(keys), 100):
        wanted: Mapping[str, Any] = {table: {"Keys": keys[first : first + 100]}}
        while wanted:
            answer = dynamodb.batch_get_item(RequestItems=wanted)
            yield from answer["Responses"].get(table, [])
            wanted = answer.get("UnprocessedKeys", {})
