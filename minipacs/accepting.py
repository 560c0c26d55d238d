"""The two ends of accepting connections: why it cannot begin, and how none is lost when it is over."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


async def finish_accepting(servers: Sequence[asyncio.Server]) -> None:
    """Close the listening sockets; what was accepted becomes a connection first, or nobody would close it."""
    for sock in [sock for server in servers for sock in server.sockets]:
        asyncio.get_running_loop().remove_reader(sock)
    for _ in range(3):
        await asyncio.sleep(0)
    for server in servers:
        server.close()


def cannot_listen(host: str, port: int, error: OSError, where: str) -> str:
    """Return why it cannot be listened there, and what to do; *where* names the setting of the port."""
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
