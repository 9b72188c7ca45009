"""Celery on the same SQS: as many worker processes as our function may have at once, acknowledging late."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from bootstrap import environments
from bootstrap.paths import ROOT
from tests.benchmarks.contenders import Request, Submits
from tests.benchmarks.contenders.web import LOOK_SECONDS
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
    parent: int
    """Process id of the worker's main process."""

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
            ended = {task_id: at for task_id, at in self._noted() if task_id in wanted}
            if len(ended) == len(wanted) or time.time() > deadline:
                return ended
            time.sleep(LOOK_SECONDS)

    def processes(self) -> Sequence[int]:
        return [self.parent, *self.pool()]

    def pool(self) -> Sequence[int]:
        """The processes that work on tasks."""
        return [child.pid for child in psutil.Process(self.parent).children()]

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
    stack: DeployedStack, folder: Path, name: str, processes: int, settings: Mapping[str, str]
) -> Iterator[CelerySqs]:
    """`settings` are more variables for celery_app.py."""
    python = environments.python("bench", LOCK, "Celery, to compare with")
    mark = uuid.uuid4().hex[:6]
    journal, log = folder / f"celery-{mark}.txt", folder / f"celery-{mark}.log"
    journal.touch()
    visibility = settings["BENCH_VISIBILITY_SECONDS"]
    queue: Any = stack.aws("sqs").create_queue(QueueName=f"celery-{mark}", Attributes={"VisibilityTimeout": visibility})
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
    command = [str(python), "-m", "celery", "-A", APP, "worker", "--concurrency", str(processes), "--loglevel", "INFO"]
    with log.open("w") as out:
        worker = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=out, stderr=subprocess.STDOUT)
    try:
        eventually(lambda: log.read_text()[-2000:], lambda text: " ready." in text, seconds=60)
        yield CelerySqs(name, python, variables, worker.pid)
    finally:
        worker.send_signal(signal.SIGQUIT)
        try:
            worker.wait(20)
        except subprocess.TimeoutExpired:
            for child in psutil.Process(worker.pid).children(recursive=True):
                child.kill()
            worker.kill()
            worker.wait()
