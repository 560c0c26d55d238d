"""The connection of an association of pynetdicom, which is read in pieces of many PDUs, and closed when it is to be.

pynetdicom's own tells nobody why it could not be opened, reads 4 096 bytes at a time, looks by select(2), which knows
no descriptor above 1 023, and leaves the descriptor open where the peer was quicker to close, until it is collected.
"""

from __future__ import annotations

import select
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pynetdicom import evt
from pynetdicom.transport import AddressInformation, AssociationSocket

from minipacs.tcp import acknowledge_at_once, tune

if TYPE_CHECKING:
    from pynetdicom.association import Association
    from pynetdicom.transport import T_CONNECT

_PIECE = 1 << 16  # bytes
_CONFIRMED, _CLOSED = "Evt2", "Evt17"  # PS3.8 Table 9-1


class BufferedSocket(AssociationSocket):
    """As pynetdicom makes it: of an open connection, or for one to be opened from *address*.

    Attributes:
        is_readable: whether it is known that something has come that has not been read; whoever waits for it sets it.
        error: why no connection could be opened; None when it could, or was open.
    """

    def __init__(
        self,
        assoc: Association,
        client_socket: socket.socket | None = None,
        address: AddressInformation | None = None,
    ) -> None:
        super().__init__(assoc, client_socket, address)
        self._received = bytearray()
        self.is_readable = False
        self.error: OSError | None = None
        self._is_tcp = False  # but for what is opened here, it is one end of a pair

    def connect(self, primitive: T_CONNECT) -> None:
        """Open the connection, by TLS if that is asked for, and tell the state machine; *error* says why it failed."""
        address = primitive.address_info.as_tuple
        try:
            self._open(address)
        except OSError as error:
            self.error = error
            self._shutdown_socket()
            self.socket = None
            primitive.result = _CLOSED
        else:
            self._is_connected = True
            evt.trigger(self.assoc, evt.EVT_CONN_OPEN, {"address": address})
            primitive.result = _CONFIRMED
        self.provider_queue.put(primitive)
        self._ready.set()

    def _open(self, address: Any) -> None:
        assert self.socket is not None
        if self.tls_args is not None:
            context, host = self.tls_args
            self.socket = context.wrap_socket(self.socket, server_hostname=host)
        self.socket.settimeout(self.assoc.connection_timeout)
        self.socket.connect(address)
        self.socket.settimeout(None)
        tune(self.socket)
        self._is_tcp = True
        self.assoc.requestor.address_info = AddressInformation.from_tuple(self.socket.getsockname())

    @property
    def ready(self) -> bool:
        """Whether there is something to read, or the end of it."""
        return self.socket is not None and (self.has_more or self.is_readable or self._has_come())

    @property
    def has_more(self) -> bool:
        """Whether there is something that need not be waited for."""
        connection = self.socket
        return bool(self._received) or (isinstance(connection, ssl.SSLSocket) and connection.pending() > 0)

    def recv(self, nr_bytes: int) -> bytearray:
        """Return so many bytes, or fewer where the peer closes before.

        Raises:
            OSError: the connection is lost.
        """
        connection = self.socket
        assert connection is not None
        while len(self._received) < nr_bytes and (piece := connection.recv(_PIECE)):
            self._received += piece
            if self._is_tcp:
                acknowledge_at_once(connection)
        self.is_readable = False
        taken = self._received[:nr_bytes]
        del self._received[:nr_bytes]
        return taken

    def _has_come(self) -> bool:
        """Whether something is there that has not been read from the connection."""
        connection = self.socket
        if connection is None or not self._is_connected:
            return False
        poll = select.poll()
        try:
            poll.register(connection, select.POLLIN)
            return bool(poll.poll(0))
        except (OSError, ValueError):
            self.event_queue.put(_CLOSED)
            return False

    def _shutdown_socket(self) -> None:
        connection = self.socket  # which another thread may forget meanwhile
        if connection is not None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
