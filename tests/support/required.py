"""What a run may not do without."""

from __future__ import annotations

import os


def required(what: str) -> bool:
    """REQUIRE_<what>=1; CI=true implies it, so that no CI job passes by skipping its tests."""
    return os.environ.get(f"REQUIRE_{what}", "1" if os.environ.get("CI") == "true" else "0") == "1"
