"""What a command prints, drawn as a picture of a terminal."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLUMNS = 102
# Lines of progress, in colour: nothing is drawn over, so that what was printed is what is seen.
AS_LINES = {"FORCE_COLOR": "1", "TTY_INTERACTIVE": "0", "COLUMNS": str(COLUMNS)}
DEPLOY_ENDS = "`make outputs` shows the API key."
WEB_FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def of_module(module: str, typed: str, file: Path) -> int:
    """Run `module`, show what it prints as it comes, and draw it into `file`. The exit code of the run.

    The picture begins with `typed`, what a person types for it. A run that fails is not drawn.
    """
    environment = {**{name: value for name, value in os.environ.items() if name not in ("SVG", "NO_COLOR")}, **AS_LINES}
    command = [sys.executable, "-m", module]
    printed: list[str] = []
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        for line in run.stdout:
            print(line, end="", flush=True)
            printed.append(line)
    if run.returncode == 0:
        file.write_text(svg(typed, without_deploy("".join(printed))), encoding="utf-8")
    return run.returncode


def without_deploy(printed: str) -> str:
    """The deploy's lines differ from machine to machine, and are not what the picture is about."""
    before, found, after = printed.partition(DEPLOY_ENDS)
    return f"\x1b[2m…\x1b[0m{after[after.index(chr(10)) :]}" if found else before


def svg(typed: str, printed: str) -> str:
    """ANSI text as a picture that asks no other place for anything: its fonts are those of whoever looks at it."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), highlight=False)
    console.print(Text.assemble(("$ ", "bold cyan"), (typed, "bold")))
    console.print(Text.from_ansi(printed.rstrip()))
    drawn = console.export_svg(title=typed, unique_id="terminal")
    return WEB_FONT.sub("", drawn).replace("Fira Code, monospace", FONTS)
