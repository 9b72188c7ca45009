"""What a change set would do: what is added, changed, replaced, removed, and what would be lost. No calls here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Verb = Literal["add", "change", "REPLACE", "MAY REPLACE", "REMOVE"]
SIGNS: Mapping[Verb, str] = {"add": "+", "change": "~", "REPLACE": "!", "MAY REPLACE": "!", "REMOVE": "-"}

API_TYPES = frozenset({"AWS::ApiGateway::RestApi", "AWS::ApiGateway::Deployment"})
PROTECTED_TYPES = frozenset({"AWS::DynamoDB::Table", "AWS::SQS::Queue", "AWS::S3::Bucket", "AWS::ApiGateway::ApiKey"})
"""Replaced or removed only when told so by name: what they hold is found nowhere else."""
LOST: Mapping[str, str] = {
    "TaskTable": "every task with its timeline and result, every dead letter",
    "AccountsTable": "every balance that deposits and transfers have written",
    "TaskQueue": "its messages; the sweeper sends those of open tasks again",
    "TaskDlq": "its messages; the sweeper records their tasks after 15 minutes, what was foreign is gone",
    "PackageBucket": "the packages of every release so far",
    "DataBucket": "every file that tasks were to read, and every result they have written",
    "ApiKey": "the value of the key: every client needs the new one",
}
LOST_BY_TYPE: Mapping[str, str] = {
    "AWS::DynamoDB::Table": "every item in it",
    "AWS::SQS::Queue": "every message in it",
    "AWS::S3::Bucket": "every object in it",
    "AWS::ApiGateway::ApiKey": "the value of the key",
    "AWS::Logs::LogGroup": "every log line in it",
}
QUIET_TYPES = frozenset({"AWS::Lambda::Permission"})
"""Counted, not named: one per route of the API, and nobody knows them by name."""
NAMES: Mapping[str, str] = {
    "AWS::DynamoDB::Table": "TableName",
    "AWS::SQS::Queue": "QueueName",
    "AWS::S3::Bucket": "BucketName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::ApiGateway::ApiKey": "Name",
    "AWS::Lambda::Function": "FunctionName",
}
"""Type -> the property that fixes its name. CloudFormation makes the new one before it deletes the old one, so it
refuses to replace what keeps such a name (CloudFormation reference, "Name type")."""
_VERBS: Mapping[str, Verb] = {"True": "REPLACE", "Conditional": "MAY REPLACE"}
"""Of a change that is none of the others, by what CloudFormation says of its replacement."""
_DIRECT = frozenset({"DirectModification", "ParameterReference"})
_KEEPS = frozenset({"Retain", "ReplaceAndRetain"})


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a plan."""

    action: str
    """Add, Modify or Remove."""
    resource: str
    type: str
    replacement: str = ""
    """True, False, Conditional, or empty."""
    direct: bool = True
    """Its own properties change; False when it only refers to something that may."""
    properties: tuple[str, ...] = ()
    """Those that change, where the target names them."""
    kept: bool = False
    """What is replaced or removed stays outside of the stack (DeletionPolicy, UpdateReplacePolicy)."""

    @property
    def verb(self) -> Verb:
        if self.action == "Add":
            return "add"
        if self.action == "Remove":
            return "REMOVE"
        return _VERBS.get(self.replacement, "change")

    @property
    def loss(self) -> str | None:
        """What nobody would find any more; None when nothing is lost."""
        if self.verb in ("add", "change"):
            return None
        lost = LOST.get(self.resource) or LOST_BY_TYPE.get(self.type)
        if lost and self.kept:
            return f"{lost} (kept outside of the stack, where nothing reads it)"
        return lost

    @property
    def refused(self) -> str | None:
        """The property of its name, when AWS refuses to replace it under that; None when it can, or nobody knows."""
        replaced = self.verb in ("REPLACE", "MAY REPLACE") and self.properties
        name = NAMES.get(self.type)
        return name if replaced and name not in self.properties else None


@dataclass(frozen=True, slots=True)
class ParameterChange:
    name: str
    old: str | None
    """None: the deployed stack has no such parameter."""
    new: str

    def __str__(self) -> str:
        return f"{self.name}: {'(new)' if self.old is None else self.old} -> {self.new}"


@dataclass(frozen=True, slots=True)
class Plan:
    """A change set, not executed yet."""

    name: str
    creates: bool
    changes: Sequence[Change]
    parameters: Sequence[ParameterChange] = ()

    @property
    def touches_api(self) -> bool:
        return any(change.type in API_TYPES and change.direct for change in self.changes)

    def unwanted(self, allowed: Collection[str]) -> list[Change]:
        """What holds data, or is the key, that it would replace or remove, but for what is allowed by name."""
        return [c for c in self.changes if c.type in PROTECTED_TYPES and c.loss and c.resource not in allowed]


def change_of(resource: Mapping[str, Any]) -> Change:
    """From a ResourceChange of DescribeChangeSet."""
    details = resource.get("Details") or []
    names = {d["Target"].get("Name") or d["Target"].get("Attribute", "") for d in details}
    return Change(
        resource["Action"],
        resource["LogicalResourceId"],
        resource["ResourceType"],
        resource.get("Replacement", ""),
        resource["Action"] != "Modify" or not details or any(d.get("ChangeSource") in _DIRECT for d in details),
        tuple(sorted(names)),
        resource.get("PolicyAction") in _KEEPS,
    )


def parameter_changes(deployed: Mapping[str, str], wanted: Mapping[str, str]) -> list[ParameterChange]:
    return [
        ParameterChange(name, deployed.get(name), value)
        for name, value in sorted(wanted.items())
        if deployed.get(name) != value
    ]


def lines(stack: str, plan: Plan) -> Iterator[tuple[str, str]]:
    """The plan for people, line by line: text, and a style that lets replacement and loss stand out."""
    shown = sorted((c for c in plan.changes if c.direct or c.loss), key=lambda c: (c.loss is not None, c.verb))
    yield f"Plan for {stack}{' (new)' if plan.creates else ''}: {_counts(shown)}.", "bold"
    named = [change for change in shown if change.type not in QUIET_TYPES]
    widths = [max((len(text) for text in column), default=0) for column in zip(*map(_columns, named), strict=True)]
    for change in named:
        cells = [text.ljust(width) for text, width in zip(_columns(change), widths, strict=True)]
        bad = change.verb not in ("add", "change")
        yield f"  {'  '.join(cells)}  {', '.join(change.properties)}".rstrip(), "bold red" if bad else ""
        if change.loss:
            sure = "DATA LOSS" if change.verb != "MAY REPLACE" else "DATA LOSS, if so"
            yield f"      {sure}: {change.loss}.", "bold red"
        if change.refused:
            yield (
                f"      AWS REFUSES to replace it under the same {change.refused} and rolls back: give it another one "
                "(docs/deploy.md).",
                "bold red",
            )
    for (verb, type_), count in sorted(Counter((c.verb, c.type) for c in shown if c.type in QUIET_TYPES).items()):
        yield f"  {SIGNS[verb]} {verb}  {count} x {_short(type_)}", ""
    for parameter in () if plan.creates else plan.parameters:
        yield f"  parameter {parameter}", ""
    followers = sorted({c.resource for c in plan.changes if c.type not in QUIET_TYPES} - {c.resource for c in shown})
    if followers:
        yield f"  looked at again, since they refer to these: {', '.join(followers)}", "dim"


def _short(type_: str) -> str:
    return type_.removeprefix("AWS::")


def _columns(change: Change) -> tuple[str, str, str]:
    return f"{SIGNS[change.verb]} {change.verb}", change.resource, _short(change.type)


def _counts(changes: Sequence[Change]) -> str:
    counted = {verb: sum(change.verb == verb for change in changes) for verb in SIGNS}
    told = (f"{n} {'that it' if verb == 'MAY REPLACE' else 'to'} {verb}" for verb, n in counted.items() if n)
    return ", ".join(told) or "nothing of its own changes"
