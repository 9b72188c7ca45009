"""One workload on one contender: how fast, how long, how much of the machine."""

from __future__ import annotations

import contextlib
import statistics
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import psutil

from scripts.load_test import percentile
from tests.benchmarks.contenders import Contender, Submits
from tests.benchmarks.workloads import COLD, WARM_UP, Workload

PATIENCE_SECONDS = 900
LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one run. Milliseconds of a submit are those of its request; `done` is from the submit to the task's end."""

    contender: str
    workload: str
    run: int
    tasks: int
    unended: int
    submit_p50_ms: float
    submit_p95_ms: float
    submit_p99_ms: float
    accepted_per_second: float
    """From the begin of the first request to the last answer."""
    tasks_per_second: float
    """From the first submit to the last end."""
    done_p50_seconds: float
    done_p95_seconds: float
    worker_cpu_ms: float
    """Per task, of functions or workers: user and system. Of a process that has ended in between, all but what it used
    after it was last seen, at most a second before; a function's worker has done nothing for a minute when it ends."""
    server_cpu_ms: float
    """Per task, of the local AWS itself."""
    worker_memory_mb: float
    """Resident, of the largest of its processes, at its most."""
    processes: int
    """That were there at any time."""


def measure(contender: Contender, load: Workload, run: int, server: int) -> Figures:
    """Warmed up before, unless the workload is what a cold one does."""
    if load.name == COLD.name:
        contender.chill()
    else:
        worked_through(contender, WARM_UP)
    watch, server_watch = Watch(contender.processes), Watch(lambda: [server])
    with watch, server_watch:
        submits, ends = worked_through(contender, load)
    requests = [request.seconds * 1000 for request in submits.requests]
    begun = {task_id: submits.begun(number) for number, task_id in enumerate(submits.task_ids)}
    done = [ends[task_id] - begun[task_id] for task_id in ends]
    assert ends, f"{contender.name}: no task of {load.tasks} has ended"
    first = min(begun.values())
    answered = max(request.begun + request.seconds for request in submits.requests)
    return Figures(
        contender.name,
        load.name,
        run,
        len(begun),
        len(begun) - len(ends),
        percentile(requests, 0.5),
        percentile(requests, 0.95),
        percentile(requests, 0.99),
        len(begun) / (answered - first),
        len(ends) / (max(ends.values()) - first),
        percentile(done, 0.5),
        percentile(done, 0.95),
        watch.spent() * 1000 / len(begun),
        server_watch.spent() * 1000 / len(begun),
        watch.memory_mb,
        len(watch.seen),
    )


def worked_through(contender: Contender, load: Workload) -> tuple[Submits, Mapping[str, float]]:
    submits = contender.submit(load, f"bench-{uuid.uuid4().hex[:6]}")
    return submits, contender.ends(submits.task_ids, PATIENCE_SECONDS)


def ratios(of: Sequence[float], to: Sequence[float]) -> float:
    """Median of the ratios of runs that stood side by side."""
    return statistics.median(one / other for one, other in zip(of, to, strict=True))


class Watch(threading.Thread):
    """Looks at processes at the begin, every second, and at the end: what one had used last stays known."""

    def __init__(self, pids: Callable[[], Sequence[int]]) -> None:
        super().__init__(daemon=True)
        self._pids, self._stopped = pids, threading.Event()
        self._before: dict[int, float] = {}
        self.seen: dict[int, float] = {}
        """CPU seconds by process."""
        self.memory_mb = 0.0

    def __enter__(self) -> Watch:
        self.look()
        self._before = dict(self.seen)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self.join()
        self.look()

    def run(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            self.look()

    def look(self) -> None:
        for pid in self._pids():
            with contextlib.suppress(psutil.Error):  # it may have ended since it was found
                process = psutil.Process(pid)
                times = process.cpu_times()
                self.seen[pid] = times.user + times.system
                self.memory_mb = max(self.memory_mb, process.memory_info().rss / 1e6)

    def spent(self) -> float:
        """CPU seconds in between. What has begun counts from its begin: its start is in it."""
        return sum(seconds - self._before.get(pid, 0) for pid, seconds in self.seen.items())
