"""The pixel data of a Part 10 file as a picture: for a file, or for the cells of a terminal.

Pillow, which scales it, comes with `minipacs[pictures]`, like what decodes it in `drawing`.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from io import BytesIO
from typing import TYPE_CHECKING

from minipacs.services import drawing
from minipacs.services.shown import printable

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

_INSTALL = "pip install 'minipacs[pictures]'"
_PATIENCE = 60.0  # seconds
_UPPER_HALF = "▀"  # its letter is the upper pixel of a cell, its ground the lower one


class PictureError(ValueError):
    """There is no picture: the message says why, and what to do."""


def picture(path: Path, frame: int = 1, window: tuple[float, float] | None = None) -> Image:
    """Return a frame of the image in the Part 10 file at *path*, with 8 bits a sample, as it is meant to be seen.

    Args:
        path: the file.
        frame: which, from 1.
        window: centre and width, in the unit of the modality LUT, such as Hounsfield units; None: that of the file.

    Raises:
        PictureError: there is no such frame, or none that can be decoded; or a library is missing.
    """
    for library in ("numpy", "PIL"):
        if find_spec(library) is None:
            raise PictureError(f"pictures need {library}: {_INSTALL}")
    from PIL import Image

    command = [sys.executable, "-P", drawing.__file__, str(path.absolute()), str(frame), *map(str, window or ())]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_PATIENCE, check=False)  # noqa: S603 - our own script
    except subprocess.TimeoutExpired:
        raise PictureError(f"its pixel data take more than {_PATIENCE:.0f} s to decode") from None
    if done.returncode == drawing.NO_PICTURE:
        raise PictureError(printable(done.stdout.decode(errors="replace")))
    if done.returncode != 0:
        raise PictureError(f"its pixel data cannot be decoded: they ended the decoder (exit code {done.returncode})")
    return Image.open(BytesIO(done.stdout))


def cells(image: Image, columns: int, rows: int) -> list[str]:
    """Return the lines that show *image* on a terminal with 24-bit colour, two pixels in each cell.

    Args:
        image: the picture.
        columns: of the terminal; the picture takes no more.
        rows: likewise.
    """
    scale = min(columns / image.width, 2 * rows / image.height, 1.0)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    small = image.convert("RGB").resize(size)
    pixels = small.tobytes()
    lines = []
    for y in range(0, size[1], 2):
        line = ""
        for x in range(size[0]):
            line += _colour(38, pixels, size[0] * y + x)
            line += _colour(48, pixels, size[0] * (y + 1) + x) if y + 1 < size[1] else "\x1b[49m"
            line += _UPPER_HALF
        lines.append(f"{line}\x1b[0m")
    return lines


def _colour(ground: int, pixels: bytes, place: int) -> str:
    red, green, blue = pixels[3 * place : 3 * place + 3]
    return f"\x1b[{ground};2;{red};{green};{blue}m"
