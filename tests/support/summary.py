"""A report's summary as JSON: small enough to commit beside the page that quotes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def dumped(summary: Mapping[str, Any]) -> str:
    """One record per line."""
    return "{\n" + ",\n".join(f' "{name}": {_value(value)}' for name, value in summary.items()) + "\n}\n"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return "[\n  " + ",\n  ".join(map(json.dumps, value)) + "\n ]"
    return json.dumps(value)
