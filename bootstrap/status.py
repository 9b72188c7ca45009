"""What runs, what is deployed, how much waits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
from rich.table import Table

from bootstrap import console, embedded, operate, state
from bootstrap.deploy import Deployment, client
from bootstrap.errors import BootstrapError

SERVICES = ("apigateway", "cloudformation", "cloudwatch", "dynamodb", "events", "iam", "lambda", "logs", "s3", "sqs")
"""Those that the two templates use, by the names of LocalStack's health page."""


def show(deployment: Deployment) -> None:
    place = deployment.place
    table = _table("Status")
    table.add_row("target", f"{place.target.name} ({place.target.what})")
    table.add_row("endpoint", f"{place.endpoint_url}, region {place.region}")
    table.add_row("process", _process())
    for stack in (deployment.storage, deployment.app):
        table.add_row(stack.name, stack.status() or "not deployed")
    storage = deployment.storage.outputs()
    for name in ("QueueUrl", "DlqUrl"):
        if name in storage:
            table.add_row("queue" if name == "QueueUrl" else "dead-letter queue", _depth(deployment, storage[name]))
    if operate.is_paused(deployment):
        table.add_row("work", f"{operate.PAUSED}; type `{operate.command('resume', deployment)}`", style="yellow")
    table.add_row("services", _services(place.endpoint_url or ""))
    console.out.print(table)


def show_outputs(outputs: Mapping[str, Any]) -> None:
    table = _table("Outputs")
    for name, value in outputs.items():
        if isinstance(value, dict):
            value = "\n".join(value.values())
        if value is not None:
            table.add_row(name, str(value))
    console.out.print(table)


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _process() -> str:
    running = state.recall()
    process = embedded.process_of(running)
    if process is None:
        return "in a container: `docker compose ps`"
    family = [process, *process.children(recursive=True)]
    mib = sum(_memory(member) for member in family) // 2**20
    return f"pid {process.pid}, {len(family) - 1} Lambda workers, {mib} MiB in all"


def _memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _depth(deployment: Deployment, url: str) -> str:
    wanted: Any = [
        "ApproximateNumberOfMessages",
        "ApproximateNumberOfMessagesNotVisible",
        "ApproximateNumberOfMessagesDelayed",
    ]
    found = client(deployment.place, "sqs").get_queue_attributes(QueueUrl=url, AttributeNames=wanted)["Attributes"]
    waiting, in_flight, delayed = (found.get(name, "0") for name in wanted)
    return f"{waiting} waiting, {in_flight} in flight or backing off, {delayed} delayed"


def _services(endpoint_url: str) -> str:
    """Asked with LocalStack's own client, which understands both emulators' health page."""
    command = [str(Path(sys.executable).parent / "localstack"), "status", "services", "--format", "json"]
    host = endpoint_url.removeprefix("http://")
    environment = {**os.environ, "LOCALSTACK_HOST": host, "DISABLE_EVENTS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=30)
    if done.returncode:
        raise BootstrapError(f"`localstack status services` failed: {done.stderr.strip()[-300:]}", "Type `make up`.")
    health = json.loads(done.stdout)
    return ", ".join(f"{name} {health[name]}" for name in SERVICES if name in health)
