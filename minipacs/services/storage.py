"""The Storage SCP: what becomes of a C-STORE request, and by which status its peer is told (PS3.4 §B.2.3)."""

from __future__ import annotations

import logging
import zlib
from typing import TYPE_CHECKING, Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import evt

from minipacs.rules import is_uid
from minipacs.services.header import Header, HeaderError, header_of, read_header
from minipacs.services.intake import intake
from minipacs.services.object_files import Kept

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from pydicom.dataset import FileDataset

    from minipacs.services.intake import IncomingFile
    from minipacs.services.object_files import ObjectFiles

SUCCESS = 0x0000
KEPT_THE_FIRST = 0xB000
OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000

_DEFLATED = "1.2.840.10008.1.2.1.99"
_PIECE = 1 << 20  # bytes that are inflated at once

_MOST_COMMENT = 64  # characters of an Error Comment (0000,0902), an LO
_LONG_VALUE = 1 << 12  # bytes; values that are longer are passed over

_MOST_INFLATED = 1 << 28
"""The deflated data set that we take, in bytes once it is inflated: whoever reads it inflates it in memory, and a
thousandth of it is enough to send."""

logger = logging.getLogger("minipacs")


class StorageSCP:
    """Keeps what peers send.

    Args:
        files: where.
        listing: returns the block in which a file takes its place: it lists it by its header, or fails. It is given
            the place, the header, the file that is to be there, and those that give way to it.
        overwrite: whether an object takes the place of another one with its UID.
    """

    def __init__(
        self,
        files: ObjectFiles,
        listing: Callable[[Path, Header, Path, Sequence[Path]], AbstractContextManager[object]],
        *,
        overwrite: bool = False,
    ) -> None:
        self._files = files
        self._listing = listing
        self._overwrite = overwrite

    def handlers(self) -> list[tuple[Any, Callable[..., Any]]]:
        """Return what pynetdicom is to call."""
        return [(evt.EVT_C_STORE, self._store)]

    def _store(self, event: Any) -> int | Dataset:
        current = intake.get()
        if current is None or event.dataset_path is None:
            return _status(CANNOT_UNDERSTAND, "no data set")
        file = current.at(event.dataset_path)
        try:
            return self._judge(file, event.request, event.context.transfer_syntax)
        except Exception as error:  # an answer there has to be, and the file must not stay
            logger.exception("an object could not be stored")
            return _status(OUT_OF_RESOURCES, type(error).__name__)
        finally:
            file.close()

    def _judge(self, file: IncomingFile, request: Any, transfer_syntax: str) -> int | Dataset:
        sop_class_uid, sop_instance_uid = str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID)
        if not is_uid(sop_instance_uid):
            return _status(CANNOT_UNDERSTAND, "SOP Instance UID must be a UID (PS3.5 9.1)")
        file.finish()
        if file.fault:
            return _status(OUT_OF_RESOURCES, file.fault)
        if transfer_syntax == _DEFLATED and _inflates_to_too_much(file.path):
            return _status(OUT_OF_RESOURCES, f"inflates to more than {_MOST_INFLATED} bytes")
        try:
            head = dcmread(file.path, defer_size=_LONG_VALUE)
            _check_end(head, file.size)
            uids = str(head.get("SOPClassUID", "")), str(head.get("SOPInstanceUID", ""))
        except Exception:  # noqa: BLE001 - whatever pydicom stumbles over, the peer has sent it
            uids = "", ""
        if not all(uids):  # what is no data set can be read as one of an element or two
            return _status(CANNOT_UNDERSTAND, "the data set cannot be read")
        if uids != (sop_class_uid, sop_instance_uid):
            return _status(DOES_NOT_MATCH, "SOP class or instance is not that of the data set")
        return self._keep(file, sop_instance_uid, head)

    def _keep(self, file: IncomingFile, sop_instance_uid: str, head: FileDataset) -> int | Dataset:
        is_deflated = head.file_meta.TransferSyntaxUID.is_deflated  # in which pydicom does not find what it passed over
        try:
            header = read_header(file.path) if is_deflated else header_of(head)
            kept = self._files.keep(
                file.path,
                sop_instance_uid,
                overwrite=self._overwrite,
                skip=_start_of_data_set,
                listing=lambda place, leaving: self._listing(place, header, file.path, leaving),
            )
        except HeaderError as error:
            return _status(CANNOT_UNDERSTAND, str(error))
        except OSError as error:
            return self._tell(error)
        if kept is Kept.REFUSED:  # its data set is another, or the same one in another transfer syntax
            return _status(KEPT_THE_FIRST, "another object has this UID; that one is kept")
        return SUCCESS

    def _tell(self, error: OSError) -> Dataset:
        """It is ours, not the peer's: the folder is gone, the disk is full, the index is locked."""
        reason = error.strerror or str(error)
        self._files.tell_refusal(reason, error.filename)
        return _status(OUT_OF_RESOURCES, reason)


def _status(status: int, comment: str) -> Dataset:
    answer = Dataset()
    answer.Status = status
    answer.ErrorComment = comment[:_MOST_COMMENT]
    return answer


def _check_end(data_set: Dataset, size: int) -> None:
    """Raise EOFError where the last value is cut short: pydicom passes over long ones without a look."""
    last = max(data_set.keys(), default=None)
    if last is None:
        raise EOFError
    element = data_set.get_item(last, keep_deferred=True)
    length, place = getattr(element, "length", None), getattr(element, "value_tell", None)
    if length is None or place is None or length == 0xFFFFFFFF or data_set.file_meta.TransferSyntaxUID.is_deflated:
        return
    if place + length > size:
        raise EOFError


def _inflates_to_too_much(path: Path) -> bool:
    """Whether the data set of a Part 10 file, which is deflated (PS3.5 §A.5), is larger than we take."""
    start = _start_of_data_set(path)
    with path.open("rb") as file:
        file.seek(start)
        inflater, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
        rest = b""
        while (rest := rest or file.read(_PIECE)) and total <= _MOST_INFLATED:
            try:
                total += len(inflater.decompress(rest, _PIECE))
            except zlib.error:
                return False  # which reading it tells
            rest = inflater.unconsumed_tail
        return total > _MOST_INFLATED


def _start_of_data_set(path: Path) -> int:
    """Return how many bytes precede the transfer syntax and the data set of a Part 10 file."""
    with path.open("rb") as file:
        head = file.read(144)
    # Preamble, DICM, and the group length, which counts from there (PS3.10 §7.1). What is in the group besides is ours.
    return 144 + int.from_bytes(head[140:144], "little")
