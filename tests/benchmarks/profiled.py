"""What a task costs our own processes: the real handlers over canned answers, timed, and profiled by package.

python -m tests.benchmarks.profiled [tasks=2000]

Nothing is sent anywhere: an answer is ready before the SDK would open a connection, so what is counted is the CPU of
handler, SDK, Powertools and standard library, without server and sockets. Each handler runs twice: as it is, for its
CPU; and under cProfile, which slows Python down (the more, the more calls it makes), for the shares. cProfile sees one
thread, so there what the pools would do is done by the caller.
"""

from __future__ import annotations

import contextlib
import cProfile
import json
import os
import pstats
import subprocess
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from bootstrap.paths import ROOT
from tests.benchmarks.coldstart import ENVIRONMENT
from tests.benchmarks.workloads import NO_OP

TASKS = 2000
BATCH, SUBMIT_BATCH = 10, 100
NOW = 1_700_000_000_000
OURS, HARNESS, STANDARD = "ours", "the benchmark", "standard library"
SETTINGS = {**ENVIRONMENT, "WORK_SECONDS": "0", "FAILURE_RATE": "0"}
Event = Mapping[str, Any]
Handler = Callable[[Event, Any], Any]


@dataclass(frozen=True, slots=True)
class Profiled:
    """Milliseconds of CPU, user and system, per task."""

    what: str
    tasks: int
    cpu_ms: float
    """As it runs."""
    own_ms: Mapping[str, float]
    """Own time by package, under the profiler; the benchmark's own left out."""
    calls: Mapping[str, float]
    """Of DynamoDB and SQS, per task, by operation; without the receives and deletes, which are Lambda's own."""


def measure(tasks: int = TASKS) -> list[Profiled]:
    """In a process of its own: handlers keep what they have built, and take their settings from the environment."""
    command = [sys.executable, "-m", "tests.benchmarks.profiled", "--json", str(tasks)]
    done = subprocess.run(
        command, cwd=ROOT, env={**SETTINGS, "PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True
    )
    return [Profiled(**each) for each in json.loads(done.stdout.splitlines()[-1])]


# What the handlers are given. -----------------------------------------------------------------------------------------


class Context:
    """As Lambda gives it, as far as the handlers look."""

    def get_remaining_time_in_millis(self) -> int:
        return 30_000


def a_task(number: int) -> Mapping[str, Any]:
    return {"taskId": f"task-{number}", "payload": NO_OP.payload(number)}


def submitted(number: int) -> Event:
    return {"resource": "/tasks", "httpMethod": "POST", "headers": {}, "body": json.dumps(a_task(number))}


def submitted_together(number: int) -> Event:
    tasks = [a_task(number * SUBMIT_BATCH + position) for position in range(SUBMIT_BATCH)]
    return {"resource": "/tasks/batch", "httpMethod": "POST", "headers": {}, "body": json.dumps({"tasks": tasks})}


def received(number: int) -> Event:
    return {"Records": [_record(f"task-{number * BATCH + position}") for position in range(BATCH)]}


def _record(task_id: str) -> Mapping[str, Any]:
    body = json.dumps({"v": 1, "taskId": task_id, "generation": 1})
    attributes = {"ApproximateReceiveCount": "1"}
    return {"messageId": f"m-{task_id}", "receiptHandle": "r" * 180, "body": body, "attributes": attributes}


# What the AWS in their place answers. ---------------------------------------------------------------------------------


class _Body:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self._content


def row() -> Mapping[str, Any]:
    """Of a task just claimed, as DynamoDB gives it back."""
    from lambdas.common import rows
    from lambdas.common.task import IndexClass, Status, Task, TimelineEntry
    from lambdas.common.wire import to_wire

    task = Task(
        task_id="task-0",
        kind="simulated",
        status=Status.PROCESSING,
        index_class=IndexClass.OPEN,
        generation=1,
        attempts=1,
        max_attempts=3,
        token="0" * 36,
        body_hash="0" * 32,
        created_at=NOW,
        updated_at=NOW,
        sent_at=NOW,
        lease_until=NOW * 2,
        message_id="m-task-0",
        payload=json.dumps(NO_OP.payload(0)),
        timeline=(TimelineEntry(NOW, Status.SUBMITTED, 1), TimelineEntry(NOW, Status.PROCESSING, 1)),
    )
    return to_wire(rows.row_of(task))


def answers(asked: Counter[str] | None = None) -> Callable[..., Any]:
    """A hook on the SDK that answers in DynamoDB's and SQS's place; `asked` gets each operation."""
    counted = Counter[str]() if asked is None else asked
    from botocore.awsrequest import AWSResponse
    from botocore.compat import HTTPHeaders

    claimed = json.dumps({"Attributes": row()}).encode()
    sent = json.dumps({"MessageId": "0" * 36}).encode()
    together = json.dumps({"Successful": [{"Id": str(n), "MessageId": "0" * 36} for n in range(BATCH)]}).encode()
    of = {"SendMessage": sent, "SendMessageBatch": together}

    def answer(request: Any, event_name: str, **_: Any) -> AWSResponse:
        operation = event_name.rsplit(".", 1)[1]
        counted[operation] += 1
        content = of.get(operation, b"{}")
        if b'"ALL_NEW"' in request.body:
            content = claimed
        return AWSResponse(request.url, 200, HTTPHeaders(), _Body(content))

    return answer


# Measuring. -----------------------------------------------------------------------------------------------------------


class AtOnce:
    """A pool of no threads: the caller does what it hands in."""

    def __init__(self, max_workers: int = 0) -> None:
        pass

    def __enter__(self) -> AtOnce:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, act: Callable[..., Any], *arguments: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(act(*arguments))
        return done

    def map(self, act: Callable[..., Any], items: Iterable[Any]) -> Iterator[Any]:
        return iter([act(item) for item in items])

    def shutdown(self, **_: Any) -> None:
        pass


def measured(
    what: str, handler: Handler, event: Callable[[int], Event], tasks: int, per_event: int, asked: Counter[str]
) -> Profiled:
    """`asked` holds what the SDK was asked until now."""
    events, context = [event(number) for number in range(max(2, tasks // per_event))], Context()
    _handled(handler, events[: max(1, len(events) // 10)], context)  # builds what a warm function reuses
    done = len(events) * per_event
    before, began = Counter(asked), time.process_time()
    _handled(handler, events, context)
    cpu, calls = time.process_time() - began, asked - before
    profile = cProfile.Profile(time.thread_time)
    with _in_one_thread():
        profile.runcall(_handled, handler, events, context)
    own = by_package(pstats.Stats(profile))
    return Profiled(
        what,
        done,
        cpu * 1000 / done,
        {name: seconds * 1000 / done for name, seconds in own.items()},
        {name: count / done for name, count in sorted(calls.items())},
    )


def _handled(handler: Handler, events: Sequence[Event], context: Context) -> None:
    for event in events:
        handler(event, context)


@contextlib.contextmanager
def _in_one_thread() -> Iterator[None]:
    from lambdas.common import chains, queue
    from lambdas.process_task import batch

    modules: Sequence[Any] = (chains, queue, batch)
    before = [module.ThreadPoolExecutor for module in modules]
    for module in modules:
        module.ThreadPoolExecutor = AtOnce
    try:
        yield
    finally:
        for module, pool in zip(modules, before, strict=True):
            module.ThreadPoolExecutor = pool


def by_package(stats: Any) -> dict[str, float]:
    """Seconds of own time; what is built into the interpreter counts for its caller."""
    own: Counter[str] = Counter()
    for (file, _, _), (_, _, seconds, _, callers) in stats.stats.items():
        if not file.startswith("~"):
            own[package(file)] += seconds
        for (caller, _, _), (_, _, part, _) in callers.items() if file.startswith("~") else ():
            own[package(caller)] += part
    del own[HARNESS]
    return dict(own.most_common())


def package(file: str) -> str:
    """Of a file: ours, a distribution's top folder, the standard library, or this benchmark."""
    path = Path(file)
    if path.is_relative_to(ROOT / "lambdas"):
        return OURS
    for folder in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        if path.is_relative_to(folder):
            return path.relative_to(folder).parts[0].removesuffix(".py")
    return HARNESS if path.is_relative_to(ROOT) else STANDARD


def found(tasks: int) -> list[Profiled]:
    """In this process, whose environment must be that of a function."""
    from lambdas.common import aws
    from lambdas.process_task import handler as process
    from lambdas.submit_task import handler as submit

    asked = Counter[str]()
    aws.session().get_component("event_emitter").register("before-send.*.*", answers(asked))
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        return [
            measured("submit", submit.handle, submitted, tasks, 1, asked),
            measured(
                f"submit, batches of {SUBMIT_BATCH}", submit.handle, submitted_together, tasks, SUBMIT_BATCH, asked
            ),
            measured(f"process, batches of {BATCH}", process.handle, received, tasks, BATCH, asked),
        ]


def table(profiles: Sequence[Profiled]) -> Table:
    made = Table(title="CPU per task, ms", title_justify="left", box=box.MARKDOWN)
    names = packages(profiles)
    for name in ("", "calls", "as it runs", *names):
        made.add_column(name, justify="right" if name else "left")
    for each in profiles:
        made.add_row(
            each.what, calls_of(each), f"{each.cpu_ms:.3f}", *(f"{each.own_ms.get(name, 0):.3f}" for name in names)
        )
    return made


def calls_of(profile: Profiled) -> str:
    return ", ".join(f"{name} {count:.4g}" for name, count in profile.calls.items())


def packages(profiles: Sequence[Profiled]) -> list[str]:
    """All that took time, the dearest of the first handler first."""
    return list(dict.fromkeys(name for each in profiles for name in each.own_ms))


def main() -> int:
    asked = [each for each in sys.argv[1:] if each != "--json"]
    tasks = int(asked[0]) if asked else TASKS
    if "--json" not in sys.argv:
        Console(highlight=False, width=140).print(table(measure(tasks)))
        return 0
    profiles = found(tasks)
    print(json.dumps([{name: getattr(each, name) for name in Profiled.__dataclass_fields__} for each in profiles]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
