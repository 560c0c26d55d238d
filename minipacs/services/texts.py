"""The values of a data element as text: in Unicode, without padding, several with backslashes between them.

Straight from the bytes, so that a value that breaks the rule for its representation is text like any other, and not an
exception.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.multival import MultiValue
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_WITH_CHARACTER_SET = {"LO", "LT", "PN", "SH", "ST", "UC", "UT"}  # PS3.5 §6.1.2.3
_ONE_VALUE = {"LT", "ST", "UR", "UT"}  # in which a backslash is a letter
_NUMBERS = {"US", "UL", "SS", "SL", "UV", "SV", "FL", "FD"}


def text_of(data: Dataset, tag: int, vr: str, inherited: object = "") -> str:
    """Return the text of an element; empty for one that has no value, or is not there.

    Args:
        data: holds it; its Specific Character Set (0008,0005) says how text is encoded.
        tag: which it is.
        vr: its value representation.
        inherited: the Specific Character Set of what *data* is an item of, where it has none (PS3.3 §C.12.1.1.2).

    Raises:
        LookupError, ValueError: pydicom knows no such character set, or no such number; or what it makes is no text.
    """
    if tag not in data:
        return ""
    element = data.get_item(tag)
    if element.VR == "SQ":  # as what is to be text may be, too
        return ""
    if isinstance(element, RawDataElement) and vr not in _NUMBERS:
        return trimmed(_decoded(data.get("SpecificCharacterSet", inherited), element.value or b"", vr), vr)
    if isinstance(element, RawDataElement):
        element = convert_raw_data_element(element)
    value = element.value
    if value is None:
        return ""
    values = value if isinstance(value, MultiValue | list | tuple) else [value]
    return trimmed("\\".join(map(str, values)), vr)


def trimmed(text: str, vr: str) -> str:
    """Return *text* without the padding that is not significant (PS3.5 §6.2), around each of its values."""
    if vr in _ONE_VALUE:
        return text.rstrip(" \0")
    if "\\" not in text:
        return text.strip(" \0")
    return "\\".join(value.strip(" \0") for value in text.split("\\"))


def _decoded(character_set: Any, raw: bytes, vr: str) -> str:
    if vr not in _WITH_CHARACTER_SET or (raw.isascii() and b"\x1b" not in raw):  # ESC: ISO 2022, in seven bits
        return raw.decode("iso8859-1")
    encodings = convert_encodings(character_set)
    groups = raw.split(b"=") if vr == "PN" else [raw]
    delimiters = PN_DELIMS | {0x5C} if vr == "PN" else TEXT_VR_DELIMS
    text = "=".join(decode_bytes(group, encodings, delimiters) for group in groups)
    text.encode()  # pydicom takes every codec of Python's, of which some make halves of letters, that are no text
    return text
