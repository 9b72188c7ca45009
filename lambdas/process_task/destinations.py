"""Where the work of a task may send a request: which URLs, and at which addresses. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

from lambdas.common.retry import PermanentError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PORTS = {"http": 80, "https": 443}
HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]*:[0-9a-f:.]*")
"""A name (another script's as punycode), or an IP address; no zone (`%eth0`), which only link-local ones have."""
NEVER: tuple[Network, ...] = (
    ip_network("0.0.0.0/8"),  # this machine by another name
    ip_network("169.254.0.0/16"),  # link-local: the metadata and the credentials of a machine or a container
    ip_network("224.0.0.0/4"),  # many receivers
    ip_network("255.255.255.255/32"),
    ip_network("::/128"),
    ip_network("fe80::/10"),
    ip_network("ff00::/8"),
    ip_network("fd00:ec2::/32"),  # the same services of AWS's over IPv6 (EC2 guide, "Instance metadata": fd00:ec2::254)
)
"""No setting allows these."""
UNICAST = IPv6Network("2000::/3")
"""All that IANA gives out for use on the internet ("IPv6 Global Unicast Address Assignments")."""
RESERVED: tuple[Network, ...] = (
    ip_network("192.0.0.0/24"),  # protocols
    ip_network("192.88.99.0/24"),  # relays of 6to4, given up
    ip_network("2001::/23"),  # protocols
    ip_network("3fff::/20"),  # examples
)
"""Not for servers, whether this Python's `is_global` knows it already or not (IANA, "Special-Purpose Addresses")."""
NAT64 = IPv6Network("64:ff9b::/96")
COMPATIBLE, TRANSLATED = IPv6Network("::/96"), IPv6Network("::ffff:0:0:0/96")
ISATAP = (0x00005EFE, 0x02005EFE)
LOW_32 = 0xFFFFFFFF


class NotAllowed(PermanentError):
    """No request of a task's work goes there."""


@dataclass(frozen=True, slots=True)
class Url:
    """Taken apart once: what is checked, looked up and asked for cannot be read in two ways."""

    scheme: str
    host: str
    port: int
    target: str
    """Path and query: may hold secrets, and stays out of every error."""

    @property
    def authority(self) -> str:
        """As in the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """What an error may say of it."""
        return f"{self.scheme}://{self.authority}"


def parse_url(text: str) -> Url:
    """
    Raises:
        NotAllowed: it is no URL of http or https, or names a user.
    """
    if not re.fullmatch("[!-~]+", text):
        raise NotAllowed("the URL has a character that is no visible ASCII: escape it")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise NotAllowed("the URL is none: its host or its port cannot be read") from None
    if parts.scheme not in PORTS:
        raise NotAllowed("the URL is none of http or https")
    if "@" in parts.netloc:
        raise NotAllowed("the URL names a user or a password: send a header")
    host = (parts.hostname or "").rstrip(".")
    in_brackets = parts.netloc.startswith("[")
    if not HOST.fullmatch(host) or (":" in host) != in_brackets or port == 0:
        raise NotAllowed("the host of the URL is no name and no address, or its port is 0")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Url(parts.scheme, host, PORTS[parts.scheme] if port is None else port, target)


def pointed_at(url: Url, location: str) -> str:
    """Where a redirect led, as an error may say it: no user, no query, and not our own path, which may be secret."""
    try:
        parts = urlsplit(location)
        host, path = _host_of(parts) or url.authority, parts.path
    except ValueError:
        return "somewhere that cannot be read"
    own = url.target.partition("?")[0]
    shown = "/…" if len(own) > 1 and own in path else path
    told = f"{parts.scheme or url.scheme}://{host}{shown}"
    return "".join(character if " " < character <= "~" or character == "…" else "?" for character in told)[:150]


def _host_of(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


@dataclass(frozen=True, slots=True)
class Rules:
    """Public addresses only, and those of `networks`; what is link-local, never; nor the runtime of the function."""

    networks: tuple[Network, ...] = ()
    runtime: tuple[Address, int] | None = None
    """Where the function asks for its own events: who reaches it could answer in the function's name."""

    def refusal(self, address: Address, port: int) -> str | None:
        """Why there must be no connection, or None."""
        for form in forms(address):
            if any(form in network for network in NEVER):
                return "a link-local address, or one that is no single host's"
            if not _is_public(form) and not any(form in network for network in self.networks):
                return "an address that is not public"
            if self.runtime is not None and port == self.runtime[1] and _same_host(form, self.runtime[0]):
                return "the runtime of the function itself"
        return None


def forms(address: Address) -> tuple[Address, ...]:
    """What has to be allowed: the address, and each IPv4 address that it carries to the other end of a tunnel.

    A mapped address, and one of NAT64 (as DNS64 makes it from a public one), are nothing but the one they carry.
    """
    if isinstance(address, IPv4Address):
        return (address,)
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address in NAT64:
        return (IPv4Address(int(address) & LOW_32),)
    return (address, *_carried(address))


def _carried(address: IPv6Address) -> Iterator[IPv4Address]:
    if address.sixtofour is not None:
        yield address.sixtofour
    yield from address.teredo or ()
    compatible = address in COMPATIBLE and int(address) > 1  # :: and ::1 are themselves
    if compatible or address in TRANSLATED or int(address) >> 32 & LOW_32 in ISATAP:
        yield IPv4Address(int(address) & LOW_32)


def _is_public(address: Address) -> bool:
    given_out = isinstance(address, IPv4Address) or address in UNICAST
    return given_out and address.is_global and not any(address in network for network in RESERVED)


def _same_host(one: Address, other: Address) -> bool:
    """A server on one loopback address mostly listens on all of them."""
    return one == other or (one.is_loopback and other.is_loopback)


def networks_of(words: tuple[str, ...]) -> tuple[Network, ...]:
    """
    Raises:
        ValueError: one is no network such as 10.1.0.0/16.
    """
    return tuple(ip_network(word) for word in words)


def runtime_of(endpoint: str) -> tuple[Address, int] | None:
    """Of AWS_LAMBDA_RUNTIME_API, `host:port`. A name is taken for this machine, on which a runtime's API always is."""
    host, _, port = endpoint.rpartition(":")
    if not port.isdecimal():
        return None
    try:
        return ip_address(host.strip("[]")), int(port)
    except ValueError:
        return IPv4Address("127.0.0.1"), int(port)
