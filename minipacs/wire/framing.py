"""A stream of bytes cut into PDUs (PS3.8 §9.3.1), with a limit on each length that a peer announces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minipacs.errors import PDUError
from minipacs.wire.associate import AssociateAC, AssociateRQ
from minipacs.wire.header import HEADER_LENGTH, read_header
from minipacs.wire.pdu import PDU, PDU_CLASSES, Abort, PDataTF

if TYPE_CHECKING:
    from collections.abc import Callable

    from minipacs.wire.items import Observe

MAXIMUM_LENGTH = 16_384
"""The P-DATA-TF that we announce to take, in bytes: what DCMTK and Orthanc announce."""

ASSOCIATE_PDU_LIMIT = 1 << 20
"""The A-ASSOCIATE PDU that we take, in bytes. 128 contexts of 100 transfer syntaxes need less; DCMTK's limit too."""

# A-RELEASE and A-ABORT have 4 bytes; this much is tolerated before the length is taken for noise.
_SHORT_PDU_LIMIT = 1024


class PDUReader:
    """Takes bytes as they come and gives whole PDUs.

    Args:
        associate_pdu_limit: the longest A-ASSOCIATE PDU that is taken, in bytes of its body.
        p_data_limit: the longest P-DATA-TF that is taken, in bytes of its body; 0: any.
        on_bytes: told of the bytes of each PDU before it is read, and of what is there of one that will not be.
    """

    def __init__(
        self, associate_pdu_limit: int, p_data_limit: int, on_bytes: Callable[[bytes], None] | None = None
    ) -> None:
        self.p_data_limit = p_data_limit
        self._associate_pdu_limit = associate_pdu_limit
        self._on_bytes = on_bytes
        self._received = bytearray()

    @property
    def is_partial(self) -> bool:
        """Whether a PDU has begun and not ended."""
        return bool(self._received)

    @property
    def first_bytes(self) -> bytes:
        """The first bytes that are not read yet, up to the 64th."""
        return bytes(self._received[:64])

    def feed(self, data: bytes) -> None:
        """Take bytes that came."""
        self._received += data

    def clear(self) -> None:
        """Forget what is not read yet."""
        self._received.clear()

    def give_up(self) -> None:
        """Forget a PDU that has begun and will not end."""
        if self._received and self._on_bytes is not None:
            self._on_bytes(bytes(self._received))
        self._received.clear()

    def next_pdu(self, observe: Observe) -> PDU | None:
        """Return the next PDU, or None until it is whole.

        Raises:
            PDUError: its type is unknown or its length over the limit (known before its body came), or it is malformed.
        """
        try:
            end = self._end()
        except PDUError:
            self.give_up()
            raise
        if end is None:
            return None
        body = bytes(self._received[HEADER_LENGTH:end])
        if self._on_bytes is not None:
            self._on_bytes(bytes(self._received[:end]))
        pdu_class = PDU_CLASSES[self._received[0]]
        del self._received[:end]
        return pdu_class.decode(body, observe)

    def _end(self) -> int | None:
        """Return where the next PDU ends, or None until it is whole; PDUError when it is not to be waited for."""
        if not self._received:
            return None
        if self._received[0] not in PDU_CLASSES:
            raise PDUError(f"unknown PDU type 0x{self._received[0]:02X}", Abort.UNRECOGNIZED_PDU)
        if len(self._received) < HEADER_LENGTH:
            return None
        pdu_type, length = read_header(self._received)
        pdu_class = PDU_CLASSES[pdu_type]
        limit = self._limit(pdu_class)
        if limit and length > limit:
            raise PDUError(f"{pdu_class.NAME} of {length} bytes, more than the {limit} that we take")
        end = HEADER_LENGTH + length
        return end if len(self._received) >= end else None

    def _limit(self, pdu_class: type[PDU]) -> int:
        if pdu_class is PDataTF:
            return self.p_data_limit
        return self._associate_pdu_limit if pdu_class in {AssociateRQ, AssociateAC} else _SHORT_PDU_LIMIT
