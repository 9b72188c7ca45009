"""One HTTP request to an address that was looked up once, checked, and is the one connected to.

No proxy: the environment's HTTP_PROXY and its sisters are not read. A proxy would look the name up again and connect to
whatever it finds: the check would be of no worth.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from threading import Event, Timer
from typing import TypeVar

# urllib3 is what botocore sends with, so it is there wherever boto3 is: in the runtime of Lambda, too.
import urllib3
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError

from lambdas.process_task.answers import Answer
from lambdas.process_task.destinations import NotAllowed, Rules, Url

T = TypeVar("T")
MAX_ANSWER_BYTES = 64 * 1024
PIECE_BYTES = 8 * 1024

Remaining = Callable[[], float]
"""Seconds left for all of it."""
Resolve = Callable[[str, int], Sequence[str]]
"""The addresses of a host, for a connection to a port. It may block, and raises OSError or UnicodeError."""


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    url: Url
    headers: Mapping[str, str]
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Way:
    """What a request needs of the world."""

    rules: Rules
    resolve: Resolve
    trust: ssl.SSLContext


class NoAnswer(Exception):
    """No connection, or no answer in time. Another attempt may succeed."""


def system_resolve(host: str, port: int) -> list[str]:
    """As the system does it, which reads `127.1`, `0x7f000001` and `2130706433` as addresses, too."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def send(request: Request, remaining: Remaining, way: Way) -> Answer:
    """
    Raises:
        NotAllowed: an address of the host is none to send to.
        NoAnswer: all else. It tells the origin and what went wrong, and nothing of what was sent.
    """
    try:
        with (
            closing(_connect(request.url, remaining, way)) as plain,
            _cut_off_after(_share(remaining), plain) as over,
            closing(_secured(plain, request.url, way.trust)) as connection,
        ):
            return _exchange(request, connection, remaining, over)
    except (HTTPError, OSError) as error:
        raise NoAnswer(f"{request.url.origin}: {_why(error)}") from error


def _connect(url: Url, remaining: Remaining, way: Way) -> socket.socket:
    """To the first address that takes it. The addresses are not looked up again: they might be others then."""
    addresses = _allowed(url, remaining, way)
    for left in range(len(addresses), 0, -1):
        try:
            return socket.create_connection((addresses[-left], url.port), timeout=_share(remaining, left))
        except OSError:
            if left == 1:
                raise
    raise NoAnswer(f"{url.origin}: the host has no address")


def _share(remaining: Remaining, of: int = 1) -> float:
    """A part of what is left; never 0, which would mean "do not wait" to a socket.

    Raises:
        TimeoutError: nothing is left.
    """
    left = remaining()
    if left <= 0:
        raise TimeoutError
    return left / of


def _allowed(url: Url, remaining: Remaining, way: Way) -> Sequence[str]:
    """
    Raises:
        NotAllowed: at least one of the host's addresses is refused; which one a name has is not told to who asked.
    """
    try:
        found = _within(_share(remaining), lambda: way.resolve(url.host, url.port))
    except UnicodeError:
        raise NotAllowed("the host of the URL is no name") from None
    for address in found:
        why = way.rules.refusal(ip_address(address.partition("%")[0]), url.port)
        if why is not None:
            raise NotAllowed(f"{url.origin} leads to {why}")
    return found


def _within(seconds: float, call: Callable[[], T]) -> T:
    """For what takes no time-out of its own; the thread of one that is too slow ends when the call does."""
    pool = ThreadPoolExecutor(1)
    try:
        return pool.submit(call).result(timeout=seconds)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _cut_off_after(seconds: float, connection: socket.socket) -> Iterator[Event]:
    """End the connection then, whatever it does: a server that sends a byte now and then defeats every time-out.

    A second handle on it, since TLS takes the first one over. The event tells that it has happened: to who reads, it
    looks as if the other end had closed the connection, which may be the regular end of an answer.

    Raises:
        TimeoutError: for whatever the end of the connection led to.
    """
    handle, over = connection.dup(), Event()
    timer = Timer(seconds, _shut, (handle, over))
    timer.daemon = True
    timer.start()
    try:
        yield over
    except (HTTPError, OSError) as error:
        if over.is_set():
            raise TimeoutError from error
        raise
    finally:
        timer.cancel()
        timer.join()  # it may be at work at this moment, on a number that the system gives away again
        handle.close()


def _shut(connection: socket.socket, over: Event) -> None:
    over.set()
    with suppress(OSError):  # the other end was first
        connection.shutdown(socket.SHUT_RDWR)


def _secured(plain: socket.socket, url: Url, trust: ssl.SSLContext) -> socket.socket:
    """The certificate is checked against the name in the URL, whichever address it has."""
    return trust.wrap_socket(plain, server_hostname=url.host) if url.scheme == "https" else plain


def _exchange(request: Request, connection: socket.socket, remaining: Remaining, over: Event) -> Answer:
    headers = {**request.headers, "Host": request.url.authority, "Connection": "close"}
    with closing(_pool(request.url, connection)) as pool:
        response = pool.urlopen(
            request.method,
            request.url.target,
            body=request.body,
            headers=headers,
            redirect=False,
            retries=False,
            timeout=_share(remaining),
            preload_content=False,
            decode_content=False,
        )
        with closing(response):
            if over.is_set():  # the status may be whole, and Retry-After cut off behind it
                raise TimeoutError
            size = _read(response)
        return Answer(response.status, size, response.headers.get("Retry-After"), response.headers.get("Location"))


def _pool(url: Url, connection: socket.socket) -> urllib3.HTTPConnectionPool:
    """urllib3 over a connection that is there already: it speaks HTTP, and connects to nothing."""

    class Connected(HTTPConnection):
        def connect(self) -> None:
            self.sock = connection

    class Pool(urllib3.HTTPConnectionPool):
        ConnectionCls = Connected

    return Pool(url.host, url.port, maxsize=1)


def _read(response: urllib3.BaseHTTPResponse) -> int:
    """Bytes of the body, which is thrown away. The status is there already, and decides: trouble only ends this."""
    size = 0
    with suppress(HTTPError, OSError):
        while size < MAX_ANSWER_BYTES and (piece := response.read(PIECE_BYTES, decode_content=False)):
            size += len(piece)
    return size


def _why(error: Exception) -> str:
    """In words of the system's or of ours: the text of another error may quote what was sent or received."""
    inner = next((part for part in error.args if isinstance(part, Exception)), error)
    if isinstance(inner, TimeoutError | urllib3.exceptions.TimeoutError):
        return "no answer in time"
    if isinstance(inner, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {inner.verify_message}"
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror
    return type(inner).__name__
