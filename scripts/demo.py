"""Demo: start the stack, submit tasks that sometimes fail, watch them, replay those that died, account for every one.

COUNT (100), CONCURRENCY (10) and WAIT (600 s) change it, and so does every setting of the system (FAILURE_RATE, …).
KILL=1 kills a worker with SIGKILL while it works, and shortens PROCESS_TIMEOUT_SECONDS so that this heals in seconds.
SVG=file draws what the run prints as a picture of a terminal (SVG=docs/demo.svg made README's), PNG=file takes one of
the dashboard 8 s after the first submit.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.text import Text

from bootstrap import console, state
from bootstrap.deploy import client
from bootstrap.errors import BootstrapError
from client import ApiError, TaskClient
from client.records import instant
from lambdas.common.store import TaskStore
from lambdas.common.task import Status, Task
from scripts import picture, running, screenshot
from scripts.ledger import DeadTask, Ledger
from scripts.load_test import percentile
from scripts.movement import Interrupted, Watch, interruptible, titled
from scripts.replay import Replay
from scripts.workers import Workers

KILL_SETTINGS = {"PROCESS_TIMEOUT_SECONDS": "5"}
"""The message of a killed worker comes back after six times that."""
DOOMED: Mapping[str, Any] = {"simulate": {"failGenerations": [1], "failureRate": 0}}
"""Its first generation fails for good; a replay finds the cause mended."""
STATUS_STYLES = {"COMPLETED": "green", "FAILED_FINAL": "red"}


@dataclass(frozen=True, slots=True)
class Plan:
    count: int
    concurrency: int
    wait_seconds: int
    kills: int = 0


def plan(variables: Mapping[str, str]) -> Plan:
    return Plan(
        whole(variables, "COUNT", 100, 1, 100_000),
        whole(variables, "CONCURRENCY", 10, 1, 200),
        whole(variables, "WAIT", 600, 1, 86_400),
        whole(variables, "KILL", 0, 0, 1),
    )


def whole(variables: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    """A number that a person may give in the environment.

    Raises:
        BootstrapError: naming the variable, its value and what is allowed.
    """
    text = variables.get(name) or str(default)
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise BootstrapError(f"{name} is {text!r}; allowed: a whole number from {least} to {most}.")
    return int(text)


class Connection(threading.local):
    """A client for each thread."""

    def __init__(self, url: str, key: str) -> None:
        self.tasks = TaskClient(url, key)


def submit_all(
    url: str, key: str, chosen: Plan, prefix: str, on_accepted: Callable[[], None] = lambda: None
) -> tuple[list[str], list[str]]:
    """Submit every task, the first one doomed. The accepted ids, and what went wrong with the others."""
    connection, failures = Connection(url, key), list[str]()

    def submit(number: int) -> str | None:
        task_id = f"{prefix}-{number}" if number else f"{prefix}-doomed"
        payload = {"number": number} if number else DOOMED
        try:
            accepted = connection.tasks.submit(payload=payload, task_id=task_id).task_id
        except ApiError as error:
            failures.append(f"{task_id}: {error}")
            return None
        on_accepted()
        return accepted

    with ThreadPoolExecutor(chosen.concurrency) as pool:
        accepted = [task_id for task_id in pool.map(submit, range(chosen.count)) if task_id]
    return accepted, failures


@dataclass
class Killer:
    """Kills so many workers of ProcessTask, each once some tasks have ended and others are being worked on.

    A kill counts once a task that the worker held was claimed again, by another one. When nobody can be holding such a
    task any more, the worker was idle, and another one is killed.
    """

    workers: Callable[[], Workers]
    function_name: str
    kills: int
    now: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    killed: int = 0
    _killed_at: int | None = None
    """Of the kill that does not count yet."""

    def look(self, ledger: Ledger) -> None:
        counts = ledger.counts()
        if self._killed_at is not None:
            self._judge(ledger, self._killed_at)
        elif self.killed < self.kills and counts["completed"] and counts["processing"]:
            self._kill()

    def _kill(self) -> None:
        workers = self.workers()
        found = workers.of(self.function_name)
        if found and workers.kill(found[0]):
            self._killed_at = self.now()
            console.say(f"Killed worker {found[0]} of {self.function_name} with SIGKILL.", "bold yellow")

    def _judge(self, ledger: Ledger, killed_at: int) -> None:
        taken_over = ledger.taken_over(killed_at)
        if taken_over:
            self.killed, self._killed_at = self.killed + 1, None
            console.say(f"It held {taken_over[0]}, which another worker has taken over since.", "bold yellow")
        elif not ledger.held_since(killed_at):
            self._killed_at = None
            console.say("It held no task.", "yellow")

    def problems(self) -> list[str]:
        return ["no worker that held a task was killed"] if self.killed < self.kills else []

    def told(self) -> str:
        return f"{self.killed} worker killed, " if self.kills else ""


def report(ledger: Ledger, dead: Sequence[DeadTask], submit_seconds: float) -> None:
    tasks = list(ledger.tasks.values())
    table = titled("Outcome", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    for status, number in sorted(Counter(str(task.status) for task in tasks).items()):
        table.add_row(Text(status, STATUS_STYLES.get(status, "yellow")), str(number))
    table.add_section()
    for attempts, number in sorted(Counter(task.attempts for task in tasks).items()):
        name = f"{attempts} attempt{'s' if attempts != 1 else ''}"
        table.add_row(name, Text(f"{number:>5} ").append("█" * max(1, round(40 * number / len(tasks))), "cyan"))
    table.add_section()
    ended = [task for task in tasks if task not in ledger.open()]
    if ended:
        table.add_row("submit to end", _percentiles(ended))
        table.add_row("throughput", _throughput(ended))
    table.add_row("submits", f"{len(ledger.accepted) / submit_seconds:.1f} per second")
    console.out.print(table)
    if dead:
        _show_dead(dead)


def _percentiles(ended: Sequence[Task]) -> str:
    seconds = [(task.updated_at - task.created_at) / 1000 for task in ended]
    return ", ".join(f"p{round(share * 100)} {percentile(seconds, share):.2f} s" for share in (0.5, 0.95, 0.99))


def _throughput(ended: Sequence[Task]) -> str:
    span = (max(task.updated_at for task in ended) - min(task.created_at for task in ended)) / 1000
    return f"{len(ended) / max(span, 0.001):.1f} tasks per second, {span:.1f} s in all"


def _show_dead(dead: Sequence[DeadTask]) -> None:
    table = titled("Dead letters", "task", "attempts", "error")
    for one in sorted(dead, key=lambda one: one.task.created_at):
        table.add_row(one.task.task_id, str(one.task.attempts), Text(one.error, "red"))
    console.out.print(table)


def tell_how_to_go_on(outputs: Mapping[str, Any]) -> None:
    console.say(f"\nAPI URL: {outputs['api_url']}")
    console.say("Submit one yourself:")
    console.say(f"  {curl(outputs)}")


def curl(outputs: Mapping[str, Any]) -> str:
    """The key itself is left to the shell: what a demo prints may be kept, in CI for one.

    LocalStack gives a function no body that is said to be a form, which is what curl says unless told otherwise.
    """
    key = '"x-api-key: $(.venv/bin/python -m bootstrap outputs --key)"'
    body = '{"payload": {"hello": "world"}}'
    content = f"-H 'content-type: application/json' -d {shlex.quote(body)}"
    return " \\\n    ".join((f"curl -H {key}", content, str(outputs["api_url"])))


@dataclass(frozen=True, slots=True)
class Account:
    """What a run has come to: the tasks as they are at its end, and every death on the way."""

    ledger: Ledger
    dead: Sequence[DeadTask]
    not_accepted: Sequence[str]
    doomed: str
    killer: Killer
    replay: Replay

    def problems(self) -> list[str]:
        return [
            *(f"not accepted: {failure}" for failure in self.not_accepted),
            *self.ledger.problems(self.dead),
            *self.killer.problems(),
            *self.replay.problems(self.ledger),
            *self._doom(),
        ]

    def _doom(self) -> list[str]:
        task = self.ledger.tasks.get(self.doomed)
        if task is None:
            return []
        ends = [one.generation for one in self.dead if one.task.task_id == self.doomed]
        right = ends == [1] and task.status is Status.COMPLETED
        found = f"is {task.status}, with {len(ends)} deaths"
        return [] if right else [f"{self.doomed} was to die once and to complete when replayed, but {found}"]

    def told(self) -> str:
        ledger, died = self.ledger, {one.task.task_id for one in self.dead}
        accounted = len(ledger.accepted) - len(ledger.missing()) - len(ledger.open())
        again = f", {len(self.dead) - len(died)} more in replays" if len(self.dead) > len(died) else ""
        return (
            f"{self.killer.told()}{len(ledger.accepted)} accepted, {accounted} accounted for, "
            f"{len(ledger.missing())} lost; {len(died)} failed for good{again}, "
            f"{sum(one.records for one in self.dead)} dead letters, "
            f"{len(self.replay.begun)} replayed, {self.replay.completed(ledger)} completed."
        )


def verdict(account: Account) -> bool:
    problems = account.problems()
    for problem in problems[:20]:
        console.fail(problem)
    console.say(account.told(), "bold red" if problems else "bold green")
    return not problems


def _up(chosen: Plan) -> None:
    """The very `up` that `make up` runs; the embedded AWS when nothing runs yet and TARGET says nothing."""
    environment = {**(KILL_SETTINGS if chosen.kills else {}), **os.environ}
    command = [sys.executable, "-m", "bootstrap", "up", "--prefer", "embedded"]
    if subprocess.run(command, env=environment, check=False).returncode:
        raise BootstrapError("The stack did not come up.", "See above.")


def _workers(endpoint_url: str) -> Workers:
    running = state.recall()
    return Workers.at(running.pid if running else None, endpoint_url)


def demo() -> bool:
    chosen = plan(os.environ)
    _up(chosen)
    deployment = running.deployment()
    outputs = deployment.outputs(with_key=True)
    store = TaskStore(client(deployment.place, "dynamodb"), outputs["table_name"])
    prefix, hint = f"demo-{uuid.uuid4().hex[:6]}", how_to_go_on(datetime.now(UTC))
    doomed = f"{prefix}-doomed"
    killer = Killer(lambda: _workers(outputs["endpoint_url"]), outputs["functions"]["ProcessTask"], chosen.kills)
    console.say(
        f"Submitting {chosen.count} tasks, {chosen.concurrency} at a time; {doomed} is told to die once.", "bold"
    )
    with screenshot.of_second(screenshot.SECOND, os.environ.get("PNG")) as begins:
        started = time.monotonic()
        with interruptible(lambda: "the tasks that were accepted so far go on without the demo", hint):
            accepted, failures = submit_all(outputs["api_url"], outputs["api_key"], chosen, prefix, begins)
        submit_seconds = time.monotonic() - started
        watch = Watch.of(store, accepted)
        with interruptible(watch.told, hint):
            ledger = watch.until_rest(chosen.wait_seconds, killer.look)
    dead = ledger.dead(store)
    report(ledger, dead, submit_seconds)
    replay = replay_of(dead, Connection(outputs["api_url"], outputs["api_key"]), chosen)
    if ledger.at_rest():
        replay.until_done(store, chosen.wait_seconds, hint)
        ledger = Ledger.read(store, accepted)
        replay.show(ledger)
    tell_how_to_go_on(outputs)
    return verdict(Account(ledger, ledger.dead(store), failures, doomed, killer, replay))


def replay_of(dead: Sequence[DeadTask], connection: Connection, chosen: Plan) -> Replay:
    def redrive(task_id: str, generation: int) -> int:
        return connection.tasks.redrive(task_id, generation).generation

    return Replay([one.task.task_id for one in dead], redrive, chosen.concurrency)


def how_to_go_on(started: datetime) -> str:
    """After an interruption. What dies later, and what was to be replayed, is found by the time of its death."""
    since = f"make redrive SINCE={instant(started)}"
    return (
        f"`make status` shows what is open, `{since} DRY_RUN=1` what is dead; `{since}` replays it; `make down` stops."
    )


def main() -> int:
    if file := os.environ.get("SVG"):
        return picture.of_module("scripts.demo", "make demo", Path(file))
    try:
        return 0 if demo() else 1
    except BootstrapError as error:
        console.fail(error.message, error.hint)
        return 1
    except Interrupted as stopped:
        console.fail(f"Interrupted: {stopped.told}.", stopped.hint)
        return 130
    except KeyboardInterrupt:
        console.fail("Interrupted.", "`make status` shows what runs; `make down` stops it.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
