"""The picture of a Part 10 file, drawn in a process of its own: decoders are written in C, and some end the process.

    python -P drawing.py FILE FRAME [CENTRE WIDTH]

writes a PNG to standard output, or, with exit code 3, why there is none. It imports nothing of ours, so that it can be
run by its path, and its memory has a limit: a header may name more pixels than there are.
"""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset
    from pydicom.uid import UID

NO_PICTURE = 3
"""Exit code; 1 is that of an error that nobody caught."""

MOST_SAMPLES = 80_000_000
"""Of one frame: a whole mammogram has 15 million, a tile of a whole slide a few."""

_MOST_MEMORY = 8 << 30  # bytes of address space
_NEEDED = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "PhotometricInterpretation")
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_LONGEST_REASON = 300


class NoPictureError(Exception):
    """There is none: the message says why."""


def draw(path: str, frame: int, window: tuple[float, float] | None) -> bytes:
    """Return a frame as a PNG with 8 bits a sample, as it is meant to be seen.

    Values are brought to their unit by the modality LUT, then to what is seen by *window*, else by the VOI LUT of the
    file, else so that the least is black and the most is white (PS3.3 §C.11.1, §C.11.2); MONOCHROME1 is inverted.

    Raises:
        NoPictureError: there is no such frame, or none that can be decoded.
    """
    from PIL import Image
    from pydicom import dcmread

    name = "unknown transfer syntax"
    try:
        data = dcmread(path, defer_size=4096)
        syntax = data.file_meta.TransferSyntaxUID
        name = syntax.name
        _check(path, data, frame, syntax)
        picture = BytesIO()
        Image.fromarray(_seen(path, data, frame - 1, window)).save(picture, "PNG")
    except NoPictureError:
        raise
    except MemoryError:
        raise NoPictureError(f"its pixel data ({name}) take more memory than there is") from None
    except Exception as error:  # noqa: BLE001 - each decoder has errors of its own
        reason = " ".join(str(error).split())[:_LONGEST_REASON]
        raise NoPictureError(f"its pixel data ({name}) cannot be decoded: {reason}") from None
    return picture.getvalue()


def _check(path: str, data: Dataset, frame: int, syntax: UID) -> None:
    """What can be said before anything is decoded."""
    pixels = next((keyword for keyword in _PIXELS if keyword in data), None)
    if pixels is None:
        raise NoPictureError("it has no pixel data" if data else "it is cut short in its pixel data")
    missing = [keyword for keyword in _NEEDED if keyword not in data]
    if missing:
        raise NoPictureError(f"it has pixel data, and no {' and no '.join(missing)}")
    frames = int(data.get("NumberOfFrames", 1) or 1)
    if not 1 <= frame <= frames:
        raise NoPictureError(f"it has {frames} frame{'' if frames == 1 else 's'}, and no frame {frame}")
    samples = data.Rows * data.Columns * data.SamplesPerPixel
    if samples > MOST_SAMPLES:
        raise NoPictureError(
            f"{data.Columns} × {data.Rows} pixels of {data.SamplesPerPixel} sample(s) are more than the "
            f"{MOST_SAMPLES // 1_000_000} million that are drawn"
        )
    if not syntax.is_compressed and "422" not in data.PhotometricInterpretation:
        needed = -(-samples * frame * data.BitsAllocated // 8)
        raw: Any = data.get_item(pixels, keep_deferred=True)
        there = min(raw.length, os.path.getsize(path) - raw.value_tell) if raw.value is None else len(raw.value)
        if there < needed:
            raise NoPictureError(f"it has {there} bytes of pixel data, and needs {needed} for frame {frame}")
    _check_decoder(syntax)


def _check_decoder(syntax: UID) -> None:
    from pydicom.pixels.decoders.base import get_decoder

    decoder = get_decoder(syntax)
    if not decoder.is_available:
        needed = [one.partition(" - requires ")[2] for one in decoder.missing_dependencies]
        is_ours = any(one.startswith("gdcm") for one in decoder.missing_dependencies)
        fix = "gdcm: pip install 'minipacs[pictures]'" if is_ours else " or ".join(needed)
        raise NoPictureError(f"its pixel data ({syntax.name}) need {fix}")


def _seen(path: str, data: Dataset, index: int, window: tuple[float, float] | None) -> NDArray[Any]:
    """The samples of a frame from 0 to 255: rows, columns, and three of a colour."""
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut
    from pydicom.pixels.utils import pixel_array

    samples: NDArray[Any] = pixel_array(path, index=index)  # YBR comes as RGB
    if data.PhotometricInterpretation == "PALETTE COLOR":
        if "RedPaletteColorLookupTableDescriptor" not in data:
            raise NoPictureError("it has the colours of a palette, and no palette")
        bits = int(data.RedPaletteColorLookupTableDescriptor[2])
        return _eight_bits(apply_color_lut(samples, data), 0.0, float((1 << bits) - 1))
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


def _eight_bits(values: NDArray[Any], low: float, high: float) -> NDArray[Any]:
    import numpy as np

    scaled = values.astype(np.float32)
    scaled -= low
    scaled *= 255.0 / (high - low) if high > low else 0.0
    return np.clip(np.rint(scaled, out=scaled), 0, 255, out=scaled).astype(np.uint8)


def main() -> int:
    """Draw; return the exit code."""
    path, frame, *window = sys.argv[1:]
    for limit, most in ((resource.RLIMIT_AS, _MOST_MEMORY), (resource.RLIMIT_CORE, 0)):
        with suppress(ValueError, OSError):  # it is lower already, or this system has none
            resource.setrlimit(limit, (most, resource.getrlimit(limit)[1]))
    try:
        answer = draw(path, int(frame), (float(window[0]), float(window[1])) if window else None)
    except NoPictureError as error:
        sys.stdout.buffer.write(str(error).encode())
        return NO_PICTURE
    sys.stdout.buffer.write(answer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
