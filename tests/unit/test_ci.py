"""The two descriptions of CI, GitHub's and the one for any other, run the same commands."""

from __future__ import annotations

import re

import yaml

from bootstrap.paths import ROOT

LONG = {"chaos", "test-integration"}
"""On GitHub alone, in jobs of their own: `make test-rest` has a short chaos run and both halves of integration."""


def test_ci_run_and_github_run_the_same_targets() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"].values()
    on_github = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    anywhere = re.findall(r"^make .*$", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    targets = {line.split()[1] for line in anywhere}
    assert {line.split()[1] for line in on_github if line.startswith("make ")} == targets | LONG
    assert {"check", "test", "test-rest", "walkthrough"} <= targets
