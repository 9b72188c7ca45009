"""One CloudFormation stack: what would change, the change with its events, its outputs, its end."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from bootstrap import states
from bootstrap.errors import BootstrapError
from bootstrap.events import Events, is_unknown
from bootstrap.plan import Change, Plan, change_of, parameter_changes
from bootstrap.states import NEVER_COMPLETED, Transient

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient

CAPABILITIES: Any = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]
DEADLINE_SECONDS = 1800
FIRST_PAUSE_SECONDS = 0.1
UNSEEN_SECONDS = 30
"""CloudFormation answers from copies: for a moment it may not know what it has just made, or show what was before."""
NO_CHANGES = ("didn't contain changes", "no updates are to be performed", "no changes")
BUSY = ("_IN_PROGRESS state and can not be updated", "already exists and cannot be created again with the changeset")
REFUSALS = frozenset({"ValidationError", "InsufficientCapabilitiesException", "LimitExceededException"})
STALE = frozenset({"ChangeSetNotFound", "ChangeSetNotFoundException", "InvalidChangeSetStatus"})


class StackFailed(BootstrapError):
    """A change that did not come to its end; `transient` when waiting helps."""

    def __init__(self, message: str, hint: str, transient: Transient | None) -> None:
        super().__init__(message, hint)
        self.transient = transient


@dataclass(frozen=True, slots=True)
class Template:
    """As CreateChangeSet takes it: its text, or where it lies in S3."""

    name: str
    body: str
    url: str | None = None

    def argument(self) -> dict[str, Any]:
        return {"TemplateURL": self.url} if self.url else {"TemplateBody": self.body}


class Stack:
    """`report` hears of each resource as it changes; `again` is the command that deploys."""

    def __init__(
        self,
        client: CloudFormationClient,
        name: str,
        pause_seconds: float,
        report: Callable[[str], None],
        again: str = "make up",
        holds_data: bool = False,
    ) -> None:
        self._client = client
        self.name = name
        self._pause = pause_seconds
        self._report = report
        self._again = again
        self._holds_data = holds_data

    def status(self, stack_id: str | None = None) -> str | None:
        """None when there is no such stack. A deleted one is found by its id only."""
        description = self._describe(stack_id)
        return description["StackStatus"] if description else None

    def exists(self) -> bool:
        """It has, or had, resources: more than the empty name that a change set makes."""
        return self.status() not in (None, "REVIEW_IN_PROGRESS", "DELETE_COMPLETE")

    def is_leftover(self) -> bool:
        """Of a creation that failed: nothing can be planned for it before what is left is deleted."""
        return self.status() in NEVER_COMPLETED

    def outputs(self) -> dict[str, str]:
        description = self._describe() or {}
        return {output["OutputKey"]: output["OutputValue"] for output in description.get("Outputs", [])}

    def parameters(self) -> dict[str, str]:
        """Those it was deployed with; none when it is not."""
        description = self._describe() or {}
        return {one["ParameterKey"]: one["ParameterValue"] for one in description.get("Parameters", [])}

    def is_protected(self) -> bool:
        """Nobody can delete it before termination protection is switched off."""
        return bool((self._describe() or {}).get("EnableTerminationProtection"))

    def protect(self) -> bool:
        """Switch termination protection on. False when it was on."""
        if self.is_protected():
            return False
        self._client.update_termination_protection(StackName=self.name, EnableTerminationProtection=True)
        return True

    def plan(self, template: Template, parameters: Mapping[str, str], tags: Mapping[str, str]) -> Plan | None:
        """What deploying would change; None when nothing would.

        Raises:
            BootstrapError: the template was refused, or the stack is in a state nobody can change.
        """
        for _ in self._until("plan"):
            name = f"bootstrap-{uuid.uuid4().hex[:12]}"
            creates = self._create_change_set(name, template, parameters, tags)
            changes = self._changes(name)
            if changes:
                return Plan(name, creates, changes, parameter_changes(self.parameters(), parameters))
            self._discard(name)
            if changes is not None:
                return None
        raise AssertionError("unreachable")

    def execute(self, plan: Plan) -> None:
        """Carry the plan out and report each resource.

        Raises:
            StackFailed: naming the resource that failed, why, what CloudFormation did, and what to type.
            BootstrapError: the stack has changed since the plan was made.
        """
        events = self._events(only={change.resource for change in plan.changes if change.direct})
        try:
            self._client.execute_change_set(StackName=self.name, ChangeSetName=plan.name, ClientRequestToken=plan.name)
        except ClientError as error:
            if error.response["Error"]["Code"] not in STALE:
                raise
            # The answer to a first request may have been lost, and the SDK's retry find its plan carried out.
            if not events.begun_by(plan.name):
                raise BootstrapError(
                    f"{self.name} has changed since this plan was made: another deploy was quicker. Nothing was done.",
                    f"Type `{self._again}` for a new plan.",
                ) from error
        status = self._follow(events)
        if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            raise self._failed("deploy", status, events)

    def discard(self, plan: Plan) -> None:
        """Forget a plan. A stack that was to be created by it is only a name until then, and goes too.

        Not when somebody else has a plan for it: deleting the name would delete theirs.
        """
        self._discard(plan.name)
        if plan.creates and self.status() == "REVIEW_IN_PROGRESS" and not self._has_plans():
            self.delete()

    def _discard(self, change_set: str) -> None:
        try:
            self._client.delete_change_set(StackName=self.name, ChangeSetName=change_set)
        except ClientError as error:
            if not is_unknown(error):
                raise

    def _has_plans(self) -> bool:
        found = self._client.list_change_sets(StackName=self.name)["Summaries"]
        return any(one.get("ExecutionStatus") in ("AVAILABLE", "UNAVAILABLE") for one in found)

    def delete(self) -> bool:
        """Delete the stack. False when there was none.

        Raises:
            StackFailed: a resource would not go.
        """
        description = self._describe()
        if description is None:
            return False
        stack_id = description["StackId"]
        events = self._events()
        self._client.delete_stack(StackName=self.name)
        status = self._follow(events, stack_id)
        if status not in (None, "DELETE_COMPLETE"):
            raise self._failed("delete", status, events)
        return True

    def _create_change_set(
        self, name: str, template: Template, parameters: Mapping[str, str], tags: Mapping[str, str]
    ) -> bool:
        """True when the stack is to be created. Somebody else's change that came in between is waited for."""
        for _ in self._until("change of somebody else"):
            creates = self._make_ready()
            try:
                self._client.create_change_set(
                    StackName=self.name,
                    ChangeSetName=name,
                    ClientToken=name,
                    ChangeSetType="CREATE" if creates else "UPDATE",
                    Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
                    Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
                    Capabilities=CAPABILITIES,
                    **template.argument(),
                )
                return creates
            except ClientError as error:
                if error.response["Error"]["Code"] == "AlreadyExistsException":
                    return creates  # the name is ours alone: the answer to a first request was lost
                self._check_refusal(template, error)
        raise AssertionError("unreachable")

    def _check_refusal(self, template: Template, error: ClientError) -> None:
        """Return when it was refused for being busy; what is the template's fault is said, all else is raised."""
        found = error.response["Error"]
        if any(words.lower() in found["Message"].lower() for words in BUSY):
            return
        if found["Code"] not in REFUSALS:
            raise error
        raise BootstrapError(f"{template.name} was refused: {found['Message']}") from error

    def _make_ready(self) -> bool:
        """True when the stack has to be created, False when it can be updated."""
        status = self.status()
        if status and _is_moving(status) and status != "REVIEW_IN_PROGRESS":
            self._report(f"{self.name} is busy with another change ({status}); waiting for its end")
            status = self._follow(self._events(), ours=False)
        if status == "UPDATE_ROLLBACK_FAILED" or (status == "DELETE_FAILED" and self._holds_data):
            raise BootstrapError(
                f"{self.name} is in the state {status}, in which it can be neither updated nor made anew. "
                f"{states.outcome(status)}",
                self._next_step(status),
            )
        if status in NEVER_COMPLETED or status == "DELETE_FAILED":
            self._report(f"{self.name} is left over from a failed change ({status}); deleting it first")
            self.delete()
            return True
        return status in (None, "REVIEW_IN_PROGRESS", "DELETE_COMPLETE")

    def _changes(self, change_set: str) -> list[Change] | None:
        """None when it has gone: another deploy was carried out meanwhile, which takes all other plans away."""
        unseen_until = time.monotonic() + UNSEEN_SECONDS
        for _ in self._until("change set"):
            found = self._described(change_set)
            if found is None and time.monotonic() > unseen_until:
                return None
            if found and found["Status"] == "FAILED":
                return self._none(change_set, found.get("StatusReason", ""))
            if found and found["Status"] == "CREATE_COMPLETE":
                return self._listed(change_set)
        raise AssertionError("unreachable")

    def _described(self, change_set: str) -> Any:
        """None when there is no such change set, or not yet."""
        try:
            return self._client.describe_change_set(StackName=self.name, ChangeSetName=change_set)
        except ClientError as error:
            if is_unknown(error):
                return None
            raise

    def _listed(self, change_set: str) -> list[Change] | None:
        pages = self._client.get_paginator("describe_change_set")
        try:
            each = pages.paginate(StackName=self.name, ChangeSetName=change_set)
            return [change_of(entry["ResourceChange"]) for page in each for entry in page["Changes"]]
        except ClientError as error:
            if is_unknown(error):
                return None
            raise

    def _none(self, change_set: str, reason: str) -> list[Change]:
        """No changes; a change set that failed for another reason is no plan."""
        if any(words in reason.lower() for words in NO_CHANGES):
            return []
        self._discard(change_set)
        raise BootstrapError(
            f"The change set of {self.name} failed: {reason}", states.next_step(None, self.name, "", self._again)
        )

    def _follow(self, events: Events, stack_id: str | None = None, ours: bool = True) -> str | None:
        """Report events until the stack rests; its status then, None when it is gone.

        Our own change has ended when its event and the stack's status say the same: each may be late.
        """
        odd_since = None
        for _ in self._until("change"):
            status = self.status(stack_id)
            events.read(stack_id)
            if status and _is_moving(status):
                odd_since = None
                continue
            odd_since = odd_since or time.monotonic()
            expected = status == events.ended_as if status else stack_id is not None
            if expected or not ours or time.monotonic() - odd_since > UNSEEN_SECONDS:
                return status
        raise AssertionError("unreachable")

    def _until(self, what: str) -> Iterator[None]:
        deadline, pause = time.monotonic() + DEADLINE_SECONDS, min(FIRST_PAUSE_SECONDS, self._pause)
        while time.monotonic() < deadline:
            yield
            time.sleep(pause)
            pause = min(2 * pause, self._pause)
        raise BootstrapError(
            f"The {what} of {self.name} has not ended within {DEADLINE_SECONDS} s.",
            f"It goes on by itself. Type `{self._again}`: it waits for its end, then goes on.",
        )

    def _describe(self, stack_id: str | None = None) -> Any:
        try:
            return self._client.describe_stacks(StackName=stack_id or self.name)["Stacks"][0]
        except ClientError as error:
            if is_unknown(error):
                return None
            raise

    def _failed(self, what: str, status: str | None, events: Events) -> StackFailed:
        reason = "; ".join(events.failures()[:3]) or "CloudFormation gave no reason"
        return StackFailed(
            f"The {what} of {self.name} failed ({status}): {reason.rstrip('.')}. {states.outcome(status)}",
            self._next_step(status),
            states.transient(reason),
        )

    def _events(self, only: Collection[str] | None = None) -> Events:
        return Events(self._client, self.name, self._report, only)

    def _next_step(self, status: str | None) -> str:
        return states.next_step(status, self.name, self._client.meta.region_name, self._again)


def _is_moving(status: str) -> bool:
    return status.endswith("_IN_PROGRESS")
