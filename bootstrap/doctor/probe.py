"""What a probe is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from bootstrap.doctor.lab import Lab

Verdict = Literal["as AWS", "differs", "unknown"]
"""`unknown`: the probe itself failed, so that nothing can be said."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was seen, in a few words, and whether it is what AWS does."""

    verdict: Verdict
    seen: str


def as_aws(seen: str) -> Finding:
    return Finding("as AWS", seen)


def differs(seen: str) -> Finding:
    return Finding("differs", seen)


Hook = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Probe:
    """One behaviour of AWS that a named part of this system depends on."""

    name: str
    """Unique, lower case, with dashes: `visibility-change-honoured`."""
    rule: str
    """What AWS does, in one sentence."""
    page: str
    """The AWS page that says so."""
    depends: str
    """Which part of this system depends on it, and what it means here when a target differs."""
    run: Callable[[Lab], Finding]
    control: Mapping[str, Hook]
    """Negative control: hooks on the SDK (botocore event name -> handler) that make the service look as if it broke the
    rule. Under them the probe must say `differs`."""
