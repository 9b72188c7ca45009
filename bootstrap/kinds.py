"""What the kinds of task ask of a deployment: asked of their code, in a process of its own, without importing it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bootstrap.errors import BootstrapError
from bootstrap.paths import ROOT

MAX_DESCRIPTION = 512
"""Characters in the description of an EventBridge rule (PutRule)."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of task, as far as queue, permissions and the API's description depend on it."""

    name: str
    attempts: int | None
    """None: as many as MAX_RETRIES says."""
    timeout_seconds: float | None
    tables: tuple[str, ...]
    schedule: str | None = None
    schema: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """JSON Schema, draft 7, of the payload."""


def read(dependencies: Path) -> list[Kind]:
    """The kinds in lambdas/process_task/kinds/. `dependencies` holds the packages that their code may import.

    Raises:
        BootstrapError: a module of theirs cannot be imported; with its file, its line and the error.
    """
    command = [sys.executable, "-m", "lambdas.process_task.kinds"]
    # With hashes that do not change, a schema made from a set is the same text each time, and so is its package.
    environment = {"PYTHONPATH": str(dependencies), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = _blamed(done.stderr.strip().splitlines())
        raise BootstrapError(f"The kinds of task cannot be loaded:\n{said}", "Mend the module, then try again.")
    return [Kind(**{**found, "tables": tuple(found["tables"])}) for found in json.loads(done.stdout)]


def _blamed(traceback: Sequence[str]) -> str:
    """Of a traceback the innermost place in a kind's module, which may lie far above its end, and the error."""
    places = [at for at, line in enumerate(traceback) if re.match(r'\s*File ".*process_task/kinds/', line)]
    place = traceback[places[-1] : places[-1] + 2] if places else traceback[-4:-1]
    return "\n".join([*place, *traceback[-1:]])


def most_attempts(kinds: Sequence[Kind], default: int) -> int:
    """Of any kind; `default` is what one without attempts of its own gets."""
    return max([default, *(kind.attempts for kind in kinds if kind.attempts is not None)])


def table_arns(kinds: Sequence[Kind], task_table_arn: str, stage: str) -> list[str]:
    """The tables that the kinds list, each `<stage>-<name>` beside the task table."""
    beside = task_table_arn.rsplit("/", 1)[0]
    return [f"{beside}/{stage}-{name}" for name in sorted({table for kind in kinds for table in kind.tables})]


def schedules(kinds: Sequence[Kind]) -> str:
    """For people, and empty where no kind has one: `nightly-report: cron(0 2 * * *); pulse: rate(5 minutes)`."""
    return "; ".join(f"{kind.name}: {kind.schedule}" for kind in kinds if kind.schedule)[:MAX_DESCRIPTION]
