"""What a cold start does not load, and that its benchmark compares like with like. No test here looks at a clock."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from bootstrap import package
from bootstrap.paths import ROOT
from lambdas.common import kinds
from lambdas.process_task import kinds as kinds_package
from tests.benchmarks import coldstart

HANDLERS = dict(coldstart.handlers())
PROGRAM = f"""
import gc, json, sys
sys.path.insert(0, sys.argv[1])
from botocore.session import Session
made, create = [], Session.create_client
Session.create_client = lambda self, name, *a, **k: (made.append(name), create(self, name, *a, **k))[1]
{coldstart.OURS}
print(json.dumps([sorted(sys.modules), made, gc.get_threshold()[0] if gc.isenabled() else None]))
"""
NEVER: Mapping[str, str] = {
    "boto3": "botocore makes the clients; effects alone need boto3's types, and it takes 20 % of a bare handler",
    "s3transfer": "comes with boto3, for transfers that no function makes",
    "multiprocessing": "comes with s3transfer",
    "cronsim": "only kinds with a cron schedule need it",
    "aws_lambda_powertools.event_handler": "routes are a match statement; it takes twice as long as the logger",
    "lambdas.process_task.outbound": "only a webhook sends requests of its own",
    "lambdas.process_task.destinations": "only a webhook goes to addresses that a payload names",
    "lambdas.process_task.answers": "only a webhook reads answers of strangers",
    "lambdas.process_task.summary": "only csv-summary reads files",
}
"""Module -> why no function loads it before its first event."""
NEVER_HERE: Mapping[str, tuple[str, ...]] = {
    "fastjsonschema": ("MonitorDlq", "SweepTasks", "SteerTasks", "QueryTasks"),
    "lambdas.common.kinds": ("MonitorDlq", "SweepTasks", "SteerTasks", "QueryTasks"),
    "lambdas.process_task": ("MonitorDlq", "SweepTasks", "SteerTasks", "QueryTasks"),
}
"""Module -> functions that check no payload, or know no kind."""


@dataclass(frozen=True)
class Started:
    modules: frozenset[str]
    services: tuple[str, ...]
    """Of which it made a client, in this order."""
    collects_at: int | None
    """So many new objects make Python look for garbage; None: never."""


def started(function: str) -> Started:
    """A fresh process, ready for its first event."""
    arguments = (str(ROOT), HANDLERS[function], coldstart.builder(function))
    command = [sys.executable, "-I", "-B", "-c", PROGRAM, *arguments]
    done = subprocess.run(command, env=coldstart.ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    modules, services, collects_at = json.loads(done.stdout)
    return Started(frozenset(modules), tuple(services), collects_at)


@pytest.mark.parametrize("function", sorted(HANDLERS))
def test_a_cold_start_loads_nothing_that_only_rare_paths_need(function: str) -> None:
    begun = started(function)
    loaded = begun.modules
    if kinds.load(kinds_package).scheduled():  # whoever adds one pays for it
        loaded -= {"cronsim"}
    assert HANDLERS[function] in loaded
    assert {module: why for module, why in NEVER.items() if module in loaded} == {}
    assert {module for module, functions in NEVER_HERE.items() if function in functions and module in loaded} == set()
    assert begun.collects_at == 10_000, "garbage is looked for, less often than Python would"
    # ProcessTask makes a second client of DynamoDB, with shorter time-outs; the bare handler gets along with one.
    assert set(begun.services) == set(coldstart.services(function))


def test_each_module_that_is_never_loaded_exists() -> None:
    for module in (*NEVER, *NEVER_HERE):
        assert find_spec(module) is not None, module


def test_a_package_is_measured_beside_a_bare_handler(tmp_path: Path) -> None:
    zipped = next(built.path for built in package.build_all() if built.function == "SteerTasks")
    python = Path(sys.executable)
    cold = coldstart.measured("SteerTasks", zipped, HANDLERS["SteerTasks"], python, tmp_path, samples=1)
    assert (cold.function, cold.samples, cold.package_bytes) == ("SteerTasks", 1, zipped.stat().st_size)
    for start in (cold.ours, cold.bare):
        assert min(start.cpu_ms, start.wall_ms, start.peak_mb) > 0


def test_a_ratio_is_that_of_starts_that_stood_side_by_side() -> None:
    """A machine that slows down between two rounds slows both sides of each."""
    ours = [coldstart.Start(ms, 2 * ms, 40) for ms in (10, 100, 30)]
    bare = [coldstart.Start(ms, ms, 50) for ms in (20, 200, 20)]
    cold = coldstart.compared("SubmitTask", ours, bare, 1000)
    assert (cold.ours, cold.bare) == (coldstart.Start(30, 60, 40), coldstart.Start(20, 20, 50))
    assert (cold.cpu_ratio, cold.wall_ratio) == (0.5, 1.0)
    assert cold.samples == 3
