"""What all PDUs have in common: a type of one byte, a reserved byte, and a length of four (PS3.8 §9.3.1)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from minipacs.errors import PDUError

if TYPE_CHECKING:
    from minipacs.wire.items import Observe

HEADER_LENGTH = 6

_HEADER = struct.Struct(">BxI")


def read_header(data: bytes | bytearray) -> tuple[int, int]:
    """Return type and length of body of the PDU at the start of *data*, which has at least 6 bytes."""
    pdu_type, length = _HEADER.unpack_from(data)
    return pdu_type, length


def pdu_bytes(pdu_type: int, body: bytes) -> bytes:
    """Return *body* behind the header of a PDU of that type."""
    return _HEADER.pack(pdu_type, len(body)) + body


def check_length(name: str, body: bytes, length: int, observe: Observe) -> None:
    """Take a *body* of at least *length* bytes; more is tolerated, for the standard may yet fill it."""
    if len(body) < length:
        raise PDUError(f"{name} of {len(body)} bytes, not {length}")
    if len(body) > length:
        observe(f"{name} of {len(body)} bytes, not {length}")
