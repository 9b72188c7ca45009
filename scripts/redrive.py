"""Replay dead tasks: those that a filter finds, page by page, or one.

KIND, ERROR (a part of it), SINCE and UNTIL (time of death: 15m, 2h, 3d ago, or an instant with offset), or TASK (one);
RATE (10 a second), DRY_RUN=1 (count and show, change nothing). Against the running stack, or --url URL; the key comes
from --key, else API_KEY, else the running stack. Exits 1 when a task failed, 130 when it was interrupted.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from bootstrap import console
from bootstrap.errors import BootstrapError
from client.errors import ApiError, Forbidden, Unavailable
from client.records import DeadLetter, instant
from client.redrive import Outcome, Step, Tally, Wanted, redrive_many
from client.tasks import TaskClient
from scripts.running import running_outputs

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
AGO = re.compile(r"(\d{1,6})([smhd])")
MAX_RATE = 1000
SHOWN = 20
"""A dry run shows so many tasks one by one, and counts the rest."""
STYLES = {Outcome.SKIPPED: "yellow", Outcome.FAILED: "red"}


@dataclass(frozen=True, slots=True)
class Plan:
    wanted: Wanted
    task: str | None
    rate: float
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Place:
    """The API to act on. `url` is None where it is the running stack's, found again by the same command."""

    client: TaskClient
    url: str | None


def plan(variables: Mapping[str, str], now: datetime) -> Plan:
    """What the variables ask for, its times fixed.

    Raises:
        BootstrapError: one of them is not understood.
    """
    kind, error, task = (variables.get(name) or None for name in ("KIND", "ERROR", "TASK"))
    since, until = (_moment(name, variables.get(name, ""), now) for name in ("SINCE", "UNTIL"))
    wanted = Wanted(kind, error, since, until)
    if task and wanted != Wanted():
        raise BootstrapError("TASK names one task; KIND, ERROR, SINCE and UNTIL choose many. Give one or the others.")
    if since and since >= (until or now):
        raise BootstrapError(f"SINCE ({instant(since)}) is not before UNTIL ({instant(until or now)}).")
    return Plan(wanted.fixed(now.timestamp()), task, _rate(variables), _dry_run(variables))


def _moment(name: str, text: str, now: datetime) -> datetime | None:
    if not text:
        return None
    ago = AGO.fullmatch(text)
    try:
        moment = now - timedelta(**{UNITS[ago[2]]: int(ago[1])}) if ago else datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise BootstrapError(
            f"{name} is {text!r}; allowed: 15m, 2h or 3d ago, or an instant with offset, {instant(now)}."
        )
    return moment


def _rate(variables: Mapping[str, str]) -> float:
    text = variables.get("RATE") or "10"
    rate = float(text) if re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,3})?", text) else 0
    if not 0 < rate <= MAX_RATE:
        raise BootstrapError(f"RATE is {text!r}; allowed: tasks per second, more than 0, at most {MAX_RATE}.")
    return rate


def _dry_run(variables: Mapping[str, str]) -> bool:
    text = variables.get("DRY_RUN") or "0"
    if text not in ("0", "1"):
        raise BootstrapError(f"DRY_RUN is {text!r}; allowed: 1, or 0.")
    return text == "1"


def command(asked: Plan, place: Place) -> str:
    """What to type to go on, with the times as they are fixed now; the key is not shown."""
    wanted = asked.wanted
    times = {"SINCE": wanted.since, "UNTIL": wanted.until}
    given = {"KIND": wanted.kind, "ERROR": wanted.error} | {name: instant(at) for name, at in times.items() if at}
    how = {"RATE": f"{asked.rate:g}", "DRY_RUN": "1" if asked.dry_run else None}
    words = {name: text for name, text in {**given, **how}.items() if text}
    if place.url:
        settings = " ".join(f"{name}={shlex.quote(text)}" for name, text in words.items())
        return f"{settings} .venv/bin/python -m scripts.redrive --url {shlex.quote(place.url)}"
    # In make's own variables a dollar is written twice.
    return "make redrive " + " ".join(f"{name}={shlex.quote(text.replace('$', '$$'))}" for name, text in words.items())


# Many. ----------------------------------------------------------------------------------------------------------------


@dataclass
class Watch:
    """What a person sees while it goes on, and how far it came."""

    progress: Progress
    tally: Tally = field(default_factory=Tally)
    letters: list[DeadLetter] = field(default_factory=list)
    by_error: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __call__(self, step: Step, tally: Tally) -> None:
        self.tally = tally
        self.by_error[step.letter.kind, step.letter.error_class] += 1
        if step.outcome is Outcome.WOULD_REPLAY and len(self.letters) < SHOWN:
            self.letters.append(step.letter)
        if step.why:
            line = f"  {step.letter.task_id} {step.outcome}: {step.why}"
            self.progress.console.print(Text(line, style=STYLES[step.outcome]))
        self.progress.update(self.progress.task_ids[0], description=escape(str(tally)))


def many(asked: Plan, place: Place) -> int:
    console.say(announcement(asked, place), "bold")
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    watch = Watch(Progress(*columns, console=console.out, transient=True, disable=not console.out.is_terminal))
    watch.progress.add_task("looking for dead tasks", total=None)
    again = command(asked, place)
    try:
        with watch.progress:
            redrive_many(place.client, asked.wanted, per_second=asked.rate, dry_run=asked.dry_run, progress=watch)
    except KeyboardInterrupt:
        console.fail(f"Interrupted: {watch.tally}.", again)
        return 130
    except ApiError as error:
        console.fail(f"{error}. Until then: {watch.tally}.", _hint(error, again))
        return 1
    if asked.dry_run:
        show(watch)
    return verdict(watch.tally, again)


def announcement(asked: Plan, place: Place) -> str:
    wanted = asked.wanted
    about = [f"of kind {wanted.kind}"] if wanted.kind else []
    about += [f"with {wanted.error!r} in the error"] if wanted.error else []
    times = [("since", wanted.since), ("until", wanted.until)]
    about += [" ".join(["dead", *(f"{word} {instant(at)}" for word, at in times if at)])]
    what = "Dry run, nothing is changed: dead tasks" if asked.dry_run else "Replaying dead tasks"
    how = "" if asked.dry_run else f"; at most {asked.rate:g} per second"
    return f"{what} of {place.client.url}: {', '.join(about)}{how}."


def show(watch: Watch) -> None:
    for letter in watch.letters:
        line = f"{letter.task_id}  {letter.kind}  generation {letter.generation}  dead {instant(letter.dead_at)}"
        console.say(f"  {line}  {letter.error_class}: {letter.error}")
    more = watch.tally[Outcome.WOULD_REPLAY] - len(watch.letters)
    if more:
        console.say(f"  … and {more} more")
    if watch.by_error:
        table = Table("kind", "error", "tasks")
        for (kind, error), number in watch.by_error.most_common():
            table.add_row(Text(kind), Text(error), Text(str(number), justify="right"))
        console.out.print(table)


def verdict(tally: Tally, again: str) -> int:
    failed = tally[Outcome.FAILED]
    console.say(f"{tally}.", "bold red" if failed else "bold green")
    if failed:
        console.fail(f"{failed} failed; they are still in the list.", again)
    return 1 if failed else 0


# One. -----------------------------------------------------------------------------------------------------------------


def one(task_id: str, asked: Plan, place: Place) -> int:
    """Replay one task by the generation that it has now; a refusal is a failure, since it was asked for by name."""
    try:
        task = place.client.get(task_id)
        console.say(f"{task.task_id}  {task.kind}  {task.status}  generation {task.generation}  {task.error or ''}")
        if asked.dry_run:
            can = "It would be replayed" if task.status == "FAILED_FINAL" else "It would not be replayed"
            console.say(f"{can}; nothing was changed.", "bold")
            return 0
        steered = place.client.redrive(task_id, task.generation)
    except ApiError as error:
        console.fail(f"{task_id}: {error}", _hint(error, f"make redrive TASK={shlex.quote(task_id)}"))
        return 1
    console.say(f"{'replayed' if steered.new else 'replayed before'}: generation {steered.generation}.", "bold green")
    return 0


def _hint(error: ApiError, again: str) -> str:
    if isinstance(error, Forbidden):
        return "Give the key: --key KEY, or API_KEY=KEY; `make outputs` shows it."
    if error.status == 0:
        return f"`make status` shows whether the stack runs; then {again}"
    return f"`make logs` shows what the functions say; then {again}" if isinstance(error, Unavailable) else ""


def _place(args: argparse.Namespace) -> Place:
    if args.url and not args.url.startswith(("http://", "https://")):
        raise BootstrapError(f"{args.url!r} is no URL.", "`make outputs` shows the API URL.")
    outputs = None if args.url and args.key else running_outputs()
    if not args.url and outputs is None:
        raise BootstrapError("No stack is running here.", "`make up`, or give --url URL --key KEY.")
    # Without any key the API's own 403 tells what to do.
    key = args.key or (str(outputs["api_key"]) if outputs else "")
    return Place(TaskClient(args.url or str(outputs["api_url"] if outputs else ""), key), args.url)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.redrive", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", help="the API, with or without /tasks; else the running stack's")
    parser.add_argument("--key", default=os.environ.get("API_KEY"), help="else API_KEY, else the running stack's")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    args = _arguments(arguments)
    try:
        asked = plan(os.environ, datetime.fromtimestamp(time.time(), UTC))
        place = _place(args)
        return one(asked.task, asked, place) if asked.task else many(asked, place)
    except BootstrapError as error:
        console.fail(error.message, error.hint)
        return 2
    except KeyboardInterrupt:
        console.fail("Interrupted.", "`make redrive DRY_RUN=1` shows what is still dead.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
