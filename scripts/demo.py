"""Demo: start the stack, submit tasks that sometimes fail, watch them to their ends, and account for every one.

COUNT (100), CONCURRENCY (10) and WAIT (600 s) change it, and so does every setting of the system (FAILURE_RATE, …).
KILL=1 kills a worker with SIGKILL while it works, and shortens PROCESS_TIMEOUT_SECONDS so that this heals in seconds.
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
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bootstrap import console, state
from bootstrap.deploy import client
from bootstrap.errors import BootstrapError
from client import ApiError, TaskClient
from lambdas.common.store import TaskStore
from lambdas.common.task import Status, Task
from scripts import running
from scripts.ledger import STATES, DeadTask, Ledger
from scripts.load_test import percentile
from scripts.workers import Workers

POLL_SECONDS = 0.4
KILL_SETTINGS = {"PROCESS_TIMEOUT_SECONDS": "5"}
"""The message of a killed worker comes back after six times that."""
LINE_SECONDS = 3
"""Between two lines of progress where there is no terminal to draw on."""


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


def submit_all(url: str, key: str, chosen: Plan, prefix: str) -> tuple[list[str], list[str]]:
    """Submit every task, the first one told to fail for good. The accepted ids, and what went wrong with the others."""
    local, failures = threading.local(), []

    def submit(number: int) -> str | None:
        if not hasattr(local, "client"):
            local.client = TaskClient(url, key)
        task_id = f"{prefix}-{number}" if number else f"{prefix}-doomed"
        payload: dict[str, Any] = {"number": number} if number else {"simulate": {"permanent": True}}
        try:
            return str(local.client.submit(payload=payload, task_id=task_id).task_id)
        except ApiError as error:
            failures.append(f"{task_id}: {error}")
            return None

    with ThreadPoolExecutor(chosen.concurrency) as pool:
        accepted = [task_id for task_id in pool.map(submit, range(chosen.count)) if task_id]
    return accepted, failures


@dataclass
class Killer:
    """Kills so many workers of ProcessTask, each once some tasks have ended and others are being worked on."""

    workers: Callable[[], Workers]
    function_name: str
    kills: int
    killed: int = 0

    def look(self, counts: Mapping[str, int]) -> None:
        if self.killed >= self.kills or not counts["completed"] or not counts["processing"]:
            return
        workers = self.workers()
        found = workers.of(self.function_name)
        if found and workers.kill(found[0]):
            self.killed += 1
            console.say(f"Killed worker {found[0]} of {self.function_name} with SIGKILL.", "bold yellow")

    def problems(self) -> list[str]:
        return ["no worker was killed: none was found at work"] if self.killed < self.kills else []

    def told(self) -> str:
        return f"{self.killed} worker killed, " if self.kills else ""


def watch(
    store: TaskStore, accepted: Sequence[str], seconds: float, look: Callable[[Mapping[str, int]], None]
) -> Ledger:
    """Show the tasks moving until all have ended, or `seconds` are over; `look` sees each count."""
    deadline, next_line = time.monotonic() + seconds, 0.0
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
    with Progress(*columns, console=console.out, transient=True) as progress:
        bar = progress.add_task("", total=len(accepted))
        while True:
            ledger = Ledger.read(store, accepted)
            counts = ledger.counts()
            look(counts)
            text = "  ".join(f"{state} {counts[state]:>{len(str(len(accepted)))}}" for state in STATES)
            progress.update(bar, description=text, completed=counts["completed"] + counts["dead"])
            now = time.monotonic()
            if not console.out.is_terminal and now >= next_line:
                console.detail(text)
                next_line = now + LINE_SECONDS
            if ledger.at_rest() or now > deadline:
                console.detail(text)
                return ledger
            time.sleep(POLL_SECONDS)


def report(ledger: Ledger, dead: Sequence[DeadTask], submit_seconds: float) -> None:
    tasks = list(ledger.tasks.values())
    table = Table(title="Outcome", title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    for status, number in sorted(Counter(str(task.status) for task in tasks).items()):
        table.add_row(status, str(number))
    table.add_section()
    for attempts, number in sorted(Counter(task.attempts for task in tasks).items()):
        name = f"{attempts} attempt{'s' if attempts != 1 else ''}"
        table.add_row(name, f"{number:>5} {'█' * max(1, round(40 * number / len(tasks)))}")
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
    table = Table(title="Dead letters", title_justify="left")
    for column in ("task", "attempts", "error"):
        table.add_column(column)
    for one in sorted(dead, key=lambda one: one.task.created_at):
        table.add_row(one.task.task_id, str(one.task.attempts), one.error)
    console.out.print(table)


def tell_how_to_go_on(outputs: Mapping[str, Any]) -> None:
    console.say(f"API URL: {outputs['api_url']}", "bold green")
    console.say("Submit one yourself:")
    console.say(f"  {curl(outputs)}")


def curl(outputs: Mapping[str, Any]) -> str:
    """The key itself is left to the shell: what a demo prints may be kept, in CI for one.

    LocalStack gives a function no body that is said to be a form, which is what curl says unless told otherwise.
    """
    key = '"x-api-key: $(.venv/bin/python -m bootstrap outputs --key)"'
    body = '{"payload": {"hello": "world"}}'
    return f"curl -H {key} -H 'content-type: application/json' -d {shlex.quote(body)} {outputs['api_url']}"


def verdict(ledger: Ledger, dead: Sequence[DeadTask], failures: Sequence[str], doomed: str, killer: Killer) -> bool:
    not_accepted = (f"not accepted: {failure}" for failure in failures)
    problems = [*not_accepted, *ledger.problems(dead), *killer.problems()]
    task = ledger.tasks.get(doomed)
    if task is not None and task.status is not Status.FAILED_FINAL:
        problems.append(f"{doomed} was told to fail for good, but is {task.status}")
    for problem in problems[:20]:
        console.fail(problem)
    accounted = len(ledger.accepted) - len(ledger.missing()) - len(ledger.open())
    console.say(
        f"{killer.told()}{len(ledger.accepted)} accepted, {accounted} accounted for, {len(ledger.missing())} lost; "
        f"{len(dead)} failed for good, {sum(one.records == 1 for one in dead)} dead letters recorded.",
        "bold red" if problems else "bold green",
    )
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
    prefix = f"demo-{uuid.uuid4().hex[:6]}"
    doomed = f"{prefix}-doomed"
    killer = Killer(lambda: _workers(outputs["endpoint_url"]), outputs["functions"]["ProcessTask"], chosen.kills)
    console.say(
        f"Submitting {chosen.count} tasks, {chosen.concurrency} at a time; {doomed} is told to fail for good.", "bold"
    )
    started = time.monotonic()
    accepted, failures = submit_all(outputs["api_url"], outputs["api_key"], chosen, prefix)
    submit_seconds = time.monotonic() - started
    ledger = watch(store, accepted, chosen.wait_seconds, killer.look)
    dead = ledger.dead(store)
    report(ledger, dead, submit_seconds)
    tell_how_to_go_on(outputs)
    return verdict(ledger, dead, failures, doomed, killer)


def main() -> int:
    try:
        return 0 if demo() else 1
    except BootstrapError as error:
        console.fail(error.message, error.hint)
        return 1
    except KeyboardInterrupt:
        console.fail("Interrupted; the tasks that were submitted go on.", "`make status`, or `make down`.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
