"""One connection on the port for TLS: the same as any other, behind a handshake that has its own deadline.

asyncio's own TLS keeps to itself which handshakes are open and why one failed; here each is counted, and told.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from minipacs.association_record import AssociationOutcome
from minipacs.connection import Connection
from minipacs.diagnosis import diagnose, elsewhere
from minipacs.errors import SettingsError
from minipacs.escape import escape, hex_dump
from minipacs.recognition import protocol_of
from minipacs.tcp import acknowledge_at_once
from minipacs.tls_recognition import of_caller, words_of
from minipacs.wire.pdu import PDU_CLASSES

if TYPE_CHECKING:
    from minipacs.listening import Listening
    from minipacs.tls import ServerTLS

_CHUNK = 1 << 16

_RECORD_HEADER = 5
_RECORD_LIMIT = 1 << 14
"""What a TLS record carries at most before anything is ciphered, in bytes (RFC 8446 §5.1)."""

_PROTOCOL_VERSION = bytes.fromhex("15 0303 0002 02 46")
"""A fatal alert (RFC 8446 §6.2): whoever speaks something else can tell by it that TLS is spoken here."""


class TLSConnection(Connection):
    """The acceptor's side of one connection by TLS.

    Args:
        listening: whoever listens.
        ours: our certificate, and those that we trust.
    """

    def __init__(self, listening: Listening[Connection], ours: ServerTLS) -> None:
        super().__init__(listening)
        self._ours = ours
        self._first_record: bytearray | None = bytearray()  # what came of it; None once OpenSSL has it
        self._hello: bytes | None = b""  # what came before we have answered
        self._is_open = False
        self._has_failed = False

    # --- called by the transport --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection; what is written from now on goes through TLS."""
        self._network = cast("asyncio.Transport", transport)
        self._ciphered = _CipheredTransport(self._network)
        super().connection_made(self._ciphered)
        self._alarm.set(self.started + self._timeouts.handshake)

    def data_received(self, data: bytes) -> None:
        """Go on with the handshake; after it, hand on what was deciphered."""
        acknowledge_at_once(self._socket)
        is_first, self._bytes_came = not self._bytes_came, True
        if self._has_failed:
            return
        if is_first and protocol_of(data) != "tls":
            self._refuse(data)
            return
        if self._first_record is not None:
            self._first_record += data
            self.listening.holds(self, len(self._first_record))
            if not _is_whole(self._first_record):
                return
            self._network.pause_reading()  # until its turn: nothing more is kept for it than this
            self.listening.in_turn(self, self._begin)
            return
        self._go_on_with(data)

    def eof_received(self) -> bool | None:
        """The peer sends no more, which it need not have told by close_notify; the transport closes after this."""
        if self._has_failed:
            return None
        if self._is_open:
            return super().eof_received()
        self._tell(AssociationOutcome.CLOSED, "tls-inbound.closed")
        return None

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone, perhaps in the middle of the handshake."""
        if not self._is_open:
            self._tell(AssociationOutcome.CLOSED, "tls-inbound.closed")
        super().connection_lost(error)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Begin with TLS, not before there is a record to read: OpenSSL takes 50 kB for each handshake."""
        if self.listening.is_tls_up_to_date(self._shake_hands):
            self._shake_hands()

    def _shake_hands(self) -> None:
        if self._network.is_closing() or self._first_record is None:
            return
        first_record, self._first_record = bytes(self._first_record), None
        self._wrap(self._ours.context())
        self.listening.holds(self, 0)
        self.listening.secures(self)
        self._network.resume_reading()
        self._go_on_with(first_record)

    def _wrap(self, context: ssl.SSLContext) -> None:
        self._incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, outgoing, server_side=True)
        self._ciphered.begin(self._tls, outgoing)

    def _go_on_with(self, data: bytes) -> None:
        """Decipher what came, and hand on what was said."""
        try:
            plain, is_at_end = self._decipher(data)
        except ssl.SSLError as error:
            self._fail(AssociationOutcome.INVALID, of_caller(error, is_agreed=self._hello is None), words_of(error))
            return
        except SettingsError as error:  # nothing is left to make a context with
            self._fail(AssociationOutcome.CLOSED, "tls-inbound.other", str(error))
            return
        self._ciphered.flush()
        if plain:
            super().data_received(plain)
        if is_at_end and not super().eof_received():
            self._ciphered.close()

    def _decipher(self, data: bytes) -> tuple[bytes, bool]:
        """Return what *data* makes readable, and whether the peer will send no more (close_notify)."""
        self._incoming.write(data)
        plain = bytearray()
        try:
            if not self._is_open:
                self._go_on_shaking_hands(data)
                self._is_open = True
                self.certificate = self._tls.getpeercert(binary_form=True)
                self._alarm.set(self._loop.time() + self._timeouts.request)
            while chunk := self._tls.read(_CHUNK):
                plain += chunk
        except ssl.SSLWantReadError:
            return bytes(plain), False
        except ssl.SSLZeroReturnError:  # so says Python where we have sent close_notify before
            pass
        return bytes(plain), True

    def _go_on_shaking_hands(self, data: bytes) -> None:
        """Go on, and resume no session: whoever calls is judged by the files and the clock of now.

        OpenSSL keeps the sessions of TLS 1.2 with their context, and Python has no word that forbids it. So the same
        ClientHello is answered by another context, which has none; nothing of the first answer has been sent.
        """
        if self._hello is not None:
            self._hello += data
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            if self._hello is None or not self._tls.session_reused:
                self._hello = None if self._ciphered.has_more_to_send else self._hello
                raise
            hello, self._hello = self._hello, None
            self._wrap(self._ours.new_context())
            self._incoming.write(hello)
            self._tls.do_handshake()

    def _refuse(self, first_bytes: bytes) -> None:
        protocol = protocol_of(first_bytes)
        code = "tls-inbound.plain" if first_bytes[0] in PDU_CLASSES else f"inbound.{protocol}"
        self._network.write(_PROTOCOL_VERSION)
        self._fail(AssociationOutcome.INVALID, code, f"its first bytes are {hex_dump(first_bytes)}")

    def _fail(self, outcome: AssociationOutcome, code: str, detail: str) -> None:
        """Send the alert, and give the peer a moment to close: a reset would take the alert away from it."""
        self._has_failed = True
        self._tell(outcome, code, detail)
        self._ciphered.end()
        self._alarm.set(self._loop.time() + self._timeouts.close)

    def _tell(self, outcome: AssociationOutcome, code: str, detail: str = "") -> None:
        facts = {"address": self.address, "detail": escape(detail), "timeout": self._timeouts.handshake}
        self.end(outcome, diagnose(code, or_plain=elsewhere(self.listening.port, "plain DICOM"), **facts))

    def _expire(self) -> None:
        if not self._is_open:
            self._tell(AssociationOutcome.TIMED_OUT, "tls-inbound.silence")
        if self._is_open and not self._has_failed:
            super()._expire()
        else:
            self.cut()


def _is_whole(record: bytearray) -> bool:
    """Whether a TLS record that has begun is there to its end, or is none that OpenSSL would wait for."""
    if len(record) < _RECORD_HEADER:
        return False
    length = int.from_bytes(record[3:_RECORD_HEADER])
    return record[1] != 3 or length > _RECORD_LIMIT or len(record) >= _RECORD_HEADER + length


class _CipheredTransport(asyncio.Transport):
    """What is written to it goes through TLS, once that has begun; the rest is that of the network's."""

    def __init__(self, network: asyncio.Transport) -> None:
        super().__init__()
        self._network = network
        self._tls: ssl.SSLObject | None = None
        self._is_ended = False

    def begin(self, tls: ssl.SSLObject, outgoing: ssl.MemoryBIO) -> None:
        self._tls = tls
        self._outgoing = outgoing

    @property
    def has_more_to_send(self) -> bool:
        return self._outgoing.pending > 0

    def flush(self) -> None:
        if self._tls is not None and not self._is_ended:
            self._network.write(self._outgoing.read())

    def end(self) -> None:
        """Say no more than what is said: whatever OpenSSL may have to say later goes nowhere."""
        if not self._is_ended:
            self.flush()
            self._is_ended = True
            with suppress(OSError):  # the peer has reset the connection
                self._network.write_eof()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._tls is not None and not self._is_ended:
            with suppress(ssl.SSLError):  # once it has failed, nothing can be said any more
                self._tls.write(data)
            self.flush()

    def close(self) -> None:
        if self._tls is not None and not self._is_ended and not self._network.is_closing():
            with suppress(ssl.SSLError):  # close_notify; that of the peer is not waited for, and nor is its handshake
                self._tls.unwrap()
            self.flush()
        self._network.close()

    def abort(self) -> None:
        self._network.abort()

    def is_closing(self) -> bool:
        return self._network.is_closing()

    def pause_reading(self) -> None:
        self._network.pause_reading()

    def resume_reading(self) -> None:
        self._network.resume_reading()

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self._network.get_extra_info(name, default)
