"""A port for somebody who comes later. Stands alone: `make debug` runs its text in a container, too."""

from __future__ import annotations

import random
import socket

LOWEST, HIGHEST = 10_000, 19_999
"""Below what a system gives to whoever asks for any port (Linux: 32768 and above, macOS: 49152 and above; files
`ip_local_port_range` and `net.inet.ip.portrange.first`): such a one may be gone before it is used."""


def free_port() -> int:
    """On the loopback; nobody has it.

    Raises:
        OSError: all are taken.
    """
    taken = OSError("no port is looked at")
    for port in random.sample(range(LOWEST, HIGHEST + 1), HIGHEST + 1 - LOWEST):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                taken = error
            else:
                return port
    raise taken


if __name__ == "__main__":
    print(free_port())
