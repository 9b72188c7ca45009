"""The tasks of the Celery contender; runs in an environment of its own, with nothing of this project but the workloads.

Its defaults but for `acks_late`, without which a killed worker loses every task it has, and for what makes it fast here
(by default it asks the queue once a second, for four messages per process).
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from celery import Celery  # type: ignore[import-not-found]  # of requirements-bench.lock, not of ours

from tests.benchmarks.workloads import ATTEMPTS

env = os.environ
app = Celery("bench", broker=f"sqs://test:test@{env['BENCH_ENDPOINT'].removeprefix('http://')}//")
app.conf.update(
    broker_transport_options={
        "region": env["BENCH_REGION"],
        "is_secure": False,
        "polling_interval": 0.02,
        "visibility_timeout": int(env["BENCH_VISIBILITY_SECONDS"]),
        "predefined_queues": {
            "bench": {"url": env["BENCH_QUEUE_URL"], "access_key_id": "test", "secret_access_key": "test"}
        },
    },
    broker_connection_retry_on_startup=True,
    broker_pool_limit=int(env.get("BENCH_CLIENTS", "10")),
    task_default_queue="bench",
    task_acks_late=True,
    worker_prefetch_multiplier=int(env.get("BENCH_AHEAD", "10")),
    task_reject_on_worker_lost=env.get("BENCH_REJECT_LOST") == "1",
    result_backend=env.get("BENCH_RESULTS") or None,
    task_ignore_result=not env.get("BENCH_RESULTS"),
    worker_enable_remote_control=False,
)


@app.task(bind=True, name="bench.work", max_retries=ATTEMPTS - 1)  # type: ignore[untyped-decorator]  # not installed here
def work(self: Any, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Sleeps and fails as its payload says, and notes its begin and its end."""
    simulate, attempt = payload["simulate"], self.request.retries + 1
    note(Path(env["BENCH_JOURNAL"]).with_suffix(".begun"), f"{os.getpid()} {self.request.id}")
    time.sleep(simulate["workSeconds"])
    if attempt in simulate["failAttempts"]:
        failure = RuntimeError(f"attempt {attempt} failed")
        if attempt == ATTEMPTS:
            ended(self.request.id)
            raise failure
        raise self.retry(exc=failure, countdown=float(env["BENCH_BACKOFF_SECONDS"]) * 2 ** (attempt - 1))
    ended(self.request.id)
    return {"workSeconds": simulate["workSeconds"], "attempt": attempt}


def ended(task_id: str) -> None:
    note(Path(env["BENCH_JOURNAL"]), f"{task_id} {time.time()}")


def note(journal: Path, line: str) -> None:
    with journal.open("a") as lines:
        lines.write(f"{line}\n")
