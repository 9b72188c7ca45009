"""One actor, which stops where the test wants it and goes on, or dies, when the test says so."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

CALLS = ("put_item", "update_item", "transact_write_items", "send_message")
"""What is counted: calls that write an item or send a message."""
WAIT_SECONDS = 120
"""After so long without a word from its thread an actor counts as hung, and the test fails."""


class Died(BaseException):
    """The process ends here: no code of the actor may go on, whatever it catches."""


class Act:
    """Runs `what`, which reaches the world through clients made `counted`."""

    def __init__(self, may_stop: bool, stop_at: int | None = None, lose: int | None = None) -> None:
        """`stop_at`: the call before which it stops (1 is the first). `lose`: the call whose answer it does not get."""
        self._may_stop, self._stop_at, self._lose = may_stop, stop_at, lose
        self._calls = 0
        self._orders: SimpleQueue[bool] = SimpleQueue()
        self._news: SimpleQueue[bool] = SimpleQueue()
        self._future: Future[None] = Future()
        self.stopped = False

    def begin(self, what: Callable[[], None]) -> None:
        """Returns when it has ended, or stopped. Only what may stop needs a thread."""
        if not self._may_stop:
            what()
            return
        pool = ThreadPoolExecutor(1)
        self._future = pool.submit(what)
        self._future.add_done_callback(lambda _: self._news.put(False))
        pool.shutdown(wait=False)
        self._wait()

    def go_on(self, *, dying: bool = False) -> None:
        self._orders.put(dying)
        self._wait()

    def stop(self) -> None:
        """Called from inside: wait for the test."""
        self._news.put(True)
        if self._orders.get():
            raise Died

    def counted(self, client: object) -> Any:
        return _Counted(client, self)

    def made(self, call: Callable[[], Any]) -> Any:
        """One counted call; a lost answer makes the SDK repeat it."""
        self._calls += 1
        if self._calls == self._stop_at:
            self.stop()
        answer = call()
        return call() if self._calls == self._lose else answer

    def _wait(self) -> None:
        self.stopped = self._news.get(timeout=WAIT_SECONDS)
        if not self.stopped:
            error = self._future.exception()
            if error is not None and not isinstance(error, Died):
                raise error


class _Counted:
    def __init__(self, client: object, act: Act) -> None:
        self._client, self._act = client, act

    def __getattr__(self, name: str) -> Callable[..., Any]:
        real: Callable[..., Any] = getattr(self._client, name)
        if name not in CALLS:
            return real
        return lambda **request: self._act.made(lambda: real(**request))
