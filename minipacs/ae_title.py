"""What an AE title is: 1 to 16 characters of the default repertoire (PS3.5 §6.2, VR AE).

Leading and trailing spaces are not significant, and case is (PS3.8 §9.3.2).
"""

from __future__ import annotations

from minipacs.escape import escape

MAXIMUM_LENGTH = 16


def significant(title: str) -> str:
    """Return *title* without what the standard ignores, and without the NULs that devices pad with."""
    return title.rstrip("\0 ").lstrip(" ")


def broken_rule(title: str) -> str | None:
    """Return the rule that *title* breaks, in words (``must …``), or None when it is a valid AE title."""
    if not significant(title):
        return "must not be empty"
    if len(significant(title)) > MAXIMUM_LENGTH:
        return f"must be at most {MAXIMUM_LENGTH} characters"
    if "\\" in title:
        return "must not contain a backslash"
    if not (title.isascii() and title.isprintable()):
        return "must be printable ASCII (the default repertoire of PS3.5)"
    return None


def checked(title: str, name: str) -> str:
    """Return the significant part of *title*, which is what callers give as *name*.

    Raises:
        ValueError: it is no valid AE title.
    """
    if (broken := broken_rule(title)) is not None:
        raise ValueError(f"{name}: {broken}, not {escape(repr(title))}")
    return significant(title)
