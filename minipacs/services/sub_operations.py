"""The C-STORE sub-operations of a C-MOVE or a C-GET: objects sent from their files as they are, one after the other.

What pynetdicom sends is put in the place of what it is given (`content`). Only an object that the peer takes in no
transfer syntax but another uncompressed one is read, and encoded anew.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from pydicom.dataset import Dataset
from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.dimse_messages import C_STORE_RQ, C_STORE_RSP

from minipacs.escape import escape
from minipacs.services.content import as_it_is, written_anew
from minipacs.services.paced_sending import pace
from minipacs.services.sop_classes import UNCOMPRESSED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pynetdicom import evt
    from pynetdicom.association import Association
    from pynetdicom.presentation import PresentationContext

    from minipacs.services.content import Content
    from minipacs.services.object_files import StoredObject

_MOST_OBJECTS = 65_535
_MOST_CONTEXTS = 128  # their IDs are the odd numbers of a byte (PS3.8 §9.3.2.2)
_WARNING = 0xB  # the first digit of a status (PS3.7 §C)


class SubOperations:
    """Hands the objects of one request to pynetdicom.

    Attributes:
        association: the one that they are sent on; None until it is established.
        refusal: why it is not, where the peer has said so.
    """

    def __init__(
        self, told: Callable[[str, str], None], association: Association | None = None, originator: str | None = None
    ) -> None:
        """Begin.

        Args:
            told: is told what is not sent, and why, with a word for its kind before.
            association: for a C-GET, the one that it came on.
            originator: for a C-MOVE, the AE title of who asked for it.
        """
        self._told = told
        self._originator = originator
        self.refusal = ""
        self._is_refusal_told = False
        self._content: Content | None = None
        self.association = association

    def established(self, event: evt.Event) -> None:
        """For EVT_ESTABLISHED: remember the association."""
        self.association = event.assoc
        pace(event.assoc)

    def refused(self, event: evt.Event) -> None:
        """For EVT_REJECTED: remember why there is no association (PS3.8 §9.3.4)."""
        answer = event.assoc.acceptor.primitive
        assert answer is not None
        self.refusal = f"rejected {answer.result}/{answer.result_source}/{answer.diagnostic}"
        if (answer.result_source, answer.diagnostic) == (1, 3):
            self.refusal += f": it does not know our AE title {event.assoc.ae.ae_title}, or not from this address"

    def aborted(self, event: evt.Event) -> None:
        """For EVT_ABORTED of a C-MOVE: tell why the destination gets no object, or remember why it cannot be called."""
        if self.association is None:
            connection: Any = event.assoc.dul.socket
            if connection.error is not None:
                self.refusal = _why(connection.error)
            return
        association: Any = event.assoc
        if association.is_cut:  # it is not the destination that ended it
            return
        who, us = escape(str(event.assoc.acceptor.ae_title)), event.assoc.ae.ae_title
        self._told(
            "C-MOVE unanswered",
            f"C-MOVE: {who} did not answer our C-STORE, or ended the association; fix: see its log, and let {us} store "
            "there (Orthanc: AllowStore of that modality)",
        )

    def answered(self, event: evt.Event) -> None:
        """For EVT_DIMSE_RECV: tell of the first object that is not taken."""
        response = event.message.command_set
        status = response.get("Status", 0)
        is_failure = isinstance(event.message, C_STORE_RSP) and status and status >> 12 != _WARNING
        if is_failure and not self._is_refusal_told:
            self._is_refusal_told = True
            comment = escape(str(response.get("ErrorComment", None) or ""))
            uid = escape(str(response.get("AffectedSOPInstanceUID", None) or "")) or "without a UID"
            self._told(
                "object not taken", f"object {uid} is not taken: status 0x{status:04X}{comment and f', {comment}'}"
            )

    def sent(self, event: evt.Event) -> None:
        """For EVT_DIMSE_SENT, which comes before anything is sent: put the content in the place of the data set."""
        if not isinstance(event.message, C_STORE_RQ):
            return
        if self._originator is not None:  # PS3.7 §9.1.1.1.3; pynetdicom names us
            event.message.command_set.MoveOriginatorApplicationEntityTitle = self._originator
        if self._content is not None:
            self._content.put_into(event.message)
            self._content = None

    def data_set(self, stored: StoredObject) -> Dataset:
        """Return what to give to pynetdicom for an object: it counts as failed where that cannot be sent."""
        header = Dataset()
        header.SOPInstanceUID = stored.sop_instance_uid
        try:
            return self._header(stored, header)
        except Exception as error:  # noqa: BLE001 - a file that is gone, or damaged: the others are sent all the same
            self._tell(stored, escape(str(error)))
            return header  # without a SOP class, so that it fails, and is told by its UID (PS3.4 §C.4.2.1.4.2)

    def _header(self, stored: StoredObject, header: Dataset) -> Dataset:
        syntax = UID(stored.transfer_syntax_uid)
        accepted = self._accepted(stored.sop_class_uid)
        is_plain = not syntax.is_encapsulated and syntax.is_little_endian
        other = next((uid for uid in UNCOMPRESSED if is_plain and uid in accepted), None)
        if (chosen := syntax if syntax in accepted else other) is not None:
            make = as_it_is if chosen == syntax else written_anew
            self._content = make(stored.path, stored.sop_class_uid, stored.sop_instance_uid, chosen)
            return self._content.header
        names = ", ".join(sorted(UID(uid).name for uid in accepted))
        how = f"takes its SOP class only as {names}" if accepted else "does not take its SOP class"
        self._tell(stored, f"{escape(syntax.name)} cannot be sent to a peer that {how}")
        return header

    def _accepted(self, sop_class: str) -> set[str]:
        """The transfer syntaxes in which the peer takes objects of a SOP class from us."""
        contexts = self.association.accepted_contexts if self.association is not None else []
        return {str(one.transfer_syntax[0]) for one in contexts if one.abstract_syntax == sop_class and one.as_scu}

    def _tell(self, stored: StoredObject, reason: str) -> None:
        self._told("object not sent", f"object {escape(stored.sop_instance_uid)} not sent: {reason}")


class TooManyObjects(Exception):
    """More than the number of sub-operations can tell, which is a US (PS3.7 §9.1.3.1.6, §9.1.4.1.7)."""


def counted(objects: list[StoredObject]) -> list[StoredObject]:
    """Return *objects* as they are.

    Raises:
        TooManyObjects: they are more than one request can retrieve.
    """
    if len(objects) > _MOST_OBJECTS:
        raise TooManyObjects(f"{len(objects)} objects match, more than {_MOST_OBJECTS}: ask for fewer")
    return objects


def _why(error: OSError) -> str:
    """Return why no connection could be opened, in words that are safe to show."""
    said = getattr(error, "verify_message", "") or error.strerror or str(error.args[-1] if error.args else error)
    return escape(f"TLS: {said}" if isinstance(error, ssl.SSLError) else said)


def contexts_for(objects: Iterable[StoredObject]) -> list[PresentationContext]:
    """Return the presentation contexts to propose: one for each SOP class and transfer syntax that is to be sent.

    Where there is room, each SOP class with uncompressed objects in its default transfer syntax, too (PS3.5 §10.1).
    """
    needed = dict.fromkeys((one.sop_class_uid, one.transfer_syntax_uid) for one in objects)
    defaults = [(uid, str(ImplicitVRLittleEndian)) for uid, syntax in needed if not UID(syntax).is_compressed]
    pairs = list(dict.fromkeys([*needed, *defaults]))[:_MOST_CONTEXTS]
    return [build_context(sop_class, syntax) for sop_class, syntax in pairs]
