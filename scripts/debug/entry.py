"""Stands in front of a function's handler while `make debug` runs: a debugger can attach to the process.

`make debug` puts this file and debugpy into the function's package; what `make up` deploys has neither. The modules of
the package are compiled under the names that they have in the checkout, so that a breakpoint set there is one here, and
nobody has to map paths.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.machinery import FileFinder, SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

LOOPBACK = "127.0.0.1"
ORDER = "DEBUG_ENTRY"
"""Variable of the function, JSON: an Order."""
WAKE = {"debug": "wake"}
"""An event for this module alone: it is answered without the real handler."""
MARK = ".laid-out-by-make-debug"
CODE = "lambdas"
"""Folder of the package whose modules are known by their names in the checkout."""

ALIVE = 1
"""The port after debugpy's is open for as long as the process lives. debugpy's own is of a process beside it, which
goes a little later, and takes whoever comes meanwhile."""

Handler = Callable[[Any, Any], Any]


@dataclass(frozen=True, slots=True)
class Order:
    handler: str
    """The real one."""
    port: int
    """Where a debugger finds this process, on its own loopback."""
    checkout: str
    """The folder that breakpoints are set in; in a container it does not exist."""


class CheckoutLoader(SourceFileLoader):
    """Compiles a module under another file name than the one it is read from, and keeps no bytecode of it."""

    package, checkout = "", ""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        name = os.path.join(self.checkout, os.path.relpath(path, self.package))  # noqa: PTH118  of another machine
        code: CodeType = self.source_to_code(self.get_data(path), name)
        return code


def name_as_in(checkout: str, package: Path) -> None:
    """From now on the modules in `package`/lambdas are known by their names in the checkout."""
    below = str(package / CODE)
    loader = type("Loader", (CheckoutLoader,), {"package": str(package), "checkout": checkout})
    finder = FileFinder.path_hook((loader, [".py"]))

    def hook(path: str) -> Any:
        if not f"{path}{os.sep}".startswith(f"{below}{os.sep}"):
            raise ImportError(path)
        return finder(path)

    sys.path_hooks.insert(0, hook)
    sys.path_importer_cache.clear()


def lay_out(checkout: Path, package: Path) -> None:
    """In a container its files are put at their names: debugpy takes no breakpoint in a file that is not there.

    They are renewed for each worker; a real checkout is left alone.
    """
    mark = checkout / MARK
    if checkout.exists() and not mark.exists():
        return
    shutil.copytree(package / CODE, checkout / CODE, dirs_exist_ok=True)
    mark.touch()


class Debugger:
    """debugpy's server in this process. Of several workers the first one has the port; the others run without."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._alive: socket.socket | None = None

    def listen(self) -> str:
        """Once; while another worker has the port, each invocation asks again. Returns why it cannot, or ""."""
        if self._alive:
            return ""
        import debugpy  # after the variables that it reads at import

        try:
            alive = socket.create_server((LOOPBACK, self._port + ALIVE), backlog=4096)  # nobody takes the calls
            try:
                debugpy.listen((LOOPBACK, self._port))
            except BaseException:
                alive.close()
                raise
        except (OSError, RuntimeError) as error:
            print(f"no debugger can attach to process {os.getpid()}: {error}", file=sys.stderr)
            return str(error)
        self._alive = alive
        return ""


def without_time_outs(package: Path) -> None:
    """A pause is no work: a kind's time-out would end an attempt that somebody looks at. The function's remains."""
    if not (package / CODE / "process_task" / "attempt.py").exists():  # another function's package
        return
    attempt = importlib.import_module(f"{CODE}.process_task.attempt")
    attempt.Worker._ends_at = lambda worker, task, deadline: deadline


def prepare(variables: Mapping[str, str], package: Path) -> Handler:
    """The handler that Lambda calls; the real one is imported once a debugger can attach."""
    order = Order(**json.loads(variables[ORDER]))
    # Pure Python, whichever it is: debugpy's compiled parts fit one version. Frozen modules are none of ours.
    os.environ |= {"PYDEVD_USE_CYTHON": "NO", "PYDEVD_USE_FRAME_EVAL": "NO", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    lay_out(Path(order.checkout), package)
    name_as_in(order.checkout, package)
    debugger = Debugger(order.port)
    debugger.listen()
    module, _, name = order.handler.rpartition(".")
    real: Handler = getattr(importlib.import_module(module), name)
    without_time_outs(package)

    def handler(event: Any, context: Any) -> Any:
        obstacle = debugger.listen()
        if event == WAKE:
            return {"pid": os.getpid(), "obstacle": obstacle}
        return real(event, context)

    return handler


if ORDER in os.environ:
    handle = prepare(os.environ, Path(__file__).parent)
