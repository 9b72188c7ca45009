"""What the demo and `make status` say of a running stack. `make walkthrough` runs the commands of the README."""

from __future__ import annotations

import os
import subprocess

from bootstrap.paths import ROOT
from scripts import demo
from tests.support.stack import DeployedStack, bootstrap


def run(stack: DeployedStack, command: str) -> subprocess.CompletedProcess[str]:
    host = stack.outputs["endpoint_url"].removeprefix("http://")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    variables = {**inherited, "LOCALSTACK_HOST": host, "AWS_DEFAULT_REGION": stack.place.region}
    variables["LOCAL_DIR"] = str(stack.folder)
    return subprocess.run(["bash", "-c", command], cwd=ROOT, env=variables, capture_output=True, text=True, check=False)


def test_the_demos_own_line_submits_a_task(embedded_stack: DeployedStack) -> None:
    done = run(embedded_stack, demo.curl(embedded_stack.outputs).replace("curl ", "curl -sS "))

    assert (done.returncode, done.stderr) == (0, "")
    assert '"message": "Task accepted"' in done.stdout


def test_status_tells_what_runs_with_the_help_of_the_localstack_client(stack: DeployedStack) -> None:
    done = bootstrap(stack.folder, "status")

    assert done.returncode == 0, done.stderr
    for words in (stack.outputs["endpoint_url"], "dev-tasks-app", "waiting", "dynamodb "):
        assert words in done.stdout
