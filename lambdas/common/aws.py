"""boto3 clients, all with the same explicit time-outs and retries."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

# Three attempts of at most 1 + 2 s each, plus backoff, stay well inside a lease and inside API Gateway's 29 s.
# Repeating a conditional write is safe here: every write carries a token by which its author knows it again.
CONFIG = Config(
    connect_timeout=1, read_timeout=2, retries={"mode": "standard", "total_max_attempts": 3}, max_pool_connections=20
)


def dynamodb() -> DynamoDBClient:
    return boto3.client("dynamodb", config=CONFIG)


def hasty_dynamodb() -> DynamoDBClient:
    """For a write that nothing depends on: one short try, so that nothing waits for it either."""
    hasty = Config(connect_timeout=0.25, read_timeout=0.5, retries={"total_max_attempts": 1, "mode": "standard"})
    return boto3.client("dynamodb", config=CONFIG.merge(hasty))


def sqs() -> SQSClient:
    return boto3.client("sqs", config=CONFIG)


def s3() -> S3Client:
    return boto3.client("s3", config=CONFIG)


def event_source_mappings() -> LambdaClient:
    return boto3.client("lambda", config=CONFIG)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def new_token() -> str:
    """A fencing token: unguessable by accident, at most 36 characters (DynamoDB's ClientRequestToken)."""
    return str(uuid.uuid4())
