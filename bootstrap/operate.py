"""Steer the running system by hand: sweep now, pause the work, resume it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypedDict, cast, get_args

from bootstrap import console
from bootstrap.deploy import Deployment, client
from bootstrap.errors import BootstrapError

Settled = Literal["Enabled", "Disabled"]
"""States in which a mapping can be switched; AWS refuses it in all others (UpdateEventSourceMapping)."""
SETTLE_SECONDS = 180
PAUSED = "paused: tasks are accepted and wait"


class Healed(TypedDict):
    """What SweepTasks answers."""

    paused: bool
    examined: int
    resent: int
    unparked: int
    recorded: int
    failed: int


def sweep(deployment: Deployment) -> None:
    """Run SweepTasks now, beside its schedule, and say what it healed.

    Raises:
        BootstrapError: nothing is deployed, the function failed, or it could not heal all that it found.
    """
    function = deployment.outputs(with_key=False)["functions"]["SweepTasks"]
    healed = answer_of(function, client(deployment.place, "lambda").invoke(FunctionName=function))
    console.say(summary(healed))
    if healed["paused"]:
        console.say(f"The work is {PAUSED}, so no message counts as lost. Type `{command('resume', deployment)}`.")
    if healed["failed"]:
        raise BootstrapError("Not all could be healed; the next sweep tries again.", _look_into(function))


def answer_of(function: str, response: Mapping[str, Any]) -> Healed:
    """The answer of a Lambda invocation.

    Raises:
        BootstrapError: the function failed.
    """
    answer = json.loads(response["Payload"].read())
    if "FunctionError" in response:
        reason = f"{answer.get('errorType', response['FunctionError'])}: {answer.get('errorMessage', 'no message')}"
        raise BootstrapError(f"{function} failed: {reason}", _look_into(function))
    return cast(Healed, answer)


def summary(healed: Healed) -> str:
    return (
        f"Looked at {healed['examined']}: {healed['resent']} sent again (message lost), "
        f"{healed['unparked']} sent (parked until now), {healed['recorded']} recorded (dead), "
        f"{healed['failed']} not healed."
    )


def pause(deployment: Deployment) -> None:
    """Switch the event source mapping of ProcessTask off; it may be off already.

    `up` leaves it off, even when it changes the mapping (tried on both emulators). Only an app stack made anew begins
    switched on: after a change of the API's routes, and after `down` where the target keeps no data.
    """
    before = _switched(deployment, "Disabled")
    console.say(f"The work is {PAUSED}{' (it was before)' if before else ''}. Attempts under way still end.", "bold")
    console.say(f"Type `{command('resume', deployment)}` to go on.")


def resume(deployment: Deployment) -> None:
    """Switch it on; it may be on already."""
    before = _switched(deployment, "Enabled")
    console.say(f"Tasks are worked on{' (they were before)' if before else ' again'}.", "bold")
    if deployment.place.target.local:
        console.say("Type `make status` to see how many wait.")


def is_paused(deployment: Deployment) -> bool:
    """Whether the mapping is off, or about to be. False when there is none."""
    mapping_id = deployment.app.outputs().get("ProcessTaskMappingId")
    return mapping_id is not None and _state(client(deployment.place, "lambda"), mapping_id) in (
        "Disabled",
        "Disabling",
    )


@contextmanager
def switches_kept(deployment: Deployment) -> Iterator[None]:
    """Each event source mapping is on or off afterwards as it was before, whatever is deployed meanwhile.

    LocalStack may say that a mapping is off which an update has just changed, and the sweeper would take the work for
    paused: the old poller, which ends, writes so after the new one has begun.
    """
    if not deployment.place.target.local:
        yield
        return
    mappings, pause_seconds = deployment.client("lambda"), deployment.place.target.pause_seconds
    before = _switches(deployment)
    yield
    for mapping_id in sorted(before.keys() & _switches(deployment).keys() if before else ()):
        while not switch(mappings, mapping_id, before[mapping_id], pause_seconds):
            time.sleep(pause_seconds)


def _switches(deployment: Deployment) -> dict[str, Settled]:
    """Of the mappings of this deployment only: those of another stage may be on their way out."""
    ours = set(deployment.function_names().values())
    pages = deployment.client("lambda").get_paginator("list_event_source_mappings").paginate()
    return {
        one["UUID"]: "Disabled" if one["State"] in ("Disabled", "Disabling") else "Enabled"
        for page in pages
        for one in page["EventSourceMappings"]
        if one["FunctionArn"].rpartition(":")[2] in ours
    }


def command(name: str, deployment: Deployment) -> str:
    """What to type for it here."""
    return f"make {name}" if deployment.place.target.local else f"make {name} TARGET=aws"


def _switched(deployment: Deployment, wanted: Settled) -> bool:
    mapping_id, pause_seconds = deployment.outputs(with_key=False)["mapping_id"], deployment.place.target.pause_seconds
    return switch(client(deployment.place, "lambda"), mapping_id, wanted, pause_seconds)


def switch(mappings: Any, mapping_id: str, wanted: Settled, pause_seconds: float) -> bool:
    """Wait until the mapping is in that state; True when it was before. `mappings` is a client of Lambda."""
    if _awaited(get_args(Settled), mappings, mapping_id, pause_seconds) == wanted:
        return True
    mappings.update_event_source_mapping(UUID=mapping_id, Enabled=wanted == "Enabled")
    _awaited((wanted,), mappings, mapping_id, pause_seconds)
    return False


def _awaited(states: Sequence[str], mappings: Any, mapping_id: str, pause_seconds: float) -> str:
    """Wait until the mapping is in one of `states`, and say in which."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while (state := _state(mappings, mapping_id)) not in states:
        if time.monotonic() > deadline:
            raise BootstrapError(
                f"The event source mapping is still {state} after {SETTLE_SECONDS} s.", "Type the same again."
            )
        time.sleep(pause_seconds)
    return state


def _state(mappings: Any, mapping_id: str) -> str:
    return str(mappings.get_event_source_mapping(UUID=mapping_id)["State"])


def _look_into(function: str) -> str:
    return f"Type `make logs FN=sweep-tasks`; on AWS look into the log group /aws/lambda/{function}."
