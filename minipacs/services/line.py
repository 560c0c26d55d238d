"""The connection of an association that pynetdicom carries on for us, opened as an echo opens its own.

It tells what pynetdicom does not: what came in place of an A-ASSOCIATE-AC, and how the connection was lost. Nothing
waits on it for longer than its timeout, and what is still to be sent is bounded, however long the object.
"""

from __future__ import annotations

import queue
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING, Any

from pynetdicom.pdu_primitives import P_DATA

from minipacs.services.bell import Ringing
from minipacs.services.buffered_socket import BufferedSocket
from minipacs.tcp import acknowledge_at_once
from minipacs.wire.associate import AssociateAC

if TYPE_CHECKING:
    import socket

    from pynetdicom.association import Association
    from pynetdicom.transport import T_CONNECT

    from minipacs.services.promptness import PromptAssociation
    from minipacs.wire.association import Association as Engine
    from minipacs.wire.indications import Indication

_CHUNK = 1 << 16
_P_DATA, _ABORT = b"\x04", b"\x07"  # the first byte of these PDUs
_QUEUED = 32  # P-DATA-TF
_PATIENCE = 0.1  # seconds between two looks whether the connection is still there


class LineBroken(Exception):
    """The connection was lost while we sent."""


class Line(BufferedSocket):
    """An open connection, as pynetdicom wants it.

    Args:
        association: whose it is; it asks for the association, and has not begun.
        sock: the open connection.
        timeout: seconds to wait for the rest of a PDU, or for the peer to take what we send.
        engine: waits for the answer to the same request. pynetdicom is shown none but an A-ASSOCIATE-AC that can be
            read; where another comes, or nothing, the connection is closed to it.

    Attributes:
        answer: what came in place of an A-ASSOCIATE-AC; None when one came, or nothing at all.
        error: why we could not send or receive, when the peer did not simply close.
        is_broken: whether nothing can be sent any more.
        is_closed: whether the peer has closed.
        has_received: whether anything came.
    """

    def __init__(self, association: Association, sock: socket.socket, timeout: float, engine: Engine) -> None:
        super().__init__(association, client_socket=sock)
        self.event_queue.get_nowait()  # its Evt5 is for connections that somebody else asked for (PS3.8 Table 9-10)
        sock.settimeout(timeout)
        self._connection = sock  # which pynetdicom forgets before it has closed it
        self._timeout = timeout
        self._engine: Engine | None = engine
        self._is_told = self._is_over = False
        self.answer: Indication | None = None
        self.error: OSError | None = None
        self.is_broken = self.is_closed = self.has_received = False

    def connect(self, primitive: T_CONNECT) -> None:
        """Tell that the connection is there, as it is."""
        self._is_told = True
        primitive.result = "Evt2"
        self.provider_queue.put(primitive)

    @property
    def ready(self) -> bool:
        """Whether there is something to read, now that pynetdicom knows of the connection; then once of its end."""
        return self._is_told and not self._is_over and super().ready

    def recv(self, nr_bytes: int) -> bytearray:
        """Return so many bytes, or fewer when no more are to be had.

        Raises:
            OSError: the connection was lost, or the rest did not come in time.
        """
        deadline = perf_counter() + self._timeout
        try:
            if self._loss is not None:
                raise self._loss
            if self._engine is not None and not self._is_accepted(self._engine, deadline):
                return bytearray()
            while len(self._received) < nr_bytes and self._receive(deadline):
                pass
        except OSError as error:
            self.error = error
            self.is_broken = self._is_over = True
            raise
        self.is_readable = False
        data, self._received = self._received[:nr_bytes], self._received[nr_bytes:]
        self._is_over = len(data) < nr_bytes
        return data

    def _is_accepted(self, engine: Engine, deadline: float) -> bool:
        """Read the answer to our request, and whether it is an A-ASSOCIATE-AC."""
        answer = None
        chunk = bytes(self._received) or self._receive(deadline)
        while chunk:
            self.has_received = True
            engine.receive_data(chunk)
            answer = engine.next_indication()
            chunk = self._receive(deadline) if answer is None else b""
        self._engine = None
        if isinstance(answer, AssociateAC):
            return True
        self.answer = answer
        self.send(engine.data_to_send())  # the A-ABORT that answers what is no answer
        self.is_broken = self._is_over = True
        return False

    def _receive(self, deadline: float) -> bytes:
        """Take what comes next; nothing when the peer has closed."""
        self._connection.settimeout(max(deadline - perf_counter(), 0.001))
        try:
            chunk = self._connection.recv(_CHUNK)
        finally:
            self._connection.settimeout(self._timeout)
        self._received += chunk
        if chunk:
            acknowledge_at_once(self._connection)
        else:
            self.is_broken = self.is_closed = True
        return chunk

    def send(self, bytestream: bytes) -> None:
        """Send them; when that fails, what the peer sent before is still to be read, and tells why."""
        try:
            if bytestream[:1] == _P_DATA and self._has_come():
                self._look()
            if not self.is_broken:
                self._connection.sendall(bytestream)
        except OSError as error:
            self.error = error if isinstance(error, TimeoutError) else self.error
            self.is_broken = True

    def _look(self) -> None:
        """Take what comes while we send: for an A-ABORT, pynetdicom would look only when all is sent."""
        if not self.has_more:
            self._receive(perf_counter() + self._timeout)
        if self._received[:1] == _ABORT:
            self.is_broken = True

    def shut(self) -> None:
        """Close, whether anybody did before or not."""
        self._connection.close()


class Outgoing(Ringing):
    """What pynetdicom is to send, of which it takes no more than the connection carries away."""

    def __init__(self, association: PromptAssociation, line: Line) -> None:
        super().__init__(association.dul.ring, _QUEUED)
        self._association = association
        self._line = line

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:  # noqa: ARG002 - pynetdicom gives neither
        """Wait until there is room for a P-DATA-TF; all else is taken at once.

        Raises:
            LineBroken: there will be none.
        """
        while isinstance(item, P_DATA):
            if self._line.is_broken or not self._association.dul.is_alive():
                raise LineBroken
            with suppress(queue.Full):
                return super().put(item, timeout=_PATIENCE)
        with self.mutex:
            self._put(item)
            self.not_empty.notify()
        return None
