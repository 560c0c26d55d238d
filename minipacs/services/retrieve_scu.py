"""C-MOVE and C-GET: keys → objects that are sent to somebody, or to us (PS3.4 §C.4.2, §C.4.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace
from pynetdicom import build_role, evt

from minipacs.echo_result import Outcome
from minipacs.escape import escape
from minipacs.recognition import Failed
from minipacs.rules import is_uid
from minipacs.services.bounded_reading import ReadingError, selected
from minipacs.services.fetched_files import FetchedFiles
from minipacs.services.inquiry import Inquiry
from minipacs.services.keys import UNIQUE_KEYS, tag_of
from minipacs.services.operation import MESSAGE_ID, Operation
from minipacs.services.retrieve_plan import contexts_for
from minipacs.services.statuses import NO_SUB_OPERATIONS, SUB_OPERATIONS_FAILED, SUCCESS, failure
from minipacs.services.texts import text_of

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from pydicom.dataset import Dataset

    from minipacs.diagnosis import Diagnosis
    from minipacs.services.caller import Caller

_DUPLICATE, _INVALID, _OUT_OF_RESOURCES, _DOES_NOT_MATCH = 0x0111, 0x0117, 0xA700, 0xA900  # PS3.7 §C, PS3.4 §B.2.3

_SOP_CLASS, _SOP_INSTANCE = 0x00080016, 0x00080018
_KEYS = {tag_of(keyword): keyword for keyword in UNIQUE_KEYS.values() if keyword.endswith("InstanceUID")}
_MOST_NOTES = 20


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
        self._most = 0  # objects that the peer has told of at once

    def _count(self, status: Dataset) -> None:
        """Take the numbers that a response has; it may have none, and the last has none remaining."""
        numbers = {
            name: int(value)
            for name, keyword in (("completed", "Completed"), ("failed", "Failed"), ("warned", "Warning"))
            if (value := status.get(f"NumberOf{keyword}Suboperations")) is not None
        }
        self.counts = replace(self.counts, **numbers, remaining=int(status.get("NumberOfRemainingSuboperations") or 0))
        self._most = max(self._most, self.counts.total)

    def _end(self, status: Dataset, identifier: Dataset | None) -> None:
        self._count(status)
        code = int(status.Status)
        uids = () if identifier is None else identifier.get("FailedSOPInstanceUIDList") or ()
        self.failed_uids = tuple(escape(str(uid)) for uid in ([uids] if isinstance(uids, str) else uids))
        if code in {SUB_OPERATIONS_FAILED, NO_SUB_OPERATIONS} or (code == SUCCESS and self.counts.failed):
            objects = f"{self.counts.failed or 'some'} of {self.counts.total or 'the'} objects"
            objects += f" (status 0x{code:04X})" if code == NO_SUB_OPERATIONS else ""
            raise Failed(Outcome.FAILURE, self._failures, objects)
        if code != SUCCESS:
            raise failure(self.name, code, status.get("ErrorComment", ""))
        self._check_counts(is_told=status.get("NumberOfCompletedSuboperations") is not None)

    @property
    def total(self) -> int:
        """How many objects there are."""
        return self.counts.total

    @property
    def done(self) -> int:
        """How many objects arrived."""
        return self.counts.completed + self.counts.warned

    def _check_counts(self, is_told: bool) -> None:
        """Judge what the last response counts, which says that all went well.

        Args:
            is_told: whether it counts anything; a peer need not (PS3.4 §C.4.2.1.6).

        Raises:
            Failed: there was nothing, or not all is accounted for.
        """
        if is_told and not self.total:
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

    def __iter__(self) -> Generator[SubOperations, None, None]:
        """Yield the counts of each response; behind the last, *failure* is known."""
        for status, _ in self._pending(
            lambda association: association.send_c_move(
                self._identifier, self._destination, self._sop_class, msg_id=MESSAGE_ID
            )
        ):
            self._count(status)
            yield self.counts

    def _check_counts(self, is_told: bool) -> None:
        super()._check_counts(is_told)
        if is_told and self.done < self._most:
            raise Failed(Outcome.FAILURE, "move.differs", f"{self.done} of {self._most} objects")

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
        files: those that came, and those that were there.
        notes: what is to be told of single objects, a line each, safe to show.
    """

    name = "C-GET"
    _failures = "get.failures"

    def __init__(self, caller: Caller, sop_class: str, identifier: Dataset, folder: Path) -> None:
        super().__init__(caller, sop_class, identifier)
        self._inquiry = Inquiry(caller, sop_class, identifier)
        self._asked = {tag: text.split("\\") for tag in _KEYS if (text := text_of(identifier, tag, "UI"))}
        self._doubtful = 0  # objects that are not what the peer says, or not what was asked for
        self.files = FetchedFiles(folder)
        self.notes: list[str] = []

    @property
    def total(self) -> int:
        """How many objects there are: as the peer says, or more where more came."""
        return max(self._most, self.done)

    @property
    def done(self) -> int:
        """How many objects are here, by our own count."""
        return len(self.files.received)

    def __iter__(self) -> Generator[SubOperations, None, None]:
        """Yield the counts of each response; behind the last, *failure* is known.

        Raises:
            FileError: the folder cannot be made, or not be written to.
        """
        with self.files:
            try:
                contexts = contexts_for(self._inquiry.kinds())
            except Failed as failed:
                self.failure = self._words(failed, self._inquiry.local_address)
                return
            if self.is_cancelled:
                return
            sop_classes = dict.fromkeys(str(context.abstract_syntax) for context in contexts)
            for status, _ in self._pending(
                lambda association: association.send_c_get(self._identifier, self._sop_class, msg_id=MESSAGE_ID),
                contexts,
                [build_role(uid, scp_role=True) for uid in sop_classes],
                [(evt.EVT_C_STORE, self._on_object)],
            ):
                self._count(status)
                yield self.counts

    def cancel(self) -> None:
        """Ask the peer to stop, whatever it was asked last; from another thread."""
        super().cancel()
        self._inquiry.cancel()

    def _check_counts(self, is_told: bool) -> None:
        """Count what is here: what the peer says of it is a claim."""
        said = self.counts.total if is_told else self.done
        if not said and not self.done:
            raise Failed(Outcome.FAILURE, "retrieve.nothing")
        said = max(said, self._most) if said == self.done else said
        if said != self.done or self._doubtful:
            doubt = f"; {self._doubtful} not as it says, or not as was asked for" if self._doubtful else ""
            raise Failed(Outcome.FAILURE, "get.differs", f"{said} objects: {self.done} are here{doubt}")

    def _on_object(self, event: Any) -> int:
        """Keep what pynetdicom has written; what is acknowledged is on the disk."""
        uid = str(event.request.AffectedSOPInstanceUID)
        try:
            if not is_uid(uid):  # it becomes a name
                return _INVALID
            if not self._is_announced(event.dataset_path, str(event.request.AffectedSOPClassUID), uid):
                return _DOES_NOT_MATCH
            return SUCCESS if self.files.take(event.dataset_path, uid) else _DUPLICATE
        except OSError:
            return _OUT_OF_RESOURCES
        finally:
            event.dataset_path.unlink(missing_ok=True)

    def _is_announced(self, path: Path, sop_class: str, uid: str) -> bool:
        """Look at the UIDs inside an object: whether it is the one that was announced, and one that was asked for."""
        try:
            inside = selected(path, (_SOP_CLASS, _SOP_INSTANCE, *_KEYS))
        except ReadingError as error:
            self._doubt(f"object {uid} of SOP class {escape(sop_class)}: not kept, for {error}")
            return False
        found = text_of(inside, _SOP_CLASS, "UI"), text_of(inside, _SOP_INSTANCE, "UI")
        if found != (sop_class, uid):
            named = " of SOP class ".join(escape(one) or "none" for one in reversed(found))
            self._doubt(f"object {uid} of SOP class {escape(sop_class)}: not kept, for its data set is that of {named}")
            return False
        for tag, asked in self._asked.items():
            if (value := text_of(inside, tag, "UI")) and value not in asked:
                self._doubt(f"object {uid}: not asked for, with {_KEYS[tag]} {escape(value)}")
                break
        return True

    def _doubt(self, note: str) -> None:
        self._doubtful += 1
        if len(self.notes) < _MOST_NOTES:
            self.notes.append(note)
