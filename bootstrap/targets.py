"""Where the system can run, as data. Nothing else in the project asks which target it is on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

TargetName = Literal["embedded", "localstack", "aws"]
Capability = Literal[
    "keeps_data",  # data survive `down` and `up`
    "changes_api_in_place",  # a changed API is served after an update; else the app stack is deleted and made anew
    "keeps_api_url",  # the API's URL outlives an app stack made anew
    "iam",  # a role without a permission is denied
    "concurrent_batches",  # a queue's mapping runs several batches at once
    "mixed_type_expressions",  # a comparison across types, or the size of nothing, is false instead of an error
    "strict_transactions",  # an action that can never be made is refused as invalid, whatever is wrong with it
    "gateway_responses",  # the errors API Gateway makes itself have the form that the template gives them
]


@dataclass(frozen=True, slots=True)
class Target:
    """A value that the rest of bootstrap works from."""

    name: TargetName
    what: str
    local: bool
    """Runs on this machine: an endpoint, fixed credentials, started and stopped by bootstrap."""
    capabilities: frozenset[Capability]
    """What of AWS it does. Code and tests ask for one of these, never for a name."""
    api_url: str
    """Format of the API's base URL: {endpoint}, {api_id}, {region}, {stage}."""
    stack_tags: Mapping[str, str] = field(default_factory=dict)
    """Tags of the app stack; {stage} is filled in. One that names the API keeps its URL when the stack is made anew."""
    storage_parameters: Mapping[str, str] = field(default_factory=dict)
    app_parameters: Mapping[str, str] = field(default_factory=dict)
    """Parameters of the stacks that are no settings, where they differ from their defaults."""
    region: str = "us-east-1"
    pause_seconds: float = 0.1
    """Between two looks at a running change."""


EMBEDDED = Target(
    name="embedded",
    what="MiniStack, as a process on this machine",
    local=True,
    capabilities=frozenset({"keeps_data", "iam", "keeps_api_url", "concurrent_batches", "mixed_type_expressions"}),
    api_url="{endpoint}/_aws/execute-api/{api_id}/{stage}",
    stack_tags={"ms-custom-id": "{stage}-tasks"},
    # AWS asks for sqs:SendMessage and knows no other action; parliament would rightly refuse this one there.
    app_parameters={"BatchSendAction": "sqs:SendMessageBatch"},
)
LOCALSTACK = Target(
    name="localstack",
    what="LocalStack, in a container",
    local=True,
    capabilities=frozenset(),
    api_url="{endpoint}/_aws/execute-api/{api_id}/{stage}",
    pause_seconds=0.25,
)
AWS = Target(
    name="aws",
    what="an AWS account",
    local=False,
    capabilities=frozenset(get_args(Capability)),
    api_url="https://{api_id}.execute-api.{region}.amazonaws.com/{stage}",
    storage_parameters={"TlsOnly": "true"},  # the emulators speak plain HTTP
    region="eu-west-1",
    pause_seconds=2,
)
TARGETS: Mapping[str, Target] = {target.name: target for target in (EMBEDDED, LOCALSTACK, AWS)}


@dataclass(frozen=True, slots=True)
class Place:
    """A target at a certain endpoint and region: what every call needs to know."""

    target: Target
    region: str
    endpoint_url: str | None
    """None: the SDK's own, real AWS."""

    def client_options(self) -> dict[str, Any]:
        if self.endpoint_url is None:
            return {"region_name": self.region}
        return {
            "region_name": self.region,
            "endpoint_url": self.endpoint_url,
            "aws_access_key_id": "test",
            "aws_secret_access_key": "test",
        }

    def base_url(self, api_id: str, stage: str) -> str:
        return self.target.api_url.format(
            endpoint=self.endpoint_url or "", api_id=api_id, region=self.region, stage=stage
        )
