"""Choose, start, find and stop the local AWS, whichever it is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from bootstrap import compose, embedded, state
from bootstrap.errors import BootstrapError
from bootstrap.state import Running
from bootstrap.targets import EMBEDDED, LOCALSTACK, TARGETS, Place, Target

DEFAULT_PORT = 4566


@dataclass(frozen=True, slots=True)
class Choice:
    """A local target, why it was taken, and for LocalStack the image."""

    target: Target
    why: str
    image: str | None = None


def choose(variables: Mapping[str, str], prefer: str | None = None) -> Choice:
    """What runs, else what TARGET says, else `prefer`, else LocalStack where Docker can have it, else embedded.

    Raises:
        BootstrapError: TARGET names no local target, or another one than what runs, or LocalStack cannot be had.
    """
    asked, running = variables.get("TARGET", ""), state.recall()
    target = _local(asked) if asked else None
    if running and is_running(running) and target and running.target != target.name:
        raise BootstrapError(f"{running.target} is running, not {target.name}.", "Type `make down` first.")
    if running and target in (None, TARGETS[running.target]):
        return Choice(TARGETS[running.target], "it was chosen before; `make down` forgets it", running.image)
    if target is EMBEDDED:
        return Choice(EMBEDDED, "TARGET says so")
    if target is None and prefer == EMBEDDED.name:
        return Choice(EMBEDDED, "the quickest to start; TARGET=localstack takes the other")
    if compose.runs_already(port()):
        return Choice(LOCALSTACK, f"it runs already on port {port()}")
    return _localstack_or_else(variables.get("LOCALSTACK_IMAGE") or compose.official_image(), insist=bool(target))


def _localstack_or_else(image: str, insist: bool) -> Choice:
    reason = compose.docker_answers()
    if reason is None:
        reason = compose.obtain(image)
        if reason is None:
            return Choice(LOCALSTACK, "Docker answers; TARGET=embedded needs none", image)
        own = compose.own_image()
        if compose.has_image(own):
            return Choice(LOCALSTACK, f"{image} cannot be had ({reason}), our own image is here", own)
        reason = f"{image} cannot be had: {reason}"
    if insist:
        raise BootstrapError(
            f"LocalStack cannot be started: {reason}.",
            "Start Docker, or type `make localstack-image` once (no registry needed), or `TARGET=embedded make up`.",
        )
    return Choice(EMBEDDED, f"LocalStack cannot be started: {reason}; TARGET=localstack insists")


def start(choice: Choice) -> Place:
    """Start the local AWS, or take the one that runs."""
    if choice.target is EMBEDDED:
        return embedded.start(port()).place
    running = state.recall()
    if running and running.target == choice.target.name and is_running(running):
        return running.place
    if choice.image is None:
        return compose.take(port()).place
    return compose.start(port(), choice.image or compose.official_image()).place


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
    if running.target == EMBEDDED.name:
        process = embedded.process_of(running)
        return process is not None and embedded.healthy(running.port, 5, process)
    return embedded.healthy(running.port, 1, None)


def stop() -> bool:
    """Stop the local AWS. False when none was running."""
    running = state.recall()
    if running is None:
        return False
    if running.target == EMBEDDED.name:
        return embedded.stop(running)
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
