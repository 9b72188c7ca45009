"""Who takes part in `make bench`: this project, the original design, Celery on SQS; the bare calls are the ceiling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tests.benchmarks.workloads import Workload


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a client: when it began (Unix time), and how many seconds it took."""

    begun: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Submits:
    """The requests in their order; each carries `per_request` tasks, the last one maybe fewer."""

    task_ids: Sequence[str]
    requests: Sequence[Request]
    per_request: int = 1

    def begun(self, number: int) -> float:
        """When the task of that number was submitted."""
        return self.requests[number // self.per_request].begun


class Contender(Protocol):
    @property
    def name(self) -> str: ...

    def submit(self, load: Workload, run: str) -> Submits:
        """Submit every task under ids that begin with `run`; the number of a task stands behind the last dash."""
        ...

    def ends(self, task_ids: Sequence[str], seconds: float) -> Mapping[str, float]:
        """When each task ended (Unix time), once all have, or `seconds` have passed: then without the others."""
        ...

    def chill(self) -> None:
        """Let whoever starts with a task start with the next one."""
        ...

    def processes(self) -> Sequence[int]:
        """Of its functions or workers, without the server of the local AWS."""
        ...
