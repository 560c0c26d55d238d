"""What a C-STORE-RQ carries: the data set of a file as it is, or written anew; even in length, or not at all.

PS3.8 Annex E wants fragments of even length. What is deflated may be odd in a file, and is padded when it is sent
(PS3.5 §A.5, `promptness`); any other data set of odd length is broken.

pynetdicom wants data sets, and would hold each in memory several times. It gets one that holds the UIDs alone; when the
message has been made of it, the right one is put in its place, which it sends from the file in pieces, as it does by
`STORE_SEND_CHUNKED_DATASET`.
"""

from __future__ import annotations

import os
from io import BytesIO
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID
from pynetdicom.dsutils import encode, split_dataset

from minipacs.regular_file import open_regular
from minipacs.services.bounded_reading import whole
from minipacs.services.sop_classes import DEFLATED

if TYPE_CHECKING:
    from pathlib import Path


class OddDataSet(ValueError):
    """A data set that is not deflated, and has an odd number of bytes: the message says how many."""


class Content(Struct, frozen=True):
    """A data set that can be sent.

    Attributes:
        header: what pynetdicom makes the request of.
        data: the file, and where the data set begins in it; or its bytes.
    """

    header: Dataset
    data: tuple[Path, int] | bytes

    def put_into(self, message: Any) -> None:
        """Let a C-STORE-RQ of pynetdicom carry it."""
        if isinstance(self.data, bytes):
            message.data_set = BytesIO(self.data)
        else:
            message.data_set, message._data_set_path = None, self.data


def as_it_is(path: Path, sop_class: str, sop_instance: str, transfer_syntax: str) -> Content:
    """Return the data set of a Part 10 file.

    Raises:
        OddDataSet: that cannot be sent.
        ValueError: it is in another transfer syntax.
        OSError: it cannot be read.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
    meta, start = split_dataset(path)
    if meta.get("TransferSyntaxUID") != transfer_syntax:  # it was replaced since it was looked up
        raise ValueError(f"its transfer syntax is no longer {UID(transfer_syntax).name}")
    check_even(size - start, transfer_syntax)
    return Content(_header(sop_class, sop_instance, UID(transfer_syntax)), (path, start))


def written_anew(path: Path, sop_class: str, sop_instance: str, transfer_syntax: str) -> Content:
    """Return the data set of a Part 10 file in another transfer syntax, an uncompressed one.

    Raises:
        OddDataSet: that cannot be sent.
        ValueError: it cannot be read, or not be written so.
        OSError: the file cannot be read.
    """
    syntax = UID(transfer_syntax)
    data = encode(whole(path), syntax.is_implicit_VR, syntax.is_little_endian)
    if data is None:
        raise ValueError(f"it cannot be written in {syntax.name}")
    check_even(len(data), transfer_syntax)
    return Content(_header(sop_class, sop_instance, syntax), data)


def check_even(size: int, transfer_syntax: str) -> None:
    """Refuse a data set of so many bytes, where it can neither be sent nor padded.

    Raises:
        OddDataSet: it is odd, and not deflated.
    """
    if size % 2 and transfer_syntax not in DEFLATED:
        raise OddDataSet(f"its data set has {size} bytes, an odd number")


def _header(sop_class: str, sop_instance: str, syntax: UID) -> Dataset:
    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = sop_class, sop_instance
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = syntax
    header.set_original_encoding(syntax.is_implicit_VR, syntax.is_little_endian)
    return header
