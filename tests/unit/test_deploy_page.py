"""docs/deploy.md and the workflow that deploys: what they grant is what the templates and commands need."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatch
from typing import Any

import pytest
import yaml

from bootstrap import preflight, settings
from bootstrap.paths import ROOT
from bootstrap.targets import AWS
from bootstrap.template import PSEUDO
from tests.support.broken_templates import TODAY, a_kind
from tests.support.templates import template

SAM_MAKES = {
    "AWS::Serverless::Api": {"AWS::ApiGateway::RestApi"},
    "AWS::Serverless::Function": {"AWS::Lambda::Function", "AWS::Events::Rule"},
}
NAMELESS = {
    "cloudformation:DescribeStackDriftDetectionStatus",
    "cloudwatch:DescribeAlarms",
    "lambda:GetEventSourceMapping",
    "lambda:ListEventSourceMappings",
    "logs:DescribeLogGroups",
}
"""Reading calls for which AWS's service authorization reference names no resource."""


def policies() -> list[dict[str, Any]]:
    """Trust and permissions of the role that deploys, then permissions of the one that plans."""
    blocks = re.findall(r"```json\n(.*?)```", (ROOT / "docs" / "deploy.md").read_text(), re.DOTALL)
    return [json.loads(block) for block in blocks]


def actions(policy: dict[str, Any]) -> set[str]:
    return {action for statement in policy["Statement"] for action in as_list(statement["Action"])}


def as_list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else value


def grants(policy: dict[str, Any], action: str) -> bool:
    return any(fnmatch(action, granted) for granted in actions(policy))


def services() -> set[str]:
    types = {one["Type"] for name in ("storage", "app") for one in template(name)["Resources"].values()}
    made = set().union(*(SAM_MAKES.get(one, {one}) for one in types))
    return {one.split("::")[1].lower() for one in made}


CREATED: dict[str, tuple[str, str]] = {
    "AWS::ApiGateway::ApiKey": ("apigateway:POST", "arn:aws:apigateway:REGION::/apikeys"),
    "AWS::ApiGateway::UsagePlan": ("apigateway:POST", "arn:aws:apigateway:REGION::/usageplans"),
    "AWS::CloudWatch::Alarm": ("cloudwatch:PutMetricAlarm", "arn:aws:cloudwatch:REGION:ACCOUNT:alarm:{}"),
    "AWS::CloudWatch::Dashboard": ("cloudwatch:PutDashboard", "arn:aws:cloudwatch::ACCOUNT:dashboard/{}"),
    "AWS::DynamoDB::Table": ("dynamodb:CreateTable", "arn:aws:dynamodb:REGION:ACCOUNT:table/{}"),
    "AWS::Events::Rule": ("events:PutRule", "arn:aws:events:REGION:ACCOUNT:rule/{}"),
    "AWS::Logs::LogGroup": ("logs:CreateLogGroup", "arn:aws:logs:REGION:ACCOUNT:log-group:{}"),
    "AWS::S3::Bucket": ("s3:CreateBucket", "arn:aws:s3:::{}"),
    "AWS::SNS::Topic": ("sns:CreateTopic", "arn:aws:sns:REGION:ACCOUNT:{}"),
    "AWS::SQS::Queue": ("sqs:CreateQueue", "arn:aws:sqs:REGION:ACCOUNT:{}"),
    "AWS::Serverless::Api": ("apigateway:POST", "arn:aws:apigateway:REGION::/restapis"),
    "AWS::Serverless::Function": ("lambda:CreateFunction", "arn:aws:lambda:REGION:ACCOUNT:function:{}"),
}
"""Type -> what creates it, and the ARN by its name (AWS service authorization reference). API Gateway's has no name."""


def named() -> dict[str, tuple[str, str]]:
    """Each resource of `prod` whose name the templates fix: its type and that name."""
    values = settings.placed(settings.read({"STAGE": "prod", "ALARM_EMAIL": "ops@example.com"}), AWS)
    deployed = preflight.system(values, [a_kind(schedule="rate(1 minute)")], TODAY)
    found = {}
    for resource in deployed.resources.values():
        own = resource.type.rpartition("::")[2]
        name = resource.properties.get("Name", resource.properties.get(f"{own}Name"))
        if name is not None:
            found[resource.name] = (resource.type, str(name))
    return found


def test_the_names_of_prod_are_looked_for() -> None:
    assert {"DataBucket", "ScheduleTick", "TaskTable", "SubmitTask", "AlarmTopic", "TasksDeadAlarm"} <= set(named())


def test_the_role_that_deploys_may_create_each_resource_by_the_name_that_it_has_in_prod() -> None:
    for resource in sorted(named()):
        _, deploys, _ = policies()
        type_, name = named()[resource]
        action, arn = CREATED[type_]
        wanted = here(arn.format(name))

        assert [
            statement["Sid"]
            for statement in deploys["Statement"]
            if action in as_list(statement["Action"])
            and any(fnmatch(wanted, here(granted)) for granted in as_list(statement["Resource"]))
        ], f"{action} on {wanted}"


def here(arn: str) -> str:
    """In the account and region that the templates are resolved for."""
    return arn.replace("ACCOUNT", PSEUDO["AWS::AccountId"]).replace("REGION", PSEUDO["AWS::Region"])


def test_each_service_in_the_templates_is_granted_to_the_role_that_deploys() -> None:
    for service in sorted(services()):
        _, deploys, _ = policies()

        assert {action.split(":")[0] for action in actions(deploys)} >= {service}, service


def test_no_role_may_do_everything_and_only_reading_is_granted_on_everything() -> None:
    _, deploys, plans = policies()

    for statement in [*deploys["Statement"], *plans["Statement"]]:
        assert not [action for action in as_list(statement["Action"]) if action.endswith(":*") or action == "*"]
        if statement["Resource"] == "*" and "Condition" not in statement:
            assert set(as_list(statement["Action"])) == NAMELESS


def test_the_role_that_plans_can_carry_nothing_out() -> None:
    _, _, plans = policies()

    assert {action.split(":")[0] for action in actions(plans)} == {"cloudformation"}
    assert not actions(plans) & {"cloudformation:ExecuteChangeSet", "cloudformation:DeleteStack"}


def test_a_role_goes_to_functions_only() -> None:
    _, deploys, _ = policies()
    [passes] = [one for one in deploys["Statement"] if "iam:PassRole" in as_list(one["Action"])]

    assert passes["Condition"] == {"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}}


def workflow() -> dict[Any, Any]:
    document: dict[Any, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "deploy.yml").read_text())
    return document


def test_a_tag_is_deployed_after_its_plan_in_the_environment_that_the_trust_names() -> None:
    trust, _, _ = policies()
    jobs = workflow()["jobs"]
    environment = jobs["deploy"]["environment"]

    assert workflow()[True] == {"push": {"tags": ["v*"]}}  # YAML 1.1 reads `on` as true
    assert jobs["deploy"]["needs"] == "plan"
    condition = trust["Statement"][0]["Condition"]["StringEquals"]
    assert condition["token.actions.githubusercontent.com:sub"].endswith(f":environment:{environment}")
    assert "environment" not in jobs["plan"]


def test_only_the_job_that_a_person_approves_deploys_and_no_job_holds_a_key() -> None:
    jobs = workflow()["jobs"]
    runs = {name: "\n".join(step.get("run", "") for step in job["steps"]) for name, job in jobs.items()}

    assert runs["deploy"].split("\n")[-1] == "make deploy-aws"
    assert "YES" not in runs["deploy"]
    [asks] = [step for step in jobs["deploy"]["steps"] if step.get("run") == "make deploy-aws"]
    assert asks["env"] == {"PLAN": "${{ needs.plan.outputs.plan }}"}
    assert jobs["plan"]["outputs"] == {"plan": "${{ steps.plan.outputs.plan }}"}
    assert [step["id"] for step in jobs["plan"]["steps"] if "make plan-aws" in step.get("run", "")] == ["plan"]
    assert "make plan-aws" in runs["plan"]
    assert "deploy-aws" not in runs["plan"]
    assert "$GITHUB_STEP_SUMMARY" in runs["plan"]
    assert "REPLACE" not in runs["deploy"]
    for job in jobs.values():
        assert job["permissions"] == {"contents": "read", "id-token": "write"}
    assert "secrets." not in (ROOT / ".github" / "workflows" / "deploy.yml").read_text()
    assert AWS.region in workflow()["env"]["AWS_REGION"]


def test_a_tag_is_deployed_with_each_setting_that_the_repositorys_variables_give() -> None:
    given = {name: value for name, value in workflow()["env"].items() if name not in ("STAGE", "AWS_REGION")}

    assert given == {one.variable: f"${{{{ vars.{one.variable} }}}}" for one in settings.SETTINGS}
    assert not [job for job in workflow()["jobs"].values() if "env" in job]


def test_what_gets_the_roles_is_pinned_by_its_commit_with_the_release_beside_it() -> None:
    used = re.findall(r"uses: (.*)", (ROOT / ".github" / "workflows" / "deploy.yml").read_text())

    assert len(used) == 6
    assert [one for one in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one)] == []


def test_a_setting_that_is_no_variable_of_the_repository_has_its_default() -> None:
    empty = {one.variable: "" for one in settings.SETTINGS}

    assert settings.read(empty) == settings.read({})


@pytest.mark.parametrize("table", ["TaskTable", "AccountsTable"])
def test_both_tables_of_prod_are_recoverable_and_outlive_their_stack(table: str) -> None:
    document = template("storage")
    one = document["Resources"][table]
    recovery = one["Properties"]["PointInTimeRecoverySpecification"]

    assert document["Conditions"]["IsProd"] == {"Fn::Equals": [{"Ref": "Stage"}, "prod"]}
    assert recovery == {"PointInTimeRecoveryEnabled": {"Fn::If": ["IsProd", True, False]}}
    assert one["DeletionPolicy"] == {"Fn::If": ["IsProd", "RetainExceptOnCreate", "Delete"]}
    assert one["UpdateReplacePolicy"] == "Retain"
    assert document["Transform"] == "AWS::LanguageExtensions"  # without it AWS takes no function in a DeletionPolicy
