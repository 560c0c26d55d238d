"""The DICOM files that a person means by a path: a file, all in a folder, all that a DICOMDIR lists (PS3.10 §7, §8)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import MediaStorageDirectoryStorage

from minipacs.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydicom.dataset import Dataset

_NEEDED = ("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID")


class ImageFile(Struct, frozen=True):
    """What the file meta information says (PS3.10 §7.1).

    Attributes:
        path: where it is.
        sop_class: UID of its SOP class.
        sop_instance: UID of the object.
        transfer_syntax: UID of the transfer syntax of its data set.
        size: bytes of the file.
    """

    path: Path
    sop_class: str
    sop_instance: str
    transfer_syntax: str
    size: int


class ImageFiles:
    """The files that are meant.

    Attributes:
        skipped: those in folders that are no DICOM; known when all have been gone through.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = tuple(paths)
        self.skipped: list[Path] = []

    def __iter__(self) -> Iterator[ImageFile]:
        """Read the head of each, once, in the order of their names.

        Raises:
            FileError: one that was named cannot be read, or is no DICOM.
        """
        seen: set[Path] = set()
        for named in self._paths:
            for path in _files(named) if named.is_dir() else (named,):
                real = path.resolve()
                if real not in seen:
                    seen.add(real)
                    yield from self._read(path, is_named=path is named, seen=seen)

    def _read(self, path: Path, is_named: bool, seen: set[Path]) -> Iterator[ImageFile]:
        try:
            meta = read_file_meta_info(path)
            size = path.stat().st_size
        except OSError as error:
            raise FileError([f"{path}: file: must be readable, not so: {error.strerror or error}"]) from None
        except (InvalidDicomError, ValueError, EOFError, AttributeError, NotImplementedError, KeyError):
            meta, size = None, 0
        if meta is not None and meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
            if is_named:  # in a folder, the files that it lists are met anyway
                yield from self._listed(path, seen)
        elif meta is not None and all(meta.get(keyword) for keyword in _NEEDED):
            sop_class, sop_instance, transfer_syntax = (str(meta[keyword].value) for keyword in _NEEDED)
            yield ImageFile(path, sop_class, sop_instance, transfer_syntax, size)
        elif is_named:
            raise FileError(
                [f"{path}: file: must be DICOM with its file meta information (Part 10), not something else"]
            )
        else:
            self.skipped.append(path)

    def _listed(self, directory: Path, seen: set[Path]) -> Iterator[ImageFile]:
        """What a DICOMDIR lists; each is named by it, and has to be there, below its folder."""
        folder = directory.parent.resolve()
        for record in _records(directory):
            parts = record.get("ReferencedFileID")
            if not parts:
                continue
            path = directory.parent.joinpath(*([parts] if isinstance(parts, str) else map(str, parts)))
            if not path.resolve().is_relative_to(folder):
                raise FileError([f"{directory}: ReferencedFileID: must be below its folder, not {str(path)!a}"])
            if path.resolve() not in seen:
                seen.add(path.resolve())
                yield from self._read(path, is_named=True, seen=seen)


def _records(directory: Path) -> Iterable[Dataset]:
    try:
        return dcmread(directory).get("DirectoryRecordSequence") or ()
    except Exception as error:  # noqa: BLE001 - whatever pydicom meets in a broken file
        raise FileError([f"{directory}: file: must be a DICOMDIR that can be read, not so: {error!a}"]) from None


def _files(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders.sort()
        yield from (path for name in sorted(names) if (path := Path(root, name)).is_file())
