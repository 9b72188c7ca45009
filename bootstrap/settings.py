"""Settings of the system: template parameters with the original's defaults, set by environment variable or `--set`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Literal

from bootstrap.errors import BootstrapError
from bootstrap.kinds import Kind, most_attempts
from bootstrap.targets import Target

MONITOR_TIMEOUT_SECONDS = 30
"""Time-out of MonitorDlq in app.yaml."""
RECEIVE_MARGIN = 2
"""Receives a message may lose to throttling beyond its attempts, before SQS moves it to the DLQ."""
LEAST_MAX_RECEIVES = 5
"""AWS Lambda guide, "Using Lambda with Amazon SQS": set maxReceiveCount to at least 5."""
KEPT_SECONDS = 3
"""Of ProcessTask's time-out, for beginning and ending an attempt (batch.py: 2 s to start, 1 s to end)."""
VISIBILITY_FACTOR = 6
"""The same page: visibility at least six times the function's time-out, plus the batch window."""


LONGEST_WAIT_SECONDS = 900
"""Of one message: what is to wait longer, by its delay or by its backoff, is parked (SQS quotas, "Delay")."""
RECEIVES_COUNTED = 3
"""What was received as often no longer counts as the oldest message (SQS guide, "Available CloudWatch metrics")."""
AGE_MARGIN_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Setting:
    """One parameter of a template. Its variable is the same name in capitals (`MaxRetries`: `MAX_RETRIES`)."""

    parameter: str
    stack: Literal["storage", "app"]
    kind: Literal["integer", "number", "choice", "text"]
    default: str
    allowed: tuple[float, float] | tuple[str, ...]
    """Least and most; the choices; of a text, a pattern and its words."""
    help: str

    @property
    def variable(self) -> str:
        return re.sub(r"(?<!^)(?=[A-Z])", "_", self.parameter).upper()

    def check(self, value: str) -> str:
        """The value as CloudFormation takes it.

        Raises:
            BootstrapError: naming variable, value and what is allowed.
        """
        if self.kind == "choice":
            if value in self.allowed:
                return value
            raise self._error(value, ", ".join(map(str, self.allowed)))
        if self.kind == "text":
            pattern, words = map(str, self.allowed)
            if re.fullmatch(pattern, value):
                return value
            raise self._error(value, words)
        low, high = (float(bound) for bound in self.allowed)
        what = "a whole number" if self.kind == "integer" else "a number"
        pattern = r"-?\d+" if self.kind == "integer" else r"-?\d+(\.\d+)?"
        if not re.fullmatch(pattern, value) or not low <= float(value) <= high:
            raise self._error(value, f"{what} from {low:g} to {high:g}")
        return value

    def _error(self, value: str, allowed: str) -> BootstrapError:
        return BootstrapError(
            f"{self.variable} is {value!r}; allowed: {allowed}.", f"Set {self.variable} or leave it out."
        )


CONCURRENCIES = ("2", "3", "4", "5", "6", "8", "10", "15", "20", "30", "50", "100", "200", "500", "1000")
BATCH_SIZES = ("1", "2", "3", "4", "5", "6", "8", "10", "15", "20", "30", "50", "100")
EMAIL = (r"([^@\s]+@[^@\s]+\.[^@\s]+)?", "an e-mail address, or nothing")
# As a browser sends them: scheme, host and port, no path, in small letters. `*` is none.
ORIGINS = (
    r"(https?://[a-z0-9.-]+(:[0-9]{1,5})?(,https?://[a-z0-9.-]+(:[0-9]{1,5})?)*)?",
    "origins such as https://app.example.com, joined by commas, or nothing",
)
NETWORKS = (
    r"([0-9a-fA-F.:]+/[0-9]{1,3}(,[0-9a-fA-F.:]+/[0-9]{1,3})*)?",
    "networks such as 10.1.0.0/16, joined by commas, or nothing",
)
LOOPBACK = tuple(map(ip_network, ("127.0.0.0/8", "::1/128", "::ffff:127.0.0.0/104")))
RETENTIONS = ("1", "3", "5", "7", "14", "30", "60", "90", "120", "150", "180", "365")

SETTINGS = (
    Setting("FailureRate", "app", "number", "0.3", (0, 1), "chance that an attempt of the simulated kind fails"),
    Setting("WorkSeconds", "app", "number", "1", (0, 20), "work time of the simulated kind"),
    Setting("MaxRetries", "app", "integer", "2", (0, 20), "retries after the first attempt"),
    Setting("BackoffBaseSeconds", "app", "number", "5", (0, 3600), "first wait; it doubles with each attempt"),
    Setting("BackoffCapSeconds", "app", "number", "900", (1, 43_200), "longest wait"),
    Setting("BackoffJitter", "app", "choice", "equal", ("none", "equal", "full"), "spread of the wait"),
    Setting("BatchSize", "app", "choice", "10", BATCH_SIZES, "messages per invocation"),
    Setting("BatchWindowSeconds", "app", "integer", "0", (0, 300), "how long to wait for a batch to fill"),
    Setting("MaxConcurrency", "app", "choice", "10", CONCURRENCIES, "invocations of ProcessTask at once"),
    Setting("ProcessTimeoutSeconds", "app", "integer", "29", (4, 900), "time-out of ProcessTask"),
    Setting("TaskRetentionDays", "app", "integer", "30", (15, 3650), "how long an ended task is kept"),
    Setting("ResendAfterSeconds", "app", "integer", "900", (1, 43_200), "silence after which a message counts as lost"),
    Setting("LogLevel", "app", "choice", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR"), "least level that is logged"),
    Setting("AlarmEmail", "app", "text", "", EMAIL, "who is told of alarms; empty: nobody"),
    Setting("Fixed", "app", "choice", "full", ("full", "low"), "low: no dashboard, no alarms, no metrics of our own"),
    Setting("ApiRateLimit", "app", "integer", "1000", (1, 10_000), "requests per second of the API key"),
    Setting("CorsOrigins", "app", "text", "", ORIGINS, "origins whose web pages may call the API; empty: none"),
    Setting(
        "WebhookNetworks", "app", "text", "", NETWORKS, "networks, not public, that webhooks may reach; empty: none"
    ),
    Setting(
        "QueueRetentionSeconds", "storage", "integer", "345600", (60, 1_209_600), "how long the queue keeps a message"
    ),
    Setting("LogRetentionDays", "storage", "choice", "14", RETENTIONS, "how long logs are kept"),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """Checked values, as the parameters of the two templates."""

    stage: str
    storage: Mapping[str, str]
    app: Mapping[str, str]


def read(variables: Mapping[str, str], overrides: Mapping[str, str] | None = None) -> Settings:
    """Take each setting from `overrides` (by variable name), else the environment, else its default; check them all.

    Raises:
        BootstrapError: a value is not allowed, two contradict each other, or an override names no setting.
    """
    overrides = overrides or {}
    known = {setting.variable for setting in SETTINGS} | {"STAGE"}
    for name in overrides:
        if name not in known:
            raise BootstrapError(f"There is no setting {name!r}.", f"Settings: {', '.join(sorted(known))}.")
    given = {**{name: variables[name] for name in known if variables.get(name)}, **overrides}
    values = {s.parameter: s.check(given.get(s.variable, s.default)) for s in SETTINGS}
    _check_together(values)
    stage = _stage(given.get("STAGE", "dev"))
    of = {
        stack: {s.parameter: values[s.parameter] for s in SETTINGS if s.stack == stack} for stack in ("storage", "app")
    }
    app = {**of["app"], "QueueAgeAlarmSeconds": _age_alarm(values)}
    return Settings(stage, {"Stage": stage, **of["storage"], **_derived(values)}, {"Stage": stage, **app})


def changed(values: Settings) -> dict[str, str]:
    """Variable -> value, of those that do not have their defaults."""
    given = {**values.storage, **values.app}
    return {s.variable: given[s.parameter] for s in SETTINGS if given[s.parameter] != s.default}


def as_deployed(stage: str, parameters: Mapping[str, str], variables: Mapping[str, str]) -> Settings:
    """Those that the stacks were deployed with (`parameters`, of both), where `variables` say nothing else.

    Raises:
        BootstrapError: as for `read`.
    """
    found = {s.variable: parameters[s.parameter] for s in SETTINGS if s.parameter in parameters}
    return read({**found, **{name: value for name, value in variables.items() if value}, "STAGE": stage})


def placed(settings: Settings, target: Target) -> Settings:
    """The same, with the parameters that the target decides.

    Raises:
        BootstrapError: webhooks could reach the function itself, on a target that is not this machine.
    """
    if not target.local:
        _check_no_loopback(settings.app["WebhookNetworks"])
    storage = {**settings.storage, **target.storage_parameters}
    return replace(settings, storage=storage, app={**settings.app, **target.app_parameters})


def _check_no_loopback(networks: str) -> None:
    for network in _networks(networks):
        if any(network.version == loopback.version and network.overlaps(loopback) for loopback in LOOPBACK):
            raise BootstrapError(
                f"WEBHOOK_NETWORKS is {networks!r}: {network} holds loopback addresses. They are for trying on your "
                "machine; on AWS they are the function's own.",
                "Leave that network out, or WEBHOOK_NETWORKS altogether.",
            )


def _networks(text: str) -> list[IPv4Network | IPv6Network]:
    """
    Raises:
        BootstrapError: one looks like a network and is none.
    """
    try:
        return [ip_network(word) for word in text.split(",") if word]
    except ValueError as error:
        raise BootstrapError(
            f"WEBHOOK_NETWORKS is {text!r}: {error}.", "Write networks such as 10.1.0.0/16, joined by commas."
        ) from error


def fitted(settings: Settings, kinds: Sequence[Kind]) -> Settings:
    """The same, with the queue fitted to the kinds that have attempts of their own.

    Raises:
        BootstrapError: a kind's time-out is longer than its function can live.
    """
    lives = int(settings.app["ProcessTimeoutSeconds"]) - KEPT_SECONDS
    for kind in kinds:
        if kind.timeout_seconds is not None and kind.timeout_seconds > lives:
            raise BootstrapError(
                f"Kind {kind.name} has a time-out of {kind.timeout_seconds:g} s; its function has {lives} s for it.",
                f"Set PROCESS_TIMEOUT_SECONDS to {math.ceil(kind.timeout_seconds) + KEPT_SECONDS} or more.",
            )
    attempts = most_attempts(kinds, int(settings.app["MaxRetries"]) + 1)
    return replace(settings, storage={**settings.storage, "MaxReceiveCount": _max_receives(attempts)})


def _max_receives(attempts: int) -> str:
    return str(max(LEAST_MAX_RECEIVES, attempts + RECEIVE_MARGIN))


def _stage(stage: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,15}", stage):
        raise BootstrapError(f"STAGE is {stage!r}; allowed: a small letter, then up to 15 of a-z 0-9 and -.")
    return stage


def _derived(values: Mapping[str, str]) -> dict[str, str]:
    """What AWS's rules make of the settings; never set by hand, so that it cannot contradict them."""
    visibility = VISIBILITY_FACTOR * int(values["ProcessTimeoutSeconds"]) + int(values["BatchWindowSeconds"])
    return {
        "QueueVisibilitySeconds": str(visibility),
        "DlqVisibilitySeconds": str(VISIBILITY_FACTOR * MONITOR_TIMEOUT_SECONDS),
        "MaxReceiveCount": _max_receives(int(values["MaxRetries"]) + 1),
    }


def _age_alarm(values: Mapping[str, str]) -> str:
    """Older than a message whose task is delayed, then backs off after each receive; and before the queue drops it."""
    base, cap = float(values["BackoffBaseSeconds"]), float(values["BackoffCapSeconds"])
    waits = [min(base * 2**retry, cap, LONGEST_WAIT_SECONDS) for retry in range(RECEIVES_COUNTED - 1)]
    explained = math.ceil(LONGEST_WAIT_SECONDS + sum(waits) + AGE_MARGIN_SECONDS)
    return str(min(explained, int(values["QueueRetentionSeconds"]) // 2))


def _check_together(values: Mapping[str, str]) -> None:
    _networks(values["WebhookNetworks"])
    if int(values["BatchSize"]) > 10 and int(values["BatchWindowSeconds"]) < 1:
        raise BootstrapError(
            f"BATCH_SIZE is {values['BatchSize']}: over 10, AWS asks for a batch window.",
            "Set BATCH_WINDOW_SECONDS to 1 or more.",
        )
    if float(values["WorkSeconds"]) + KEPT_SECONDS > int(values["ProcessTimeoutSeconds"]):
        raise BootstrapError(
            f"WORK_SECONDS is {values['WorkSeconds']}: no attempt could end within PROCESS_TIMEOUT_SECONDS = "
            f"{values['ProcessTimeoutSeconds']}, of which {KEPT_SECONDS} s are kept for beginning and ending.",
            "Raise PROCESS_TIMEOUT_SECONDS or lower WORK_SECONDS.",
        )
