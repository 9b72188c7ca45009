"""A short chaos run on its own stack: faults of every kind at once, each task accounted for. More: `make chaos`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from bootstrap.paths import ROOT
from tests.chaos import report, verdict
from tests.chaos.__main__ import wish
from tests.chaos.history import history
from tests.chaos.journal import Journal, number_of
from tests.chaos.plan import Plan
from tests.chaos.run import PROFILE, Run, hooked
from tests.support import stack as stacks
from tests.support.processes import heeds_ctrl_c

COUNT, SEED = 60, 7


def test_while_everything_breaks_no_task_is_lost_and_none_is_done_twice(local_folder: Path) -> None:
    plan, journal = Plan(SEED), Journal(local_folder / "journal")
    stack = stacks.deploy(local_folder, "embedded", None, **PROFILE)
    with hooked(stack, plan, local_folder / "journal"):
        run = Run(stack, plan, journal, COUNT, 4, lambda look: None)
        run.calm(20)
        run.storm()
        facts = run.facts()

    found = verdict.breaches(facts)
    assert found == [], "\n".join(history(facts, found[0].task_id))
    assert len(facts.accepted) + len(facts.unknown) == COUNT
    fired = [line for line in facts.lines if line["event"] == "fault"]
    assert len(fired) > COUNT / 3, "hardly anything went wrong"
    for line in fired:
        assert plan.fault(number_of(line["task"]), line["operation"], line["nth"]) == line["fault"], "not of the plan"
    made = report.made(wish({"COUNT": str(COUNT), "SEED": str(SEED)}), run, facts, found, interrupted=False)
    assert all(line["fired"] <= line["planned"] for line in made["faults"])
    # The SDK repeats a call that a stalled machine does not answer in time: one of twenty tasks.
    calm = {name: round(calls["calm"]) for name, calls in made["calls_per_task"].items() if round(calls["calm"])}
    assert calm == {"put": 1, "send": 1, "claim": 1, "complete": 1}


def test_a_run_that_is_interrupted_still_accounts_for_what_it_has_seen(tmp_path: Path) -> None:
    run = subprocess.Popen(
        [sys.executable, "-m", "tests.chaos"],
        cwd=ROOT,
        env={**os.environ, "COUNT": "1000", "SEED": str(SEED), "CONCURRENCY": "1", "LOCAL_DIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=heeds_ctrl_c,
    )
    assert run.stdout is not None
    said = []
    for line in run.stdout:
        said.append(line)
        if "broken guarantees" in line and " accepted 0 " not in line:
            break
    run.send_signal(signal.SIGINT)
    told, _ = run.communicate(timeout=300)

    assert run.returncode == 130, "".join(said) + told
    assert "Interrupted: this is what was seen until now." in told
    found = json.loads((tmp_path / "chaos" / "report.json").read_text())
    assert found["interrupted"]
    assert 0 < found["accepted"] < 1000
    assert sum(found["broken"].values()) == 0, found["breaches"]
