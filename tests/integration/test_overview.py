"""Many tasks at once and all at a glance: batches, lists, stats, the API's description; on the deployed stack."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice

import pytest
import requests
import yaml

from bootstrap import kinds, package
from bootstrap.description import with_kinds
from bootstrap.paths import ROOT
from client.records import Stats, Submission
from lambdas.common.task import IndexClass
from tests.support.stack import DeployedStack, new_id
from tests.support.waiting import eventually

FAR = 3600
"""Seconds that no queue can hold a message back: the task is parked."""


def test_a_batch_is_taken_task_by_task_and_all_of_it_completes(stack: DeployedStack) -> None:
    first = new_id("batch")
    good = [Submission(payload={"simulate": {}, "number": number}) for number in range(104)]
    same, other = (Submission(payload={"number": number}, task_id=first) for number in (1, 2))

    results = stack.tasks.submit_batch([same, same, *good, other])

    assert [result.status for result in results] == [202, 200, *[202] * 104, 409]
    assert [results[number].task_id for number in (0, 1, -1)] == [first] * 3
    rows = eventually(
        lambda: list(stack.store.get_many([result.task_id for result in results[1:-1]])),
        lambda rows: all(row.status == "COMPLETED" for row in rows),
        seconds=120,
    )
    assert len(rows) == 105
    assert {row.attempts for row in rows} == {1}


def test_a_task_that_is_refused_harms_no_other_of_its_batch(stack: DeployedStack) -> None:
    body = {"tasks": [{"payload": {}}, {"payload": 1}, {"kind": "no such kind", "payload": {}}, "not even one"]}
    headers = {"x-api-key": stack.outputs["api_key"]}
    answer = requests.post(f"{stack.outputs['api_url']}/batch", json=body, headers=headers, timeout=60)
    assert answer.status_code == 200
    assert [result["status"] for result in answer.json()["results"]] == [202, 400, 400, 400]


def one_by_one(stack: DeployedStack, kind: str) -> Iterator[str]:
    """The list, a page for each task."""
    cursor: str | None = ""
    while cursor is not None:
        query = {"kind": kind, "limit": "1", **({"cursor": cursor} if cursor else {})}
        headers = {"x-api-key": stack.outputs["api_key"]}
        page = requests.get(stack.outputs["api_url"], params=query, headers=headers, timeout=60).json()
        yield from (task["taskId"] for task in page["tasks"])
        cursor = page["cursor"]


def test_a_task_keeps_its_place_in_the_list_while_it_is_parked_and_afterwards(stack: DeployedStack) -> None:
    kind = "simulated"
    older, parked, newer = (
        stack.tasks.submit(kind, payload={}, task_id=new_id("place"), delay_seconds=delay) for delay in (0, FAR, 0)
    )
    ours = [newer.task_id, parked.task_id, older.task_id]

    def places() -> list[str]:
        return list(islice((task_id for task_id in islice(one_by_one(stack, kind), 40) if task_id in ours), len(ours)))

    row = stack.store.get(parked.task_id)
    assert row is not None
    assert row.index_class is IndexClass.PARKED
    assert eventually(places, lambda found: len(found) == 3) == ours
    stack.tasks.cancel(parked.task_id)
    assert eventually(places, lambda found: len(found) == 3) == ours
    listed = eventually(lambda: [one.task_id for one in stack.tasks.list("CANCELLED") if one.task_id in ours])
    assert listed == [parked.task_id]


@pytest.mark.embedded
def test_dead_tasks_are_replayed_together(stack: DeployedStack) -> None:
    dead = [
        stack.tasks.submit(payload={"simulate": {"failGenerations": [1]}}, task_id=new_id("together")) for _ in range(3)
    ]
    for one in dead:
        assert one.wait().status == "FAILED_FINAL"
        eventually(one.get, lambda task: task.dead_letters)

    results = stack.tasks.redrive_batch([*((one.task_id, 1) for one in dead), "nobody"])

    assert [result.status for result in results[:3]] == [202, 202, 202]
    assert results[3].status == 404
    assert [(one.wait().status, one.get().generation) for one in dead] == [("COMPLETED", 2)] * 3
    again = stack.tasks.redrive_batch([(one.task_id, 1) for one in dead])
    assert [result.status for result in again] == [200, 200, 200]


@pytest.mark.embedded
def test_stats_tell_what_stands_and_what_ended(stack: DeployedStack) -> None:
    def completed(stats: Stats) -> int:
        return sum(minute["completed"] for minute in stats.per_minute)

    before = completed(stack.tasks.stats())
    stack.tasks.submit(payload={}).wait()
    # A warm function gives the same answer for 5 s.
    stats = eventually(stack.tasks.stats, lambda stats: completed(stats) > before)
    assert stats.counts["COMPLETED"].count >= 1
    assert not stats.counts["COMPLETED"].more


@pytest.mark.embedded
def test_the_page_and_the_description_need_no_key(stack: DeployedStack) -> None:
    page = requests.get(f"{stack.outputs['base_url']}/", timeout=60)
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    described = requests.get(f"{stack.outputs['base_url']}/openapi.json", timeout=60)
    document = yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text())
    found = kinds.read(package.install_dependencies())
    assert described.json() == json.loads(json.dumps(with_kinds(document, found)))


@pytest.mark.parametrize("path", ["/", "/openapi.json", "/stats"])
def test_an_answer_is_the_same_compressed_and_not(path: str, stack: DeployedStack) -> None:
    url, key = stack.outputs["base_url"] + path, stack.outputs["api_key"]
    plain, packed = (
        requests.get(url, headers={"x-api-key": key, "Accept-Encoding": coding}, timeout=60)
        for coding in ("identity", "gzip")
    )
    assert plain.status_code == packed.status_code == 200
    assert plain.headers["Content-Type"] == packed.headers["Content-Type"]
    if path == "/stats":  # two warm functions may answer, each with a count of its own time
        assert plain.json().keys() == packed.json().keys()
    else:
        assert plain.content == packed.content


@pytest.mark.parametrize("form", ["{}", "W/{}"])
def test_a_browser_that_has_the_page_gets_no_second_copy(form: str, stack: DeployedStack) -> None:
    """An answer that was compressed on its way may have a weak tag."""
    url = f"{stack.outputs['base_url']}/"
    tag = requests.get(url, timeout=60).headers["ETag"].removeprefix("W/")
    again = requests.get(url, headers={"If-None-Match": form.format(tag)}, timeout=60)
    assert (again.status_code, again.content) == (304, b"")
