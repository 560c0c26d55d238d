"""The bytes of a PDU, each labelled with what it says (PS3.8 §9.3, PS3.7 §6.3 and Annex E)."""

from __future__ import annotations

from minipacs import names
from minipacs.tracing.fields import Field, Part, announced, number, text, uid
from minipacs.tracing.items import label_items
from minipacs.wire.associate import AssociateAC, AssociateRJ, AssociateRQ
from minipacs.wire.dimse import NO_DATA_SET
from minipacs.wire.header import HEADER_LENGTH, read_header
from minipacs.wire.pdu import PDU_CLASSES, Abort, PDataTF

_TEXT_SHOWN = 32  # bytes of what is no PDU: enough for an HTTP request line


def dissect(pdu: bytes) -> tuple[Field, ...]:
    """Return the fields of a PDU, or of the bytes that came in the place of one: in their order, without a gap."""
    whole = Part(pdu, 0, len(pdu), 0, [])
    if not pdu or pdu[0] not in PDU_CLASSES:
        whole.take(len(pdu), "no PDU", lambda data: text(data[:_TEXT_SHOWN]))
        return tuple(whole.fields)
    if len(pdu) < HEADER_LENGTH:
        whole.rest(f"{PDU_CLASSES[pdu[0]].NAME}, cut short")
        return tuple(whole.fields)
    pdu_type, length = read_header(pdu)
    whole.take(HEADER_LENGTH, f"{PDU_CLASSES[pdu_type].NAME}, length", announced(length, len(pdu) - HEADER_LENGTH))
    body = whole.part(length)
    if pdu_type in {AssociateRQ.TYPE, AssociateAC.TYPE}:
        _associate(body)
    elif pdu_type == PDataTF.TYPE:
        _p_data(body)
    else:
        _codes(body, pdu[: HEADER_LENGTH + 4])
    body.rest("unknown bytes")
    whole.rest("bytes behind the PDU")
    return tuple(whole.fields)


def _codes(body: Part, pdu: bytes) -> None:
    """Label the four bytes of the short PDUs (PS3.8 §9.3.4 to §9.3.8)."""
    if pdu[0] == AssociateRJ.TYPE and len(pdu) == HEADER_LENGTH + 4:
        result, source, reason = names.rejection(AssociateRJ(*pdu[7:10]))
        body.take(1, "reserved")
        body.take(1, "result", lambda data: f"{data[0]}: {result}")
        body.take(1, "source", lambda data: f"{data[0]}: {source}")
        body.take(1, "reason", lambda data: f"{data[0]}: {reason}")
    elif pdu[0] == Abort.TYPE and len(pdu) == HEADER_LENGTH + 4:
        source, reason = names.abort(Abort(*pdu[8:10]))
        body.take(2, "reserved")
        body.take(1, "source", lambda data: f"{data[0]}: {source}")
        body.take(1, "reason", lambda data: f"{data[0]}: {reason}" if reason else str(data[0]))
    else:
        body.take(4, "reserved")


def _associate(body: Part) -> None:
    body.take(2, "protocol version", number)
    body.take(2, "reserved")
    body.take(16, "called AE title", text)
    body.take(16, "calling AE title", text)
    body.take(32, "reserved")
    label_items(body)


def _p_data(body: Part) -> None:
    while body and not body.is_full:
        length = int.from_bytes(body.peek(4), "big")
        body.take(4, "presentation data value item, length", announced(length, len(body) - 4))
        item = body.part(length)
        item.number(1, "presentation context ID")
        control = item.take(1, "message control header", _control)
        if control and control[0] & 1:
            while not item.is_full and _is_command_element(item.peek(8)):
                _command_element(item)
        item.rest("fragment of a command set" if control and control[0] & 1 else "fragment of a data set")


def _control(data: bytes) -> str:
    return f"{'command' if data[0] & 1 else 'data set'}, {'last' if data[0] & 2 else 'not the last'} fragment"


def _is_command_element(header: bytes) -> bool:
    return len(header) == 8 and header[:2] == b"\0\0"


def _command_element(item: Part) -> None:
    header = item.peek(8)
    element, length = int.from_bytes(header[2:4], "little"), int.from_bytes(header[4:], "little")
    name, vr = names.command_element(element)
    label = f"(0000,{element:04X}) {name or '(unknown)'}"
    item.take(8 + length, label, lambda data: _element_value(element, vr, data[8:]))


def _element_value(element: int, vr: str, value: bytes) -> str:
    if vr in {"US", "UL"} and len(value) == (2 if vr == "US" else 4):
        return _named_number(element, int.from_bytes(value, "little"))
    return uid(value) if vr == "UI" else text(value)


def _named_number(element: int, number: int) -> str:
    if element == 0x0100:
        return f"{names.command_field(number)} (0x{number:04X})"
    if element == 0x0800:
        return f"0x{number:04X}: {'no data set' if number == NO_DATA_SET else 'a data set follows'}"
    if element == 0x0900:
        return f"0x{number:04X}: {names.status(number)}"
    return str(number)
