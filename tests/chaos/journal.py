"""The run's own record, outside the table: append-only lines, and how often each operation was called for each task.

Every process of a run, the workers of the functions included, writes to the same files. Only the standard library.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

TASK = re.compile(r"\b(chaos|calm)-(\d{6})\b")
"""Ids of the run: `calm` tasks go before the others, without any fault, to compare with."""
COUNTER = struct.Struct("<H")


def task_id(name: str, number: int) -> str:
    return f"{name}-{number:06d}"


def payload_of(number: int) -> dict[str, Any]:
    return {"number": number}


def wrong_id(number: int, kind: str) -> str:
    """The id in a bad request, which no task may ever have."""
    return f"wrong-{kind}-{number:06d}"


def number_of(task_id: str) -> int:
    return int(task_id.partition("-")[2])


def lines_in(content: bytes) -> Iterator[dict[str, Any]]:
    """The lines of a journal, without the halves that killed processes left: what they announced was never begun."""
    for line in content.splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            yield json.loads(line)


class Journal:
    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lines = os.open(folder / "journal.jsonl", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._counters: dict[str, int] = {}
        self._lock = threading.Lock()
        self._read = 0

    def write(self, event: str, **fields: Any) -> None:
        """One line. No other process writes into it, and it outlives its own.

        A process killed while it writes leaves half a line; the line feed in front keeps it out of the next one.
        """
        about = {"at": time.time_ns() // 1_000_000, "pid": os.getpid(), "event": event}
        line = json.dumps({**about, **fields})
        os.write(self._lines, f"\n{line}\n".encode())

    def read(self) -> Iterator[dict[str, Any]]:
        return lines_in((self._folder / "journal.jsonl").read_bytes())

    def new(self) -> list[dict[str, Any]]:
        """The lines that were written since this was asked last."""
        with (self._folder / "journal.jsonl").open("rb") as lines:
            lines.seek(self._read)
            fresh = lines.read()
        whole = fresh[: fresh.rfind(b"\n") + 1]  # a reader may meet a line half written
        self._read += len(whole)
        return list(lines_in(whole))

    def next(self, counter: str, place: int = 0) -> int:
        """One more: the new value (from 1) of number `place` of a counter."""
        # The kernel's lock is between processes, the other one between the threads of this one.
        with self._lock:
            if counter not in self._counters:
                self._counters[counter] = os.open(self._folder / counter, os.O_RDWR | os.O_CREAT, 0o644)
            file, at = self._counters[counter], place * COUNTER.size
            fcntl.lockf(file, fcntl.LOCK_EX, COUNTER.size, at)
            try:
                value = self._value(os.pread(file, COUNTER.size, at)) + 1
                os.pwrite(file, COUNTER.pack(value), at)
                return value
            finally:
                fcntl.lockf(file, fcntl.LOCK_UN, COUNTER.size, at)

    def counts(self, counter: str) -> Sequence[int]:
        """All numbers of a counter, by place."""
        path = self._folder / counter
        content = path.read_bytes() if path.exists() else b""
        return [value for (value,) in COUNTER.iter_unpack(content)]

    @staticmethod
    def _value(content: bytes) -> int:
        return int(COUNTER.unpack(content)[0]) if content else 0
