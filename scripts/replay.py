"""The end of the demo: its dead tasks are replayed, again if need be, and what became of each is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from rich.text import Text

from bootstrap import console
from client import ApiError
from lambdas.common.store import TaskStore
from lambdas.common.task import Status, Task
from scripts.ledger import Ledger
from scripts.movement import Watch, interruptible, titled

ROUNDS = 3
"""A replayed task may die again, by chance. It is replayed so often; after that it stays dead, and the demo says so."""
SHOWN = 20
"""So many replayed tasks are shown one by one, and the rest is counted."""
Redrive = Callable[[str, int], int]
"""Replays a task by the generation that was seen dead, and says which one begins."""


@dataclass
class Replay:
    """Replays of the dead tasks among `ids`, each by the generation that was seen dead."""

    ids: Sequence[str]
    redrive: Redrive
    concurrency: int = 10
    begun: dict[str, int] = field(default_factory=dict)
    """Task -> the generation that its last replay has begun."""
    failures: dict[str, str] = field(default_factory=dict)
    """Task -> why its last replay was not made, as far as is known."""

    def until_done(self, store: TaskStore, seconds: float, hint: str) -> None:
        """Replay until nothing is dead, at most ROUNDS times; each time for up to `seconds`.

        Raises:
            Interrupted: by a person.
        """
        for number in range(1, ROUNDS + 1):
            dead = _dead(Ledger.read(store, self.ids))
            if not dead:
                return
            console.say(f"\nReplaying {_tasks(len(dead))}{' again' if number > 1 else ''}.", "bold")
            with interruptible(self.told, hint):
                self.send(dead)
            watch = Watch.of(store, [task.task_id for task in dead])
            with interruptible(self._told_of(watch), hint):
                ledger = watch.until_rest(seconds)
            if not ledger.at_rest():
                return

    def send(self, dead: Sequence[Task]) -> None:
        with ThreadPoolExecutor(self.concurrency) as pool:
            list(pool.map(self._send, dead))

    def _send(self, task: Task) -> None:
        try:
            self.begun[task.task_id] = self.redrive(task.task_id, task.generation)
            self.failures.pop(task.task_id, None)
        except ApiError as error:
            self.failures[task.task_id] = str(error)

    def told(self) -> str:
        return f"{len(self.begun)} of {_tasks(len(self.ids))} replayed"

    def _told_of(self, watch: Watch) -> Callable[[], str]:
        return lambda: f"{self.told()}; of these, {watch.told()}"

    def completed(self, ledger: Ledger) -> int:
        return sum(ledger.tasks[one].status is Status.COMPLETED for one in self.begun if one in ledger.tasks)

    def problems(self, ledger: Ledger) -> list[str]:
        """Whatever contradicts "each dead task was replayed, and nothing else happened to it"."""
        problems = [f"not replayed: {task_id}: {why}" for task_id, why in self.failures.items()]
        for task_id, generation in self.begun.items():
            task = ledger.tasks.get(task_id)
            if task is not None and task.generation != generation:
                problems.append(f"{task_id} was replayed as generation {generation}, but is in {task.generation}")
        return problems

    def show(self, ledger: Ledger) -> None:
        if not self.begun:
            return
        table = titled("Replayed", "task", "generation", "attempts", "status")
        tasks = sorted((ledger.tasks[one] for one in self.begun if one in ledger.tasks), key=_age)
        for task in tasks[:SHOWN]:
            status = Text(str(task.status), _STYLES.get(task.status, "yellow"))
            table.add_row(task.task_id, str(task.generation), str(task.attempts), status)
        console.out.print(table)
        if len(tasks) > SHOWN:
            console.say(f"  … and {len(tasks) - SHOWN} more")
        if dead := _dead(ledger):
            hint = f"make redrive TASK={dead[0].task_id}"
            console.say(f"Still dead after {ROUNDS} replays: {_tasks(len(dead))}; one more: {hint}", "yellow")


_STYLES: Mapping[Status, str] = {Status.COMPLETED: "green", Status.FAILED_FINAL: "red"}


def _dead(ledger: Ledger) -> list[Task]:
    dead = (task for task in ledger.tasks.values() if task.status is Status.FAILED_FINAL)
    return sorted(dead, key=_age)


def _age(task: Task) -> tuple[int, str]:
    return task.created_at, task.task_id


def _tasks(number: int) -> str:
    return f"{number} dead task{'s' if number != 1 else ''}"
