"""Our own metrics set off our own alarms: on the symptom, really made, and not on a quiet day.

No local AWS counts embedded metrics (docs/parity.md), so each alarm, as it is deployed, is evaluated here
(tests/support/alarms.py) on what the deployed functions wrote.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from bootstrap.operate import Settled, switch
from lambdas.common.rows import STATE, partition
from lambdas.common.task import IndexClass
from tests.conftest import own_stack
from tests.support import stack as stacks
from tests.support.alarms import Alarm, Sample, State, embedded
from tests.support.stack import DeployedStack, new_id
from tests.support.waiting import eventually

OURS = ("dev-tasks-dead", "dev-tasks-dead-unrecorded", "dev-tasks-sweeper-silent")
QUIET: dict[str, State] = dict.fromkeys(OURS, "OK")


@pytest.fixture(scope="module")
def own() -> Iterator[DeployedStack]:
    """A stack in which only these tests sweep."""
    with own_stack("embedded", "alarms", {}, swept=False) as stack:
        yield stack


@dataclass(frozen=True)
class Watch:
    """What the alarms say who have seen nothing of what was before `since`."""

    stack: DeployedStack
    since: int

    @classmethod
    def begin(cls, stack: DeployedStack) -> Watch:
        return cls(stack, round(time.time() * 1000))

    def samples(self) -> list[Sample]:
        found = [sample for line in self._lines() for sample in embedded(line)]
        return [sample for sample in found if sample.at >= self.since]

    def messages(self, *words: str) -> list[str]:
        """Lines with all of the words."""
        return [line for line in self._lines() if all(word in line for word in words)]

    def _lines(self) -> list[str]:
        logs, functions = self.stack.aws("logs"), self.stack.outputs["functions"].values()
        groups = [f"/aws/lambda/{function}" for function in functions]
        return [e["message"] for group in groups for e in logs.filter_log_events(logGroupName=group)["events"]]

    def states(self) -> dict[str, State]:
        now, samples = round(time.time() * 1000), self.samples()
        deployed = self.stack.aws("cloudwatch").describe_alarms(AlarmNames=list(OURS))["MetricAlarms"]
        return {each["AlarmName"]: Alarm.of(each).state(samples, now) for each in deployed}

    def swept(self) -> None:
        """Run the sweeper once, and wait until its metrics are there."""
        before = self._sweeps()
        self.stack.aws("lambda").invoke(FunctionName=self.stack.outputs["functions"]["SweepTasks"])
        eventually(self._sweeps, lambda count: count > before)

    def _sweeps(self) -> int:
        return sum(sample.metric == "TasksHealed" for sample in self.samples())


def monitor(stack: DeployedStack, wanted: Settled) -> None:
    functions = stack.aws("lambda")
    name = stack.outputs["functions"]["MonitorDlq"]
    [mapping] = functions.list_event_source_mappings(FunctionName=name)["EventSourceMappings"]
    switch(functions, mapping["UUID"], wanted, 0.1)


def die(stack: DeployedStack) -> str:
    task_id = new_id("dead")
    ended = stack.tasks.submit(payload={"simulate": {"permanent": True}}, task_id=task_id).wait()
    assert ended.status == "FAILED_FINAL"
    return task_id


def index_class(stack: DeployedStack, task_id: str) -> IndexClass:
    [task] = stack.store.get_many([task_id])
    return task.index_class


def age(stack: DeployedStack, task_id: str, minutes: int) -> None:
    """As if it had died so long ago."""
    [task] = stack.store.get_many([task_id])
    stack.dynamodb.update_item(
        TableName=stack.outputs["table_name"],
        Key={"PK": {"S": partition(task_id)}, "SK": {"S": STATE}},
        UpdateExpression="SET updatedAt = :then",
        ExpressionAttributeValues={":then": {"N": str(task.updated_at - minutes * 60_000)}},
    )


def test_on_a_quiet_day_no_alarm_goes_off(own: DeployedStack) -> None:
    watch = Watch.begin(own)
    for number in range(3):
        own.tasks.submit(payload={"number": number}).wait()
    watch.swept()
    eventually(watch.samples, lambda found: sum(each.metric == "TasksCompleted" for each in found) == 3)
    assert watch.states() == QUIET


def test_a_sweeper_that_is_switched_off_sets_its_alarm_off_while_tasks_go_on(own: DeployedStack) -> None:
    watch = Watch.begin(own)
    own.tasks.submit(payload={}).wait()
    eventually(watch.samples)
    assert watch.states() == {**QUIET, "dev-tasks-sweeper-silent": "ALARM"}
    watch.swept()
    assert watch.states() == QUIET


def test_a_dead_task_sets_the_alarm_off_once_its_letter_is_written(own: DeployedStack) -> None:
    watch = Watch.begin(own)
    task_id = die(own)
    eventually(lambda: index_class(own, task_id), lambda found: found is IndexClass.RECORDED)
    watch.swept()
    eventually(watch.states, lambda states: states == {**QUIET, "dev-tasks-dead": "ALARM"})


def test_a_dead_task_without_a_letter_for_15_minutes_sets_both_alarms_off_and_the_sweeper_ends_it(
    own: DeployedStack,
) -> None:
    monitor(own, "Disabled")
    try:
        task_id = die(own)
        watch = Watch.begin(own)
        watch.swept()
        assert watch.states() == QUIET
        assert index_class(own, task_id) is IndexClass.DEAD

        age(own, task_id, minutes=16)
        watch.swept()
        assert watch.states() == {**QUIET, "dev-tasks-dead": "ALARM", "dev-tasks-dead-unrecorded": "ALARM"}
        assert index_class(own, task_id) is IndexClass.RECORDED

        later = Watch.begin(own)
        later.swept()
        assert later.states() == QUIET
    finally:
        monitor(own, "Enabled")


def changed(stack: DeployedStack, **variables: str) -> DeployedStack:
    """The same stack with other settings."""
    target, port = stack.outputs["target"], stack.outputs["endpoint_url"].rsplit(":", 1)[1]
    return stacks.deploy(stack.folder, target, int(port), **variables)


def alarms(stack: DeployedStack) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = stack.aws("cloudwatch").describe_alarms()["MetricAlarms"]
    return found


def test_without_an_address_an_alarm_tells_nobody_and_with_one_it_tells_of_its_beginning_and_its_end(
    own: DeployedStack,
) -> None:
    assert [each for each in alarms(own) if each.get("AlarmActions")] == []

    own = changed(own, ALARM_EMAIL="ops@example.com")
    [told] = own.aws("sns").list_subscriptions()["Subscriptions"]
    assert (told["Protocol"], told["Endpoint"]) == ("email", "ops@example.com")
    assert {name for each in alarms(own) for name in (*each["AlarmActions"], *each["OKActions"])} == {told["TopicArn"]}
    assert len(alarms(own)) == 12


def test_with_low_fixed_costs_there_is_no_alarm_no_dashboard_and_no_metric_and_tasks_end_as_ever(
    own: DeployedStack,
) -> None:
    own = changed(own, FIXED="low")
    assert alarms(own) == []
    assert own.aws("cloudwatch").list_dashboards()["DashboardEntries"] == []

    watch = Watch.begin(own)
    ended = own.tasks.submit(payload={}).wait()
    own.aws("lambda").invoke(FunctionName=own.outputs["functions"]["SweepTasks"])
    eventually(lambda: watch.messages("task completed", ended.task_id))
    assert watch.samples() == []
