"""Data sets read within bounds: what is read is what pydicom reads, and of what is beyond them nothing is made."""

import warnings
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from minipacs.services.attributes import STORED
from minipacs.services.bounded_reading import Bounds, CutShort, ReadingError, TooMuch, check, decoded, selected, whole

from ..harm.messages import UNDEFINED, element, ending, implicit
from ..wire.exchange import mutated
from .objects import data_set, write

FILES = Path(pydicom.__file__).parent / "data" / "test_files"
TAGS = [0x00080005, *(one.tag for level in STORED.values() for one in level)]
NO_TRANSFER_SYNTAX = {"meta_missing_tsyntax.dcm"}
MISLABELLED = {"SC_rgb_jpeg.dcm"}
CUT_SHORT = {"MR_truncated.dcm", "rtplan_truncated.dcm"}

ITEM, ITEM_END, SEQUENCE_END = ending(0xFFFEE000), ending(0xFFFEE00D), ending(0xFFFEE0DD)
OPEN_ITEM = implicit(0xFFFEE000, length=UNDEFINED)
SEQUENCE = 0x00400275


def by_pydicom(path: Path) -> Dataset | None:
    try:
        return dcmread(path)
    except InvalidDicomError:
        return None


@pytest.mark.parametrize("path", sorted(FILES.glob("*.dcm")), ids=lambda path: path.name)
def test_what_is_selected_is_what_pydicom_reads(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = by_pydicom(path)
        if theirs is None or path.name in NO_TRANSFER_SYNTAX | MISLABELLED | CUT_SHORT:
            with pytest.raises(ReadingError):
                selected(path, TAGS, is_whole=True)
            return
        ours = selected(path, TAGS, is_whole=True)
        assert ours == selected(path, TAGS)
        assert set(ours.keys()) == {tag for tag in theirs.keys() if tag in TAGS}  # noqa: SIM118
        assert all(ours[tag] == theirs[tag] for tag in ours.keys())  # noqa: SIM118
        assert ours.file_meta == theirs.file_meta
        assert whole(path) == theirs


def test_what_is_cut_short_is_told_as_that() -> None:
    for name in CUT_SHORT:
        with pytest.raises(CutShort):
            selected(FILES / name, TAGS, is_whole=True)


@pytest.mark.parametrize("uid", ["1.2.3.4", "nonsense", "1.2.840.10008.1.1", "1.2.840.113619.5.2"])
def test_an_unknown_transfer_syntax_is_read_as_pydicom_does(uid: str, tmp_path: Path) -> None:
    path = write(tmp_path / "image.dcm", data_set())
    content = path.read_bytes()
    known = b"1.2.840.10008.1.2.1\0"
    assert known in content
    path.write_bytes(content.replace(known, uid.encode().ljust(len(known), b"\0")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the UID, by pydicom
        assert whole(path).PatientName == "Phantom^Paula"
    assert selected(path, TAGS).PatientName == "Phantom^Paula"


PARTS = Bounds(1 << 20, 100, 4)

BEYOND = {
    "elements": element(0x00100010, b"PN") * 101,
    "items": element(SEQUENCE, b"SQ", ITEM * 26, length=UNDEFINED) + SEQUENCE_END,
    "items of a sequence with a length": element(SEQUENCE, b"SQ", ITEM * 26),
    "items of what has no VR": element(SEQUENCE, b"UN", ITEM * 26),
    "elements of an item": element(SEQUENCE, b"SQ", OPEN_ITEM + element(0x00100010, b"PN") * 100 + ITEM_END),
    "values": element(0x00081030, b"LO", b"\\" * 100),
    "values of what has no VR": element(0x00081030, b"UN", b"\\" * 100),
    "a private sequence": element(0x00290010, b"LO", b"SIEMENS MEDCOM HEADER ") + element(0x00291140, b"UN", ITEM * 26),
    "depth": element(SEQUENCE, b"SQ", OPEN_ITEM, length=UNDEFINED) * 5,
    "bytes": element(0x00104000, b"UT", b"x" * (1 << 20)),
}


@pytest.mark.parametrize("case", BEYOND)
def test_what_is_beyond_its_bounds_is_not_read(case: str) -> None:
    with pytest.raises(TooMuch):
        decoded(BEYOND[case], ExplicitVRLittleEndian, PARTS)


def test_what_is_within_them_is_read() -> None:
    items = OPEN_ITEM + element(0x00400009, b"SH", b"S1") + ITEM_END
    data = element(0x00100010, b"PN", b"A^B ") + element(SEQUENCE, b"SQ", items * 3, length=UNDEFINED) + SEQUENCE_END
    read = decoded(data, ExplicitVRLittleEndian, PARTS)
    assert read.PatientName == "A^B"
    assert [item.ScheduledProcedureStepID for item in read[SEQUENCE].value] == ["S1"] * 3


@given(mutated(BEYOND["elements of an item"][:200] + BEYOND["a private sequence"]), st.sampled_from(range(3)))
def test_whatever_comes_is_read_within_its_bounds_or_refused(data: bytes, number: int) -> None:
    syntax: UID = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)[number]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            check(data, syntax, PARTS)
            read = decoded(data, syntax, PARTS)
        except ReadingError:
            return
        made = 0
        for tag in list(read.keys()):
            try:
                value = read[tag].value
            except Exception:  # noqa: BLE001 - pydicom cannot convert it, and makes nothing of it
                continue
            made += len(value) if read[tag].VR == "SQ" else 1
    assert made <= 100
