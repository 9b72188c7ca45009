"""An alarm for each symptom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bootstrap.rules.rule import Finding, rule
from bootstrap.rules.system import System
from bootstrap.template import Reference, Resource

OWN = "TaskProcessing"
"""Namespace of the functions' own metrics: lambdas/common/telemetry.py (a test compares the two)."""
UNRECORDED_SECONDS = 900
API = "AWS::Serverless::Api"


@dataclass(frozen=True, slots=True)
class Symptom:
    """What somebody must hear of, and the metric that shows it."""

    what: str
    where: str
    """Logical id of what is ill."""
    namespace: str
    metric: str
    dimensions: Mapping[str, str]
    """All of them: a metric under other dimensions is another metric."""
    falls: bool = False
    """It shows by low values, and by none at all."""
    at_most: float | None = None
    """Of the threshold."""

    def __str__(self) -> str:
        named = ", ".join(f"{name}={value}" for name, value in self.dimensions.items())
        return f"{self.namespace} {self.metric} ({named})"


@rule(
    "CloudWatch: recommended alarms",
    "AmazonCloudWatch/latest/monitoring/Best_Practice_Recommended_Alarms_AWS_Services.html",
)
def alarm_for_each_symptom(system: System) -> Iterator[Finding]:
    """Each symptom of the system being ill has an alarm, unless FIXED=low has left them all out."""
    alarms = system.of_type("AWS::CloudWatch::Alarm")
    for symptom in symptoms(system) if system.watched else ():
        on_it = [alarm for alarm in alarms if _watches(system, alarm, symptom)]
        if not on_it:
            yield Finding(symptom.where, f"nobody hears of {symptom.what}", f"an alarm on {symptom}")
        for alarm in on_it:
            yield from _deaf(alarm, symptom)


def symptoms(system: System) -> Iterator[Symptom]:
    stage = {"stage": system.stage}
    yield Symptom("dead tasks", "MonitorDlq", OWN, "DeadLettersRecorded", stage)
    for queue in system.of_type("AWS::SQS::Queue"):
        name = {"QueueName": str(queue.properties.get("QueueName"))}
        yield Symptom("messages that wait too long", queue.name, "AWS/SQS", "ApproximateAgeOfOldestMessage", name)
    unrecorded = "a dead task without a record after 15 minutes"
    yield Symptom(unrecorded, "MonitorDlq", OWN, "OldestDeadUnrecorded", stage, at_most=UNRECORDED_SECONDS)
    yield Symptom("a sweeper that does not run", "SweepTasks", OWN, "TasksHealed", stage, falls=True)
    for function in sorted(_unattended(system)):
        for what, metric in (("its errors", "Errors"), ("its throttles", "Throttles")):
            yield Symptom(what, function, "AWS/Lambda", metric, {"FunctionName": function})
    for api in system.of_type(API):
        name = {"ApiName": str(api.properties.get("Name")), "Stage": system.stage}
        yield Symptom("its 5xx answers", api.name, "AWS/ApiGateway", "5XXError", name)


def _unattended(system: System) -> set[str]:
    """Functions that are called by nobody who waits for the answer: what fails behind the API alone is a 5xx."""
    answering = {route.function for route in system.routes}
    targets = [target["Arn"] for rule in system.of_type("AWS::Events::Rule") for target in rule.properties["Targets"]]
    by_rule = {target.resource for target in targets if isinstance(target, Reference)}
    return set(system.functions) - answering | by_rule | {schedule.function for schedule in system.schedules}


def _watches(system: System, alarm: Resource, symptom: Symptom) -> bool:
    """Directly, or as a term of an expression."""
    terms = [entry.get("MetricStat", {}).get("Metric", {}) for entry in alarm.properties.get("Metrics", [])]
    for metric in (alarm.properties, *terms):
        given = {one["Name"]: _named(system, one["Value"]) for one in metric.get("Dimensions", [])}
        same = (metric.get("Namespace"), metric.get("MetricName")) == (symptom.namespace, symptom.metric)
        if same and given == symptom.dimensions:
            return True
    return False


def _named(system: System, value: Any) -> str:
    """A function by its logical id, however the alarm names it."""
    if isinstance(value, Reference):
        return value.resource
    names = {function.properties.get("FunctionName"): name for name, function in system.functions.items()}
    return str(names.get(value, value))


def _deaf(alarm: Resource, symptom: Symptom) -> Iterator[Finding]:
    """Why the alarm would not hear the symptom."""
    comparison, threshold = str(alarm.properties.get("ComparisonOperator")), alarm.properties.get("Threshold", 0)
    missing = alarm.properties.get("TreatMissingData", "missing")
    wanted = "Less" if symptom.falls else "Greater"
    if not comparison.startswith(wanted):
        yield Finding(alarm.name, f"{comparison} does not hear of {symptom.what}", f"{wanted}ThanThreshold")
    if symptom.falls and missing != "breaching":
        yield Finding(alarm.name, f"no data is {missing}, yet it is the symptom", "TreatMissingData: breaching")
    if symptom.at_most is not None and threshold > symptom.at_most:
        yield Finding(alarm.name, f"Threshold is {threshold}", f"{symptom.at_most:g} or less")
