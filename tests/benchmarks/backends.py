"""The two local AWSs side by side: start, submit cold and warm, and 100 tasks to their ends.

python -m tests.benchmarks.backends
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.table import Table

from bootstrap import console
from client import TaskClient
from scripts.load_test import percentile
from tests.benchmarks.contenders.ours import Ours
from tests.benchmarks.workloads import Workload
from tests.conftest import BACKENDS, TESTS, local_aws
from tests.support import stack as stacks
from tests.support.stack import DeployedStack, new_id

WARM_SUBMITS = 100


@contextmanager
def deployed(backend: str, figures: dict[str, str]) -> Iterator[DeployedStack]:
    folder = stacks.new_folder(TESTS, "backends")
    started = time.monotonic()
    with local_aws(backend) as port:
        figures["container healthy"] = f"{time.monotonic() - started:.1f} s" if port else "started by `up`"
        try:
            started = time.monotonic()
            stack = stacks.deploy(folder, backend, port)
            figures["`up` to the URL"] = f"{time.monotonic() - started:.1f} s"
            yield stack
        finally:
            stacks.remove(folder)


def submits(stack: DeployedStack, figures: dict[str, str]) -> None:
    tasks, seconds = TaskClient(stack.outputs["api_url"], stack.outputs["api_key"]), list[float]()
    for _ in range(1 + WARM_SUBMITS):
        started = time.perf_counter()
        tasks.submit()
        seconds.append((time.perf_counter() - started) * 1000)
    cold, warm = seconds[0], seconds[1:]
    figures["submit, cold"] = f"{cold:.0f} ms"
    figures["submit, warm"] = f"p50 {percentile(warm, 0.5):.0f} ms, p95 {percentile(warm, 0.95):.0f} ms"


def to_the_end(stack: DeployedStack, load: Workload) -> float:
    """Seconds from the first submit to the last end."""
    ours = Ours(stack, server=0)
    submits = ours.submit(load, new_id())
    ends = ours.ends(submits.task_ids, 300)
    assert len(ends) == load.tasks, f"{load.tasks - len(ends)} tasks have not ended"
    return max(ends.values()) - submits.begun(0)


def main() -> int:
    found: dict[str, dict[str, str]] = {}
    for backend in BACKENDS:
        figures = found[backend] = {}
        with deployed(backend, figures) as stack:
            submits(stack, figures)
            figures["100 tasks to the end"] = f"{to_the_end(stack, Workload('backends', 100)):.1f} s"
    table = Table(title="No work, no failures, two batches at once", title_justify="left")
    table.add_column("")
    for backend in BACKENDS:
        table.add_column(backend)
    for name in found[BACKENDS[0]]:
        table.add_row(name, *(found[backend][name] for backend in BACKENDS))
    console.out.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
