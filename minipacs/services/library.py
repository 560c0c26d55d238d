"""pynetdicom as we run it: data sets in pieces by way of files, never whole in memory, and nothing printed or logged.

Whoever uses it beyond its names imports this module first.
"""

from __future__ import annotations

import socket
from contextlib import suppress

from pynetdicom import _config
from pynetdicom.transport import AssociationSocket

_config.STORE_SEND_CHUNKED_DATASET = True
_config.STORE_RECV_CHUNKED_DATASET = True
_config.LOG_HANDLER_LEVEL = "none"  # it would format every PDU, for a log that nobody reads
_config.PASS_CONTEXTVARS = True  # to the threads of an association, from whoever begins it
_config.LOG_REQUEST_IDENTIFIERS = False
_config.LOG_RESPONSE_IDENTIFIERS = False


def _shutdown_socket(self: AssociationSocket) -> None:
    """Close it; pynetdicom's own leaves the descriptor open where the peer was quicker, until garbage is collected."""
    sock = self.socket  # which another thread may forget meanwhile
    if sock is not None:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        sock.close()


AssociationSocket._shutdown_socket = _shutdown_socket  # type: ignore[method-assign]
