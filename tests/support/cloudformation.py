"""A small CloudFormation in memory, as far as bootstrap/stack.py asks it, that can be late, busy, and fail."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError

PAGE = 100

Event = tuple[str, str, str, str]
"""Resource, type, status, reason."""


def refusal(operation: str, code: str, message: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


@dataclass
class FakeStack:
    status: str
    parameters: dict[str, str] = field(default_factory=dict)
    change_sets: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    protected: bool = False


@dataclass
class FakeCloudFormation:
    """`changes`: what the next change set holds. `events`, `ends`: what its execution tells, and how it ends."""

    changes: Sequence[Mapping[str, Any]] = ()
    events: Sequence[Event] = ()
    ends: str = ""
    """Empty: in success."""
    late: int = 0
    """Looks at the stack that still show what was before the last change; right after a creation that is nothing."""
    late_events: int = 0
    """Reads of events that do not show those of the last change yet."""
    unseen_change_sets: int = 0
    """Looks at a new change set that are told there is none."""
    overtaken: int = 0
    """Change sets that are gone when their changes are read: another was carried out."""
    refusals: list[ClientError] = field(default_factory=list)
    """Raised by the next calls of CreateChangeSet, in turn."""
    lost: set[str] = field(default_factory=set)
    """Operations whose next answer is lost on its way: the SDK sends the same request again, and that answer counts."""
    knows_tokens: bool = True
    """ExecuteChangeSet knows a request again by its token, also once its change set is gone."""
    busy: list[str] = field(default_factory=list)
    """States that the next looks show before the real one: somebody else's change."""
    stacks: dict[str, FakeStack] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    """By which requests for a change set and for its execution are known again."""
    meta: Any = field(default_factory=lambda: SimpleNamespace(region_name="eu-west-1"))
    _executed: bool = False
    _before: list[tuple[FakeStack | None, str]] = field(default_factory=list)

    def describe_stacks(self, **asked: Any) -> dict[str, Any]:
        self.calls.append("describe_stacks")
        if self._before:
            stack, status = self._before.pop()
            return self._described(asked["StackName"], stack, status)
        stack = self.stacks.get(asked["StackName"])
        return self._described(
            asked["StackName"], stack, self.busy.pop(0) if self.busy else stack.status if stack else ""
        )

    def _described(self, name: str, stack: FakeStack | None, status: str) -> dict[str, Any]:
        if stack is None:
            raise refusal("DescribeStacks", "ValidationError", f"Stack with id {name} does not exist")
        parameters = [{"ParameterKey": key, "ParameterValue": value} for key, value in stack.parameters.items()]
        return {
            "Stacks": [
                {
                    "StackId": name,
                    "StackStatus": status,
                    "Parameters": parameters,
                    "EnableTerminationProtection": stack.protected,
                }
            ]
        }

    def create_change_set(self, **asked: Any) -> None:
        self.calls.append(f"create_change_set {asked['ChangeSetType']}")
        self.tokens.append(asked["ClientToken"])
        if self.refusals:
            raise self.refusals.pop(0)
        if self._is_lost("CreateChangeSet"):
            self.create_change_set(**asked)
        found = self.stacks.get(asked["StackName"])
        if found and asked["ChangeSetName"] in found.change_sets:
            raise refusal("CreateChangeSet", "AlreadyExistsException", f"ChangeSet {asked['ChangeSetName']} exists")
        if asked["ChangeSetType"] == "CREATE":
            self.stacks.setdefault(asked["StackName"], FakeStack("REVIEW_IN_PROGRESS"))
        self.stacks[asked["StackName"]].change_sets[asked["ChangeSetName"]] = [
            {"ResourceChange": change} for change in self.changes
        ]

    def describe_change_set(self, **asked: Any) -> dict[str, Any]:
        if self.unseen_change_sets:
            self.unseen_change_sets -= 1
            raise refusal(
                "DescribeChangeSet", "ChangeSetNotFound", f"ChangeSet [{asked['ChangeSetName']}] does not exist"
            )
        changes = self.stacks[asked["StackName"]].change_sets[asked["ChangeSetName"]]
        if not changes:
            return {"Status": "FAILED", "StatusReason": "The submitted information didn't contain changes."}
        return {"Status": "CREATE_COMPLETE", "Changes": changes}

    def list_change_sets(self, **asked: Any) -> dict[str, Any]:
        return {"Summaries": [{"ExecutionStatus": "AVAILABLE"} for _ in self.stacks[asked["StackName"]].change_sets]}

    def delete_change_set(self, **asked: Any) -> None:
        self.calls.append("delete_change_set")
        if self.stacks[asked["StackName"]].change_sets.pop(asked["ChangeSetName"], None) is None:
            raise refusal("DeleteChangeSet", "ChangeSetNotFound", "does not exist")

    def execute_change_set(self, **asked: Any) -> None:
        self.calls.append("execute_change_set")
        self.tokens.append(asked["ClientRequestToken"])
        if self._is_lost("ExecuteChangeSet"):
            self.execute_change_set(**asked)
        stack, token = self.stacks[asked["StackName"]], asked["ClientRequestToken"]
        if self.knows_tokens and token in [event.get("ClientRequestToken") for event in stack.events]:
            return
        if asked["ChangeSetName"] not in stack.change_sets:
            raise refusal(
                "ExecuteChangeSet", "ChangeSetNotFound", f"ChangeSet [{asked['ChangeSetName']}] does not exist"
            )
        stack.change_sets.clear()
        self._executed = True
        creates = stack.status == "REVIEW_IN_PROGRESS"
        self._before = [(None if creates else stack, stack.status)] * self.late
        stack.status = self.ends or ("CREATE_COMPLETE" if creates else "UPDATE_COMPLETE")
        of_itself = (asked["StackName"], "AWS::CloudFormation::Stack", stack.status, "")
        self._tell(asked["StackName"], [*self.events, of_itself], token)

    def _is_lost(self, operation: str) -> bool:
        """Once."""
        found = operation in self.lost
        self.lost.discard(operation)
        return found

    def delete_stack(self, **asked: Any) -> None:
        self.calls.append("delete_stack")
        self.stacks.pop(asked["StackName"])

    def update_termination_protection(self, **asked: Any) -> None:
        self.calls.append("update_termination_protection")
        self.stacks[asked["StackName"]].protected = asked["EnableTerminationProtection"]

    def describe_events(self, **_: Any) -> None:
        raise refusal("DescribeEvents", "InvalidAction", "not here")

    def _tell(self, name: str, events: Sequence[Event], token: str) -> None:
        told = self.stacks[name].events
        for resource, type_, status, reason in events:
            event = {"EventId": str(len(told)), "LogicalResourceId": resource, "ResourceType": type_}
            event["ClientRequestToken"] = token
            told.append({**event, "ResourceStatus": status, "ResourceStatusReason": reason})

    def get_paginator(self, operation: str) -> Any:
        return SimpleNamespace(paginate=getattr(self, f"_{operation}"))

    def _describe_change_set(self, **asked: str) -> Iterator[dict[str, Any]]:
        if self.overtaken:
            self.overtaken -= 1
            self.stacks[asked["StackName"]].change_sets.clear()
            raise refusal("DescribeChangeSet", "ChangeSetNotFound", "does not exist")
        yield self.describe_change_set(**asked)

    def _describe_stack_events(self, **asked: Any) -> Iterator[dict[str, Any]]:
        stack = self.stacks.get(asked["StackName"])
        if stack is None:
            raise refusal("DescribeStackEvents", "ValidationError", f"Stack [{asked['StackName']}] does not exist")
        newest_first = stack.events[::-1]
        if self._executed and self.late_events:
            self.late_events -= 1
            newest_first = newest_first[len(self.events) + 1 :]
        for start in range(0, max(len(newest_first), 1), PAGE):
            self.calls.append("describe_stack_events")
            yield {"StackEvents": newest_first[start : start + PAGE]}
