"""The options of every socket of ours, in both roles."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio.trsock import TransportSocket

_TCP_QUICKACK = getattr(socket, "TCP_QUICKACK", None)  # Linux


def tune(sock: socket.socket | TransportSocket) -> None:
    """Send small PDUs at once, and acknowledge at once."""
    with suppress(OSError):  # some systems refuse on a connection that the peer has reset; reading it tells
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    acknowledge_at_once(sock)


def acknowledge_at_once(sock: socket.socket | TransportSocket) -> None:
    """Acknowledge what came, where nothing that we send does; the option does not stick, so call this each time.

    DCMTK, and so Orthanc, writes a P-DATA-TF in two sends with Nagle's algorithm on: the second waits for the
    acknowledgement of the first, which a delayed one holds back for about 43 ms. Behind a whole PDU our answer
    acknowledges it, and to do so twice would cost a tenth of an echo.
    """
    if _TCP_QUICKACK is not None:
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, _TCP_QUICKACK, 1)
