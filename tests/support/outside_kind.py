"""A kind of task whose work has an effect outside: another system, which counts its calls by the key it is given.

Part of a package only where tests/support/faulty.py puts it.
"""

from __future__ import annotations

import json
import os
import time

from lambdas.common.kinds import JsonObject, Work, kind
from tests.support.fault_hook import TableLedger, ledger_of

NUMBERS = {"type": "array", "items": {"type": "integer"}}


def released(task_id: str, attempt: int) -> str:
    """What the outside system counts when an attempt that is held may go on."""
    return f"{task_id} attempt {attempt} released"


@kind("outside", schema={"type": "object", "properties": {"held": NUMBERS}})
def run(work: Work) -> JsonObject:
    """Attempts whose number is in `held` go on only when the outside system says so, or never."""
    system = outside()
    calls = system.tally(work.task_id)
    held = work.attempt in work.payload.get("held", ())
    while held and not system.tallied(released(work.task_id, work.attempt)):
        time.sleep(0.05)  # no deadline of its own: the end of the function ends it
    return {"attempt": work.attempt, "calls": calls}


def outside() -> TableLedger:
    return ledger_of({**json.loads(os.environ["FAULTS"]), "function": "outside"}, os.environ)
