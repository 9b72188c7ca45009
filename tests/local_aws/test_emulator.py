"""The ground moves in the middle of a run: a deploy, and a local AWS that is killed; on a stack of each local AWS."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

import psutil
import pytest

from bootstrap import embedded
from client import TaskClient, Unavailable
from lambdas.common.task import TERMINAL, Status
from scripts.ledger import Ledger
from tests.local_aws.conftest import SETTINGS, place_of
from tests.support import faulty, workers
from tests.support import stack as stacks
from tests.support.looking import balance, sweep, until_queues_are_empty
from tests.support.processes import ended
from tests.support.stack import DeployedStack, bootstrap, new_id
from tests.support.waiting import eventually

COMES_BACK_SECONDS = 3
ACCEPTED = 20


def up(stack: DeployedStack, **changes: str) -> DeployedStack:
    """`up` again, at the same place."""
    done = bootstrap(stack.folder, "up", **{**SETTINGS, **place_of(stack), **changes})
    assert done.returncode == 0, done.stderr
    return DeployedStack(stacks.outputs_of(stack.folder), stack.folder)


def swept(stack: DeployedStack, accepted: list[str]) -> Ledger:
    sweep(stack)
    return Ledger.read(stack.store, accepted)


# A deploy. ------------------------------------------------------------------------------------------------------------


def test_a_deploy_in_the_middle_of_a_run_loses_no_task_and_does_none_twice(here: DeployedStack) -> None:
    account, over = new_id("account"), Event()
    accepted: list[str] = []

    def deposit() -> None:
        client = TaskClient(here.outputs["api_url"], here.outputs["api_key"])
        while not over.wait(0.1):
            accepted.append(client.submit("deposit", {"account": account, "amount": 1}).task_id)

    def variables() -> Any:
        name = here.outputs["functions"]["ProcessTask"]
        return here.aws("lambda").get_function_configuration(FunctionName=name)["Environment"]["Variables"]

    with faulty.visibility(here, "queue_url", COMES_BACK_SECONDS), ThreadPoolExecutor(2) as pool:
        running = [pool.submit(deposit) for _ in range(2)]
        try:
            eventually(lambda: len(accepted) >= ACCEPTED)
            up(here, LOG_LEVEL="DEBUG", BATCH_SIZE="5", MAX_RETRIES="3")
            # A slow deploy may outlast any count of tasks: only one that was submitted to it shows that it serves.
            eventually(lambda: {task.max_attempts for task in here.store.get_many(accepted[-1:])}, {4}.__eq__)
        finally:
            over.set()
        for one in running:
            one.result()
        ledger = eventually(lambda: swept(here, accepted), Ledger.at_rest, seconds=240)

    assert (variables()["LOG_LEVEL"], variables()["BATCH_THREADS"]) == ("DEBUG", "5")
    mapping = here.aws("lambda").get_event_source_mapping(UUID=here.outputs["mapping_id"])
    assert (mapping["BatchSize"], mapping["State"]) == (5, "Enabled")
    # Tasks of both deployments were on their way: each kept the attempts it was submitted with.
    assert {task.max_attempts for task in ledger.tasks.values()} == {3, 4}
    assert ledger.problems(ledger.dead(here.store)) == []
    assert {task.status for task in ledger.tasks.values()} == {Status.COMPLETED}
    assert balance(here, account) == len(accepted)
    until_queues_are_empty(here)


# A local AWS that is killed. ------------------------------------------------------------------------------------------


def kill(stack: DeployedStack) -> None:
    """SIGKILL to the local AWS itself, by the id of its process or container."""
    if stack.outputs["target"] != "embedded":
        docker("kill", "--signal", "KILL", workers.container_of(stack))
        return
    server = psutil.Process(workers.server_pid(stack.folder))
    server.kill()
    eventually(lambda: ended(server))


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout.strip()


@contextmanager
def killed(stack: DeployedStack) -> Iterator[None]:
    """The local AWS is killed; afterwards its container is there again, as whoever runs it would start it anew."""
    container = None if stack.outputs["target"] == "embedded" else workers.container_of(stack)
    kill(stack)
    yield
    if container is not None:
        docker("start", container)
        port = int(stack.outputs["endpoint_url"].rsplit(":", 1)[1])
        eventually(lambda: embedded.health(port), seconds=240)


def submitted(stack: DeployedStack, name: str, held: float = 0.5) -> list[str]:
    """Accepted ids of tasks that take a while, so that most are on their way."""
    payload = {"simulate": {"workSeconds": held}}
    return [stack.tasks.submit(payload=payload, task_id=new_id(name)).task_id for _ in range(ACCEPTED)]


def test_a_local_aws_killed_in_the_middle_goes_on_with_what_it_had_saved_and_what_it_lost_is_named(
    here: DeployedStack,
) -> None:
    keeps = "keeps_data" in here.place.target.capabilities
    saved = submitted(here, "saved") if keeps else []
    if keeps:  # a clean stop in the middle saves everything, the messages too
        assert bootstrap(here.folder, "down").returncode == 0
        here = up(here)
    store = here.store
    lost = submitted(here, "lost", held=2)
    on_their_way = [task for task in store.get_many(saved + lost) if task.status not in TERMINAL]
    assert on_their_way, "the kill would hit nothing"

    with killed(here):
        assert bootstrap(here.folder, "status").returncode == 1
        with pytest.raises(Unavailable):
            TaskClient(here.outputs["api_url"], here.outputs["api_key"], tries=1, timeout=5).submit(payload={})
    here = up(here)

    with faulty.visibility(here, "queue_url", COMES_BACK_SECONDS):
        ledger = eventually(
            lambda: swept(here, saved + lost),
            lambda ledger: not ledger.open() and len(ledger.tasks) >= len(saved),
            seconds=120,
        )
    # What was saved is there and ends; what was not is named one by one, and nothing is passed over in silence.
    assert {task_id: ledger.tasks[task_id].status for task_id in saved} == dict.fromkeys(saved, Status.COMPLETED)
    assert ledger.missing() == lost
    assert ledger.problems(ledger.dead(here.store)) == [f"lost: no row for accepted task {task_id}" for task_id in lost]
    assert not ledger.at_rest()
    # Whoever submits them again gets them done.
    again = [here.tasks.submit(payload={}, task_id=task_id) for task_id in lost]
    assert all(one.new for one in again)
    assert {one.wait().status for one in again} == {"COMPLETED"}
