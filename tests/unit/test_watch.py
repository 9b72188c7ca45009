"""What `make watch` sees: every save from its start on, and when that was."""

from __future__ import annotations

import itertools
import os
import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import watchfiles

from scripts import watch


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one that is watched."""
    monkeypatch.setattr(watch, "FOLDERS", (tmp_path,))
    monkeypatch.setattr(watch, "LAMBDAS", tmp_path)
    return tmp_path


def soon(found: Iterator[watch.Saved]) -> watch.Saved:
    """The next one; a save that was lost would be waited for without end."""
    seen: queue.Queue[watch.Saved] = queue.Queue()
    threading.Thread(target=lambda: seen.put(next(found)), daemon=True).start()
    return seen.get(timeout=180)


def test_what_is_saved_before_anybody_asks_is_the_first_change(folder: Path) -> None:
    found = watch.saves()
    (folder / "first.py").write_text("x = 1\n")
    assert soon(found).paths == [folder / "first.py"]


def test_what_is_saved_while_one_change_is_deployed_is_the_next_with_its_own_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "FRESH_SECONDS", 0.05)
    found, path = watch.saves(), folder / "handler.py"
    path.write_text("x = 1\n")
    assert soon(found).paths == [path]
    path.write_text("x = 20\n")
    time.sleep(0.3)  # the deploy of the first
    assert soon(found).at == path.stat().st_mtime


def test_a_save_that_the_system_does_not_tell_of_is_found_all_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "handler.py"
    path.write_text("x = 1\n")
    silence: set[watchfiles.main.FileChange] = set()
    monkeypatch.setattr("watchfiles.watch", lambda *_, **__: itertools.repeat(silence))
    found = watch.saves()
    path.write_text("x = 20\n")
    (folder / "handler.pyc").write_text("no source")
    assert soon(found).paths == [path]
    path.unlink()
    assert soon(found).paths == [path]


def test_a_file_that_was_moved_here_counts_from_now_on(folder: Path) -> None:
    old = folder / "old.py"
    old.write_text("x = 1\n")
    os.utime(old, (1, 1))
    before = time.time()
    assert watch.saved_at([old], before) >= before
