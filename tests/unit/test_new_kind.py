"""`make new-kind`: its files are formatted as the rest of the code, and it refuses names that cannot be used."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bootstrap.paths import ROOT
from scripts.new_kind import MOST_CHARACTERS, files, main


@pytest.mark.parametrize("name", ["a", "count-words", "x" * MOST_CHARACTERS])
def test_its_files_pass_the_linter_and_the_formatter(name: str) -> None:
    for path, text in files(name).items():
        for command in (["check"], ["format", "--check"]):
            ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", "--stdin-filename", str(path), "-"]
            done = subprocess.run(ruff, cwd=ROOT, input=text, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["", "Resize", "resize_image", "a-", "a--b", "x" * 51, "class", "simulated"])
def test_a_name_that_cannot_be_used_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name]) == 1
    assert name in capsys.readouterr().err.replace("\n", "")
