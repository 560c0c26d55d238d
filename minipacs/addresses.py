"""Hosts and addresses: what kind one is, whether two are one machine, and which networks one is in."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING

from minipacs.bounded import within

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

_RESOLVING = 3.0  # seconds for a name server to say whether two names are one host


def is_loopback(host: str) -> bool:
    """Whether that is this machine, as seen by itself alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def is_same_host(one: str, other: str) -> bool:
    """Whether two hosts are one: the same text, or a name and an address that it resolves to here."""
    if one.casefold() == other.casefold():
        return True
    if is_address(one) and is_address(other):
        return False
    return bool(_addresses(one) & _addresses(other))


def is_address(host: str) -> bool:
    """Whether a host is a numeric address, and no name."""
    try:
        return bool(ip_address(host))
    except ValueError:
        return False


def is_every_address(host: str) -> bool:
    """Whether to listen there is to listen on every address of the machine."""
    return is_address(host) and ip_address(host).is_unspecified


def is_within(address: str, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    """Whether the *address* of a peer, as its socket shows it, is in one of *networks*.

    Raises:
        ValueError: it is no IP address.
    """
    numeric = _numeric(address)
    return any(numeric in network for network in networks)


def _numeric(address: str) -> IPv4Address | IPv6Address:
    """An IPv4 peer of a socket for both versions shows as ::ffff:10.0.0.5, a link-local one with its zone."""
    numeric = ip_address(address.partition("%")[0])
    return getattr(numeric, "ipv4_mapped", None) or numeric


def _addresses(host: str) -> set[str]:
    try:
        found = within(_RESOLVING, lambda: socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError):
        return set()
    return {str(one[4][0]) for one in found}
