"""A long TOML text cut into pieces that say the same as the whole, where that can be told without reading it.

It knows no file, and reads no TOML.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_BRACKET = re.compile(r"^[ \t]*\[", re.MULTILINE)
_HEADER = re.compile(r"[ \t]*\[[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\][ \t]*(#.*)?\r?$", re.MULTILINE)
_SOMETHING = re.compile(r"^[ \t]*[^# \t\n\r]", re.MULTILINE)  # neither blank nor a comment


def pieces(text: str, length: int) -> Iterator[str]:
    """Cut a text of many sections before their headers; there are no pieces of one that has anything else in it.

    A line that begins with a bracket inside a string or an array is taken for a header at most: what is cut there is no
    TOML, which whoever reads it is told.

    Args:
        text: sections with headers such as ``[peers.NAME]``, and comments.
        length: characters that a piece has at least, but for the last.
    """
    starts = [match.start() for match in _BRACKET.finditer(text)]
    if not starts or _SOMETHING.search(text, 0, starts[0]) or not all(_HEADER.match(text, at) for at in starts):
        return
    begin = 0
    for start in starts:
        if start - begin >= length:
            yield text[begin:start]
            begin = start
    yield text[begin:]
