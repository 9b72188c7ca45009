"""What CloudFormation tells of one change of one stack: progress, and what failed and why."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient

QUIET_TYPES = frozenset({"AWS::Lambda::Permission", "AWS::ApiGateway::Deployment", "AWS::CloudFormation::Stack"})
"""Not named as progress: there are many, and nobody knows them by name."""
_DONE = {"CREATE_COMPLETE": "created", "UPDATE_COMPLETE": "updated", "DELETE_COMPLETE": "deleted"}


class Events:
    """Those from now on. `only`: resources that are named as progress; None for all."""

    def __init__(
        self,
        client: CloudFormationClient,
        stack: str,
        report: Callable[[str], None],
        only: Collection[str] | None = None,
    ) -> None:
        self._client = client
        self._stack = stack
        self._report = report
        self._only = only
        # The newest page is enough to know where the new ones begin.
        self._seen = {event["EventId"] for event in self._newest_first(stack, pages=1)}
        self._failures: list[tuple[str, str]] = []
        self.ended_as: str | None = None
        """The newest state of the stack itself that was told."""

    def read(self, stack_id: str | None = None) -> None:
        """Report what is new. A deleted stack is found by its id only."""
        for event in self._new(stack_id or self._stack):
            self._tell(event)
            if event["LogicalResourceId"] == self._stack:
                self.ended_as = event["ResourceStatus"]

    def begun_by(self, token: str) -> bool:
        """Whether the change that is told of last was begun by the request with that token."""
        newest = self._newest_first(self._stack, pages=1)
        return any(event.get("ClientRequestToken") == token for event in newest)

    def failures(self) -> list[str]:
        """Of resources; of the stack itself only when there are none: it but repeats their names."""
        of_resources = [text for resource, text in self._failures if resource != self._stack]
        return of_resources or self._refused() or [text for _, text in self._failures]

    def _tell(self, event: Mapping[str, Any]) -> None:
        status, resource = event["ResourceStatus"], event["LogicalResourceId"]
        reason = event.get("ResourceStatusReason", "")
        if status.endswith("_FAILED") and "cancelled" not in reason.lower():
            self._failures.append((resource, f"{resource} ({event['ResourceType']}): {reason}"))
            self._report(f"{resource} failed: {reason}")
        elif status == "DELETE_SKIPPED":
            self._report(f"{resource} kept: {event.get('PhysicalResourceId') or 'outside of the stack'}")
        elif status in _DONE and self._is_named(event):
            self._report(f"{resource} {_DONE[status]}")

    def _is_named(self, event: Mapping[str, Any]) -> bool:
        wanted = self._only is None or event["LogicalResourceId"] in self._only
        return wanted and event["ResourceType"] not in QUIET_TYPES

    def _new(self, stack: str) -> list[Any]:
        """Oldest first."""
        new = []
        for event in self._newest_first(stack):
            if event["EventId"] in self._seen:
                break
            new.append(event)
        self._seen.update(event["EventId"] for event in new)
        return new[::-1]

    def _newest_first(self, stack: str, pages: int | None = None) -> Iterator[Any]:
        paginator = self._client.get_paginator("describe_stack_events")
        try:
            for number, page in enumerate(paginator.paginate(StackName=stack), 1):
                yield from page["StackEvents"]
                if number == pages:
                    return
        except ClientError as error:
            if not is_unknown(error):
                raise

    def _refused(self) -> list[str]:
        """What CloudFormation refused before it began (a taken name, a wrong property), from events of its own."""
        try:
            found = self._client.describe_events(StackName=self._stack, Filters={"FailedEvents": True})
        except ClientError:
            return []
        return [
            f"{event['LogicalResourceId']} ({event.get('ResourceType', '')}): {event['ValidationStatusReason']}"
            for event in found["OperationEvents"]
            if "ValidationStatusReason" in event
        ]


def is_unknown(error: ClientError) -> bool:
    """There is no such stack or change set, or not yet."""
    found = error.response["Error"]
    return "does not exist" in found["Message"] or found["Code"] in ("ChangeSetNotFound", "ChangeSetNotFoundException")
