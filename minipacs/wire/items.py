"""The variable items inside the A-ASSOCIATE PDUs, and their bytes (PS3.8 §9.3.2, §9.3.3 and Annex D).

An item is a type of one byte, a reserved byte, a length of two bytes, and a value.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from msgspec import Struct

from minipacs.errors import PDUError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Observe = Callable[[str], None]
    """Told, in words, of every deviation that is tolerated."""

APPLICATION_CONTEXT_ITEM = 0x10
PROPOSED_CONTEXT_ITEM = 0x20
CONTEXT_RESULT_ITEM = 0x21
ABSTRACT_SYNTAX_ITEM = 0x30
TRANSFER_SYNTAX_ITEM = 0x40
USER_INFORMATION_ITEM = 0x50
MAXIMUM_LENGTH_ITEM = 0x51
IMPLEMENTATION_CLASS_UID_ITEM = 0x52
IMPLEMENTATION_VERSION_NAME_ITEM = 0x55
USER_IDENTITY_RQ_ITEM = 0x58

_ITEMS_THAT_COME_ONCE = frozenset(
    {MAXIMUM_LENGTH_ITEM, IMPLEMENTATION_CLASS_UID_ITEM, IMPLEMENTATION_VERSION_NAME_ITEM}
)

# Kept as bytes for whoever wants to show them: asynchronous operations window, role selection, extended and common
# extended negotiation, user identity (PS3.7 Annex D.3.3). None changes what Verification does.
_OTHER_KNOWN_ITEMS = frozenset({0x53, 0x54, 0x56, 0x57, 0x58, 0x59})

# A maximum length of less leaves no room for one byte of a fragment and one of padding behind the headers of the
# PDV item (PS3.8 §9.3.5.1); 0 means that there is no limit (PS3.8 §D.1.1).
SMALLEST_MAXIMUM_LENGTH = 14

_LONGEST_VERSION_NAME = 16  # PS3.7 §D.3.3.2.4

_ITEM_HEADER = struct.Struct(">BxH")


class Item(Struct, frozen=True):
    """A user information sub-item that is carried, not interpreted."""

    type: int
    value: bytes


class ProposedContext(Struct, frozen=True):
    """One presentation context of an A-ASSOCIATE-RQ (PS3.8 §9.3.2.2)."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]

    def encode(self) -> bytes:
        """Return the whole item as bytes."""
        syntaxes = item(ABSTRACT_SYNTAX_ITEM, self.abstract_syntax.encode("latin-1"))
        for syntax in self.transfer_syntaxes:
            syntaxes += item(TRANSFER_SYNTAX_ITEM, syntax.encode("latin-1"))
        return item(PROPOSED_CONTEXT_ITEM, bytes([self.context_id, 0, 0, 0]) + syntaxes)

    @classmethod
    def decode(cls, value: bytes, observe: Observe) -> ProposedContext:
        """Read the value of the item; PDUError when it has no place in a valid request."""
        if len(value) < 4:
            raise PDUError("presentation context item is cut short")
        abstract, transfer = _read_syntaxes(value, observe)
        if len(abstract) != 1:
            raise PDUError(f"presentation context {value[0]} has {len(abstract)} abstract syntaxes, not one")
        if not transfer:
            observe(f"presentation context {value[0]} proposes no transfer syntax")
        return cls(value[0], abstract[0], transfer)


class ContextResult(Struct, frozen=True):
    """The answer to one proposed context (PS3.8 §9.3.3.2): result 0 is acceptance, 1 to 4 are refusals."""

    context_id: int
    result: int
    transfer_syntax: str

    def encode(self) -> bytes:
        """Return the whole item as bytes."""
        syntax = item(TRANSFER_SYNTAX_ITEM, self.transfer_syntax.encode("latin-1"))
        return item(CONTEXT_RESULT_ITEM, bytes([self.context_id, 0, self.result, 0]) + syntax)

    @classmethod
    def decode(cls, value: bytes, observe: Observe) -> ContextResult:
        """Read the value of the item; PDUError when an accepted context names no transfer syntax."""
        if len(value) < 4:
            raise PDUError("presentation context item is cut short")
        _, transfer = _read_syntaxes(value, observe)
        # Of a refused context the transfer syntax is not significant, and some peers leave it out (§9.3.3.2).
        if value[2] == 0 and len(transfer) != 1:
            raise PDUError(f"accepted presentation context {value[0]} has {len(transfer)} transfer syntaxes, not one")
        return cls(value[0], value[2], transfer[0] if transfer else "")


class UserInformation(Struct, frozen=True):
    """What the two sides tell of themselves (PS3.8 §9.3.2.3, PS3.7 §D.3.3).

    Attributes:
        maximum_length: the longest P-DATA-TF that its sender takes, in bytes of the PDU's own length field; 0: any.
        implementation_class_uid: empty when none was sent.
        implementation_version_name: empty when none was sent.
        others: the remaining sub-items, in the order in which they came.
    """

    maximum_length: int = 0
    implementation_class_uid: str = ""
    implementation_version_name: str = ""
    others: tuple[Item, ...] = ()

    def encode(self) -> bytes:
        """Return the whole item as bytes."""
        value = item(MAXIMUM_LENGTH_ITEM, struct.pack(">I", self.maximum_length))
        if self.implementation_class_uid:
            value += item(IMPLEMENTATION_CLASS_UID_ITEM, self.implementation_class_uid.encode("latin-1"))
        # PS3.7 Annex D lists the sub-items in the order of their types, and some peers rely on it.
        version = self.implementation_version_name.encode("latin-1")
        named = [Item(IMPLEMENTATION_VERSION_NAME_ITEM, version)] if version else []
        for other in sorted([*self.others, *named], key=lambda other: other.type):
            value += item(other.type, other.value)
        return item(USER_INFORMATION_ITEM, value)

    @classmethod
    def decode(cls, value: bytes, observe: Observe) -> UserInformation:
        """Read the value of the item; PDUError when a length in it does not fit."""
        once: dict[int, bytes] = {}
        others = []
        for item_type, content in read_items(value):
            if item_type in _ITEMS_THAT_COME_ONCE:
                if item_type in once:
                    observe(f"user information sub-item 0x{item_type:02X} twice: the last one counts")
                once[item_type] = content
            elif item_type in _OTHER_KNOWN_ITEMS:
                others.append(Item(item_type, content))
                if item_type == USER_IDENTITY_RQ_ITEM:
                    observe("user identity sent: neither checked nor answered")
            else:
                observe(f"unknown user information sub-item 0x{item_type:02X} ignored")
        return cls(
            _read_maximum_length(once.get(MAXIMUM_LENGTH_ITEM), observe),
            _read_class_uid(once.get(IMPLEMENTATION_CLASS_UID_ITEM), observe),
            _read_version_name(once.get(IMPLEMENTATION_VERSION_NAME_ITEM, b""), observe),
            tuple(others),
        )


def item(item_type: int, value: bytes) -> bytes:
    """Return *value* behind the header of an item of that type."""
    return _ITEM_HEADER.pack(item_type, len(value)) + value


def read_items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and value of each item in *data*; PDUError when one reaches past the end."""
    position = 0
    while position < len(data):
        if position + 4 > len(data):
            raise PDUError("an item header is cut short")
        item_type, length = _ITEM_HEADER.unpack_from(data, position)
        start, position = position + 4, position + 4 + length
        if position > len(data):
            raise PDUError(f"item 0x{item_type:02X} announces {length} bytes, {len(data) - start} are there")
        yield item_type, data[start:position]


def read_uid(value: bytes, observe: Observe) -> str:
    """Return a UID without its padding, which has no place in an A-ASSOCIATE PDU (PS3.8 Annex F)."""
    uid = value.rstrip(b"\0 ")
    if uid != value:
        observe("UID padded with NUL or space")
    return uid.decode("latin-1")


def _read_syntaxes(value: bytes, observe: Observe) -> tuple[tuple[str, ...], tuple[str, ...]]:
    abstract, transfer = [], []
    for item_type, content in read_items(value[4:]):
        if item_type == ABSTRACT_SYNTAX_ITEM:
            abstract.append(read_uid(content, observe))
        elif item_type == TRANSFER_SYNTAX_ITEM:
            transfer.append(read_uid(content, observe))
        else:
            observe(f"unknown sub-item 0x{item_type:02X} in presentation context {value[0]} ignored")
    return tuple(abstract), tuple(transfer)


def _read_maximum_length(content: bytes | None, observe: Observe) -> int:
    if content is None:
        observe("no maximum length sub-item: taken as unlimited")
        return 0
    if len(content) != 4:
        raise PDUError(f"maximum length sub-item of {len(content)} bytes, not 4")
    length = int.from_bytes(content, "big")
    if 0 < length < SMALLEST_MAXIMUM_LENGTH:
        raise PDUError(f"maximum length {length} leaves no room for a fragment")
    return length


def _read_class_uid(content: bytes | None, observe: Observe) -> str:
    if content is None:
        observe("no implementation class UID, which is required (PS3.7 §D.3.3.2)")
        return ""
    return read_uid(content, observe)


def _read_version_name(content: bytes, observe: Observe) -> str:
    name = content.rstrip(b"\0 ")
    if name != content:
        observe("implementation version name padded with NUL or space")
    if len(name) > _LONGEST_VERSION_NAME:
        observe(f"implementation version name of {len(name)} characters, more than {_LONGEST_VERSION_NAME}")
    return name.decode("latin-1")
