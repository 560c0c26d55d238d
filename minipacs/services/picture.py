"""The pixel data of a Part 10 file as a picture: for a file, or for the cells of a terminal.

pydicom decodes, with numpy; Pillow scales and writes. Both come with `minipacs[pictures]`, and are imported here alone.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from minipacs.services.shown import printable

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.Image import Image
    from pydicom.dataset import Dataset

_INSTALL = "pip install 'minipacs[pictures]'"
_UPPER_HALF = "▀"  # its letter is the upper pixel of a cell, its ground the lower one


class PictureError(ValueError):
    """There is no picture: the message says why, and what to do."""


def picture(path: Path, frame: int = 1, window: tuple[float, float] | None = None) -> Image:
    """Return a frame of the image in the Part 10 file at *path*, with 8 bits a sample, as it is meant to be seen.

    Values are brought to their unit by the modality LUT, then to what is seen by *window*, else by the VOI LUT of the
    file, else so that the least is black and the most is white (PS3.3 §C.11.1, §C.11.2); MONOCHROME1 is inverted.

    Args:
        path: the file.
        frame: which, from 1.
        window: centre and width, in the unit of the modality LUT, such as Hounsfield units.

    Raises:
        PictureError: there is no such frame, or none that can be decoded; or a library is missing.
    """
    try:
        import numpy  # noqa: F401
        from PIL import Image
    except ImportError as error:
        raise PictureError(f"pictures need {error.name}: {_INSTALL}") from None
    from pydicom import dcmread

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = dcmread(path, defer_size=4096)
        if "PixelData" not in data and "FloatPixelData" not in data and "DoubleFloatPixelData" not in data:
            raise PictureError("it has no pixel data")
        frames = int(data.get("NumberOfFrames", 1) or 1)
        if not 1 <= frame <= frames:
            raise PictureError(f"it has {frames} frame{'' if frames == 1 else 's'}, and no frame {frame}")
        try:
            return Image.fromarray(_seen(path, data, frame - 1, window))
        except Exception as error:  # noqa: BLE001 - each decoder has errors of its own
            reason = printable(str(error)).split("\\n")[0]
            name = printable(data.file_meta.get("TransferSyntaxUID", "").name) if data.file_meta else ""
            raise PictureError(f"its pixel data ({name}) cannot be decoded: {reason}") from None


def _seen(path: Path, data: Dataset, index: int, window: tuple[float, float] | None) -> NDArray[Any]:
    """The samples of a frame from 0 to 255: rows, columns, and three of a colour."""
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut
    from pydicom.pixels.utils import pixel_array

    samples: NDArray[Any] = pixel_array(path, index=index)  # YBR comes as RGB
    if data.PhotometricInterpretation == "PALETTE COLOR":
        return _eight_bits(apply_color_lut(samples, data), 0.0, float((1 << _bits_of_palette(data)) - 1))
    if samples.ndim == 3:
        return _eight_bits(samples, 0.0, float((1 << data.BitsStored) - 1))
    values = apply_modality_lut(samples, data)
    if window is not None:
        centre, width = window
        low, high = centre - width / 2, centre + width / 2
    else:
        values = apply_voi_lut(values, data)
        low, high = float(values.min()), float(values.max())
    grey = _eight_bits(values, low, high)
    return 255 - grey if data.PhotometricInterpretation == "MONOCHROME1" else grey


def _bits_of_palette(data: Dataset) -> int:
    return int(data.RedPaletteColorLookupTableDescriptor[2])


def _eight_bits(values: NDArray[Any], low: float, high: float) -> NDArray[Any]:
    import numpy as np

    scaled = (values.astype(np.float64) - low) * (255.0 / (high - low) if high > low else 0.0)
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


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
