"""Data sets of others, read within bounds: of bytes once inflated, of elements, items and values, and of depth.

pydicom makes objects of all that it reads: an empty item has 8 bytes, and takes 2 kB as an object; a thousand of them
are 30 bytes once they are deflated. So a data set is walked through before, as pydicom would read it and with nothing
made of it (PS3.5 §7.1, §7.5), and is given to pydicom only where it is within its bounds.
"""

from __future__ import annotations

import os
import warnings
import zlib
from contextlib import suppress
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct
from pydicom import dcmread
from pydicom.datadict import dictionary_VR, keyword_for_tag, private_dictionaries  # type: ignore[attr-defined]
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, VR

from minipacs.escape import escape
from minipacs.regular_file import open_regular
from minipacs.services.texts import text_of

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path
    from typing import BinaryIO, Literal, Self

    from pydicom.dataset import Dataset
    from pydicom.uid import UID

    Order = Literal["little", "big"]
    Head = tuple[int, str | None, int]


class Bounds(Struct, frozen=True):
    """What a data set may have at most.

    Attributes:
        size: bytes, once it is inflated.
        parts: elements, and values behind the first of each; an item counts as four, for what pydicom makes of it.
        depth: sequences within each other.
    """

    size: int
    parts: int
    depth: int = 32


REQUEST = Bounds(1 << 20, 1 << 15)
"""Of the identifier of a request, or of a match."""

FAILURES = Bounds(1 << 23, 1 << 17)
"""Of the identifier of a last response, which may name 65 535 objects that failed (PS3.4 §C.4.2.1.4.2)."""

KEPT = Bounds(1 << 40, 1 << 20)
"""Of an object that is kept: nothing is made but of what is listed. Its size is a matter of the limits of storage."""

WHOLE = Bounds(1 << 40, 1 << 18)
"""Of an object of which every element is read."""

DIRECTORY = Bounds(1 << 40, 1 << 23)
"""Of a DICOMDIR, which has an item a file, and is the user's own."""

MOST_INFLATED = 1 << 28
"""Of an object, in bytes: some programs inflate it in memory, and a thousandth of it is enough to send."""

_META = Bounds(1 << 16, 1 << 10, 0)
_PIECE = Bounds(1 << 16, 1 << 12, 8)
_STEP = 1 << 16  # bytes

_PREAMBLE, _MAGIC = 128, b"DICM"  # PS3.10 §7.1
_TRANSFER_SYNTAX = 0x00020010
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD  # PS3.5 §7.5
_VRS = {vr.value.encode() for vr in VR}
_TEXTS = {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "PN", "SH", "TM", "UC", "UI"}  # with backslashes (§6.4)


class _Encoding(Struct, frozen=True):
    """How a data set is encoded, as pydicom takes it to be: in Explicit VR Little Endian by default (PS3.5 §A.4)."""

    is_implicit: bool
    is_little: bool
    is_deflated: bool

    @classmethod
    def of(cls, syntax: UID | str) -> Self:
        return cls(
            syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian, syntax == DeflatedExplicitVRLittleEndian
        )

    @property
    def order(self) -> Order:
        return "little" if self.is_little else "big"


class ReadingError(ValueError):
    """What cannot be read: the message says why."""


class CutShort(ReadingError):
    """It ends in the middle of an element, or before the first."""

    def __init__(self, text: str = "the data set is cut short") -> None:
        super().__init__(text)


class TooMuch(ReadingError):
    """It is beyond its bounds."""


def decoded(data: bytes, syntax: UID, bounds: Bounds = REQUEST) -> Dataset:
    """Return the data set of a message.

    Args:
        data: its bytes.
        syntax: its transfer syntax.
        bounds: what it may have.

    Raises:
        ReadingError: it is beyond *bounds*, or cannot be read.
    """
    encoding = _Encoding.of(syntax)
    if encoding.is_deflated:
        inflated = _Inflated(BytesIO(data), bounds.size)
        data = inflated.read(bounds.size)
        inflated.end()
    _check(data, encoding, bounds)
    return _read(data, encoding)


def check(data: bytes, syntax: UID, bounds: Bounds) -> None:
    """Walk through the data set of a message that is not deflated; the arguments and errors are those of decoded()."""
    encoding = _Encoding.of(syntax)
    if encoding.is_deflated:
        raise ReadingError("the data set is deflated")
    _check(data, encoding, bounds)


def selected(path: Path, tags: Collection[int], *, is_whole: bool = False, follow: bool = True) -> FileDataset:
    """Return some elements of a Part 10 file, and its file meta information; the others are passed over.

    Values that are too long, or have too many items or values, are not among them.

    Args:
        path: the file.
        tags: those elements. What is behind the last of them in the file is not looked for.
        is_whole: whether it is walked through to its end.
        follow: whether it may be a link to a file.

    Raises:
        ReadingError: it is none, or is beyond its bounds.
        OSError: it cannot be read.
    """
    with open_regular(path, follow=follow) as file:
        meta = _meta(file)
        syntax = text_of(meta, _TRANSFER_SYNTAX, "UI")
        if not syntax:
            raise ReadingError("its file meta information has no TransferSyntaxUID")
        encoding = _Encoding.of(syntax)
        walk = _Walk(_source(file, encoding), encoding.order, KEPT)
        pieces = walk.select(encoding.is_implicit, tags, is_whole=is_whole)
    if not walk.at:
        raise CutShort("the data set is empty")
    data = _read(b"".join(piece for piece in pieces.values() if _is_small(piece, encoding)), encoding)
    return FileDataset(path, data, bytes(_PREAMBLE), meta, encoding.is_implicit, encoding.is_little)


def whole(path: Path, bounds: Bounds = WHOLE, defer_size: int | None = None) -> FileDataset:
    """Return all elements of a Part 10 file; of one that is cut short, what there is.

    Args:
        path: the file.
        bounds: what its data set may have.
        defer_size: values that are longer are left in the file.

    Raises:
        ReadingError: it is none, or is beyond *bounds*.
        OSError: it cannot be read.
        Exception: pydicom cannot read it.
    """
    with open_regular(path) as file:
        encoding = _Encoding.of(text_of(_meta(file), _TRANSFER_SYNTAX, "UI"))
        walk = _Walk(_source(file, encoding), encoding.order, bounds, is_deep=True)
        with suppress(CutShort):  # what pydicom reads of it has been counted
            walk.select(encoding.is_implicit, is_guessed=True)
    return dcmread(path, defer_size=defer_size)


def file_meta(path: Path) -> FileMetaDataset:
    """Return the file meta information of a Part 10 file; the errors are those of whole()."""
    with open_regular(path) as file:
        return _meta(file)


# --- files ------------------------------------------------------------------------------------------------------------


def _meta(file: BinaryIO) -> FileMetaDataset:
    """The file meta information; behind it, *file* is at the data set."""
    if file.read(_PREAMBLE + len(_MAGIC))[_PREAMBLE:] != _MAGIC:
        raise ReadingError("not a DICOM file (PS3.10 §7.1)")
    start = file.tell()
    length = _Walk(_Plain(file), "little", _META).meta()
    file.seek(start)
    if length > _META.size:
        raise TooMuch(f"its file meta information has more than {_META.size} bytes")
    try:
        return FileMetaDataset(_read(file.read(length), _Encoding.of("")))
    except Exception as error:  # noqa: BLE001 - whatever pydicom meets in it
        raise ReadingError(f"its file meta information cannot be read: {escape(str(error))}") from None


def _source(file: BinaryIO, encoding: _Encoding) -> _Source:
    return _Inflated(file, MOST_INFLATED) if encoding.is_deflated else _Plain(file)


def _check(data: bytes, encoding: _Encoding, bounds: Bounds) -> None:
    if len(data) > bounds.size:
        raise TooMuch(f"the data set has more than {bounds.size} bytes")
    walk = _Walk(_Plain(BytesIO(data)), encoding.order, bounds, is_deep=True)
    walk.select(encoding.is_implicit, is_guessed=True)


def _is_small(piece: bytes, encoding: _Encoding) -> bool:
    try:
        _check(piece, encoding, _PIECE)
    except ReadingError:
        return False
    return True


def _read(data: bytes, encoding: _Encoding) -> Dataset:
    with warnings.catch_warnings():  # of what a peer sent, in its words
        warnings.simplefilter("ignore")
        try:
            return read_dataset(BytesIO(data), encoding.is_implicit, encoding.is_little)
        except Exception as error:  # noqa: BLE001 - whatever pydicom meets in it
            raise ReadingError(f"the data set cannot be read: {escape(str(error))}") from None


# --- where the bytes come from --------------------------------------------------------------------------------------


class _Source(Protocol):
    def read(self, length: int) -> bytes:
        """Return so many bytes, or fewer at the end."""

    def skip(self, length: int) -> None:
        """Pass over so many bytes; raises CutShort where there are fewer."""


class _Plain:
    """The rest of a file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        start = file.tell()
        self._left = file.seek(0, os.SEEK_END) - start
        file.seek(start)

    def read(self, length: int) -> bytes:
        data = self._file.read(min(length, self._left))
        self._left -= len(data)
        return data

    def skip(self, length: int) -> None:
        if length > self._left:
            raise CutShort
        self._file.seek(length, os.SEEK_CUR)
        self._left -= length


class _Inflated:
    """What the rest of a file inflates to (PS3.5 §A.5), a piece at a time; what pads it behind its end is dropped."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file = file
        self._most = self._left = most
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._buffer = bytearray()

    def read(self, length: int) -> bytes:
        while len(self._buffer) < length and self._inflate():
            pass
        data = bytes(self._buffer[:length])
        del self._buffer[:length]
        return data

    def skip(self, length: int) -> None:
        while length:
            passed = len(self.read(min(length, _STEP)))
            if not passed:
                raise CutShort
            length -= passed

    def end(self) -> None:
        """Nothing may follow; raises TooMuch."""
        if self.read(1):
            raise TooMuch(f"the data set inflates to more than {self._most} bytes")

    def _inflate(self) -> bool:
        """Inflate more; whether there was more."""
        if self._inflater.eof:
            return False
        piece = self._inflater.unconsumed_tail or self._file.read(_STEP)
        try:  # without a piece as well: there may be more inside
            inflated = self._inflater.decompress(piece, _STEP)
        except zlib.error:
            raise ReadingError("the data set is not deflated, or damaged") from None
        if not piece and not inflated and not self._inflater.eof:
            raise CutShort
        self._left -= len(inflated)
        if self._left < 0:
            raise TooMuch(f"the data set inflates to more than {self._most} bytes")
        self._buffer += inflated
        return True


# --- the walk ---------------------------------------------------------------------------------------------------------


class _Walk:
    """A way through a data set.

    Args:
        source: its bytes.
        order: of the bytes of a number.
        bounds: what it may have.
        is_deep: whether values are looked into as well that can be passed over as a whole.

    Attributes:
        at: how many bytes are behind us.
    """

    def __init__(self, source: _Source, order: Order, bounds: Bounds, *, is_deep: bool = False) -> None:
        self._source = source
        self._order: Order = order
        self._bounds = bounds
        self._is_deep = is_deep
        self._parts = 0
        self._copy: bytearray | None = None
        self._within: int | None = None  # the tag of the element of which we are in the value
        self.at = 0

    def select(
        self, is_implicit: bool, tags: Collection[int] = (), *, is_whole: bool = True, is_guessed: bool = False
    ) -> dict[int, bytes]:
        """Walk, and return the bytes of the elements of *tags*, each with its tag and length.

        Args:
            is_implicit: whether the VR of each element is implicit.
            tags: those elements.
            is_whole: whether it is walked on behind the last of them.
            is_guessed: whether the VR is taken as pydicom finds it, where it is not as it should be.

        Raises:
            ReadingError: it cannot be read, or is beyond its bounds.
        """
        try:
            return self._select(is_implicit, tags, is_whole, is_guessed)
        except CutShort as error:
            if self._within is None:
                raise
            raise CutShort(f"{error} in {_name(self._within)}") from None

    def _select(self, is_implicit: bool, tags: Collection[int], is_whole: bool, is_guessed: bool) -> dict[int, bytes]:
        kept: dict[int, bytes] = {}
        last, is_past = max(tags, default=0), False
        while True:
            self._within, self._copy = None, bytearray()
            if not (first := self._first()):
                return kept
            if self.at == len(first):
                is_implicit = _found(first, is_implicit, is_guessed)
            tag, vr, length = self._head(first, is_implicit)
            is_past = is_past or tag > last
            if is_past and not is_whole:
                return kept
            if is_past or tag not in tags or _PIECE.size < length < _UNDEFINED:
                self._copy = None
            self._within = tag
            self._value(tag, vr, length, is_implicit, 0)
            kept.pop(tag, None)  # of two, pydicom has the last
            if self._copy is not None:
                kept[tag] = bytes(self._copy)

    def meta(self) -> int:
        """Walk through the elements of group 0002, and return how many bytes they have."""
        is_implicit, end = False, 0
        while first := self._first():
            if not end:
                is_implicit = _found(first, is_implicit, is_guessed=True)
            tag, vr, length = self._head(first, is_implicit)
            if tag >> 16 != 2:
                break
            self._value(tag, vr, length, is_implicit, 0)
            end = self.at
        return end

    def _first(self) -> bytes:
        """The first bytes of an element; nothing at the end, and for a few bytes of padding there."""
        first = self._source.read(8)
        if len(first) < 8:
            if any(first):
                raise CutShort
            return b""
        return self._passed(first)

    def _head(self, first: bytes, is_implicit: bool) -> Head:
        """Tag, VR and length of an element (PS3.5 §7.1); without a VR where there is none."""
        self._count(1)
        tag, vr = self._tag(first), first[4:6]
        if is_implicit or (vr not in _VRS and not b"AA" <= vr <= b"ZZ"):  # as some write one, and pydicom reads it
            return tag, None, self._number(first[4:8])
        name = vr.decode("latin-1")
        return tag, name, self._number(self._read(4) if name in EXPLICIT_VR_LENGTH_32 else first[6:8])

    def _value(self, tag: int, vr: str | None, length: int, is_implicit: bool, depth: int) -> None:
        if length == _UNDEFINED:
            if vr in {"SQ", "UN"} or (vr is None and (not (vrs := _vrs(tag)) or "SQ" in vrs)):
                self._items(None, is_implicit, depth + 1)
            else:
                self._fragments()
        elif not self._is_deep:
            self._skip(length)
        else:
            self._look(tag, vr, length, is_implicit, depth)

    def _look(self, tag: int, vr: str | None, length: int, is_implicit: bool, depth: int) -> None:
        """Count what pydicom makes of a value when it is asked for."""
        vrs = frozenset({vr}) if vr not in {None, "UN"} else _vrs(tag)
        if vrs == {"SQ"}:
            self._items(self.at + length, is_implicit, depth + 1)
        elif "SQ" in vrs:  # or not, by who has made a private element
            self._count(length // 2)
            self._skip(length)
        elif vrs & _TEXTS:
            while length:
                piece = self._read(min(length, _STEP))
                self._count(piece.count(b"\\"))
                length -= len(piece)
        else:
            self._skip(length)

    def _items(self, end: int | None, is_implicit: bool, depth: int) -> None:
        """The items of a sequence (PS3.5 §7.5)."""
        if depth > self._bounds.depth:
            raise TooMuch(f"the data set has sequences more than {self._bounds.depth} deep")
        while end is None or self.at < end:
            first = self._read(8)
            tag, length = self._tag(first), self._number(first[4:8])
            if tag == _SEQUENCE_END:
                return
            if tag != _ITEM:
                raise ReadingError("the data set has a sequence of what are no items")
            self._count(4)
            if length == _UNDEFINED:
                self._item(None, is_implicit, depth)
            elif self._is_deep:
                self._item(self.at + length, is_implicit, depth)
            else:
                self._skip(length)
        if self.at > end:
            raise ReadingError("the data set has an item longer than its sequence")

    def _item(self, end: int | None, is_implicit: bool, depth: int) -> None:
        start = self.at
        while end is None or self.at < end:
            first = self._read(8)
            if self.at == start + len(first):  # one item may have no VR among others that do (PS3.5 §6.2.2)
                is_implicit = is_implicit or not _has_vr(first)
            tag, vr, length = self._head(first, is_implicit)
            if tag == _ITEM_END:
                return
            self._value(tag, vr, length, is_implicit, depth)
        if self.at > end:
            raise ReadingError("the data set has an element longer than its item")

    def _fragments(self) -> None:
        """Compressed pixel data (PS3.5 §A.4)."""
        while self._tag(first := self._read(8)) != _SEQUENCE_END:
            if self._tag(first) != _ITEM:
                raise ReadingError("the data set has pixel data of no fragments")
            self._count(1)
            self._skip(self._number(first[4:8]))

    # --- steps --------------------------------------------------------------------------------------------------------

    def _tag(self, first: bytes) -> int:
        return self._number(first[:2]) << 16 | self._number(first[2:4])

    def _number(self, data: bytes) -> int:
        return int.from_bytes(data, self._order)

    def _read(self, length: int) -> bytes:
        data = self._source.read(length)
        if len(data) < length:
            raise CutShort
        return self._passed(data)

    def _passed(self, data: bytes) -> bytes:
        self.at += len(data)
        if self._copy is not None:
            self._copy += data
            if len(self._copy) > _PIECE.size:
                self._copy = None
        return data

    def _skip(self, length: int) -> None:
        if self._copy is not None and length <= _PIECE.size:
            self._read(length)
        else:
            self._copy = None
            self._source.skip(length)
            self.at += length

    def _count(self, parts: int) -> None:
        self._parts += parts
        if self._parts > self._bounds.parts:
            raise TooMuch(f"the data set has more than {self._bounds.parts} elements or items")


def _name(tag: int) -> str:
    return f"{keyword_for_tag(tag)} ({tag >> 16:04X},{tag & 0xFFFF:04X})".strip()


def _has_vr(first: bytes) -> bool:
    """Whether there are two capitals where a VR would be; as pydicom has it, by which this is read again."""
    return all(0x40 < letter < 0x5B for letter in first[4:6])


def _found(first: bytes, is_implicit: bool, is_guessed: bool) -> bool:
    """Whether the VR is implicit, as the first element shows."""
    if _has_vr(first) is is_implicit and not is_guessed:
        found, due = ("explicit", "implicit") if is_implicit else ("implicit", "explicit")
        raise ReadingError(f"the data set has {found} VRs, its syntax {due} ones")
    return not _has_vr(first)


def _vrs(tag: int) -> frozenset[str]:
    """What an element may be that does not say it: of a private one, all that it is with one maker or the other."""
    if tag >> 16 & 1:
        return _private().get(f"{tag >> 16:04x}xx{tag & 0xFF:02x}", frozenset())
    try:
        return frozenset({dictionary_VR(tag)})
    except KeyError:
        return frozenset()


@cache
def _private() -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for entries in private_dictionaries.values():
        for tag, (vr, *_) in entries.items():
            found.setdefault(tag.lower(), set()).add(vr)
    return {tag: frozenset(vrs) for tag, vrs in found.items()}
