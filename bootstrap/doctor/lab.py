"""Where probes work: clients of one local AWS, names of their own, and everything taken away afterwards."""

from __future__ import annotations

import io
import json
import time
import uuid
import zipfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from bootstrap.doctor.probe import Hook
from bootstrap.targets import Place

T = TypeVar("T")
CONFIG = Config(connect_timeout=2, read_timeout=70, retries={"mode": "standard", "total_max_attempts": 1})
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
ANYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


class ProbeTimeout(Exception):
    """What a probe waited for did not come; with what was seen last."""


@dataclass
class Lab:
    """One per probe. `hooks` are the probe's negative control, when that is what is run."""

    place: Place
    hooks: Mapping[str, Hook] = field(default_factory=dict)
    _cleanup: ExitStack = field(default_factory=ExitStack)
    _clients: dict[str, Any] = field(default_factory=dict)

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def aws(self, service: Any) -> Any:
        """A client without retries: a probe wants to see each answer as it is."""
        if service not in self._clients:
            made = boto3.client(service, config=CONFIG, **self.place.client_options())
            for event, hook in self.hooks.items():
                made.meta.events.register(event, hook)
            self._clients[service] = made
        return self._clients[service]

    def name(self, what: str) -> str:
        return f"doctor-{what}-{uuid.uuid4().hex[:8]}"

    def afterwards(self, action: Callable[[], object]) -> None:
        """Take something away when the probe is done; what is gone already is no trouble."""

        def quietly() -> None:
            try:
                action()
            except ClientError:
                return

        self._cleanup.callback(quietly)

    def queue(self, **attributes: str) -> Queue:
        sqs = self.aws("sqs")
        url = sqs.create_queue(QueueName=self.name("queue"), Attributes=attributes)["QueueUrl"]
        if self.place.endpoint_url:
            # An emulator may name itself by another host than the one it was reached by.
            url = f"{self.place.endpoint_url}/{'/'.join(url.split('/')[-2:])}"
        self.afterwards(lambda: sqs.delete_queue(QueueUrl=url))
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        return Queue(url, arn)

    def function(self, code: str, timeout: int = 10, **environment: str) -> str:
        """A Python function from source with a `handle(event, context)`; its name. It may do anything."""
        lambda_, name = self.aws("lambda"), self.name("function")
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as package:
            package.writestr("probe.py", code)
        lambda_.create_function(
            FunctionName=name,
            Runtime="python3.13",
            Handler="probe.handle",
            Role=self.role(),
            Code={"ZipFile": archive.getvalue()},
            Timeout=timeout,
            Environment={"Variables": environment},
        )
        self.afterwards(lambda: self.aws("logs").delete_log_group(logGroupName=f"/aws/lambda/{name}"))
        self.afterwards(lambda: lambda_.delete_function(FunctionName=name))
        self.until(lambda: lambda_.get_function_configuration(FunctionName=name)["State"], lambda s: s == "Active")
        return name

    def role(self, policy: Mapping[str, Any] = ANYTHING) -> str:
        """ARN of a role that Lambda may assume."""
        iam, name = self.aws("iam"), self.name("role")
        arn = str(iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"])
        iam.put_role_policy(RoleName=name, PolicyName="probe", PolicyDocument=json.dumps(policy))
        self.afterwards(lambda: iam.delete_role(RoleName=name))
        self.afterwards(lambda: iam.delete_role_policy(RoleName=name, PolicyName="probe"))
        return arn

    def mapping(self, queue: Queue, function: str, **options: Any) -> str:
        """An event source mapping with partial batch responses; its id."""
        lambda_ = self.aws("lambda")
        made = lambda_.create_event_source_mapping(
            EventSourceArn=queue.arn,
            FunctionName=function,
            **{"FunctionResponseTypes": ["ReportBatchItemFailures"], **options},
        )
        self.afterwards(lambda: lambda_.delete_event_source_mapping(UUID=made["UUID"]))
        return str(made["UUID"])

    def table(self, **options: Any) -> str:
        """A table with PK and SK, both text; its name."""
        dynamodb, name = self.aws("dynamodb"), self.name("table")
        keys = (("PK", "HASH"), ("SK", "RANGE"))
        dynamodb.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key, _ in keys],
            KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in keys],
            **options,
        )
        self.afterwards(lambda: dynamodb.delete_table(TableName=name))
        return name

    def stack(self, template: Mapping[str, Any], **parameters: str) -> tuple[str, str]:
        """A CloudFormation stack, once it has come to rest; its name and status."""
        cloudformation, name = self.aws("cloudformation"), self.name("stack")
        cloudformation.create_stack(
            StackName=name,
            TemplateBody=json.dumps(template),
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
        )
        self.afterwards(lambda: self.delete_stack(name))
        return name, self.stack_at_rest(name)

    def stack_at_rest(self, name: str) -> str:
        """Wait until the stack is no longer in progress; its status, DELETE_COMPLETE also when it is gone."""

        def status() -> str:
            try:
                return str(self.aws("cloudformation").describe_stacks(StackName=name)["Stacks"][0]["StackStatus"])
            except ClientError as error:
                if "does not exist" in str(error):
                    return "DELETE_COMPLETE"
                raise

        return self.until(status, lambda seen: not seen.endswith("_IN_PROGRESS"), 60)

    def delete_stack(self, name: str) -> str:
        """Delete the stack and wait; its last status."""
        self.aws("cloudformation").delete_stack(StackName=name)
        return self.stack_at_rest(name)

    def until(self, look: Callable[[], T], accept: Callable[[T], object] = bool, seconds: float = 30) -> T:
        """Look until `accept` holds.

        Raises:
            ProbeTimeout: it did not within `seconds`.
        """
        deadline = time.monotonic() + seconds
        while True:
            seen = look()
            if accept(seen):
                return seen
            if time.monotonic() > deadline:
                raise ProbeTimeout(f"not within {seconds:g} s; last seen: {seen!r}"[:200])
            time.sleep(0.1)


@dataclass(frozen=True, slots=True)
class Queue:
    url: str
    arn: str
