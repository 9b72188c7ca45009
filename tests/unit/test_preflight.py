"""Preflight: each rule is broken by one change to the templates as deployed, and by nothing in them as they are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from bootstrap import kinds, preflight, settings
from bootstrap.__main__ import main
from bootstrap.deploy import Deployment
from bootstrap.errors import BootstrapError
from bootstrap.kinds import Kind
from bootstrap.package import install_dependencies
from bootstrap.paths import ROOT
from bootstrap.preflight import RULES, Broken
from bootstrap.rules import data, functions, queues, watching
from bootstrap.rules.sources import REQUEST, Code
from bootstrap.targets import TARGETS, Place, Target
from bootstrap.template import TemplateError
from lambdas.common import aws, telemetry
from lambdas.common.queue import body_of
from lambdas.common.rows import row_of
from lambdas.common.task import Message
from lambdas.process_task import attempt, batch
from lambdas.submit_task import request
from tests.support.stack import FAST
from tests.support.tasks import a_task
from tests.support.templates import template

TODAY = date(2026, 11, 24)
STORAGE, APP = template("storage"), template("app")
ALARMS = sorted(name for name, one in APP["Resources"].items() if one["Type"] == "AWS::CloudWatch::Alarm")


@dataclass
class World:
    """What is about to be deployed; a test changes one thing of it."""

    folder: Path
    """For code of a test's own."""
    storage: dict[str, Any] = field(default_factory=lambda: deepcopy(STORAGE))
    app: dict[str, Any] = field(default_factory=lambda: deepcopy(APP))
    variables: dict[str, str] = field(default_factory=dict)
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


def a_kind(**changes: object) -> Kind:
    fields: dict[str, object] = {"name": "mail", "attempts": None, "timeout_seconds": None, "tables": ()}
    return Kind(**{**fields, **changes})  # type: ignore[arg-type]  # a test names its fields


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


# What breaks each rule. -----------------------------------------------------------------------------------------------


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


def other_dimensions(world: World) -> None:
    world.of("TasksDeadAlarm")["Dimensions"].append({"Name": "service", "Value": "tasks"})


def key_for_the_api_as_a_parameter(world: World) -> None:
    """SAM takes a literal only; whatever is not `true` counts as none here."""
    world.set("TaskApi", Auth={"ApiKeyRequired": {"Ref": "Stage"}})


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
        "5xx": Case(
            lambda w: w.remove_alarm("ApiErrorsAlarm"),
            "TaskApi",
            "nobody hears of its 5xx answers",
            "an alarm on AWS/ApiGateway 5XXError (ApiName=dev-tasks, Stage=dev)",
        ),
    },
}


def each_case() -> Iterator[Any]:
    for rule, cases in CASES.items():
        yield from (pytest.param(rule, case, id=f"{rule}: {name}") for name, case in cases.items())


@pytest.mark.parametrize(("rule", "case"), list(each_case()))
def test_one_change_breaks_one_rule_and_is_told_with_what_would_be_right(rule: str, case: Case, world: World) -> None:
    case.change(world)
    broken = world.check()
    assert {by.name for by, _ in broken} == {rule}
    assert (case.resource, case.wrong, case.right) in [(f.resource, f.wrong, f.right) for _, f in broken]


def test_every_rule_has_a_case_that_breaks_it() -> None:
    assert {rule.name for rule in RULES} == set(CASES)


@pytest.mark.parametrize("alarm", ALARMS)
def test_no_alarm_can_be_left_out(alarm: str, world: World) -> None:
    world.remove_alarm(alarm)
    assert [rule.name for rule, _ in world.check()] == ["alarm-for-each-symptom"]


# What keeps them all. -------------------------------------------------------------------------------------------------

DEPLOYED: Mapping[str, Mapping[str, str]] = {
    "the defaults": {},
    "those of the tests": FAST,
    "another stage": {"STAGE": "blue"},
    "the protected stage": {"STAGE": "prod"},
    "without what costs when idle": {"FIXED": "low"},
    "large batches": {"BATCH_SIZE": "100", "BATCH_WINDOW_SECONDS": "5", "MAX_CONCURRENCY": "1000"},
    "single messages": {"BATCH_SIZE": "1", "MAX_CONCURRENCY": "2"},
    "the longest work": {"PROCESS_TIMEOUT_SECONDS": "900", "BATCH_WINDOW_SECONDS": "300"},
    "the shortest work": {"PROCESS_TIMEOUT_SECONDS": "4", "WORK_SECONDS": "0"},
    "the most attempts": {"MAX_RETRIES": "20"},
}


@pytest.fixture(scope="module")
def own_kinds() -> list[Kind]:
    return kinds.read(install_dependencies())


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("variables", DEPLOYED.values(), ids=DEPLOYED)
def test_the_templates_as_deployed_keep_every_rule(
    variables: Mapping[str, str], target: Target, own_kinds: list[Kind]
) -> None:
    values = settings.fitted(settings.read(variables), own_kinds)
    values = replace(values, storage={**values.storage, **target.storage_parameters})
    assert preflight.check(preflight.system(values, own_kinds, TODAY)) == []


def test_an_alarm_on_an_expression_hears_of_each_of_its_metrics(world: World) -> None:
    alarm = world.of("ProcessTaskErrorsAlarm")
    metric = {name: alarm.pop(name) for name in ("Namespace", "MetricName", "Dimensions")}
    alarm["Metrics"] = [{"Id": "all", "Expression": "m"}, {"Id": "m", "MetricStat": {"Metric": metric, "Stat": "Sum"}}]
    assert world.check() == []


def test_a_queue_with_a_key_of_its_own_is_encrypted(world: World) -> None:
    world.of("TaskQueue").pop("SqsManagedSseEnabled")
    world.set("TaskQueue", KmsMasterKeyId="alias/tasks")
    assert world.check() == []


def test_what_is_denied_may_name_everything(world: World) -> None:
    world.statements("SubmitTaskRole").append({"Effect": "Deny", "Action": "*", "Resource": "*"})
    assert world.check() == []


def test_what_just_fits_is_kept(world: World) -> None:
    world.kinds.append(a_kind(timeout_seconds=26))
    world.write(REQUEST, "MAX_PAYLOAD_BYTES = 256 * 1024", "MAX_PAYLOAD_BYTES = 384 * 1024")
    world.set("TaskQueue", MaximumMessageSize=1024)
    assert world.check() == []


@pytest.mark.parametrize(("today", "broken"), [(date(2029, 6, 29), False), (date(2029, 6, 30), True)])
def test_a_runtime_is_kept_until_the_day_that_lambda_deprecates_it(today: date, broken: bool, world: World) -> None:
    world.today = today
    assert {rule.name for rule, _ in world.check()} == ({"runtime-is-supported"} if broken else set())


def test_a_mapping_of_a_queue_that_is_not_ours_is_no_finding_but_an_error(world: World) -> None:
    world.set("ProcessTaskMessages", EventSourceArn="arn:aws:sqs:eu-west-1:123456789012:other")
    with pytest.raises(TemplateError, match="ProcessTaskMessages refers to arn:aws:sqs"):
        world.check()


def test_a_property_that_is_no_number_is_named(world: World) -> None:
    world.set("TaskQueue", VisibilityTimeout={"Ref": "TaskDlq"})
    with pytest.raises(TemplateError, match=r"TaskQueue: VisibilityTimeout is \$\{TaskDlq\}, which is no whole number"):
        world.check()


# Numbers that the code has, too. --------------------------------------------------------------------------------------


def test_the_numbers_of_the_rules_are_those_of_the_functions_code() -> None:
    assert queues.LEASE_MARGIN_MS == attempt.LEASE_MARGIN_MS
    assert settings.KEPT_SECONDS * 1000 == batch.NEEDED_TO_START_MS + batch.KEPT_FOR_ENDING_MS
    assert aws.CONFIG.connect_timeout + aws.CONFIG.read_timeout == queues.SLOW_CALL_SECONDS  # type: ignore[attr-defined]
    assert watching.OWN == telemetry.NAMESPACE
    assert data.EXPIRES_AT in row_of(a_task(expires_at_seconds=1))
    assert len(body_of(Message("x" * 128, 10**9))) < data.MESSAGE_BYTES


def test_numbers_are_read_from_the_code_without_importing_it() -> None:
    code = Code(ROOT)
    assert (code.payload_bytes, code.body_bytes) == (request.MAX_PAYLOAD_BYTES, request.MAX_BODY_BYTES)


SOURCES = {
    "lambdas/common/settings.py": """
class Environment:
    def text(self, name): return self._of(name)
    def _of(self, name): return name
""",
    "lambdas/common/things.py": """
from lambdas.common.far import far
AT_IMPORT = os.getenv("AT_IMPORT")
def used(env): return env.text("USED"), far(env)
def unused(env): return env.text("UNUSED")
""",
    "lambdas/common/far.py": "def far(env): return env.text('FAR')",
    "lambdas/common/other.py": "NOBODY_IMPORTS_IT = os.environ['OTHER']",
    "lambdas/function/handler.py": """
from lambdas.common import things
def handle(event, context):
    env = Environment(os.environ)
    return things.used(env), os.environ["INDEX"], os.environ.get("GET", ""), event.get("EVENT"), env._of("PRIVATE")
""",
    "lambdas/function/kinds/own.py": "def run(work): return Environment(os.environ).text('KIND')",
    "lambdas/neighbour/handler.py": "def handle(event, context): return Environment(os.environ).text('NEIGHBOUR')",
}


def test_a_function_reads_what_its_folder_reads_and_what_it_uses_of_the_common_code(tmp_path: Path) -> None:
    for name, text in SOURCES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = Code(tmp_path).variables("lambdas/function")
    assert found == {"USED", "FAR", "AT_IMPORT", "INDEX", "GET", "KIND"}


def test_the_deprecation_dates_are_those_that_cfn_lint_knows() -> None:
    text = files("cfnlint.data.AdditionalSpecs").joinpath("LmbdRuntimeLifecycle.json").read_text()
    known = {name: date.fromisoformat(dates["deprecated"]) for name, dates in json.loads(text).items()}
    assert {name: known[name] for name in functions.RUNTIMES} == functions.RUNTIMES


# How it is told. ------------------------------------------------------------------------------------------------------

TOO_LONG = {"QUEUE_RETENTION_SECONDS": "1209600"}


def test_every_rule_says_what_it_asks_and_where_that_comes_from() -> None:
    for rule in RULES:
        assert rule.says.endswith("."), rule.name
        assert rule.title, rule.name
        assert rule.page.startswith("https://docs.aws.amazon.com/"), rule.name
        assert rule.page.endswith(".html"), rule.name


def test_the_error_lists_every_finding_with_its_rule_and_its_page() -> None:
    with pytest.raises(BootstrapError) as error:
        preflight.require(settings.read(TOO_LONG), [a_kind(attempts=9)])
    first, *findings = error.value.message.splitlines()
    assert first == "Preflight stopped the deploy, nothing was changed:"
    assert findings[0] == ("  TaskQueue: maxReceiveCount is 5, with 9 attempts of a task. Right: 11 or more.")
    assert findings[1].startswith("    receives-outnumber-attempts, https://docs.aws.amazon.com/lambda/")
    assert findings[2].startswith("  TaskQueue: keeps messages for 1209600 s")
    assert findings[3].startswith("    dead-letters-outlive-their-queue, https://docs.aws.amazon.com/AWSSimple")
    assert len(findings) == 4
    assert "`python -m bootstrap preflight`" in error.value.hint


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_a_deploy_is_stopped_before_any_call_on_every_target(target: str) -> None:
    """Nobody listens at that port: a call would be another error."""
    place = Place(TARGETS[target], "eu-west-1", "http://127.0.0.1:1")
    with pytest.raises(BootstrapError, match="Preflight stopped the deploy"):
        Deployment(place, settings.read(TOO_LONG)).deploy_storage()


def test_the_command_shows_each_rule_with_its_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["preflight"]) == 0
    shown = capsys.readouterr().out
    assert all(f"kept   {rule.name}" in shown and rule.page in shown for rule in RULES)
    assert f"{len(RULES)} rules, 0 findings." in shown


def test_the_command_fails_on_a_finding_and_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["preflight", "--set", "QUEUE_RETENTION_SECONDS=1209600"]) == 1
    shown = capsys.readouterr().out
    assert "broken dead-letters-outlive-their-queue" in shown
    assert "TaskQueue: keeps messages for 1209600 s, TaskDlq for 1209600 s." in shown
    assert f"{len(RULES)} rules, 1 findings." in shown
