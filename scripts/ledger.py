"""What became of a set of tasks, read from the table itself: the account that a run is held to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lambdas.common.decisions import WORKER_DIED
from lambdas.common.store import TaskStore
from lambdas.common.task import TERMINAL, IndexClass, Status, Task

CLAIM_ON_ITS_WAY_MS = 1_000
"""A worker's last claim may be written so long after it died: the request was on its way."""
STATES = ("submitted", "processing", "waiting", "completed", "dead")
_STATE_OF: Mapping[Status, str] = {
    Status.SUBMITTED: "submitted",
    Status.PROCESSING: "processing",
    Status.FAILED_PENDING: "waiting",
    Status.COMPLETED: "completed",
    Status.FAILED_FINAL: "dead",
    Status.CANCELLED: "completed",
}


@dataclass(frozen=True, slots=True)
class DeadTask:
    """A generation of a task that failed for good, with the records that its end has left."""

    task: Task
    """As it is now: a replay may have ended otherwise."""
    generation: int
    records: int
    error: str


@dataclass(frozen=True, slots=True)
class Ledger:
    """`accepted` are the ids that the API took; `tasks` are the rows found for them."""

    accepted: Sequence[str]
    tasks: Mapping[str, Task]

    @classmethod
    def read(cls, store: TaskStore, accepted: Sequence[str]) -> Ledger:
        return cls(accepted, {task.task_id: task for task in store.get_many(accepted)})

    def counts(self) -> dict[str, int]:
        """How many tasks are in each of STATES."""
        found = Counter(_STATE_OF[task.status] for task in self.tasks.values())
        return {state: found[state] for state in STATES}

    def at_rest(self) -> bool:
        """Every task has ended, and each dead one has been recorded."""
        return len(self.tasks) == len(self.accepted) and all(
            task.status in TERMINAL and task.index_class is not IndexClass.DEAD for task in self.tasks.values()
        )

    def taken_over(self, died_at: int) -> list[str]:
        """Tasks that a worker was at when it died, at `died_at` (ms): since claimed again or given up."""
        return [task.task_id for task in self.tasks.values() if _abandoned(task, died_at + CLAIM_ON_ITS_WAY_MS)]

    def held_since(self, died_at: int) -> bool:
        """Whether a task is still in an attempt that such a worker may have begun."""
        begun_by = died_at + CLAIM_ON_ITS_WAY_MS
        return any(task.status is Status.PROCESSING and task.updated_at <= begun_by for task in self.tasks.values())

    def missing(self) -> list[str]:
        return [task_id for task_id in self.accepted if task_id not in self.tasks]

    def open(self) -> list[Task]:
        return [task for task in self.tasks.values() if task.status not in TERMINAL]

    def dead(self, store: TaskStore) -> list[DeadTask]:
        """Every generation that died, with the number of its dead-letter records, which must be one each."""
        return [death for task in self.tasks.values() for death in _deaths(store, task)]

    def problems(self, dead: Sequence[DeadTask]) -> list[str]:
        """Whatever contradicts "every accepted task is accounted for"; empty when all is well."""
        problems = [f"lost: no row for accepted task {task_id}" for task_id in self.missing()]
        problems += [f"not ended: {task.task_id} is {task.status}" for task in self.open()]
        problems += [
            f"{one.task.task_id} died in generation {one.generation} with {one.records} dead-letter records, not 1"
            for one in dead
            if one.records != 1
        ]
        return problems


def _abandoned(task: Task, moment: int) -> bool:
    """Whether a claim of before `moment` was followed, after it, by what only the end of a lease allows."""
    for claim, after in pairwise(task.timeline):
        lease_ended = after.status == Status.PROCESSING or after.note == WORKER_DIED
        if claim.status == Status.PROCESSING and lease_ended and claim.at <= moment < after.at:
            return True
    return False


def _deaths(store: TaskStore, task: Task) -> list[DeadTask]:
    """Only a dead generation can be replayed, so each before the last one has died."""
    generations = range(1, task.generation + (task.status is Status.FAILED_FINAL))
    kept = store.find(task.task_id, task.updated_at) if generations else None
    found = []
    for generation in generations:
        letters = [letter for letter in kept.dead_letters if letter.generation == generation] if kept else []
        found.append(DeadTask(task, generation, len(letters), letters[0].error if letters else task.error or "unknown"))
    return found
