"""Files that are written together: all of them or none, each whole, and a key readable by nobody else at any time."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, flock
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_PRIVATE, _PUBLIC, _FOLDER = 0o600, 0o644, 0o700


class NewFile(Struct, frozen=True):
    """A file to write.

    Attributes:
        path: where.
        data: its content.
        is_private: whether its owner alone may read it.
        replaces: whether it takes the place of the one that is there; else nothing may be there.
    """

    path: Path
    data: bytes
    is_private: bool = False
    replaces: bool = False


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Make *folder*, for its owner alone, if it is not there; whoever else asks the same waits until we are done.

    A folder that was made for nothing is taken away again.

    Raises:
        OSError: it cannot be made, or is none.
    """
    is_ours = not folder.exists()
    folder.mkdir(_FOLDER, parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flock(descriptor, LOCK_EX)
        yield
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
        if is_ours:
            with suppress(OSError):  # it is not empty when all went well
                folder.rmdir()


def write_all(files: Sequence[NewFile]) -> None:
    """Write the files. What is already written when something fails is taken away again.

    That is not so of a file that took another's place, which is why these come last.

    Raises:
        OSError: a file cannot be written, which its `filename` names; FileExistsError: it is there already.
    """
    done: list[Path] = []
    temporary: list[Path] = []
    try:
        for file in files:
            temporary.append(_beside(file.path))
            _write(temporary[-1], file)
        for file, whole in sorted(zip(files, temporary, strict=True), key=lambda pair: pair[0].replaces):
            _put(whole, file, done)
    except BaseException:
        for path in done:
            path.unlink(missing_ok=True)
        raise
    finally:
        for path in temporary:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    place = path.resolve()  # a link stays a link
    return place.with_name(f".{place.name}.{secrets.token_hex(4)}")


def _write(place: Path, file: NewFile) -> None:
    try:
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE)
        with open(descriptor, "wb") as opened:
            opened.write(file.data)
            opened.flush()
            _set_mode(descriptor, file)
            os.fsync(descriptor)
    except OSError as error:
        error.filename = str(file.path)
        raise


def _set_mode(descriptor: int, file: NewFile) -> None:
    """That of the file whose place it takes; else its own, whatever the umask says."""
    if not file.replaces:
        os.fchmod(descriptor, _PRIVATE if file.is_private else _PUBLIC)
        return
    status = file.path.stat()
    with suppress(PermissionError):  # root renews what is a user's
        os.fchown(descriptor, status.st_uid, status.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(status.st_mode))


def _put(whole: Path, file: NewFile, done: list[Path]) -> None:
    try:
        if file.replaces:
            os.replace(whole, file.path.resolve())
        else:
            os.link(whole, file.path)  # which never overwrites
            done.append(file.path)
    except OSError as error:
        error.filename = str(file.path)
        raise
