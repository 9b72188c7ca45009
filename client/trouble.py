"""What went wrong, for a person and for the exit code."""

from __future__ import annotations

from client.answer import Answer
from client.errors import ApiError, Forbidden, NoApi, NotFound, Unavailable
from client.target import GIVE


def code_of(status: int) -> int:
    """The exit code of an HTTP status; 0 is no answer at all."""
    if status == 404:
        return 3
    return 4 if status in (0, 429) or status >= 500 else 2


def explained(error: ApiError, answer: Answer) -> tuple[str, str]:
    """What happened and why, and what to type next."""
    if isinstance(error, Forbidden):
        return f"The API refused the key (403: {error.message}).", f"{GIVE}; `make outputs` shows the running stack's"
    if isinstance(error, Unavailable):
        told = f"The API is away or too busy ({error.status}: {error.message})"
        look = "`make status` shows whether a local stack runs; then the same again"
        return error.message if error.status == 0 else told, going_on(answer) or look
    if isinstance(error, NoApi):
        return error.message, f"{GIVE}; `make outputs` shows the running stack's"
    if isinstance(error, NotFound):
        return error.message, answer.again("list")
    told = f"The API rejected it: {error.message} ({error.status} {error.code})"
    return told, f"{answer.host.typed} {answer.args.command} --help"


def going_on(answer: Answer) -> str:
    """After a stop in the middle: nothing is lost, and this finds it again."""
    if answer.submitting:
        return f"the same again with --id {answer.submitting}: it may have been accepted, and runs once"
    if answer.waiting:
        return f"the task is {answer.waiting.status} and goes on; {answer.again(f'wait {answer.waiting.task_id}')}"
    return ""
