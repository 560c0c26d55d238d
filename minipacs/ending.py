"""How a connection of a peer ended: the words for it, and the record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from minipacs.association_record import AssociationOutcome, AssociationRecord
from minipacs.diagnosis import Diagnosis, diagnose, elsewhere
from minipacs.escape import escape, hex_dump
from minipacs.recognition import protocol_of
from minipacs.wire.pdu import PDU_CLASSES

if TYPE_CHECKING:
    from minipacs.admission import Admission
    from minipacs.handover import Usage
    from minipacs.wire.associate import AssociateRQ
    from minipacs.wire.indications import Violation


class Ended(Protocol):
    """A connection, with what is told of it at its end."""

    address: str
    admission: Admission | None

    @property
    def request(self) -> AssociateRQ | None:
        """What the peer asked for."""

    @property
    def usage(self) -> Usage | None:
        """What was done by the server that it was handed over to; None when it was not."""

    @property
    def echoes(self) -> int:
        """C-ECHO-RQ answered with success."""

    @property
    def observations(self) -> tuple[str, ...]:
        """The deviations that were tolerated."""

    @property
    def implementation_version(self) -> str:
        """What the peer calls itself; empty when it does not."""


def record_of(
    connection: Ended, outcome: AssociationOutcome, diagnosis: Diagnosis, reject: str | None, duration_ms: float
) -> AssociationRecord:
    """Return what became of the association that *connection* held or asked for.

    Args:
        connection: it ends now.
        outcome: how.
        diagnosis: why, in words.
        reject: result/source/reason of our A-ASSOCIATE-RJ, if there was one.
        duration_ms: milliseconds since it connected.
    """
    request, usage = connection.request, connection.usage
    peer = connection.admission.peer if connection.admission else None
    return AssociationRecord(
        calling_ae_title=escape(request.calling_ae_title) if request else None,
        called_ae_title=escape(request.called_ae_title) if request else None,
        address=connection.address,
        peer=peer.name if peer else None,
        outcome=outcome,
        echoes=connection.echoes,
        services=() if usage is None else usage.services,
        objects=0 if usage is None else usage.objects,
        bytes=0 if usage is None else usage.bytes,
        failures=0 if usage is None else usage.failures,
        reject=reject,
        code=diagnosis.code,
        reason=diagnosis.reason or None,
        fix=diagnosis.fix or None,
        observations=tuple(escape(observation) for observation in connection.observations),
        duration_ms=round(duration_ms, 3),
        implementation_version=escape(connection.implementation_version) or None,
    )


def diagnosis_of(
    connection: Ended, tls_port: int | None, code: str, detail: str = "", codes: object = "", timeout: float = 0.0
) -> Diagnosis:
    """Return the row *code* of the catalogue in the words for *connection*; *detail* is escaped here."""
    calling = escape(connection.request.calling_ae_title) if connection.request else "the peer"
    or_tls = elsewhere(tls_port, "TLS")
    facts = {"address": connection.address, "codes": codes, "timeout": timeout, "or_tls": or_tls}
    return diagnose(code, calling=calling, detail=escape(detail), **facts)


def violation(connection: Ended, fault: Violation) -> tuple[str, str]:
    """Return the row of the catalogue for a violation, and its detail: broken DICOM, or another protocol."""
    first_bytes = fault.first_bytes
    if connection.request is not None or not first_bytes or first_bytes[0] in PDU_CLASSES:
        return "inbound.invalid", fault.text
    return f"inbound.{protocol_of(first_bytes)}", f"its first bytes are {hex_dump(first_bytes)}"
