"""Celery on the same SQS: as many processes as our function may have at once, acknowledging late."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from bootstrap import environments
from bootstrap.paths import ROOT
from tests.benchmarks.contenders import Request, Submits
from tests.benchmarks.contenders.web import LOOK_SECONDS, begun, is_quiet
from tests.benchmarks.workloads import Workload
from tests.support.stack import DeployedStack
from tests.support.waiting import eventually

LOCK = ROOT / "requirements-bench.lock"
APP = "tests.benchmarks.contenders.celery_app"
SUBMIT = "tests.benchmarks.contenders.celery_submit"


@dataclass(frozen=True)
class CelerySqs:
    name: str
    python: Path
    variables: Mapping[str, str]
    sqs: Any
    parents: Sequence[int]
    """Process ids of the workers' main processes."""

    def submit(self, load: Workload, run: str) -> Submits:
        asked = json.dumps({"run": run, "load": asdict(load)})
        environment = {**self.variables, "BENCH_CLIENTS": str(load.concurrency)}
        done = subprocess.run(
            [self.python, "-m", SUBMIT],
            cwd=ROOT,
            env=environment,
            input=asked,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        requests = [Request(*each) for each in json.loads(done.stdout)]
        return Submits([f"{run}-{number}" for number in range(load.tasks)], requests)

    def ends(self, task_ids: Sequence[str], seconds: float) -> Mapping[str, float]:
        deadline, wanted = time.time() + seconds, set(task_ids)
        while True:
            quiet = is_quiet(self.sqs, self.variables["BENCH_QUEUE_URL"])  # an end is noted before it is acknowledged
            ended = {task_id: at for task_id, at in self._noted() if task_id in wanted}
            if len(ended) == len(wanted) or quiet or time.time() > deadline:
                return ended
            time.sleep(LOOK_SECONDS)

    def chill(self) -> None:
        """Its workers are never cold."""

    def processes(self) -> Sequence[int]:
        return [*self.parents, *self.pool()]

    def pool(self) -> Sequence[int]:
        """The processes that work on tasks."""
        return [child.pid for parent in self.parents for child in psutil.Process(parent).children()]

    def begun(self) -> Counter[int]:
        """Tasks that each process has begun."""
        return begun(Path(self.variables["BENCH_JOURNAL"]))

    def worked(self) -> Counter[str]:
        """How often the work of each task has ended."""
        return Counter(task_id for task_id, _ in self._noted())

    def _noted(self) -> Iterator[tuple[str, float]]:
        for line in Path(self.variables["BENCH_JOURNAL"]).read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                task_id, at = line.split()
                yield task_id, float(at)


@contextmanager
def started(
    stack: DeployedStack, folder: Path, name: str, workers: Sequence[Sequence[str]], settings: Mapping[str, str]
) -> Iterator[CelerySqs]:
    """`workers` are started side by side on one queue, each with its arguments; `settings` are for celery_app.py."""
    python = environments.python("bench", LOCK, "Celery, to compare with")
    mark = uuid.uuid4().hex[:6]
    journal = folder / f"celery-{mark}.txt"
    journal.touch()
    visibility = settings["BENCH_VISIBILITY_SECONDS"]
    sqs = stack.aws("sqs")
    queue: Any = sqs.create_queue(QueueName=f"celery-{mark}", Attributes={"VisibilityTimeout": visibility})
    variables = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "BENCH_REGION": stack.place.region,
        "BENCH_ENDPOINT": str(stack.place.endpoint_url),
        "BENCH_QUEUE_URL": queue["QueueUrl"],
        "BENCH_JOURNAL": str(journal),
        "AWS_DEFAULT_REGION": stack.place.region,
        **settings,
    }
    with ExitStack() as running:
        parents = [
            running.enter_context(_worker(python, variables, folder / f"celery-{mark}-{number}.log", arguments))
            for number, arguments in enumerate(workers)
        ]
        yield CelerySqs(name, python, variables, sqs, parents)


@contextmanager
def _worker(python: Path, variables: Mapping[str, str], log: Path, arguments: Sequence[str]) -> Iterator[int]:
    """The process id of its main process, once it is ready."""
    command = [str(python), "-m", "celery", "-A", APP, "worker", "-n", f"{log.stem}@bench", "--loglevel", "INFO"]
    with log.open("w") as out:
        worker = subprocess.Popen([*command, *arguments], cwd=ROOT, env=variables, stdout=out, stderr=subprocess.STDOUT)
    try:
        eventually(lambda: log.read_text()[-2000:], lambda text: " ready." in text, seconds=60)
        yield worker.pid
    finally:
        worker.send_signal(signal.SIGQUIT)
        try:
            worker.wait(20)
        except subprocess.TimeoutExpired:
            for child in psutil.Process(worker.pid).children(recursive=True):
                child.kill()
            worker.kill()
            worker.wait()
