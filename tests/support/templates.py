"""The CloudFormation templates as data."""

from __future__ import annotations

from typing import Any

from bootstrap.paths import ROOT
from bootstrap.template import load


def template(name: str) -> Any:
    """bootstrap/<name>.yaml, its parameters and conditions not filled in."""
    return load(ROOT / "bootstrap" / f"{name}.yaml")
