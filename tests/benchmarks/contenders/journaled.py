"""A kind of task for `make bench`, put into our package for a run: notes outside the table that its work has ended."""

from __future__ import annotations

import os
import time
from pathlib import Path

from lambdas.common.kinds import JsonObject, Work, kind


@kind("journaled", schema={"type": "object"})
def run(work: Work) -> JsonObject:
    time.sleep(work.payload["simulate"]["workSeconds"])
    with Path(os.environ["JOURNAL"]).open("a") as lines:
        lines.write(f"{work.task_id}\n")
    return {"attempt": work.attempt}
