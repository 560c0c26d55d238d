"""The seven PDUs of the upper layer as values, and their bytes (PS3.8 §9.3).

They are written exactly and read tolerantly: a deviation that does no harm is told to *observe*, what cannot be
read raises PDUError. This file knows no state: whether a PDU may come now is the business of association.py.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from msgspec import Struct

from minipacs.errors import PDUError
from minipacs.wire.associate import AssociateAC, AssociateRJ, AssociateRQ
from minipacs.wire.header import check_length, pdu_bytes

if TYPE_CHECKING:
    from minipacs.wire.items import Observe

_PDV_HEADER = struct.Struct(">IBB")


class PDV(Struct, frozen=True):
    """One presentation data value item (PS3.8 §9.3.5.1 and Annex E): a fragment of a message."""

    context_id: int
    is_command: bool
    is_last: bool
    data: bytes


class PDataTF(Struct, frozen=True):
    """P-DATA-TF (PS3.8 §9.3.5)."""

    TYPE: ClassVar[int] = 0x04
    NAME: ClassVar[str] = "P-DATA-TF"

    pdvs: tuple[PDV, ...]

    def encode(self) -> bytes:
        """Return the whole PDU as bytes."""
        body = b""
        for pdv in self.pdvs:
            control = pdv.is_command | pdv.is_last << 1
            body += _PDV_HEADER.pack(len(pdv.data) + 2, pdv.context_id, control) + pdv.data
        return pdu_bytes(self.TYPE, body)

    @classmethod
    def decode(cls, body: bytes, observe: Observe) -> PDataTF:
        """Read the body of the PDU; PDUError when a length in it does not fit."""
        pdvs, position = [], 0
        while position < len(body):
            if position + 6 > len(body):
                raise PDUError("a PDV item is cut short")
            length, context_id, control = _PDV_HEADER.unpack_from(body, position)
            end = position + 4 + length
            if length < 2 or end > len(body):
                raise PDUError(f"PDV item of {length} bytes in a P-DATA-TF of {len(body)}")
            if control & 0xFC:
                observe(f"reserved bits of the message control header set: 0x{control:02X}")
            pdvs.append(PDV(context_id, bool(control & 1), bool(control & 2), body[position + 6 : end]))
            position = end
        if not pdvs:
            raise PDUError("P-DATA-TF without a PDV item")
        return cls(tuple(pdvs))


class ReleaseRQ(Struct, frozen=True):
    """A-RELEASE-RQ (PS3.8 §9.3.6)."""

    TYPE: ClassVar[int] = 0x05
    NAME: ClassVar[str] = "A-RELEASE-RQ"

    def encode(self) -> bytes:
        """Return the whole PDU as bytes."""
        return pdu_bytes(self.TYPE, bytes(4))

    @classmethod
    def decode(cls, body: bytes, observe: Observe) -> ReleaseRQ:
        """Read the body of the PDU, which says nothing."""
        check_length(cls.NAME, body, 4, observe)
        return cls()


class ReleaseRP(Struct, frozen=True):
    """A-RELEASE-RP (PS3.8 §9.3.7)."""

    TYPE: ClassVar[int] = 0x06
    NAME: ClassVar[str] = "A-RELEASE-RP"

    def encode(self) -> bytes:
        """Return the whole PDU as bytes."""
        return pdu_bytes(self.TYPE, bytes(4))

    @classmethod
    def decode(cls, body: bytes, observe: Observe) -> ReleaseRP:
        """Read the body of the PDU, which says nothing."""
        check_length(cls.NAME, body, 4, observe)
        return cls()


class Abort(Struct, frozen=True):
    """A-ABORT (PS3.8 §9.3.8), written ``source/reason``; source 0 is the service user, 2 the provider."""

    TYPE: ClassVar[int] = 0x07
    NAME: ClassVar[str] = "A-ABORT"

    # Reasons of the service provider.
    UNRECOGNIZED_PDU: ClassVar[int] = 1
    UNEXPECTED_PDU: ClassVar[int] = 2

    source: int = 0
    reason: int = 0

    def __str__(self) -> str:
        """Return the codes as they are written everywhere: ``2/6``."""
        return f"{self.source}/{self.reason}"

    def encode(self) -> bytes:
        """Return the whole PDU as bytes."""
        return pdu_bytes(self.TYPE, bytes([0, 0, self.source, self.reason]))

    @classmethod
    def decode(cls, body: bytes, observe: Observe) -> Abort:
        """Read the body of the PDU; codes outside the table are kept as they are."""
        check_length(cls.NAME, body, 4, observe)
        return cls(body[2], body[3])


PDU: TypeAlias = AssociateRQ | AssociateAC | AssociateRJ | PDataTF | ReleaseRQ | ReleaseRP | Abort

PDU_CLASSES: dict[int, type[PDU]] = {
    cls.TYPE: cls for cls in (AssociateRQ, AssociateAC, AssociateRJ, PDataTF, ReleaseRQ, ReleaseRP, Abort)
}
