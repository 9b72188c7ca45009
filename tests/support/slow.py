"""Calls that wait for company, to see which are made side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

COMPANY_SECONDS = 0.2
"""How long a call waits for one beside it. Nothing is asserted of it but that two of one id never meet."""


class Slow:
    """Each call of `operation` waits for another one to begin beside it; `most` says how many ever did."""

    def __init__(self, client: object, operation: str) -> None:
        self._client, self._operation = client, operation
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
        self._company.wait(COMPANY_SECONDS)
        with self._lock:
            self._under_way -= 1
        return real(**request)
