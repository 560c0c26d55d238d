"""The header of a Part 10 file, as a table that a person reads: tag, representation, name and value of each element."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from pydicom import dcmread
from pydicom.datadict import dictionary_description, dictionary_has_tag
from pydicom.dataelem import RawDataElement
from pydicom.errors import InvalidDicomError
from pydicom.tag import Tag
from pydicom.uid import UID

from minipacs.regular_file import open_regular
from minipacs.services.header import HeaderError
from minipacs.services.shown import cut, padded, printable, width

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

    Row = tuple[str, str, str, str]

_PIXEL_DATA = Tag(0x7FE00010)
_CUT_SHORT = -1  # instead of a length
_DEFERRED = 4096  # bytes: longer values are left in the file; nobody reads them from a terminal
_BULK = {"OB", "OD", "OF", "OL", "OV", "OW", "UN"}
_LONGEST_NAME = 40
_LEAST = 16  # columns for a value, on however narrow a terminal
_DEEPEST = 16  # sequences within sequences
_MOST = 256  # characters of a value that are looked at


def read(path: Path) -> Dataset:
    """Return the data set in the Part 10 file at *path*, with long values left in the file.

    Raises:
        HeaderError: it is none; the message says why.
        OSError: it cannot be read.
    """
    try:
        with open_regular(path) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = dcmread(file, defer_size=_DEFERRED)
            if not data:  # pydicom has nothing of a file that ends in compressed pixel data
                file.seek(0)
                data = dcmread(file, stop_before_pixels=True)
                data[_PIXEL_DATA] = RawDataElement(_PIXEL_DATA, "OB", _CUT_SHORT, None, 0, False, True)
    except InvalidDicomError:
        raise HeaderError("not a DICOM file (PS3.10 §7.1)") from None
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever pydicom meets in a damaged file
        raise HeaderError(f"it cannot be read: {printable(str(error))}") from None
    if len(data) == 1 and _PIXEL_DATA in data:
        raise HeaderError("it holds no data set")
    return data


def lines(data: Dataset, columns: int) -> Iterator[str]:
    """Yield the lines of the table, each of so many *columns* at most; file meta information first."""
    with warnings.catch_warnings():  # of values that break a rule: they are shown
        warnings.simplefilter("ignore")
        rows = [*_rows(data.file_meta, 0), *_rows(data, 0)]
    longest = max((width(name) for _, _, name, _ in rows), default=0)
    for tag, vr, name, value in rows:
        front = f"{tag}  {vr}  {padded(name, longest)}  "
        yield (front + cut(value, max(_LEAST, columns - width(front)))).rstrip()


def as_json(data: Dataset) -> str:
    """Return the data set in the JSON model (PS3.18 Annex F), on one line, without long bulk data."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for tag in list(data.keys()):
            raw = data.get_item(tag, keep_deferred=True)
            if raw.value is None and raw.VR in _BULK:
                del data[tag]
        return data.to_json(suppress_invalid_tags=True)


def _rows(data: Dataset, depth: int) -> Iterator[Row]:
    for tag in sorted(data.keys()):
        raw = data.get_item(tag, keep_deferred=True)
        indent = "> " * depth
        label = f"{indent}({tag.group:04X},{tag.element:04X})"
        if raw.VR in _BULK or (raw.value is None and raw.VR != "SQ"):  # of a raw one: it is in the file
            length = getattr(raw, "length", None) if raw.value is None else len(raw.value)
            name = dictionary_description(tag) if dictionary_has_tag(tag) else ""
            yield label, raw.VR or "  ", cut(name, _LONGEST_NAME), _bulk(data, tag, length)
            continue
        try:
            element = data[tag]
        except Exception as error:  # noqa: BLE001 - one element that is damaged: the others are shown all the same
            yield label, str(raw.VR or "??")[:2], "", f"cannot be read: {printable(str(error))}"
            continue
        if element.VR == "SQ":
            items = list(element.value)
            count = f"{len(items)} item{'' if len(items) == 1 else 's'}"
            yield label, "SQ", _name(data, tag), count
            for item in items if depth < _DEEPEST else ():
                yield from _rows(item, depth + 1)
        else:
            yield label, element.VR, _name(data, tag), _value(element)


def _name(data: Dataset, tag: int) -> str:
    try:
        name = data[tag].name  # of a private one by its creator, in brackets
    except Exception:  # noqa: BLE001 - it is damaged, or left in the file
        name = dictionary_description(tag) if dictionary_has_tag(tag) else ""
    return cut(printable(name), _LONGEST_NAME)


def _value(element: DataElement) -> str:
    value = element.value
    if value is None:
        return ""
    if element.VR == "UI":
        uids = value if isinstance(value, list) or hasattr(value, "append") else [value]
        return " \\ ".join(_uid(str(uid)) for uid in uids)
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    values = value if hasattr(value, "append") else [value]
    return printable("\\".join(str(one) for one in values)[:_MOST])


def _uid(uid: str) -> str:
    name = UID(uid).name
    return f"{printable(uid)} ({name})" if name != uid else printable(uid)


def _bulk(data: Dataset, tag: int, length: int | None) -> str:
    """Bulk data in a few words."""
    size = "of undefined length" if length in {None, 0xFFFFFFFF} else f"{length} bytes"
    if length == _CUT_SHORT:
        size = "cut short"
    if tag != _PIXEL_DATA:
        return size
    frames = str(data.get("NumberOfFrames", 1) or 1)
    return (
        f"{data.get('Columns', '?')} × {data.get('Rows', '?')}, {data.get('SamplesPerPixel', 1)} sample(s) of "
        f"{data.get('BitsStored', '?')} bits, {printable(frames)} frame(s), "
        f"{printable(str(data.get('PhotometricInterpretation', '?')))}, {size}"
    )
