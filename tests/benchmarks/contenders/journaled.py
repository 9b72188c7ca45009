"""A kind of task for `make bench`, put into our package for a run: notes outside when its work begins and ends."""

from __future__ import annotations

import os
import time
from pathlib import Path

from lambdas.common.kinds import JsonObject, Work, kind


@kind("journaled", schema={"type": "object"})
def run(work: Work) -> JsonObject:
    with Path(os.environ["JOURNAL"]).with_suffix(".begun").open("a") as lines:
        lines.write(f"{os.getpid()} {work.task_id}\n")
    time.sleep(work.payload["simulate"]["workSeconds"])
    with Path(os.environ["JOURNAL"]).open("a") as lines:
        lines.write(f"{work.task_id}\n")
    return {"attempt": work.attempt}
