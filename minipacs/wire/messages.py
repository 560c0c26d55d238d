"""Messages in fragments: PDVs → whole messages, and a command set → P-DATA-TF PDUs (PS3.7 §6.3, PS3.8 Annex E).

A data set is read to its end and dropped: Verification has none, and what a peer sends is not kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from minipacs.errors import PDUError
from minipacs.wire.dimse import CommandSet
from minipacs.wire.pdu import PDV, PDataTF

if TYPE_CHECKING:
    from minipacs.wire.items import Observe

COMMAND_SET_LIMIT = 64 << 10
"""The command set that we take, in bytes. A C-ECHO-RQ has 68."""

# The headers of one PDV item inside a P-DATA-TF: length, context ID, message control header (PS3.8 §9.3.5.1).
_PDV_OVERHEAD = 6


class Message(Struct, frozen=True):
    """A DIMSE message that has come whole."""

    context_id: int
    command: CommandSet


class MessageAssembler:
    """Puts the messages of one association together.

    Args:
        command_set_limit: the longest command set that is taken, in bytes.
    """

    def __init__(self, command_set_limit: int) -> None:
        self._limit = command_set_limit
        self._context_id: int | None = None
        self._fragments = bytearray()  # of a command set that came in several; not a list, for they may be empty
        self._command: CommandSet | None = None

    @property
    def is_partial(self) -> bool:
        """Whether a message has begun and not ended."""
        return self._context_id is not None

    @property
    def command(self) -> CommandSet | None:
        """The command set of the message whose data set is to come, or comes."""
        return self._command

    def add(self, pdv: PDV, observe: Observe) -> Message | None:
        """Take the next fragment; return the message that it completes. PDUError when it does not fit."""
        if self._context_id is not None and self._context_id != pdv.context_id:
            raise PDUError(f"a message on context {self._context_id} goes on on context {pdv.context_id}")
        if pdv.is_command != (self._command is None):
            raise PDUError("command fragment inside a data set" if pdv.is_command else "data set without a command")
        if len(pdv.data) % 2:
            observe("PDV fragment of an odd number of bytes")
        self._context_id = pdv.context_id
        if self._command is None:
            return self._add_command_fragment(pdv, observe)
        return self._complete(self._command) if pdv.is_last else None

    def _add_command_fragment(self, pdv: PDV, observe: Observe) -> Message | None:
        if len(self._fragments) + len(pdv.data) > self._limit:
            raise PDUError(f"command set of more than {self._limit} bytes")
        if not pdv.is_last:
            self._fragments += pdv.data
            return None
        data = pdv.data
        if self._fragments:
            data = bytes(self._fragments + data)
            self._fragments.clear()
        command = CommandSet.decode(data, observe)
        if not command.has_data_set:
            return self._complete(command)
        self._command = command
        return None

    def _complete(self, command: CommandSet) -> Message:
        assert self._context_id is not None
        message = Message(self._context_id, command)
        self._context_id, self._command = None, None
        return message


def fragment(context_id: int, command: CommandSet, maximum_length: int) -> list[PDataTF]:
    """Return the PDUs that carry *command*, none longer than the receiver's *maximum_length* in bytes (0: any)."""
    data = command.encode()
    # A fragment has an even number of bytes (PS3.8 §E.1).
    step = (maximum_length - _PDV_OVERHEAD) // 2 * 2 if maximum_length else len(data)
    if len(data) <= step:
        return [_of_command(context_id, data, is_last=True)]
    return [
        _of_command(context_id, data[start : start + step], is_last=start + step >= len(data))
        for start in range(0, len(data), step)
    ]


def _of_command(context_id: int, data: bytes, is_last: bool) -> PDataTF:
    return PDataTF((PDV(context_id, True, is_last, data),))
