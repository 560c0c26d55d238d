"""Opening the ports of a node, and what is said where one cannot be opened."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING, Any

from minipacs.errors import ListenError

if TYPE_CHECKING:
    from collections.abc import Sequence

_BACKLOG = 512
_ATTEMPTS = 10  # to find a port that is free at each address
_NOT_HERE = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})  # as ::1 where IPv6 is switched off


async def listening_sockets(host: str, port: int, where: str) -> list[socket.socket]:
    """Return a socket that listens for each address of *host*, all of them on one port.

    Args:
        host: name or IP address.
        port: TCP port; 0: of the system's choice.
        where: names the setting of the port.

    Raises:
        ListenError: one cannot be, and none is open then; the message says why and what to do.
    """
    try:
        return _listening_if_need_be_again(await _addresses_of(host, port), is_any_port=port == 0)
    except OSError as error:
        raise ListenError(_cannot_listen(host, port, error, where)) from None


async def _addresses_of(host: str, port: int) -> list[tuple[Any, ...]]:
    """What ``getaddrinfo`` says of where to listen, each address once: a name such as localhost may have several."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list({one[4][0]: one for one in found}.values())


def _listening_if_need_be_again(addresses: Sequence[tuple[Any, ...]], *, is_any_port: bool) -> list[socket.socket]:
    """The port that the system chooses for the first address may be in use at another."""
    for attempts_left in reversed(range(_ATTEMPTS)):
        try:
            return _listening(addresses)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not is_any_port or not attempts_left:
                raise
    raise AssertionError


def _listening(addresses: Sequence[tuple[Any, ...]]) -> list[socket.socket]:
    """All on the port of the first; without the addresses that this machine does not have, if it has one of them."""
    sockets: list[socket.socket] = []
    port = addresses[0][4][1]
    try:
        for one in addresses:
            place = (one[4][0], port, *one[4][2:])
            try:
                sockets.append(socket.create_server(place, family=one[0], backlog=_BACKLOG))
            except OSError as error:
                if error.errno not in _NOT_HERE or (one is addresses[-1] and not sockets):
                    raise
            else:
                port = sockets[0].getsockname()[1]
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _cannot_listen(host: str, port: int, error: OSError, where: str) -> str:
    place = f"cannot listen on {host} port {port}"
    if error.errno == errno.EADDRINUSE:
        return f"{place}: the port is in use; stop what listens there, or choose another with {where}"
    if error.errno == errno.EACCES:
        return (
            f"{place}: ports below 1024 need privileges; choose another with {where} (11112 and 2762 are DICOM's own)"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{place}: that is not an address of this machine; choose one with --host (0.0.0.0: all of them)"
    if isinstance(error, socket.gaierror):
        return f"{place}: the name does not resolve; choose an address of this machine with --host"
    return f"{place}: {error.strerror or error}"
