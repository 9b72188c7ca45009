"""Who may do what: roles, policies, the API's key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from bootstrap.rules.rule import Finding, rule
from bootstrap.rules.system import System
from bootstrap.template import Reference

PATHS = (
    "/tasks",
    "/tasks/batch",
    "/tasks/{taskId}",
    "/tasks/{taskId}/redrive",
    "/dead-letters",
    "/dead-letters/redrive",
    "/stats",
    "/openapi.json",
)
PUBLIC = frozenset({("OPTIONS", path) for path in PATHS} | {("GET", "/"), ("GET", "/openapi.json")})
"""(method, path) that needs no API key. A browser asks with OPTIONS, without a key, before a web page may call. The
dashboard and the description of the API hold no data; their reader brings the key."""
SCANS = frozenset({"dynamodb:scan", "dynamodb:partiqlselect"})
"""PartiQL reads the whole table, too, when its statement names no key."""
BEST_PRACTICES = "IAM/latest/UserGuide/best-practices.html"
ROLE = "AWS::IAM::Role"
ARN_PARTS = ("partition", "service", "region", "account")
"""Between `arn` and the resource itself."""


@rule("Lambda: defining permissions with an execution role", "lambda/latest/dg/lambda-intro-execution-role.html")
def role_per_function(system: System) -> Iterator[Finding]:
    """Each function has a role of its own, written out in the template."""
    roles = {function.name: function.properties.get("Role") for function in system.functions.values()}
    users = Counter(role.resource for role in roles.values() if isinstance(role, Reference))
    for name, role in roles.items():
        if not isinstance(role, Reference) or system.resources[role.resource].type != ROLE:
            yield Finding(name, "has no role of its own in the template", f"Role: !GetAtt {name}Role.Arn")
        elif users[role.resource] > 1:
            yield Finding(name, f"shares {role.resource} with another function", f"Role: !GetAtt {name}Role.Arn")


@rule("IAM: apply least-privilege permissions", BEST_PRACTICES)
def policies_name_actions_and_resources(system: System) -> Iterator[Finding]:
    """What is allowed is named: no `*` in an action, as a whole resource, or for its service, region or account; no
    everything-but, no ready-made policy.
    """
    for role in system.of_type(ROLE):
        for arn in role.properties.get("ManagedPolicyArns", []):
            yield Finding(role.name, f"takes the ready-made policy {arn}", "a policy of its own with what is used")
    for name, statement in _allowed(system):
        for action in _listed(statement.get("Action")):
            if "*" in str(action):
                yield Finding(name, f"allows the action {action}", "the actions that are used, by name")
        if "*" in _listed(statement.get("Resource")):
            yield Finding(
                name, f"allows {_listed(statement.get('Action'))[0]} on every resource", "the ARN it is used on"
            )
        for resource in _listed(statement.get("Resource")):
            for part, value in zip(ARN_PARTS, str(resource).split(":")[1:5], strict=False):
                if "*" in value and resource != "*":
                    yield Finding(name, f"allows {resource}, of any {part}", "the ARN it is used on")
        for inverted in sorted({"NotAction", "NotResource"} & set(statement)):
            yield Finding(name, f"allows all but what {inverted} lists", inverted.removeprefix("Not"))


@rule(
    "DynamoDB: best practices for querying and scanning data",
    "amazondynamodb/latest/developerguide/bp-query-scan.html",
)
def nobody_scans(system: System) -> Iterator[Finding]:
    """No function may read a whole table."""
    for name, statement in _allowed(system):
        for action in _listed(statement.get("Action")):
            if str(action).lower() in SCANS:
                yield Finding(name, f"allows {action}", "dynamodb:Query on an index")


@rule("API Gateway: usage plans and API keys", "apigateway/latest/developerguide/api-gateway-api-usage-plans.html")
def api_key_on_every_method(system: System) -> Iterator[Finding]:
    """Every method of the API asks for the API key, but for those that are listed as public."""
    apis = {api.name: _key_required(api.properties) for api in system.of_type("AWS::Serverless::Api")}
    for route in system.routes:
        api = route.properties.get("RestApiId")
        by_default = apis.get(api.resource) if isinstance(api, Reference) else None
        own = _key_required(route.properties)
        required = by_default if own is None else own
        if not required and (route.method, route.path) not in PUBLIC:
            right = "Auth: {ApiKeyRequired: true}, or a line in PUBLIC in bootstrap/rules/permissions.py"
            yield Finding(f"{route.function}{route.event}", f"{route.method} {route.path} needs no API key", right)


def _key_required(properties: Mapping[str, Any]) -> bool | None:
    required = properties.get("Auth", {}).get("ApiKeyRequired")
    return None if required is None else str(required).lower() == "true"


def _allowed(system: System) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every statement that allows something, with the resource it stands in."""
    for resource in system.resources.values():
        documents = [resource.properties.get("PolicyDocument", {})]
        documents += [policy.get("PolicyDocument", {}) for policy in resource.properties.get("Policies", [])]
        for document in documents:
            statements = _listed(document.get("Statement"))
            yield from ((resource.name, one) for one in statements if one.get("Effect") == "Allow")


def _listed(value: Any) -> list[Any]:
    """IAM takes one thing for a list of one."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
