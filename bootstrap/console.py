"""What people see: steps, progress, results. Plain lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str, style: str = "") -> None:
    out.print(Text(text, style=style))


def detail(text: str) -> None:
    out.print(Text(f"  {text}", style="dim"))


def fail(message: str, hint: str = "") -> None:
    err.print(Text(f"error: {message}", style="bold red"))
    if hint:
        err.print(Text(f"  next: {hint}"))


@contextmanager
def step(title: str) -> Iterator[None]:
    """A titled part of the work; says how long it took."""
    say(title, "bold")
    started = time.monotonic()
    yield
    detail(f"{time.monotonic() - started:.1f} s")
