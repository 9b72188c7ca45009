"""What SAM makes of the app template: the stages of the API, and who may call which function."""

from __future__ import annotations

from typing import Any

import pytest

from bootstrap import preflight, settings
from bootstrap.rules.callers import all_callers
from tests.support.broken_templates import TODAY, a_kind
from tests.support.sam import translated
from tests.support.templates import template


@pytest.fixture(scope="module")
def resources() -> dict[str, Any]:
    return translated(template("app"))


def of_type(resources: dict[str, Any], type_: str) -> dict[str, Any]:
    return {name: one["Properties"] for name, one in resources.items() if one["Type"] == f"AWS::{type_}"}


def test_the_api_has_one_stage_which_is_ours_with_our_limits(resources: dict[str, Any]) -> None:
    [stage] = of_type(resources, "ApiGateway::Stage").values()
    [deployment] = of_type(resources, "ApiGateway::Deployment").values()

    assert stage["StageName"] == {"Ref": "Stage"}
    assert len(stage["MethodSettings"]) >= 10
    assert "StageName" not in deployment  # by which API Gateway would make another one


def test_the_api_keeps_its_key_and_its_own_errors(resources: dict[str, Any]) -> None:
    body = resources["TaskApi"]["Properties"]["Body"]

    assert body["securityDefinitions"]["api_key"]["name"] == "x-api-key"
    assert {"MISSING_AUTHENTICATION_TOKEN", "INVALID_API_KEY", "THROTTLED", "DEFAULT_4XX", "DEFAULT_5XX"} <= set(
        body["x-amazon-apigateway-gateway-responses"]
    )


def test_the_callers_that_preflight_counts_are_those_that_sam_gives_a_permission(resources: dict[str, Any]) -> None:
    scheduled = [a_kind(schedule="rate(1 minute)")]
    counted = all_callers(preflight.system(settings.read({}), scheduled, TODAY))

    permissions = of_type(resources, "Lambda::Permission")
    assert {(one.function, one.permission, one.service, path_of(one.arn)) for one in counted} == {
        (one["FunctionName"]["Ref"], name, one["Principal"], path_of(one["SourceArn"]))
        for name, one in permissions.items()
    }


def path_of(arn: Any) -> str | None:
    """Method and path of a route; None of what is called by another service."""
    text = arn["Fn::Sub"][0] if isinstance(arn, dict) and isinstance(arn.get("Fn::Sub"), list) else arn
    return str(text).split("/", 2)[2] if ":execute-api:" in str(text) else None
