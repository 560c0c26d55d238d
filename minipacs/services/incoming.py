"""A folder for what is not whole yet, beside where it shall go; and what earlier ones left that were killed.

Who has such a folder holds a lock on it (flock(2)), of which the kernel lets go whatever ends the process. One that
bears a name of ours and is not locked was left; of that the files are taken away that bear names of ours, too.
"""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PREFIX = ".incoming-"
_OURS = re.compile(re.escape(_PREFIX) + "[0-9a-f]{32}")
_FILE = re.compile(r"tmp[a-z0-9_]{8}\.dcm")  # as pynetdicom has tempfile name them
_TRIES = 10
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def incoming(folder: Path) -> Iterator[Path]:
    """Make such a folder in *folder*, take away what was left there, and yield it; it is empty and gone afterwards.

    Raises:
        OSError: it cannot be made.
    """
    path, descriptor = _made(folder)
    try:
        take_away_left(folder)
        yield path
    finally:
        _empty(descriptor)
        with suppress(OSError):
            path.rmdir()
        os.close(descriptor)


def take_away_left(folder: Path) -> None:
    """Take away what was left in *folder* by those that were killed, as far as that can be; nothing else."""
    with suppress(OSError), os.scandir(folder) as entries:
        left = [entry.path for entry in entries if _OURS.fullmatch(entry.name)]
        for path in left:
            with suppress(OSError):
                _take_away(path)


def _made(folder: Path) -> tuple[Path, int]:
    """Make a folder and lock it; again, where another took it for one that was left before it was locked."""
    for _ in range(_TRIES):
        path = folder / f"{_PREFIX}{uuid4().hex}"
        path.mkdir(0o700)
        with suppress(FileNotFoundError):
            descriptor = os.open(path, _OPEN)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                return path, descriptor
            os.close(descriptor)
    raise FileNotFoundError(None, "what is made there is gone at once", str(folder))


def _take_away(path: str) -> None:
    descriptor = os.open(path, _OPEN)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # else it is in use
        _empty(descriptor)
        os.rmdir(path)  # which fails where there is something else in it
    finally:
        os.close(descriptor)


def _empty(descriptor: int) -> None:
    """Remove the files of ours from a folder that is open."""
    for name in os.listdir(descriptor):
        if _FILE.fullmatch(name):
            with suppress(OSError):
                os.unlink(name, dir_fd=descriptor)
