"""Submits one workload to Celery: {"run", "load"} on standard input, [[begun, seconds], …] on standard output."""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from tests.benchmarks.contenders.celery_app import work
from tests.benchmarks.workloads import Workload


def main() -> None:
    asked = json.load(sys.stdin)
    load = Workload(**asked["load"])
    payloads = [load.payload(number) for number in range(load.tasks)]

    def submit(number: int) -> tuple[float, float]:
        begun, started = time.time(), time.perf_counter()
        work.apply_async((payloads[number],), task_id=f"{asked['run']}-{number}")
        return begun, time.perf_counter() - started

    with ThreadPoolExecutor(load.concurrency) as pool:
        json.dump(list(pool.map(submit, range(load.tasks))), sys.stdout)


if __name__ == "__main__":
    main()
