"""An alarm for each symptom."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bootstrap.rules.rule import Finding, rule
from bootstrap.rules.system import System, whole
from bootstrap.settings import LONGEST_WAIT_SECONDS
from bootstrap.template import Reference, Resource

OWN = "TaskProcessing"
"""Namespace of the functions' own metrics: lambdas/common/telemetry.py (a test compares the two)."""
UNRECORDED_SECONDS = 900
KEPT_BY_DEFAULT_SECONDS = 345_600
"""By a queue that does not say how long (SQS quotas)."""
MOST_FAILURES = 10
"""In a period, of a function that nobody waits for."""
MOST_5XX = 0.1
"""As a share of the requests."""
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
    at_least: float = 0
    at_most: float = math.inf
    """Bounds of the threshold: below it goes off at nothing, above it hears too little, or nothing at all."""

    def __str__(self) -> str:
        named = ", ".join(f"{name}={value}" for name, value in self.dimensions.items())
        return f"{self.namespace} {self.metric} ({named})"


@rule(
    "CloudWatch: recommended alarms",
    "AmazonCloudWatch/latest/monitoring/Best_Practice_Recommended_Alarms_AWS_Services.html",
)
def alarm_for_each_symptom(system: System) -> Iterator[Finding]:
    """Each symptom of the system being ill has an alarm that hears it, unless FIXED=low has left them all out."""
    alarms = system.of_type("AWS::CloudWatch::Alarm")
    for symptom in symptoms(system) if system.watched else ():
        on_it = [alarm for alarm in alarms if _watches(system, alarm, symptom)]
        if not on_it:
            yield Finding(symptom.where, f"nobody hears of {symptom.what}", f"an alarm on {symptom}")
        for alarm in on_it:
            yield from _deaf(alarm, symptom)


def symptoms(system: System) -> Iterator[Symptom]:
    stage = {"stage": system.stage}
    yield Symptom("dead tasks", "MonitorDlq", OWN, "DeadLettersRecorded", stage, at_least=1, at_most=1)
    for queue in system.of_type("AWS::SQS::Queue"):
        yield _age(system, queue)
    unrecorded = "a dead task without a record after 15 minutes"
    yield Symptom(unrecorded, "MonitorDlq", OWN, "OldestDeadUnrecorded", stage, at_least=1, at_most=UNRECORDED_SECONDS)
    silent = "a sweeper that does not run"
    yield Symptom(silent, "SweepTasks", OWN, "TasksHealed", stage, falls=True, at_least=1, at_most=1)
    for function in sorted(_unattended(system)):
        for what, metric in (("its errors", "Errors"), ("its throttles", "Throttles")):
            name = {"FunctionName": function}
            yield Symptom(what, function, "AWS/Lambda", metric, name, at_least=1, at_most=MOST_FAILURES)
    for api in system.of_type(API):
        name = {"ApiName": str(api.properties.get("Name")), "Stage": system.stage}
        yield Symptom("its 5xx answers", api.name, "AWS/ApiGateway", "5XXError", name, at_least=0.001, at_most=MOST_5XX)


def _age(system: System, queue: Resource) -> Symptom:
    """Of a queue with a DLQ a healthy message may be as old as it may be delayed; and no message gets older than it is
    kept.
    """
    name = {"QueueName": str(queue.properties.get("QueueName"))}
    kept = whole(queue.properties, "MessageRetentionPeriod", KEPT_BY_DEFAULT_SECONDS, queue.name)
    least = min(LONGEST_WAIT_SECONDS, kept // 2) if queue.name in system.dead_letter_queues else 1
    what, metric = "messages that wait too long", "ApproximateAgeOfOldestMessage"
    return Symptom(what, queue.name, "AWS/SQS", metric, name, at_least=least, at_most=kept - 1)


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
    if threshold > symptom.at_most:
        yield Finding(alarm.name, f"Threshold is {threshold}", f"{symptom.at_most} or less")
    if threshold < symptom.at_least:
        yield Finding(alarm.name, f"Threshold is {threshold}", f"{symptom.at_least} or more")
