"""A stack of this folder's own on each local AWS, for its tests to break and repair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from tests.conftest import BACKENDS, own_stack
from tests.support import stack as stacks
from tests.support.stack import FAST, DeployedStack, function_timeout

SETTINGS: Mapping[str, str] = {**FAST, "PROCESS_TIMEOUT_SECONDS": function_timeout(4), "RESEND_AFTER_SECONDS": "5"}
"""A submit whose worker is replaced between row and message is for the sweeper to heal, and within the test."""


@pytest.fixture(scope="package", params=BACKENDS)
def own(request: pytest.FixtureRequest) -> Iterator[DeployedStack]:
    with own_stack(request.param, "local-aws", SETTINGS) as stack:
        yield stack


@pytest.fixture
def here(own: DeployedStack) -> DeployedStack:
    """The same as it now is; whatever a test takes away it puts back."""
    return DeployedStack(stacks.outputs_of(own.folder), own.folder)


def place_of(stack: DeployedStack) -> dict[str, str]:
    return {"TARGET": stack.outputs["target"], "EDGE_PORT": stack.outputs["endpoint_url"].rsplit(":", 1)[1]}
