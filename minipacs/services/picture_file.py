"""The file that a picture is written into: a new one, or one that the operator gives up, but never a DICOM file."""

from __future__ import annotations

import errno
import os
from io import BytesIO
from typing import TYPE_CHECKING
from uuid import uuid4

from minipacs.regular_file import open_regular

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

_PREAMBLE, _PREFIX = 128, b"DICM"  # PS3.10 §7.1


class PictureFile:
    """Where a picture is to go; it is written whole or not at all.

    Args:
        path: the file.
        force: whether it may take the place of another one.

    Raises:
        OSError: something is there that may not be written over.
    """

    def __init__(self, path: Path, *, force: bool) -> None:
        self.path = path
        self._force = force
        if os.path.lexists(path):
            if not force:
                raise FileExistsError(errno.EEXIST, "there already, and stays; --force writes over any file but DICOM")
            _check(path)

    def write(self, image: Image) -> None:
        """Write the picture.

        Raises:
            OSError: it cannot be written, or something has come there meanwhile.
        """
        buffer = BytesIO()
        image.save(buffer, "PNG")
        if not self._force:
            _write_new(self.path, buffer.getvalue())
            return
        place = self.path.resolve()  # a link stays a link
        whole = place.with_name(f".{place.name[:100]}.{uuid4().hex}")
        _write_new(whole, buffer.getvalue())
        try:
            if place.exists():
                _check(place)
            os.replace(whole, place)
        finally:
            whole.unlink(missing_ok=True)


def _write_new(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        try:
            file.write(data)
            file.flush()
        except BaseException:
            path.unlink()
            raise


def _check(path: Path) -> None:
    """Raise OSError where *path* is a folder, a device, or a DICOM file: an object is nowhere else, perhaps."""
    with open_regular(path) as file:
        if file.read(_PREAMBLE + len(_PREFIX))[_PREAMBLE:] == _PREFIX:
            raise FileExistsError(errno.EEXIST, "a DICOM file, and stays")
