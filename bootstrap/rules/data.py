"""What is kept: rows that expire, encryption, logs; and how large things may be on their way there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bootstrap.rules.rule import GUIDES, Finding, rule
from bootstrap.rules.sources import REQUEST
from bootstrap.rules.system import System, whole

EXPIRES_AT = "expiresAt"
"""The attribute that rows carry their end in: lambdas/common/rows.py (a test compares the two)."""
TASK_TABLE = "TaskTable"
TABLE, QUEUE, BUCKET, LOG_GROUP = "AWS::DynamoDB::Table", "AWS::SQS::Queue", "AWS::S3::Bucket", "AWS::Logs::LogGroup"
MESSAGE_BYTES = 1_024
"""More than the longest message, which holds an id and no payload: lambdas/common/queue.py (a test compares)."""
ROW_BYTES = 16 * 1_024
"""More than keys and attributes beside a payload can take."""
ESCAPED = 6
"""Bytes that one byte of a body may take as JSON inside an event (`\\u00e9`)."""


@dataclass(frozen=True, slots=True)
class Limit:
    """The most bytes that something takes, and the page that says so."""

    what: str
    bytes: int
    page: str


ITEM = Limit("an item of DynamoDB", 400 * 1_024, f"{GUIDES}/amazondynamodb/latest/developerguide/Constraints.html")
EVENT = Limit("an event of Lambda", 6 * 1_024 * 1_024, f"{GUIDES}/lambda/latest/dg/gettingstarted-limits.html")
BODY = Limit(
    "a request to API Gateway",
    10 * 1_024 * 1_024,
    f"{GUIDES}/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html",
)
MESSAGE = Limit(
    "a message of SQS",
    1_048_576,
    f"{GUIDES}/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html",
)


@rule("DynamoDB: using time to live", "amazondynamodb/latest/developerguide/TTL.html")
def rows_expire(system: System) -> Iterator[Finding]:
    """The task table deletes rows whose time is over."""
    found = system.resources[TASK_TABLE].properties.get("TimeToLiveSpecification", {})
    if not found.get("Enabled") or found.get("AttributeName") != EXPIRES_AT:
        right = f"TimeToLiveSpecification: {{AttributeName: {EXPIRES_AT}, Enabled: true}}"
        yield Finding(TASK_TABLE, "time to live is off, or on another attribute", right)


ENCRYPTED: Mapping[str, tuple[str, ...]] = {
    TABLE: ("SSESpecification", "SSEEnabled"),
    QUEUE: ("SqsManagedSseEnabled",),
    BUCKET: ("BucketEncryption", "ServerSideEncryptionConfiguration"),
}
"""Type -> path to the property that turns encryption at rest on."""


@rule(
    "Well-Architected, security pillar: enforce encryption at rest",
    "wellarchitected/latest/security-pillar/sec_protect_data_rest_encrypt.html",
)
def encryption_is_explicit(system: System) -> Iterator[Finding]:
    """Tables, queues and buckets say that they are encrypted; a default is nothing that a reader can see."""
    for resource in system.of_type(*ENCRYPTED):
        path = ENCRYPTED[resource.type]
        own_key = resource.type == QUEUE and "KmsMasterKeyId" in resource.properties
        if not own_key and not _at(resource.properties, path):
            yield Finding(resource.name, "does not say that it is encrypted", f"{'.'.join(path)} in its properties")


def _at(properties: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    found: Any = properties
    for name in path:
        found = found.get(name, {})
    return found


@rule(
    "CloudWatch Logs: change log data retention",
    "AmazonCloudWatch/latest/logs/Working-with-log-groups-and-streams.html",
)
def logs_are_kept_for_a_set_time(system: System) -> Iterator[Finding]:
    """Each function has a log group in the storage stack, and each an end; the one Lambda makes keeps logs for ever."""
    groups = {group.properties.get("LogGroupName"): group for group in system.storage.of_type(LOG_GROUP)}
    for function in system.functions.values():
        wanted = f"/aws/lambda/{function.properties.get('FunctionName')}"
        if wanted not in groups:
            yield Finding(function.name, "has no log group of its own", f"a LogGroup {wanted} in storage.yaml")
    for group in system.of_type(LOG_GROUP):
        if whole(group.properties, "RetentionInDays", 0, group.name) < 1:
            yield Finding(group.name, "keeps logs for ever", "RetentionInDays: !Ref LogRetentionDays")


@rule("DynamoDB: constraints (an item, the smallest of them)", "amazondynamodb/latest/developerguide/Constraints.html")
def sizes_fit_from_api_to_table(system: System) -> Iterator[Finding]:
    """Whatever the API takes fits through API Gateway, Lambda and SQS, and into a row."""
    payload, body = system.code.payload_bytes, system.code.body_bytes
    if body <= payload:
        yield Finding(REQUEST, f"MAX_BODY_BYTES is {body}, MAX_PAYLOAD_BYTES {payload}", "room for the other fields")
    sizes = [("MAX_PAYLOAD_BYTES", payload + ROW_BYTES, ITEM), ("MAX_BODY_BYTES", body * ESCAPED, EVENT)]
    for name, most, limit in (*sizes, ("MAX_BODY_BYTES", body, BODY)):
        if most > limit.bytes:
            wrong = f"{name} lets {most} bytes into {limit.what}, which takes {limit.bytes} ({limit.page})"
            yield Finding(REQUEST, wrong, "less")
    for queue in system.of_type(QUEUE):
        taken = whole(queue.properties, "MaximumMessageSize", MESSAGE.bytes, queue.name)
        if not MESSAGE_BYTES <= taken <= MESSAGE.bytes:
            wrong = f"MaximumMessageSize is {taken} ({MESSAGE.page})"
            yield Finding(queue.name, wrong, f"{MESSAGE_BYTES} to {MESSAGE.bytes}")
