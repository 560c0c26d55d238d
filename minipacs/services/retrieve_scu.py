"""C-MOVE and C-GET: keys → objects that are sent to somebody, or to us (PS3.4 §C.4.2, §C.4.3)."""

from __future__ import annotations

import filecmp
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace
from pynetdicom import build_context, build_role, evt

from minipacs.echo_result import Outcome
from minipacs.escape import escape
from minipacs.recognition import Failed
from minipacs.rules import is_uid
from minipacs.services.operation import MESSAGE_ID, Operation
from minipacs.services.sop_classes import USUAL_STORAGE, USUAL_SYNTAXES
from minipacs.services.statuses import SUB_OPERATIONS_FAILED, SUCCESS, failure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pydicom.dataset import Dataset

    from minipacs.diagnosis import Diagnosis
    from minipacs.services.caller import Caller

_DUPLICATE, _INVALID, _OUT_OF_RESOURCES = 0x0111, 0x0117, 0xA700  # PS3.7 §C.4.2, PS3.4 §B.2.3


class SubOperations(Struct, frozen=True):
    """How many objects came to what (PS3.7 §9.1.4.1.6 and those after it).

    Attributes:
        remaining: are still to be sent.
        completed: were sent.
        failed: could not be sent.
        warned: were sent, and taken with a warning.
    """

    remaining: int = 0
    completed: int = 0
    failed: int = 0
    warned: int = 0

    @property
    def total(self) -> int:
        """How many there are."""
        return self.remaining + self.done

    @property
    def done(self) -> int:
        """Of how many it is known what became of them."""
        return self.completed + self.failed + self.warned


class Retrieval(Operation):
    """What C-MOVE and C-GET have in common.

    Attributes:
        counts: as the peer told them last.
        failed_uids: the objects that could not be sent, as far as the peer names them.
    """

    _failures = ""

    def __init__(self, caller: Caller, sop_class: str, identifier: Dataset) -> None:
        super().__init__(caller, sop_class, identifier)
        self.counts = SubOperations()
        self.failed_uids: tuple[str, ...] = ()

    def _count(self, status: Dataset) -> None:
        """Take the numbers that a response has; it may have none, and the last has none remaining."""
        numbers = {
            name: int(value)
            for name, keyword in (("completed", "Completed"), ("failed", "Failed"), ("warned", "Warning"))
            if (value := status.get(f"NumberOf{keyword}Suboperations")) is not None
        }
        self.counts = replace(self.counts, **numbers, remaining=int(status.get("NumberOfRemainingSuboperations") or 0))

    def _end(self, status: Dataset, identifier: Dataset | None) -> None:
        self._count(status)
        code = int(status.Status)
        uids = () if identifier is None else identifier.get("FailedSOPInstanceUIDList") or ()
        self.failed_uids = tuple(escape(str(uid)) for uid in ([uids] if isinstance(uids, str) else uids))
        if code == SUB_OPERATIONS_FAILED or (code == SUCCESS and self.counts.failed):
            objects = f"{self.counts.failed or 'some'} of {self.counts.total or 'the'} objects"
            raise Failed(Outcome.FAILURE, self._failures, objects)
        if code != SUCCESS:
            raise failure(self.name, code, status.get("ErrorComment", ""))
        if not self.counts.total and status.get("NumberOfCompletedSuboperations") is not None:
            raise Failed(Outcome.FAILURE, "retrieve.nothing")


class Move(Retrieval):
    """A C-MOVE; iterated over, once, it tells how far it is.

    Args:
        caller: whom it asks, and how.
        sop_class: UID of its class of the information model.
        identifier: what it asks for.
        destination: AE title to which the peer is to send.
    """

    name = "C-MOVE"
    _failures = "move.failures"

    def __init__(self, caller: Caller, sop_class: str, identifier: Dataset, destination: str) -> None:
        super().__init__(caller, sop_class, identifier)
        self._destination = destination

    def __iter__(self) -> Iterator[SubOperations]:
        """Yield the counts of each response; behind the last, *failure* is known."""
        for status, _ in self._pending(
            lambda association: association.send_c_move(
                self._identifier, self._destination, self._sop_class, msg_id=MESSAGE_ID
            )
        ):
            self._count(status)
            yield self.counts

    def _words(self, failed: Failed, local_address: str) -> Diagnosis:
        from minipacs.diagnosis import quoted, symbol, target

        title = escape(self._destination)
        is_ours = self._destination == self._caller.calling_ae_title
        port: object = self._caller.scp_port if is_ours else "PORT"
        host = self._caller.scp_host or local_address if is_ours else "HOST"
        return self._caller.words(
            failed,
            local_address,
            operation=self.name,
            sop_class="Query/Retrieve - MOVE",
            syntax="Explicit or Implicit VR Little Endian",
            destination=title,
            symbol=symbol(self._destination),
            quoted=quoted(title),
            place=f'"{host}", {port}',
            target=target(title, host).replace("PORT", str(port)),
        )


class Get(Retrieval):
    """A C-GET; iterated over, once, it tells how far it is.

    Args:
        caller: whom it asks, and how.
        sop_class: UID of its class of the information model.
        identifier: what it asks for.
        folder: where the objects go, each as SOP Instance UID and ``.dcm``.

    Attributes:
        received: the files that were written.
        kept: files of that name that were there, are otherwise, and stay.
    """

    name = "C-GET"
    _failures = "get.failures"

    def __init__(self, caller: Caller, sop_class: str, identifier: Dataset, folder: Path) -> None:
        super().__init__(caller, sop_class, identifier)
        self._folder = folder
        self.received: list[Path] = []
        self.kept: list[Path] = []

    def __iter__(self) -> Iterator[SubOperations]:
        """Yield the counts of each response; behind the last, *failure* is known."""
        contexts = [build_context(uid, list(USUAL_SYNTAXES)) for uid in USUAL_STORAGE]
        roles = [build_role(uid, scp_role=True) for uid in USUAL_STORAGE]
        with _temporary_files_in(self._folder):
            for status, _ in self._pending(
                lambda association: association.send_c_get(self._identifier, self._sop_class, msg_id=MESSAGE_ID),
                contexts,
                roles,
                [(evt.EVT_C_STORE, self._on_object)],
            ):
                self._count(status)
                yield self.counts

    def _on_object(self, event: Any) -> int:
        """Give the file that pynetdicom has written its name: an object is there whole, or not at all."""
        uid = str(event.request.AffectedSOPInstanceUID)
        if not is_uid(uid):  # it becomes a name
            return _INVALID
        path = self._folder / f"{uid}.dcm"
        try:
            if path.exists() and not filecmp.cmp(event.dataset_path, path, shallow=False):
                self.kept.append(path)
                return _DUPLICATE
            event.dataset_path.replace(path)
        except OSError:
            return _OUT_OF_RESOURCES
        self.received.append(path)
        return SUCCESS


@contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Have pynetdicom write what it receives beside where it shall go, and leave nothing of it."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(dir=folder, prefix=".incoming-") as place:
        tempfile.tempdir = place
        try:
            yield
        finally:
            tempfile.tempdir = before
