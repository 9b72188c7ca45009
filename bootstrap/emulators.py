"""Start, find and stop the local AWS, whichever it is."""

from __future__ import annotations

import os
from collections.abc import Mapping

from bootstrap import compose, console, embedded, state
from bootstrap.errors import BootstrapError
from bootstrap.state import Running
from bootstrap.targets import TARGETS, Place, Target

DEFAULT_PORT = 4566


def choose(variables: Mapping[str, str]) -> tuple[Target, str]:
    """The local target to use, and why: TARGET, else what runs, else LocalStack where Docker answers, else embedded.

    Raises:
        BootstrapError: TARGET names no local target.
    """
    asked, running = variables.get("TARGET", ""), state.recall()
    if asked:
        return _local(asked), "TARGET says so"
    if running:
        return TARGETS[running.target], "it was chosen before; `make down` forgets it"
    reason = compose.docker_answers()
    if reason is None:
        return TARGETS["localstack"], "Docker answers; TARGET=embedded needs none"
    return TARGETS["embedded"], f"no Docker ({reason}); TARGET=localstack insists"


def start(target: Target) -> Place:
    """Start the local AWS, or take the one that runs."""
    running = state.recall()
    if running and running.target != target.name and is_running(running):
        raise BootstrapError(f"{running.target} is running, not {target.name}.", "Type `make down` first.")
    if target.name == "embedded":
        return embedded.start(port()).place
    return compose.start(port()).place


def find() -> Place:
    """The local AWS that runs.

    Raises:
        BootstrapError: none does.
    """
    running = state.recall()
    if running is None or not is_running(running):
        raise BootstrapError("No local AWS is running.", "Type `make up`.")
    return running.place


def is_running(running: Running) -> bool:
    if running.target == "embedded":
        process = embedded.process_of(running)
        return process is not None and embedded.healthy(running.port, 5, process)
    return embedded.healthy(running.port, 5, None)


def stop() -> bool:
    """Stop the local AWS. False when none was running."""
    running = state.recall()
    if running is None:
        return False
    if running.target == "embedded":
        return embedded.stop(running)
    if not running.place.target.keeps_data:
        console.detail(f"{running.target} keeps no data: tasks and stacks end with it")
    return compose.stop(running)


def port() -> int:
    """EDGE_PORT, else the running one's, else 4566.

    Raises:
        BootstrapError: EDGE_PORT is no port.
    """
    running = state.recall()
    text = os.environ.get("EDGE_PORT") or str(running.port if running else DEFAULT_PORT)
    if not text.isdigit() or not 1024 <= int(text) <= 65_535:
        raise BootstrapError(f"EDGE_PORT is {text!r}; allowed: 1024 to 65535.", "Set EDGE_PORT or leave it out.")
    return int(text)


def _local(name: str) -> Target:
    target = TARGETS.get(name)
    if target is None or not target.local:
        names = ", ".join(sorted(target.name for target in TARGETS.values() if target.local))
        raise BootstrapError(
            f"TARGET is {name!r}; allowed here: {names}.", "For an AWS account type `make deploy-aws`."
        )
    return target
