"""Calls that are held up, and processes that freeze: orders of the fault hook that somebody else has to end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from bootstrap.paths import ROOT
from tests.support.fault_hook import Fault, Firing, MemoryLedger
from tests.support.server import Server, serving
from tests.support.waiting import eventually
from tests.unit.test_fault_hook import ITEM, PROGRAM, a_rule, client_of


@pytest.fixture
def service() -> Iterator[Server]:
    """A DynamoDB that says yes to everything."""
    with serving(lambda request: (200, {})) as server:
        yield server


def test_a_late_call_is_made_when_it_is_released_and_not_before(service: Server) -> None:
    rule = a_rule("late")
    ledger = MemoryLedger(rule)
    client = client_of(service, ledger)

    with ThreadPoolExecutor(1) as pool:
        calling = pool.submit(client.put_item, **ITEM)
        eventually(lambda: ledger.fired)
        assert (calling.done(), service.requests) == (False, [])
        ledger.release(rule)
        calling.result()

    assert ledger.fired == [Firing(1)]
    assert len(service.requests) == 1


@pytest.mark.parametrize(("fault", "heard"), [("stop-before", 0), ("stop-after", 1)])
def test_a_stop_freezes_the_process_before_or_after_the_call_until_it_is_killed(
    service: Server, fault: Fault, heard: int
) -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM, service.url, fault], cwd=ROOT) as program:
        process = psutil.Process(program.pid)
        eventually(process.status, lambda status: status == psutil.STATUS_STOPPED)
        assert len(service.requests) == heard
        program.kill()

    assert len(service.requests) == heard
