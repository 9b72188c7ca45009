"""The two descriptions of CI, GitHub's and the one for any other, run the same commands."""

from __future__ import annotations

import re

import yaml

from bootstrap.paths import ROOT


def test_what_ci_run_does_is_done_on_github_too_and_the_other_way_round() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"].values()
    on_github = {step["run"] for job in jobs for step in job["steps"] if "run" in step}
    anywhere = re.findall(r"^make .*$", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    whole = {_target(line) for line in anywhere}
    parts = {_target(line) for line in on_github if line.startswith("make ")}
    # `make test` is both kinds; one job runs only the second, for the official image.
    assert whole == parts - {"test-integration"}
    assert {"check", "test", "walkthrough", "chaos", "bench"} <= whole


def _target(line: str) -> str:
    return line.split()[1]
