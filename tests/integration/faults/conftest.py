"""What tests of faults share: functions that obey orders, put into the stack once for all of these modules.

Every test names the calls that go wrong, and fails when they did not; the SDK's own retries are on, as in production.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import faulty
from tests.support.faulty import COMES_BACK_SECONDS, Faults
from tests.support.stack import DeployedStack, new_id, purge_queues, unscheduled


@pytest.fixture(scope="package")
def faults(stack: DeployedStack) -> Iterator[Faults]:
    """The functions of the stack obey rules. A message counts as lost after a second; so nothing but a test sweeps."""
    soon = {"RESEND_AFTER_SECONDS": "1"}
    with (
        unscheduled(stack),
        faulty.visibility(stack, "dlq_url", COMES_BACK_SECONDS),
        faulty.functions(stack, SubmitTask={}, ProcessTask={}, MonitorDlq={}, SweepTasks=soon) as faults,
    ):
        yield faults
    # Where clocks differ, a copy may stay hidden for minutes; the tests that follow look for empty queues.
    purge_queues(stack)


@pytest.fixture
def task_id() -> str:
    return new_id("fault")
