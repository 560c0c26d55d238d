"""The folder of one node: when it is taken, and what in it is ours.

    .minipacs-storage    the marker: the folder is ours, and how it is laid out
    objects/             a Part 10 file an object, in folders named after a digest of its UID
    incoming/            where files grow before they are kept
    index.sqlite         the index, and what SQLite puts beside it

A folder is taken when it is not there, empty or marked. Nothing in it is followed through a link, and nothing removed
that does not have a name as we make them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from hashlib import sha256
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from minipacs.errors import StorageError
from minipacs.regular_file import NotRegularError, open_regular
from minipacs.services import index_file
from minipacs.services.durable import make_durable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MARKER = ".minipacs-storage"
"""The file that says that a folder is ours."""

OBJECTS, INCOMING, SUFFIX = "objects", "incoming", ".dcm"

_VERSION = 1
_LINE = f"minipacs storage {_VERSION}\n"
_UNFINISHED = f"{MARKER}.new"  # the marker before it is whole
_NOTHING = {_UNFINISHED, "lost+found"}  # a file system has the latter in its root
_OURS = {OBJECTS, INCOMING, *index_file.NAMES}
_FOLDERS = [f"{number:02x}" for number in range(256)]
_INCOMING_NAME = re.compile(r"[0-9a-f]{32}\.dcm")
_MOST_SHOWN = 60


def take(folder: Path) -> int:
    """Make *folder* if it is not there, and make it ours; return the descriptor by whose closing it is left to others.

    Raises:
        StorageError: another process has it, or it is not ours to take; then nothing in it has been changed.
        OSError: it cannot be made, or not be written to.
    """
    if not os.path.lexists(folder):
        folder.mkdir(parents=True)
    claim = _claimed(folder)
    try:
        if not _is_marked(folder):
            _check_unmarked(folder)
            check_layout(folder)
            _mark(folder)
        check_layout(folder)
        _make_folders(folder)
    except BaseException:
        os.close(claim)
        raise
    return claim


def check_to_read(folder: Path) -> None:
    """Raise StorageError where *folder* is of another version, or leads elsewhere by a link."""
    _is_marked(folder)
    check_layout(folder)


def check_to_index(folder: Path) -> None:
    """Raise StorageError where *folder* is not one to write an index into: as `check_to_read`, or it is not ours."""
    if not _is_marked(folder) and (others := {*os.listdir(folder)} - _OURS - _NOTHING):
        raise _not_ours(folder, others)
    check_layout(folder)


def check_layout(folder: Path) -> None:
    """Raise StorageError where a folder in *folder* is something else, such as a link to another one."""
    inside = [folder / OBJECTS, folder / INCOMING, *(folder / OBJECTS / name for name in _FOLDERS)]
    for path in inside:
        if os.path.lexists(path) and not stat.S_ISDIR(path.lstat().st_mode):
            raise StorageError([f"{path}: folder: must be a folder here, not a link or a file"])


def check_folder(path: Path) -> None:
    """Raise OSError where *path* is not a folder, but a link to one, or something else, or nothing."""
    if not stat.S_ISDIR(path.lstat().st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "not a folder, but a link or a file", str(path))


def folder_of(sop_instance_uid: str) -> str:
    """Return the name of the folder below `objects/` where the object of that UID belongs."""
    return sha256(os.fsencode(sop_instance_uid)).hexdigest()[:2]


def is_in_use(folder: Path) -> bool:
    """Whether a node has *folder*."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Iterate over what lies in *folder* where objects do, and is named as their files are; in no order.

    It may be a pipe or a link, which is opened by `open_regular` alone.
    """
    objects = folder / OBJECTS
    for name in sorted(os.listdir(objects)) if objects.is_dir() else ():
        if stat.S_ISDIR((objects / name).lstat().st_mode):
            with os.scandir(objects / name) as inside:
                yield from (entry for entry in inside if entry.name.endswith(SUFFIX))


def names(folder: Path) -> Iterator[Path]:
    """Iterate over the paths of `entries`."""
    return (Path(entry.path) for entry in entries(folder))


def sweep(folder: Path) -> list[str]:
    """Remove the files that grew in *folder* when a node ended; return the names of what is not ours, and stays.

    Raises:
        OSError: it cannot be read, or one of ours not be removed.
    """
    with os.scandir(folder / INCOMING) as inside:
        found = list(inside)
    others = []
    for entry in found:
        if _INCOMING_NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
            os.unlink(entry.path)
        else:
            others.append(entry.name)
    return sorted(others)


def shown(names: Iterable[str], most: int = 3) -> str:
    """Return the first of *names*, and how many more there are."""
    ordered = sorted(names)
    more = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(ascii(name)[1:-1][:_MOST_SHOWN] for name in ordered[:most]) + more


# --- inside -----------------------------------------------------------------------------------------------------------


def _claimed(folder: Path) -> int:
    """Return the descriptor that makes *folder* ours for as long as it is open.

    Raises:
        StorageError: another process has it.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StorageError([f"{folder}: folder: must be that of one node, not of two: another one uses it"]) from None
    return descriptor


def _is_marked(folder: Path) -> bool:
    """Whether *folder* has the marker.

    Raises:
        StorageError: it has one that we do not know.
    """
    marker = folder / MARKER
    if not os.path.lexists(marker):
        return False
    try:
        with open_regular(marker, follow=False) as file:
            line = file.read(_MOST_SHOWN)
    except NotRegularError:
        raise StorageError([f"{marker}: file: must be the one that minipacs made, not a link or a folder"]) from None
    if line != _LINE.encode():
        rule = f'must be "{_LINE.strip()}", not {line.decode(errors="replace").strip()!a}'
        raise StorageError([f"{marker}: line: {rule}: the folder is of another version, or not ours; give another one"])
    return True


def _check_unmarked(folder: Path) -> None:
    """Raise StorageError where there is something in *folder*; but not of one that a minipacs without markers made."""
    there = {*os.listdir(folder)} - _NOTHING
    if others := there - _OURS:
        raise _not_ours(folder, others)
    if there and not _is_of_before(folder):
        raise _not_ours(
            folder, there, f"; or, if all of that is, say so: echo {_LINE.strip()} > {quote(str(folder / MARKER))}"
        )


def _is_of_before(folder: Path) -> bool:
    """Whether nothing but minipacs lays out a folder so: by its index, its folders, or where each object is in them."""
    if index_file.is_there(folder / index_file.INDEX_NAME) or not (folder / OBJECTS).is_dir():
        return (folder / OBJECTS).is_dir()
    if {*os.listdir(folder / OBJECTS)} >= {*_FOLDERS}:
        return True
    found = list((folder / OBJECTS).glob("*/*"))
    return bool(found) and all(path.parent.name == folder_of(path.stem) and path.suffix == SUFFIX for path in found)


def _not_ours(folder: Path, names: Iterable[str], more: str = "") -> StorageError:
    rule = f"must be empty, or one that minipacs made, not one with {shown(names)} in it"
    return StorageError([f"{folder}: folder: {rule}: give another one{more}"])


def _mark(folder: Path) -> None:
    """Write the marker: whole, and durable, before anything else is."""
    unfinished = folder / _UNFINISHED
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(unfinished, flags, 0o644)
    with open(descriptor, "wb") as file:
        file.write(_LINE.encode())
        file.flush()
        os.fsync(descriptor)
    os.rename(unfinished, folder / MARKER)
    make_durable(folder)


def _make_folders(folder: Path) -> None:
    """Make all of them at once, so that hardly an object waits until the one for it is on disk."""
    (folder / INCOMING).mkdir(exist_ok=True)
    if not (folder / OBJECTS).is_dir():
        for name in _FOLDERS:
            (folder / OBJECTS / name).mkdir(parents=True)
        make_durable(folder / OBJECTS)
    make_durable(folder)
