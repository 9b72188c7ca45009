"""The kinds of task of this deployment, by name: the build writes them beside this file, from the kinds' own code."""

from __future__ import annotations

import json
from pathlib import Path

FILE = Path(__file__).with_name("kinds.json")


def names() -> tuple[str, ...]:
    """In order; none where the code runs as it lies in the checkout, without a build."""
    return tuple(json.loads(FILE.read_text())) if FILE.exists() else ()
