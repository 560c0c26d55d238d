"""The images in samples/images: made by their script, small, of nobody, and readable by others."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import UID

import minipacs
from minipacs.services.sample_image import compare, sample_in

from .peers.required import required

IMAGES = Path(__file__).parents[1] / "samples" / "images"
FILES = sorted(IMAGES.glob("*.dcm"))
CARRIED = Path(minipacs.__file__).parent / "services" / "roundtrip.dcm"
DCMDUMP, DCM2PNM = "/usr/bin/dcmdump", "/usr/bin/dcm2pnm"

# Imported first, it lets nothing import numpy.
WITHOUT_NUMPY = """
import runpy, sys
class Blocked:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == "numpy":
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_the_script_makes_these_very_bytes_and_needs_no_numpy(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", WITHOUT_NUMPY, str(IMAGES / "make.py"), str(tmp_path / "made")]
    subprocess.run(command, check=True, timeout=60)
    made = {path.name: path.read_bytes() for path in (tmp_path / "made").rglob("*.dcm")}
    assert made == {path.name: path.read_bytes() for path in (*FILES, CARRIED)}


def test_they_are_small() -> None:
    assert sum(path.stat().st_size for path in FILES) < 300_000
    assert CARRIED.stat().st_size < 5_000


def test_the_one_that_travels_has_new_uids_each_time_or_always_the_same(tmp_path: Path) -> None:
    carried = sample_in(tmp_path, is_new=False)
    assert carried.file.path.read_bytes() == CARRIED.read_bytes()
    made = [sample_in(tmp_path, is_new=True) for _ in range(2)]
    uids = {uid for one in (carried, *made) for uid in (one.file.sop_instance, one.study, one.series)}
    assert len(uids) == 9
    assert all(UID(uid).is_valid for uid in uids)
    assert dcmread(tmp_path / "roundtrip.dcm").PixelData == dcmread(CARRIED).PixelData


def test_what_came_back_damaged_is_not_the_same(tmp_path: Path) -> None:
    sent = sample_in(tmp_path, is_new=True).file.path
    assert compare(sent, sent).is_same
    damaged = tmp_path / "damaged.dcm"
    damaged.write_bytes(b"no DICOM")
    assert not compare(sent, damaged).has_same_values
    whole = bytearray(sent.read_bytes())
    whole[-1] ^= 1
    damaged.write_bytes(whole)
    assert compare(sent, damaged).detail == "PixelData is another"


def test_they_are_of_several_modalities_and_transfer_syntaxes() -> None:
    headers = [dcmread(path, stop_before_pixels=True) for path in FILES]
    assert {header.Modality for header in headers} == {"CT", "MR", "CR", "US", "OT"}
    assert {header.file_meta.TransferSyntaxUID.keyword for header in headers} == {
        "ExplicitVRLittleEndian",
        "ImplicitVRLittleEndian",
        "ExplicitVRBigEndian",
        "RLELossless",
    }
    assert any("=" in header.PatientName and header.SpecificCharacterSet == "ISO_IR 192" for header in headers)
    assert any(header.get("NumberOfFrames", 1) > 1 for header in headers)


@pytest.mark.parametrize("path", [*FILES, CARRIED], ids=lambda path: path.stem)
def test_each_is_of_nobody_and_has_uids_of_its_own(path: Path) -> None:
    header = dcmread(path)
    assert str(header.PatientName).upper().startswith("PHANTOM^")
    assert header.PatientBirthDate == ""
    for uid in (header.SOPInstanceUID, header.StudyInstanceUID, header.SeriesInstanceUID):
        assert isinstance(uid, UID)
        assert uid.is_valid
        assert uid.startswith("2.25.")


@required(DCMDUMP, DCM2PNM)
@pytest.mark.parametrize("path", [*FILES, CARRIED], ids=lambda path: path.stem)
def test_dcmtk_reads_each_and_draws_it(path: Path, tmp_path: Path) -> None:
    done = subprocess.run([DCMDUMP, path], capture_output=True, timeout=30, check=True)
    assert done.stderr == b""
    picture = tmp_path / "picture.png"
    subprocess.run([DCM2PNM, "--write-png", path, picture], capture_output=True, timeout=30, check=True)
    assert picture.read_bytes().startswith(b"\x89PNG")
