"""Where the control sockets of this user's nodes are: in a folder that is the user's alone, one socket a node."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from minipacs.errors import ControlError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SUFFIX, _FILES_SUFFIX = ".sock", ".files"


def folder_to_serve() -> Path:
    """Return the folder where a node puts its socket."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime) and _is_ours(runtime):
        return Path(runtime, "minipacs")
    return _temporary_folder()


def make(folder: Path) -> None:
    """Make *folder* if it is not there.

    Raises:
        ControlError: it cannot be made, or others have a hand in it; the message says what to do.
    """
    try:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
    except OSError as error:
        raise ControlError(
            f"{folder} cannot be made ({error.strerror}): set XDG_RUNTIME_DIR to a folder of yours"
        ) from None
    check(folder)


def check(folder: Path) -> None:
    """Look whether *folder* is the user's alone, for who can write there can take a node's place.

    Raises:
        ControlError: it is not; the message says what to do.
        OSError: it cannot be looked at.
    """
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        what = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "not a folder"
        raise ControlError(f"{folder} is {what}: remove it")
    if status.st_uid != os.geteuid():
        raise ControlError(
            f"{folder} belongs to user {status.st_uid}, not to us (user {os.geteuid()}): have it removed, or set "
            "XDG_RUNTIME_DIR to a folder of yours"
        )
    if status.st_mode & 0o077:
        raise ControlError(f"{folder} is open to others (mode {stat.S_IMODE(status.st_mode):04o}): chmod 700 {folder}")


def socket_name(address: str, port: int) -> str:
    """Return the name of the socket of the node whose first address is *address*."""
    return f"{address}:{port}{_SUFFIX}"


def note_files(socket: Path, files: Iterable[Path]) -> None:
    """Put beside the *socket* of a node which files it follows, so that others need not be asked; OSError."""
    place = socket.with_suffix(_FILES_SUFFIX)
    whole = place.with_name(f".{place.name}")
    whole.write_bytes(b"\0".join(os.fsencode(file.absolute()) for file in files))
    whole.replace(place)


def forget_files(socket: Path) -> None:
    """Take that away again; OSError."""
    socket.with_suffix(_FILES_SUFFIX).unlink(missing_ok=True)


def noted_files(socket: Path) -> tuple[str, ...] | None:
    """Return the files that the node at *socket* follows; None where it has not noted them."""
    try:
        return tuple(map(os.fsdecode, socket.with_suffix(_FILES_SUFFIX).read_bytes().split(b"\0")))
    except OSError:
        return None


def text_of(file: str) -> str:
    """Return the name of a file as JSON can carry it, whatever bytes it has."""
    return os.fsencode(file).decode("latin-1")


def name_of(text: str) -> str:
    """Return the name that `text_of` has made *text* of."""
    return os.fsdecode(text.encode("latin-1", errors="replace"))


def is_same(one: str, other: str) -> bool:
    """Whether two paths lead to one file, or would if it were there."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return os.path.realpath(one) == os.path.realpath(other)


def sockets() -> Iterator[tuple[Path, str, int]]:
    """Yield the sockets of this user, live or stale: the path, and address and port of the node.

    The folders are those of every environment, for that of a CI job or of cron may lack XDG_RUNTIME_DIR.
    """
    if not hasattr(os, "geteuid"):
        return
    folders = (folder_to_serve(), Path(f"/run/user/{os.geteuid()}/minipacs"), _temporary_folder())
    for folder in dict.fromkeys(folders):
        with suppress(OSError, ControlError):
            check(folder)
            for name in sorted(os.listdir(folder)):
                address, _, port = name.removesuffix(_SUFFIX).rpartition(":")
                if name.endswith(_SUFFIX) and address and port.isdecimal():
                    yield folder / name, address, int(port)


def _temporary_folder() -> Path:
    from tempfile import gettempdir

    return Path(gettempdir(), f"minipacs-{os.geteuid()}")


def _is_ours(folder: str) -> bool:
    try:
        status = os.stat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
