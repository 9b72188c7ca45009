"""What has a schedule runs by itself. This module begins last (tests/conftest.py): by then a minute has passed."""

from __future__ import annotations

import json
from typing import Any

from tests.support.stack import DeployedStack
from tests.support.waiting import eventually


def test_the_schedule_runs_the_sweeper_by_itself(stack: DeployedStack) -> None:
    group = f"/aws/lambda/{stack.outputs['functions']['SweepTasks']}"

    def scheduled() -> list[Any]:
        events = stack.aws("logs").filter_log_events(logGroupName=group)["events"]
        lines = [json.loads(event["message"]) for event in events if '"swept"' in event["message"]]
        return [line for line in lines if line["trigger"] == "aws.events"]

    eventually(scheduled, seconds=240)
