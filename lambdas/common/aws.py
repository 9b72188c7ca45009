"""SDK clients, all with the same explicit time-outs and retries.

botocore, the core of boto3, makes them: they are the clients that boto3 would make, without its resources and its
transfers to S3, which no function uses and whose import alone takes a sixth of a bare handler's cold start
(tests/benchmarks/coldstart.py).
"""

from __future__ import annotations

import time
import uuid
from functools import cache
from typing import TYPE_CHECKING, cast

from botocore.config import Config
from botocore.loaders import Loader
from botocore.session import Session, get_session

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

SERVICES = ("dynamodb", "lambda", "s3", "sqs")
"""What the functions below are clients of; botocore knows no other here."""


class Models(Loader):
    """The descriptions of services, as botocore finds them, but that it need not ask which of 400 there are."""

    def list_available_services(self, type_name: str) -> list[str]:
        return list(SERVICES)


@cache
def session() -> Session:
    """What the clients of a process share: models once read, credentials, hooks on calls."""
    made = get_session()
    made.register_component("data_loader", Models())
    return made


def _client(service: str, config: Config = CONFIG) -> object:
    return session().create_client(service, config=config)


def dynamodb() -> DynamoDBClient:
    return cast("DynamoDBClient", _client("dynamodb"))


def hasty_dynamodb() -> DynamoDBClient:
    """For a write that nothing depends on: one short try, so that nothing waits for it either."""
    hasty = Config(connect_timeout=0.25, read_timeout=0.5, retries={"total_max_attempts": 1, "mode": "standard"})
    return cast("DynamoDBClient", _client("dynamodb", CONFIG.merge(hasty)))


def sqs() -> SQSClient:
    return cast("SQSClient", _client("sqs"))


def s3() -> S3Client:
    return cast("S3Client", _client("s3"))


def event_source_mappings() -> LambdaClient:
    return cast("LambdaClient", _client("lambda"))


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def new_token() -> str:
    """A fencing token: unguessable by accident, at most 36 characters (DynamoDB's ClientRequestToken)."""
    return str(uuid.uuid4())
