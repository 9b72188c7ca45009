"""Kinds of task: a function each, with the schema of its payload. A new kind is one module in process_task/kinds/."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

import fastjsonschema

from lambdas.common.effects import Effects
from lambdas.common.retry import Backoff
from lambdas.common.schedules import Schedule

JsonObject = dict[str, Any]
MAX_RESULT_BYTES = 4096
MAX_ATTEMPTS = 100
"""Receives are bounded by 1,000 (SQS, maxReceiveCount), and the timeline keeps two entries per attempt."""
MAX_TIMEOUT_SECONDS = 897
"""A function lives for at most 900 s (Lambda), and 3 s of them go to beginning and ending an attempt."""
TASK_TABLE = "tasks"
"""The state rows (`<stage>-tasks`): an effect on one of them would go round every condition."""
SCHEDULED_NAME = re.compile(r"[A-Za-z0-9._:-]{1,100}")
"""With the time of a firing behind it, it must make a task id."""
TABLE_NAME = re.compile(r"[A-Za-z0-9_.-]{2,200}")


@dataclass(frozen=True, slots=True)
class Work:
    """One attempt, as the function of its kind sees it."""

    task_id: str
    """Stable over attempts and replays: the idempotency key for effects outside this system."""
    payload: JsonObject
    attempt: int
    generation: int
    remaining_seconds: Callable[[], float]
    """Seconds left before the attempt is given up as failed."""


Run = Callable[[Work], JsonObject | Effects | None]


@dataclass(frozen=True)
class Kind:
    """What it is called, what it does, which payloads it takes, and where it differs from the deployment's settings."""

    name: str
    run: Run
    schema: Mapping[str, Any]
    """JSON Schema, draft 7, of the payload."""
    attempts: int | None = None
    """None: MAX_RETRIES + 1."""
    backoff: Backoff | None = None
    """None: the one that BACKOFF_BASE_SECONDS and its sisters make."""
    timeout_seconds: float | None = None
    """An attempt is given up after so long. None: when its invocation ends."""
    tables: tuple[str, ...] = ()
    """Tables that its effects write to, without the stage in front. IAM permissions are made from this list."""
    schedule: Schedule | None = None
    """When it is submitted by itself; None: only by clients."""

    @cached_property
    def _validate(self) -> Callable[[JsonObject], object]:
        return fastjsonschema.compile(dict(self.schema), use_default=False)

    def payload_error(self, payload: JsonObject) -> str | None:
        """Which field is wrong and what is allowed, or None."""
        try:
            self._validate(payload)
        except fastjsonschema.JsonSchemaValueException as error:
            return str(error.message).replace("data", "payload", 1)
        return None


class Registry:
    def __init__(self) -> None:
        self._kinds: dict[str, Kind] = {}

    def kind(
        self,
        name: str,
        *,
        schema: Mapping[str, Any],
        attempts: int | None = None,
        backoff: Backoff | None = None,
        timeout_seconds: float | None = None,
        tables: tuple[str, ...] = (),
        schedule: Schedule | None = None,
    ) -> Callable[[Run], Run]:
        """Decorator: the function below is the work of kind `name`.

        It returns the task's result (a JSON object of at most 4 KB), Effects, or None. It raises PermanentError when no
        further attempt can help, RetryAfter when it knows how long to wait, anything else to be retried with backoff.

        Raises:
            ValueError: the name is taken, or a value makes no sense.
        """

        def register(run: Run) -> Run:
            if name in self._kinds:
                raise ValueError(f"two kinds are called {name!r}")
            self._kinds[name] = _checked(Kind(name, run, schema, attempts, backoff, timeout_seconds, tables, schedule))
            return run

        return register

    def get(self, name: str) -> Kind | None:
        return self._kinds.get(name)

    def attempts(self, name: str, default: int) -> int:
        """How often a task of this kind may be tried."""
        kind = self.get(name)
        return kind.attempts if kind is not None and kind.attempts is not None else default

    def names(self) -> list[str]:
        return sorted(self._kinds)

    def scheduled(self) -> list[Kind]:
        """Those that are submitted by themselves."""
        return [kind for name in self.names() if (kind := self._kinds[name]).schedule is not None]

    def manifest(self) -> list[JsonObject]:
        """What a deployment must know of each kind, to fit queue and permissions to it, and to describe its API."""
        kinds = (self._kinds[name] for name in self.names())
        return [
            {
                "name": k.name,
                "attempts": k.attempts,
                "timeout_seconds": k.timeout_seconds,
                "tables": list(k.tables),
                "schedule": k.schedule.expression if k.schedule else None,
                "schema": dict(k.schema),
            }
            for k in kinds
        ]


def _checked(made: Kind) -> Kind:
    attempts, timeout = made.attempts, made.timeout_seconds
    if attempts is not None and attempts not in range(1, MAX_ATTEMPTS + 1):
        raise ValueError(f"kind {made.name}: attempts is {attempts}; allowed: whole numbers from 1 to {MAX_ATTEMPTS}")
    if timeout is not None and not 0 < timeout <= MAX_TIMEOUT_SECONDS:
        raise ValueError(f"kind {made.name}: timeout_seconds is {timeout}; allowed: up to {MAX_TIMEOUT_SECONDS}")
    for table in made.tables:
        if not TABLE_NAME.fullmatch(table):
            raise ValueError(f"kind {made.name}: {table!r} is no name of a table")
        if table == TASK_TABLE:
            raise ValueError(f"kind {made.name}: {table!r} is the table of the tasks themselves")
    _check_schedule(made)
    return made


def _check_schedule(made: Kind) -> None:
    if made.schedule is None:
        return
    if not SCHEDULED_NAME.fullmatch(made.name):
        raise ValueError(f"kind {made.name}: no task id can begin with that, and a schedule makes such ids")
    if error := made.payload_error(made.schedule.payload_at(0)):
        raise ValueError(f"kind {made.name}: its schedule submits a payload that the kind refuses: {error}")


registry = Registry()
kind = registry.kind


def load(package: ModuleType) -> Registry:
    """Import every module of `package`, each of which registers its kind."""
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return registry
