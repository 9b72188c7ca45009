"""The sweeper on a real index, where a thousand rows need nothing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest

from lambdas.common import rows
from lambdas.common.dead_letters import Recorder
from lambdas.common.task import Message, Task
from lambdas.common.wire import to_wire
from lambdas.sweep_tasks.sweep import Healed, Sweeper
from tests.contract.conftest import Table
from tests.support.queue import FakeQueue
from tests.support.tasks import NOW, SECOND, Clock, Tokens, a_task, planted, waiting

HEALTHY = 1_000
RESEND_AFTER_MS = 900 * SECOND
BATCH = 25
"""Most items that one BatchWriteItem takes."""


def write_all(table: Table, tasks: Iterator[Task]) -> None:
    while batch := [{"PutRequest": {"Item": to_wire(rows.row_of(task))}} for task in islice(tasks, BATCH)]:
        pending: Any = {table.name: batch}
        while pending:
            pending = table.client.batch_write_item(RequestItems=pending)["UnprocessedItems"]


@pytest.mark.parametrize("table", ["embedded"], indirect=True)
def test_a_thousand_healthy_tasks_ahead_of_a_lost_one_do_not_keep_it_from_being_healed(table: Table) -> None:
    backing_off = NOW + 10 * RESEND_AFTER_MS
    write_all(table, (waiting(task_id=f"healthy-{n}", next_attempt_at=backing_off) for n in range(HEALTHY)))
    planted(table.store, a_task(task_id="lost", created_at=NOW + 1))
    queue, clock, unhealed = FakeQueue(), Clock(NOW + RESEND_AFTER_MS + 1), list[Task]()
    recorder = Recorder(table.store, 86_400, clock, Tokens())
    sweeper = Sweeper(
        table.store, queue, recorder, lambda: False, RESEND_AFTER_MS, clock, lambda task, _: unhealed.append(task)
    )

    runs: list[Healed] = []
    while not queue.sent and len(runs) < 3:
        runs.append(sweeper.sweep(lambda: True))

    assert queue.sent == [(Message("lost", 1), 0)]
    assert unhealed == []
    # A run that stops at its bound is gone on with where it stopped: nobody was looked at twice.
    assert sum(run.examined for run in runs) == HEALTHY + 1
