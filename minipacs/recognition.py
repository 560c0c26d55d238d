"""What a peer did → the outcome of an echo, and the code of its row in the catalogue.

The rows themselves are in diagnosis.py.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from minipacs.echo_result import Outcome
from minipacs.escape import hex_dump
from minipacs.wire.associate import AssociateRJ
from minipacs.wire.indications import Closed, Violation
from minipacs.wire.messages import Message
from minipacs.wire.pdu import PDU_CLASSES, Abort, ReleaseRQ

if TYPE_CHECKING:
    from minipacs.wire.indications import Indication

_ROUTING_ERRORS = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN})

_REJECTIONS = {
    (1, 1): "rejected.no-reason",
    (1, 2): "rejected.application-context",
    (1, 3): "rejected.calling-ae-title",
    (1, 7): "rejected.called-ae-title",
    (2, 1): "rejected.no-reason",
    (2, 2): "rejected.protocol-version",
    (3, 1): "rejected.congestion",
    (3, 2): "rejected.limit",
}

_CONTEXT_RESULTS = {
    1: "no-context.user-rejection",
    2: "no-context.no-reason",
    3: "no-context.abstract-syntax",
    4: "no-context.transfer-syntaxes",
}

_STATUSES = {
    0x0122: "failure.sop-class-not-supported",
    0x0210: "failure.duplicate-invocation",
    0x0211: "failure.unrecognized-operation",
    0x0212: "failure.mistyped-argument",
}

_HTTP_METHODS = (b"GET ", b"POST", b"HEAD", b"PUT ", b"OPTI", b"DELE", b"CONN", b"TRAC", b"PATC", b"PRI ")


def of_rejection(result: int, source: int, reason: int) -> str:
    """Return the code of the row for an A-ASSOCIATE-RJ (PS3.8 §9.3.4)."""
    return _REJECTIONS.get((source, reason), "rejected.unknown") if result in {1, 2} else "rejected.unknown"


def of_context_result(result: int | None, is_implicit_proposed: bool = True) -> str:
    """Return the code of the row for a refused presentation context (PS3.8 Table 9-18); None: no answer for it."""
    if result == 4 and not is_implicit_proposed:
        return "no-context.proposal"
    return _CONTEXT_RESULTS.get(-1 if result is None else result, "no-context.unknown")


def of_status(status: int) -> str:
    """Return the code of the row for the status of a C-ECHO-RSP (PS3.7 §9.3.5, Annex C)."""
    return _STATUSES.get(status, "failure.other")


def protocol_of(first_bytes: bytes) -> str:
    """Tell ``http``, ``tls`` or ``noise`` by the bytes that a stream begins with."""
    if first_bytes.startswith((b"HTTP/", *_HTTP_METHODS)):
        return "http"
    # A TLS record of type handshake or alert, version 3.x (RFC 8446 §5.1).
    if first_bytes[:1] in {b"\x15", b"\x16"} and first_bytes[1:2] in {b"\x03", b""}:
        return "tls"
    return "noise"


class Failed(Exception):
    """A call leads no further.

    Attributes:
        outcome: of the echo.
        code: the row of the catalogue.
        detail: what fills its words.
        codes: those of the A-ASSOCIATE-RJ or A-ABORT.
        seen: what else was seen, in words; empty for nothing.
    """

    def __init__(self, outcome: Outcome, code: str, detail: str = "", codes: object = "") -> None:
        super().__init__(code)
        self.outcome = outcome
        self.code = code
        self.detail = detail
        self.codes = codes
        self.seen = ""


def unreachable(error: OSError | UnicodeError) -> Failed:
    """Name the cause of a connection that did not open."""
    if isinstance(error, UnicodeError):
        return Failed(Outcome.UNREACHABLE, "unreachable.name", "no valid host name")
    if isinstance(error, socket.gaierror):
        code = "unreachable.name"
    elif isinstance(error, ConnectionRefusedError):
        code = "unreachable.refused"
    elif isinstance(error, TimeoutError):
        code = "unreachable.timeout"
    else:
        code = "unreachable.no-route" if error.errno in _ROUTING_ERRORS else "unreachable.other"
    return Failed(Outcome.UNREACHABLE, code, error.strerror or str(error))


def not_associated(answer: Indication) -> Failed:
    """Name the cause of an A-ASSOCIATE-RQ that was not accepted."""
    if isinstance(answer, AssociateRJ):
        code = of_rejection(answer.result, answer.source, answer.reason)
        return Failed(Outcome.REJECTED, code, codes=answer)
    if isinstance(answer, Abort):
        return Failed(Outcome.ABORTED, "aborted.at-association", codes=answer)
    if not isinstance(answer, Violation):
        return Failed(Outcome.NO_ASSOCIATION, "no-association.closed")
    if answer.first_bytes[0] in PDU_CLASSES:
        return Failed(Outcome.ABORTED, "aborted.invalid", answer.text)
    protocol = protocol_of(answer.first_bytes)
    return Failed(Outcome.NO_ASSOCIATION, f"no-association.{protocol}", hex_dump(answer.first_bytes))


def interrupted(indication: Indication) -> Failed:
    """Name the cause of an association that ended, or went astray, where a C-ECHO-RSP belonged."""
    if isinstance(indication, Abort):
        return Failed(Outcome.ABORTED, "aborted.at-echo", codes=indication)
    if isinstance(indication, Violation):
        return Failed(Outcome.ABORTED, "aborted.invalid", indication.text)
    code = "aborted.released" if isinstance(indication, ReleaseRQ) else "aborted.closed"
    return Failed(Outcome.ABORTED, code)


def ended_between_echoes(indication: Indication) -> Failed:
    """Name the cause of an association that ended when nothing was asked."""
    if isinstance(indication, Violation):
        return Failed(Outcome.ABORTED, "aborted.invalid", indication.text)
    return Failed(Outcome.ABORTED, "aborted.between-echoes", name_of(indication))


def name_of(indication: Indication) -> str:
    """Return what the standard calls it, or else what it is."""
    if isinstance(indication, Closed):
        return "a close of the connection"
    if isinstance(indication, Violation):
        return f"a breach of the protocol ({indication.text})"
    return "a message" if isinstance(indication, Message) else indication.NAME
