"""Text of a data set, made safe to show, and laid out in columns.

Names of people are written in many scripts, so that letters stay as they are; what moves the cursor, turns the
direction of writing or is no character is escaped.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from minipacs.escape import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MORE = "…"


def printable(text: str) -> str:
    """Return *text* on one line, with everything that is not a printable character escaped."""
    return text if text.isprintable() else "".join(one if one.isprintable() else escape(one) for one in text)


def width(text: str) -> int:
    """Return the columns that *text* takes on a terminal (Unicode Standard Annex #11)."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text
    )


def cut(text: str, columns: int) -> str:
    """Return *text* in so many columns at most, with an ellipsis where it is cut."""
    if width(text) <= columns:
        return text
    kept = ""
    for one in text:
        if width(kept) + width(one) > columns - 1:
            break
        kept += one
    return kept + _MORE


def padded(text: str, columns: int) -> str:
    """Return *text* with spaces behind it, so that it takes so many columns."""
    return text + " " * (columns - width(text))


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> list[str]:
    """Return the lines of a table: the *heads*, and the *rows* below; the columns in *right* end below each other."""
    cells = [heads, *rows]
    widths = [max(width(row[place]) for row in cells) for place in range(len(heads))]
    numbers = set(right)
    return [
        "  ".join(
            " " * (widths[place] - width(cell)) + cell if place in numbers else padded(cell, widths[place])
            for place, cell in enumerate(row)
        ).rstrip()
        for row in cells
    ]
