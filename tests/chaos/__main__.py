"""Chaos: many tasks while everything breaks, and an account of every one: `make chaos COUNT=2000 SEED=7`.

COUNT (2000), SEED (a new one each time) and CONCURRENCY (8 clients) change it. It deploys a stack of its own on the
embedded AWS and removes it. The report is in `.local/chaos/`: report.html, report.json, and summary.json, which
docs/chaos.json is a copy of. Ends with 0 only when every guarantee was kept; after Ctrl-C with 130, and the report of
what was seen until then.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bootstrap import console
from bootstrap.errors import BootstrapError
from bootstrap.paths import local_dir
from lambdas.common.task import TERMINAL
from scripts.demo import whole
from tests.chaos import report, verdict
from tests.chaos.history import told
from tests.chaos.journal import Journal
from tests.chaos.plan import Plan
from tests.chaos.run import PROFILE, SHOWN, Look, Run, fresh_seed, hooked
from tests.support import stack as stacks

CALM_SHARE = 10
"""One task without faults for so many with."""
LINE_SECONDS = 5
"""Between two lines of progress where there is no terminal to draw on."""


@dataclass(frozen=True, slots=True)
class Wish:
    count: int
    seed: int
    concurrency: int


def wish(variables: Mapping[str, str]) -> Wish:
    return Wish(
        count=whole(variables, "COUNT", 2000, 20, 200_000),
        seed=whole(variables, "SEED", fresh_seed(), 0, 10**9),
        concurrency=whole(variables, "CONCURRENCY", 8, 1, 64),
    )


class Watch:
    """The run on the terminal: one line that moves, or a line now and then."""

    def __init__(self, progress: Progress, count: int) -> None:
        self._progress, self._next_line = progress, 0.0
        self._bar = progress.add_task("", total=count)

    def tell(self, look: Look) -> None:
        ended = sum(number for status, number in look.counts.items() if status in TERMINAL)
        text = (
            f"accepted {look.accepted}  ended {ended}  open {sum(look.counts.values()) - ended}  "
            f"faults {look.faults}  broken guarantees {look.breaches}"
        )
        self._progress.update(self._bar, description=text, completed=ended)
        if not console.out.is_terminal and look.seconds >= self._next_line:
            console.detail(f"{look.seconds:4.0f} s  {text}")
            self._next_line = look.seconds + LINE_SECONDS


def chaos(asked: Wish) -> int:
    """The exit code: 0 only when every guarantee was kept."""
    plan = Plan(asked.seed)
    console.say(f"Chaos: {asked.count} tasks, seed {asked.seed}, {asked.concurrency} clients.", "bold")
    console.detail("short time-outs: " + ", ".join(f"{name} {value}" for name, value in SHOWN.items()))
    home = local_dir() / "chaos"
    stacks.remove_leftovers(home)
    folder = stacks.new_folder(home, "stack")
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
    interrupted = False
    try:
        with console.step("Deploying a stack of its own, its functions hooked"):
            stack = stacks.deploy(folder, "embedded", None, **PROFILE)
        journal = Journal(folder / "journal")
        with hooked(stack, plan, folder / "journal"):
            run = Run(stack, plan, journal, asked.count, asked.concurrency, lambda look: None)
            with console.step("Tasks without any fault, to compare with"):
                run.calm(max(20, asked.count // CALM_SHARE))
            try:
                with Progress(*columns, console=console.out, transient=True) as progress:
                    run.tell = Watch(progress, asked.count).tell
                    run.storm()
            except KeyboardInterrupt:
                interrupted = True
                console.fail("Interrupted: this is what was seen until now.")
            facts = run.facts(ended=not interrupted)
        found = verdict.breaches(facts)
        made = report.made(asked, run, facts, found, interrupted)
        report.show(made)
        report.write(made, home)
        for head, lines in told(facts, found):
            console.fail(head)
            for line in lines:
                console.say(f"  {line}")
        return 130 if interrupted else int(bool(found))
    finally:
        stacks.remove(folder)
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    try:
        return chaos(wish(os.environ))
    except BootstrapError as error:
        console.fail(error.message, error.hint)
        return 2
    except KeyboardInterrupt:
        console.fail("Interrupted before the run began.", "`make chaos` starts anew.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
