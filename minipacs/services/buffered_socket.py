"""The connection of an association of pynetdicom, which is read in pieces of many PDUs, and closed when it is to be.

pynetdicom's own tells nobody why it could not be opened, reads 4 096 bytes at a time, looks by select(2), which knows
no descriptor above 1 023, and leaves the descriptor open where the peer was quicker to close, until it is collected.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import threading
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
        self._loss: OSError | None = None  # of the connection, for whoever reads next
        self.is_readable = False
        self.error: OSError | None = None
        self._changing = threading.Lock()  # while the socket becomes another, or begins to connect
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

    def close(self) -> None:
        """Close the connection, if there is one, and tell the state machine.

        That there was one is to be seen still by who has asked for it: it may have been accepted, answered, and closed
        again before that thread has its turn, and finds the answer in its queue.
        """
        self._shutdown_socket()
        if self.socket is not None and self._is_connected:
            self.socket = None
            self.event_queue.put(_CLOSED)

    def _open(self, address: Any) -> None:
        patience = self.assoc.connection_timeout
        self._connect(address, patience)
        assert self.socket is not None
        self.socket.settimeout(patience)
        if self.tls_args is not None:
            self._secure(*self.tls_args)
        self.socket.settimeout(None)
        tune(self.socket)
        self._is_tcp = True
        self.assoc.requestor.address_info = AddressInformation.from_tuple(self.socket.getsockname())

    def cut(self) -> None:
        """End it from another thread, whatever it waits for: to be connected, to be secured, to be taken or sent."""
        with self._changing:
            if self.socket is not None:
                with suppress(OSError):
                    self.socket.shutdown(socket.SHUT_RDWR)

    def _connect(self, address: Any, patience: float | None) -> None:
        """Connect so that it can be cut at any time: connect(2) returns at once, and then it is waited."""
        assert self.socket is not None
        self.socket.setblocking(False)
        with self._changing:
            self._check()
            error = self.socket.connect_ex(address)
        if error == errno.EINPROGRESS:
            poll = select.poll()
            poll.register(self.socket, select.POLLOUT)
            if not poll.poll(None if patience is None else patience * 1000):
                raise TimeoutError("timed out")
            error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))

    def _secure(self, context: ssl.SSLContext, host: str) -> None:
        assert self.socket is not None
        with self._changing:
            self._check()
            secured = context.wrap_socket(self.socket, server_hostname=host, do_handshake_on_connect=False)
            self.socket = secured
        secured.do_handshake()

    def _check(self) -> None:
        """Raise OSError where the association is over before it began."""
        association: Any = self.assoc
        if association.is_cut:
            raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))

    @property
    def ready(self) -> bool:
        """Whether there is something to read, or the end of it."""
        connection = self.socket
        if connection is None or self.has_more:
            return connection is not None
        return self._has_come() if isinstance(connection, ssl.SSLSocket) else self.is_readable or self._has_come()

    @property
    def has_more(self) -> bool:
        """Whether there is something that need not be waited for."""
        connection = self.socket
        is_deciphered = isinstance(connection, ssl.SSLSocket) and connection.pending() > 0
        return bool(self._received) or self._loss is not None or is_deciphered

    def recv(self, nr_bytes: int) -> bytearray:
        """Return so many bytes, or fewer where the peer closes before.

        Raises:
            OSError: the connection is lost.
        """
        connection = self.socket
        assert connection is not None
        if self._loss is not None:
            raise self._loss
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
            has_come = bool(poll.poll(0))
        except (OSError, ValueError):
            self.event_queue.put(_CLOSED)
            return False
        return self._deciphers(connection) if has_come and isinstance(connection, ssl.SSLSocket) else has_come

    def _deciphers(self, connection: ssl.SSLSocket) -> bool:
        """Whether what has come is ours to read; if so, it is read.

        It may be a matter of TLS alone, as a session ticket is (RFC 8446 §4.6.1): whoever waited for what comes behind
        it would not send what that is the answer to.
        """
        patience = connection.gettimeout()
        connection.settimeout(0)
        try:
            self._received += connection.recv(_PIECE)
        except ssl.SSLWantReadError:
            self.is_readable = False
            return False
        except OSError as error:
            self._loss = error
        finally:
            connection.settimeout(patience)
        return True

    def _shutdown_socket(self) -> None:
        connection = self.socket  # which another thread may forget meanwhile
        if connection is not None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
