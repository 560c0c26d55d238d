"""What an association tells its user: a PDU that came, a message, or one of the two ends that are no PDU."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from minipacs.wire.associate import AssociateAC, AssociateRJ, AssociateRQ
from minipacs.wire.messages import Message
from minipacs.wire.pdu import Abort, ReleaseRP, ReleaseRQ


class Violation(Struct, frozen=True):
    """The peer broke the protocol and was answered by A-ABORT (PS3.8 Table 9-9, AA-1 and AA-8).

    Attributes:
        text: what it did, in words of ours.
        abort: what we sent.
        first_bytes: the bytes of the offending PDU, up to the 64th; they tell HTTP and TLS from broken DICOM.
    """

    text: str
    abort: Abort
    first_bytes: bytes


class Closed(Struct, frozen=True):
    """The connection closed without A-RELEASE or A-ABORT: an A-P-ABORT indication (AA-4)."""


Indication: TypeAlias = (
    AssociateRQ | AssociateAC | AssociateRJ | Message | ReleaseRQ | ReleaseRP | Abort | Violation | Closed
)
