"""The embedded AWS: MiniStack as a managed process, in an environment of its own, on loopback."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from bootstrap import console, environments, state
from bootstrap.errors import BootstrapError
from bootstrap.paths import ROOT, local_dir
from bootstrap.state import Running

LOCK = ROOT / "requirements-embedded.lock"
START_SECONDS = 60
STOP_SECONDS = 30
LOG_LINES = 15
EDITION = "light"
"""What MiniStack calls itself on the health page that it shares with LocalStack."""
WARM_SECONDS = "60"
"""An idle Lambda worker holds about 50 MB; it goes after this time."""


def start(port: int) -> Running:
    """Start the embedded AWS on `port`, or take the one that runs.

    Raises:
        BootstrapError: the port is taken, or the process did not come up.
    """
    running = state.recall()
    process = process_of(running)
    if running and process:
        if running.port != port:
            raise BootstrapError(
                f"The embedded AWS already runs on port {running.port}.",
                f"Type `EDGE_PORT={running.port} make up`, or `make down` first.",
            )
        if healthy(port, START_SECONDS, process):
            return running
        console.detail(f"process {process.pid} does not answer; it is stopped and started anew")
        stop(running)
    _check_port(port)
    python = environments.python("embedded", LOCK, "the embedded AWS")
    started = _launch(python, port)
    if not healthy(port, START_SECONDS, started):
        tail = log_tail()
        _end(started)
        state.forget()
        raise BootstrapError(f"The embedded AWS did not start. Its last words:\n{tail}", f"Read {log_path()}.")
    found = state.recall()
    assert found is not None, "written by _launch"
    return found


def stop(running: Running) -> bool:
    """End the process and its workers, its data saved. False when it was not running any more."""
    process = process_of(running)
    if process and _end(process):
        _save_objects()
    state.forget()
    return process is not None


def process_of(running: Running | None) -> psutil.Process | None:
    """The very process that was started, if it lives; not another that was given its number since."""
    if running is None or running.pid is None:
        return None
    try:
        process = psutil.Process(running.pid)
        same = running.started_at is not None and abs(process.create_time() - running.started_at) < 1
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


def healthy(port: int, seconds: float, process: psutil.Process | None) -> bool:
    """Wait until it answers; at most `seconds`, and not after its process has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process is not None and not _alive(process):
            return False
        if health(port) is not None:
            return True
        time.sleep(0.05)
    return False


def health(port: int) -> Mapping[str, Any] | None:
    """What a local AWS on this port says of itself (both emulators have this page); None when nothing answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_localstack/health", timeout=2) as answer:
            document = json.loads(answer.read())
    except (OSError, ValueError, http.client.HTTPException):
        return None
    return document if isinstance(document, dict) else None


def _home() -> Path:
    return local_dir() / "embedded"


def log_path() -> Path:
    return _home() / "server.log"


def log_tail() -> str:
    try:
        lines = log_path().read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return "(no log)"
    return "\n".join(lines[-LOG_LINES:])


def _launch(python: Path, port: int) -> psutil.Process:
    home = _home()
    temporary = home / "tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    for folder in (temporary, home / "state"):
        folder.mkdir(parents=True, exist_ok=True)
    _restore_objects()
    with log_path().open("w") as log:
        popen = subprocess.Popen(
            [str(python), "-m", "ministack"],
            cwd=home,
            env=_server_environment(python, home, port),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    process = psutil.Process(popen.pid)
    # Remembered before it answers: a start that is cut off here is found, and ended or taken, by the next one.
    state.remember(Running("embedded", port, popen.pid, process.create_time()))
    return process


def _server_environment(python: Path, home: Path, port: int) -> dict[str, str]:
    """Only what it needs: the functions inherit the server's whole environment."""
    return {
        "PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "AUTH": "true",
        "PERSIST_STATE": "1",
        "STATE_DIR": str(home / "state"),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(home / "s3"),
        "LAMBDA_WARM_TTL_SECONDS": WARM_SECONDS,
        "LOG_LEVEL": os.environ.get("EMBEDDED_LOG_LEVEL", "WARNING"),
    }


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise BootstrapError(
                f"Port {port} is taken by {_owner_of(port)}.", f"Stop that, or type `EDGE_PORT={port + 1} make up`."
            ) from None


def _owner_of(port: int) -> str:
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
            if listens and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return "another program"


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _save_objects() -> None:
    """Keep the S3 objects of this clean stop beside the rest of the state, which is written at a clean stop only."""
    shutil.rmtree(_home() / "s3.saved", ignore_errors=True)
    shutil.copytree(_home() / "s3", _home() / "s3.saved")
    (_home() / "stopped-cleanly").touch()


def _restore_objects() -> None:
    """After a kill, S3 (written at once) is ahead of everything else: bring it back to the same moment."""
    if (_home() / "stopped-cleanly").exists():
        (_home() / "stopped-cleanly").unlink()
        return
    shutil.rmtree(_home() / "s3", ignore_errors=True)
    if (_home() / "s3.saved").exists():
        shutil.copytree(_home() / "s3.saved", _home() / "s3")
    (_home() / "s3").mkdir(exist_ok=True)


def _end(process: psutil.Process) -> bool:
    """SIGTERM, so that it saves its data; what is still there after STOP_SECONDS is killed, workers included.

    True when it ended by itself.
    """
    try:
        family = [process, *process.children(recursive=True)]
        process.terminate()
        process.wait(STOP_SECONDS)
        clean = True
    except psutil.NoSuchProcess:
        return False
    except psutil.TimeoutExpired:
        clean = False
    _, left = psutil.wait_procs(family, timeout=1)
    for survivor in left:
        with contextlib.suppress(psutil.Error):
            survivor.kill()
    psutil.wait_procs(left, timeout=5)
    return clean
