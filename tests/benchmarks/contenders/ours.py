"""This project, as it is deployed: single submits, or batches of a hundred."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from client.tasks import BATCH_TASKS
from lambdas.common.task import TERMINAL
from scripts.workers import Workers
from tests.benchmarks.contenders import Submits
from tests.benchmarks.contenders.web import collected, post_all, renew, until_quiet
from tests.benchmarks.workloads import KB, Workload
from tests.support.stack import DeployedStack, new_id

BATCH_BYTES = 1_500 * KB
"""Room for the rest of the bodies below the API's 2 MiB."""


@dataclass(frozen=True)
class Ours:
    stack: DeployedStack
    server: int
    """Process id of the local AWS."""
    batched: bool = False
    kind: str = "simulated"

    @property
    def name(self) -> str:
        return "ours, batch" if self.batched else "ours"

    def submit(self, load: Workload, run: str) -> Submits:
        bodies = [
            {"taskId": f"{run}-{number}", "kind": self.kind, "payload": load.payload(number)}
            for number in range(load.tasks)
        ]
        url, key = self.stack.outputs["api_url"], self.stack.outputs["api_key"]
        ids = [str(body["taskId"]) for body in bodies]
        if not self.batched:
            return Submits(ids, post_all(url, key, bodies, load.concurrency))
        size = min(BATCH_TASKS, BATCH_BYTES // load.payload_bytes)
        batches = [{"tasks": bodies[first : first + size]} for first in range(0, len(bodies), size)]
        return Submits(ids, post_all(f"{url}/batch", key, batches, load.concurrency), size)

    def ends(self, task_ids: Sequence[str], seconds: float) -> Mapping[str, float]:
        deadline = time.time() + seconds
        until_quiet(self._sqs, (self.stack.outputs["queue_url"], self.stack.outputs["dlq_url"]), deadline)
        return collected(self._ended, task_ids, deadline)

    def chill(self) -> None:
        for name in ("SubmitTask", "ProcessTask"):
            renew(self.stack.aws("lambda"), self.stack.outputs["functions"][name], CHILLED=new_id())

    def processes(self) -> Sequence[int]:
        functions = self.stack.outputs["functions"]
        workers = Workers(self.server)
        return [pid for name in ("SubmitTask", "ProcessTask", "MonitorDlq") for pid in workers.of(functions[name])]

    def _ended(self, task_ids: Sequence[str]) -> dict[str, float]:
        found = self.stack.store.get_many(task_ids)
        return {task.task_id: task.timeline[-1].at / 1000 for task in found if task.status in TERMINAL}

    @cached_property
    def _sqs(self) -> Any:
        return self.stack.aws("sqs")
