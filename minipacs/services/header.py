"""What the index keeps of a Part 10 file: its attributes as text, read without its pixel data."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING

from msgspec import Struct

from minipacs.services import sequences
from minipacs.services.attributes import STORED
from minipacs.services.bounded_reading import ReadingError, selected
from minipacs.services.texts import text_of

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom.dataset import Dataset, FileDataset

    from minipacs.services.attributes import Attribute

_CHARACTER_SET = 0x00080005
_ATTRIBUTES = tuple(attribute for level in STORED.values() for attribute in level)
_BY_TAG = {attribute.tag: attribute for attribute in _ATTRIBUTES}
_TAGS = [_CHARACTER_SET, *_BY_TAG]
_EMPTY = dict.fromkeys((attribute.keyword for attribute in _ATTRIBUTES), "")
_REQUIRED = ("SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")

# As strict as it takes to be asked for by one value, which * is not: some systems lead the numbers of a UID by zeros.
_ONE_NAME = r"[!-)+-\[\]-~]{1,64}"


class Header(Struct, frozen=True):
    """What is known of one object.

    Attributes:
        transfer_syntax_uid: how its data set is encoded.
        values: keyword → text of every attribute that is kept; empty where it has no value, several values with
            backslashes between them.
    """

    transfer_syntax_uid: str
    values: dict[str, str]


class HeaderError(ReadingError):
    """A file that is no DICOM object that can be listed: the message says why."""


class IncompleteError(HeaderError):
    """It lacks what an object has to have, to be found by it."""


def read_header(path: Path) -> Header:
    """Return what the index keeps of the Part 10 file at *path*.

    Raises:
        HeaderError: it is none, or has no SOP Class, Study, Series or SOP Instance UID.
        OSError: it cannot be read.
    """
    try:
        with warnings.catch_warnings():  # of what a peer sent, in its words
            warnings.simplefilter("ignore")
            return header_of(selected(path, _TAGS, follow=False))
    except HeaderError:
        raise
    except ReadingError as error:
        raise HeaderError(str(error)) from None


def read_to_its_end(path: Path) -> FileDataset:
    """Return what header_of() needs of the Part 10 file at *path*, of which all that follows has been looked at.

    Raises:
        ReadingError: it cannot be read, or is beyond its bounds.
        OSError: it cannot be read.
    """
    return selected(path, _TAGS, is_whole=True)


def header_of(data: Dataset) -> Header:
    """Return what the index keeps of a data set with its file meta information.

    Raises:
        IncompleteError: it has no SOP Class, Study, Series or SOP Instance UID.
    """
    here = [one for tag in data.keys() if (one := _BY_TAG.get(tag))]  # noqa: SIM118 - no value is decoded
    values = _EMPTY | {one.keyword: _kept(data, one) for one in here}
    missing = [keyword for keyword in _REQUIRED if not values[keyword]]
    if missing:
        raise IncompleteError(f"it has no {' and no '.join(missing)}")
    for keyword in _REQUIRED:
        if not re.fullmatch(_ONE_NAME, values[keyword]):
            raise IncompleteError(f"its {keyword} is no UID")
    return Header(str(data.file_meta.get("TransferSyntaxUID", "")), values)


def _kept(data: Dataset, one: Attribute) -> str:
    """The text of an attribute; empty where its value cannot be read: the object is found by its others."""
    try:
        return sequences.kept(data, one) if one.items else text_of(data, one.tag, one.vr)
    except Exception:  # noqa: BLE001 - whatever pydicom meets in what a peer sent
        return ""
