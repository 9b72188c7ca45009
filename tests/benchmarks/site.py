"""All contenders in one local AWS: deployed, started, and gone afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.contenders import Contender, celery_sqs, original
from tests.benchmarks.contenders.ceiling import Bare
from tests.benchmarks.contenders.celery_sqs import CelerySqs
from tests.benchmarks.contenders.original import OriginalContender
from tests.benchmarks.contenders.ours import Ours
from tests.benchmarks.workloads import NO_OP, WORK, Workload
from tests.conftest import TESTS
from tests.support import stack as stacks
from tests.support.stack import DeployedStack

EMULATORS_KEY = ":".join(["test"] * 2)
"""User and password of a local AWS, for an address."""
PROCESSES = 2
"""Of each contender: one per core, and the least that a mapping of Lambda may be limited to."""
THREADS = 10
"""Of ours in each process: a whole batch side by side."""
BACKOFF_SECONDS, TIMEOUT_SECONDS = "1", "5"
SETTINGS = {
    "MAX_CONCURRENCY": str(PROCESSES),
    "API_RATE_LIMIT": "10000",
    "BACKOFF_BASE_SECONDS": BACKOFF_SECONDS,
    "PROCESS_TIMEOUT_SECONDS": TIMEOUT_SECONDS,
    "BATCH_SIZE": "10",
    "FAILURE_RATE": "0",
    "WORK_SECONDS": "0",
    "LOG_LEVEL": "INFO",
}


@dataclass(frozen=True)
class Site:
    stack: DeployedStack
    server: int
    """Process id of the local AWS."""
    ours: Ours
    batched: Ours
    original: OriginalContender
    celery: CelerySqs
    recorded: CelerySqs
    """Celery with its results kept in DynamoDB, so that a task's state can be asked for, as ours can."""
    threaded: CelerySqs
    """Celery with as many threads in each process as ours has: work that waits can wait side by side."""

    def contenders(self, load: Workload) -> Sequence[Contender]:
        """The bare calls only beside tasks without work, which is what they do; threads only where work waits."""
        bare = (Bare(self.stack), Bare(self.stack, batched=True)) if load.name == NO_OP.name else ()
        threaded = (self.threaded,) if load.name == WORK.name else ()
        return (self.ours, self.batched, self.original, self.celery, self.recorded, *threaded, *bare)


@contextmanager
def built() -> Iterator[Site]:
    folder = stacks.new_folder(TESTS, "bench")
    try:
        stack = stacks.deploy(folder, "embedded", None, **SETTINGS)
        server = int(json.loads((folder / "running.json").read_text())["pid"])
        visibility = visibility_seconds(stack)
        numbers = {
            "ProcessTimeoutSeconds": TIMEOUT_SECONDS,
            "VisibilitySeconds": visibility,
            "BackoffBaseSeconds": BACKOFF_SECONDS,
        }
        with ExitStack() as started:
            first = started.enter_context(original.deployed(stack, server, numbers))
            celery = started.enter_context(worker(stack, folder, "Celery"))
            results = f"dynamodb://{EMULATORS_KEY}@{str(stack.place.endpoint_url).removeprefix('http://')}/celery"
            recorded = started.enter_context(worker(stack, folder, "Celery, results", BENCH_RESULTS=results))
            threads = [("--pool", "threads", "--concurrency", str(THREADS))] * PROCESSES
            threaded = started.enter_context(worker(stack, folder, "Celery, threads", threads, BENCH_AHEAD="1"))
            ours, batched = Ours(stack, server), Ours(stack, server, True)
            yield Site(stack, server, ours, batched, first, celery, recorded, threaded)
    finally:
        stacks.remove(folder)


PREFORK: Sequence[Sequence[str]] = (("--concurrency", str(PROCESSES)),)
"""Celery's default: one worker whose processes work on one task each."""


def worker(
    stack: DeployedStack, folder: Path, name: str, workers: Sequence[Sequence[str]] = PREFORK, **more: str
) -> AbstractContextManager[CelerySqs]:
    """Celery with as much patience as our queue has."""
    settings = {"BENCH_VISIBILITY_SECONDS": visibility_seconds(stack), "BENCH_BACKOFF_SECONDS": BACKOFF_SECONDS}
    return celery_sqs.started(stack, folder, name, workers, {**settings, **more})


def visibility_seconds(stack: DeployedStack) -> str:
    name = "VisibilityTimeout"
    found = stack.aws("sqs").get_queue_attributes(QueueUrl=stack.outputs["queue_url"], AttributeNames=[name])
    return str(found["Attributes"][name])
