"""A debugger, as VS Code is one: speaks the Debug Adapter Protocol over a socket.

https://microsoft.github.io/debug-adapter-protocol/specification
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import threading
from pathlib import Path
from typing import Any

from scripts.debug.__main__ import DIAL_SECONDS
from tests.support.waiting import eventually

Message = dict[str, Any]
WAIT_SECONDS = DIAL_SECONDS + 30
"""`make debug` gives up sooner, and says why."""


class Refused(Exception):
    """The answer to a request was an error."""


class Debugger:
    """Everything that was said is kept, in order: a question about the past is answered at once."""

    def __init__(self, port: int) -> None:
        self._line = socket.create_connection(("127.0.0.1", port))
        self._numbers = itertools.count(1)
        self._heard: list[Message] = []
        self.ended = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def attach(self, breakpoints: dict[Path, list[int]]) -> list[Message]:
        """In the order in which VS Code does it; the breakpoints as the other side has taken them."""
        self.ask("initialize", clientID="test", adapterID="debugpy", pathFormat="path", linesStartAt1=True)
        attaching = self.send("attach", name="test", type="debugpy", request="attach", justMyCode=True)
        self.event("initialized")
        taken: list[Message] = []
        for path, lines in breakpoints.items():
            taken += self.set_breakpoints(path, lines)
        self.ask("configurationDone")
        self.answer(attaching)
        return taken

    def set_breakpoints(self, path: Path, lines: list[int]) -> list[Message]:
        wish = [{"line": line} for line in lines]
        answer: list[Message] = self.ask("setBreakpoints", source={"path": str(path)}, breakpoints=wish)["breakpoints"]
        return answer

    def stopped(self, times: int = 1) -> Message:
        """The `times`-th stop: what VS Code shows of it, with its topmost frame."""
        stop = self.event("stopped", times)
        frames = self.ask("stackTrace", threadId=stop["threadId"])["stackFrames"]
        return {**stop, "frame": frames[0]}

    def value(self, stop: Message, expression: str) -> str:
        """Of an expression in the frame that stopped."""
        frame = stop["frame"]["id"]
        return str(self.ask("evaluate", expression=expression, frameId=frame, context="watch")["result"])

    def go_on(self, stop: Message) -> None:
        self.ask("continue", threadId=stop["threadId"])

    def ask(self, command: str, **arguments: Any) -> Message:
        return self.answer(self.send(command, **arguments))

    def send(self, command: str, **arguments: Any) -> int:
        number = next(self._numbers)
        text = json.dumps({"seq": number, "type": "request", "command": command, "arguments": arguments}).encode()
        self._line.sendall(b"Content-Length: %d\r\n\r\n%b" % (len(text), text))
        return number

    def answer(self, number: int) -> Message:
        """Raises Refused when it is an error."""
        found = self._nth("response", "request_seq", number)
        if not found["success"]:
            raise Refused(found.get("message"))
        return dict(found.get("body") or {})

    def event(self, name: str, times: int = 1) -> Message:
        return dict(self._nth("event", "event", name, times).get("body") or {})

    def count(self, name: str) -> int:
        return len(self._matching("event", "event", name))

    def hang_up(self) -> None:
        """Without a word, as when its editor is closed."""
        with contextlib.suppress(OSError):  # the other side was quicker
            self._line.shutdown(socket.SHUT_RDWR)
        self._line.close()

    def _nth(self, kind: str, key: str, value: Any, times: int = 1) -> Message:
        def found() -> tuple[list[Message], list[Message]]:
            over = self.ended.is_set()
            matching = self._matching(kind, key, value)
            assert len(matching) >= times or not over, f"the other side hung up after {self._heard[-3:]}"
            return matching, self._heard[-3:]

        return eventually(found, lambda seen: len(seen[0]) >= times, WAIT_SECONDS)[0][times - 1]

    def _matching(self, kind: str, key: str, value: Any) -> list[Message]:
        return [message for message in list(self._heard) if message["type"] == kind and message.get(key) == value]

    def _listen(self) -> None:
        with contextlib.suppress(ConnectionResetError), self._line.makefile("rb") as stream:
            while header := stream.readline():
                name, _, length = header.partition(b":")
                assert name == b"Content-Length", header
                stream.readline()
                text = stream.read(int(length))
                if len(text) < int(length):  # it died in the middle of a word
                    break
                self._heard.append(json.loads(text))
        self.ended.set()
