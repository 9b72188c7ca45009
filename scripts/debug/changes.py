"""What changes of a deployed stack while one of its functions is debugged: pure, from template to template."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from scripts.debug.entry import ORDER, Order

HANDLER = "debug_entry.handle"
ENTRY_FILE = "debug_entry.py"
"""Where the package of a function that is debugged has scripts/debug/entry.py."""
PACKAGE_PREFIX = "debug/"
"""Of the key of such a package in the bucket: by it a stack is known to be debugged."""
PAUSE_SECONDS = 900
"""The longest life of a function (Lambda guide, "Lambda quotas"), and so the longest pause."""
HIDDEN_SECONDS = PAUSE_SECONDS + 60
"""Visibility time-out: longer than the function lives, as Lambda demands. Not the six times that AWS advises: they are
for throttled receives, of which there are none here, and a message whose worker was killed is back the sooner."""
VISIBILITY: Mapping[str, str] = {"ProcessTask": "QueueVisibilitySeconds", "MonitorDlq": "DlqVisibilitySeconds"}
"""Function that a queue triggers -> parameter of the storage stack with that queue's visibility time-out."""
ONE_MESSAGE: Mapping[str, Any] = {"BatchSize": 1}
ONE_WORKER: Mapping[str, Any] = {"ScalingConfig": {"MaximumConcurrency": 1}}
"""Whatever comes meets the breakpoint, and nothing is received that nobody can work on, so nothing is throttled.

AWS and LocalStack refuse less than 2. The embedded AWS obeys it; LocalStack runs one batch at a time by itself.
"""

Document = Mapping[str, Any]


def debugged(app: Document, function: str, order: Order, concurrent_batches: bool) -> Document:
    """The app template with the debugger in front of one function, and time for a pause.

    `concurrent_batches`: the target would run several at once.
    """
    changed = copy.deepcopy(dict(app))
    properties = changed["Resources"][function]["Properties"]
    variables = properties.setdefault("Environment", {}).setdefault("Variables", {})
    variables[ORDER] = json.dumps(asdict(order))
    properties |= {"Handler": HANDLER, "Timeout": PAUSE_SECONDS}
    for mapping in _mappings(changed["Resources"], function):
        mapping |= {**ONE_MESSAGE, **(ONE_WORKER if concurrent_batches else {})}
    return changed


def handler_of(app: Document, function: str) -> str:
    return str(app["Resources"][function]["Properties"]["Handler"])


def _mappings(resources: Mapping[str, Any], function: str) -> Iterator[dict[str, Any]]:
    """Properties of every mapping from a queue to the function: its own events, and mappings that name it."""
    for event in resources[function]["Properties"].get("Events", {}).values():
        if event["Type"] == "SQS":
            yield event["Properties"]
    for resource in resources.values():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::Lambda::EventSourceMapping" and properties["FunctionName"] == {"Ref": function}:
            yield properties


def storage_parameters(deployed: Mapping[str, str], function: str) -> dict[str, str]:
    """Of the storage stack: what the function gets stays hidden for as long as a pause may last."""
    name = VISIBILITY.get(function)
    if name is None:
        return dict(deployed)
    return {**deployed, name: str(max(HIDDEN_SECONDS, int(deployed[name])))}


def is_debugged(app_parameters: Mapping[str, str]) -> bool:
    return any(value.startswith(PACKAGE_PREFIX) for value in app_parameters.values())
