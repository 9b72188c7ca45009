"""Stands in for the handler of a function in a test stack: the function's SDK clients obey the rules for faults.

FAULTS is JSON: `table` holds the rules, `function` names the one whose rules count, `handler` is the real one.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import boto3

from tests.support.fault_hook import install, ledger_of

Handler = Callable[[Any, Any], Any]


def hooked(variables: Mapping[str, str]) -> Handler:
    """The real handler, imported after its future clients are hooked."""
    order = json.loads(variables["FAULTS"])
    boto3.setup_default_session()
    assert boto3.DEFAULT_SESSION is not None
    install(boto3.DEFAULT_SESSION.events, ledger_of(order, variables))
    module, _, name = order["handler"].rpartition(".")
    handler: Handler = getattr(importlib.import_module(module), name)
    return handler


handle = hooked(os.environ)
