"""Requests made from the OpenAPI description, right and wrong ones: none may be answered with a 5xx or off contract."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bootstrap.paths import ROOT
from tests.conftest import own_stack
from tests.support.fuzz_hooks import TALLY
from tests.support.stack import DeployedStack, new_id
from tests.support.waiting import eventually

EXAMPLES = os.environ.get("FUZZ_EXAMPLES", "50")
SEED = os.environ.get("FUZZ_SEED") or "20261129"
"""Always the same, so that a change fails by what it changed; FUZZ_SEED= and a large FUZZ_EXAMPLES= look for more."""
METHODS = ["GET", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"]
"""API Gateway gives no others to a function: it answers TRACE itself, whatever the description says."""
REACHED = {("submitTask", 202), ("getTask", 200), ("cancelTask", 200), ("redriveTask", 202), ("listDeadLetters", 200)}
"""Made-up ids alone would find nothing but 404: these come by links between operations, and by tasks that are there."""
SETTINGS = """
hooks = "tests.support.fuzz_hooks"
[checks]
use_after_free.enabled = false # a cancelled task is still there, as CANCELLED
[phases.coverage]
unexpected-methods = {methods}
[phases.stateful.generation]
max-examples = 30 # of whole stories, of up to six requests each
[dictionaries]
kinds.values = ["simulated"]
dead.values = {dead}
# Of what a schema cannot say of a request (runAt moves with the clock) positive_data_acceptance knows nothing. On these
# three the check of our own takes its place, which does.
[[operations]]
include-operation-id = ["submitTask", "listTasks", "listDeadLetters"]
checks.positive_data_acceptance.enabled = false
parameters."query.kind" = {{ dictionary = "kinds", probability = 0.5 }}
[[operations]]
include-operation-id = ["getTask", "redriveTask"]
parameters."path.taskId" = {{ dictionary = "dead", probability = 0.5 }}
"""


@pytest.fixture
def own() -> Iterator[DeployedStack]:
    """A stack of its own: made-up tasks go on for long, and a sweep of another test would send them all again."""
    with own_stack("embedded", "fuzz", {}) as stack:
        yield stack


@pytest.fixture
def dead(own: DeployedStack) -> list[str]:
    """Tasks that can be replayed again and again: they die of each of their generations."""
    payload = {"simulate": {"permanent": True}}
    made = [own.tasks.submit("simulated", payload, task_id=new_id("dead")) for _ in range(3)]
    for one in made:
        eventually(one.get, lambda task: task.dead_letters)
    return [one.task_id for one in made]


def test_whatever_a_client_sends_the_api_keeps_to_its_description(
    own: DeployedStack, dead: Sequence[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    settings = SETTINGS.format(methods=json.dumps(METHODS), dead=json.dumps(dead))
    (tmp_path / "schemathesis.toml").write_text(settings)
    # As it is served: with the kinds of task.
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", f"{own.outputs['base_url']}/openapi.json"]
    command += ["--url", own.outputs["base_url"], "--header", f"x-api-key: {own.outputs['api_key']}"]
    command += ["--phases", "coverage,fuzzing,stateful", "--max-examples", EXAMPLES, "--seed", SEED, "--no-color"]
    command += ["--request-timeout", "120"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), TALLY: str(tmp_path / "tally")}

    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1800, check=False
    )

    cases = re.search(r"(\d+) generated", done.stdout)
    with capsys.disabled():
        print(f"\nschemathesis: {cases[1] if cases else 'no'} cases, FUZZ_SEED={SEED}")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert cases is not None
    assert int(cases[1]) > 50
    assert set(answered(tmp_path / "tally")) >= REACHED, answered(tmp_path / "tally")


def answered(tally: Path) -> Counter[tuple[str, int]]:
    """Operation and status, with how often; each of these answers was validated."""
    lines = (line.split() for line in tally.read_text().splitlines())
    return Counter((operation, int(status)) for operation, status in lines)
