"""A stream whose P-DATA-TF are for somebody else: cut into PDUs, and looked at, but for their data sets not kept.

What passes has the form that PS3.8 §9.3.5 and PS3.7 §6.3 ask for: whoever reads it behind us need not be on its guard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minipacs.errors import PDUError
from minipacs.wire.dimse import C_CANCEL_RQ, C_STORE_RQ, C_STORE_RSP, CommandSet
from minipacs.wire.header import HEADER_LENGTH, read_header
from minipacs.wire.messages import MessageAssembler
from minipacs.wire.pdu import PDU_CLASSES, Abort, PDataTF

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from minipacs.wire.items import Observe

IDENTIFIER_LIMIT = 1 << 20
"""The data set that we take of any message but a C-STORE-RQ, in bytes: whoever reads it holds it in memory."""

_LONGEST_UID = 64  # PS3.5 §9.1
_SERVED = frozenset({C_STORE_RQ, 0x0010, 0x0020, 0x0021, 0x0030, C_CANCEL_RQ})  # and C-GET, C-FIND, C-MOVE, C-ECHO


class Passing:
    """Cuts bytes as they come into whole P-DATA-TF and runs of everything else.

    Args:
        p_data_limit: the longest P-DATA-TF that passes, in bytes of its body; 0: any. A longer one is everything else.

    Attributes:
        pdus: how many P-DATA-TF came.
    """

    def __init__(self, p_data_limit: int) -> None:
        self.pdus = 0
        self._limit = p_data_limit
        self._received = bytearray()
        self._remaining = 0  # bytes of another PDU that has begun
        self._is_broken = False  # behind what is no PDU, no header can be found

    @property
    def is_partial(self) -> bool:
        """Whether a PDU has begun and not ended."""
        return bool(self._received or self._remaining)

    def cut(self, data: bytes) -> Iterator[tuple[bool, bytes]]:
        """Yield each P-DATA-TF, and each run of everything else, in order, and whether it is a P-DATA-TF."""
        self._received += data
        while self._received:
            if self._remaining or self._is_broken:
                length = len(self._received) if self._is_broken else min(self._remaining, len(self._received))
                self._remaining -= min(length, self._remaining)
                yield False, self._take(length)
                continue
            if self._received[0] not in PDU_CLASSES:
                self._is_broken = True
                continue
            if len(self._received) < HEADER_LENGTH:
                return
            pdu_type, length = read_header(self._received)
            if pdu_type != PDataTF.TYPE or length > self._limit > 0:
                self._remaining = HEADER_LENGTH + length
                continue
            if len(self._received) < HEADER_LENGTH + length:
                return
            self.pdus += 1
            yield True, self._take(HEADER_LENGTH + length)

    def _take(self, length: int) -> bytes:
        taken = bytes(self._received[:length])
        del self._received[:length]
        return taken


class Inspection:
    """Looks at the P-DATA-TF of a requestor: at the headers of their PDVs, and at the command sets in them.

    Args:
        contexts: the IDs of the presentation contexts that were accepted.
        command_set_limit: the longest command set that passes, in bytes.
        may_respond: whether the peer is sent C-STORE-RQ, to which it responds.
        observe: told of every deviation that is tolerated.
    """

    def __init__(
        self, contexts: Collection[int], command_set_limit: int, *, may_respond: bool, observe: Observe
    ) -> None:
        self._contexts = contexts
        self._may_respond = may_respond
        self._observe = observe
        self._assembler = MessageAssembler(command_set_limit)
        self._size = 0  # of the data set that comes

    @property
    def is_partial(self) -> bool:
        """Whether a message has begun and not ended."""
        return self._assembler.is_partial

    def look(self, pdu: bytes) -> None:
        """Look at a whole P-DATA-TF.

        Raises:
            PDUError: it must not pass.
        """
        for pdv in PDataTF.decode(pdu[HEADER_LENGTH:], self._observe).pdvs:
            if pdv.context_id not in self._contexts:
                raise PDUError(f"data on presentation context {pdv.context_id}, which was not accepted")
            before = self._assembler.command
            message = self._assembler.add(pdv, self._observe)
            if before is not None:
                self._weigh(before, len(pdv.data))
            else:
                command = self._assembler.command if message is None else message.command
                if command is not None:
                    self._size = 0
                    self._check(command)

    def _weigh(self, command: CommandSet, size: int) -> None:
        self._size += size
        if self._size > IDENTIFIER_LIMIT and command.command_field != C_STORE_RQ:
            raise PDUError(f"data set of more than {IDENTIFIER_LIMIT} bytes in a message that is no C-STORE-RQ")

    def _check(self, command: CommandSet) -> None:
        """Refuse what a server may not expect, or may leave without an answer."""
        field = command.command_field
        if command.is_response and not (self._may_respond and field == C_STORE_RSP):
            raise PDUError(f"response 0x{field:04X} to no request of ours", Abort.UNEXPECTED_PDU)
        if not command.is_response and field not in _SERVED:
            raise PDUError(f"request 0x{field:04X}, for which there is no service", Abort.UNEXPECTED_PDU)
        if not command.is_response and field != C_CANCEL_RQ and command.message_id is None:
            raise PDUError("request without a message ID")
        if field != C_STORE_RQ:
            return
        if not command.has_data_set:
            raise PDUError("C-STORE-RQ without a data set")
        for name, uid in (
            ("SOP Class UID", command.affected_sop_class_uid),
            ("SOP Instance UID", command.affected_sop_instance_uid),
        ):
            if not uid:
                raise PDUError(f"C-STORE-RQ without an Affected {name}")
            if len(uid) > _LONGEST_UID:
                raise PDUError(f"C-STORE-RQ with an Affected {name} of {len(uid)} characters, more than 64")
