"""Requests made from the OpenAPI description, right and wrong ones: none may be answered with a 5xx or off contract."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootstrap.paths import ROOT
from tests.support.stack import DeployedStack, purge_queues

EXAMPLES = os.environ.get("FUZZ_EXAMPLES", "100")
METHODS = ["GET", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"]
"""API Gateway gives no others to a function: it answers TRACE itself, whatever the description says."""


@pytest.fixture(autouse=True)
def _empty_queues_afterwards(stack: DeployedStack) -> Iterator[None]:
    """Made-up tasks ask for waits of many minutes; the tests that follow look for empty queues."""
    yield
    purge_queues(stack)


def test_whatever_a_client_sends_the_api_keeps_to_its_description(
    stack: DeployedStack, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "schemathesis.toml").write_text(f"[phases.coverage]\nunexpected-methods = {json.dumps(METHODS)}\n")
    seed = os.environ.get("FUZZ_SEED") or str(random.randrange(10**9))
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", str(ROOT / "docs" / "openapi.yaml")]
    command += ["--url", stack.outputs["base_url"], "--header", f"x-api-key: {stack.outputs['api_key']}"]
    command += ["--phases", "examples,coverage,fuzzing", "--max-examples", EXAMPLES, "--seed", seed, "--no-color"]
    # A time that moves with the clock (runAt, at most 365 days ahead) is beyond what a schema can say.
    command += ["--exclude-checks", "positive_data_acceptance"]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)

    cases = re.search(r"(\d+) generated", done.stdout)
    with capsys.disabled():
        print(f"\nschemathesis: {cases[1] if cases else 'no'} cases, FUZZ_SEED={seed}")
    assert done.returncode == 0, done.stdout[-6000:]
    assert cases is not None
    assert int(cases[1]) > 50
