"""A PDU taken apart: each byte of it in exactly one field, whatever it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from minipacs.escape import escape
from minipacs.names import named_uid

if TYPE_CHECKING:
    from collections.abc import Callable

    Show = Callable[[bytes], str]
    """Returns what bytes say."""

# 128 contexts of 100 transfer syntaxes have 26 000; 1 MiB of empty items would have 260 000.
_MOST_FIELDS = 30_000


class Field(Struct, frozen=True):
    """Some bytes of a PDU that say one thing.

    Attributes:
        offset: of the first byte, in the PDU.
        data: the bytes.
        depth: how many items it stands in.
        name: what the standard calls it.
        value: what it says, printable ASCII; empty when it has no value.
        is_secret: a password or the like: its bytes and value are not to be shown.
    """

    offset: int
    data: bytes
    depth: int
    name: str
    value: str = ""
    is_secret: bool = False


class Part:
    """A stretch of the PDU that is taken field by field; nothing is taken from behind its end."""

    def __init__(self, pdu: bytes, position: int, end: int, depth: int, fields: list[Field]) -> None:
        self._pdu = pdu
        self._position = position
        self._end = end
        self._depth = depth
        self.fields = fields

    def __len__(self) -> int:
        """Return how many bytes are left."""
        return self._end - self._position

    @property
    def is_full(self) -> bool:
        """Whether there are so many fields that what is left is not looked into."""
        return len(self.fields) >= _MOST_FIELDS

    def peek(self, length: int) -> bytes:
        """Return the next bytes, as many as are there, and leave them."""
        return self._pdu[self._position : min(self._position + length, self._end)]

    def take(self, length: int, name: str, show: Show | None = None, *, is_secret: bool = False) -> bytes:
        """Make a field of the next bytes, as many as are there; its value is shown when it is whole."""
        data = self.peek(length)
        if data:
            value = f"cut short: {len(data)} of {length} bytes" if len(data) < length else show(data) if show else ""
            self.fields.append(Field(self._position, data, self._depth, name, value, is_secret))
            self._position += len(data)
        return data

    def number(self, length: int, name: str) -> int:
        """Make a field of a big-endian number, and return it."""
        return int.from_bytes(self.take(length, name, number), "big")

    def part(self, length: int) -> Part:
        """Set the next bytes apart, as many as are there, one level deeper; they are to be taken to their end."""
        start = self._position
        self._position = min(start + length, self._end)
        return Part(self._pdu, start, self._position, self._depth + 1, self.fields)

    def rest(self, name: str, *, is_secret: bool = False) -> None:
        """Make a field of whatever is left, if anything is."""
        if self.is_full:  # nor shown, for nobody knows what it is
            name, is_secret = "not looked into", True
        self.take(len(self), name, is_secret=is_secret)


def announced(length: int, there: int) -> Show:
    """Return what tells a length that was announced, and how many of the bytes came if not all."""
    text = f"{length}, of which {there} came" if there < length else str(length)
    return lambda _: text


def number(data: bytes) -> str:
    """Show a big-endian number."""
    return str(int.from_bytes(data, "big"))


def text(data: bytes) -> str:
    """Show a text, in quotes."""
    return f'"{escape(data.decode("latin-1"))}"'


def uid(data: bytes) -> str:
    """Show a UID by its name."""
    return named_uid(data.rstrip(b"\0 ").decode("latin-1"))
