"""Files that are written together: all of them or none, each whole, and a key readable by nobody else at any time.

And a lock, so that of two who edit one file the second begins with what the first has left.
"""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from time import monotonic, sleep
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_PRIVATE, _PUBLIC, _FOLDER = 0o600, 0o644, 0o700

LOCK_PATIENCE = 10.0
"""Seconds for which the lock of another is waited for."""

_PAUSE = 0.01  # seconds between two looks at it


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


class LockedError(Exception):
    """Another edits the file, and does not come to an end, or the lock is not ours: says which it is, and why."""


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Make *folder*, for its owner alone, if it is not there; whoever else asks the same waits until we are done.

    A folder that was made for nothing is taken away again.

    Raises:
        OSError: it cannot be made, or is none.
        LockedError: another has it for too long.
    """
    with _made(folder, _FOLDER), locked(folder / "files"):
        yield
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def alone_at(path: Path) -> Iterator[Path]:
    """Keep every other of our writers from the file at *path*, from reading it to putting another in its place.

    Its folder is made if it is not there, and taken away again where it was made for nothing.

    Returns:
        Where the file is: a link stays a link.

    Raises:
        OSError: its folder cannot be made, or not be written to.
        LockedError: another has it for too long.
    """
    place = path.resolve()
    with _made(place.parent), locked(place):
        yield place


@contextmanager
def locked(place: Path) -> Iterator[None]:
    """Hold the lock of *place*: a file beside it, which is taken away again; a stale one is no obstacle.

    Args:
        place: what is to be locked, which need not be there.

    Raises:
        OSError: there can be no lock.
        LockedError: another has it for longer than that, or what is there is no lock.
    """
    lock = place.with_name(f".{place.name}.lock")
    descriptor = _take(lock, monotonic() + LOCK_PATIENCE)
    if descriptor is None:
        raise LockedError(f"another command edits it for longer than {LOCK_PATIENCE:g} s: it holds {lock}")
    try:
        yield
    finally:
        with suppress(OSError):  # while we hold it, so that it is no other's
            lock.unlink()
        os.close(descriptor)


def _take(lock: Path, deadline: float) -> int | None:
    """Return the descriptor of the lock, once it is ours; None when it is too late."""
    flags = os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    while True:
        _check(lock)
        descriptor = os.open(lock, flags, _PUBLIC)
        try:
            with suppress(BlockingIOError):
                flock(descriptor, LOCK_EX | LOCK_NB)
                if os.path.samestat(os.fstat(descriptor), lock.lstat()):
                    return descriptor
        except FileNotFoundError:  # who had it has taken it away meanwhile
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if monotonic() >= deadline:
            return None
        sleep(_PAUSE)


def _check(lock: Path) -> None:
    """Raise LockedError where there is something that we have not made: a lock is empty, and taken away again."""
    with suppress(FileNotFoundError):
        status = lock.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size:
            raise LockedError(f"{lock} is no lock that minipacs made: move it away")


@contextmanager
def _made(folder: Path, mode: int = 0o777) -> Iterator[None]:
    is_ours = not folder.exists()
    folder.mkdir(mode, parents=True, exist_ok=True)
    try:
        yield
    finally:
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
