"""`make cost` counts a real run of both designs: what does not depend on this machine's speed comes out to the unit."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from typing import Any

import pytest

from bootstrap.paths import ROOT

GROUP = pytest.mark.xdist_group("cost")


@cache
def found() -> dict[str, Any]:
    command = [sys.executable, "-m", "scripts.cost", "--json", "--failure-rate", "0.5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def counted(design: str, batch: int, failure_rate: float) -> dict[str, float]:
    [case] = [
        case["counts"]
        for case in found()["per_million"]
        if (case["design"], case["batch"], case["failure_rate"]) == (design, batch, failure_rate)
    ]
    return {name: count / 1e6 for name, count in case.items()}


@GROUP
@pytest.mark.parametrize(
    ("design", "batch", "writes", "requests", "invocations"),
    [("ours", 1, 7, 3, 2), ("ours", 10, 6.1, 1.2, 1.1), ("original", 1, 3, 3, 2), ("original", 10, 3, 1.2, 1.1)],
)
def test_a_good_task_uses_what_the_guarantees_page_says(
    design: str, batch: int, writes: float, requests: float, invocations: float
) -> None:
    counts = counted(design, batch, 0)
    known = {name: pytest.approx(counts[name]) for name in ("write_units", "queue_requests", "invocations")}
    assert known == {"write_units": writes, "queue_requests": requests, "invocations": invocations}
    assert counts["rest_requests"] == 1
    assert 300 < counts["log_bytes"] < 2000
    assert counts["gb_seconds"] > 0


@GROUP
@pytest.mark.parametrize(("batch", "requests", "invocations"), [(1, 2.1, 1.01), (10, 0.3, 0.11)])
def test_in_batches_of_a_hundred_a_task_writes_as_much_and_shares_request_invocation_and_sends(
    batch: int, requests: float, invocations: float
) -> None:
    alone, together = counted("ours", batch, 0), counted("batched", batch, 0)
    assert together["write_units"] == pytest.approx(alone["write_units"])
    known = {name: pytest.approx(together[name]) for name in ("rest_requests", "queue_requests", "invocations")}
    assert known == {"rest_requests": 0.01, "queue_requests": requests, "invocations": invocations}
    assert alone["log_bytes"] < together["log_bytes"] < alone["log_bytes"] * 1.1, (
        "a line for each task, and one for all"
    )
    assert found()["target"]["batched"] < found()["target"]["single"]


@GROUP
def test_with_failures_a_good_task_pays_for_retries_and_for_the_dead() -> None:
    # Of 8 tasks 4 need one attempt, 2 two, 1 three, and 1 dies after three attempts and two more receives.
    invocations = counted("ours", 1, 0.5)["invocations"]
    submits_attempts_receives_and_monitor = 8 + (4 * 1 + 2 * 2 + 1 * 3 + 1 * 5) + 1
    assert invocations == pytest.approx(submits_attempts_receives_and_monitor / 7)


@GROUP
def test_the_fixed_part_is_that_of_the_deployed_stack() -> None:
    fixed = found()["fixed_per_month"]
    assert fixed["ours"]["alarms"] == pytest.approx(12 * 0.10)
    assert fixed["ours"]["dashboard"] == 3
    assert fixed["ours"]["metrics"] == pytest.approx(6 * 0.30)
    assert set(fixed["low"]) == {"polls of idle queues", "sweeper"}
    assert fixed["low"]["sweeper"] < fixed["ours"]["sweeper"] < 1
