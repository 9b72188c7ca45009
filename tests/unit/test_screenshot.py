"""Pictures of the dashboard: whose clock they are taken by, and what is said where none can be taken."""

from __future__ import annotations

import argparse
import io
import time
from pathlib import Path

import pytest

from bootstrap.errors import BootstrapError
from scripts import screenshot


def test_the_clock_starts_when_somebody_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = io.StringIO("now\nnow\n")
    monkeypatch.setattr("sys.stdin", said)
    before = time.monotonic()
    assert screenshot.told() >= before
    assert (capsys.readouterr().out, said.read()) == (f"{screenshot.READY}\n", "now\n")


def test_where_no_stack_runs_the_picture_fails_with_the_demo_that_wanted_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOCAL_DIR", str(tmp_path))
    file = tmp_path / "picture.png"
    with pytest.raises(BootstrapError, match="no picture"), screenshot.of_second(0, str(file)) as begins:
        begins()
    assert "No stack runs here." in capfd.readouterr().err
    assert not file.exists()


def test_without_a_browser_it_says_which_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BootstrapError, match="No chromium"):
        screenshot.take(argparse.Namespace(), {}, lambda: 0)
