"""minipacs storage show: pictures of what hospitals have, and what is said where there is none."""

import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from pydicom import config, dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from minipacs.services.drawing import MOST_SAMPLES
from minipacs.services.picture import PictureError, picture
from tests.peers.node import run_minipacs
from tests.peers.required import required

from .objects import data_set, write

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value", "ignore:The value length")

SAMPLES = Path(__file__).parents[2] / "samples" / "images"
DCMCJPEG, DCMCJPLS = "/usr/bin/dcmcjpeg", "/usr/bin/dcmcjpls"
ENCODERS = {
    "JPEG Lossless": (DCMCJPEG, "--encode-lossless", "1.2.840.10008.1.2.4.57"),
    "JPEG Lossless SV1": (DCMCJPEG, "--encode-lossless-sv1", "1.2.840.10008.1.2.4.70"),
    "JPEG-LS": (DCMCJPLS, "--encode-lossless", "1.2.840.10008.1.2.4.80"),
    "JPEG-LS near-lossless": (DCMCJPLS, "--encode-nearlossless", "1.2.840.10008.1.2.4.81"),
}
encoders = required(DCMCJPEG, DCMCJPLS)


def encoded(encoder: str, sample: str, folder: Path) -> Path:
    """A sample as DCMTK encodes it."""
    tool, option, transfer_syntax = ENCODERS[encoder]
    path = folder / "encoded.dcm"
    subprocess.run([tool, option, SAMPLES / f"{sample}.dcm", path], check=True, capture_output=True, timeout=30)
    assert dcmread(path).file_meta.TransferSyntaxUID == transfer_syntax
    return path


@encoders
@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize(("sample", "frame"), [("ct-1-explicit", 1), ("us-rgb", 1), ("multi-frame", 8)])
def test_what_is_compressed_looks_as_it_did(encoder: str, sample: str, frame: int, tmp_path: Path) -> None:
    before = picture(SAMPLES / f"{sample}.dcm", frame)
    after = picture(encoded(encoder, sample, tmp_path), frame)
    assert (after.size, after.mode) == (before.size, before.mode)
    differences = [abs(one - other) for one, other in zip(before.tobytes(), after.tobytes(), strict=True)]
    assert max(differences) <= (2 if encoder == "JPEG-LS near-lossless" else 0)
    assert len(set(before.tobytes())) > 4, "there is something to see"


@encoders
@pytest.mark.parametrize("sample", ["us-rgb", "sc-utf-8"])
def test_lossy_jpeg_looks_much_as_it_did(sample: str, tmp_path: Path) -> None:
    path = tmp_path / "encoded.dcm"
    command = [DCMCJPEG, "--encode-baseline", str(SAMPLES / f"{sample}.dcm"), str(path)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    before, after = picture(SAMPLES / f"{sample}.dcm"), picture(path)
    assert (after.size, after.mode) == (before.size, before.mode)
    differences = [abs(one - other) for one, other in zip(before.tobytes(), after.tobytes(), strict=True)]
    assert sum(differences) / len(differences) < 4


def test_run_lengths_look_as_they_did(tmp_path: Path) -> None:
    path = tmp_path / "plain.dcm"
    data = dcmread(SAMPLES / "mr-rle.dcm")
    data.decompress()
    data.save_as(path)
    assert picture(path).tobytes() == picture(SAMPLES / "mr-rle.dcm").tobytes()


def test_jpeg_2000_looks_as_it_did(tmp_path: Path) -> None:
    codestream = BytesIO()
    Image.frombytes("L", (16, 16), bytes(range(256))).save(codestream, "JPEG2000", no_jp2=True)
    path = write(tmp_path / "file.dcm", data_set(1, PixelData=codestream.getvalue()), JPEG2000Lossless)
    assert picture(path).tobytes() == bytes(range(256))


# --- what the pixels mean (PS3.3 §C.7.6.3.1, §C.11) -------------------------------------------------------------------


def seen(path: Path, data: Dataset, window: tuple[float, float] | None = None) -> Image.Image:
    return picture(write(path / "file.dcm", data), 1, window)


def test_monochrome1_is_white_where_it_is_least(tmp_path: Path) -> None:
    image = seen(tmp_path, data_set(1, PhotometricInterpretation="MONOCHROME1"))
    assert image.tobytes() == bytes(range(255, -1, -1))


def test_a_window_is_in_the_unit_of_the_modality_lut(tmp_path: Path) -> None:
    data = data_set(1, RescaleSlope="2", RescaleIntercept="-100", WindowCenter="0", WindowWidth="1")
    assert seen(tmp_path, data, (155, 510)).tobytes() == bytes(range(256))
    assert set(seen(tmp_path, data).tobytes()) == {0, 255}, "that of the file is of one unit"


def test_a_palette_gives_colours(tmp_path: Path) -> None:
    data = data_set(1, PhotometricInterpretation="PALETTE COLOR")
    for colour, table in (("Red", range(256)), ("Green", range(255, -1, -1)), ("Blue", [7] * 256)):
        setattr(data, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        entries = b"".join((257 * one).to_bytes(2, "little") for one in table)
        setattr(data, f"{colour}PaletteColorLookupTableData", entries)
    image = seen(tmp_path, data)
    assert image.mode == "RGB"
    assert [image.getpixel((x, 0)) for x in (0, 15)] == [(0, 255, 7), (15, 240, 7)]


def test_planes_of_colours_are_put_together(tmp_path: Path) -> None:
    planes = bytes(range(256)) + bytes(range(255, -1, -1)) + bytes(256)
    data = data_set(1, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=1, PixelData=planes)
    assert [seen(tmp_path, data).getpixel((x, 0)) for x in (0, 15)] == [(0, 255, 0), (15, 240, 0)]


# --- what is damaged, or means harm -----------------------------------------------------------------------------------

HUGE = f"65535 × 65535 pixels of 1 sample(s) are more than the {MOST_SAMPLES // 1_000_000} million that are drawn"

BROKEN: dict[str, tuple[UID, dict[str, object], str]] = {
    "huge": (ExplicitVRLittleEndian, {"Rows": 65535, "Columns": 65535}, HUGE),
    "huge, compressed": (JPEGLosslessSV1, {"Rows": 65535, "Columns": 65535}, HUGE),
    "cut short": (
        ExplicitVRLittleEndian,
        {"PixelData": bytes(200)},
        "it has 200 bytes of pixel data, and needs 256 for frame 1",
    ),
    "no rows": (ExplicitVRLittleEndian, {"Rows": None}, "it has pixel data, and no Rows"),
    "no size": (RLELossless, {"Rows": None, "Columns": None}, "it has pixel data, and no Rows and no Columns"),
    "no palette": (
        ExplicitVRLittleEndian,
        {"PhotometricInterpretation": "PALETTE COLOR"},
        "it has the colours of a palette, and no palette",
    ),
    "no frame": (ExplicitVRLittleEndian, {"NumberOfFrames": -1}, "it has -1 frames, and no frame 1"),
    "frames": (
        ExplicitVRLittleEndian,
        {"NumberOfFrames": "\x1b[2J"},
        "its pixel data (Explicit VR Little Endian) cannot",
    ),
    "bits": (
        ExplicitVRLittleEndian,
        {"BitsAllocated": 7},
        "its pixel data (Explicit VR Little Endian) cannot be decoded",
    ),
    "no decoder": (
        HTJ2KLossless,
        {},
        "its pixel data (High-Throughput JPEG 2000 Image Compression (Lossless Only)) need pylibjpeg",
    ),
    "noise": (JPEGLSLossless, {}, "its pixel data (JPEG-LS Lossless Image Compression) cannot be decoded: "),
}


@pytest.mark.parametrize("name", BROKEN)
def test_why_there_is_no_picture_is_said(tmp_path: Path, name: str) -> None:
    transfer_syntax, attributes, reason = BROKEN[name]
    data = data_set(1, **{keyword: value for keyword, value in attributes.items() if keyword != "NumberOfFrames"})
    if "NumberOfFrames" in attributes:
        data.add(DataElement(0x00280008, "LO", str(attributes["NumberOfFrames"]), validation_mode=config.IGNORE))
    with pytest.raises(PictureError) as caught:
        picture(write(tmp_path / "file.dcm", data, transfer_syntax))
    assert str(caught.value).startswith(reason)
    assert str(caught.value).isprintable()


@encoders
def test_a_file_that_ends_the_decoder_ends_nothing_else(tmp_path: Path) -> None:
    """The header names more pixels than the JPEG-LS in it has."""
    path = encoded("JPEG-LS", "ct-1-explicit", tmp_path)
    data = dcmread(path)
    data.Rows = data.Columns = 4096
    data.save_as(path)
    done = run_minipacs(tmp_path, "storage", "show", "encoded.dcm", "--png", "out.png")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("minipacs: encoded.dcm: its pixel data ")
    assert "Patient's Name" in done.stdout
    assert not (tmp_path / "out.png").exists()


@encoders
@pytest.mark.parametrize("encoder", ["JPEG Lossless SV1", "JPEG-LS"])
def test_of_a_file_that_ends_in_its_pixel_data_the_header_is_shown(encoder: str, tmp_path: Path) -> None:
    path = encoded(encoder, "ct-1-explicit", tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[:-1000])
    done = run_minipacs(tmp_path, "storage", "show", "encoded.dcm", "--png", "out.png")
    assert (done.returncode, done.stderr) == (1, "minipacs: encoded.dcm: it is cut short in its pixel data\n")
    assert "PHANTOM^CT" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("MONOCHROME2, cut short")


@encoders
def test_without_its_decoder_it_is_said_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "gdcm.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "without"), os.environ.get("PYTHONPATH", "")]))
    with pytest.raises(PictureError) as caught:
        picture(encoded("JPEG-LS", "ct-1-explicit", tmp_path))
    need = "its pixel data (JPEG-LS Lossless Image Compression) need gdcm: pip install 'minipacs[pictures]'"
    assert str(caught.value) == need


def test_a_module_where_it_is_called_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit(7)")
    monkeypatch.chdir(tmp_path)
    assert picture(SAMPLES / "ct-1-explicit.dcm").size == (128, 128)


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    done = run_minipacs(tmp_path, "storage", "show", str(SAMPLES / "mr-rle.dcm"), "--png", "nowhere/out.png")
    assert done.returncode == 2
    assert done.stderr.endswith("nowhere/out.png: No such file or directory\n")


def test_what_is_large_stays_in_the_file(tmp_path: Path) -> None:
    """The header of 400 MB is shown within 300 MB of memory for all."""
    path = write(tmp_path / "file.dcm", data_set(1, NumberOfFrames=1_600_000, PixelData=b"12"))
    whole = 1_600_000 * 256
    content = path.read_bytes()
    with path.open("wb") as file:
        file.write(content[:-6] + whole.to_bytes(4, "little"))
        file.truncate(len(content) - 2 + whole)
    limited = f"ulimit -v 300000; exec '{sys.executable}' -m minipacs storage show file.dcm"
    done = subprocess.run(["sh", "-c", limited], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith(f"1600000 frame(s), MONOCHROME2, {whole} bytes")
