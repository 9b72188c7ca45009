"""Settings: the same in bootstrap as in the templates, and checked before any call."""

from __future__ import annotations

import re
from typing import Any

import pytest

from bootstrap import settings
from bootstrap.errors import BootstrapError
from bootstrap.paths import ROOT
from bootstrap.settings import MONITOR_TIMEOUT_SECONDS, SETTINGS, Setting
from bootstrap.targets import AWS, EMBEDDED, LOCALSTACK
from lambdas.common.settings import Environment, SettingError
from tests.support.templates import template

TEMPLATES = {name: template(name) for name in ("storage", "app")}
OUTPUTS = set(TEMPLATES["storage"]["Outputs"])
ONE_BY_ONE = pytest.mark.parametrize("setting", SETTINGS, ids=[setting.parameter for setting in SETTINGS])


def parameter(setting: Setting) -> dict[str, Any]:
    found: dict[str, Any] = TEMPLATES[setting.stack]["Parameters"][setting.parameter]
    return found


# Against the templates. -----------------------------------------------------------------------------------------------


@ONE_BY_ONE
def test_a_setting_has_the_default_of_its_parameter(setting: Setting) -> None:
    assert setting.default == str(parameter(setting)["Default"])


@ONE_BY_ONE
def test_a_setting_allows_what_its_parameter_allows(setting: Setting) -> None:
    there = parameter(setting)
    if setting.kind == "choice":
        assert list(setting.allowed) == [str(value) for value in there["AllowedValues"]]
    elif setting.kind == "text":
        assert setting.allowed[0] == there["AllowedPattern"]
    else:
        assert setting.allowed == (there["MinValue"], there["MaxValue"])
        assert there["Type"] == "Number"


def test_every_parameter_is_a_setting_a_derived_value_an_output_of_storage_or_a_package() -> None:
    values = settings.read({})
    of_app = OUTPUTS | {f"{name}Package" for name in _functions()} | set(EMBEDDED.app_parameters)
    assert set(TEMPLATES["storage"]["Parameters"]) == set(values.storage) | set(AWS.storage_parameters)
    of_kinds = {"EffectTableArns", "Schedules"}
    assert set(TEMPLATES["app"]["Parameters"]) == set(values.app) | of_app | of_kinds


def test_the_stage_has_the_same_default_in_both_templates_and_here() -> None:
    stages = {settings.read({}).stage, *(document["Parameters"]["Stage"]["Default"] for document in TEMPLATES.values())}
    assert stages == {"dev"}


@pytest.mark.parametrize("name", ["BatchSize", "MaxConcurrency"])
def test_every_number_that_the_template_looks_up_is_in_its_mapping(name: str) -> None:
    numbers = TEMPLATES["app"]["Mappings"]["Number"]
    assert all(numbers[value] == {"Is": int(value)} for value in _setting(name).allowed if isinstance(value, str))


def test_the_time_out_of_the_monitor_is_the_one_the_visibility_is_made_for() -> None:
    assert _functions()["MonitorDlq"]["Timeout"] == MONITOR_TIMEOUT_SECONDS


@pytest.mark.parametrize("name", ["MaxReceiveCount", "QueueVisibilitySeconds", "DlqVisibilitySeconds"])
def test_what_is_derived_lies_within_its_parameter_for_the_smallest_and_the_largest_settings(name: str) -> None:
    there = TEMPLATES["storage"]["Parameters"][name]
    for end in (0, 1):
        chosen = {
            variable: f"{_setting(parameter_name).allowed[end]}"
            for variable, parameter_name in {
                "MAX_RETRIES": "MaxRetries",
                "PROCESS_TIMEOUT_SECONDS": "ProcessTimeoutSeconds",
                "BATCH_WINDOW_SECONDS": "BatchWindowSeconds",
            }.items()
        }
        value = int(settings.read({"WORK_SECONDS": "0", **chosen}).storage[name])
        assert there["MinValue"] <= value <= there["MaxValue"]


@pytest.mark.parametrize(
    ("variable", "function", "value"),
    [
        ("MAX_RETRIES", "SubmitTask", "MaxRetries"),
        ("FAILURE_RATE", "ProcessTask", "FailureRate"),
        ("WORK_SECONDS", "ProcessTask", "WorkSeconds"),
        ("BACKOFF_BASE_SECONDS", "ProcessTask", "BackoffBaseSeconds"),
        ("BACKOFF_CAP_SECONDS", "ProcessTask", "BackoffCapSeconds"),
        ("BACKOFF_JITTER", "ProcessTask", "BackoffJitter"),
        ("BATCH_THREADS", "ProcessTask", "BatchSize"),
        ("TASK_RETENTION_DAYS", "ProcessTask", "TaskRetentionDays"),
        ("WEBHOOK_NETWORKS", "ProcessTask", "WebhookNetworks"),
        ("TASK_RETENTION_DAYS", "MonitorDlq", "TaskRetentionDays"),
        ("TASK_RETENTION_DAYS", "SweepTasks", "TaskRetentionDays"),
        ("RESEND_AFTER_SECONDS", "SweepTasks", "ResendAfterSeconds"),
        *(("CORS_ORIGINS", function, "CorsOrigins") for function in ("SubmitTask", "QueryTasks", "SteerTasks")),
    ],
)
def test_a_setting_reaches_the_function_that_reads_it(variable: str, function: str, value: str) -> None:
    assert _functions()[function]["Environment"]["Variables"][variable] == {"Ref": value}


# Reading. -------------------------------------------------------------------------------------------------------------


def test_without_any_variable_every_setting_has_its_default() -> None:
    values = settings.read({})
    for setting in SETTINGS:
        assert {"storage": values.storage, "app": values.app}[setting.stack][setting.parameter] == setting.default


def test_the_defaults_are_those_that_the_system_began_with_and_equal_jitter() -> None:
    """The one test to change with a default: three attempts, batches of ten, …"""
    app = settings.read({}).app
    chosen = ("FailureRate", "WorkSeconds", "MaxRetries", "BackoffBaseSeconds", "BackoffCapSeconds", "BackoffJitter")
    assert [app[name] for name in (*chosen, "BatchSize")] == ["0.3", "1", "2", "5", "900", "equal", "10"]


def test_the_example_of_an_env_file_shows_each_setting_with_its_default() -> None:
    shown = dict(re.findall(r"^# ([A-Z_]+)=(\S*)", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert {**shown, **{setting.variable: setting.default for setting in SETTINGS}} == shown


def test_an_override_comes_before_a_variable_and_a_variable_before_the_default() -> None:
    variables = {"MAX_RETRIES": "5", "WORK_SECONDS": "2", "STAGE": "blue", "UNRELATED": "x"}
    values = settings.read(variables, {"MAX_RETRIES": "7"})
    default = settings.read({}).app["FailureRate"]
    assert (values.app["MaxRetries"], values.app["WorkSeconds"], values.app["FailureRate"]) == ("7", "2", default)
    assert {values.stage, values.app["Stage"], values.storage["Stage"]} == {"blue"}


def test_an_empty_variable_counts_as_not_set() -> None:
    assert settings.read({"MAX_RETRIES": "", "STAGE": ""}) == settings.read({})


@ONE_BY_ONE
def test_the_variable_of_a_setting_is_its_name_in_capitals(setting: Setting) -> None:
    words = setting.variable.lower().split("_")
    assert "".join(word.capitalize() for word in words) == setting.parameter


BAD = {
    "a text for a number": ("FAILURE_RATE", "often", "a number from 0 to 1"),
    "too large": ("FAILURE_RATE", "1.01", "a number from 0 to 1"),
    "negative": ("WORK_SECONDS", "-1", "a number from 0 to 20"),
    "not a number": ("FAILURE_RATE", "nan", "a number from 0 to 1"),
    "infinite": ("BACKOFF_CAP_SECONDS", "inf", "a number from 1 to 43200"),
    "an exponent": ("WORK_SECONDS", "1e1", "a number from 0 to 20"),
    "a part of a whole number": ("MAX_RETRIES", "1.5", "a whole number from 0 to 20"),
    "a space": ("MAX_RETRIES", " 2", "a whole number from 0 to 20"),
    "a line end": ("MAX_RETRIES", "2\n", "a whole number from 0 to 20"),
    "too small": ("PROCESS_TIMEOUT_SECONDS", "3", "a whole number from 4 to 900"),
    "no such choice": ("BACKOFF_JITTER", "some", "none, equal, full"),
    "another case": ("LOG_LEVEL", "info", "DEBUG, INFO, WARNING, ERROR"),
    "a size that is not offered": ("BATCH_SIZE", "7", "1, 2, 3"),
    "of the storage stack": ("LOG_RETENTION_DAYS", "2", "1, 3, 5"),
    "every origin": ("CORS_ORIGINS", "*", "origins such as https://app.example.com"),
    "an origin with a path": ("CORS_ORIGINS", "https://app.example.com/", "origins such as"),
    "origins joined by a space": ("CORS_ORIGINS", "https://a.example https://b.example", "origins such as"),
    "an address for a network": ("WEBHOOK_NETWORKS", "10.1.0.1", "networks such as 10.1.0.0/16"),
    "networks joined by a space": ("WEBHOOK_NETWORKS", "10.1.0.0/16 10.2.0.0/16", "networks such as"),
    "no address": ("ALARM_EMAIL", "ops", "an e-mail address, or nothing"),
    "two addresses": ("ALARM_EMAIL", "a@example.com b@example.com", "an e-mail address, or nothing"),
}


@pytest.mark.parametrize(("variable", "value", "allowed"), BAD.values(), ids=BAD)
def test_a_bad_value_is_named_with_its_variable_and_what_is_allowed(variable: str, value: str, allowed: str) -> None:
    given = {variable: value}
    for variables, overrides in ((given, None), ({}, given)):
        with pytest.raises(BootstrapError) as error:
            settings.read(variables, overrides)
        assert error.value.message.startswith(f"{variable} is {value!r}; allowed: {allowed}")
        assert variable in error.value.hint


@pytest.mark.parametrize("stage", ["Dev", "1dev", "-dev", "dev_1", "d" * 17, "dev\n", "dév"])
def test_a_bad_stage_is_named(stage: str) -> None:
    with pytest.raises(BootstrapError, match="STAGE is"):
        settings.read({"STAGE": stage})


def test_an_override_that_is_no_setting_is_named() -> None:
    with pytest.raises(BootstrapError, match="no setting 'MAX_RETRY'") as error:
        settings.read({}, {"MAX_RETRY": "1"})
    assert "MAX_RETRIES" in error.value.hint


@pytest.mark.parametrize(("size", "window", "allowed"), [("15", "0", False), ("15", "1", True), ("10", "0", True)])
def test_a_batch_of_more_than_ten_needs_a_window(size: str, window: str, allowed: bool) -> None:
    _allowed({"BATCH_SIZE": size, "BATCH_WINDOW_SECONDS": window}, allowed, "BATCH_SIZE is 15")


@pytest.mark.parametrize(("work", "timeout", "allowed"), [("7", "10", True), ("7.5", "10", False), ("0", "4", True)])
def test_work_must_fit_into_the_time_out(work: str, timeout: str, allowed: bool) -> None:
    _allowed({"WORK_SECONDS": work, "PROCESS_TIMEOUT_SECONDS": timeout}, allowed, "WORK_SECONDS is 7.5")


@pytest.mark.parametrize(
    ("networks", "error"),
    [
        ("10.1.0.1/16", "10.1.0.1/16 has host bits set"),
        ("10.1.0.0/33", "does not appear to be an IPv4 or IPv6 network"),
        ("10.1.0.0/16,1.2/8", "does not appear to be"),
        ("fd12:::/16", "does not appear to be"),
    ],
)
def test_what_looks_like_a_network_and_is_none_is_named(networks: str, error: str) -> None:
    with pytest.raises(BootstrapError, match=f"WEBHOOK_NETWORKS is '{networks}': .*{error}"):
        settings.read({"WEBHOOK_NETWORKS": networks})


@pytest.mark.parametrize(
    ("networks", "anywhere"),
    [
        ("", True),
        ("10.1.0.0/16", True),
        ("10.0.0.0/8,fd12::/16", True),
        ("126.0.0.0/8", True),
        ("128.0.0.0/8", True),
        ("::2/128", True),
        ("127.0.0.0/8", False),
        ("10.0.0.0/8,127.0.0.1/32", False),
        ("127.255.0.0/16", False),
        ("0.0.0.0/0", False),
        ("126.0.0.0/7", False),
        ("::1/128", False),
        ("::/0", False),
        ("::/127", False),
        ("::ffff:127.0.0.1/128", False),
    ],
)
def test_loopback_is_for_webhooks_on_this_machine_alone(networks: str, anywhere: bool) -> None:
    chosen = settings.read({"WEBHOOK_NETWORKS": networks})
    for target in (EMBEDDED, LOCALSTACK):
        assert settings.placed(chosen, target).app["WebhookNetworks"] == networks
    if anywhere:
        assert settings.placed(chosen, AWS).app["WebhookNetworks"] == networks
    else:
        with pytest.raises(BootstrapError, match=r"WEBHOOK_NETWORKS is .* holds loopback addresses"):
            settings.placed(chosen, AWS)


def _allowed(variables: dict[str, str], allowed: bool, words: str) -> None:
    if allowed:
        settings.read(variables)
    else:
        with pytest.raises(BootstrapError, match=words):
            settings.read(variables)


# Derived. -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("timeout", "window", "visibility"), [("29", "0", 174), ("10", "7", 67), ("900", "300", 5700)])
def test_visibility_is_six_times_the_time_out_and_the_window(timeout: str, window: str, visibility: int) -> None:
    values = settings.read({"PROCESS_TIMEOUT_SECONDS": timeout, "BATCH_WINDOW_SECONDS": window})
    assert values.storage["QueueVisibilitySeconds"] == str(visibility)


def test_the_visibility_of_the_dlq_is_six_times_the_time_out_of_the_monitor() -> None:
    assert settings.read({}).storage["DlqVisibilitySeconds"] == str(6 * MONITOR_TIMEOUT_SECONDS)


@pytest.mark.parametrize(("retries", "receives"), [("0", 5), ("2", 5), ("3", 6), ("20", 23)])
def test_a_message_may_be_received_as_often_as_there_are_attempts_and_more_but_at_least_five_times(
    retries: str, receives: int
) -> None:
    assert settings.read({"MAX_RETRIES": retries}).storage["MaxReceiveCount"] == str(receives)


# The functions' own. --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["", "x", "1.5", "-1", "21", "nan"])
def test_a_function_names_the_variable_that_is_wrong(value: str) -> None:
    with pytest.raises(SettingError, match="MAX_RETRIES"):
        Environment({"MAX_RETRIES": value}).integer("MAX_RETRIES", 0, 20)


@pytest.mark.parametrize("value", ["", "x", "1.01", "-0.1", "nan", "inf"])
def test_a_function_names_the_number_that_is_wrong(value: str) -> None:
    with pytest.raises(SettingError, match="FAILURE_RATE"):
        Environment({"FAILURE_RATE": value}).number("FAILURE_RATE", 0, 1)


def test_a_function_reads_its_variables() -> None:
    env = Environment({"A": "5", "B": "0.5", "C": "equal", "D": "text"})
    assert (env.integer("A", 5, 5), env.number("B", 0, 1), env.choice("C", ("none", "equal")), env.text("D")) == (
        5,
        0.5,
        "equal",
        "text",
    )


def test_a_function_names_a_choice_that_there_is_not_and_a_variable_that_is_not_set() -> None:
    with pytest.raises(SettingError, match="JITTER is 'some'; allowed: none, equal"):
        Environment({"JITTER": "some"}).choice("JITTER", ("none", "equal"))
    with pytest.raises(SettingError, match="TABLE_NAME is not set"):
        Environment({}).text("TABLE_NAME")


def _setting(name: str) -> Setting:
    return next(setting for setting in SETTINGS if setting.parameter == name)


def _functions() -> dict[str, dict[str, Any]]:
    resources = TEMPLATES["app"]["Resources"]
    return {n: r["Properties"] for n, r in resources.items() if r["Type"] == "AWS::Serverless::Function"}


def test_what_was_changed_is_named_by_its_variable_and_what_was_not_is_left_out() -> None:
    changed = {"MAX_RETRIES": "9", "QUEUE_RETENTION_SECONDS": "60"}
    given = {**changed, "FAILURE_RATE": settings.read({}).app["FailureRate"], "STAGE": "blue"}

    assert settings.changed(settings.read(given)) == changed
    assert settings.changed(settings.read({})) == {}


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({}, 900 + 5 + 10 + 300),
        ({"BACKOFF_BASE_SECONDS": "60"}, 900 + 60 + 120 + 300),
        ({"BACKOFF_BASE_SECONDS": "60", "BACKOFF_CAP_SECONDS": "90"}, 900 + 60 + 90 + 300),
        ({"BACKOFF_BASE_SECONDS": "3600", "BACKOFF_CAP_SECONDS": "43200"}, 900 + 900 + 900 + 300),  # longer: parked
        ({"BACKOFF_BASE_SECONDS": "0.1"}, 900 + 1 + 300),
        ({"QUEUE_RETENTION_SECONDS": "600"}, 300),
        ({"QUEUE_RETENTION_SECONDS": "60"}, 30),
    ],
)
def test_the_alarm_on_the_age_of_messages_waits_for_what_delay_and_backoff_explain(
    given: dict[str, str], seconds: int
) -> None:
    base = {"BACKOFF_BASE_SECONDS": "5", "BACKOFF_CAP_SECONDS": "900", "QUEUE_RETENTION_SECONDS": "345600"}
    assert settings.read({**base, **given}).app["QueueAgeAlarmSeconds"] == str(seconds)


def test_the_templates_own_value_of_that_alarm_is_the_one_of_the_defaults() -> None:
    parameter = TEMPLATES["app"]["Parameters"]["QueueAgeAlarmSeconds"]
    assert str(parameter["Default"]) == settings.read({}).app["QueueAgeAlarmSeconds"]
