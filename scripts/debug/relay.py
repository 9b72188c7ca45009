"""The port that a debugger attaches to, and the way from there to the worker: it stays while workers come and go."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bootstrap.errors import BootstrapError
from scripts import ports
from scripts.debug.entry import ALIVE, LOOPBACK
from scripts.ports import free_port

CHUNK = 65_536
SILENCE_SECONDS = 20
OPEN_SECONDS = 30
INSIDE = """
import os, socket, sys, threading
port, alive = map(int, sys.argv[1:])
try:
    socket.create_connection(("127.0.0.1", alive)).close()
    worker = socket.create_connection(("127.0.0.1", port))
except OSError:
    sys.exit("refused")
os.write(1, b"+")
def inwards():
    while data := os.read(0, 65536):
        worker.sendall(data)
    os._exit(0)
threading.Thread(target=inwards, daemon=True).start()
while data := worker.recv(65536):
    while data:
        data = data[os.write(1, data):]
"""
"""Runs in the container: its loopback is the worker's. It says + when it is connected, then hands on what comes."""


class Door(Protocol):
    """How a port on the worker's loopback is reached from here."""

    def free_port(self) -> int:
        """One that nobody has there, nor the one that says whether the worker is alive."""

    def open(self, port: int) -> socket.socket:
        """Raises ConnectionRefusedError: nobody listens there; any other OSError: it cannot be told."""


class ThisMachine:
    def free_port(self) -> int:
        return free_port(1 + ALIVE)

    def open(self, port: int) -> socket.socket:
        socket.create_connection((LOOPBACK, port + ALIVE)).close()
        return socket.create_connection((LOOPBACK, port))


@dataclass(frozen=True, slots=True)
class Container:
    """Through `docker exec`: no port has to be published, and it works wherever the engine runs."""

    id: str

    def check(self) -> None:
        """Raises BootstrapError: this LocalStack runs each function in a container of its own."""
        done = subprocess.run(self._shell('test "$LAMBDA_RUNTIME_EXECUTOR" = process'), check=False)
        if done.returncode:
            raise BootstrapError(
                "This LocalStack runs each function in a container of its own, where no debugger reaches it.",
                "Type `make down`, then `TARGET=embedded make up`, or take our own image: `make localstack-image`.",
            )

    def free_port(self) -> int:
        command = self._python(Path(ports.__file__).read_text(), str(1 + ALIVE))
        return int(subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout)

    def open(self, port: int) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            ends = theirs.fileno()
            # In a session of its own: Ctrl-C is for us, who close the line in order.
            subprocess.Popen(
                self._python(INSIDE, str(port), str(port + ALIVE)),
                stdin=ends,
                stdout=ends,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        try:
            if self._connected(ours):
                return ours
            raise ConnectionRefusedError(f"port {port} in container {self.id[:12]}")
        except OSError:
            ours.close()
            raise

    def _connected(self, line: socket.socket) -> bool:
        """What INSIDE says first. Raises TimeoutError."""
        line.settimeout(OPEN_SECONDS)
        said = line.recv(1)
        line.settimeout(None)
        return said == b"+"

    def _python(self, code: str, *arguments: str) -> list[str]:
        return self._shell('exec "$LAMBDA_PROCESS_PYTHON" -c "$0" "$@"', code, *arguments)

    def _shell(self, line: str, *arguments: str) -> list[str]:
        return ["docker", "exec", "-i", self.id, "sh", "-c", line, *arguments]


def answers(line: socket.socket) -> bool:
    """debugpy speaks first, so whoever does not is none."""
    line.settimeout(SILENCE_SECONDS)
    try:
        return bool(line.recv(1, socket.MSG_PEEK))
    except OSError:
        return False
    finally:
        line.settimeout(None)


class Relay:
    """Listens from the start; each debugger that comes gets a line of its own to what `dial` returns."""

    def __init__(self, port: int, dial: Callable[[], socket.socket], report: Callable[[str], None]) -> None:
        self._dial, self._report = dial, report
        self._lines: set[socket.socket] = set()
        self._closed = False
        try:
            self._server = socket.create_server((LOOPBACK, port))
        except OSError as error:
            raise BootstrapError(
                f"Port {port} is taken ({error.strerror}). Is there another `make debug`, or another debugger?",
                f"Stop that, or type `make debug DEBUG_PORT={port + 1}`.",
            ) from error
        self.port = int(self._server.getsockname()[1])

    def serve(self) -> None:
        threading.Thread(target=self._accept, name="relay", daemon=True).start()

    def close(self) -> None:
        """The port closes and every line ends: a worker that is paused goes on."""
        self._closed = True
        _shut(self._server)
        for end in list(self._lines):
            _shut(end)

    def _accept(self) -> None:
        with self._server:
            while not self._closed:
                try:
                    client, _ = self._server.accept()
                except OSError:  # closed
                    return
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        with client:
            try:
                worker = self._dial()
            except (BootstrapError, OSError) as error:
                self._report(f"A debugger came, and no worker was there: {error}")
                return
            with worker:
                self._join(client, worker)

    def _join(self, client: socket.socket, worker: socket.socket) -> None:
        self._lines |= {client, worker}
        self._report("A debugger attached.")
        back = threading.Thread(target=_pump, args=(worker, client), daemon=True)
        back.start()
        _pump(client, worker)
        back.join()
        self._lines -= {client, worker}
        self._report("The debugger is gone; what was paused goes on.")


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Until one of the two ends; then both do."""
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK):
            target.sendall(data)
    _shut(source)
    _shut(target)


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
