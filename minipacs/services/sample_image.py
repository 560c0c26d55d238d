"""The image of a round trip: a phantom of a few kilobytes that we carry; and what came back, held against it."""

from __future__ import annotations

from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from msgspec import Struct
from pydicom import dcmread
from pynetdicom.dsutils import split_dataset

from minipacs.association_record import shown_size
from minipacs.names import uid_name
from minipacs.services.bounded_reading import whole
from minipacs.services.image_files import ImageFile, ImageFiles

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SAMPLE = "roundtrip.dcm"
"""Its file beside this module; samples/images/make.py makes it."""

_MOST_NAMED = 8  # attributes in one line


class Sample(Struct, frozen=True):
    """An image to send.

    Attributes:
        file: where it is, and what it is.
        patient: its Patient ID.
        study: its Study Instance UID.
        series: its Series Instance UID.
    """

    file: ImageFile
    patient: str
    study: str
    series: str

    @property
    def keys(self) -> list[str]:
        """Its unique keys, as ``KEY=VALUE``; of a hierarchical query, those that a C-MOVE has to have."""
        uids = {"Study": self.study, "Series": self.series, "SOP": self.file.sop_instance}
        return [f"{level}InstanceUID={uid}" for level, uid in uids.items()]


class Comparison(Struct, frozen=True):
    """What came back, beside what was sent.

    Attributes:
        is_same: whether their data sets are the same, byte by byte.
        detail: how large the data set is, and in which transfer syntax; or in what they differ. It may hold what the
            peer sent.
        has_same_values: whether every attribute has the same value.
    """

    is_same: bool
    detail: str
    has_same_values: bool = True


def sample_in(folder: Path, *, is_new: bool) -> Sample:
    """Write the image into *folder*.

    Args:
        folder: where it goes.
        is_new: whether it has UIDs that nobody has; else it is the same object each time.
    """
    path = folder / SAMPLE
    path.write_bytes((files("minipacs.services") / SAMPLE).read_bytes())
    dataset = dcmread(path)
    if is_new:
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            setattr(dataset, keyword, f"2.25.{uuid4().int}")  # PS3.5 §B.2
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(path, enforce_file_format=True)
    (file,) = ImageFiles([path])
    return Sample(file, str(dataset.PatientID), str(dataset.StudyInstanceUID), str(dataset.SeriesInstanceUID))


def compare(sent: Path, received: Path) -> Comparison:
    """Hold the data set of a Part 10 file against that of another.

    One that came in another transfer syntax is held against what was sent, written in that.
    """
    try:
        came = whole(received)
        syntax = came.file_meta.TransferSyntaxUID
        expected = dcmread(sent)
        data, wanted = _data_set(received), _in_syntax(expected, sent, syntax)
        differing = _differing(expected, came)
    except Exception as error:  # noqa: BLE001 - whatever pydicom stumbles over in what the peer sent
        return Comparison(False, f"it cannot be read: {error}", has_same_values=False)
    name = uid_name(str(syntax)) or str(syntax)
    if data == wanted:
        return Comparison(True, f"{shown_size(len(data))} in {name}")
    if not differing:
        return Comparison(False, f"{len(data)} bytes in {name} in place of {len(wanted)}")
    more = f" and {len(differing) - _MOST_NAMED} more" if len(differing) > _MOST_NAMED else ""
    return Comparison(False, f"{', '.join(differing[:_MOST_NAMED])}{more}", has_same_values=False)


def _data_set(file: Any) -> bytes:
    """Return what follows the file meta information, as it stands there."""
    if isinstance(file, Path):
        return file.read_bytes()[split_dataset(file)[1] :]
    data: bytes = file.getvalue()
    return data[144 + int.from_bytes(data[140:144], "little") :]  # PS3.10 §7.1


def _in_syntax(dataset: Dataset, path: Path, syntax: Any) -> bytes:
    """Return the data set of the file at *path* in that transfer syntax, one without compression."""
    if dataset.file_meta.TransferSyntaxUID == syntax:
        return _data_set(path)
    dataset.file_meta.TransferSyntaxUID = syntax
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True, implicit_vr=syntax.is_implicit_VR, little_endian=True)
    return _data_set(buffer)


def _differing(expected: Dataset, came: Dataset) -> list[str]:
    """Return the attributes that are not as they were, each with what became of it."""
    found = []
    for tag in sorted({*expected.keys(), *came.keys()}):
        element = expected.get(tag) or came.get(tag)
        name = element.keyword or str(element.tag)
        if tag not in came:
            found.append(f"{name} is gone")
        elif tag not in expected:
            found.append(f"{name} is new")
        elif expected[tag].value != came[tag].value:
            found.append(f"{name} is another")
    return found
