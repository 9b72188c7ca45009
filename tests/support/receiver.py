"""A receiver of webhooks on loopback that does on the wire whatever a test wants, also what no HTTP server would do."""

from __future__ import annotations

import ssl
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET, create_server, socket


@dataclass(frozen=True)
class Received:
    line: str
    """Such as `POST /path HTTP/1.1`."""
    headers: dict[str, str]
    body: bytes


Act = Callable[["Receiver", socket], None]
"""What happens after a request was read."""


@dataclass
class Receiver:
    port: int
    acts: list[Act]
    """One for each request; the last one for ever."""
    requests: list[Received] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    """The test has ended: whoever still holds a connection lets it go."""
    accepted: int = 0
    turned_away: list[str] = field(default_factory=list)
    """Why a TLS client did not come in."""
    released: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    """Counts connections that the sender has let go of, as seen from here."""


@contextmanager
def receiving(*acts: Act, tls: ssl.SSLContext | None = None, silent: bool = False) -> Iterator[Receiver]:
    """`silent`: acts at once, whatever comes, and reads no request."""
    listener = create_server(("127.0.0.1", 0))
    receiver = Receiver(listener.getsockname()[1], list(acts))
    accepting = threading.Thread(target=_accept, args=(listener, receiver, tls, silent), daemon=True)
    accepting.start()
    try:
        yield receiver
    finally:
        receiver.over.set()
        with suppress(OSError):
            listener.shutdown(2)  # wakes the accept; closing alone would not
        accepting.join()
        listener.close()


def _accept(listener: socket, receiver: Receiver, tls: ssl.SSLContext | None, silent: bool) -> None:
    threads: list[threading.Thread] = []
    while not receiver.over.is_set():
        try:
            connection, _ = listener.accept()
        except OSError:
            break
        receiver.accepted += 1
        threads.append(threading.Thread(target=_serve, args=(connection, receiver, tls, silent), daemon=True))
        threads[-1].start()
    for thread in threads:
        thread.join()


def _serve(connection: socket, receiver: Receiver, tls: ssl.SSLContext | None, silent: bool) -> None:
    with connection:
        try:
            inner = tls.wrap_socket(connection, server_side=True) if tls else connection
        except OSError as error:
            receiver.turned_away.append(str(error))
            return
        with inner, suppress(OSError):
            if not silent:
                receiver.requests.append(_read(inner))
            act = receiver.acts.pop(0) if len(receiver.acts) > 1 else receiver.acts[0]
            act(receiver, inner)


def _read(connection: socket) -> Received:
    file = connection.makefile("rb")
    line = file.readline().decode().strip()
    headers = {}
    while text := file.readline().decode().strip():
        name, _, value = text.partition(": ")
        assert name.lower() not in headers, f"{name} twice"
        headers[name.lower()] = value
    return Received(line, headers, file.read(int(headers.get("content-length", 0))))


def answer(status: int, *headers: str, body: bytes = b"") -> Act:
    lines = [f"HTTP/1.1 {status} Any", *headers, f"Content-Length: {len(body)}", "", ""]
    return lambda _, connection: connection.sendall("\r\n".join(lines).encode() + body)


def say(text: bytes) -> Act:
    """These very bytes, then the end."""
    return lambda _, connection: connection.sendall(text)


def hang(receiver: Receiver, connection: socket) -> None:
    """Not a byte, until the sender lets go."""
    with suppress(OSError):
        while connection.recv(4096):
            pass
    receiver.released.release()


def drip(first: bytes, byte: bytes = b"x") -> Act:
    """`first`, then a byte every 50 ms for ever: each of them comes well within any time-out for one read."""

    def act(receiver: Receiver, connection: socket) -> None:
        connection.sendall(first)
        try:
            while not receiver.over.wait(0.05):
                connection.sendall(byte)
        finally:
            if not receiver.over.is_set():
                receiver.released.release()

    return act


def reset(_: Receiver, connection: socket) -> None:
    """RST in place of an answer: the request has arrived, its answer is lost."""
    connection.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))


def certificate(folder: Path, name: str) -> Path:
    """Self-signed, for one host name, with its key in the same file."""
    file = folder / f"{name}.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    command += ["-addext", f"subjectAltName=DNS:{name}", "-keyout", "-", "-out", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    file.write_bytes(done.stdout)
    return file


def server_side(file: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context
