"""A node that stores, in this process; objects to store; and what a peer sends to store one, byte by byte."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from minipacs import Peer, PeerTable, VerificationSCP
from minipacs.services.node_services import NodeServices
from minipacs.settings import Limits, Settings, Storage, StorageLimits, Timeouts

from .raw import CT_IMAGE_STORAGE, command, pdu, pdv, words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

EXPLICIT = b"1.2.840.10008.1.2.1"
ROOM = StorageLimits(free=0)


@dataclass(frozen=True)
class StoringNode:
    """A node and its services."""

    scp: VerificationSCP
    services: NodeServices
    folder: Path

    @property
    def port(self) -> int:
        return self.scp.port

    def stored(self) -> dict[str, Dataset]:
        """What is kept, by SOP Instance UID; each file is read to its end."""
        return {str(one.SOPInstanceUID): one for one in map(dcmread, self.services.files)}

    def incoming(self) -> list[Path]:
        return list(self.services.files.incoming.iterdir())


@contextmanager
def storing(
    folder: Path,
    peers: Sequence[Peer],
    *,
    timeouts: Timeouts = Timeouts(),  # noqa: B008
    limits: Limits = Limits(),  # noqa: B008
    storage: StorageLimits = ROOM,
    tls: Any = None,
    **more: Any,
) -> Iterator[StoringNode]:
    """A node on a free port that keeps what it is sent in `folder`."""
    settings = Settings(timeouts=timeouts, limits=limits, storage=Storage(folder, limits=storage, **more))
    services = NodeServices(settings, lambda: PeerTable(peers))
    try:
        with VerificationSCP(peers, port=0, timeouts=timeouts, limits=limits, services=services, tls=tls) as scp:
            yield StoringNode(scp, services, folder)
    finally:
        services.stop()


def image(uid: str = "", *, pixels: bytes = bytes(8), **elements: Any) -> Dataset:
    """A CT of nobody."""
    data_set = Dataset()
    data_set.SOPClassUID = CT_IMAGE_STORAGE.decode()
    data_set.SOPInstanceUID = uid or generate_uid()
    data_set.PatientName = "PHANTOM^ONE"
    data_set.PatientID = "P1"
    data_set.StudyInstanceUID = "1.2.3.1"
    data_set.SeriesInstanceUID = "1.2.3.1.1"
    data_set.Modality = "CT"
    for name, value in elements.items():
        setattr(data_set, name, value)
    data_set.add_new(0x7FE00010, "OW", pixels)
    return data_set


def as_file(data_set: Dataset, path: Path) -> Path:
    """The object as a Part 10 file."""
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data_set.save_as(path, enforce_file_format=True)
    return path


def encoded(data_set: Dataset) -> bytes:
    """The object in Explicit VR Little Endian."""
    buffer: Any = BytesIO()
    from pydicom.filebase import DicomFileLike

    file = DicomFileLike(buffer)
    file.is_implicit_VR, file.is_little_endian = False, True
    write_dataset(file, data_set)
    return bytes(buffer.getvalue())


def padded(uid: bytes) -> bytes:
    return uid + bytes(len(uid) % 2)


def store_rq(
    uid: bytes, *, sop_class: bytes = CT_IMAGE_STORAGE, context_id: int = 1, field: int = 0x0001, data_set: int = 1
) -> bytes:
    """The P-DATA-TF with the command set of a C-STORE-RQ, or of another with its elements."""
    elements = words((0x0100, field), (0x0110, 7), (0x0700, 0), (0x0800, data_set))
    return pdu(0x04, pdv(command((0x0002, padded(sop_class)), *elements, (0x1000, padded(uid))), context_id=context_id))


def data_pdus(data: bytes, *, context_id: int = 1, size: int = 16_000) -> list[bytes]:
    """P-DATA-TF with a data set."""
    pieces = [data[start : start + size] for start in range(0, len(data), size)] or [b""]
    last = len(pieces) - 1
    return [
        pdu(0x04, pdv(piece, context_id=context_id, control=2 * (number == last)))
        for number, piece in enumerate(pieces)
    ]


def status_of(response: bytes) -> int:
    """The status in the P-DATA-TF of a response."""
    place = response.index(b"\0\0\0\x09\2\0\0\0")
    return int.from_bytes(response[place + 8 : place + 10], "little")
