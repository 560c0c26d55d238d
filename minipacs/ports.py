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


async def listening_sockets(host: str, port: int, where: str) -> list[socket.socket]:
    """Return a socket that listens for each address of *host*; of the first alone where the system chooses the port.

    Args:
        host: name or IP address.
        port: TCP port; 0: of the system's choice.
        where: names the setting of the port.

    Raises:
        ListenError: one cannot be, and none is open then; the message says why and what to do.
    """
    try:
        return _listening(await _addresses_of(host, port))
    except OSError as error:
        raise ListenError(_cannot_listen(host, port, error, where)) from None


async def _addresses_of(host: str, port: int) -> list[tuple[Any, ...]]:
    """What ``getaddrinfo`` says of where to listen, each address once."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    several = list({one[4][0]: one for one in found}.values())
    # A name may have several addresses; with a port of the system's choice each would get another.
    return several if port else several[:1]


def _listening(addresses: Sequence[tuple[Any, ...]]) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, address in addresses:
            sockets.append(socket.create_server(address, family=family, backlog=_BACKLOG))
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
