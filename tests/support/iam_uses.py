"""What an SDK call needs in a role's policy: IAM actions, each with the last part of the ARN that it is on.

Actions and resources are those of AWS's "Service Authorization Reference", pages of DynamoDB, SQS, S3 and Lambda.
https://docs.aws.amazon.com/service-authorization/latest/reference/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Use = tuple[str, str]
"""Such as ("dynamodb:Query", "table/dev-tasks/index/by-class")."""

OF_AN_ITEM = ("GetItem", "PutItem", "UpdateItem", "DeleteItem", "Query", "Scan")
IN_TRANSACTION = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
}
"""A transaction has no action of its own: DynamoDB guide, "Transactions: how it works", section on IAM."""
OF_A_MESSAGE = ("SendMessage", "ChangeMessageVisibility", "DeleteMessage", "ReceiveMessage", "GetQueueAttributes")
OF_AN_OBJECT = ("GetObject", "PutObject")


class UnknownCall(Exception):
    """The functions make a call that has no line here yet."""


def uses(service: str, operation: str, parameters: Mapping[str, Any]) -> list[Use]:
    """`service` as in botocore's events.

    Raises:
        UnknownCall: nobody has looked up what it needs.
    """
    match service:
        case "dynamodb":
            return [(f"dynamodb:{action}", f"table/{on}") for action, on in _on_tables(operation, parameters)]
        case "sqs" if operation.removesuffix("Batch") in OF_A_MESSAGE:
            return [(f"sqs:{operation.removesuffix('Batch')}", parameters["QueueUrl"].rpartition("/")[2])]
        case "s3" if operation in OF_AN_OBJECT:
            # Policies here are written for what lies under a prefix, and say so by its first part.
            return [(f"s3:{operation}", f"{parameters['Bucket']}/{parameters['Key'].partition('/')[0]}/*")]
        case "lambda" if operation == "GetEventSourceMapping":
            return [("lambda:GetEventSourceMapping", f"event-source-mapping:{parameters['UUID']}")]
    raise UnknownCall(f"{service}:{operation}")


def _on_tables(operation: str, parameters: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if operation in OF_AN_ITEM:
        index = parameters.get("IndexName")
        yield operation, parameters["TableName"] + (f"/index/{index}" if index else "")
    elif operation == "BatchGetItem":
        for table in parameters["RequestItems"]:
            yield operation, table
    elif operation == "TransactWriteItems":
        for item in parameters["TransactItems"]:
            for action, details in item.items():
                yield IN_TRANSACTION[action], details["TableName"]
    else:
        raise UnknownCall(f"dynamodb:{operation}")
