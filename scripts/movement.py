"""Tasks on their way: how they move, shown until all have ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich import box
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from bootstrap import console
from lambdas.common.store import TaskStore
from scripts.ledger import STATES, Ledger

POLL_SECONDS = 0.4
LINE_SECONDS = 3
"""Between two lines of progress where nothing can be drawn anew: no terminal, or one that only takes lines."""
STYLES: Mapping[str, str] = {"processing": "cyan", "waiting": "yellow", "completed": "green", "dead": "red"}


class Interrupted(Exception):
    """A person has stopped the watching. The tasks go on; `told` says which, `hint` what to type next."""

    def __init__(self, told: str, hint: str) -> None:
        super().__init__(told)
        self.told, self.hint = told, hint


@contextmanager
def interruptible(told: Callable[[], str], hint: str) -> Iterator[None]:
    """Ctrl-C in here is Interrupted, with what `told` says at that moment."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(told(), hint) from None


def titled(title: str, *columns: str, show_header: bool = True) -> Table:
    return Table(
        *columns,
        title=Text(f"\n{title}", "bold"),
        title_justify="left",
        show_header=show_header,
        box=box.ROUNDED,
        border_style="dim",
    )


def movement(counts: Mapping[str, int], width: int) -> Text:
    """One line: how many tasks are in each state, in the colour of the state where there are any."""
    parts = [
        (f"{state} {counts[state]:>{width}}", STYLES.get(state, "") if counts[state] else "dim") for state in STATES
    ]
    return Text("  ").join(Text(text, style) for text, style in parts)


@dataclass
class Watch:
    """Some tasks, as they were when last looked at."""

    store: TaskStore
    ids: Sequence[str]
    ledger: Ledger

    @classmethod
    def of(cls, store: TaskStore, ids: Sequence[str]) -> Watch:
        return cls(store, ids, Ledger(ids, {}))

    def told(self) -> str:
        counts = self.ledger.counts()
        ended = counts["completed"] + counts["dead"]
        return f"{ended} of {len(self.ids)} tasks have ended, {len(self.ids) - ended} go on without the demo"

    def until_rest(self, seconds: float, look: Callable[[Ledger], None] = lambda ledger: None) -> Ledger:
        """Show the tasks moving until all have ended, or `seconds` are over; `look` sees each account."""
        deadline, lines = time.monotonic() + seconds, Lines()
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
        drawn = console.out.is_interactive
        with Progress(*columns, console=console.out, transient=True, disable=not drawn) as progress:
            bar = progress.add_task("", total=len(self.ids))
            while True:
                self.ledger = Ledger.read(self.store, self.ids)
                counts = self.ledger.counts()
                look(self.ledger)
                text = movement(counts, len(str(len(self.ids))))
                progress.update(bar, description=text.markup, completed=counts["completed"] + counts["dead"])
                over = self.ledger.at_rest() or time.monotonic() > deadline
                if over or not drawn:
                    lines.show(text, last=over)
                if over:
                    return self.ledger
                time.sleep(POLL_SECONDS)


@dataclass
class Lines:
    """Lines of progress: one every LINE_SECONDS, none twice in a row, and the last one in any case."""

    shown: str = ""
    next_at: float = 0.0

    def show(self, text: Text, *, last: bool) -> None:
        now = time.monotonic()
        if text.plain == self.shown or (now < self.next_at and not last):
            return
        console.out.print(Text("  ").append_text(text))
        self.shown, self.next_at = text.plain, now + LINE_SECONDS
