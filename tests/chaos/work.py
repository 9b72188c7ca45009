"""The kind of task of a chaos run. Its one effect is ADD 1, so a task that was done twice shows as 2."""

from __future__ import annotations

import os
import signal

from lambdas.common.effects import Effects, update
from lambdas.common.kinds import Work, kind
from lambdas.common.retry import PermanentError

ACCOUNTS = "accounts"


class Failed(Exception):
    """The plan says so."""


@kind("chaos", schema={"type": "object"}, tables=(ACCOUNTS,))
def run(work: Work) -> Effects:
    # Imported here: SubmitTask has the kind as well, but only to know its name and its schema.
    from tests.chaos.handler import chaos, strike_work

    here = chaos()
    fault = here.work(work)
    strike_work(fault, work)
    if fault == "fails":
        raise Failed(f"attempt {work.attempt}")
    if fault == "fails-for-good":
        raise PermanentError("no further attempt can help")
    here.journal.write("outside", task=work.task_id, attempt=work.attempt, generation=work.generation)
    if fault == "killed-after-outside-effect":
        os.kill(os.getpid(), signal.SIGKILL)
    count = update(ACCOUNTS, {"account": work.task_id}, "ADD balance :one", values={":one": 1})
    return Effects([count], {"attempt": work.attempt})
