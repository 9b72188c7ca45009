"""Kinds of task: a function each, with the schema of its payload. A new kind is one module in process_task/kinds/."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

import fastjsonschema

JsonObject = dict[str, Any]
MAX_RESULT_BYTES = 4096


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


Run = Callable[[Work], JsonObject | None]


@dataclass(frozen=True)
class Kind:
    """What it is called, what it does, and which payloads it takes (JSON Schema, draft 7)."""

    name: str
    run: Run
    schema: Mapping[str, Any]

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

    def kind(self, name: str, *, schema: Mapping[str, Any]) -> Callable[[Run], Run]:
        """Decorator: the function below is the work of kind `name`.

        It returns the task's result (a JSON object of at most 4 KB) or None. It raises PermanentError when no further
        attempt can help, RetryAfter when it knows how long to wait, anything else to be retried with backoff.
        """

        def register(run: Run) -> Run:
            if name in self._kinds:
                raise ValueError(f"two kinds are called {name!r}")
            self._kinds[name] = Kind(name, run, schema)
            return run

        return register

    def get(self, name: str) -> Kind | None:
        return self._kinds.get(name)

    def names(self) -> list[str]:
        return sorted(self._kinds)


registry = Registry()
kind = registry.kind


def load(package: ModuleType) -> Registry:
    """Import every module of `package`, each of which registers its kind."""
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return registry
