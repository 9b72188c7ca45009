"""SDK clients, all with the same explicit time-outs and retries.

botocore, the core of boto3, makes them: they are the clients that boto3 would make, without its resources and its
transfers to S3, which no function uses and whose import alone takes a sixth of a bare handler's cold start
(tests/benchmarks/coldstart.py).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import botocore
from botocore.config import Config
from botocore.exceptions import ParamValidationError
from botocore.loaders import Loader
from botocore.session import Session, get_session
from botocore.validate import ParamValidator

if TYPE_CHECKING:
    from botocore.model import OperationModel, Shape
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

# Given, it is sent as it is: botocore would put its own together anew, twice a call, for a sixth of the SDK's CPU.
USER_AGENT = f"task-processing/0.1.0 Botocore/{botocore.__version__}"

# Three attempts of at most 1 + 2 s each, plus backoff, stay well inside a lease and inside API Gateway's 29 s.
# Repeating a conditional write is safe here: every write carries a token by which its author knows it again.
CONFIG = Config(
    connect_timeout=1,
    read_timeout=2,
    retries={"mode": "standard", "total_max_attempts": 3},
    max_pool_connections=20,
    user_agent=USER_AGENT,
)

# Checking a call against the model takes as long again as signing it. The rows and messages of this project come from
# typed code, and `wire` refuses what it has no type for; what a kind of task wants written is checked (below).
UNCHECKED = CONFIG.merge(Config(parameter_validation=False))

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


def _client(service: str, config: Config = CONFIG) -> Any:
    return session().create_client(service, config=config)


def dynamodb() -> DynamoDBClient:
    """Only transactions are checked before they are sent: the effects of any kind of task are in them."""
    made = _client("dynamodb", UNCHECKED)
    made.meta.events.register("before-parameter-build.dynamodb.TransactWriteItems", _check)
    return cast("DynamoDBClient", made)


def _check(params: Mapping[str, Any], model: OperationModel, **_: object) -> None:
    """What `parameter_validation` does, for one operation.

    Raises:
        ParamValidationError: as every call of an ordinary client.
    """
    taken = cast("Shape", model.input_shape)  # None only for an operation without parameters
    report = ParamValidator().validate(params, taken)
    if report.has_errors():
        raise ParamValidationError(report=report.generate_report())


def hasty_dynamodb() -> DynamoDBClient:
    """For a write that nothing depends on: one short try, so that nothing waits for it either."""
    hasty = Config(connect_timeout=0.25, read_timeout=0.5, retries={"total_max_attempts": 1, "mode": "standard"})
    return cast("DynamoDBClient", _client("dynamodb", UNCHECKED.merge(hasty)))


def sqs() -> SQSClient:
    return cast("SQSClient", _client("sqs", UNCHECKED))


def s3() -> S3Client:
    return cast("S3Client", _client("s3"))


def event_source_mappings() -> LambdaClient:
    return cast("LambdaClient", _client("lambda"))


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def new_token() -> str:
    """A fencing token: unguessable by accident, at most 36 characters (DynamoDB's ClientRequestToken)."""
    return str(uuid.uuid4())
