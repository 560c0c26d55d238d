"""The files of a C-GET: each is whole and on the disk under its name, or is not there at all."""

from __future__ import annotations

import filecmp
import os
import tempfile
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Self

from minipacs.errors import FileError
from minipacs.services.durable import make_durable
from minipacs.services.incoming import incoming

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

_ALL = 0o666  # less what the umask takes: a file like any that its user makes


class FetchedFiles:
    """What comes during a ``with`` block, in which pynetdicom writes beside where it shall go.

    Args:
        folder: where they go; made where it is not there, and taken away again where nothing came.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._place = ExitStack()
        self._received: dict[Path, None] = {}
        self._kept: dict[Path, None] = {}

    @property
    def received(self) -> list[Path]:
        """The files that are here; each once, however often it came."""
        return list(self._received)

    @property
    def kept(self) -> list[Path]:
        """Files of that name that were there, are otherwise, and stay."""
        return list(self._kept)

    def __enter__(self) -> Self:
        """Make the folder, and a place in it for what is not whole yet; take away what earlier ones left there.

        Raises:
            FileError: it cannot be made, or not be written to.
        """
        self._is_ours = not self._folder.exists()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            place = self._place.enter_context(incoming(self._folder))
        except OSError as error:
            rule = f"must be one that can be written to, not so: {error.strerror or error}"
            raise FileError([f"{self._folder}: folder: {rule}"]) from None
        umask = os.umask(0)
        os.umask(umask)
        self._mode = _ALL & ~umask
        self._before, tempfile.tempdir = tempfile.tempdir, str(place)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave nothing that is not whole."""
        tempfile.tempdir = self._before
        self._place.close()
        if self._is_ours:
            with suppress(OSError):  # it is not empty when something came
                self._folder.rmdir()

    def take(self, file: Path, sop_instance: str) -> bool:
        """Give a whole file its name; return whether the object is here, and not another one in its place.

        Args:
            file: in the place for what is not whole yet.
            sop_instance: UID of the object, which is a valid one: it becomes the name.

        Raises:
            OSError: it cannot be written to the disk.
        """
        path = self._folder / f"{sop_instance}.dcm"
        if path.exists() and not filecmp.cmp(file, path, shallow=False):
            self._kept[path] = None
            return False
        file.chmod(self._mode)
        make_durable(file)
        file.replace(path)
        make_durable(self._folder)
        self._received[path] = None
        return True
