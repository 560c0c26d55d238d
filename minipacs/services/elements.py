"""The elements of a data set, one header after the other (PS3.5 §7): values are passed over, and never held in memory.

So a file of any size, or one that is small and inflates to any size, is gone through in little memory.
"""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Protocol

from pydicom.datadict import keyword_for_tag
from pydicom.uid import UID, ExplicitVRBigEndian
from pynetdicom.dsutils import split_dataset

from minipacs.regular_file import open_regular
from minipacs.services.sop_classes import DEFLATED

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD  # PS3.5 §7.5
_UNDEFINED = 0xFFFFFFFF
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}  # PS3.5 §7.1.2
_SHORT = {
    *(b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS"),
    *(b"ST", b"TM", b"UI", b"UL", b"US"),
}
_PIECE = 1 << 16
_LONGEST_KEPT = 1 << 12  # bytes of a value that is wanted
_MOST = 1 << 20  # elements, where a peer has sent them


class CutShort(ValueError):
    """A data set that ends before its last value does; the message says where."""


class _Strange(Exception):
    """What follows is not to be understood, so that nothing is to be said of it."""


class _Source(Protocol):
    """Where the elements come from."""

    def read(self, size: int) -> bytes:
        """Return so many bytes; fewer at the end."""

    def skip(self, size: int) -> int:
        """Pass over so many bytes; return how many there were."""


def check_whole(path: Path, transfer_syntax: str) -> None:
    """Go through a Part 10 file to its end.

    What is no data set in its transfer syntax is not told of: the peer judges that.

    Raises:
        CutShort: it ends before its last value does.
        OSError: it cannot be read.
    """
    _Walk(transfer_syntax).run(path)


def values(path: Path, wanted: Collection[int]) -> Mapping[int, str]:
    """Return what a Part 10 file has of some attributes that are text, by tag; without the padding.

    They are read up to the last that is wanted, and so far as it can be understood.

    Raises:
        OSError: the file cannot be read.
    """
    walk = _Walk(str(split_dataset(path)[0].get("TransferSyntaxUID", "")), wanted, _MOST)
    with suppress(CutShort):  # what comes before is known
        walk.run(path)
    return {tag: value.decode("ascii", "replace").rstrip("\0 ") for tag, value in walk.values.items()}


class _Walk:
    """Goes through a data set.

    Args:
        transfer_syntax: UID of its own.
        wanted: the tags whose values are kept; it ends behind the last of them. None: it goes to the end.
        most: elements that it looks at; 0: all.

    Attributes:
        values: those that were wanted.
    """

    def __init__(self, transfer_syntax: str, wanted: Collection[int] = (), most: int = 0) -> None:
        self._is_known = UID(transfer_syntax).is_transfer_syntax and not UID(transfer_syntax).is_private
        self._is_deflated = transfer_syntax in DEFLATED
        self._is_implicit: bool | None = (
            None  # not every data set is as its transfer syntax says: the first element tells
        )
        self._is_big = transfer_syntax == ExplicitVRBigEndian
        self._header = struct.Struct(">HHI" if self._is_big else "<HHI")
        self._length = struct.Struct(">I" if self._is_big else "<I")
        self._wanted = wanted
        self._last = max(wanted, default=_UNDEFINED)
        self._left = most or _UNDEFINED
        self._open: list[
            tuple[int, bool | None]
        ] = []  # what has no length: its tag, and how the elements around it are
        self.values: dict[int, bytes] = {}

    def run(self, path: Path) -> None:
        """Go through the data set of a Part 10 file; raises as check_whole()."""
        start = split_dataset(path)[1]
        with open_regular(path) as file:
            file.seek(start)
            source = _Inflated(file) if self._is_deflated else _Plain(file)
            with suppress(_Strange, zlib.error):
                while self._is_known and self._element(source):
                    pass

    def _element(self, source: _Source) -> bool:
        """Pass one element, and say whether there may be more."""
        head = source.read(8)
        if len(head) < 8:
            self._check_end(head)
            return False
        tag, vr, length = self._parsed(head, source)
        if not self._open and tag > self._last:
            return False
        self._left -= 1
        if tag in {_ITEM_END, _SEQUENCE_END}:
            if not self._open:
                raise _Strange
            _, self._is_implicit = self._open.pop()
        elif length == _UNDEFINED:
            self._open.append((tag, self._is_implicit))
            self._is_implicit = self._is_implicit or vr == b"UN"  # PS3.5 §6.2.2, note 2
        else:
            self._value(source, tag, length)
        return self._left > 0

    def _parsed(self, head: bytes, source: _Source) -> tuple[int, bytes, int]:
        group, element, length = self._header.unpack(head)
        tag, vr = group << 16 | element, head[4:6]
        if self._is_implicit is None:
            self._is_implicit = vr not in _SHORT | _LONG
        if self._is_implicit or group == _ITEM >> 16:
            return tag, b"", length
        if vr in _SHORT:
            return tag, vr, length & 0xFFFF if self._is_big else length >> 16
        if vr not in _LONG:
            raise _Strange
        rest = source.read(4)
        if len(rest) < 4:
            raise CutShort(f"it ends in the header of {_name(tag)}")
        return tag, vr, self._length.unpack(rest)[0]

    def _value(self, source: _Source, tag: int, length: int) -> None:
        if tag in self._wanted and not self._open and length <= _LONGEST_KEPT:
            value = source.read(length)
            self.values[tag], there = value, len(value)
        else:
            there = source.skip(length)
        if there < length:
            raise CutShort(f"it ends behind {there} of the {length} bytes of {_name(self._outer(tag))}")

    def _check_end(self, rest: bytes) -> None:
        """What is left is nothing, or bytes that fill up."""
        if self._is_implicit is None:
            raise CutShort("it has no data set")
        if self._open:
            raise CutShort(f"it ends in {_name(self._outer(0))}, before the delimiter of that")
        if rest.strip(b"\0"):
            raise CutShort("it ends in the header of an element")

    def _outer(self, tag: int) -> int:
        """The element that a person knows: items have no names."""
        return self._open[0][0] if self._open else tag


class _Plain:
    """The bytes of a file as they are."""

    def __init__(self, file: IO[bytes]) -> None:
        place = file.tell()
        self._size = file.seek(0, 2)
        file.seek(place)
        self._file = file
        self.read = file.read

    def skip(self, size: int) -> int:
        there = max(0, min(size, self._size - self._file.tell()))
        self._file.seek(there, 1)
        return there


class _Inflated:
    """The bytes of a file that are deflated (PS3.5 §A.5), of which it holds a piece at a time."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._rest = b""

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (piece := self._some(min(size - len(data), _PIECE))):
            data += piece
        return data

    def skip(self, size: int) -> int:
        there = 0
        while there < size and (piece := self._some(min(size - there, _PIECE))):
            there += len(piece)
        return there

    def _some(self, most: int) -> bytes:
        """Return some bytes, at least one; none at the end.

        Raises:
            CutShort: it is none of the stream's own.
        """
        while not self._inflater.eof:
            fresh = self._rest or self._file.read(_PIECE)
            piece = self._inflater.decompress(fresh, most)
            self._rest = self._inflater.unconsumed_tail
            if piece:
                return piece
            if not fresh:
                raise CutShort("its deflated stream has no end")
        return b""


def _name(tag: int) -> str:
    place = f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
    return f"{keyword_for_tag(tag)} {place}".strip()
