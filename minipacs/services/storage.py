"""The Storage SCP: what becomes of a C-STORE request, and by which status its peer is told (PS3.4 §B.2.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydicom.dataset import Dataset
from pynetdicom import evt

from minipacs.rules import is_uid
from minipacs.services.bounded_reading import ReadingError, TooMuch
from minipacs.services.header import IncompleteError, header_of, read_to_its_end
from minipacs.services.intake import intake
from minipacs.services.object_files import Kept
from minipacs.services.telling import tell

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from minipacs.services.header import Header
    from minipacs.services.intake import IncomingFile
    from minipacs.services.object_files import ObjectFiles

SUCCESS = 0x0000
KEPT_THE_FIRST = 0xB000
OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000

_MOST_COMMENT = 64  # characters of an Error Comment (0000,0902), an LO
_STATUSES = {TooMuch: OUT_OF_RESOURCES, IncompleteError: DOES_NOT_MATCH}


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
            return self._judge(file, event.request)
        except Exception as error:  # noqa: BLE001 - an answer there has to be, and the file must not stay
            tell("store", "an object could not be stored", error)
            return _status(OUT_OF_RESOURCES, type(error).__name__)
        finally:
            file.close()

    def _judge(self, file: IncomingFile, request: Any) -> int | Dataset:
        sop_class_uid, sop_instance_uid = str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID)
        if not is_uid(sop_instance_uid):
            return _status(CANNOT_UNDERSTAND, "SOP Instance UID must be a UID (PS3.5 9.1)")
        file.finish()
        if file.fault:
            return _status(OUT_OF_RESOURCES, file.fault)
        try:  # as the index is going to: what is acknowledged is found
            header = header_of(read_to_its_end(file.path))
        except OSError as error:
            return self._tell(error)
        except ReadingError as error:
            return _status(_STATUSES.get(type(error), CANNOT_UNDERSTAND), str(error))
        uids = header.values["SOPClassUID"], header.values["SOPInstanceUID"]
        if uids != (sop_class_uid, sop_instance_uid):
            return _status(DOES_NOT_MATCH, "SOP class or instance is not that of the data set")
        return self._keep(file, sop_instance_uid, header)

    def _keep(self, file: IncomingFile, sop_instance_uid: str, header: Header) -> int | Dataset:
        try:
            kept = self._files.keep(
                file.path,
                sop_instance_uid,
                overwrite=self._overwrite,
                skip=_start_of_data_set,
                listing=lambda place, leaving: self._listing(place, header, file.path, leaving),
            )
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
    answer.ErrorComment = comment[:_MOST_COMMENT].replace("\\", "/")
    return answer


def _start_of_data_set(path: Path) -> int:
    """Return how many bytes precede the transfer syntax and the data set of a Part 10 file."""
    with path.open("rb") as file:
        head = file.read(144)
    # Preamble, DICM, and the group length, which counts from there (PS3.10 §7.1). What is in the group besides is ours.
    return 144 + int.from_bytes(head[140:144], "little")
