"""What the functions say, in one stream, by time.

SINCE (10m), TASK (a task id), FN (a function, such as process-task), FOLLOW=1 (go on until Ctrl-C).
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError
from rich.text import Text

from bootstrap import console
from bootstrap.deploy import client
from bootstrap.errors import BootstrapError
from scripts import running

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
HIDDEN = frozenset({"level", "location", "message", "timestamp", "service", "task_id", "xray_trace_id"})
STYLES = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "bold red"}
POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Wanted:
    since_seconds: int
    task: str | None
    function: str | None
    follow: bool


def wanted(variables: Mapping[str, str]) -> Wanted:
    text = variables.get("SINCE") or "10m"
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if not found:
        raise BootstrapError(f"SINCE is {text!r}; allowed: a number and s, m, h or d, such as 10m.")
    seconds = int(found[1]) * UNITS[found[2]]
    return Wanted(seconds, variables.get("TASK") or None, variables.get("FN") or None, bool(variables.get("FOLLOW")))


def chosen(functions: Mapping[str, str], wish: Wanted) -> list[str]:
    """Log groups of the wanted functions."""
    names = sorted(name for name in functions.values() if wish.function is None or name.endswith(wish.function))
    if not names:
        known = ", ".join(sorted(name.split("-", 1)[1] for name in functions.values()))
        raise BootstrapError(f"FN is {wish.function!r}; there are: {known}.")
    return [f"/aws/lambda/{name}" for name in names]


def events(logs: Any, groups: list[str], since_ms: int) -> list[Mapping[str, Any]]:
    """Everything that was logged since then, oldest first, each with its `group`."""
    found = [{**event, "group": group} for group in groups for event in _group_events(logs, group, since_ms)]
    return sorted(found, key=lambda event: event["timestamp"])


def _group_events(logs: Any, group: str, since_ms: int) -> Iterator[Mapping[str, Any]]:
    try:
        for page in logs.get_paginator("filter_log_events").paginate(logGroupName=group, startTime=since_ms):
            yield from page["events"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise


def line(event: Mapping[str, Any], task: str | None) -> Text | None:
    """One event for people; None for what they did not ask for (the runtime's own lines, metrics, other tasks)."""
    try:
        document = json.loads(event["message"])
    except ValueError:
        document = None
    if not isinstance(document, dict):
        return _raw(event) if task is None and "Traceback" in event["message"] else None
    if "_aws" in document or (task is not None and document.get("task_id") != task):
        return None
    at = datetime.fromtimestamp(event["timestamp"] / 1000).strftime("%H:%M:%S.%f")[:-3]
    function = event["group"].rsplit("/", 1)[1].split("-", 1)[1]
    text = Text(f"{at}  {function:<13} ", style="dim")
    text.append(str(document.get("message", "")), style=STYLES.get(document.get("level", ""), "not dim"))
    if "task_id" in document:
        text.append(f"  {document['task_id']}", style="not dim cyan")
    for name, value in document.items():
        if name not in HIDDEN:
            text.append(f"  {name}={value}")
    return text


def _raw(event: Mapping[str, Any]) -> Text:
    return Text(event["message"].rstrip(), style="red")


def show(wish: Wanted) -> None:
    deployment = running.deployment()
    logs, groups = client(deployment.place, "logs"), chosen(deployment.outputs(with_key=False)["functions"], wish)
    since, seen = round((time.time() - wish.since_seconds) * 1000), set[tuple[str, int, str]]()
    while True:
        for event in events(logs, groups, since):
            key = (event["group"], event["timestamp"], event["message"])
            if key in seen:
                continue
            seen.add(key)
            since = max(since, event["timestamp"] - 5_000)
            text = line(event, wish.task)
            if text is not None:
                console.out.print(text)
        if not wish.follow:
            return
        time.sleep(POLL_SECONDS)


def main() -> int:
    try:
        show(wanted(os.environ))
    except BootstrapError as error:
        console.fail(error.message, error.hint)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
