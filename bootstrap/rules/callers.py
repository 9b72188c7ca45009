"""Who may call a function: what the API and EventBridge need for it, in the function's own policy."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bootstrap.rules.rule import Finding, rule
from bootstrap.rules.system import System
from bootstrap.template import PSEUDO, Reference

POLICY_BYTES = 20_480
HERE = f"ap-southeast-1:{PSEUDO['AWS::AccountId']}"
"""No region has a longer name."""
RANDOM = "A" * 12
"""What CloudFormation adds to a name that it makes up."""


@dataclass(frozen=True, slots=True)
class Caller:
    function: str
    permission: str
    """Logical id of its AWS::Lambda::Permission."""
    service: str
    arn: str


@rule("Lambda: quotas", "lambda/latest/dg/gettingstarted-limits.html")
def callers_fit_into_a_policy(system: System) -> Iterator[Finding]:
    """What may call a function, a statement for each route and schedule, fits into its policy of 20 KB."""
    callers = list(all_callers(system))
    for function in system.functions:
        statements = [_statement(system, caller) for caller in callers if caller.function == function]
        policy = {"Version": "2012-10-17", "Id": "default", "Statement": statements}
        size = len(json.dumps(policy, separators=(",", ":")))
        if size > POLICY_BYTES:
            wrong = f"{len(statements)} callers make a policy of {size} bytes, and Lambda takes {POLICY_BYTES}"
            yield Finding(function, wrong, "fewer routes, or a shorter STAGE")


def all_callers(system: System) -> Iterator[Caller]:
    """Those that SAM makes permissions for (a test compares), then those that the template writes out."""
    for route in system.routes:
        method_and_path = route.method + re.sub(r"{[^}]*}", "*", route.path)
        arn = f"arn:aws:execute-api:{HERE}:{'a' * 10}/*/{method_and_path}"
        yield Caller(route.function, f"{route.function}{route.event}PermissionStage", "apigateway.amazonaws.com", arn)
    for schedule in system.schedules:
        name = f"{schedule.function}{schedule.event}"
        arn = f"arn:aws:events:{HERE}:rule/{_made_up(system, name)}"
        yield Caller(schedule.function, f"{name}Permission", "events.amazonaws.com", arn)
    for own in system.of_type("AWS::Lambda::Permission"):
        function, service = own.properties["FunctionName"], str(own.properties["Principal"])
        if isinstance(function, Reference):
            yield Caller(function.resource, own.name, service, str(own.properties.get("SourceArn")))


def _statement(system: System, caller: Caller) -> dict[str, Any]:
    """As GetPolicy shows it."""
    name = system.functions[caller.function].properties.get("FunctionName", _made_up(system, caller.function))
    return {
        "Sid": _made_up(system, caller.permission),
        "Effect": "Allow",
        "Principal": {"Service": caller.service},
        "Action": "lambda:InvokeFunction",
        "Resource": f"arn:aws:lambda:{HERE}:function:{name}",
        "Condition": {"ArnLike": {"AWS:SourceArn": caller.arn}},
    }


def _made_up(system: System, logical_id: str) -> str:
    return f"{system.stage}-tasks-app-{logical_id}-{RANDOM}"
