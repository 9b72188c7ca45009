"""A port for somebody who comes later."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts import ports
from scripts.ports import HIGHEST, LOWEST, free_port


def as_text() -> int:
    """As `make debug` has it run in a container."""
    command = [sys.executable, "-c", Path(ports.__file__).read_text(), "1"]
    return int(subprocess.run(command, capture_output=True, check=True).stdout)


@pytest.mark.parametrize("found", [free_port, as_text])
def test_it_is_free_and_is_none_that_a_system_gives_to_others(found: Callable[[], int]) -> None:
    port = found()
    assert LOWEST <= port <= HIGHEST
    with socket.socket() as one, socket.socket() as anyones:
        one.bind(("127.0.0.1", port))
        anyones.bind(("127.0.0.1", 0))
        assert anyones.getsockname()[1] > HIGHEST


def test_what_somebody_has_is_not_given_nor_what_is_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    first = free_port(2)
    monkeypatch.setattr(ports, "LOWEST", first)
    monkeypatch.setattr(ports, "HIGHEST", first)
    assert free_port(2) == first
    with socket.socket() as somebodys:
        somebodys.bind(("127.0.0.1", first + 1))
        assert free_port() == first
        with pytest.raises(OSError, match="in use"):
            free_port(2)
