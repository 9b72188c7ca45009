"""What a rule is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bootstrap.rules.system import System

GUIDES = "https://docs.aws.amazon.com"


@dataclass(frozen=True, slots=True)
class Finding:
    """Where a deploy breaks a rule."""

    resource: str
    """Logical id, or the file of a constant."""
    wrong: str
    right: str
    """What to write instead, and where."""


Check = Callable[[System], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Rule:
    name: str
    says: str
    """In one sentence."""
    title: str
    """Of the AWS page that it comes from."""
    page: str
    check: Check


def rule(title: str, path: str) -> Callable[[Check], Rule]:
    """Decorator: the function below is a rule, its docstring says it, and it comes from this page of the AWS guides."""

    def make(check: Check) -> Rule:
        says = " ".join((check.__doc__ or "").split())
        return Rule(check.__name__.replace("_", "-"), says, title, f"{GUIDES}/{path}", check)

    return make
