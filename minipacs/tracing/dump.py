"""A PDU as a hex dump with a label at each field, and as values for a log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minipacs.tracing.dissection import dissect
from minipacs.wire.pdu import PDU_CLASSES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minipacs.tracing.fields import Field
    from minipacs.wire.association import Direction

_ROW = 16  # bytes
_LONGEST = 64  # bytes of a field that are shown whole
_SHOWN = 48  # of a longer one


def name_of(pdu: bytes) -> str:
    """Return what the standard calls a PDU, by its first byte."""
    if pdu[:1] and pdu[0] in PDU_CLASSES:
        return PDU_CLASSES[pdu[0]].NAME
    return "no PDU"


def title(direction: Direction, milliseconds: float, pdu: bytes) -> str:
    """Return who sent it, when, what and how long it is, in one line."""
    who = "we sent" if direction == "sent" else "they sent"
    return f"{milliseconds:.1f} ms: {who} {name_of(pdu)}, {len(pdu)} bytes"


def dump(pdu: bytes) -> str:
    """Return the bytes of *pdu* in lines: offset, bytes in hexadecimal, and a label where a field begins.

    A field of more than 64 bytes is cut, and says how many are left out; so does one that is secret.
    """
    return "\n".join(line for field in dissect(pdu) for line in _lines(field))


def fields_of(pdu: bytes) -> list[dict[str, object]]:
    """Return the fields of *pdu* as a machine reads them: offset, length, hex (as far as shown), name, value."""
    return [
        {
            "offset": field.offset,
            "length": len(field.data),
            "hex": None if field.is_secret else _shown(field).hex(),
            "name": field.name,
            "value": field.value or None,
        }
        for field in dissect(pdu)
    ]


def _shown(field: Field) -> bytes:
    if field.is_secret:
        return b""
    return field.data if len(field.data) <= _LONGEST else field.data[:_SHOWN]


def _lines(field: Field) -> Iterator[str]:
    label = "  " * field.depth + field.name + (f" = {field.value}" if field.value else "")
    shown = _shown(field)
    for start in range(0, len(shown), _ROW):
        row = shown[start : start + _ROW].hex(" ")
        yield f"{field.offset + start:04x}  {row:<47}  {label}".rstrip()
        label = ""
    if left_out := len(field.data) - len(shown):
        why = "not shown" if field.is_secret else "left out"
        yield f"{field.offset + len(shown):04x}  {f'({left_out} bytes {why})':<47}  {label}".rstrip()
