"""Preflight: each rule is broken by one change to the templates as deployed, and by nothing in them as they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from importlib.metadata import distribution
from pathlib import Path

import pytest

from bootstrap import preflight, settings
from bootstrap.__main__ import main
from bootstrap.deploy import Deployment
from bootstrap.errors import BootstrapError
from bootstrap.paths import ROOT
from bootstrap.preflight import RULES
from bootstrap.rules import data, functions, queues, watching
from bootstrap.rules.sources import REQUEST, Code
from bootstrap.targets import TARGETS, Place
from bootstrap.template import TemplateError
from lambdas.common import aws, telemetry
from lambdas.common.queue import body_of
from lambdas.common.rows import row_of
from lambdas.common.task import Message
from lambdas.process_task import attempt, batch
from lambdas.submit_task import request
from tests.support.broken_templates import ALARMS, CASES, FIGURES, TODAY, World, a_kind
from tests.support.stack import FAST
from tests.support.tasks import a_task


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


# What breaks each rule. -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", CASES)
def test_one_change_breaks_one_rule_and_is_told_with_what_would_be_right(rule: str, tmp_path: Path) -> None:
    for name, case in CASES[rule].items():
        world = World(tmp_path / name.replace("/", "-"))
        case.change(world)
        broken = world.check()
        assert {by.name for by, _ in broken} == {rule}, name
        assert (case.resource, case.wrong, case.right) in [(f.resource, f.wrong, f.right) for _, f in broken], name


def test_every_rule_has_a_case_that_breaks_it() -> None:
    assert {rule.name for rule in RULES} == set(CASES)


def test_no_alarm_can_be_left_out(tmp_path: Path) -> None:
    for alarm in ALARMS:
        world = World(tmp_path / alarm)
        world.kinds.append(a_kind(schedule="rate(1 minute)"))
        world.remove_alarm(alarm)
        assert [rule.name for rule, _ in world.check()] == ["alarm-for-each-symptom"], alarm


# What keeps them all. -------------------------------------------------------------------------------------------------

DEPLOYED: Mapping[str, Mapping[str, str]] = {
    "the defaults": {},
    "those of the tests": {**FAST, "WEBHOOK_NETWORKS": "10.1.0.0/16"},  # their own is for this machine alone
    "another stage": {"STAGE": "blue"},
    "the longest name of a stage": {"STAGE": "a" * 16},
    "the protected stage": {"STAGE": "prod"},
    "without what costs when idle": {"FIXED": "low"},
    "large batches": {"BATCH_SIZE": "100", "BATCH_WINDOW_SECONDS": "5", "MAX_CONCURRENCY": "1000"},
    "single messages": {"BATCH_SIZE": "1", "MAX_CONCURRENCY": "2"},
    "the longest work": {"PROCESS_TIMEOUT_SECONDS": "900", "BATCH_WINDOW_SECONDS": "300"},
    "the shortest work": {"PROCESS_TIMEOUT_SECONDS": "4", "WORK_SECONDS": "0"},
    "the longest backoff": {"BACKOFF_BASE_SECONDS": "3600", "BACKOFF_CAP_SECONDS": "43200"},
    "the shortest retention": {"QUEUE_RETENTION_SECONDS": "60"},
    "the most attempts": {"MAX_RETRIES": "20"},
}
KINDS = [
    a_kind(),
    a_kind(name="slow", attempts=7, timeout_seconds=1, tables=("accounts",), schedule="rate(1 minute)"),
]


@pytest.mark.parametrize("variables", DEPLOYED.values(), ids=DEPLOYED)
def test_the_templates_as_deployed_keep_every_rule(variables: Mapping[str, str]) -> None:
    fitted = settings.fitted(settings.read(variables), KINDS)
    for name, target in TARGETS.items():
        assert preflight.check(preflight.system(settings.placed(fitted, target), KINDS, TODAY)) == [], name


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


LIFECYCLES = "data/AdditionalSpecs/LmbdRuntimeLifecycle.json"


def test_the_deprecation_dates_are_those_that_cfn_lint_knows() -> None:
    text = Path(str(distribution("cfn-lint").locate_file(f"cfnlint/{LIFECYCLES}"))).read_text()
    known = {name: date.fromisoformat(dates["deprecated"]) for name, dates in json.loads(text).items()}
    assert {name: known[name] for name in functions.RUNTIMES} == functions.RUNTIMES


# How it is told. ------------------------------------------------------------------------------------------------------

TOO_LONG = {**FIGURES, "QUEUE_RETENTION_SECONDS": "1209600"}


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
