"""The simulation held against the embedded AWS: the same arrivals, measured and simulated.

What a batch costs beside its work is taken from a run before, a burst without failures on the same stack: the machine's
processors are in it. Everything else that the simulation is told is a setting.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

from lambdas.common.retry import Backoff
from lambdas.common.task import Status, Task
from scripts.demo import Connection
from scripts.ledger import Ledger
from tests.benchmarks.scale.simulation import Result, Setting, Spread, constant, fixed, simulate
from tests.conftest import TESTS
from tests.support import stack as stacks
from tests.support.stack import DeployedStack, new_id
from tests.support.waiting import eventually

WORK_SECONDS = 1
FIT_TASKS = 40
"""Of the burst from which the overhead is taken, for each batch at once."""
SEEDS = 20
"""Failures are drawn by chance: so many runs are simulated, and the mean is shown."""
ENDED = (Status.COMPLETED, Status.FAILED_FINAL)


@dataclass(frozen=True, slots=True)
class Case:
    """`rate` is that of the arrivals, a second; the clients may not keep up with a high one."""

    name: str
    tasks: int
    rate: float
    max_concurrency: int
    failure_rate: float = 0

    @property
    def variables(self) -> Mapping[str, str]:
        chosen = {"MAX_CONCURRENCY": self.max_concurrency, "FAILURE_RATE": self.failure_rate}
        return {"WORK_SECONDS": str(WORK_SECONDS), **{name: str(value) for name, value in chosen.items()}}


CASES: Sequence[Case] = (
    Case("burst", 200, 1000, 2),
    Case("burst", 200, 1000, 4),
    Case("burst, 30 % fail", 200, 1000, 4, 0.3),
    Case("8 a second", 160, 8, 2),
    Case("8 a second, 30 % fail", 160, 8, 2, 0.3),
    Case("30 a second: overload", 240, 30, 2),
)


@dataclass(frozen=True, slots=True)
class Measured:
    seconds: float
    waits: Spread
    ages: Spread
    dead: int


@dataclass(frozen=True, slots=True)
class Compared:
    case: Case
    overhead: float
    arrivals: Sequence[float]
    measured: Measured
    simulated: Sequence[Result]

    def ratio(self, name: str, part: str | None = None) -> float:
        """Simulated by measured; `part` of a spread."""
        return self.mean(name, part) / _value(self.measured, name, part)

    def mean(self, name: str, part: str | None = None) -> float:
        return statistics.mean(_value(result, name, part) for result in self.simulated)

    def value(self, name: str, part: str | None = None) -> float:
        return _value(self.measured, name, part)


def _value(found: object, name: str, part: str | None) -> float:
    value = getattr(found, name)
    return float(value if part is None else getattr(value, part))


def compare(case: Case) -> Compared:
    """Deploys a stack of its own; takes about as long as the case."""
    setting = setting_of(case)
    with deployed(case) as stack:
        burst = submitted(stack, [0] * case.max_concurrency * FIT_TASKS, failing=False)
        tasks = submitted(stack, list(constant(case.rate, case.tasks / case.rate)))
    overhead = fitted(replace(setting, failure_rate=0), arrivals_of(burst), measured(burst).seconds)
    arrivals, told = arrivals_of(tasks), replace(setting, overhead=overhead)
    simulated = [simulate(arrivals, told, seed) for seed in range(SEEDS if case.failure_rate else 1)]
    return Compared(case, overhead, arrivals, measured(tasks), simulated)


def fitted(setting: Setting, arrivals: Sequence[float], seconds: float) -> float:
    """The overhead of a batch with which the simulation takes as long as was measured, to a millisecond."""
    low, high = 0.0, seconds
    while high - low > 0.001:
        middle = (low + high) / 2
        longer = simulate(arrivals, replace(setting, overhead=middle)).seconds >= seconds
        low, high = (low, middle) if longer else (middle, high)
    return low


def setting_of(case: Case) -> Setting:
    """As deployed by `stacks.deploy`. A local AWS has its pollers at once."""
    return Setting(
        work=fixed(WORK_SECONDS),
        batch_size=int(stacks.FAST["BATCH_SIZE"]),
        batch_window=int(stacks.FAST["BATCH_WINDOW_SECONDS"]),
        max_concurrency=case.max_concurrency,
        failure_rate=case.failure_rate,
        max_attempts=int(stacks.FAST["MAX_RETRIES"]) + 1,
        backoff=Backoff(float(stacks.FAST["BACKOFF_BASE_SECONDS"]), 900, "equal"),
        first_pollers=case.max_concurrency,
    )


@contextmanager
def deployed(case: Case) -> Iterator[DeployedStack]:
    """Warm: every worker has worked."""
    folder = stacks.new_folder(TESTS, "scale")
    try:
        stack = stacks.deploy(folder, "embedded", None, **case.variables)
        submitted(stack, [0] * case.max_concurrency * 20, failing=False)
        yield stack
    finally:
        stacks.remove(folder)


def submitted(stack: DeployedStack, at: Sequence[float], failing: bool = True) -> Sequence[Task]:
    """Submit a task at each of these moments, and wait for the last of them to end."""
    connection = Connection(stack.outputs["api_url"], stack.outputs["api_key"])
    payload = {} if failing else {"simulate": {"failureRate": 0}}
    begin = time.monotonic()

    def submit(moment: float) -> str:
        time.sleep(max(0, begin + moment - time.monotonic()))
        return connection.tasks.submit(payload=payload, task_id=new_id("scale")).task_id

    with ThreadPoolExecutor(10) as pool:
        accepted = list(pool.map(submit, at))
    ledger = eventually(lambda: Ledger.read(stack.store, accepted), lambda found: found.at_rest(), seconds=600)
    return list(ledger.tasks.values())


def arrivals_of(tasks: Sequence[Task]) -> Sequence[float]:
    return sorted(task.created_at / 1000 for task in tasks)


def measured(tasks: Sequence[Task]) -> Measured:
    first = min(task.created_at for task in tasks)
    return Measured(
        (max(map(_ended, tasks)) - first) / 1000,
        Spread.of((_started(task) - task.created_at) / 1000 for task in tasks),
        Spread.of((_ended(task) - task.created_at) / 1000 for task in tasks),
        sum(task.status is Status.FAILED_FINAL for task in tasks),
    )


def _started(task: Task) -> int:
    return next(entry.at for entry in task.timeline if entry.status == Status.PROCESSING)


def _ended(task: Task) -> int:
    return next(entry.at for entry in task.timeline if entry.status in ENDED)
