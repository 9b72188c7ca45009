"""A plan that was shown, and its digest, by which what is approved in one place is carried out in another. No calls."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bootstrap.errors import BootstrapError
from bootstrap.plan import ParameterChange, Plan


@dataclass(frozen=True, slots=True)
class Part:
    """What is to become of one stack."""

    template: str
    """Its text."""
    parameters: Mapping[str, str]
    """All of them; of an app without a storage stack those that do not come from there."""
    plan: Plan | None
    """None: nothing to do, or, before there is a storage stack, not to be had."""
    foreseen: bool = True
    """False: its plan is not to be had yet."""


@dataclass(frozen=True, slots=True)
class Planned:
    """The plans of both stacks, as they are shown."""

    where: Sequence[str]
    """Account, region and stage."""
    parts: Mapping[str, Part]
    """By the name of the stack."""
    settle: Sequence[ParameterChange]
    """What is lowered in the storage stack once the new app is in place."""

    @property
    def digest(self) -> str:
        """Of where it goes, the templates, all parameters (so of settings and packages, too) with what they are now,
        and what CloudFormation would do about them. Of a stack with nothing to do, only of that.
        """
        each = {name: _part(part) for name, part in self.parts.items()}
        text = json.dumps([*self.where, each, [str(one) for one in self.settle]], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def check(self, wanted: str, again: str) -> None:
        """
        Raises:
            BootstrapError: it is not the one with that digest.
        """
        if self.digest != wanted:
            raise BootstrapError(
                f"The plan now is {self.digest}, not {wanted}: something has changed since, here or there. Nothing was "
                "done.",
                f"Look at the plan above; `{again} PLAN={self.digest}` carries it out.",
            )

    def covers(self, stack: str, plan: Plan) -> bool:
        """Whether a plan that was made anew is the one that was shown. One that was not to be had may only create."""
        part = self.parts[stack]
        if not part.foreseen:
            return plan.creates
        shown = part.plan is not None and _essence(part.plan) == _essence(plan)
        return shown or (bool(self.settle) and list(plan.parameters) == list(self.settle))


def _part(part: Part) -> Any:
    if part.foreseen and part.plan is None:
        return None
    template = hashlib.sha256(part.template.encode()).hexdigest()
    return [template, dict(part.parameters), _essence(part.plan) if part.plan else None]


def _essence(plan: Plan) -> Any:
    """Without the name of its change set, and in one order."""
    changes = sorted((asdict(change) for change in plan.changes), key=lambda change: str(change["resource"]))
    return [plan.creates, changes, [asdict(parameter) for parameter in plan.parameters]]
