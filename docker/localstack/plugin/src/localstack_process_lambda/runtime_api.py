"""The Lambda Runtime API, version 2018-06-01, served on loopback to one handler process.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import contextlib
import re
import socket
import threading
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import SimpleQueue

_INVOCATION = re.compile(r"/2018-06-01/runtime/invocation/(?P<request_id>[^/]+)/(?P<kind>response|error)")
_NEXT = "/2018-06-01/runtime/invocation/next"
_INIT_ERROR = "/2018-06-01/runtime/init/error"


@dataclass(frozen=True)
class Invocation:
    request_id: str
    payload: bytes
    function_arn: str
    trace_id: str
    deadline_ms: int  # Unix time, milliseconds


@dataclass(frozen=True)
class Ready:
    """The runtime has loaded the handler and asks for work."""


@dataclass(frozen=True)
class InitError:
    payload: bytes


@dataclass(frozen=True)
class Response:
    request_id: str
    payload: bytes
    is_error: bool


@dataclass(frozen=True)
class Exited:
    returncode: int  # as subprocess has it: negative for a signal


type Event = Ready | InitError | Response | Exited


class RuntimeApi(ThreadingHTTPServer):
    """Hands invocations to the runtime and puts what the runtime reports on `events`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _RequestHandler)
        self.events: SimpleQueue[Event] = SimpleQueue()
        self._invocations: SimpleQueue[Invocation | None] = SimpleQueue()
        self._announced = False
        threading.Thread(target=self._accept_connections, name="lambda-runtime-api", daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def submit(self, invocation: Invocation) -> None:
        self._invocations.put(invocation)

    def take_next(self) -> Invocation | None:
        """Block until there is an invocation; None when the API closes."""
        if not self._announced:
            self._announced = True
            self.events.put(Ready())
        return self._invocations.get()

    def close(self) -> None:
        self._invocations.put(None)
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # wakes accept(), which closing alone does not
        self.server_close()

    def _accept_connections(self) -> None:
        # serve_forever() polls twice a second and takes as long to stop; there is one such server per environment.
        with contextlib.suppress(OSError):
            while True:
                request, client_address = self.get_request()
                self.process_request(request, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """A handler process that was killed leaves a broken connection: nothing to report."""


class _RequestHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # status line, headers and body in one packet
    server: RuntimeApi

    def do_GET(self) -> None:
        if self.path != _NEXT:
            self._answer(HTTPStatus.NOT_FOUND)
        elif (invocation := self.server.take_next()) is None:
            self.close_connection = True
        else:
            self._answer(HTTPStatus.OK, invocation.payload, _invocation_headers(invocation))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == _INIT_ERROR:
            self.server.events.put(InitError(body))
            return self._answer(HTTPStatus.ACCEPTED)
        if match := _INVOCATION.fullmatch(self.path):
            self.server.events.put(Response(match["request_id"], body, is_error=match["kind"] == "error"))
            return self._answer(HTTPStatus.ACCEPTED)
        return self._answer(HTTPStatus.NOT_FOUND)

    def _answer(self, status: HTTPStatus, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Every invocation makes two of these calls; they are no news."""


def _invocation_headers(invocation: Invocation) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
        "Lambda-Runtime-Deadline-Ms": str(invocation.deadline_ms),
        "Lambda-Runtime-Invoked-Function-Arn": invocation.function_arn,
        "Lambda-Runtime-Trace-Id": invocation.trace_id,
    }
