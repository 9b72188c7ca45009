"""Clients whose answers get lost on the way back, as those of a network do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from botocore.exceptions import ReadTimeoutError

Call = Callable[..., Any]


class LostAnswer:
    """Carries out the `number`-th call of `operation`, whose answer is then lost.

    `repeats`: the SDK sends the same request again, as botocore does; else the caller gets the time-out.
    """

    def __init__(self, client: object, operation: str, *, number: int = 1, repeats: bool) -> None:
        self._client = client
        self._operation, self._number, self._repeats = operation, number, repeats
        self._calls = 0

    def __getattr__(self, name: str) -> Call:
        real: Call = getattr(self._client, name)
        return self._losing(real) if name == self._operation else real

    def _losing(self, real: Call) -> Call:
        def call(**request: Any) -> Any:
            self._calls += 1
            answer = real(**request)
            if self._calls != self._number:
                return answer
            if self._repeats:
                return real(**request)
            raise ReadTimeoutError(endpoint_url="http://dynamodb")

        return call


class Between:
    """Lets somebody else act right before the `number`-th call of `operation`."""

    def __init__(self, client: object, operation: str, act: Callable[[], object], *, number: int = 1) -> None:
        self._client = client
        self._operation, self._act, self._number = operation, act, number
        self._calls = 0

    def __getattr__(self, name: str) -> Call:
        real: Call = getattr(self._client, name)
        return self._after_act(real) if name == self._operation else real

    def _after_act(self, real: Call) -> Call:
        def call(**request: Any) -> Any:
            self._calls += 1
            if self._calls == self._number:
                self._act()
            return real(**request)

        return call
