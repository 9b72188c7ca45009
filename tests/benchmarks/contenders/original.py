"""The original design, deployed beside ours in the same local AWS."""

from __future__ import annotations

import io
import time
import uuid
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bootstrap.paths import ROOT
from bootstrap.stack import Stack, Template
from scripts.workers import Workers
from tests.benchmarks.contenders import Submits
from tests.benchmarks.contenders.web import FINAL, collected, post_all, renew, rows, until_quiet
from tests.benchmarks.workloads import Workload
from tests.support.stack import DeployedStack, new_id

TEMPLATE = Path(__file__).with_suffix(".yaml")
PACKAGED = (
    "lambdas/__init__.py",
    "lambdas/common/__init__.py",
    "lambdas/common/aws.py",
    "scripts/__init__.py",
    "scripts/cost/__init__.py",
    "scripts/cost/original.py",
    "scripts/cost/original_handlers.py",
    "tests/__init__.py",
    "tests/benchmarks/__init__.py",
    "tests/benchmarks/contenders/original_handlers.py",
)
EMPTY = "tests/benchmarks/contenders/__init__.py"
"""The real one imports what the functions do not need."""


@dataclass(frozen=True)
class OriginalContender:
    stack: DeployedStack
    """Ours, in whose AWS it is deployed."""
    server: int
    outputs: Mapping[str, str]
    name: str = "original"

    def submit(self, load: Workload, run: str) -> Submits:
        bodies = [{"taskId": f"{run}-{number}", "payload": load.payload(number)} for number in range(load.tasks)]
        url = self.stack.place.base_url(self.outputs["ApiId"], "original") + "/tasks"
        return Submits([str(body["taskId"]) for body in bodies], post_all(url, self._key, bodies, load.concurrency))

    def ends(self, task_ids: Sequence[str], seconds: float) -> Mapping[str, float]:
        deadline = time.time() + seconds
        until_quiet(self._sqs, (self.outputs["QueueUrl"], self.outputs["DlqUrl"]), deadline)
        return collected(self._ended, task_ids, deadline)

    def chill(self) -> None:
        for name in ("SubmitName", "ProcessName"):
            renew(self.stack.aws("lambda"), self.outputs[name], CHILLED=new_id())

    def processes(self) -> Sequence[int]:
        workers = Workers(self.server)
        return [pid for name in ("SubmitName", "ProcessName", "MonitorName") for pid in workers.of(self.outputs[name])]

    def _ended(self, task_ids: Sequence[str]) -> dict[str, float]:
        keys = [{"taskId": {"S": task_id}} for task_id in task_ids]
        found = rows(self.stack.dynamodb, self.outputs["TableName"], keys)
        return {row["taskId"]["S"]: int(row["updatedAt"]["N"]) / 1000 for row in found if row["status"]["S"] in FINAL}

    @cached_property
    def _key(self) -> str:
        found = self.stack.aws("apigateway").get_api_key(apiKey=self.outputs["KeyId"], includeValue=True)
        return str(found["value"])

    @cached_property
    def _sqs(self) -> Any:
        return self.stack.aws("sqs")


@contextmanager
def deployed(stack: DeployedStack, server: int, settings: Mapping[str, str]) -> Iterator[OriginalContender]:
    """`settings` are the template's numbers."""
    key, s3 = "original.zip", stack.aws("s3")
    bucket = f"original-{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key=key, Body=_package())
    made = Stack(stack.aws("cloudformation"), "original-tasks", 0.1, lambda _: None)
    template = Template(TEMPLATE.name, TEMPLATE.read_text())
    plan = made.plan(template, {**settings, "PackageBucket": bucket, "PackageKey": key}, {})
    assert plan is not None, "it is deployed already"
    made.execute(plan)
    try:
        yield OriginalContender(stack, server, made.outputs())
    finally:
        made.delete()


def _package() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr(EMPTY, "")
        for name in PACKAGED:
            package.write(ROOT / name, name)
    return buffer.getvalue()
