"""Probes of what watches over the system: EventBridge schedules, CloudWatch metrics and alarms."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from bootstrap.doctor.lab import Lab, ProbeTimeout
from bootstrap.doctor.probe import Finding, Probe, as_aws, differs

MONITORING = "https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring"
SCHEDULE_SECONDS = 80
METRIC_SECONDS = 10
"""Local targets count at once or never; AWS takes a minute or two."""
ALARM_SECONDS = 25
NAMESPACE = "TaskProcessing/doctor"
FIRED = "def handle(event, context):\n    print('fired by', event.get('detail-type'))\n"
COUNTING = "import os\n\ndef handle(event, context):\n    print(os.environ['EMF'])\n"


def _schedule(lab: Lab) -> Finding:
    """On AWS the first event comes within the first minute after the rule was made, and then every minute."""
    events, lambda_, rule = lab.aws("events"), lab.aws("lambda"), lab.name("rule")
    function = lab.function(FIRED)
    arn = lambda_.get_function_configuration(FunctionName=function)["FunctionArn"]
    source = events.put_rule(Name=rule, ScheduleExpression="rate(1 minute)", State="ENABLED")["RuleArn"]
    lab.afterwards(lambda: events.delete_rule(Name=rule))
    lambda_.add_permission(
        FunctionName=function,
        StatementId="schedule",
        Action="lambda:InvokeFunction",
        Principal="events.amazonaws.com",
        SourceArn=source,
    )
    events.put_targets(Rule=rule, Targets=[{"Id": "function", "Arn": arn}])
    lab.afterwards(lambda: events.remove_targets(Rule=rule, Ids=["function"]))
    try:
        lab.until(lambda: _logged(lab, function, "fired by Scheduled Event"), seconds=SCHEDULE_SECONDS)
    except ProbeTimeout:
        return differs(f"no event within {SCHEDULE_SECONDS} s")
    return as_aws("the function was called within the minute")


def _logged(lab: Lab, function: str, words: str) -> bool:
    logs = lab.aws("logs")
    try:
        events = logs.filter_log_events(logGroupName=f"/aws/lambda/{function}")["events"]
    except logs.exceptions.ResourceNotFoundException:
        return False
    return any(words in event["message"] for event in events)


def _switched_off(params: dict[str, Any], **_: Any) -> None:
    params["State"] = "DISABLED"


def _embedded_metric(lab: Lab) -> Finding:
    metric = lab.name("emf")
    directive = {"Namespace": NAMESPACE, "Dimensions": [["service"]], "Metrics": [{"Name": metric, "Unit": "Count"}]}
    line = {"_aws": {"Timestamp": _now(), "CloudWatchMetrics": [directive]}, "service": "tasks", metric: 1}
    function = lab.function(COUNTING, EMF=json.dumps(line))
    lab.aws("lambda").invoke(FunctionName=function, Payload=b"{}")
    return _counted(lab, metric, [{"Name": "service", "Value": "tasks"}])


def _plain_line(params: dict[str, Any], **_: Any) -> None:
    params["Environment"]["Variables"]["EMF"] = "no metric"


def _metric_filter(lab: Lab) -> Finding:
    logs, group, metric = lab.aws("logs"), lab.name("group"), lab.name("filter")
    logs.create_log_group(logGroupName=group)
    lab.afterwards(lambda: logs.delete_log_group(logGroupName=group))
    logs.create_log_stream(logGroupName=group, logStreamName="probe")
    transformation = {"metricName": metric, "metricNamespace": NAMESPACE, "metricValue": "1"}
    logs.put_metric_filter(
        logGroupName=group, filterName="probe", filterPattern="ERROR", metricTransformations=[transformation]
    )
    events = [{"timestamp": _now(), "message": message} for message in ("ERROR seen", "all is well")]
    logs.put_log_events(logGroupName=group, logStreamName="probe", logEvents=events)
    return _counted(lab, metric, [])


def _no_match(params: dict[str, Any], **_: Any) -> None:
    params["filterPattern"] = "NOTHING"


def _now() -> int:
    return int(time.time() * 1000)


def _counted(lab: Lab, metric: str, dimensions: list[dict[str, str]]) -> Finding:
    def total() -> float:
        now = datetime.now(UTC)
        found = lab.aws("cloudwatch").get_metric_statistics(
            Namespace=NAMESPACE,
            MetricName=metric,
            Dimensions=dimensions,
            StartTime=now - timedelta(minutes=5),
            EndTime=now + timedelta(minutes=5),
            Period=60,
            Statistics=["Sum"],
        )
        return float(sum(point["Sum"] for point in found["Datapoints"]))

    try:
        counted = lab.until(total, seconds=METRIC_SECONDS)
    except ProbeTimeout:
        return differs(f"no metric within {METRIC_SECONDS} s")
    return as_aws("the metric counts 1") if counted == 1 else differs(f"the metric counts {counted:g}, not 1")


def _alarm(lab: Lab) -> Finding:
    cloudwatch, metric = lab.aws("cloudwatch"), lab.name("alarm")
    cloudwatch.put_metric_alarm(
        AlarmName=metric,
        Namespace=NAMESPACE,
        MetricName=metric,
        Statistic="Sum",
        Period=10,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        TreatMissingData="notBreaching",
    )
    lab.afterwards(lambda: cloudwatch.delete_alarms(AlarmNames=[metric]))

    def state() -> str:
        cloudwatch.put_metric_data(Namespace=NAMESPACE, MetricData=[{"MetricName": metric, "Value": 5}])
        time.sleep(0.9)
        return str(cloudwatch.describe_alarms(AlarmNames=[metric])["MetricAlarms"][0]["StateValue"])

    try:
        lab.until(state, lambda seen: seen == "ALARM", ALARM_SECONDS)
    except ProbeTimeout:
        return differs(f"{state()} after {ALARM_SECONDS} s over the threshold")
    return as_aws("goes to ALARM")


def _below(params: dict[str, Any], **_: Any) -> None:
    params["MetricData"] = [{**params["MetricData"][0], "Value": 0}]


PROBES = (
    Probe(
        "schedule-fires",
        "A rule with rate(1 minute) calls its function every minute.",
        "https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-scheduled-rule-pattern.html",
        "SweepTasks. Where no event comes, lost messages and parked tasks wait for ever.",
        _schedule,
        {"before-parameter-build.events.PutRule": _switched_off},
    ),
    Probe(
        "embedded-metric-counted",
        "A line in the embedded metric format, printed by a function, becomes a metric.",
        f"{MONITORING}/CloudWatch_Embedded_Metric_Format_Specification.html",
        "The alarms tasks-dead and tasks-sweeper-silent in app.yaml. Where it does not, read the counts from the "
        "logs and expect nothing of these alarms.",
        _embedded_metric,
        {"before-parameter-build.lambda.CreateFunction": _plain_line},
    ),
    Probe(
        "metric-filter-counts",
        "A log line that matches a metric filter becomes a metric.",
        "https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/MonitoringLogData.html",
        "Nothing today: counts come from the embedded metric format. Where it does not, filters are no way round that.",
        _metric_filter,
        {"before-parameter-build.logs.PutMetricFilter": _no_match},
    ),
    Probe(
        "alarm-fires",
        "An alarm on a metric of our own goes to ALARM when the metric crosses the threshold.",
        f"{MONITORING}/AlarmThatSendsEmail.html",
        "The alarms in app.yaml. Where they never fire, an alarm can be tested on AWS only.",
        _alarm,
        {"before-parameter-build.cloudwatch.PutMetricData": _below},
    ),
)
