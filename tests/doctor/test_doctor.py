"""The doctor against reality: docs/parity.md is what the probes see, and each probe can say no."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from bootstrap.doctor.examine import PROBES, Result, chosen, examine
from bootstrap.doctor.parity import recorded
from bootstrap.doctor.probe import Probe
from tests.support.stack import DeployedStack, bootstrap


def quiet(_: Result) -> None:
    """No progress in a test."""


def verdicts(results: list[Result]) -> Mapping[str, str]:
    return {result.probe.name: f"{result.finding.verdict} ({result.finding.seen})" for result in results}


def held(backend: str) -> list[Probe]:
    """Those whose rule holds on the embedded AWS, or else on LocalStack alone."""
    page = recorded()
    others = () if backend == "embedded" else ("embedded",)
    return [
        probe
        for probe in PROBES
        if page[probe.name][backend] == "as AWS" and all(page[probe.name][other] != "as AWS" for other in others)
    ]


@dataclass(frozen=True)
class Seen:
    results: list[Result]
    controlled: list[Result]
    """Of the rules that hold, under the negative controls."""


@pytest.fixture(scope="module")
def seen(stack: DeployedStack) -> Seen:
    """Both at once: the slowest probes wait for a minute's schedule."""
    controlled = [probe for probe in held(stack.place.target.name) if probe.control]
    with ThreadPoolExecutor(1) as pool:
        broken = pool.submit(examine, stack.place, controlled, quiet, under_control=True)
        return Seen(examine(stack.place, PROBES, quiet), broken.result())


def test_the_page_of_parity_tells_what_is_seen_now(stack: DeployedStack, seen: Seen) -> None:
    backend = stack.place.target.name
    assert [result.probe.name for result in seen.results] == list(recorded())
    # What is counted from outside can be missed once on a busy machine; what has really changed is seen twice.
    again = examine(stack.place, [result.probe for result in told_otherwise(seen.results, backend)], quiet)
    stale = told_otherwise(again, backend)
    assert not stale, f"docs/parity.md says otherwise: {verdicts(stale)}"


def told_otherwise(results: list[Result], backend: str) -> list[Result]:
    """Those that are not as the page says."""
    page = recorded()
    return [result for result in results if result.finding.verdict != page[result.probe.name][backend]]


def test_each_probe_says_so_when_the_rule_is_broken(stack: DeployedStack, seen: Seen) -> None:
    # What is counted from outside can be missed once on a busy machine; a control that is blind is so twice.
    doubtful = [result.probe for result in seen.controlled if result.finding.verdict != "differs"]
    again = examine(stack.place, doubtful, quiet, under_control=True)
    blind = [result for result in again if result.finding.verdict != "differs"]
    assert not blind, f"under their negative control: {verdicts(blind)}"


def test_every_probe_that_asks_the_service_has_a_negative_control_and_a_name_of_its_own() -> None:
    assert len({probe.name for probe in PROBES}) == len(PROBES)
    # What bootstrap knows of a target is read, not asked: there is no service to break.
    assert [probe.name for probe in PROBES if not probe.control] in ([], ["data-survives-restart"])
    assert all(probe.page.startswith(("https://docs.aws.amazon.com/", "https://repost.aws/")) for probe in PROBES)


def test_the_command_prints_what_a_probe_saw_for_people_and_for_programs(embedded_stack: DeployedStack) -> None:
    stack = embedded_stack
    told = bootstrap(stack.folder, "doctor", "--only", "refused-write-shows-row")
    assert told.returncode == 0, told.stderr
    assert "1 as AWS, 0 differs, 0 unknown (of 1)" in told.stdout

    [result] = json.loads(bootstrap(stack.folder, "doctor", "--json", "--only", "refused-write-shows-row").stdout)
    assert result["verdict"] == "as AWS"
    assert result["page"] == chosen("refused-write-shows-row")[0].page

    unknown = bootstrap(stack.folder, "doctor", "--only", "nonsense")
    assert (unknown.returncode, "No probe is called 'nonsense'" in unknown.stderr) == (1, True)
