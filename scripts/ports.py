"""A port for somebody who comes later. Stands alone: `make debug` runs its text in a container, too."""

from __future__ import annotations

import random
import socket
import sys
from contextlib import ExitStack

LOWEST, HIGHEST = 10_000, 19_999
"""Below what a system gives to whoever asks for any port (Linux: 32768 and above, macOS: 49152 and above; files
`ip_local_port_range` and `net.inet.ip.portrange.first`): such a one may be gone before it is used."""


def free_port(run: int = 1) -> int:
    """On the loopback; nobody has it, nor the next ones of a run of so many.

    Raises:
        OSError: all are taken.
    """
    taken = OSError("no port is looked at")
    for port in random.sample(range(LOWEST, HIGHEST + 1), HIGHEST + 1 - LOWEST):
        with ExitStack() as probes:
            try:
                for one in range(port, port + run):
                    probes.enter_context(socket.socket()).bind(("127.0.0.1", one))
            except OSError as error:
                taken = error
            else:
                return port
    raise taken


if __name__ == "__main__":
    print(free_port(int(sys.argv[1])))
