"""What the index keeps of a Part 10 file: its attributes as text, read without its pixel data."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from msgspec import Struct
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_partial

from minipacs.escape import escape
from minipacs.regular_file import open_regular
from minipacs.services import sequences
from minipacs.services.attributes import STORED
from minipacs.services.texts import text_of

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom.dataset import Dataset
    from pydicom.tag import BaseTag

_CHARACTER_SET = 0x00080005
_ATTRIBUTES = tuple(attribute for level in STORED.values() for attribute in level)
_BY_TAG = {attribute.tag: attribute for attribute in _ATTRIBUTES}
_TAGS = [_CHARACTER_SET, *_BY_TAG]
_LAST = max(_TAGS)
_EMPTY = dict.fromkeys((attribute.keyword for attribute in _ATTRIBUTES), "")
_REQUIRED = ("SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


class Header(Struct, frozen=True):
    """What is known of one object.

    Attributes:
        transfer_syntax_uid: how its data set is encoded.
        values: keyword → text of every attribute that is kept; empty where it has no value, several values with
            backslashes between them.
    """

    transfer_syntax_uid: str
    values: dict[str, str]


class HeaderError(ValueError):
    """A file that is no DICOM object that can be listed: the message says why."""


def read_header(path: Path) -> Header:
    """Return what the index keeps of the Part 10 file at *path*.

    Raises:
        HeaderError: it is none, or has no SOP Class, Study, Series or SOP Instance UID.
        OSError: it cannot be read.
    """
    with open_regular(path, follow=False) as file, warnings.catch_warnings():  # of what a peer sent, in its words
        warnings.simplefilter("ignore")
        try:
            data = read_partial(file, _is_past, specific_tags=[*_TAGS])
        except InvalidDicomError:
            raise HeaderError("not a DICOM file (PS3.10 §7.1)") from None
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever pydicom meets in what a peer sent
            raise HeaderError(f"its header cannot be read: {escape(str(error))}") from None
        return header_of(data)


def header_of(data: Dataset) -> Header:
    """Return what the index keeps of a data set with its file meta information.

    Raises:
        HeaderError: it has no SOP Class, Study, Series or SOP Instance UID, or a value that cannot be read.
    """
    try:
        here = [one for tag in data.keys() if (one := _BY_TAG.get(tag))]  # noqa: SIM118 - no value is decoded
        values = _EMPTY | {
            one.keyword: sequences.kept(data, one) if one.items else text_of(data, one.tag, one.vr) for one in here
        }
        syntax = str(data.file_meta.get("TransferSyntaxUID", ""))
    except Exception as error:  # noqa: BLE001 - whatever pydicom meets in what a peer sent
        raise HeaderError(f"its header cannot be read: {escape(str(error))}") from None
    missing = [keyword for keyword in _REQUIRED if not values[keyword]]
    if missing:
        raise HeaderError(f"it has no {' and no '.join(missing)}")
    return Header(syntax, values)


def _is_past(tag: BaseTag, _: str | None, __: int) -> bool:
    """All that is kept stands before: neither pixel data nor what is behind it is read."""
    return int(tag) > _LAST
