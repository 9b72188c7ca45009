"""The three steps of `up`: storage, package, app. The same for every target."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from bootstrap import bucket, code, console, kinds, package, settings
from bootstrap.errors import BootstrapError
from bootstrap.kinds import Kind, schedules, table_arns
from bootstrap.paths import ROOT
from bootstrap.plan import Change, ParameterChange, Plan, parameter_changes
from bootstrap.settings import Settings
from bootstrap.stack import Stack, StackFailed, Template
from bootstrap.targets import Place

STORAGE_TEMPLATE = ROOT / "bootstrap" / "storage.yaml"
APP_TEMPLATE = ROOT / "bootstrap" / "app.yaml"
CONFIG = Config(connect_timeout=5, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 5})
PROTECTED_STAGE = "prod"
"""Its storage stack cannot be deleted before termination protection is switched off; the rest is in storage.yaml."""
HELD_HIGH = ("QueueVisibilitySeconds", "DlqVisibilitySeconds", "MaxReceiveCount")
"""Of these the queue needs the larger value, old or new, for as long as the old app may still run."""
TRIES = 4
HANDED_ON = (
    "TableName",
    "TableArn",
    "QueueUrl",
    "QueueArn",
    "DlqUrl",
    "DlqArn",
    "PackageBucketName",
    "DataBucketName",
    "ApiKeyId",
)
"""Outputs of storage that are parameters of app."""

Approve = Callable[[str, Plan], bool]
"""Asked before a plan is carried out: stack name and plan."""


def always(_: str, __: Plan) -> bool:
    return True


class NotApproved(Exception):
    """A person looked at the plan and said no; of which stack."""


def client(place: Place, service: Any) -> Any:
    return boto3.client(service, config=CONFIG, **place.client_options())


@dataclass(frozen=True)
class Wanted:
    """A stack as it should be."""

    stack: Stack
    template: Path
    parameters: Mapping[str, str]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Deployment:
    """The two stacks of one stage at one place."""

    place: Place
    settings: Settings
    approve: Approve = always
    wait: Callable[[float], None] = time.sleep

    @cached_property
    def kinds(self) -> list[Kind]:
        return kinds.read(package.install_dependencies())

    @cached_property
    def checked(self) -> Settings:
        """The settings fitted to the kinds, once they and the templates have passed preflight: before any call.

        Raises:
            BootstrapError: a rule is broken; with every finding.
        """
        from bootstrap import preflight  # only a deploy needs it, and it takes a moment to load

        fitted = settings.placed(settings.fitted(self.settings, self.kinds), self.place.target)
        preflight.require(fitted, self.kinds)
        return fitted

    @cached_property
    def packages(self) -> list[package.Package]:
        """Built here, before any call: one that AWS would refuse is found first."""
        return package.build_all(lambda _: self.kinds)

    @cached_property
    def _clients(self) -> dict[str, Any]:
        return {}

    @cached_property
    def storage(self) -> Stack:
        return self._stack("storage")

    @cached_property
    def app(self) -> Stack:
        return self._stack("app")

    @property
    def again(self) -> str:
        """The command that deploys here."""
        return "make up" if self.place.target.local else self.typed("make deploy-aws")

    def typed(self, command: str) -> str:
        """The same for this region and stage, whatever the next shell has in its environment."""
        return f"AWS_REGION={self.place.region} STAGE={self.settings.stage} {command}"

    def client(self, service: str) -> Any:
        """Made once: it takes longer than a call."""
        if service not in self._clients:
            self._clients[service] = client(self.place, service)
        return self._clients[service]

    def deploy_storage(self) -> bool:
        """Before the app. True when something changed."""
        changed = self._deploy(self.storage_wanted(raised=True))
        if self.settings.stage == PROTECTED_STAGE and not self.place.target.local and self.storage.protect():
            console.detail("termination protection switched on")
        return changed

    def settle_storage(self) -> bool:
        """After the app: lower what was held high for the app of before. True when something changed."""
        return bool(self.to_settle()) and self._deploy(self.storage_wanted(raised=False))

    def to_settle(self) -> list[ParameterChange]:
        """What is to be lowered once the app has changed."""
        return parameter_changes(self.storage_wanted(raised=True).parameters, self.checked.storage)

    def storage_wanted(self, raised: bool) -> Wanted:
        """`raised`: with the larger of old and new where the order of storage and app matters."""
        wanted = self.checked.storage
        if raised and self.app.exists():
            deployed = self.storage.parameters()
            highest = {name: str(max(int(deployed[name]), int(wanted[name]))) for name in HELD_HIGH if name in deployed}
            wanted = {**wanted, **highest}
        return Wanted(self.storage, STORAGE_TEMPLATE, wanted, {})

    def upload_packages(self) -> dict[str, str]:
        """Upload what is not there yet; the template parameters that name the packages."""
        name = self._storage_outputs()["PackageBucketName"]
        bucket.upload(self.client("s3"), name, self.packages, console.detail)
        return self.package_keys()

    def package_keys(self) -> dict[str, str]:
        return {f"{built.function}Package": built.key for built in self.packages}

    def deploy_app(self, packages: Mapping[str, str]) -> bool:
        """True when something changed."""
        return self._deploy(self.app_wanted(packages))

    def mend_code(self) -> list[str]:
        """Have each function run its package again where it runs something else; their logical ids.

        Local only: on AWS that would be a change without a plan, and `drift-aws` tells of it.
        """
        if not self.place.target.local:
            return []
        outdated = self.outdated()
        code.put(self.client("lambda"), self.function_names(), outdated)
        return [built.function for built in outdated]

    def outdated(self) -> list[package.Package]:
        """Packages that their functions do not run."""
        return code.outdated(self.client("lambda"), self.function_names(), self.packages)

    def deployed_code(self) -> dict[str, code.Deployed]:
        """Logical id -> what the app stack says that it runs."""
        given = self.app.parameters()
        bucket_name = given["PackageBucketName"]
        names = self.function_names()
        return {name: code.Deployed(names[name], bucket_name, given[f"{name}Package"]) for name in names}

    def function_names(self) -> dict[str, str]:
        """Logical id -> name."""
        return _functions(self.app.outputs())

    def app_wanted(self, packages: Mapping[str, str]) -> Wanted:
        storage = self._storage_outputs()
        effect_tables = table_arns(self.kinds, storage["TableArn"], self.settings.stage)
        given = {name: storage[name] for name in HANDED_ON}
        given |= {"EffectTableArns": ",".join(effect_tables), "Schedules": schedules(self.kinds)}
        parameters = {**self.checked.app, **given, **packages}
        tags = {key: text.format(stage=self.settings.stage) for key, text in self.place.target.stack_tags.items()}
        return Wanted(self.app, APP_TEMPLATE, parameters, tags)

    def to_deploy(self) -> list[ParameterChange]:
        """What a deploy would give the two stacks other values for, beside the packages."""
        storage, app = self.storage_wanted(raised=False), self.app_wanted({})
        return [
            change
            for wanted in (storage, app)
            for change in parameter_changes(wanted.stack.parameters(), wanted.parameters)
        ]

    def plan(self, wanted: Wanted) -> Plan | None:
        """What deploying that would change; None when nothing would."""
        return wanted.stack.plan(self._template(wanted.template), wanted.parameters, wanted.tags)

    def destroy(self) -> bool:
        """Delete both stacks and everything in them. True when there was anything."""
        had_app = self.app.delete()
        return self.delete_storage() or had_app

    def delete_storage(self) -> bool:
        """Delete the storage stack with what it holds. False when there was none.

        Its buckets are emptied first: S3 deletes no other. In stage prod the data bucket stays (DeletionPolicy), full.
        """
        outputs = self.storage.outputs()
        kept = self.settings.stage == PROTECTED_STAGE
        for name in ("PackageBucketName", *(() if kept else ("DataBucketName",))):
            if name in outputs:
                bucket.empty(self.client("s3"), outputs[name])
        return self.storage.delete()

    def outputs(self, with_key: bool) -> dict[str, Any]:
        """What a client of the system needs to know.

        Raises:
            BootstrapError: the system is not deployed.
        """
        storage, app = self.storage.outputs(), self.app.outputs()
        if "ProcessTaskMappingId" not in app or "ApiKeyId" not in storage:
            raise BootstrapError(f"Nothing is deployed on {self.place.target.name}.", f"Type `{self.again}`.")
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
            "data_bucket": storage.get("DataBucketName"),
            "queue_url": self._reachable(storage["QueueUrl"]),
            "dlq_url": self._reachable(storage["DlqUrl"]),
            "mapping_id": app["ProcessTaskMappingId"],
            "functions": _functions(app),
        }

    def _stack(self, part: str) -> Stack:
        name, pause = f"{self.settings.stage}-tasks-{part}", self.place.target.pause_seconds
        cloudformation = self.client("cloudformation")
        return Stack(cloudformation, name, pause, console.detail, self.again, holds_data=part == "storage")

    def _deploy(self, wanted: Wanted) -> bool:
        """Plan, ask, carry out. A failure that goes away by itself is waited for, and the same plan made again."""
        agreed: frozenset[Change] | None = None
        for tries_left in reversed(range(TRIES)):
            plan = self.plan(wanted)
            if plan is None:
                console.detail("nothing to do")
                return False
            if agreed != frozenset(plan.changes):
                self._ask(wanted.stack, plan)
                agreed = frozenset(plan.changes)
            try:
                wanted.stack.execute(self._made_anew(wanted, plan))
                return True
            except StackFailed as failed:
                if failed.transient is None or not tries_left:
                    raise
                console.detail(f"{failed.transient.why}: trying again in {failed.transient.seconds:g} s")
                self.wait(failed.transient.seconds)
        raise AssertionError("unreachable")

    def _ask(self, stack: Stack, plan: Plan) -> None:
        try:
            approved = self.approve(stack.name, plan)
        except BaseException:  # refused, or interrupted at the question
            stack.discard(plan)
            raise
        if not approved:
            stack.discard(plan)
            raise NotApproved(stack.name)

    def _made_anew(self, wanted: Wanted, plan: Plan) -> Plan:
        """The emulators cannot change an API in place (a new route is not served): replace the dataless stack."""
        if plan.creates or not plan.touches_api or "changes_api_in_place" in self.place.target.capabilities:
            return plan
        console.detail("the API changed: the app stack is made anew, its data lies in the other stack")
        wanted.stack.discard(plan)
        wanted.stack.delete()
        fresh = self.plan(wanted)
        if fresh is None:
            raise BootstrapError(f"{wanted.stack.name} was deleted to be made anew, but there is nothing to make.")
        return fresh

    def _template(self, path: Path) -> Template:
        return bucket.template(self.client("s3"), self.storage.outputs().get("PackageBucketName"), path)

    def _storage_outputs(self) -> dict[str, str]:
        outputs = self.storage.outputs()
        if missing := [name for name in HANDED_ON if name not in outputs]:
            what = f"is of an older version: it has no {missing[0]}" if outputs else "is not deployed"
            raise BootstrapError(f"The storage stack {what}.", "Type `python -m bootstrap storage`.")
        return outputs

    def _api_key(self, key_id: str) -> str:
        key = self.client("apigateway").get_api_key(apiKey=key_id, includeValue=True)
        return str(key["value"])

    def _reachable(self, queue_url: str) -> str:
        """A queue URL as seen from here: an emulator may name itself by another host."""
        if self.place.endpoint_url is None:
            return queue_url
        return f"{self.place.endpoint_url}/{'/'.join(queue_url.split('/')[-2:])}"


def _functions(outputs: Mapping[str, str]) -> dict[str, str]:
    return {name.removesuffix("Name"): outputs[name] for name in sorted(outputs) if name.endswith("Name")}
