"""What the functions say, in one stream, by time.

SINCE (10m; of a task: its whole life), TASK (follow one task through the system), FN (a function: process-task),
LEVEL (that and above), FOLLOW=1 (go on until Ctrl-C, or until the task has ended), JSON=1 (a document each line).
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from bootstrap import aws_account, console, settings
from bootstrap.deploy import Deployment, client
from bootstrap.errors import BootstrapError
from bootstrap.targets import TARGETS
from lambdas.common.task import TASK_ID
from scripts import running
from scripts.function_names import logical_id
from scripts.log_events import Event, Source, follow, for_task
from scripts.log_lines import LEVELS, Line, hues, lines, text, wait
from scripts.log_task import Way

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
DEFAULT_SECONDS = 600
DEFAULT_RETENTION = next(s.default for s in settings.SETTINGS if s.variable == "LOG_RETENTION_DAYS")
SHOWN_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
GROUP = "/aws/lambda/"


@dataclass(frozen=True, slots=True)
class Wanted:
    since_seconds: int | None = None
    task: str | None = None
    function: str | None = None
    level: str = "DEBUG"
    follow: bool = False
    json: bool = False


def wanted(variables: Mapping[str, str]) -> Wanted:
    """
    Raises:
        BootstrapError: a variable has a value that is not allowed.
    """
    level, task = variables.get("LEVEL") or "DEBUG", variables.get("TASK") or None
    if level not in SHOWN_LEVELS:
        raise BootstrapError(f"LEVEL is {level!r}; allowed: {', '.join(SHOWN_LEVELS)}.")
    if task and not TASK_ID.fullmatch(task):
        raise BootstrapError(f"TASK is {task!r}; allowed: a task id, 1 to 128 of A-Z a-z 0-9 . _ : -")
    function = variables.get("FN") or None
    return Wanted(_since(variables), task, function, level, _switch(variables, "FOLLOW"), _switch(variables, "JSON"))


def _since(variables: Mapping[str, str]) -> int | None:
    asked = variables.get("SINCE") or ""
    found = re.fullmatch(r"(\d{1,6})([smhd])", asked)
    if asked and not found:
        raise BootstrapError(f"SINCE is {asked!r}; allowed: a number and s, m, h or d, such as 10m.")
    return int(found[1]) * UNITS[found[2]] if found else None


def _switch(variables: Mapping[str, str], name: str) -> bool:
    value = variables.get(name) or "0"
    if value not in ("0", "1"):
        raise BootstrapError(f"{name} is {value!r}; allowed: 1, or 0.")
    return value == "1"


def chosen(functions: Mapping[str, str], wish: Wanted) -> list[str]:
    """Log groups of the wanted functions.

    Raises:
        BootstrapError: there is no such function.
    """
    names = functions.values() if wish.function is None else [functions[logical_id(wish.function)]]
    return [f"{GROUP}{name}" for name in sorted(names)]


# Show. ----------------------------------------------------------------------------------------------------------------


@dataclass
class Screen:
    """Prints what is wanted, each line as soon as it is known."""

    wish: Wanted
    colours: Mapping[str, str]
    before: int | None = None
    """When the newest step so far was written."""

    def show(self, found: Sequence[Line]) -> None:
        for line in found:
            if line.level >= LEVELS[self.wish.level]:
                print(self._rendered(line), flush=True)
                if line.step:
                    self.before = max(line.at, self.before or 0)

    def close(self, last: str) -> None:
        """The last word: in the stream for people, beside it for programs."""
        if self.wish.json:
            _aside(last)
        else:
            console.detail(last)

    def _rendered(self, line: Line) -> str:
        if self.wish.json:
            return line.as_json()
        waited = wait(self.before if line.step else None, line.at) if self.wish.task else ""
        shown = text(line, self.colours.get(line.function, ""), waited)
        if console.out.no_color:  # rich would still write bold and dim
            return shown.plain
        with console.out.capture() as captured:
            console.out.print(shown, end="")
        return captured.get()


def show(wish: Wanted, deployment: Deployment, now: Callable[[], int], sleep: Callable[[float], None]) -> None:
    outputs = deployment.outputs(with_key=False)
    groups = chosen(outputs["functions"], wish)
    source = Source(client(deployment.place, "logs"), groups, wait=sleep, complain=_aside)
    screen = Screen(wish, hues(name.split("-", 1)[1] for name in outputs["functions"].values()))
    if wish.task is not None:
        store = Way.store(client(deployment.place, "dynamodb"), outputs["table_name"])
        _show_task(wish, Way(wish.task, store, now), for_task(source, wish.task), screen, deployment)
        return
    for events in _looks(source, now() - (wish.since_seconds or DEFAULT_SECONDS) * 1000, wish, now, deployment):
        screen.show(lines(events))


def _show_task(wish: Wanted, way: Way, source: Source, screen: Screen, deployment: Deployment) -> None:
    asked = None if wish.since_seconds is None else way.now() - wish.since_seconds * 1000
    since = asked or way.began() or way.now() - DEFAULT_SECONDS * 1000
    for events in _looks(source, since, wish, way.now, deployment):
        way.look()
        found = [line for line in lines(events) if line.task_id == wish.task]
        way.heard(found)
        screen.show(found)
        if way.unknown:
            raise BootstrapError(way.not_known(since), _kept(source))
        if wish.follow and way.over():
            screen.close(way.end())
            return
    if way.silent:
        _aside(way.not_heard(since))
        _aside(_kept(source))


def _looks(
    source: Source, since: int, wish: Wanted, now: Callable[[], int], deployment: Deployment
) -> Iterator[list[Event]]:
    if wish.follow:
        return follow(source, since, now, deployment.place.target.pause_seconds)
    return iter([source.read(since)])


def _kept(source: Source) -> str:
    """How far back logs reach at all."""
    found: Any = source.logs.describe_log_groups(logGroupNamePrefix=source.groups[0])["logGroups"]
    # LocalStack does not say; nor would it delete any.
    days = next((group["retentionInDays"] for group in found if "retentionInDays" in group), DEFAULT_RETENTION)
    return f"Logs are kept for {days} days (LOG_RETENTION_DAYS); SINCE={days}d looks at all of them."


def _aside(said: str) -> None:
    """Beside the stream, which a program may read."""
    console.err.print(said, style="dim", markup=False)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.logs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON document a line, as JSON=1")
    parser.add_argument("--target", choices=sorted(TARGETS), help="aws: the account, not the local stack")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    args = _arguments(arguments)
    try:
        wish = wanted({**os.environ, **({"JSON": "1"} if args.json else {})})
        show(wish, running.deployment_of(args.target), lambda: round(time.time() * 1000), time.sleep)
    except BootstrapError as error:
        console.fail(error.message, error.hint)
        return 1
    except (ClientError, BotoCoreError) as error:
        found = aws_account.explained(error)
        console.fail(found.message, found.hint)
        return 1
    except BrokenPipeError:  # `make logs | head` has what it wanted; Python would try once more at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
