"""Chaos: many tasks while everything breaks, and an account of every one: `make chaos COUNT=2000 SEED=7`.

COUNT (2000), SEED (a new one each time), CONCURRENCY (8 clients) and INTENSITY (1, multiplies every chance) change it.
It deploys a stack of its own on the embedded AWS and removes it. The report lies in `.local/chaos/`: report.json, and
report.html to look at. Ends with 0 only when every guarantee was kept.
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
from bootstrap.paths import ROOT
from lambdas.common.task import TERMINAL
from tests.chaos import report, verdict
from tests.chaos.journal import Journal
from tests.chaos.plan import Plan
from tests.chaos.run import PROFILE, Look, Run, fresh_seed, history, hooked
from tests.support import stack as stacks

HOME = ROOT / ".local" / "chaos"
CALM_SHARE = 10
"""One task without faults for so many with."""
LINE_SECONDS = 5
"""Between two lines of progress where there is no terminal to draw on."""


@dataclass(frozen=True, slots=True)
class Wish:
    count: int
    seed: int
    concurrency: int
    intensity: float


def wish(variables: Mapping[str, str]) -> Wish:
    return Wish(
        count=int(_number(variables, "COUNT", "2000", 20, 200_000)),
        seed=int(_number(variables, "SEED", str(fresh_seed()), 0, 10**9)),
        concurrency=int(_number(variables, "CONCURRENCY", "8", 1, 64)),
        intensity=_number(variables, "INTENSITY", "1", 0, 5, whole=False),
    )


def _number(
    variables: Mapping[str, str], name: str, default: str, least: float, most: float, whole: bool = True
) -> float:
    text = variables.get(name) or default
    try:
        value: float = int(text) if whole else float(text)
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        kind = "a whole number" if whole else "a number"
        raise BootstrapError(f"{name} is {text!r}; allowed: {kind} from {least:g} to {most:g}.")
    return value


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


def chaos(asked: Wish) -> bool:
    plan = Plan(asked.seed, asked.intensity)
    console.say(f"Chaos: {asked.count} tasks, seed {asked.seed}, {asked.concurrency} clients.", "bold")
    console.detail("short time-outs: " + " ".join(f"{name}={value}" for name, value in PROFILE.items()))
    stacks.remove_leftovers(HOME)
    folder = stacks.new_folder(HOME, "stack")
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
            facts = run.facts()
        found = verdict.breaches(facts)
        made = report.made(asked, plan, run, facts, found, interrupted)
        report.show(made)
        report.write(made, HOME)
        for breach in found[:1]:
            console.fail(f"{breach.kind}: {breach.task_id} {breach.text}. Its whole history:")
            for line in history(facts, breach.task_id):
                console.say(f"  {line}")
        return not found and not interrupted
    finally:
        stacks.remove(folder)
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    try:
        return 0 if chaos(wish(os.environ)) else 1
    except BootstrapError as error:
        console.fail(error.message, error.hint)
        return 2
    except KeyboardInterrupt:
        console.fail("Interrupted before the run began.", "`make chaos` starts anew.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
