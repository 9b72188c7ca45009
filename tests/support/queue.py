"""A queue that only remembers what was asked of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from lambdas.common.task import Message


@dataclass
class FakeQueue:
    """`sent` holds (message, delay in seconds), `hidden` holds (receipt handle, visibility in seconds), in order.

    With `failure` set, every call raises it, and nothing is remembered.
    """

    sent: list[tuple[Message, int]] = field(default_factory=list)
    hidden: list[tuple[str, int]] = field(default_factory=list)
    failure: Exception | None = None
    backlog: int = 0
    """Messages that somebody else left waiting."""

    def send(self, message: Message, delay_seconds: int = 0) -> None:
        self._fail()
        self.sent.append((message, delay_seconds))

    def waiting(self) -> int:
        return self.backlog

    def hide(self, receipt_handle: str, seconds: int) -> None:
        self._fail()
        self.hidden.append((receipt_handle, seconds))

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure
