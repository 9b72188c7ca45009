"""One workload on one contender: how fast, how long, how much of the machine."""

from __future__ import annotations

import contextlib
import statistics
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import psutil

from scripts.load_test import percentile
from tests.benchmarks.contenders import Contender
from tests.benchmarks.workloads import Workload

PATIENCE_SECONDS = 900


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
    """Per task, of functions or workers: user and system."""
    server_cpu_ms: float
    """Per task, of the local AWS itself."""
    worker_memory_mb: float
    """Resident, of the largest of its processes."""
    processes: int


def measure(contender: Contender, load: Workload, run: int, server: int) -> Figures:
    before, server_before = _cpu(contender.processes()), _cpu([server])
    submits = contender.submit(load, f"bench-{uuid.uuid4().hex[:6]}")
    ends = contender.ends(submits.task_ids, PATIENCE_SECONDS)
    after, server_after = _cpu(contender.processes()), _cpu([server])
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
        load.tasks,
        load.tasks - len(ends),
        percentile(requests, 0.5),
        percentile(requests, 0.95),
        percentile(requests, 0.99),
        load.tasks / (answered - first),
        len(ends) / (max(ends.values()) - first),
        percentile(done, 0.5),
        percentile(done, 0.95),
        _spent(before, after) * 1000 / load.tasks,
        _spent(server_before, server_after) * 1000 / load.tasks,
        max(_memory_mb(contender.processes()), default=0),
        len(after),
    )


def ratios(of: Sequence[float], to: Sequence[float]) -> float:
    """Median of the ratios of runs that stood side by side."""
    return statistics.median(one / other for one, other in zip(of, to, strict=True))


def _cpu(pids: Iterable[int]) -> dict[int, float]:
    found: dict[int, float] = {}
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            times = psutil.Process(pid).cpu_times()
            found[pid] = times.user + times.system
    return found


def _spent(before: Mapping[int, float], after: Mapping[int, float]) -> float:
    """What has ended in between is missing; what has begun counts from its begin: its cold start is in it."""
    return sum(seconds - before.get(pid, 0) for pid, seconds in after.items())


def _memory_mb(pids: Iterable[int]) -> list[float]:
    found: list[float] = []
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            found.append(psutil.Process(pid).memory_info().rss / 1e6)
    return found
