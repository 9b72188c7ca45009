"""Settings of the unit tests."""

from __future__ import annotations

from hypothesis import settings

# The same cases in every run, and no limit on how long one may take on a busy machine.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")
