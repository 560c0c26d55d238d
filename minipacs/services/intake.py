"""Where the data sets of C-STORE requests grow: in files of the folder for that, never in memory.

pynetdicom writes each data set to a `NamedTemporaryFile` as it comes (STORE_RECV_CHUNKED_DATASET). Its module gets
another one from here, for three things that the usual one cannot: it is on the file system where objects are kept, it
takes no more than the limits, and a disk that is full is told by a status, not by the end of the association. Whatever
happens is remembered, what comes behind it is dropped, and the request is answered for it when it is whole.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from contextvars import ContextVar
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

from pynetdicom import dimse_messages

from minipacs.services.storage_folder import check_folder

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

    from minipacs.handover import Offer
    from minipacs.services.object_files import ObjectFiles

_BUFFER = 1 << 18  # bytes
_STEP = 1 << 20  # bytes, after which it is asked again whether there is room
_AT_ONCE = 16  # data sets of one association that are not answered yet; each has a descriptor

intake: ContextVar[Intake | None] = ContextVar("intake", default=None)
"""That of the association which the thread serves."""

offered: ContextVar[Offer | None] = ContextVar("offered", default=None)
"""How that association was handed over."""


class IncomingFile:
    """A Part 10 file that grows. It is written to as a file object, and never raises.

    Args:
        path: where; it is made.
        files: the folder with its limits.
        limit: bytes that it may have.

    Attributes:
        name: the path as text.
        fault: why it cannot be kept; empty while it can.
        size: bytes that came.
    """

    def __init__(self, path: Path, files: ObjectFiles, limit: int) -> None:
        self.path = path
        self.name = str(path)
        self.fault = ""
        self.size = 0
        self._files = files
        self._limit = limit
        self._next_look = 0
        self._file = None
        try:
            check_folder(path.parent)
            self._file = path.open("xb", buffering=_BUFFER)
        except OSError as error:
            self._fail(error)

    @property
    def file(self) -> Self:
        """Itself: pynetdicom flushes the file below after each fragment, for which there is no need here."""
        return self

    def flush(self) -> None:
        """Nothing: the file is read only once it is whole."""

    def write(self, data: bytes) -> int:
        """Add *data*, or drop it where the file cannot be kept."""
        self.size += len(data)
        if self._file is not None:
            try:
                self._add(data)
            except OSError as error:
                self._fail(error)
        return len(data)

    def finish(self) -> None:
        """Write it to disk; *fault* says if that cannot be, or if it is not there any more."""
        if self._file is not None:
            try:
                self._file.flush()
                os.fsync(self._file.fileno())
                if not os.path.samestat(os.stat(self.path), os.fstat(self._file.fileno())):
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.name)
                self._file.close()
                self._file = None
            except OSError as error:
                self._fail(error)

    def close(self) -> None:
        """Close it, and remove it if it is not kept."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None
        with suppress(OSError):
            self.path.unlink()

    def _add(self, data: bytes) -> None:
        assert self._file is not None
        if self.size > self._limit:
            self._give_up(f"more than {self._limit} bytes")
        elif self.size >= self._next_look and (why := self._files.room(len(data))):
            self._give_up(why)
        else:
            self._next_look = max(self._next_look, self.size - self.size % _STEP + _STEP)
            self._file.write(data)

    def _fail(self, error: OSError) -> None:
        """It is ours, not the peer's: the folder is gone, the disk is full."""
        self._give_up(error.strerror or str(error), error.filename or self.path)

    def _give_up(self, why: str, path: Path | None = None) -> None:
        self.fault = why
        self.close()
        self._files.tell_refusal(why, path)


class Intake:
    """The data sets that come on one association.

    Args:
        files: the folder with its limits.
        limit: bytes that the file of one object may have.
    """

    def __init__(self, files: ObjectFiles, limit: int) -> None:
        self._files = files
        self._limit = limit
        self._open: dict[Path, IncomingFile] = {}
        self._is_over = False

    def new(self) -> IncomingFile:
        """Return a file for the next data set."""
        limit = self._limit if len(self._open) < _AT_ONCE and not self._is_over else 0
        file = IncomingFile(self._files.new_file(), self._files, limit)
        self._open[file.path] = file
        return file

    def at(self, path: Path) -> IncomingFile:
        """Return the file at *path*, which is whole; it is the business of the caller from now on."""
        return self._open.pop(path)

    def close(self) -> None:
        """Forget what is not whole."""
        self._is_over = True
        for path in list(self._open):
            if (file := self._open.pop(path, None)) is not None:
                file.close()


def _temporary_file(*args: Any, **kwargs: Any) -> Any:
    current = intake.get()
    return NamedTemporaryFile(*args, **kwargs) if current is None else current.new()


def install() -> None:
    """Let pynetdicom write data sets here; where no intake is set, it goes on as it did."""
    setattr(dimse_messages, "NamedTemporaryFile", _temporary_file)  # noqa: B010 - it is no name that it exports
