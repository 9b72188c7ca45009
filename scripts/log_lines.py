"""What a function said: an event of its log as a line for people, or as a document for programs."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.text import Text

from scripts.log_events import Event

HIDDEN = frozenset({"level", "location", "message", "timestamp", "service", "task_id", "xray_trace_id"})
BELOW = frozenset({"exception", "exception_name", "stack_trace"})
CAUGHT = frozenset({"errorType", "errorMessage", "stackTrace", "requestId"})
"""Of an exception, as the functions say it and as the runtime does: its text is shown below its line."""
STYLES = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "bold red"}
HUES = ("cyan", "green", "magenta", "blue", "bright_cyan", "bright_magenta", "bright_green", "bright_blue")
"""Of the functions; yellow and red are for levels."""
TROUBLE = re.compile(r"Traceback \(most recent|.*Task timed out after|.*Runtime exited|\[ERROR\]")
"""What a crash begins with, whoever wrote it: Python or the runtime."""
RUNTIME = re.compile(r"(START|END|REPORT|INIT_START|XRAY|EXTENSION|RequestId:)\b")
LEVELS = logging.getLevelNamesMapping()


@dataclass(frozen=True, slots=True)
class Line:
    at: int
    """Milliseconds; when it was written, where the function says so, else when it was logged."""
    function: str
    document: Mapping[str, Any]
    crash: bool = False
    """It is the text of a crash, which has no fields."""

    @property
    def task_id(self) -> str | None:
        return self.document.get("task_id")

    @property
    def message(self) -> str:
        """What it says; of an exception that the runtime caught, in JSON format (LocalStack, AWS), the exception."""
        error = ": ".join(str(self.document[name]) for name in ("errorType", "errorMessage") if name in self.document)
        return str(self.document.get("message", error))

    @property
    def step(self) -> bool:
        """Whether it is on a task's way. Whoever waits for a task reads it again and again."""
        return self.message != "task read"

    @property
    def level(self) -> int:
        return LEVELS.get(str(self.document.get("level", "INFO")), logging.INFO)

    def as_json(self) -> str:
        at = datetime.fromtimestamp(self.at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return json.dumps({**self.document, "function": self.function, "time": at}, ensure_ascii=False)


def lines(events: Iterable[Event]) -> list[Line]:
    """By time; without the runtime's own lines and the metrics."""
    streams: dict[tuple[str, str], list[Event]] = {}
    for event in events:
        streams.setdefault((event.group, event.stream), []).append(event)
    return sorted((line for found in streams.values() for line in _of_stream(found)), key=lambda line: line.at)


def _of_stream(events: Sequence[Event]) -> Iterator[Line]:
    """Of one worker. Its crash can be one event, or an event for each line of the text (MiniStack)."""
    crash: list[str] = []
    began = events[0]
    for event in events:
        document = _document(event.message)
        if document is None and not RUNTIME.match(event.message) and (crash or TROUBLE.match(event.message)):
            began = event if not crash else began
            crash.append(event.message.rstrip())
            continue
        if crash:
            yield _crash(began, crash)
            crash = []
        if document is not None and (failed := _spoken(document)) is not None:
            yield Line(_written(failed, event.at), _function(event), failed)
    if crash:
        yield _crash(began, crash)


def _document(message: str) -> dict[str, Any] | None:
    try:
        document = json.loads(message)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _spoken(document: dict[str, Any]) -> dict[str, Any] | None:
    """None for metrics, and for what Lambda itself says (platform.start …) unless an invocation has failed."""
    if "_aws" in document:
        return None
    if not str(document.get("type", "")).startswith("platform."):
        return document
    status = document.get("record", {}).get("status", "success")
    return None if status == "success" else {"level": "ERROR", "message": f"invocation: {status}", **document}


def _crash(event: Event, text: Sequence[str]) -> Line:
    return Line(event.at, _function(event), {"level": "ERROR", "message": "\n".join(text)}, crash=True)


def _function(event: Event) -> str:
    """Without the stage: `process-task`."""
    return event.group.rsplit("/", 1)[1].split("-", 1)[1]


def _written(document: Mapping[str, Any], otherwise: int) -> int:
    """Powertools' own time. The event's is the time of delivery, the same for every line of an invocation."""
    with suppress(ValueError):
        return round(datetime.strptime(str(document.get("timestamp")), "%Y-%m-%d %H:%M:%S,%f%z").timestamp() * 1000)
    return otherwise


def hues(functions: Iterable[str]) -> dict[str, str]:
    """A colour for each function, the same in every run."""
    return {name: HUES[number % len(HUES)] for number, name in enumerate(sorted(functions))}


def wait(before: int | None, at: int) -> str:
    """From the step before to this one, in so many characters that the lines stand below each other."""
    if before is None:
        return " " * 10
    return f"{'late' if at < before else f'+{(at - before) / 1000:.1f} s':<10}"


def text(line: Line, hue: str, waited: str = "") -> Text:
    """One line for people; the text of an exception follows below it."""
    at = datetime.fromtimestamp(line.at / 1000).strftime("%H:%M:%S.%f")[:-3]
    shown = Text(f"{at}  ", style="dim")
    shown.append(waited, style="not dim bold")
    shown.append(f"{line.function:<13} ", style=f"not dim {hue}")
    shown.append(line.message, style=f"not dim {STYLES.get(str(line.document.get('level', '')), '')}")
    if line.task_id is not None:
        shown.append(f"  {line.task_id}", style="not dim cyan")
    for name, value in line.document.items():
        if name not in HIDDEN | BELOW | CAUGHT:
            shown.append(f"  {name}={value}")
    below = line.document.get("exception") or "".join(map(str, line.document.get("stackTrace", ()))).rstrip()
    if below:
        shown.append(f"\n{below}", style="not dim red")
    return shown
