"""One CloudFormation stack: what would change, the change with its events, its outputs, its end."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from bootstrap.errors import BootstrapError

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient

API_TYPES = frozenset({"AWS::ApiGateway::RestApi", "AWS::ApiGateway::Deployment"})
QUIET_TYPES = frozenset({"AWS::Lambda::Permission", "AWS::ApiGateway::Deployment", "AWS::CloudFormation::Stack"})
"""Not named as progress: there are many, and nobody knows them by name."""
CAPABILITIES: Any = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]
DEADLINE_SECONDS = 1800
TO_DELETE_FIRST = frozenset({"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED"})
"""A stack in one of these states cannot be updated, only deleted and made anew (CloudFormation guide, stack states)."""
NO_CHANGES = ("didn't contain changes", "no updates are to be performed", "no changes")


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a plan."""

    action: str
    """Add, Modify or Remove."""
    resource: str
    type: str
    replacement: str
    """True, False, Conditional, or empty."""
    direct: bool
    """Its own properties change; False when it only refers to something that may."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A change set, not executed yet."""

    name: str
    creates: bool
    changes: Sequence[Change]

    @property
    def touches_api(self) -> bool:
        return any(change.type in API_TYPES and change.direct for change in self.changes)


class Stack:
    """`report` hears of each resource as it changes."""

    def __init__(
        self, client: CloudFormationClient, name: str, pause_seconds: float, report: Callable[[str], None]
    ) -> None:
        self._client = client
        self.name = name
        self._pause = pause_seconds
        self._report = report

    def status(self) -> str | None:
        """None when there is no such stack."""
        description = self._describe()
        return description["StackStatus"] if description else None

    def outputs(self) -> dict[str, str]:
        description = self._describe() or {}
        return {output["OutputKey"]: output["OutputValue"] for output in description.get("Outputs", [])}

    def plan(self, template: Path, parameters: Mapping[str, str], tags: Mapping[str, str]) -> Plan | None:
        """What deploying would change; None when nothing would.

        Raises:
            BootstrapError: the template was refused, or the stack is in a state nobody can change.
        """
        creates = self._make_ready()
        name = f"bootstrap-{uuid.uuid4().hex[:12]}"
        try:
            self._client.create_change_set(
                StackName=self.name,
                ChangeSetName=name,
                ChangeSetType="CREATE" if creates else "UPDATE",
                TemplateBody=template.read_text(),
                Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
                Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
                Capabilities=CAPABILITIES,
            )
        except ClientError as error:
            raise BootstrapError(f"{template.name} was refused: {error.response['Error']['Message']}") from error
        changes = self._changes(name)
        if not changes:
            self._discard(name)
            return None
        return Plan(name, creates, changes)

    def execute(self, plan: Plan) -> None:
        """Carry the plan out and report each resource.

        Raises:
            BootstrapError: naming the resource that failed, and why.
        """
        seen = {event["EventId"] for event in self._events()}
        self._client.execute_change_set(StackName=self.name, ChangeSetName=plan.name)
        status, failures = self._follow(seen, only={change.resource for change in plan.changes if change.direct})
        if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            raise self._failed("deploy", status, failures)

    def discard(self, plan: Plan) -> None:
        """Forget a plan. A stack that was to be created by it is only a name until then, and goes too."""
        self._discard(plan.name)
        if plan.creates:
            self.delete()

    def _discard(self, change_set: str) -> None:
        self._client.delete_change_set(StackName=self.name, ChangeSetName=change_set)

    def delete(self) -> bool:
        """Delete the stack. False when there was none.

        Raises:
            BootstrapError: a resource would not go.
        """
        description = self._describe()
        if description is None:
            return False
        stack_id = description["StackId"]
        seen = {event["EventId"] for event in self._events()}
        self._client.delete_stack(StackName=self.name)
        status, failures = self._follow(seen, stack_id)
        if status not in (None, "DELETE_COMPLETE"):
            raise self._failed("delete", status, failures)
        return True

    def _make_ready(self) -> bool:
        """True when the stack has to be created, False when it can be updated."""
        status = self.status()
        if status and status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS":
            self._report(f"{self.name} is busy ({status}); waiting")
            status, _ = self._follow({event["EventId"] for event in self._events()})
        if status in TO_DELETE_FIRST:
            self._report(f"{self.name} is left over from a failed deploy ({status}); deleting it first")
            self.delete()
            return True
        return status in (None, "REVIEW_IN_PROGRESS", "DELETE_COMPLETE")

    def _changes(self, change_set: str) -> list[Change]:
        for _ in self._until("change set"):
            found = self._client.describe_change_set(StackName=self.name, ChangeSetName=change_set)
            if found["Status"] == "FAILED":
                reason = found.get("StatusReason", "")
                if any(words in reason.lower() for words in NO_CHANGES):
                    return []
                self._discard(change_set)
                raise BootstrapError(f"The change set of {self.name} failed: {reason}")
            if found["Status"] == "CREATE_COMPLETE":
                pages = self._client.get_paginator("describe_change_set")
                each = pages.paginate(StackName=self.name, ChangeSetName=change_set)
                return [_change(entry["ResourceChange"]) for page in each for entry in page["Changes"]]
        raise AssertionError("unreachable")

    def _follow(
        self, seen: set[str], stack_id: str | None = None, only: Collection[str] | None = None
    ) -> tuple[str | None, list[str]]:
        """Report events until the stack rests (of the resources in `only`); its status then, and what failed."""
        failures: list[str] = []
        for _ in self._until("change"):
            description = self._describe(stack_id)
            status = description["StackStatus"] if description else None
            for event in self._events(stack_id):
                if event["EventId"] not in seen:
                    seen.add(event["EventId"])
                    self._tell(event, failures, only)
            if status is None or not status.endswith("_IN_PROGRESS"):
                return status, failures
        raise AssertionError("unreachable")

    def _tell(self, event: Mapping[str, Any], failures: list[str], only: Collection[str] | None) -> None:
        status, resource = event["ResourceStatus"], event["LogicalResourceId"]
        reason = event.get("ResourceStatusReason", "")
        if status.endswith("_FAILED") and "cancelled" not in reason.lower():
            # The stack's own reason only repeats the names of its resources, unless it failed before any of them.
            at = len(failures) if resource == self.name else 0
            failures.insert(at, f"{resource} ({event['ResourceType']}): {reason}")
            self._report(f"{resource} failed: {reason}")
        elif status in _DONE and event["ResourceType"] not in QUIET_TYPES and (only is None or resource in only):
            self._report(f"{resource} {_DONE[status]}")

    def _until(self, what: str) -> Iterator[None]:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < deadline:
            yield
            time.sleep(self._pause)
        raise BootstrapError(
            f"The {what} of {self.name} has not ended within {DEADLINE_SECONDS} s.", "Look at it, then try again."
        )

    def _describe(self, stack_id: str | None = None) -> Any:
        try:
            return self._client.describe_stacks(StackName=stack_id or self.name)["Stacks"][0]
        except ClientError as error:
            if "does not exist" in error.response["Error"]["Message"]:
                return None
            raise

    def _events(self, stack_id: str | None = None) -> list[Any]:
        """Oldest first."""
        try:
            pages = self._client.get_paginator("describe_stack_events").paginate(StackName=stack_id or self.name)
            return [event for page in pages for event in page["StackEvents"]][::-1]
        except ClientError as error:
            if "does not exist" in error.response["Error"]["Message"]:
                return []
            raise

    def _refused_resources(self) -> list[str]:
        """What CloudFormation refused before it began (a taken name, a wrong property), from events of its own."""
        try:
            events = self._client.describe_events(StackName=self.name, Filters={"FailedEvents": True})[
                "OperationEvents"
            ]
        except ClientError:
            return []
        return [
            f"{event['LogicalResourceId']} ({event.get('ResourceType', '')}): {event['ValidationStatusReason']}"
            for event in events
            if "ValidationStatusReason" in event
        ]

    def _failed(self, what: str, status: str | None, failures: list[str]) -> BootstrapError:
        reason = "; ".join((self._refused_resources() or failures)[:3]) or "CloudFormation gave no reason"
        return BootstrapError(f"The {what} of {self.name} failed ({status}): {reason}.")


_DONE = {"CREATE_COMPLETE": "created", "UPDATE_COMPLETE": "updated", "DELETE_COMPLETE": "deleted"}


_DIRECT = frozenset({"DirectModification", "ParameterReference"})


def _change(resource: Mapping[str, Any]) -> Change:
    details = resource.get("Details") or []
    return Change(
        resource["Action"],
        resource["LogicalResourceId"],
        resource["ResourceType"],
        resource.get("Replacement", ""),
        resource["Action"] != "Modify" or not details or any(d.get("ChangeSource") in _DIRECT for d in details),
    )
