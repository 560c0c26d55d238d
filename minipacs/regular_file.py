"""Opening what has to be a regular file: a pipe without a writer holds its reader, a device may do anything."""

from __future__ import annotations

import errno
import os
import stat
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from io import BufferedReader
    from pathlib import Path

_FLAGS = os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # it may have become a pipe since it was looked at


class NotRegularError(OSError):
    """What is there is a folder, a pipe, a socket or a device; or a link, where none is followed."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(errno.EINVAL, "not a regular file", os.fspath(path))


def open_regular(path: Path, *, follow: bool = True) -> BufferedReader:
    """Open the file at *path* to read it.

    Args:
        path: where it is.
        follow: whether it may be a link to a regular file.

    Raises:
        NotRegularError: it is none; it has not been opened.
        OSError: it cannot be opened.
    """
    return open(os.fspath(path), "rb", opener=partial(_descriptor, follow))


def _descriptor(follow: bool, path: str, flags: int) -> int:
    _check(path, os.stat(path, follow_symlinks=follow))
    descriptor = os.open(path, flags | _FLAGS | (0 if follow else os.O_NOFOLLOW))
    try:
        _check(path, os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise NotRegularError(path)
