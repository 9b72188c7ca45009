"""What the `tasks` command shows: tables and colour on a terminal, plain lines elsewhere, JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from client.records import Summary, Task, instant

STYLES = {
    "COMPLETED": "green",
    "FAILED_FINAL": "bold red",
    "FAILED_PENDING": "yellow",
    "CANCELLED": "magenta",
    "PROCESSING": "cyan",
    "SUBMITTED": "",
}
Entry = Mapping[str, Any]


class Screen:
    """Answers on standard output, everything else on standard error. With `as_json` an answer is one document."""

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self.out = Console(highlight=False, soft_wrap=True)
        self.err = Console(stderr=True, highlight=False, soft_wrap=True)

    @property
    def live(self) -> bool:
        return self.out.is_terminal and not self.out.is_dumb_terminal and not self.as_json

    def say(self, text: str, style: str = "") -> None:
        if not self.as_json:
            self.out.print(Text(clean(text), style=style))

    def note(self, text: str) -> None:
        if not self.as_json:
            self.err.print(Text(clean(text), style="dim"))

    def fail(self, message: str, hint: str = "") -> None:
        self.err.print(Text(f"error: {clean(message)}", style="bold red"))
        if hint:
            self.err.print(Text(f"  next: {clean(hint)}"))

    def document(self, value: object) -> None:
        if self.as_json:
            print(json.dumps(document(value), indent=2))

    def facts(self, pairs: Iterable[tuple[str, object]]) -> None:
        for name, value in pairs:
            if value is not None and not self.as_json:
                self.out.print(Text.assemble((f"{name:<12} ", "dim"), styled(str(value))))

    def table(self, names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        if self.as_json:
            return
        cells = [[clean(" ".join(str(cell).splitlines())) for cell in row] for row in rows]
        if self.out.is_terminal:
            self.out.print(framed(names, cells), soft_wrap=False)
            return
        widths = [max(len(text) for text in column) for column in zip(names, *cells, strict=True)]
        for row in [names, *cells]:
            print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def clean(text: str) -> str:
    """Without what would steer a terminal: a task's error is written by whoever submits tasks."""
    return "".join(one if one.isprintable() or one == "\n" else f"\\x{ord(one):02x}" for one in text)


def styled(text: str) -> Text:
    return Text(clean(text), style=STYLES.get(text, ""))


def framed(names: Sequence[str], cells: Iterable[Sequence[str]]) -> Table:
    """An id is never cut: people copy it. It may take two lines."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="dim")
    for name in names:
        table.add_column(name, overflow="fold")
    for row in cells:
        table.add_row(*map(styled, row))
    return table


def document(value: object) -> Any:
    """As the API writes it: names in its form, times in UTC."""
    if is_dataclass(value):
        return {_camel(field.name): document(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, Mapping):
        return {name: document(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [document(one) for one in value]
    return value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


# Tasks. ---------------------------------------------------------------------------------------------------------------

LISTED = ("task", "kind", "status", "attempts", "created (UTC)", "error")


def listed(task: Summary) -> Sequence[object]:
    return task.task_id, task.kind, task.status, attempts(task), moment(task.created_at), task.error or ""


def attempts(task: Summary | Task) -> str:
    replayed = f", generation {task.generation}" if task.generation > 1 else ""
    return f"{task.attempts} of {task.max_attempts}{replayed}"


def moment(at: datetime) -> str:
    return instant(at)[:19].replace("T", " ")


def line(entry: Entry) -> str:
    """One entry of a timeline."""
    return "  ".join(filter(None, cells(entry)))


def cells(entry: Entry) -> Sequence[str]:
    """When (UTC), what, which attempt, and what it said."""
    attempt = f"attempt {entry['attempt']}" if entry["attempt"] else ""
    return f"{str(entry['at'])[:23].replace('T', ' ')}Z", str(entry["status"]), attempt, str(entry.get("error") or "")


def timeline(task: Task) -> Table:
    table = Table.grid(padding=(0, 2))
    for entry in task.timeline:
        table.add_row(*map(styled, cells(entry)))
    return table


def moving(task: Task) -> RenderableType:
    """The timeline while it grows."""
    return Group(timeline(task), Spinner("dots", Text(f"{task.status}, attempts {attempts(task)}", style="dim")))
