"""The file of the index, and those that SQLite puts beside it: whether they are ours is told before they are opened.

SQLite makes, changes and removes files by their names alone, so that each of these names has to be looked at first.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from minipacs.errors import StorageError
from minipacs.regular_file import NotRegularError, open_regular

if TYPE_CHECKING:
    from pathlib import Path

INDEX_NAME = "index.sqlite"
"""Of the file, in the folder whose objects it lists."""

APPLICATION = 0x6D706163
"""The application ID in the header of SQLite's file format, at byte 68: ``mpac``."""

LOG = "-wal"
"""What the name of the write-ahead log has behind that of the index: it is there while a process has the index open."""

_BESIDE = ("-shm", LOG, "-journal")

NAMES = (*(f"{INDEX_NAME}{suffix}" for suffix in _BESIDE), INDEX_NAME)
"""Of every file that an index may have."""

_HEADER = 72  # bytes, to the end of the application ID (https://sqlite.org/fileformat.html §1.3)
_BEGINNING = b"SQLite format 3\0"
_OF_LOG = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")
_OF_JOURNAL = (b"\xd9\xd5\x05\xf9", bytes(4))
_OF_SHARED_MEMORY = ((3_007_000).to_bytes(4, sys.byteorder), bytes(3))


def files_of(file: Path) -> list[Path]:
    """Return every file that an index in *file* may have, that itself last: it tells whose the others are."""
    return [*(file.with_name(file.name + suffix) for suffix in _BESIDE), file]


def is_there(file: Path) -> bool:
    """Whether *file* is an index of ours, which may be damaged; False where it is empty or not there.

    Raises:
        StorageError: it is something else, or what is beside it under the name of a file of SQLite's is.
        OSError: it cannot be read.
    """
    headers = {path: _header(path) for path in files_of(file)}
    own = headers.pop(file)
    if own and not (own.startswith(_BEGINNING) and own[68:] == APPLICATION.to_bytes(4, "big")):
        raise _not_ours(file, "another file")
    for (path, header), known in zip(headers.items(), (_OF_SHARED_MEMORY, _OF_LOG, _OF_JOURNAL), strict=True):
        if header and (own is None or not header.startswith(known)):
            raise _not_ours(path, "another file" if own is not None else "one without its index")
    return bool(own)


def _header(path: Path) -> bytes | None:
    """The first bytes of a file; None where there is none."""
    if not os.path.lexists(path):
        return None
    try:
        with open_regular(path, follow=False) as file:
            return file.read(_HEADER)
    except NotRegularError:
        raise _not_ours(path, "a link, a folder or a device") from None


def _not_ours(path: Path, what: str) -> StorageError:
    fix = "move it away, and the index is made again from the objects"
    return StorageError([f"{path}: file: must be of the index that minipacs made, not {what}: {fix}"])
