"""Calls that wait for company, to see which are made side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any


class Slow:
    """Each call of `operation` waits up to `seconds` for another one to begin beside it; `most` says how many did."""

    def __init__(self, client: object, operation: str, seconds: float) -> None:
        self._client, self._operation, self._seconds = client, operation, seconds
        self._lock, self._company = threading.Lock(), threading.Event()
        self._under_way = self.most = 0

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._client, name)
        return partial(self._slowly, real) if name == self._operation else real

    def _slowly(self, real: Callable[..., Any], **request: Any) -> Any:
        with self._lock:
            self._under_way += 1
            self.most = max(self.most, self._under_way)
            if self._under_way > 1:
                self._company.set()
        self._company.wait(self._seconds)
        with self._lock:
            self._under_way -= 1
        return real(**request)
