"""Stands in for the handler of a function in a test stack: notes each SDK call that the function makes, and its end.

RECORDING is JSON: the `file` for the lines, what this `function` is called, the real `handler`. The functions of the
embedded AWS are processes on this machine, so all of them can write to one file.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from lambdas.common import aws
from tests.support.iam_uses import uses

KEPT = "uses"
"""Where the needs of a call wait, in botocore's context of the call, until its answer is there."""
DENIED = ("AccessDenied", "AccessDeniedException")


class Recorder:
    def __init__(self, function: str, file: str) -> None:
        self._function = function
        self._lines = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def before(self, params: Mapping[str, Any], model: Any, context: dict[str, Any], **_: object) -> None:
        service = model.service_model.service_name
        context[KEPT] = uses(service, model.name, params)

    def after(self, parsed: Mapping[str, Any], context: Mapping[str, Any], **_: object) -> None:
        """An error answer is a use, too, unless it says that the role may not."""
        denied = parsed.get("Error", {}).get("Code") in DENIED
        for action, resource in context[KEPT]:
            line = {"function": self._function, "action": action, "resource": resource, "denied": denied}
            # One write to a file opened for appending is not split among processes.
            os.write(self._lines, (json.dumps(line) + "\n").encode())


def hooked(variables: Mapping[str, str]) -> Callable[[Any, Any], Any]:
    """The real handler, imported after its future clients are hooked."""
    order = json.loads(variables["RECORDING"])
    recorder = Recorder(order["function"], order["file"])
    events = aws.session().get_component("event_emitter")
    events.register("before-parameter-build", recorder.before)
    events.register("after-call", recorder.after)
    module, _, name = order["handler"].rpartition(".")
    real: Callable[[Any, Any], Any] = getattr(importlib.import_module(module), name)
    return real


if "RECORDING" in os.environ:
    handle = hooked(os.environ)
