"""One look at a port that met our A-ASSOCIATE-RQ with silence or a close: does it speak TLS or HTTP?

What is seen is an observation and no more. TLS goes first, for a port of HTTPS answers plain HTTP too. A peer that is
too busy for either is met by two short connections, one that answers by a PDU by a single one.
Nothing is verified, and nothing is sent over TLS but the handshake.
"""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self

from minipacs.certificate import subject
from minipacs.escape import escape
from minipacs.wire.pdu import PDU_CLASSES

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from types import TracebackType

LONGEST = 1.0
"""Seconds that a look takes at most."""

_CHUNK = 1 << 12
_MOST = 1 << 16  # bytes that are read of a port
_PDU_TYPES = {bytes([pdu_type]) for pdu_type in PDU_CLASSES}
_HANDSHAKE, _ALERT = b"\x16\x03", b"\x15\x03"  # records (RFC 8446 §5.1)
_VERSIONS = {b"\x03\x01": "TLSv1", b"\x03\x02": "TLSv1.1", b"\x03\x03": "TLSv1.2"}  # in a ServerHello


def look(family: int, address: tuple[Any, ...], timeout: float) -> str:
    """Return what the port at *address* speaks, in words; empty when it does not tell.

    Args:
        family: that of the socket.
        address: as ``socket.connect`` takes it.
        timeout: seconds that it may take; never more than LONGEST.
    """
    now, timeout = perf_counter(), min(timeout, LONGEST)
    line = _Line(family, address, now + timeout / 2)
    words = _tls(line)
    if not words and line.received[:1] not in _PDU_TYPES:
        line = _Line(family, address, now + timeout)
        _http(line)
    if version := re.match(rb"HTTP/\d(\.\d)?", line.received):
        words = version[0].decode()
    return f"port {address[1]} speaks {words}" if words else ""


class _Line:
    """A connection, and all that came on it until its deadline."""

    def __init__(self, family: int, address: tuple[Any, ...], deadline: float) -> None:
        self._family = family
        self._address = address
        self._deadline = deadline
        self.received = b""

    def __enter__(self) -> Self:
        self._socket = socket.socket(self._family, socket.SOCK_STREAM)
        try:
            self._watch()
            self._socket.connect(self._address)
        except BaseException:
            self._socket.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def ask(self, data: bytes) -> bytes:
        """Send *data* and return what comes next; nothing when the peer has closed or has said enough."""
        self._watch()
        self._socket.sendall(data)
        self._watch()
        answer = self._socket.recv(_CHUNK) if len(self.received) < _MOST else b""
        self.received += answer
        return answer

    def _watch(self) -> None:
        remaining = self._deadline - perf_counter()
        if remaining <= 0:
            raise TimeoutError
        self._socket.settimeout(remaining)


def _http(line: _Line) -> None:
    with suppress(OSError), line:
        line.ask(b"HEAD / HTTP/1.0\r\n\r\n")
        while b"\n" not in line.received and line.ask(b""):
            pass


def _tls(line: _Line) -> str:
    """Return the version, whom the certificate is for, and whether ours is demanded, as far as they can be had."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing)
    words, is_refused = "", False
    try:
        with line:
            while not _is_through(tls.do_handshake) and incoming.write(line.ask(outgoing.read())):
                pass
            words = _version_and_owner(tls)
            # In TLS 1.3 the server judges us after our last word, and tells by an alert or by a ticket.
            if tls.version() == "TLSv1.3" and incoming.write(line.ask(outgoing.read())):
                _is_through(partial(tls.read, 1))
    except ssl.SSLError as error:
        is_refused = "ALERT" in (error.reason or "")
    except OSError:
        pass
    if line.received.startswith(_ALERT):
        return "TLS, and refuses our handshake"
    if not line.received.startswith(_HANDSHAKE):
        return ""
    words = words or _VERSIONS.get(line.received[9:11], "TLS")
    return f"{words}, and demands a certificate of ours" if is_refused else words


def _is_through(step: Callable[[], object]) -> bool:
    """Go on with the handshake or the reading; whether it needs no more bytes."""
    import ssl

    try:
        step()
    except ssl.SSLWantReadError:
        return False
    return True


def _version_and_owner(tls: ssl.SSLObject) -> str:
    try:
        owner = subject(tls.getpeercert(binary_form=True) or b"")
    except ValueError:  # the handshake was not finished
        return ""
    return f"{tls.version()}, with a certificate for {escape(owner)}" if owner else str(tls.version())
