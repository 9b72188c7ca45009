"""A LocalStack with the plugins: the one at LOCALSTACK_ENDPOINT, or one started as a process of this interpreter."""

import base64
import io
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from textwrap import dedent
from typing import Any

import boto3
import pytest
from botocore.config import Config

START_DEADLINE_SECONDS = 60.0
ROLE = "arn:aws:iam::000000000000:role/any"
SETTINGS = {
    "DISABLE_EVENTS": "1",
    "SKIP_SSL_CERT_DOWNLOAD": "1",
    "DNS_ADDRESS": "0",
    "SQS_ENDPOINT_STRATEGY": "path",
    "LAMBDA_RUNTIME_EXECUTOR": "process",
    "PROVIDER_OVERRIDE_DYNAMODB": "moto",
    "PROVIDER_OVERRIDE_DYNAMODBSTREAMS": "moto",
    "LAMBDA_EVENT_SOURCE_MAPPING_POLL_INTERVAL_SEC": "0.05",
    "LAMBDA_EVENT_SOURCE_MAPPING_MAX_BACKOFF_ON_EMPTY_POLL_SEC": "1",
    "LAMBDA_RUNTIME_ENVIRONMENT_TIMEOUT": "60",
    "CFN_IGNORE_UNSUPPORTED_RESOURCE_TYPES": "1",
}


def wait_until[T](probe: Callable[[], T | None], seconds: float, what: str) -> T:
    """The first truthy value of `probe`; after the deadline a failure that tells what was last seen."""
    deadline, last = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        last = probe()
        if last:
            return last
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {seconds} s; last seen: {last!r}")


def free_port() -> int:
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_healthy(endpoint: str) -> bool:
    try:
        with urllib.request.urlopen(f"{endpoint}/_localstack/health", timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False


def start_localstack(port: int, log: Path, **settings: str) -> subprocess.Popen[bytes]:
    environment = os.environ | SETTINGS | {"GATEWAY_LISTEN": f"127.0.0.1:{port}"} | settings
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "localstack_process_lambda"],
            env=environment,
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    wait_until(lambda: is_healthy(f"http://127.0.0.1:{port}"), START_DEADLINE_SECONDS, f"LocalStack to start ({log})")
    return process


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if given := os.environ.get("LOCALSTACK_ENDPOINT"):
        yield given
        return
    port = free_port()
    process = start_localstack(port, tmp_path_factory.mktemp("localstack") / "localstack.log")
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(timeout=10)


@dataclass(frozen=True)
class Result:
    payload: Any
    error: str | None  # "Unhandled" when the function failed
    log: str


@dataclass(frozen=True)
class Aws:
    endpoint: str

    def client(self, service: Any) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}, read_timeout=90, max_pool_connections=50),
        )

    def function(self, source: str, **settings: Any) -> str:
        """Create a function whose module is `source` with its `handler(event, context)`; returns its name."""
        name, client = unique("function"), self.client("lambda")
        client.create_function(
            FunctionName=name,
            Code={"ZipFile": zipped(source)},
            **({"Runtime": "python3.13", "Role": ROLE, "Handler": "index.handler", "Timeout": 10} | settings),
        )
        client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30})
        return name

    def invoke(self, name: str, event: object = None) -> Result:
        response = self.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event or {}), LogType="Tail")
        payload, log = response["Payload"].read(), response["LogResult"]
        return Result(json.loads(payload), response.get("FunctionError"), _decoded(log))

    def queue(self, **attributes: str) -> "Queue":
        client = self.client("sqs")
        url = client.create_queue(QueueName=unique("queue"), Attributes=attributes)["QueueUrl"]
        arn = client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        return Queue(client, url, arn)

    def messages_of(self, name: str) -> list[str]:
        """What the function logged so far, lines in order."""
        logs = self.client("logs")
        try:
            events = logs.filter_log_events(logGroupName=f"/aws/lambda/{name}")["events"]
        except logs.exceptions.ResourceNotFoundException:
            return []
        return [event["message"].rstrip("\n") for event in events]


@dataclass(frozen=True)
class Queue:
    client: Any
    url: str
    arn: str

    def send(self, *bodies: str) -> None:
        for body in bodies:
            self.client.send_message(QueueUrl=self.url, MessageBody=body)

    def receive(self) -> list[dict[str, Any]]:
        response = self.client.receive_message(
            QueueUrl=self.url, MaxNumberOfMessages=10, WaitTimeSeconds=1, MessageSystemAttributeNames=["All"]
        )
        return list(response.get("Messages", []))

    def attribute(self, name: str) -> str:
        attributes = self.client.get_queue_attributes(QueueUrl=self.url, AttributeNames=[name])["Attributes"]
        return str(attributes[name])


@pytest.fixture(scope="session")
def aws(endpoint: str) -> Aws:
    return Aws(endpoint)


def unique(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def zipped(source: str, module: str = "index.py") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(module, dedent(source))
    return buffer.getvalue()


def _decoded(log: str) -> str:
    return base64.b64decode(log).decode()
