"""The evaluator of alarms against CloudWatch's rules, and every alarm of the template against it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from bootstrap import settings
from tests.support.alarms import Alarm, Sample, embedded
from tests.support.tasks import NOW
from tests.support.templates import template

RESOURCES = template("app")["Resources"]
ALARMS = {name: each["Properties"] for name, each in RESOURCES.items() if each["Type"] == "AWS::CloudWatch::Alarm"}
EXPLAINED = int(settings.read({}).app["QueueAgeAlarmSeconds"])
ALARMS["QueueAgeAlarm"] = {**ALARMS["QueueAgeAlarm"], "Threshold": EXPLAINED}
MINUTE = 60_000
TWO_OF_THREE = Alarm.of(
    {
        "Namespace": "N",
        "MetricName": "M",
        "Dimensions": [{"Name": "stage", "Value": "dev"}],
        "Statistic": "Sum",
        "Period": 60,
        "EvaluationPeriods": 3,
        "DatapointsToAlarm": 2,
        "Threshold": 5,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "notBreaching",
    }
)


def samples(alarm: Alarm, *periods: list[float]) -> list[Sample]:
    """Values of the last period, of the one before, …"""
    return [
        Sample(alarm.namespace, alarm.metric, alarm.dimensions, value, NOW - alarm.period_ms * number - 1)
        for number, values in enumerate(periods)
        for value in values
    ]


def test_an_alarm_counts_breaching_periods_and_what_is_missing() -> None:
    for periods, missing, state in (
        ([[6], [6], []], "notBreaching", "ALARM"),
        ([[6], [], [6]], "notBreaching", "ALARM"),
        ([[6], [], []], "notBreaching", "OK"),
        ([[6], [], []], "breaching", "ALARM"),
        ([[], [], []], "breaching", "ALARM"),
        ([[], [], []], "notBreaching", "OK"),
        ([[], [], []], "missing", "INSUFFICIENT_DATA"),
        ([[5], [5], [5]], "notBreaching", "OK"),
        ([[3, 3], [2, 4], []], "notBreaching", "ALARM"),
        ([[], [], [], [6], [6]], "notBreaching", "OK"),
    ):
        alarm = replace(TWO_OF_THREE, missing=missing)
        assert alarm.state(samples(alarm, *periods), NOW) == state, periods


def test_an_alarm_compares_the_statistic_of_a_period() -> None:
    for statistic, value in (
        ("Sum", 6),
        ("Maximum", 4),
        ("Minimum", 2),
        ("Average", 3),
        ("SampleCount", 2),
    ):
        alarm = replace(TWO_OF_THREE, statistic=statistic, periods=1, to_alarm=1)
        found = samples(alarm, [2, 4])
        assert replace(alarm, threshold=value - 1).state(found, NOW) == "ALARM", statistic
        assert replace(alarm, threshold=value).state(found, NOW) == "OK", statistic


@pytest.mark.parametrize(
    "other", [{"namespace": "X"}, {"metric": "X"}, {"dimensions": frozenset({("stage", "prod")})}, {"at": NOW + 1}]
)
def test_an_alarm_looks_at_its_own_metric_of_its_own_stage_and_not_ahead(other: dict[str, Any]) -> None:
    alarm = replace(TWO_OF_THREE, periods=1, to_alarm=1)
    [sample] = samples(alarm, [6])
    assert alarm.state([sample], NOW) == "ALARM"
    assert alarm.state([replace(sample, **other)], NOW) == "OK"


def test_a_line_of_embedded_metrics_is_a_sample_for_each_value_and_other_lines_are_none() -> None:
    metrics = [{"Name": "A", "Unit": "Count"}, {"Name": "B", "Unit": "Count"}]
    directive = {"Namespace": "N", "Dimensions": [["stage"]], "Metrics": metrics}
    line = {"_aws": {"Timestamp": NOW, "CloudWatchMetrics": [directive]}, "stage": "dev", "A": [1.0, 2.0], "B": 3}
    stage = frozenset({("stage", "dev")})
    assert list(embedded(json.dumps(line))) == [
        Sample("N", "A", stage, 1.0, NOW),
        Sample("N", "A", stage, 2.0, NOW),
        Sample("N", "B", stage, 3, NOW),
    ]
    assert [*embedded('{"message": "swept"}'), *embedded("START RequestId: 1")] == []


# The alarms of the template. ------------------------------------------------------------------------------------------

JUST: dict[str, tuple[list[list[float]], list[list[float]]]] = {
    "TasksDeadAlarm": ([[1]], [[0]]),
    "DeadUnrecordedAlarm": ([[899, 900]], [[899]]),
    "SweeperSilentAlarm": ([], [[0]]),
    "QueueAgeAlarm": ([[EXPLAINED + 1]] * 10, [[EXPLAINED + 1]] * 9),
    "DlqAgeAlarm": ([[3601]] * 5, [[3601]] * 4),
    "ApiErrorsAlarm": ([[1, *[0] * 18]] * 3, [[1, *[0] * 19]] * 3),
    **{
        f"{function}{metric}Alarm": ([[1], [], [1]], [[9]])
        for function in ("ProcessTask", "MonitorDlq", "SweepTasks", "SubmitTask")
        for metric in ("Errors", "Throttles")
    },
}
"""What just sets each alarm off, and what just does not; the last period first."""


def test_every_alarm_is_tried() -> None:
    assert set(ALARMS) == set(JUST)


def test_an_alarm_of_the_template_goes_off_at_its_symptom_and_not_before() -> None:
    for name in JUST:
        alarm, (enough, too_little) = Alarm.of(ALARMS[name]), JUST[name]
        assert alarm.state(samples(alarm, *enough), NOW) == "ALARM", name
        assert alarm.state(samples(alarm, *too_little), NOW) == "OK", name


def test_whoever_is_named_is_told_of_an_alarm_and_of_its_end() -> None:
    for name in JUST:
        told = {"If": ["HasAlarmEmail", [{"Ref": "AlarmTopic"}], {"Ref": "AWS::NoValue"}]}
        properties = json.loads(json.dumps(ALARMS[name]).replace("Fn::If", "If"))
        assert properties["AlarmActions"] == properties["OKActions"] == told, name


def test_without_fixed_costs_there_is_no_alarm_and_no_dashboard() -> None:
    for name in (
        *JUST,
        "Dashboard",
    ):
        only_with_schedules = name.startswith("SubmitTask")
        assert RESOURCES[name]["Condition"] == ("WatchedSchedules" if only_with_schedules else "Watched"), name
        assert {"Condition": "Watched"} in template("app")["Conditions"]["WatchedSchedules"]["Fn::And"], name


def test_the_dashboard_shows_every_alarm_and_every_metric_of_our_own() -> None:
    (text, own), *_ = RESOURCES["Dashboard"]["Properties"]["DashboardBody"].values()
    condition, of_submit_task, nothing = own["OfSubmitTask"]["Fn::If"]
    shown = json.loads(text.replace("${OfSubmitTask}", of_submit_task["Fn::Sub"]))["widgets"]
    names = {alarm["AlarmName"]["Fn::Sub"]: name for name, alarm in ALARMS.items()}
    arns = shown[0]["properties"]["alarms"]
    assert {names.get(arn.rpartition(":")[2], arn[2:-5]) for arn in arns} == set(ALARMS)
    assert (condition, nothing) == ("HasSchedules", "")
    own = {
        metric[1] for widget in shown[1:] for metric in widget["properties"]["metrics"] if metric[0] == "TaskProcessing"
    }
    assert own == {"TasksCompleted", "AttemptsFailed", "TaskAge", "DeadLettersRecorded", "OldestDeadUnrecorded"}
