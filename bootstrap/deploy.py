"""The three steps of `up`: storage, package, app. The same for every target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from bootstrap import console, kinds, package, settings
from bootstrap.errors import BootstrapError
from bootstrap.kinds import Kind, table_arns
from bootstrap.paths import ROOT
from bootstrap.settings import Settings
from bootstrap.stack import Plan, Stack
from bootstrap.targets import Place

STORAGE_TEMPLATE = ROOT / "bootstrap" / "storage.yaml"
APP_TEMPLATE = ROOT / "bootstrap" / "app.yaml"
CONFIG = Config(connect_timeout=5, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 5})

Approve = Callable[[str, Plan], bool]
"""Asked before a plan is carried out: stack name and plan."""


def always(_: str, __: Plan) -> bool:
    return True


class NotApproved(Exception):
    """A person looked at the plan and said no. Nothing was changed."""


def client(place: Place, service: Any) -> Any:
    return boto3.client(service, config=CONFIG, **place.client_options())


@dataclass(frozen=True)
class Deployment:
    """The two stacks of one stage at one place."""

    place: Place
    settings: Settings
    approve: Approve = always

    @cached_property
    def kinds(self) -> list[Kind]:
        return kinds.read(package.install_dependencies())

    @property
    def storage(self) -> Stack:
        return self._stack("storage")

    @property
    def app(self) -> Stack:
        return self._stack("app")

    def deploy_storage(self) -> bool:
        """True when something changed."""
        fitted = settings.fitted(self.settings, self.kinds)
        return self._deploy(self.storage, STORAGE_TEMPLATE, fitted.storage, {})

    def upload_packages(self) -> dict[str, str]:
        """Build and upload what is not there yet; the template parameters that name the packages."""
        bucket = self._storage_outputs()["PackageBucketName"]
        s3, packages = client(self.place, "s3"), package.build_all()
        for built in packages:
            if not _exists(s3, bucket, built.key):
                s3.upload_file(str(built.path), bucket, built.key)
                console.detail(f"{built.function} package uploaded ({built.path.stat().st_size // 1024} KB)")
        return {f"{built.function}Package": built.key for built in packages}

    def deploy_app(self, packages: Mapping[str, str]) -> bool:
        """True when something changed."""
        wanted = ("TableName", "TableArn", "QueueUrl", "QueueArn", "DlqUrl", "DlqArn", "PackageBucketName", "ApiKeyId")
        storage = self._storage_outputs()
        effect_tables = table_arns(self.kinds, storage["TableArn"], self.settings.stage)
        given = {name: storage[name] for name in wanted} | {"EffectTableArns": ",".join(effect_tables)}
        parameters = {**self.settings.app, **given, **packages}
        tags = {key: text.format(stage=self.settings.stage) for key, text in self.place.target.stack_tags.items()}
        return self._deploy(self.app, APP_TEMPLATE, parameters, tags)

    def destroy(self) -> bool:
        """Delete both stacks and everything in them. True when there was anything."""
        had_app = self.app.delete()
        bucket = self.storage.outputs().get("PackageBucketName")
        if bucket:
            _empty(client(self.place, "s3"), bucket)
        return self.storage.delete() or had_app

    def outputs(self, with_key: bool) -> dict[str, Any]:
        """What a client of the system needs to know.

        Raises:
            BootstrapError: the system is not deployed.
        """
        storage, app = self.storage.outputs(), self.app.outputs()
        if "ProcessTaskMappingId" not in app or "ApiKeyId" not in storage:
            command = "make up" if self.place.target.local else "make deploy-aws"
            raise BootstrapError(f"Nothing is deployed on {self.place.target.name}.", f"Type `{command}`.")
        base_url = self.place.base_url(app["ApiId"], self.settings.stage)
        return {
            "target": self.place.target.name,
            "stage": self.settings.stage,
            "stack_name": self.app.name,
            "storage_stack_name": self.storage.name,
            "region": self.place.region,
            "endpoint_url": self.place.endpoint_url,
            "base_url": base_url,
            "api_url": f"{base_url}/tasks",
            "api_key_id": storage["ApiKeyId"],
            "api_key": self._api_key(storage["ApiKeyId"]) if with_key else None,
            "table_name": storage["TableName"],
            "queue_url": self._reachable(storage["QueueUrl"]),
            "dlq_url": self._reachable(storage["DlqUrl"]),
            "mapping_id": app["ProcessTaskMappingId"],
            "functions": {name.removesuffix("Name"): app[name] for name in sorted(app) if name.endswith("Name")},
        }

    def _stack(self, part: str) -> Stack:
        name = f"{self.settings.stage}-tasks-{part}"
        pause = self.place.target.pause_seconds
        return Stack(client(self.place, "cloudformation"), name, pause, console.detail)

    def _deploy(self, stack: Stack, template: Any, parameters: Mapping[str, str], tags: Mapping[str, str]) -> bool:
        plan = stack.plan(template, parameters, tags)
        if plan is None:
            console.detail("nothing to do")
            return False
        if not self.approve(stack.name, plan):
            stack.discard(plan)
            raise NotApproved
        if not plan.creates and plan.touches_api and "changes_api_in_place" not in self.place.target.capabilities:
            plan = self._made_anew(stack, plan, template, parameters, tags)
        stack.execute(plan)
        return True

    def _made_anew(
        self, stack: Stack, plan: Plan, template: Any, parameters: Mapping[str, str], tags: Mapping[str, str]
    ) -> Plan:
        """The emulators cannot change an API in place (a new route is not served): replace the dataless stack."""
        console.detail("the API changed: the app stack is made anew, its data lies in the other stack")
        stack.discard(plan)
        stack.delete()
        fresh = stack.plan(template, parameters, tags)
        if fresh is None:
            raise BootstrapError(f"{stack.name} was deleted to be made anew, but there is nothing to make.")
        return fresh

    def _storage_outputs(self) -> dict[str, str]:
        outputs = self.storage.outputs()
        if "PackageBucketName" not in outputs:
            raise BootstrapError("The storage stack is not deployed.", "Type `python -m bootstrap storage`.")
        return outputs

    def _api_key(self, key_id: str) -> str:
        key = client(self.place, "apigateway").get_api_key(apiKey=key_id, includeValue=True)
        return str(key["value"])

    def _reachable(self, queue_url: str) -> str:
        """A queue URL as seen from here: an emulator may name itself by another host."""
        if self.place.endpoint_url is None:
            return queue_url
        return f"{self.place.endpoint_url}/{'/'.join(queue_url.split('/')[-2:])}"


def _exists(s3: Any, bucket: str, key: str) -> bool:
    try:
        s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return False
        raise
    return True


def _empty(s3: Any, bucket: str) -> None:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        keys = [{"Key": entry["Key"]} for entry in page.get("Contents", [])]
        if keys:
            s3.delete_objects(Bucket=bucket, Delete={"Objects": keys})
