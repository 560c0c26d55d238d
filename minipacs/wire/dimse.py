"""DIMSE command sets as values, and their bytes (PS3.7 §6.3, §9.3 and Annex E).

A command set is a handful of elements of group 0000 in Implicit VR Little Endian, whatever was negotiated. Packed
by hand: through a data set object one echo costs twenty times as much.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from minipacs.errors import PDUError
from minipacs.wire.items import read_uid

if TYPE_CHECKING:
    from minipacs.wire.items import Observe

VERIFICATION = "1.2.840.10008.1.1"

C_STORE_RQ = 0x0001
C_STORE_RSP = 0x8001
C_ECHO_RQ = 0x0030
C_ECHO_RSP = 0x8030
C_CANCEL_RQ = 0x0FFF
RESPONSE = 0x8000  # this bit of the command field tells a response from its request (PS3.7 §E.1)

NO_DATA_SET = 0x0101

SUCCESS = 0x0000
SOP_CLASS_NOT_SUPPORTED = 0x0122
UNRECOGNIZED_OPERATION = 0x0211

# PS3.7 Table E.1-1, (0000,0100): C-STORE, C-GET, C-FIND, C-MOVE, C-ECHO, N-EVENT-REPORT, N-GET, N-SET, N-ACTION,
# N-CREATE, N-DELETE, their responses, and C-CANCEL, which has none.
_REQUESTS = frozenset({0x0001, 0x0010, 0x0020, 0x0021, 0x0030, 0x0100, 0x0110, 0x0120, 0x0130, 0x0140, 0x0150})
_COMMAND_FIELDS = _REQUESTS | {request | RESPONSE for request in _REQUESTS} | {C_CANCEL_RQ}

_GROUP_LENGTH = 0x0000
_AFFECTED_SOP_CLASS_UID = 0x0002
_COMMAND_FIELD = 0x0100
_MESSAGE_ID = 0x0110
_MESSAGE_ID_BEING_RESPONDED_TO = 0x0120
_COMMAND_DATA_SET_TYPE = 0x0800
_STATUS = 0x0900
_AFFECTED_SOP_INSTANCE_UID = 0x1000
_US = frozenset({_COMMAND_FIELD, _MESSAGE_ID, _MESSAGE_ID_BEING_RESPONDED_TO, _COMMAND_DATA_SET_TYPE, _STATUS})

_ELEMENT = struct.Struct("<HHI")
_US_ELEMENT = struct.Struct("<HHIH")
_UL_ELEMENT = struct.Struct("<HHII")


class CommandSet(Struct, frozen=True, kw_only=True):
    """The elements of a command set that we read or write; None where the element is absent.

    The SOP instance is read alone: Verification has none.
    """

    command_field: int
    affected_sop_class_uid: str | None = None
    message_id: int | None = None
    message_id_being_responded_to: int | None = None
    has_data_set: bool = False
    status: int | None = None
    affected_sop_instance_uid: str | None = None

    @property
    def is_response(self) -> bool:
        """Whether this answers a request."""
        return bool(self.command_field & RESPONSE)

    def encode(self) -> bytes:
        """Return the command set as bytes, group length first and elements in order (PS3.7 §6.3.1)."""
        elements = b""
        if self.affected_sop_class_uid is not None:
            uid = self.affected_sop_class_uid.encode("latin-1")
            if len(uid) % 2:
                uid += b"\0"
            elements = _ELEMENT.pack(0, _AFFECTED_SOP_CLASS_UID, len(uid)) + uid
        for element, value in (
            (_COMMAND_FIELD, self.command_field),
            (_MESSAGE_ID, self.message_id),
            (_MESSAGE_ID_BEING_RESPONDED_TO, self.message_id_being_responded_to),
            (_COMMAND_DATA_SET_TYPE, 0x0001 if self.has_data_set else NO_DATA_SET),
            (_STATUS, self.status),
        ):
            if value is not None:
                elements += _US_ELEMENT.pack(0, element, 2, value)
        return _UL_ELEMENT.pack(0, _GROUP_LENGTH, 4, len(elements)) + elements

    @classmethod
    def decode(cls, data: bytes, observe: Observe) -> CommandSet:
        """Read a whole command set; PDUError when it is none, or has an unknown command field."""
        elements = _read_elements(data, observe)
        command_field = elements.get(_COMMAND_FIELD)
        if command_field is None:
            raise PDUError("command set without a command field")
        if command_field not in _COMMAND_FIELDS:
            raise PDUError(f"unknown command field 0x{command_field:04X}")
        data_set_type = elements.get(_COMMAND_DATA_SET_TYPE)
        if data_set_type is None:
            observe("command set without a data set type: taken as without a data set")
        uid = elements.get(_AFFECTED_SOP_CLASS_UID)
        if uid is None and command_field == C_ECHO_RQ:
            observe("C-ECHO-RQ without an affected SOP class UID")
        instance = elements.get(_AFFECTED_SOP_INSTANCE_UID)
        has_data_set = data_set_type is not None and data_set_type != NO_DATA_SET
        if has_data_set and command_field == C_ECHO_RQ:
            observe("C-ECHO-RQ with a data set")
        return cls(
            command_field=command_field,
            affected_sop_class_uid=None if uid is None else read_uid(uid, _ignore),
            message_id=elements.get(_MESSAGE_ID),
            message_id_being_responded_to=elements.get(_MESSAGE_ID_BEING_RESPONDED_TO),
            has_data_set=has_data_set,
            status=elements.get(_STATUS),
            affected_sop_instance_uid=None if instance is None else read_uid(instance, _ignore),
        )


def c_echo_rq(message_id: int) -> CommandSet:
    """Return a C-ECHO-RQ (PS3.7 §9.3.5.1)."""
    return CommandSet(command_field=C_ECHO_RQ, affected_sop_class_uid=VERIFICATION, message_id=message_id)


def response(request: CommandSet, status: int) -> CommandSet:
    """Return the response to *request* with that status (PS3.7 §9.3.5.2 for a C-ECHO-RSP)."""
    return CommandSet(
        command_field=request.command_field | RESPONSE,
        affected_sop_class_uid=request.affected_sop_class_uid,
        message_id_being_responded_to=request.message_id,
        status=status,
    )


def _read_elements(data: bytes, observe: Observe) -> dict[int, Any]:
    """Return the elements by their numbers: integers those that are of VR US, bytes the others."""
    elements: dict[int, Any] = {}
    position, size, previous = 0, len(data), -1
    is_ordered = True
    while position < size:
        start = position + 8
        if start > size:
            raise PDUError("an element of the command set is cut short")
        group, element, length = _ELEMENT.unpack_from(data, position)
        position = start + length
        if group != 0:
            raise PDUError(f"element ({group:04X},{element:04X}) in a command set")
        if position > size:
            raise PDUError(f"element (0000,{element:04X}) announces {length} bytes, {size - start} are there")
        if element <= previous:
            if element in elements:
                observe(f"element (0000,{element:04X}) twice in the command set")
            is_ordered = is_ordered and element == previous
        value = data[start:position]
        if element in _US:
            if length != 2:
                raise PDUError(f"element (0000,{element:04X}) of {length} bytes, not 2")
            elements[element] = int.from_bytes(value, "little")
        else:
            elements[element] = value
        previous = element
    _check_group_length(elements.get(_GROUP_LENGTH), size, observe)
    if not is_ordered:
        observe("elements of the command set out of order")
    return elements


def _check_group_length(value: bytes | None, length: int, observe: Observe) -> None:
    if value is None:
        observe("command set without a group length")
    elif int.from_bytes(value, "little") != length - 8 - len(value):
        observe("wrong group length in the command set")


def _ignore(_: str) -> None:
    """A UID in a command set is padded to an even length by rule (PS3.5 §6.2), so that says nothing."""
