"""What a cold start of each function costs, and what a bare handler of the same services would.

python -m tests.benchmarks.coldstart [samples=15]

A sample is a fresh process that does what Lambda does before the first event: import the handler of the real package,
unpacked, and build what a warm function reuses. The bare handler imports boto3 and makes clients of the same services.
Both take the SDK of the embedded AWS, and stand side by side in each round, so that what else the machine does falls on
both. The SDK comes compiled, as pip brings it; a package holds the bytecode that the build put into it, and gets no
more, since it is read-only where it runs: nothing may be written (-B), and the first sample is like all others.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from bootstrap import embedded, environments, package
from tests.support.templates import template

SAMPLES = 15
PARTS: Mapping[str, str] = {"SteerTasks": "steering"}
"""What makes the things that a warm function reuses, where it is not called `parts`."""
SERVICES: Mapping[str, tuple[str, ...]] = {"SweepTasks": ("dynamodb", "sqs", "lambda")}
"""What a function makes clients of, where it is more than USUAL."""
USUAL = ("dynamodb", "sqs")
ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "TABLE_NAME": "tasks",
    "QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/000000000000/tasks",
    "DLQ_URL": "https://sqs.us-east-1.amazonaws.com/000000000000/dead",
    "MAPPING_ID": "00000000-0000-0000-0000-000000000000",
    "STAGE": "dev",
    "METRICS": "on",
    "MAX_RETRIES": "2",
    "BACKOFF_BASE_SECONDS": "5",
    "BACKOFF_CAP_SECONDS": "900",
    "BACKOFF_JITTER": "equal",
    "BATCH_THREADS": "10",
    "TASK_RETENTION_DAYS": "30",
    "RESEND_AFTER_SECONDS": "900",
}
"""Of every function; a client needs a region and keys, and asks nobody when it has them."""
PROGRAM = """
import resource, sys, time
before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
sys.path.insert(0, sys.argv[1])
{work}
ended, after = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
print([cpu * 1000, (ended - began) * 1000, after.ru_maxrss / 1024])
"""
OURS = "import importlib; handler = importlib.import_module(sys.argv[2]); getattr(handler, sys.argv[3])()"
BARE = "import boto3; clients = [boto3.client(service) for service in sys.argv[2:]]"


@dataclass(frozen=True, slots=True)
class Start:
    """Of one process, from the first import on; the interpreter's own start is not in it. CPU is user and system."""

    cpu_ms: float
    wall_ms: float
    peak_mb: float
    """Resident, at its most."""


@dataclass(frozen=True, slots=True)
class Cold:
    """Medians over the samples; a ratio is the median of the rounds' ratios to the bare handler beside."""

    function: str
    samples: int
    ours: Start
    bare: Start
    cpu_ratio: float
    wall_ratio: float
    package_bytes: int
    """Of the zip."""


def measure(samples: int = SAMPLES) -> list[Cold]:
    """Each function of the template, with the packages as a deploy would build them now."""
    python = environments.python("embedded", embedded.LOCK, "the embedded AWS")
    built = {made.function: made.path for made in package.build_all()}
    with tempfile.TemporaryDirectory() as folder:
        return [measured(name, built[name], handler, python, Path(folder), samples) for name, handler in handlers()]


def handlers() -> Iterator[tuple[str, str]]:
    """Function (logical id) and the module of its handler."""
    for name, resource in template("app")["Resources"].items():
        if resource["Type"] == "AWS::Serverless::Function":
            yield name, resource["Properties"]["Handler"].rpartition(".")[0]


def builder(function: str) -> str:
    return PARTS.get(function, "parts")


def services(function: str) -> tuple[str, ...]:
    return SERVICES.get(function, USUAL)


def measured(function: str, zipped: Path, handler: str, python: Path, folder: Path, samples: int) -> Cold:
    unpacked = folder / function
    with zipfile.ZipFile(zipped) as archive:
        archive.extractall(unpacked)
    ours, bare = [], []
    for _ in range(samples):
        ours.append(start(python, OURS, unpacked, handler, builder(function)))
        bare.append(start(python, BARE, folder, *services(function)))
    return compared(function, ours, bare, zipped.stat().st_size)


def compared(function: str, ours: Sequence[Start], bare: Sequence[Start], package_bytes: int) -> Cold:
    """`ours` and `bare` hold the two starts of each round at the same place."""
    rounds = list(zip(ours, bare, strict=True))
    return Cold(
        function,
        len(rounds),
        _median(ours),
        _median(bare),
        statistics.median(one.cpu_ms / other.cpu_ms for one, other in rounds),
        statistics.median(one.wall_ms / other.wall_ms for one, other in rounds),
        package_bytes,
    )


def start(python: Path, work: str, *arguments: Path | str) -> Start:
    command = [str(python), "-I", "-B", "-c", PROGRAM.format(work=work), *map(str, arguments)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    return Start(*json.loads(done.stdout))


def _median(starts: Sequence[Start]) -> Start:
    return Start(
        statistics.median(start.cpu_ms for start in starts),
        statistics.median(start.wall_ms for start in starts),
        statistics.median(start.peak_mb for start in starts),
    )


def table(found: Sequence[Cold]) -> Table:
    made = Table(title=f"Cold start, median of {found[0].samples}", title_justify="left", box=box.MARKDOWN)
    made.add_column("")
    for name in ("CPU ms", "bare", "ratio", "wall ms", "bare", "ratio", "peak MB", "bare", "zip KB"):
        made.add_column(name, justify="right")
    for cold in found:
        ours, bare = cold.ours, cold.bare
        cpu = (f"{ours.cpu_ms:.0f}", f"{bare.cpu_ms:.0f}", f"{cold.cpu_ratio:.2f}")
        wall = (f"{ours.wall_ms:.0f}", f"{bare.wall_ms:.0f}", f"{cold.wall_ratio:.2f}")
        made.add_row(
            cold.function, *cpu, *wall, f"{ours.peak_mb:.0f}", f"{bare.peak_mb:.0f}", f"{cold.package_bytes / 1000:.0f}"
        )
    return made


def main() -> int:
    found = measure(int(sys.argv[1]) if len(sys.argv) > 1 else SAMPLES)
    Console(highlight=False, width=120).print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
