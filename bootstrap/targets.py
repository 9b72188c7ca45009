"""Where the system can run, as data. Nothing else in the project asks which target it is on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

TargetName = Literal["embedded", "localstack", "aws"]


@dataclass(frozen=True, slots=True)
class Target:
    """A value that the rest of bootstrap works from."""

    name: TargetName
    what: str
    local: bool
    """Runs on this machine: an endpoint, fixed credentials, started and stopped by bootstrap."""
    keeps_data: bool
    """Data survives `down` and `up`."""
    changes_api_in_place: bool
    """A changed API is served after an update; else the app stack is deleted and made anew."""
    api_url: str
    """Format of the API's base URL: {endpoint}, {api_id}, {region}, {stage}."""
    pinned_api_id: str | None = None
    """The id that the stack tags below give the API, so that its URL outlives a new app stack."""
    stack_tags: Mapping[str, str] = field(default_factory=dict)
    region: str = "us-east-1"
    pause_seconds: float = 0.1
    """Between two looks at a running change."""


EMBEDDED = Target(
    name="embedded",
    what="MiniStack, as a process on this machine",
    local=True,
    keeps_data=True,
    changes_api_in_place=False,
    api_url="{endpoint}/_aws/execute-api/{api_id}/{stage}",
    pinned_api_id="tasks",
    stack_tags={"ms-custom-id": "tasks"},
)
LOCALSTACK = Target(
    name="localstack",
    what="LocalStack, in a container",
    local=True,
    keeps_data=False,
    changes_api_in_place=False,
    api_url="{endpoint}/_aws/execute-api/{api_id}/{stage}",
    pause_seconds=0.25,
)
AWS = Target(
    name="aws",
    what="an AWS account",
    local=False,
    keeps_data=True,
    changes_api_in_place=True,
    api_url="https://{api_id}.execute-api.{region}.amazonaws.com/{stage}",
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
