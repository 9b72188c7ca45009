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
from tests.benchmarks.site import Site
from tests.benchmarks.workloads import Workload
from tests.support.stack import DeployedStack
from tests.support.swapped import deployed, swapped

LOAD = Workload("workers killed", 200, work_seconds=0.3)
KILLS, EVERY_SECONDS = 3, 1.5
PATIENCE_SECONDS = 120
"""Four visibility time-outs: what has not ended by then has no message any more."""
KIND = {"lambdas/process_task/kinds/journaled.py": "tests/benchmarks/contenders/journaled.py"}


@dataclass(frozen=True, slots=True)
class Toll:
    contender: str
    tasks: int
    kills: int
    lost: int
    """Accepted, and not ended after `PATIENCE_SECONDS`."""
    worked_twice: int
    """Their work came to its end more than once. Ours writes the effects of one of them."""
    last_end_seconds: float
    """From the first submit."""


@dataclass(frozen=True, slots=True)
class Suspect:
    contender: Contender
    pool: Callable[[], Sequence[int]]
    """Process ids of those who work."""
    worked: Callable[[], Counter[str]]


def tolls(here: Site, load: Workload = LOAD, more: bool = True) -> list[Toll]:
    """One contender after the other; with `more` Celery also told to hand back what was killed."""
    found = []
    with journaled(here) as journal:
        found += [_toll(each, load) for each in _functions(here, journal)]
    found.append(_toll(Suspect(here.celery, here.celery.pool, here.celery.worked), load))
    if not more:
        return found
    with site.worker(here.stack, here.stack.folder, "Celery, rejecting", BENCH_REJECT_LOST="1") as rejecting:
        found.append(_toll(Suspect(rejecting, rejecting.pool, rejecting.worked), load))
    return found


def _functions(here: Site, journal: Path) -> list[Suspect]:
    workers = Workers(here.server)
    names = (here.stack.outputs["functions"]["ProcessTask"], here.original.outputs["ProcessName"])
    contenders: tuple[Contender, ...] = (replace(here.ours, kind="journaled"), here.original)
    return [
        Suspect(contender, partial(workers.of, name), partial(_lines, journal))
        for contender, name in zip(contenders, names, strict=True)
    ]


@contextmanager
def journaled(here: Site) -> Iterator[Path]:
    """Ours with the kind `journaled`, and both with the file that it writes to."""
    journal = here.stack.folder / f"worked-{uuid.uuid4().hex[:6]}.txt"
    journal.touch()
    before = [deployed(here.stack, name) for name in ("SubmitTask", "ProcessTask")]
    during = [each.wrapped(here.stack, each.handler, KIND, JOURNAL=str(journal)) for each in before]
    _tell(here.stack, here.original.outputs["ProcessName"], str(journal))
    with swapped(here.stack, before, during):
        yield journal


def _tell(stack: DeployedStack, function: str, journal: str) -> None:
    functions = stack.aws("lambda")
    variables = functions.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
    functions.update_function_configuration(
        FunctionName=function, Environment={"Variables": {**variables, "JOURNAL": journal}}
    )
    functions.get_waiter("function_updated").wait(FunctionName=function, WaiterConfig={"Delay": 1})


def _toll(suspect: Suspect, load: Workload) -> Toll:
    killer = _Killer(suspect.pool)
    killer.start()
    submits = suspect.contender.submit(load, f"kill-{uuid.uuid4().hex[:6]}")
    ends = suspect.contender.ends(submits.task_ids, PATIENCE_SECONDS)
    killer.stop()
    worked = suspect.worked()
    first = min(request.begun for request in submits.requests)
    return Toll(
        suspect.contender.name,
        load.tasks,
        killer.killed,
        load.tasks - len(ends),
        sum(worked[task_id] > 1 for task_id in submits.task_ids),
        max(ends.values(), default=first) - first,
    )


class _Killer(threading.Thread):
    """Kills one of the pool every while, until it has killed enough or is told to stop."""

    def __init__(self, pool: Callable[[], Sequence[int]]) -> None:
        super().__init__(daemon=True)
        self._pool, self._stopped, self.killed = pool, threading.Event(), 0

    def run(self) -> None:
        while self.killed < KILLS and not self._stopped.wait(EVERY_SECONDS):
            with suppress(ProcessLookupError, IndexError):
                os.kill(self._pool()[0], signal.SIGKILL)
                self.killed += 1

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def _lines(journal: Path) -> Counter[str]:
    return Counter(journal.read_text().split())
