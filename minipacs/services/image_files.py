"""The DICOM files that a person means by a path: a file, all in a folder, all that a DICOMDIR lists (PS3.10 §7, §8)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from pydicom.uid import UID, MediaStorageDirectoryStorage

from minipacs.errors import FileError
from minipacs.services.bounded_reading import DIRECTORY, CutShort, ReadingError, file_meta, selected, whole
from minipacs.services.content import OddDataSet, as_it_is

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydicom.dataset import Dataset

_NEEDED = ("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID")
_LISTED = ("ReferencedSOPClassUIDInFile", "ReferencedSOPInstanceUIDInFile", "ReferencedTransferSyntaxUIDInFile")


class Fault(Struct, frozen=True):
    """Why a file cannot be sent.

    Attributes:
        code: the row of the catalogue.
        detail: what fills its words.
    """

    code: str
    detail: str = ""


class ImageFile(Struct, frozen=True):
    """What the file meta information says (PS3.10 §7.1); or a DICOMDIR, of a file that cannot be read (PS3.3 §F.3).

    Attributes:
        path: where it is.
        sop_class: UID of its SOP class.
        sop_instance: UID of the object.
        transfer_syntax: UID of the transfer syntax of its data set.
        size: bytes of the file.
        fault: why it cannot be sent; None: it can, for all that is known.
    """

    path: Path
    sop_class: str
    sop_instance: str
    transfer_syntax: str
    size: int
    fault: Fault | None = None


class ImageFiles:
    """The files that are meant.

    Attributes:
        skipped: those in folders that are no DICOM; known when all have been gone through.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = tuple(paths)
        self._seen: set[str] = set()
        self.skipped: list[Path] = []

    def __iter__(self) -> Iterator[ImageFile]:
        """Read the head of each, once, in the order of their names.

        Raises:
            FileError: one that was named cannot be read, or is no DICOM.
        """
        for named in self._paths:
            if named.is_dir():
                yield from self._in_folder(named)
            elif self._is_new(named):
                yield from self._named(named)

    def _named(self, path: Path) -> Iterator[ImageFile]:
        try:
            file = _read(path)
        except OSError as error:
            raise FileError([f"{path}: file: must be readable, not so: {error.strerror or error}"]) from None
        if file is None:
            raise FileError(
                [f"{path}: file: must be DICOM with its file meta information (Part 10), not something else"]
            )
        yield from self._listed(path) if _is_directory(file) else (file,)

    def _in_folder(self, folder: Path) -> Iterator[ImageFile]:
        for path in filter(self._is_new, _files(folder)):
            try:
                file = _read(path)
            except OSError as error:
                yield ImageFile(path, "", "", "", 0, Fault("store.unreadable", error.strerror or str(error)))
                continue
            if file is None:
                self.skipped.append(path)
            elif not _is_directory(file):  # what that lists is met anyway
                yield file

    def _listed(self, directory: Path) -> Iterator[ImageFile]:
        """What a DICOMDIR lists: each is to be there, and below its folder (PS3.10 §8.6)."""
        for record in _records(directory):
            parts = record.get("ReferencedFileID")
            if not parts:
                continue
            path = _found(directory.parent, [parts] if isinstance(parts, str) else list(map(str, parts)))
            file = _checked(path, directory.parent)
            if isinstance(file, Fault):
                yield _from_record(record, path, file)
            elif self._is_new(path):
                yield file

    def _is_new(self, path: Path) -> bool:
        real = os.path.realpath(path)
        is_new = real not in self._seen
        self._seen.add(real)
        return is_new


def _read(path: Path) -> ImageFile | None:
    """Read the head of a file; None for one that is no DICOM.

    Raises:
        OSError: it cannot be read.
    """
    try:
        meta = file_meta(path)
        size = path.stat().st_size
    except ReadingError:
        return None
    if not all(meta.get(keyword) for keyword in _NEEDED):
        return None
    sop_class, sop_instance, transfer_syntax = (str(meta[keyword].value) for keyword in _NEEDED)
    fault = None if sop_class == MediaStorageDirectoryStorage else flaw(path, sop_class, sop_instance, transfer_syntax)
    return ImageFile(path, sop_class, sop_instance, transfer_syntax, size, fault)


def flaw(path: Path, sop_class: str, sop_instance: str, transfer_syntax: str) -> Fault | None:
    """Return why the data set of a file cannot be sent as it is; None where it can.

    Raises:
        OSError: it cannot be read.
    """
    try:
        if UID(transfer_syntax).is_transfer_syntax and not UID(transfer_syntax).is_private:
            selected(path, (), is_whole=True)
    except CutShort as error:
        return Fault("store.unreadable", str(error))
    except ReadingError:
        pass  # the peer judges what is no data set in its transfer syntax
    try:
        as_it_is(path, sop_class, sop_instance, transfer_syntax)
    except OddDataSet as error:
        return Fault("store.odd", str(error))
    return None


def _is_directory(file: ImageFile) -> bool:
    return file.sop_class == MediaStorageDirectoryStorage


def _found(folder: Path, parts: Iterable[str]) -> Path:
    """Where a File ID leads: it is in capitals (PS3.10 §8.2), and many a system shows the names of a disc in small."""
    path = folder
    for part in parts:
        there = path / part.replace("\0", "\ufffd")
        if not there.exists() and _is_below(path, folder) and path.is_dir():
            there = next((each for each in sorted(path.iterdir()) if each.name.lower() == part.lower()), there)
        path = there
    return path


def _is_below(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _checked(path: Path, folder: Path) -> ImageFile | Fault:
    """Read a file that a DICOMDIR lists; nothing outside of its folder is even opened."""
    if not _is_below(path, folder):
        return Fault("store.outside")
    try:
        file = _read(path)
    except FileNotFoundError:
        return Fault("store.listed", "it is not there")
    except OSError as error:
        return Fault("store.unreadable", error.strerror or str(error))
    if file is None or _is_directory(file):
        return Fault("store.listed", "it is no image with file meta information (Part 10)")
    return file


def _from_record(record: Dataset, path: Path, fault: Fault) -> ImageFile:
    sop_class, sop_instance, transfer_syntax = (str(record.get(keyword) or "") for keyword in _LISTED)
    return ImageFile(path, sop_class, sop_instance, transfer_syntax, 0, fault)


def _records(directory: Path) -> Iterable[Dataset]:
    try:
        return whole(directory, DIRECTORY).get("DirectoryRecordSequence") or ()
    except Exception as error:  # noqa: BLE001 - whatever pydicom meets in a broken file
        raise FileError([f"{directory}: file: must be a DICOMDIR that can be read, not so: {error!a}"]) from None


def _files(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders.sort()
        yield from (path for name in sorted(names) if (path := Path(root, name)).is_file())
