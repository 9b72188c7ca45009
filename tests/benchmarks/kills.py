"""Workers killed with SIGKILL in the middle: what is lost, and whose work runs to its end twice."""

from __future__ import annotations

import os
import signal
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from scripts.workers import Workers
from tests.benchmarks import site
from tests.benchmarks.contenders import Contender
from tests.benchmarks.contenders.celery_sqs import CelerySqs
from tests.benchmarks.contenders.web import begun, renew
from tests.benchmarks.site import Site
from tests.benchmarks.workloads import Workload
from tests.support.swapped import deployed, swapped

LOAD = Workload("workers killed", 200, work_seconds=0.3)
KILLS, EVERY_SECONDS, RUNS = 3, 1.5, 3
PATIENCE_SECONDS = 120
"""Four visibility time-outs: what has not ended by then has no message any more."""
KIND = {"lambdas/process_task/kinds/journaled.py": "tests/benchmarks/contenders/journaled.py"}


@dataclass(frozen=True, slots=True)
class Toll:
    contender: str
    tasks: int
    runs: int
    """Added up."""
    kills: int
    """Of processes that had begun a task."""
    lost: int
    """Accepted, and not ended after `PATIENCE_SECONDS`."""
    worked_twice: int
    """Their work came to its end more than once. Ours writes the effects of one of them."""
    last_end_seconds: float
    """From the first submit, in the longest of the runs."""


@dataclass(frozen=True, slots=True)
class Suspect:
    contender: Contender
    pool: Callable[[], Sequence[int]]
    """Process ids of those who work."""
    begun: Callable[[], Counter[int]]
    """Tasks that each process has begun."""
    worked: Callable[[], Counter[str]]


def tolls(here: Site, load: Workload = LOAD, runs: int = RUNS, quick: bool = False) -> list[Toll]:
    """One contender after the other, at last Celery told to hand back what was killed; `quick` takes ours alone."""
    found = []
    with journaled(here) as journal:
        functions = _functions(here, journal)
        found += [_summed(each, load, runs) for each in (functions[:1] if quick else functions)]
    if quick:
        return found
    found.append(_summed(_celery(here.celery), load, runs))
    with site.worker(here.stack, here.stack.folder, "Celery, rejecting", BENCH_REJECT_LOST="1") as rejecting:
        found.append(_summed(_celery(rejecting), load, runs))
    return found


def _celery(celery: CelerySqs) -> Suspect:
    return Suspect(celery, celery.pool, celery.begun, celery.worked)


def _functions(here: Site, journal: Path) -> list[Suspect]:
    workers = Workers(here.server)
    names = (here.stack.outputs["functions"]["ProcessTask"], here.original.outputs["ProcessName"])
    contenders: tuple[Contender, ...] = (replace(here.ours, kind="journaled"), here.original)
    return [
        Suspect(contender, partial(workers.of, name), partial(begun, journal), partial(_lines, journal))
        for contender, name in zip(contenders, names, strict=True)
    ]


@contextmanager
def journaled(here: Site) -> Iterator[Path]:
    """Ours with the kind `journaled`, and both with the file that it writes to."""
    journal = here.stack.folder / f"worked-{uuid.uuid4().hex[:6]}.txt"
    journal.touch()
    before = [deployed(here.stack, name) for name in ("SubmitTask", "ProcessTask")]
    during = [each.wrapped(here.stack, each.handler, KIND, JOURNAL=str(journal)) for each in before]
    renew(here.stack.aws("lambda"), here.original.outputs["ProcessName"], JOURNAL=str(journal))
    with swapped(here.stack, before, during):
        yield journal


def _summed(suspect: Suspect, load: Workload, runs: int) -> Toll:
    return summed([_toll(suspect, load) for _ in range(runs)])


def summed(tolls: Sequence[Toll]) -> Toll:
    """Runs of one contender as one."""
    return Toll(
        tolls[0].contender,
        sum(each.tasks for each in tolls),
        sum(each.runs for each in tolls),
        sum(each.kills for each in tolls),
        sum(each.lost for each in tolls),
        sum(each.worked_twice for each in tolls),
        max(each.last_end_seconds for each in tolls),
    )


def _toll(suspect: Suspect, load: Workload) -> Toll:
    killer = Killer(suspect.pool, suspect.begun)
    killer.start()
    submits = suspect.contender.submit(load, f"kill-{uuid.uuid4().hex[:6]}")
    ends = suspect.contender.ends(submits.task_ids, PATIENCE_SECONDS)
    killer.stop()
    worked = suspect.worked()
    first = min(request.begun for request in submits.requests)
    return Toll(
        suspect.contender.name,
        load.tasks,
        1,
        killer.killed,
        load.tasks - len(ends),
        sum(worked[task_id] > 1 for task_id in submits.task_ids),
        max(ends.values(), default=first) - first,
    )


class Killer(threading.Thread):
    """Kills one of the pool that has begun a task, every while, until it has killed enough or is told to stop."""

    def __init__(self, pool: Callable[[], Sequence[int]], begun: Callable[[], Counter[int]]) -> None:
        super().__init__(daemon=True)
        self._pool, self._begun, self._stopped, self.killed = pool, begun, threading.Event(), 0
        self._before = begun()

    def run(self) -> None:
        while self.killed < KILLS and not self._stopped.wait(EVERY_SECONDS):
            self.strike()

    def strike(self) -> None:
        """Nobody is killed that has done nothing since the killer was made: there would be nothing to lose."""
        at_work = self._begun() - self._before
        victim = next((pid for pid in self._pool() if at_work[pid]), None)
        with suppress(ProcessLookupError):
            if victim is not None:
                os.kill(victim, signal.SIGKILL)
                self.killed += 1

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def _lines(journal: Path) -> Counter[str]:
    return Counter(journal.read_text().split())
