"""Submit tasks, watch them, steer them. The API is that of --url and --key, or with --target aws of the stack in the
account, else of TASKS_URL and TASKS_API_KEY, else of the stack that runs on this machine.

Exit codes:
  0    done
  1    the task ended dead (FAILED_FINAL) or CANCELLED (submit --wait, wait)
  2    wrong use, or the API rejected it
  3    no such task
  4    the API did not answer, or is too busy; nothing is known of what was asked
  5    the task had not ended in time
  130  interrupted (Ctrl-C); a task that was waited for goes on
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from client import commands, trouble, words
from client.answer import Answer
from client.errors import ApiError
from client.screen import Screen
from client.target import Host, target
from client.words import Usage

STATUSES = ("SUBMITTED", "PROCESSING", "FAILED_PENDING", "COMPLETED", "FAILED_FINAL", "CANCELLED")


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        Screen().fail(f"{message}.", f"{self.prog} --help")
        self.exit(2)


def main(arguments: Sequence[str] | None = None, host: Host | None = None) -> int:
    """`host` is what the machine offers: a running stack, a browser."""
    host = host or Host()
    args = parser(host.typed).parse_args(arguments)
    screen = Screen(args.json)
    try:
        code = _run(args, screen, host)
        sys.stdout.flush()
    except KeyboardInterrupt:
        screen.fail("Interrupted.")
        return 130
    except BrokenPipeError:
        # Whoever reads has enough (`tasks list | head`). Python would complain of it again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _run(args: argparse.Namespace, screen: Screen, host: Host) -> int:
    try:
        return _answered(Answer(args, screen, target(args.url, args.key, os.environ, host, args.target), host))
    except Usage as error:
        screen.fail(error.message, error.hint.replace(words.TASKS, host.typed))
        return 2


def _answered(answer: Answer) -> int:
    run: Callable[[Answer], int] = answer.args.run
    try:
        return run(answer)
    except ApiError as error:
        answer.screen.fail(*trouble.explained(error, answer))
        return trouble.code_of(error.status)
    except KeyboardInterrupt:
        answer.screen.fail("Interrupted.", trouble.going_on(answer))
        return 130


def parser(typed: str = "tasks") -> Parser:
    about = argparse.RawDescriptionHelpFormatter
    top = Parser(typed, description=__doc__, formatter_class=about, parents=[_common()])
    top.set_defaults(url=None, key=None, target=None, json=False)
    under = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[Answer], int], about: str) -> Parser:
        one = under.add_parser(name, help=about, description=about, parents=[_common()])
        one.set_defaults(run=run, command=name)
        return one

    _submit(command("submit", commands.submit, "submit a task; prints its id and its page on the dashboard"))
    get = command("get", commands.get, "show a task with its timeline, payload, result and error")
    wait = command("wait", commands.wait, "wait until a task has ended, and show its timeline as it moves")
    _list(command("list", commands.list_tasks, "list tasks as they stand, newest first"))
    cancel = command("cancel", commands.cancel, "end tasks that have not ended")
    redrive = command("redrive", commands.redrive, "replay dead tasks, by id or filter: show them, or with --yes do it")
    _dead_letters(command("dead-letters", commands.dead_letters, "list the tasks that are dead, and why"))
    command("stats", commands.stats, "counts, queues, and the last minutes")
    opened = command("open", commands.open_dashboard, "open the dashboard in a browser, with the key")
    opened.add_argument("id", nargs="?", type=words.task_id, help="at this task's page")
    for alone in (get, wait):
        alone.add_argument("id", type=words.task_id)
    for many, nargs in ((cancel, "+"), (redrive, "*")):
        many.add_argument("ids", nargs=nargs, type=words.task_id, metavar="id")
    _which_dead(redrive)
    wait.add_argument("--timeout", type=words.seconds, metavar="TIME", help=f"{TIMEOUT}; exit code 5 then")
    redrive.add_argument("--yes", action="store_true", help="do it; without it nothing is changed")
    return top


def _common() -> Parser:
    """Understood before the command and behind it. Made anew for each: a parser's defaults go into its parents."""
    common = Parser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("--url", help="the API, with or without /tasks; else TASKS_URL, else the running stack's")
    common.add_argument("--key", help="its key; else TASKS_API_KEY, else the running stack's")
    common.add_argument("--target", choices=("aws",), help="aws: the stack in the AWS account, of STAGE and AWS_REGION")
    common.add_argument("--json", action="store_true", help="answer with one JSON document")
    return common


TIMEOUT = "how long to wait at most, such as 90, 5m or 1h (default 5m)"


def _submit(one: argparse.ArgumentParser) -> None:
    one.add_argument("payload", nargs="?", default="{}", help="a JSON object, @FILE, or - for standard input; else {}")
    one.add_argument("--kind", default="simulated", help="kind of task (default simulated)")
    one.add_argument("--id", type=words.task_id, help="the task's id; else a new one. Submitted again, it runs once")
    when = one.add_mutually_exclusive_group()
    when.add_argument("--delay", type=words.seconds, metavar="TIME", help="begin so much later: 30, 15m, 2h, 1d")
    when.add_argument("--run-at", type=words.instant_of, metavar="INSTANT", help="begin then: 2027-01-15T08:00:00Z")
    one.add_argument("--wait", action="store_true", help="wait until it has ended, as `tasks wait` does")
    one.add_argument("--timeout", type=words.seconds, metavar="TIME", help=f"with --wait: {TIMEOUT}")


def _list(one: argparse.ArgumentParser) -> None:
    one.add_argument("--status", type=str.upper, choices=STATUSES, metavar="STATUS", help=", ".join(STATUSES))
    one.add_argument("--kind", help="only of this kind")
    _limit(one)


def _dead_letters(one: argparse.ArgumentParser) -> None:
    _which_dead(one)
    one.add_argument("--strays", action="store_true", help="messages of the dead-letter queue that belong to no task")
    _limit(one)


def _which_dead(one: argparse.ArgumentParser) -> None:
    one.add_argument("--kind", help="only of this kind")
    one.add_argument("--error", help="only with this in the error")
    one.add_argument("--since", type=words.moment, metavar="WHEN", help="dead since: 15m, 2h, 3d ago, or an instant")
    one.add_argument("--until", type=words.moment, metavar="WHEN", help="dead until, in the same form")


def _limit(one: argparse.ArgumentParser) -> None:
    one.add_argument("--limit", type=words.limit, default=20, help="so many at most, or `all` (default 20)")
