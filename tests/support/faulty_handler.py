"""Stands in for the handler of a function in a test stack: the function's SDK clients obey the rules for faults.

FAULTS is JSON: `table` holds the rules, `function` names the one whose rules count, `handler` is the real one. The
function's clock is wrong by `clockSkewSeconds` of an event, else by what the ledger says of CLOCK.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lambdas.common import aws
from tests.support.fault_hook import CLOCK, install, ledger_of

Handler = Callable[[Any, Any], Any]


@dataclass
class WrongClock:
    """Ahead of the right one by so many seconds; behind it when they are negative."""

    right: Callable[[], int]
    seconds: int

    def __call__(self) -> int:
        return self.right() + self.seconds * 1000


def hooked(variables: Mapping[str, str]) -> Handler:
    """The real handler, imported after its future clients are hooked and its clock is set wrong."""
    order = json.loads(variables["FAULTS"])
    ledger = ledger_of(order, variables)
    install(aws.session().get_component("event_emitter"), ledger)
    aws.now_ms = clock = WrongClock(aws.now_ms, 0)
    module, _, name = order["handler"].rpartition(".")
    real: Handler = getattr(importlib.import_module(module), name)

    def handler(event: Any, context: Any) -> Any:
        clock.seconds = event["clockSkewSeconds"] if "clockSkewSeconds" in event else ledger.tallied(CLOCK)
        return real(event, context)

    return handler


handle = hooked(os.environ)
