"""What the storage stack of the AWS target refuses: every call to its queues and its buckets that comes without TLS.

MiniStack evaluates resource policies, and takes the header of a proxy that ended TLS in front of it for TLS.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from bootstrap import settings
from bootstrap.deploy import Deployment, client
from bootstrap.targets import AWS, EMBEDDED, LOCALSTACK, TARGETS, Place
from tests.support.stack import DeployedStack


@pytest.fixture(scope="module")
def deployment(embedded_stack: DeployedStack) -> Iterator[Deployment]:
    """A storage stack of a stage of its own, with the parameters of the AWS target."""
    target = replace(EMBEDDED, storage_parameters=AWS.storage_parameters)
    place = Place(target, EMBEDDED.region, embedded_stack.outputs["endpoint_url"])
    made = Deployment(place, settings.read({"STAGE": "tls"}))
    assert made.deploy_storage()
    yield made
    made.destroy()


@pytest.fixture(scope="module")
def credentials(deployment: Deployment) -> dict[str, str]:
    """Of a role that may do everything with queues and buckets."""
    iam, name = client(deployment.place, "iam"), "everything"
    trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    allowed = {"Effect": "Allow", "Action": ["sqs:*", "s3:*"], "Resource": "*"}
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=_policy(trust))["Role"]
    iam.put_role_policy(RoleName=name, PolicyName=name, PolicyDocument=_policy(allowed))
    sts = client(deployment.place, "sts")
    found = sts.assume_role(RoleArn=role["Arn"], RoleSessionName="test")["Credentials"]
    return {
        "aws_access_key_id": found["AccessKeyId"],
        "aws_secret_access_key": found["SecretAccessKey"],
        "aws_session_token": found["SessionToken"],
    }


def _policy(statement: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def over(scheme: str, place: Place, service: Any, credentials: dict[str, str]) -> Any:
    made = boto3.client(service, **{**place.client_options(), **credentials})
    header = {"X-Forwarded-Proto": scheme}
    made.meta.events.register("before-send", lambda request, **_: request.headers.update(header))
    return made


def ask(made: Any, outputs: dict[str, str], call: str) -> Any:
    match call:
        case "send a task":
            return made.send_message(QueueUrl=outputs["QueueUrl"], MessageBody="{}")
        case "send to the DLQ":
            return made.send_message(QueueUrl=outputs["DlqUrl"], MessageBody="{}")
        case "list packages":
            return made.list_objects_v2(Bucket=outputs["PackageBucketName"])
        case "write a package":
            return made.put_object(Bucket=outputs["PackageBucketName"], Key="x", Body=b"x")
        case "list files":
            return made.list_objects_v2(Bucket=outputs["DataBucketName"])
        case "write a file":
            return made.put_object(Bucket=outputs["DataBucketName"], Key="in/x", Body=b"x")
    raise AssertionError(call)


@pytest.mark.parametrize(
    ("service", "call"),
    [
        ("sqs", "send a task"),
        ("sqs", "send to the DLQ"),
        ("s3", "list packages"),
        ("s3", "write a package"),
        ("s3", "list files"),
        ("s3", "write a file"),
    ],
)
def test_a_call_without_tls_is_denied_and_with_tls_it_is_not(
    deployment: Deployment, credentials: dict[str, str], service: str, call: str
) -> None:
    place, outputs = deployment.place, deployment.storage.outputs()
    with pytest.raises(ClientError, match="AccessDenied"):
        ask(over("http", place, service, credentials), outputs, call)
    secured = ask(over("https", place, service, credentials), outputs, call)
    assert secured["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_only_the_aws_target_asks_for_tls() -> None:
    assert {name for name, target in TARGETS.items() if target.storage_parameters == {"TlsOnly": "true"}} == {"aws"}
    assert EMBEDDED.storage_parameters == LOCALSTACK.storage_parameters == {}
