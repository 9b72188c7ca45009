"""The commands of `tasks`, each a function from what was asked to its exit code."""

from __future__ import annotations

import json
import shlex
import time
import uuid
from collections.abc import Sequence
from itertools import islice

from client import screen as shown
from client.answer import Answer
from client.errors import Conflict, NotFound
from client.following import followed
from client.records import DeadLetter, Result
from client.redrive import Wanted
from client.replaying import matching
from client.trouble import code_of
from client.words import TASKS, Usage, payload

DEAD = "FAILED_FINAL"
MINUTES_SHOWN = 10


# One task. ------------------------------------------------------------------------------------------------------------


def submit(answer: Answer) -> int:
    args, screen = answer.args, answer.screen
    if args.timeout is not None and not args.wait:
        raise Usage("--timeout says how long to wait, but nothing waits.", "the same with --wait")
    content = payload(args.payload)
    answer.submitting = args.id or str(uuid.uuid4())
    submitted = answer.target.client.submit(
        args.kind, content, task_id=answer.submitting, run_at=args.run_at, delay_seconds=args.delay
    )
    answer.submitting = None
    page = answer.target.page(submitted.task_id)
    screen.facts([("accepted" if submitted.new else "known", submitted.task_id), ("page", page)])
    told = {"taskId": submitted.task_id, "new": submitted.new, "page": page}
    if not args.wait:
        screen.document(told)
        return 0
    task, code = followed(answer, submitted.task_id)
    screen.document(told | {"task": task})
    return code


def get(answer: Answer) -> int:
    task = answer.target.client.get(answer.args.id)
    answer.screen.document(task)
    answer.screen.facts(
        [
            ("task", task.task_id),
            ("kind", task.kind),
            ("status", task.status),
            ("attempts", shown.attempts(task)),
            ("payload", json.dumps(task.payload, ensure_ascii=False)),
            ("result", None if task.result is None else json.dumps(task.result, ensure_ascii=False)),
            ("error", task.error),
            ("page", answer.target.page(task.task_id)),
        ]
    )
    for entry in task.timeline:
        answer.screen.say(f"  {shown.line(entry)}")
    return 0


def wait(answer: Answer) -> int:
    task, code = followed(answer, answer.args.id)
    answer.screen.document(task)
    return code


# Many. ----------------------------------------------------------------------------------------------------------------


def list_tasks(answer: Answer) -> int:
    args, screen = answer.args, answer.screen
    found = answer.target.client.list(args.status, args.kind, None if args.limit is None else args.limit + 1)
    tasks = list(islice(found, args.limit))
    screen.document({"tasks": tasks})
    if not tasks:
        screen.note("No task is like that." if args.status or args.kind else "There is no task yet.")
        return 0
    screen.table(shown.LISTED, map(shown.listed, tasks))
    _more(answer, next(found, None) is not None)
    return 0


def dead_letters(answer: Answer) -> int:
    args, screen = answer.args, answer.screen
    if args.strays:
        return _strays(answer)
    found = answer.target.client.dead_letters(args.kind, args.error, args.since, args.until)
    letters = list(islice(found, args.limit))
    screen.document({"deadLetters": letters})
    if not letters:
        screen.note("There is no dead letter. (It is written a moment after its task has died.)")
        return 0
    names = ("task", "kind", "generation", "attempts", "dead (UTC)", "error")
    screen.table(names, map(_letter, letters))
    _more(answer, args.limit is not None and next(found, None) is not None)
    return 0


def _strays(answer: Answer) -> int:
    args, screen = answer.args, answer.screen
    if args.kind is not None or args.error is not None:
        raise Usage("A stray has no kind and no error.", "the same without --kind and --error")
    found = answer.target.client.strays(args.since, args.until)
    strays = list(islice(found, args.limit))
    screen.document({"strays": strays})
    if not strays:
        screen.note("There is no stray.")
        return 0
    names = ("message", "receives", "recorded (UTC)", "reason", "body")
    rows = [(one.message_id, one.receives, shown.moment(one.recorded_at), one.reason, one.body) for one in strays]
    screen.table(names, rows)
    _more(answer, args.limit is not None and next(found, None) is not None)
    return 0


def _letter(one: DeadLetter) -> Sequence[object]:
    why = f"{one.error_class}: {one.error}"
    return one.task_id, one.kind, one.generation, one.attempts, shown.moment(one.dead_at), why


def _more(answer: Answer, more: bool) -> None:
    if more:
        answer.screen.note(f"There are more than these {answer.args.limit}: --limit all shows them.")


def cancel(answer: Answer) -> int:
    return _told(answer, [_cancelled(answer, task_id) for task_id in answer.args.ids], "cancelled", "cancelled before")


def _cancelled(answer: Answer, task_id: str) -> Result:
    """As one of a batch, so that the refusal of one does not stop the rest."""
    try:
        steered = answer.target.client.cancel(task_id)
    except (Conflict, NotFound) as error:
        return Result(task_id, error.status, error.message, error.code)
    return Result(task_id, 202 if steered.new else 200, steered.status)


def redrive(answer: Answer) -> int:
    args = answer.args
    filtered = any(value is not None for value in (args.kind, args.error, args.since, args.until))
    if filtered == bool(args.ids):
        raise Usage(
            "Ids, or filters: one of them says which." if filtered else "Which? Neither ids nor a filter are given.",
            f"{TASKS} redrive ID…, or {TASKS} redrive --error TEXT (--kind, --since, --until)",
        )
    if filtered:
        return matching(answer, Wanted(args.kind, args.error, args.since, args.until).fixed(time.time()))
    ids = list(dict.fromkeys(args.ids))
    if answer.args.yes:
        return _told(answer, answer.target.client.redrive_batch(ids), "replayed", "replayed before")
    looks = [_looked_at(answer, task_id) for task_id in ids]
    code = _told(answer, looks, "would be replayed", "")
    answer.screen.note(f"Nothing was changed.\n  next: {answer.again(f'redrive {shlex.join(ids)} --yes')}")
    return code


def _looked_at(answer: Answer, task_id: str) -> Result:
    try:
        task = answer.target.client.get(task_id)
    except NotFound as error:
        return Result(task_id, error.status, error.message, error.code)
    if task.status != DEAD:
        return Result(task_id, 409, f"It is {task.status}; only a task that is {DEAD} can be replayed.", "not_dead")
    return Result(task_id, 202, task.error or "")


def _told(answer: Answer, results: Sequence[Result], new: str, before: str) -> int:
    """One line for each; the exit code is that of the worst."""
    answer.screen.document({"results": results})
    rows = [
        (one.task_id, (new if one.new else before) if one.done else "refused", "" if one.done else one.message)
        for one in results
    ]
    answer.screen.table(("task", "outcome", "why"), rows)
    codes = {code_of(one.status) for one in results if not one.done}
    return next((code for code in (4, 2, 3) if code in codes), 0)


# The whole. -----------------------------------------------------------------------------------------------------------


def stats(answer: Answer) -> int:
    found, screen = answer.target.client.stats(), answer.screen
    screen.document(found)
    queue, dead = found.queue, found.dead_letter_queue
    oldest = found.oldest_open_at
    screen.facts([(name, count) for name, count in found.counts.items()])
    screen.facts(
        [
            ("queue", f"{queue['waiting']} waiting, {queue['inFlight']} in flight, {queue['delayed']} delayed"),
            ("DLQ", f"{dead['waiting']} waiting, {dead['inFlight']} in flight"),
            ("oldest", f"{shown.moment(oldest)} UTC" if oldest else "nothing is open"),
        ]
    )
    minutes = found.per_minute[-MINUTES_SHOWN:]
    if minutes:
        names = ("minute (UTC)", "completed", "failed", "dead", "p50 ms", "p95 ms")
        fields = ("completed", "failed", "dead", "p50Ms", "p95Ms")
        screen.table(names, [(str(one["minute"])[11:16], *(_number(one[name]) for name in fields)) for one in minutes])
    return 0


def _number(value: object) -> str:
    return "-" if value is None else f"{value}"


def open_dashboard(answer: Answer) -> int:
    """Opens it, or prints the address, where there is no display; that holds the key, and no other command shows it."""
    anchor = f"&task={answer.args.id}" if answer.args.id else ""
    address = answer.host.show(answer.target.client.base_url, answer.target.key, anchor)
    if address is None:
        answer.screen.say("The dashboard is open in your browser.")
    else:
        answer.screen.say("Open this in a browser. It holds the API key:")
        print(json.dumps({"address": address}) if answer.screen.as_json else address)
    return 0
