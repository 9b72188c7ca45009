"""Call one function of the running stack with an event from a file, and show what it answers and says.

FN (process_task), EVENT (events/<FN>.json). The answer goes to standard output, all else to standard error.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from rich.text import Text

from bootstrap import aws_account, console
from bootstrap.errors import BootstrapError
from bootstrap.paths import ROOT
from scripts import running
from scripts.function_names import in_snake_case, logical_id

DEFAULT_FUNCTION = "process_task"
SAMPLES = "events"
# As long as a function can live; and once: a repeated call would be another invocation.
PATIENT = Config(connect_timeout=5, read_timeout=910, retries={"total_max_attempts": 1})


@dataclass(frozen=True, slots=True)
class Wanted:
    function: str
    """Logical id."""
    event: Path


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of an invocation."""

    payload: Any
    error: str | None
    """Lambda's word for it: Handled or Unhandled. None when the function returned."""
    log: str
    """Its last 4 KB; empty where the target gives none."""
    seconds: float


def wanted(variables: Mapping[str, str]) -> Wanted:
    """What the variables ask for.

    Raises:
        BootstrapError: there is no such function, or it is not meant for where TARGET points.
    """
    function = logical_id(variables.get("FN") or DEFAULT_FUNCTION)
    if variables.get("TARGET") == "aws":
        raise BootstrapError(
            "`make invoke` is for the local AWS; the samples would leave traces in an account.", "Leave TARGET out."
        )
    default = f"{SAMPLES}/{in_snake_case(function)}.json"
    return Wanted(function, Path(variables.get("EVENT") or default))


def event(path: Path) -> bytes:
    """The event as it is sent.

    Raises:
        BootstrapError: there is no such file, or it holds no JSON; with line and column.
    """
    try:
        text = (ROOT / path).read_text()
    except OSError as error:
        samples = ", ".join(sorted(f"{SAMPLES}/{sample.name}" for sample in (ROOT / SAMPLES).glob("*.json")))
        raise BootstrapError(f"{path} cannot be read ({error.strerror}).", f"There are {samples}.") from None
    except UnicodeDecodeError as error:
        raise BootstrapError(f"{path} is not UTF-8: {error.reason} at byte {error.start}.") from None
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        raise BootstrapError(f"{path} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}.") from None
    return text.encode()


def invoke(functions: Any, name: str, payload: bytes) -> Answered:
    """Synchronously. `functions` is a client of Lambda."""
    started = time.monotonic()
    answer = functions.invoke(FunctionName=name, Payload=payload, LogType="Tail")
    body = answer["Payload"].read()
    seconds = time.monotonic() - started
    log = base64.b64decode(answer.get("LogResult", "")).decode(errors="replace")
    return Answered(json.loads(body) if body else None, answer.get("FunctionError"), log, seconds)


def failure(name: str, answered: Answered) -> str:
    """The error and its trace, innermost call last."""
    told = answered.payload if isinstance(answered.payload, dict) else {}
    lines = [f"{name} failed: {told.get('errorType', answered.error)}: {told.get('errorMessage', answered.payload)}"]
    trace = told.get("stackTrace") or []
    return "\n".join([*lines, *(str(frame).rstrip() for frame in trace)])


def show(name: str, answered: Answered) -> None:
    """Raises BootstrapError: the function failed."""
    for line in answered.log.splitlines():
        console.err.print(Text(f"  {line}", style="dim"))
    console.err.print(Text(f"{name} answered in {answered.seconds:.2f} s"))
    if answered.error is not None:
        raise BootstrapError(failure(name, answered))
    print(json.dumps(answered.payload, indent=2, ensure_ascii=False))


def main() -> int:
    try:
        wish = wanted(os.environ)
        payload, deployment = event(wish.event), running.deployment()
        name = deployment.outputs(with_key=False)["functions"][wish.function]
        functions = boto3.client("lambda", config=PATIENT, **deployment.place.client_options())
        show(name, invoke(functions, name, payload))
    except BootstrapError as error:
        console.fail(error.message, error.hint)
        return 1
    except (ClientError, BotoCoreError) as error:
        found = aws_account.explained(error)
        console.fail(found.message, found.hint)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
