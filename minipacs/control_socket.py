"""The file of a control socket: put where clients look for it, without a moment in which two nodes hold one place."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from minipacs import control_place
from minipacs.errors import ControlError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_BACKLOG = 64
_TRIES = 100  # a hundredth of a second each, for other nodes to get out of our way


async def listening(path: Path) -> tuple[socket.socket, tuple[int, int]]:
    """Return a socket that listens at *path*, and the inode of its file; stale ones beside it are removed.

    Raises:
        ControlError: a node answers there, or the path is too long.
        OSError: it cannot be for another reason.
    """
    async with _alone_in(path.parent):
        _sweep(path.parent)
        return _bound(path)


def inode_of(path: Path) -> tuple[int, int]:
    """Return what tells the file at *path* from one that takes its place; OSError when there is none."""
    status = path.lstat()
    return status.st_dev, status.st_ino


@asynccontextmanager
async def _alone_in(folder: Path) -> AsyncIterator[None]:
    """Keep other nodes of ours that start from changing *folder*; one that was suspended there does not hold us up."""
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for _ in range(_TRIES):
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            await asyncio.sleep(0.01)
        yield
    finally:
        os.close(descriptor)


def _sweep(folder: Path) -> None:
    """Remove the sockets of nodes that did not live to do so."""
    for path in folder.iterdir():
        with suppress(OSError, ControlError):
            if path.is_socket() and not _is_answered(path):
                path.unlink()
                control_place.forget_files(path)


def _bound(path: Path) -> tuple[socket.socket, tuple[int, int]]:
    """It has its name only once it listens: who finds one that refuses knows that it is stale."""
    if _is_answered(path):
        raise ControlError(
            f"another node answers at {path}, perhaps one in a container: stop it, or choose another port"
        )
    unnamed = path.with_name(f".{os.getpid()}")
    unnamed.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.setblocking(False)
        sock.bind(str(unnamed))
        unnamed.chmod(0o600)
        sock.listen(_BACKLOG)
        inode = inode_of(unnamed)
        unnamed.rename(path)
    except OSError:
        sock.close()
        unnamed.unlink(missing_ok=True)
        raise
    return sock, inode


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except BlockingIOError:  # so many wait that it takes no more
            return True
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError as error:
            if error.errno is None:  # Python itself says so
                raise ControlError(f"{path} is too long for a socket: set XDG_RUNTIME_DIR to a shorter one") from None
            raise
    return True
