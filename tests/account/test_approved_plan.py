"""`make plan-aws` names its plan, and `make deploy-aws PLAN=` carries out that plan and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bootstrap.deploy import Deployment
from tests.support.account import Account, Said

STAGE = "digest"
RAISED = {"PROCESS_TIMEOUT_SECONDS": "60"}


def test_a_plan_is_carried_out_by_its_digest_and_no_other_is(
    quick: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def aws(*arguments: str, **variables: str) -> Said:
        return quick.run(*arguments, **{"STAGE": STAGE, **variables})

    def planned(**variables: str) -> str:
        return digest_of(aws("plan-aws", **variables))

    # The first deploy: of the app, its template, its packages and its settings are all there is to know.
    output = tmp_path / "output"
    first = planned(GITHUB_OUTPUT=str(output))
    assert output.read_text() == f"plan={first}\n"
    assert planned() == first
    assert planned(FAILURE_RATE="0.5") != first
    refused = aws("deploy-aws", "--plan", first, FAILURE_RATE="0.5")
    assert (refused.code, quick.between.executed) == (1, [])
    assert f"The plan now is {planned(FAILURE_RATE='0.5')}, not {first}" in refused.err
    assert not quick.has(f"{STAGE}-tasks-storage")
    said = aws("deploy-aws", "--plan", first)
    assert (said.code, said.err) == (0, "")
    assert quick.between.executed == [f"{STAGE}-tasks-storage", f"{STAGE}-tasks-app"]

    # Carried out, it is another plan: nothing to do.
    assert aws("deploy-aws", "--plan", first).code == 1
    assert "Nothing to do: all is as deployed" in aws("deploy-aws", "--yes").out

    # Raised, then lowered, which takes three changes that were shown as one plan.
    raised = planned(**RAISED)
    assert aws("deploy-aws", "--plan", raised).code == 1  # without the setting
    assert aws("deploy-aws", "--plan", raised, **RAISED).code == 0
    quick.between.executed.clear()
    assert aws("deploy-aws", "--plan", planned()).code == 0
    assert quick.between.executed == [f"{STAGE}-tasks-app", f"{STAGE}-tasks-storage"]

    # Somebody else was quicker than the person who approved.
    waits = planned(**RAISED)
    assert aws("deploy-aws", "--yes", LOG_RETENTION_DAYS="7").code == 0
    quick.between.executed.clear()
    assert aws("deploy-aws", "--plan", waits, **RAISED).code == 1
    # … and quicker than the deploy that had just looked.
    late, deploy = planned(**RAISED), Deployment.deploy_storage

    def overtaken(deployment: Deployment) -> bool:
        monkeypatch.setattr(Deployment, "deploy_storage", deploy)
        assert aws("deploy-aws", "--yes", PROCESS_TIMEOUT_SECONDS="40").code == 0
        quick.between.executed.clear()
        return deploy(deployment)

    monkeypatch.setattr(Deployment, "deploy_storage", overtaken)
    said = aws("deploy-aws", "--plan", late, **RAISED)
    assert (said.code, quick.between.executed) == (1, [])
    assert f"This plan of {STAGE}-tasks-storage is another one than was approved. It was not carried out." in said.err

    assert aws("destroy-aws", "--data", "delete", "--confirm", STAGE).code == 0


def digest_of(said: Said) -> str:
    assert said.code == 0, said.err
    found = re.search(rf"STAGE={STAGE} make deploy-aws PLAN=([0-9a-f]{{16}})` carries out this plan", said.out)
    assert found is not None, said.out
    return found[1]


def test_the_settings_that_are_not_at_their_defaults_are_said_before_the_plan(quick: Account) -> None:
    said = quick.run("plan-aws", STAGE="said", PROCESS_TIMEOUT_SECONDS="60", ALARM_EMAIL="ops@example.com")
    before, _ = said.out.split("Plan for said-tasks-storage", 1)
    told = "Settings: PROCESS_TIMEOUT_SECONDS=60 ALARM_EMAIL=ops@example.com; all others have their defaults."
    assert told in " ".join(before.split())
    assert "Settings: none but the defaults." in quick.run("plan-aws", STAGE="said").out
