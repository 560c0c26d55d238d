"""Matches of a query, as a person or a script reads them; what the peer sent is made safe. It prints nothing itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unicodedata import combining, east_asian_width

from pydicom.datadict import keyword_for_tag

from minipacs.escape import readable
from minipacs.report import as_json as json_of
from minipacs.services.shown import cut

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset
    from pydicom.tag import BaseTag

_WIDEST = 256  # columns of a cell; some letters take none


def as_row(match: Dataset, tags: Sequence[BaseTag]) -> list[str]:
    """Return what a table has of a match: a cell for each of *tags*, the longest values cut."""
    return [cut(_text(_value(match, tag))[: 4 * _WIDEST], _WIDEST) for tag in tags]


def as_table(rows: Sequence[list[str]], tags: Sequence[BaseTag]) -> str:
    """Return them in aligned columns, one for each of *tags*."""
    rows = [list(map(_name, tags)), *rows]
    widths = [max(map(_cells, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(_padded, row, widths)).rstrip() for row in rows)


def as_json(match: Dataset, tags: Sequence[BaseTag]) -> str:
    """Return a match as one JSON object by keyword; several values are an array, a sequence is one of objects."""
    return json_of({_name(tag): _value(match, tag) for tag in tags})


def _cells(text: str) -> int:
    """How many columns of a terminal it takes: an ideogram two, an accent of its own none (UAX #11)."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(letter) else 1 + (east_asian_width(letter) in "WF") for letter in text)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _cells(text))


def _name(tag: BaseTag) -> str:
    return keyword_for_tag(tag) or str(tag)


def _value(match: Dataset, tag: BaseTag) -> Any:
    """The value as JSON has it; None where the peer gives none, and the raw bytes where they cannot be read."""
    try:
        return None if tag not in match else _plain(match[tag])
    except Exception:  # noqa: BLE001 - pydicom reads a value when it is asked for, and meets there whatever was sent
        raw = match.get_item(tag)
        return readable(repr(getattr(raw, "value", None)))


def _plain(element: DataElement) -> Any:
    if element.VR == "SQ":
        return [{item.keyword or str(item.tag): _plain(item) for item in dataset} for dataset in element.value]
    values = list(element.value) if element.VM > 1 else [element.value]
    plain = [value if isinstance(value, int | float) and element.VR != "IS" else _string(value) for value in values]
    return (plain if element.VM > 1 else plain[0]) if element.VM else None


def _string(value: object) -> str:
    return readable(value.hex(" ") if isinstance(value, bytes) else str(value))


def _text(value: object) -> str:
    if value is None:
        return ""
    items: Iterable[object] = value if isinstance(value, list) else [value]
    return "\\".join(json_of(item) if isinstance(item, dict) else str(item) for item in items)
