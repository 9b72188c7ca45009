"""Probes of CloudFormation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from bootstrap.doctor.lab import Lab
from bootstrap.doctor.probe import Finding, Probe, as_aws, differs

GUIDE = "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide"
STAGE = "probe"
JSON = "application/json"
READ_MAPPING = "after-call.lambda.GetEventSourceMapping"
QUEUE = "AWS::SQS::Queue"
TABLE: Mapping[str, Any] = {
    "BillingMode": "PAY_PER_REQUEST",
    "AttributeDefinitions": [{"AttributeName": "PK", "AttributeType": "S"}],
    "KeySchema": [{"AttributeName": "PK", "KeyType": "HASH"}],
}


def template(resources: Mapping[str, tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Resources by name: type and properties."""
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Resources": {name: {"Type": kind, "Properties": properties} for name, (kind, properties) in resources.items()},
    }


def sam_api(paths: Mapping[str, str], **properties: Any) -> dict[str, Any]:
    """A template as app.yaml is one: paths (with method) that answer without a backend."""
    integration = {
        "type": "mock",
        "requestTemplates": {JSON: '{"statusCode": 200}'},
        "responses": {"default": {"statusCode": "200", "responseTemplates": {JSON: "{}"}}},
    }
    method = {"responses": {"200": {"description": "ok"}}, "x-amazon-apigateway-integration": integration}
    body = {
        "openapi": "3.0.1",
        "info": {"title": "probe", "version": "1"},
        "paths": {path: {verb: method} for path, verb in paths.items()},
    }
    resource = {
        "Type": "AWS::Serverless::Api",
        "Properties": {"StageName": STAGE, "DefinitionBody": body, **properties},
    }
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Transform": "AWS::Serverless-2016-10-31",
        "Resources": {"Api": resource},
        "Outputs": {"ApiId": {"Value": {"Ref": "Api"}}},
    }


def _nothing_to_change(lab: Lab) -> Finding:
    cloudformation, same = lab.aws("cloudformation"), sam_api({"/tasks": "get"})
    stack, _ = lab.stack(same)
    name = lab.name("change-set")
    cloudformation.create_change_set(
        StackName=stack,
        ChangeSetName=name,
        ChangeSetType="UPDATE",
        TemplateBody=json.dumps(same),
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    )
    found = lab.until(
        lambda: cloudformation.describe_change_set(StackName=stack, ChangeSetName=name),
        lambda answer: not answer["Status"].endswith(("_IN_PROGRESS", "_PENDING")),
    )
    reason = found.get("StatusReason") or f"{len(found['Changes'])} changes, no reason"
    seen, told = f"{found['Status']}: {reason.split('.')[0]}", "didn't contain changes" in reason
    return as_aws(seen) if found["Status"] == "FAILED" and told else differs(seen)


def _empty_but_made(parsed: dict[str, Any], **_: Any) -> None:
    parsed.update(Status="CREATE_COMPLETE", StatusReason="", Changes=[])


def _deletion(lab: Lab) -> Finding:
    queue, table = lab.name("queue"), lab.name("table")
    lab.afterwards(lambda: _drop_queue(lab, queue))
    lab.afterwards(lambda: lab.aws("dynamodb").delete_table(TableName=table))
    both = {"Queue": (QUEUE, {"QueueName": queue}), "Table": ("AWS::DynamoDB::Table", {"TableName": table, **TABLE})}
    stack, status = lab.stack(template(both))
    made = (_exists(lab, queue), _exists_table(lab, table))
    if (status, made) != ("CREATE_COMPLETE", (True, True)):
        return differs(f"{status}; queue and table made: {made}")
    status = lab.delete_stack(stack)
    left = [what for what, there in (("queue", _exists(lab, queue)), ("table", _exists_table(lab, table))) if there]
    return differs(f"{status}; left: {', '.join(left)}") if left else as_aws(f"{status}; queue and table are gone")


def _exists(lab: Lab, queue: str) -> bool:
    return bool(lab.aws("sqs").list_queues(QueueNamePrefix=queue).get("QueueUrls"))


def _exists_table(lab: Lab, table: str) -> bool:
    return table in lab.aws("dynamodb").list_tables()["TableNames"]


def _drop_queue(lab: Lab, queue: str) -> None:
    sqs = lab.aws("sqs")
    sqs.delete_queue(QueueUrl=sqs.get_queue_url(QueueName=queue)["QueueUrl"])


def _all_retained(params: dict[str, Any], **_: Any) -> None:
    body = json.loads(params["TemplateBody"])
    for resource in body["Resources"].values():
        resource["DeletionPolicy"] = "Retain"
    params["TemplateBody"] = json.dumps(body)


def _unknown_property(lab: Lab) -> Finding:
    try:
        _, status = lab.stack(template({"Queue": (QUEUE, {"Colour": "red"})}))
    except ClientError as error:
        return as_aws(f"refused: {error.response['Error']['Message'][:60]}")
    return as_aws(status) if "ROLLBACK" in status or "FAILED" in status else differs(f"{status}: taken without a word")


def _colourless(params: dict[str, Any], **_: Any) -> None:
    params["TemplateBody"] = params["TemplateBody"].replace('"Colour": "red"', "")


def _failed_creation(lab: Lab) -> Finding:
    queue = lab.name("queue")
    lab.afterwards(lambda: _drop_queue(lab, queue))
    # Two that AWS refuses: each local AWS takes one of them without a word.
    resources: dict[str, tuple[str, Mapping[str, Any]]] = {
        "Queue": (QUEUE, {"QueueName": queue}),
        "TooLong": (QUEUE, {"DelaySeconds": 9999}),
        "NoCode": ("AWS::Lambda::Function", _without_code(lab)),
    }
    body = template(resources)
    body["Resources"]["TooLong"]["DependsOn"] = body["Resources"]["NoCode"]["DependsOn"] = "Queue"
    _, status = lab.stack(body)
    left = _exists(lab, queue)
    seen = f"{status}; the queue made before {'is still there' if left else 'is gone'}"
    return as_aws(seen) if status == "ROLLBACK_COMPLETE" and not left else differs(seen)


def _without_code(lab: Lab) -> dict[str, Any]:
    nowhere = {"S3Bucket": lab.name("no-bucket"), "S3Key": "none.zip"}
    return {"Runtime": "python3.13", "Handler": "probe.handle", "Role": lab.role(), "Code": nowhere}


def _left_as_failed(parsed: dict[str, Any], **_: Any) -> None:
    for stack in parsed.get("Stacks", []):
        if stack["StackStatus"] == "ROLLBACK_COMPLETE":
            stack["StackStatus"] = "CREATE_FAILED"


def _number(lab: Lab) -> Finding:
    body = template({"Mapping": ("AWS::Lambda::EventSourceMapping", _mapping(lab))})
    body["Parameters"] = {"Most": {"Type": "Number"}}
    stack, status = lab.stack(body, Most="3")
    if status != "CREATE_COMPLETE":
        return differs(f"the stack ended as {status}")
    most = _raw_scaling(lab, stack)
    return as_aws("MaximumConcurrency 3") if most == 3 else differs(f"MaximumConcurrency {most!r}")


def _raw_scaling(lab: Lab, stack: str) -> object:
    """As it came over the wire: the SDK makes a number of it, whatever it was."""
    lambda_, raw = lab.aws("lambda"), []
    resource = lab.aws("cloudformation").describe_stack_resource(StackName=stack, LogicalResourceId="Mapping")
    lambda_.meta.events.register(READ_MAPPING, lambda http_response, **_: raw.append(json.loads(http_response.content)))
    lambda_.get_event_source_mapping(UUID=resource["StackResourceDetail"]["PhysicalResourceId"])
    return raw[0].get("ScalingConfig", {}).get("MaximumConcurrency")


def _mapping(lab: Lab) -> dict[str, Any]:
    return {
        "EventSourceArn": lab.queue().arn,
        "FunctionName": lab.function("def handle(event, context): pass"),
        "Enabled": False,
        "ScalingConfig": {"MaximumConcurrency": {"Ref": "Most"}},
    }


def _as_text(http_response: Any, **_: Any) -> None:
    answer = json.loads(http_response.content)
    answer["ScalingConfig"] = {"MaximumConcurrency": "3"}
    http_response._content = json.dumps(answer).encode()


PROBES = (
    Probe(
        "empty-change-set-fails",
        "A change set without changes ends as FAILED, with the reason that there were none.",
        f"{GUIDE}/using-cfn-updating-stacks-changesets.html",
        "Stack.plan takes this as `nothing to do`, and an empty list of changes, too.",
        _nothing_to_change,
        {"after-call.cloudformation.DescribeChangeSet": _empty_but_made},
    ),
    Probe(
        "failed-create-rolls-back",
        "A stack of which a resource cannot be made takes back what it made, and ends as ROLLBACK_COMPLETE.",
        f"{GUIDE}/stack-failure-options.html",
        "`make up` after a failure: Stack deletes such a stack and makes it anew. Where resources stay, it says "
        "which one is in the way.",
        _failed_creation,
        {"after-call.cloudformation.DescribeStacks": _left_as_failed},
    ),
    Probe(
        "stack-deletion-leaves-nothing",
        "Deleting a stack deletes its resources.",
        f"{GUIDE}/cfn-console-delete-stack.html",
        "`make destroy`, and `make up` where it makes the app stack anew.",
        _deletion,
        {"before-parameter-build.cloudformation.CreateStack": _all_retained},
    ),
    Probe(
        "unknown-property-refused",
        "A resource with a property that its type does not have is refused.",
        f"{GUIDE}/troubleshooting.html",
        "Both templates. Where it is taken without a word, a misspelt property shows first on AWS; `make check` "
        "runs cfn-lint for that.",
        _unknown_property,
        {"before-parameter-build.cloudformation.CreateStack": _colourless},
    ),
    Probe(
        "number-parameter-converted",
        "A parameter arrives as a number where the resource wants one.",
        f"{GUIDE}/parameters-section-structure.html",
        "ProcessTask's ScalingConfig. app.yaml looks numbers up in a mapping, because not every target converts.",
        _number,
        {READ_MAPPING: _as_text},
    ),
)
