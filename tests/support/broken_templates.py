"""The deployed templates with one change each: what breaks each rule of preflight, and how that is told."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from bootstrap import preflight, settings
from bootstrap.kinds import Kind
from bootstrap.paths import ROOT
from bootstrap.preflight import Broken
from bootstrap.rules.sources import REQUEST, Code
from tests.support.templates import template

TODAY = date(2026, 11, 24)
STORAGE, APP = template("storage"), template("app")
ALARMS = sorted(name for name, one in APP["Resources"].items() if one["Type"] == "AWS::CloudWatch::Alarm")
FIGURES = {
    "MAX_RETRIES": "2",
    "PROCESS_TIMEOUT_SECONDS": "29",
    "BATCH_SIZE": "10",
    "BATCH_WINDOW_SECONDS": "0",
    "QUEUE_RETENTION_SECONDS": "345600",
}
"""Settings that the figures below are of, whatever the defaults."""


@dataclass
class World:
    """What is about to be deployed; a test changes one thing of it."""

    folder: Path
    """For code of a test's own."""
    storage: dict[str, Any] = field(default_factory=lambda: deepcopy(STORAGE))
    app: dict[str, Any] = field(default_factory=lambda: deepcopy(APP))
    variables: dict[str, str] = field(default_factory=lambda: dict(FIGURES))
    kinds: list[Kind] = field(default_factory=list)
    today: date = TODAY
    code: Code = preflight.CODE

    def of(self, name: str) -> dict[str, Any]:
        """The properties of a resource."""
        resources = {**self.storage["Resources"], **self.app["Resources"]}
        properties: dict[str, Any] = resources[name]["Properties"]
        return properties

    def set(self, name: str, **properties: Any) -> None:
        self.of(name).update(properties)

    def statements(self, role: str) -> list[dict[str, Any]]:
        (policy,) = self.of(role)["Policies"]
        found: list[dict[str, Any]] = policy["PolicyDocument"]["Statement"]
        return found

    def remove_alarm(self, name: str) -> None:
        """With the dashboard, which names it."""
        del self.app["Resources"][name], self.app["Resources"]["Dashboard"]

    def write(self, file: str, before: str, after: str) -> None:
        """The functions' code with one change."""
        if self.code.root == ROOT:
            shutil.copytree(ROOT / "lambdas", self.folder / "lambdas", ignore=shutil.ignore_patterns("__pycache__"))
            self.code = Code(self.folder)
        text = (self.folder / file).read_text()
        assert before in text
        (self.folder / file).write_text(text.replace(before, after))

    def check(self) -> list[Broken]:
        values = settings.read(self.variables)
        return preflight.check(preflight.resolved(self.storage, self.app, values, self.kinds, self.today, self.code))


def a_kind(**changes: Any) -> Kind:
    fields: dict[str, Any] = {"name": "mail", "attempts": None, "timeout_seconds": None, "tables": ()}
    return Kind(**{**fields, **changes})


@dataclass(frozen=True)
class Case:
    change: Callable[[World], object]
    resource: str
    wrong: str
    right: str


def events(world: World, function: str) -> dict[str, Any]:
    found: dict[str, Any] = world.of(function)["Events"]
    return found


def short_lease(world: World) -> None:
    world.set("ProcessTask", Timeout=1)
    world.set("TaskQueue", VisibilityTimeout=6)


def large_batch(world: World) -> None:
    world.set("ProcessTaskMessages", BatchSize=11)
    world.of("ProcessTask")["Environment"]["Variables"]["BATCH_THREADS"] = 11


def managed_policy(world: World) -> None:
    world.set("SubmitTaskRole", ManagedPolicyArns=["arn:aws:iam::aws:policy/AdministratorAccess"])


def inverted(world: World) -> None:
    statement = world.statements("SubmitTaskRole")[0]
    statement["NotAction"] = statement.pop("Action")


def attached_policy(world: World) -> None:
    """Not in the role, but beside it."""
    statement = {"Effect": "Allow", "Action": "sqs:*", "Resource": "arn:aws:sqs:eu-west-1:123456789012:dev-tasks"}
    policy = {"PolicyDocument": {"Statement": statement}, "PolicyName": "more", "Roles": []}
    world.app["Resources"]["More"] = {"Type": "AWS::IAM::Policy", "Properties": policy}


def unwatched_schedules(world: World) -> None:
    world.kinds.append(a_kind(schedule="rate(1 minute)"))
    world.remove_alarm("SubmitTaskErrorsAlarm")


def on_a_schedule(world: World) -> None:
    every_hour = {"Type": "Schedule", "Properties": {"Schedule": "rate(1 hour)"}}
    events(world, "QueryTasks")["EveryHour"] = every_hour


def other_dimensions(world: World) -> None:
    world.of("TasksDeadAlarm")["Dimensions"].append({"Name": "service", "Value": "tasks"})


def key_for_the_api_as_a_parameter(world: World) -> None:
    """SAM takes a literal only; whatever is not `true` counts as none here."""
    world.set("TaskApi", Auth={"ApiKeyRequired": {"Ref": "Stage"}})


def more_routes(world: World) -> None:
    api, key = {"Ref": "TaskApi"}, {"ApiKeyRequired": True}
    for number in range(6):
        route = {"RestApiId": api, "Path": f"/more/{number}", "Method": "GET", "Auth": key}
        events(world, "QueryTasks")[f"More{number}"] = {"Type": "Api", "Properties": route}


CASES: Mapping[str, Mapping[str, Case]] = {
    "visibility-outlasts-retries": {
        "of the task queue": Case(
            lambda w: w.set("TaskQueue", VisibilityTimeout=173),
            "TaskQueue",
            "VisibilityTimeout is 173 s, under 6 x 29 s of ProcessTask + 0 s of window",
            "174 or more",
        ),
        "of the dead-letter queue": Case(
            lambda w: w.set("TaskDlq", VisibilityTimeout=179),
            "TaskDlq",
            "VisibilityTimeout is 179 s, under 6 x 30 s of MonitorDlq + 0 s of window",
            "180 or more",
        ),
        "with a window": Case(
            lambda w: w.set("ProcessTaskMessages", MaximumBatchingWindowInSeconds=1),
            "TaskQueue",
            "VisibilityTimeout is 174 s, under 6 x 29 s of ProcessTask + 1 s of window",
            "175 or more",
        ),
        "left to AWS": Case(
            lambda w: w.of("TaskDlq").pop("VisibilityTimeout"),
            "TaskDlq",
            "VisibilityTimeout is 30 s, under 6 x 30 s of MonitorDlq + 0 s of window",
            "180 or more",
        ),
    },
    "lease-ends-before-redelivery": {
        "a lease as long as the visibility": Case(
            short_lease, "TaskQueue", "VisibilityTimeout is 6 s, and a lease lasts 6 s", "more than 6"
        )
    },
    "receives-outnumber-attempts": {
        "fewer than AWS advises": Case(
            lambda w: w.of("TaskQueue")["RedrivePolicy"].update(maxReceiveCount=4),
            "TaskQueue",
            "maxReceiveCount is 4, with 3 attempts of a task",
            "5 or more",
        ),
        "a kind with more attempts": Case(
            lambda w: w.kinds.append(a_kind(attempts=4)),
            "TaskQueue",
            "maxReceiveCount is 5, with 4 attempts of a task",
            "6 or more",
        ),
        "no dead-letter queue": Case(
            lambda w: w.of("TaskQueue").pop("RedrivePolicy"),
            "TaskQueue",
            "has no dead-letter queue",
            "a RedrivePolicy",
        ),
    },
    "partial-batch-response": {
        "of a mapping": Case(
            lambda w: w.of("ProcessTaskMessages").pop("FunctionResponseTypes"),
            "ProcessTaskMessages",
            "no partial batch response",
            "FunctionResponseTypes: [ReportBatchItemFailures]",
        ),
        "of an event": Case(
            lambda w: events(w, "MonitorDlq")["Messages"]["Properties"].pop("FunctionResponseTypes"),
            "MonitorDlqMessages",
            "no partial batch response",
            "FunctionResponseTypes: [ReportBatchItemFailures]",
        ),
    },
    "batch-ends-in-time": {
        "fewer threads than messages": Case(
            lambda w: w.of("ProcessTask")["Environment"]["Variables"].update(BATCH_THREADS=9),
            "ProcessTask",
            "9 threads for batches of 10",
            "BATCH_THREADS: 10",
        ),
        "a kind that takes longer": Case(
            lambda w: w.kinds.append(a_kind(timeout_seconds=26.5)),
            "ProcessTask",
            "kind mail may take 26.5 s + 3 s to begin and end, the time-out is 29 s",
            "a larger PROCESS_TIMEOUT_SECONDS",
        ),
        "one by one": Case(
            lambda w: w.set("MonitorDlq", Timeout=29),
            "MonitorDlq",
            "10 messages may take 30 s, the time-out is 29 s",
            "Timeout: 30, or a smaller BatchSize of MonitorDlqMessages",
        ),
    },
    "large-batch-has-window": {
        "eleven messages": Case(
            large_batch, "ProcessTaskMessages", "BatchSize 11 without a window", "BATCH_WINDOW_SECONDS=1 or more"
        )
    },
    "concurrency-is-capped": {
        "no cap": Case(
            lambda w: w.of("ProcessTaskMessages").pop("ScalingConfig"),
            "ProcessTaskMessages",
            "no MaximumConcurrency",
            "ScalingConfig: {MaximumConcurrency: 2 to 1000}",
        ),
        "a cap that AWS refuses": Case(
            lambda w: events(w, "MonitorDlq")["Messages"]["Properties"]["ScalingConfig"].update(MaximumConcurrency=1),
            "MonitorDlqMessages",
            "MaximumConcurrency is 1",
            "ScalingConfig: {MaximumConcurrency: 2 to 1000}",
        ),
    },
    "dead-letters-outlive-their-queue": {
        "less than 14 days": Case(
            lambda w: w.set("TaskDlq", MessageRetentionPeriod=1_209_599),
            "TaskDlq",
            "MessageRetentionPeriod is 1209599 s",
            "1209600 (14 days)",
        ),
        "no longer than the queue": Case(
            lambda w: w.variables.update(QUEUE_RETENTION_SECONDS="1209600"),
            "TaskQueue",
            "keeps messages for 1209600 s, TaskDlq for 1209600 s",
            "QUEUE_RETENTION_SECONDS under 1209600",
        ),
    },
    "rows-expire": {
        "off": Case(
            lambda w: w.of("TaskTable")["TimeToLiveSpecification"].update(Enabled=False),
            "TaskTable",
            "time to live is off, or on another attribute",
            "TimeToLiveSpecification: {AttributeName: expiresAt, Enabled: true}",
        ),
        "on another attribute": Case(
            lambda w: w.of("TaskTable")["TimeToLiveSpecification"].update(AttributeName="ttl"),
            "TaskTable",
            "time to live is off, or on another attribute",
            "TimeToLiveSpecification: {AttributeName: expiresAt, Enabled: true}",
        ),
    },
    "encryption-is-explicit": {
        "of a table": Case(
            lambda w: w.of("AccountsTable").pop("SSESpecification"),
            "AccountsTable",
            "does not say that it is encrypted",
            "SSESpecification.SSEEnabled in its properties",
        ),
        "of a queue": Case(
            lambda w: w.set("TaskDlq", SqsManagedSseEnabled=False),
            "TaskDlq",
            "does not say that it is encrypted",
            "SqsManagedSseEnabled in its properties",
        ),
        "of a bucket": Case(
            lambda w: w.of("PackageBucket").pop("BucketEncryption"),
            "PackageBucket",
            "does not say that it is encrypted",
            "BucketEncryption.ServerSideEncryptionConfiguration in its properties",
        ),
    },
    "logs-are-kept-for-a-set-time": {
        "no log group": Case(
            lambda w: w.storage["Resources"].pop("SteerTasksLogs"),
            "SteerTasks",
            "has no log group of its own",
            "a LogGroup /aws/lambda/dev-steer-tasks in storage.yaml",
        ),
        "for ever": Case(
            lambda w: w.of("SteerTasksLogs").pop("RetentionInDays"),
            "SteerTasksLogs",
            "keeps logs for ever",
            "RetentionInDays: !Ref LogRetentionDays",
        ),
    },
    "sizes-fit-from-api-to-table": {
        "a payload too large for an item": Case(
            lambda w: w.write(REQUEST, "MAX_PAYLOAD_BYTES = 256 * 1024", "MAX_PAYLOAD_BYTES = 385 * 1024"),
            REQUEST,
            f"MAX_PAYLOAD_BYTES lets {401 * 1024} bytes into an item of DynamoDB, which takes {400 * 1024} "
            "(https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html)",
            "less",
        ),
        "a body too large for an event": Case(
            lambda w: w.write(REQUEST, "MAX_PAYLOAD_BYTES + 1024", "1024 * 1025"),
            REQUEST,
            f"MAX_BODY_BYTES lets {6 * 1024 * 1025} bytes into an event of Lambda, which takes {6 * 1024 * 1024} "
            "(https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html)",
            "less",
        ),
        "a body no larger than its payload": Case(
            lambda w: w.write(REQUEST, "MAX_PAYLOAD_BYTES + 1024", "MAX_PAYLOAD_BYTES"),
            REQUEST,
            "MAX_BODY_BYTES is 262144, MAX_PAYLOAD_BYTES 262144",
            "room for the other fields",
        ),
        "a message too small for an id": Case(
            lambda w: w.set("TaskQueue", MaximumMessageSize=1023),
            "TaskQueue",
            "MaximumMessageSize is 1023 "
            "(https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html)",
            "1024 to 1048576",
        ),
    },
    "role-per-function": {
        "none": Case(
            lambda w: w.of("SubmitTask").pop("Role"),
            "SubmitTask",
            "has no role of its own in the template",
            "Role: !GetAtt SubmitTaskRole.Arn",
        ),
        "from elsewhere": Case(
            lambda w: w.set("SubmitTask", Role="arn:aws:iam::123456789012:role/admin"),
            "SubmitTask",
            "has no role of its own in the template",
            "Role: !GetAtt SubmitTaskRole.Arn",
        ),
        "shared": Case(
            lambda w: w.set("SubmitTask", Role={"Fn::GetAtt": ["SteerTasksRole", "Arn"]}),
            "SteerTasks",
            "shares SteerTasksRole with another function",
            "Role: !GetAtt SteerTasksRole.Arn",
        ),
    },
    "policies-name-actions-and-resources": {
        "an action": Case(
            lambda w: w.statements("SubmitTaskRole")[1].update(Action="sqs:Send*"),
            "SubmitTaskRole",
            "allows the action sqs:Send*",
            "the actions that are used, by name",
        ),
        "every resource": Case(
            lambda w: w.statements("SubmitTaskRole")[1].update(Resource="*"),
            "SubmitTaskRole",
            "allows sqs:SendMessage on every resource",
            "the ARN it is used on",
        ),
        "every resource in a list": Case(
            lambda w: w.statements("SubmitTaskRole")[0].update(Resource=["arn:aws:dynamodb:::table/a", "*"]),
            "SubmitTaskRole",
            "allows dynamodb:PutItem on every resource",
            "the ARN it is used on",
        ),
        "of every region": Case(
            lambda w: w.statements("SubmitTaskRole")[0].update(
                Resource="arn:aws:dynamodb:*:123456789012:table/dev-tasks"
            ),
            "SubmitTaskRole",
            "allows arn:aws:dynamodb:*:123456789012:table/dev-tasks, of any region",
            "the ARN it is used on",
        ),
        "of every account": Case(
            lambda w: w.statements("SubmitTaskRole")[1].update(Resource=["arn:aws:sqs:eu-west-1:*:dev-tasks"]),
            "SubmitTaskRole",
            "allows arn:aws:sqs:eu-west-1:*:dev-tasks, of any account",
            "the ARN it is used on",
        ),
        "all but": Case(inverted, "SubmitTaskRole", "allows all but what NotAction lists", "Action"),
        "a ready-made policy": Case(
            managed_policy,
            "SubmitTaskRole",
            "takes the ready-made policy arn:aws:iam::aws:policy/AdministratorAccess",
            "a policy of its own with what is used",
        ),
        "beside the role": Case(
            attached_policy, "More", "allows the action sqs:*", "the actions that are used, by name"
        ),
    },
    "nobody-scans": {
        "scan": Case(
            lambda w: w.statements("QueryTasksRole")[1].update(Action="dynamodb:Scan"),
            "QueryTasksRole",
            "allows dynamodb:Scan",
            "dynamodb:Query on an index",
        ),
        "select": Case(
            lambda w: w.statements("QueryTasksRole")[1].update(Action=["dynamodb:PartiQLSelect"]),
            "QueryTasksRole",
            "allows dynamodb:PartiQLSelect",
            "dynamodb:Query on an index",
        ),
    },
    "api-key-on-every-method": {
        "of a method": Case(
            lambda w: events(w, "SubmitTask")["Post"]["Properties"].update(Auth={"ApiKeyRequired": False}),
            "SubmitTaskPost",
            "POST /tasks needs no API key",
            "Auth: {ApiKeyRequired: true}, or a line in PUBLIC in bootstrap/rules/permissions.py",
        ),
        "of the API": Case(
            lambda w: w.of("TaskApi").pop("Auth"),
            "QueryTasksElseGet",
            "GET /{proxy+} needs no API key",
            "Auth: {ApiKeyRequired: true}, or a line in PUBLIC in bootstrap/rules/permissions.py",
        ),
        "of the API, as a parameter": Case(
            key_for_the_api_as_a_parameter,
            "SteerTasksCancel",
            "DELETE /tasks/{taskId} needs no API key",
            "Auth: {ApiKeyRequired: true}, or a line in PUBLIC in bootstrap/rules/permissions.py",
        ),
        "of an API that SAM would make": Case(
            lambda w: events(w, "SubmitTask")["Post"]["Properties"].pop("RestApiId"),
            "SubmitTaskPost",
            "POST /tasks needs no API key",
            "Auth: {ApiKeyRequired: true}, or a line in PUBLIC in bootstrap/rules/permissions.py",
        ),
    },
    "callers-fit-into-a-policy": {
        "six more routes": Case(
            more_routes,
            "QueryTasks",
            "55 callers make a policy of 20742 bytes, and Lambda takes 20480",
            "fewer routes, or a shorter STAGE",
        )
    },
    "runtime-is-supported": {
        "unknown": Case(
            lambda w: w.set("SubmitTask", Runtime="python3.8"),
            "SubmitTask",
            "the runtime python3.8 is not known here",
            "Runtime: python3.14",
        ),
        "deprecated": Case(
            lambda w: w.set("SubmitTask", Runtime="python3.10"),
            "SubmitTask",
            "python3.10 is deprecated since 2026-10-31",
            "Runtime: python3.14",
        ),
    },
    "environment-is-what-is-read": {
        "not set": Case(
            lambda w: w.of("ProcessTask")["Environment"]["Variables"].pop("QUEUE_URL"),
            "ProcessTask",
            "its code reads QUEUE_URL, which is not set",
            "QUEUE_URL among its Variables",
        ),
        "read by a kind of task": Case(
            lambda w: w.of("ProcessTask")["Environment"]["Variables"].pop("WORK_SECONDS"),
            "ProcessTask",
            "its code reads WORK_SECONDS, which is not set",
            "WORK_SECONDS among its Variables",
        ),
        "read by the common code it uses": Case(
            lambda w: w.app["Globals"]["Function"]["Environment"]["Variables"].pop("LOG_LEVEL"),
            "MonitorDlq",
            "its code reads LOG_LEVEL, which is not set",
            "LOG_LEVEL among its Variables",
        ),
        "not read": Case(
            lambda w: w.of("QueryTasks").setdefault("Environment", {"Variables": {}})["Variables"].update(EXTRA="1"),
            "QueryTasks",
            "EXTRA is set, and its code does not read it",
            "no EXTRA among its Variables",
        ),
        "read no longer": Case(
            lambda w: w.write("lambdas/submit_task/handler.py", 'env.integer("MAX_RETRIES", 0, 20)', "2"),
            "SubmitTask",
            "MAX_RETRIES is set, and its code does not read it",
            "no MAX_RETRIES among its Variables",
        ),
        "read without settings": Case(
            lambda w: w.write("lambdas/steer_tasks/steer.py", "\nfrom ", '\nWHO = os.environ["WHO"]\nfrom '),
            "SteerTasks",
            "its code reads WHO, which is not set",
            "WHO among its Variables",
        ),
    },
    "alarm-for-each-symptom": {
        "dead tasks": Case(
            lambda w: w.remove_alarm("TasksDeadAlarm"),
            "MonitorDlq",
            "nobody hears of dead tasks",
            "an alarm on TaskProcessing DeadLettersRecorded (stage=dev)",
        ),
        "age of the queue": Case(
            lambda w: w.remove_alarm("QueueAgeAlarm"),
            "TaskQueue",
            "nobody hears of messages that wait too long",
            "an alarm on AWS/SQS ApproximateAgeOfOldestMessage (QueueName=dev-tasks)",
        ),
        "age of the dead-letter queue": Case(
            lambda w: w.remove_alarm("DlqAgeAlarm"),
            "TaskDlq",
            "nobody hears of messages that wait too long",
            "an alarm on AWS/SQS ApproximateAgeOfOldestMessage (QueueName=dev-tasks-dlq)",
        ),
        "dead and unrecorded": Case(
            lambda w: w.remove_alarm("DeadUnrecordedAlarm"),
            "MonitorDlq",
            "nobody hears of a dead task without a record after 15 minutes",
            "an alarm on TaskProcessing OldestDeadUnrecorded (stage=dev)",
        ),
        "dead and unrecorded for too long": Case(
            lambda w: w.set("DeadUnrecordedAlarm", Threshold=901),
            "DeadUnrecordedAlarm",
            "Threshold is 901",
            "900 or less",
        ),
        "dead tasks, from the second on": Case(
            lambda w: w.set("TasksDeadAlarm", Threshold=2), "TasksDeadAlarm", "Threshold is 2", "1 or less"
        ),
        "dead tasks, of which there are none": Case(
            lambda w: w.set("TasksDeadAlarm", Threshold=0), "TasksDeadAlarm", "Threshold is 0", "1 or more"
        ),
        "messages that wait as they should": Case(
            lambda w: w.set("QueueAgeAlarm", Threshold=899), "QueueAgeAlarm", "Threshold is 899", "900 or more"
        ),
        "messages that are older than any can be": Case(
            lambda w: w.set("QueueAgeAlarm", Threshold=345_600),
            "QueueAgeAlarm",
            "Threshold is 345600",
            "345599 or less",
        ),
        "dead letters that are older than any can be": Case(
            lambda w: w.set("DlqAgeAlarm", Threshold=1_209_600),
            "DlqAgeAlarm",
            "Threshold is 1209600",
            "1209599 or less",
        ),
        "a sweeper that runs less than never": Case(
            lambda w: w.set("SweeperSilentAlarm", Threshold=0), "SweeperSilentAlarm", "Threshold is 0", "1 or more"
        ),
        "errors, once there are many": Case(
            lambda w: w.set("MonitorDlqErrorsAlarm", Threshold=11),
            "MonitorDlqErrorsAlarm",
            "Threshold is 11",
            "10 or less",
        ),
        "5xx in percent": Case(
            lambda w: w.set("ApiErrorsAlarm", Threshold=5), "ApiErrorsAlarm", "Threshold is 5", "0.1 or less"
        ),
        "no sweeper": Case(
            lambda w: w.remove_alarm("SweeperSilentAlarm"),
            "SweepTasks",
            "nobody hears of a sweeper that does not run",
            "an alarm on TaskProcessing TasksHealed (stage=dev)",
        ),
        "no data of the sweeper": Case(
            lambda w: w.set("SweeperSilentAlarm", TreatMissingData="notBreaching"),
            "SweeperSilentAlarm",
            "no data is notBreaching, yet it is the symptom",
            "TreatMissingData: breaching",
        ),
        "the other way round": Case(
            lambda w: w.set("TasksDeadAlarm", ComparisonOperator="LessThanThreshold"),
            "TasksDeadAlarm",
            "LessThanThreshold does not hear of dead tasks",
            "GreaterThanThreshold",
        ),
        "another metric": Case(
            other_dimensions,
            "MonitorDlq",
            "nobody hears of dead tasks",
            "an alarm on TaskProcessing DeadLettersRecorded (stage=dev)",
        ),
        "errors": Case(
            lambda w: w.remove_alarm("ProcessTaskErrorsAlarm"),
            "ProcessTask",
            "nobody hears of its errors",
            "an alarm on AWS/Lambda Errors (FunctionName=ProcessTask)",
        ),
        "throttles": Case(
            lambda w: w.remove_alarm("MonitorDlqThrottlesAlarm"),
            "MonitorDlq",
            "nobody hears of its throttles",
            "an alarm on AWS/Lambda Throttles (FunctionName=MonitorDlq)",
        ),
        "errors of what answers the API and is called by a schedule, too": Case(
            unwatched_schedules,
            "SubmitTask",
            "nobody hears of its errors",
            "an alarm on AWS/Lambda Errors (FunctionName=SubmitTask)",
        ),
        "errors of what a schedule of its own calls": Case(
            on_a_schedule,
            "QueryTasks",
            "nobody hears of its errors",
            "an alarm on AWS/Lambda Errors (FunctionName=QueryTasks)",
        ),
        "5xx": Case(
            lambda w: w.remove_alarm("ApiErrorsAlarm"),
            "TaskApi",
            "nobody hears of its 5xx answers",
            "an alarm on AWS/ApiGateway 5XXError (ApiName=dev-tasks, Stage=dev)",
        ),
    },
}
