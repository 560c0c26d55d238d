"""What a peer sent, made safe to show: on a terminal, in a log, in JSON."""

from __future__ import annotations

LONGEST = 256
"""Characters that are shown of one value: whoever sends it decides how long it is, and it may come again and again."""


def escape(text: str) -> str:
    r"""Return *text* as printable ASCII: ESC becomes ``\x1b``, a line feed ``\n``, ``é`` ``\xe9``.

    A backslash is doubled, so that what was sent can be told from what was escaped. Of a text longer than LONGEST, the
    beginning is returned, and how many characters are left out.
    """
    if len(text) > LONGEST:
        return f"{escape(text[:LONGEST])}...(+{len(text) - LONGEST} characters)"
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return text.encode("unicode_escape").decode("ascii")


def readable(text: str) -> str:
    r"""Return *text* as escape() does, but leave the letters of every script: a patient's name is to be read.

    What is not printable is escaped (Unicode categories C, and Z but the space), and with it what turns the direction
    of writing.
    """
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(c if c.isprintable() and c != "\\" else escape(c) for c in text)


def hex_dump(data: bytes, length: int = 16) -> str:
    """Return the first *length* bytes of *data* as hexadecimal pairs, such as ``47 45 54 20``."""
    return data[:length].hex(" ")
