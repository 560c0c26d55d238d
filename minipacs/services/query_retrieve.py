"""The Query/Retrieve SCP (PS3.4 Annex C): C-FIND, C-MOVE and C-GET, as handlers for pynetdicom.

A handler is a generator of what is answered; pynetdicom sends it, runs the sub-operations and counts them. A C-CANCEL
is looked for before each answer and each sub-operation.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, get_args

from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove,
)

from minipacs.escape import escape
from minipacs.services import (
    errands,
    extended_negotiation,
    library,  # noqa: F401 - how pynetdicom is to run
)
from minipacs.services.attributes import Level, Model
from minipacs.services.bounded_reading import ReadingError, TooMuch, decoded
from minipacs.services.destination import reach
from minipacs.services.paced_sending import let_read, pace
from minipacs.services.promptness import is_gone
from minipacs.services.query import IdentifierFault, Query
from minipacs.services.sub_operations import SubOperations, TooManyObjects, contexts_for, counted
from minipacs.services.texts import text_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from minipacs.peers import PeerTable
    from minipacs.services.index import Index
    from minipacs.services.object_files import StoredObject

_PENDING, _PENDING_WITHOUT_SOME_KEYS, _CANCEL = 0xFF00, 0xFF01, 0xFE00  # PS3.4 §C.4.1.1.4
_OUT_OF_RESOURCES, _DOES_NOT_MATCH, _UNABLE = 0xA700, 0xA900, 0xC000
_UNCOUNTABLE = 0xA701  # out of resources, unable to calculate number of matches (PS3.4 §C.4.2.1.5, §C.4.3.1.4)
_PATIENT_ROOT = {
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelMove,
    PatientRootQueryRetrieveInformationModelGet,
}
_UNKNOWN_DESTINATION, _NO_RESOURCES = 0xA801, 0xA702  # of a C-MOVE: the latter for sub-operations (PS3.4 §C.4.2.1.5)
_NO_ASSOCIATION = 0xC515  # pynetdicom's, where it has neither a thread nor a descriptor for the destination
_STATUSES: dict[type[Exception], int] = {
    IdentifierFault: _DOES_NOT_MATCH,
    ReadingError: _UNABLE,
    TooManyObjects: _UNCOUNTABLE,
    TooMuch: _OUT_OF_RESOURCES,
    errands.NoRoom: _NO_RESOURCES,
}
_AT_ONCE = 16  # matches that are sent before it is looked whether the peer has enough of them
_NOTHING_LEFT = "no thread or descriptor is left for it"
_LONGEST_COMMENT = 64  # Error Comment (0000,0902) is an LO


def handlers(
    index: Index,
    peers: Callable[[], PeerTable],
    ae_title: str,
    told: Callable[[str, str], None],
    tls: Callable[[], ssl.SSLContext] | None = None,
) -> list[tuple[Any, Any, list[Any]]]:
    """Return the handlers of the Query/Retrieve SCP, for pynetdicom's *evt_handlers*.

    Args:
        index: what is stored.
        peers: returns the peer table in force, in which the destination of a C-MOVE is looked up.
        ae_title: ours, which the matches name as the one to retrieve from.
        told: is told, in a word for its kind and a line of text that is safe to show, what went wrong with a request,
            and why.
        tls: returns the context by which a peer with ``tls = true`` is called; None: none is.
    """
    return [
        (evt.EVT_SOP_EXTENDED, lambda event: extended_negotiation.answer(event.app_info), []),
        (evt.EVT_C_FIND, _find, [index, ae_title, told]),
        (evt.EVT_C_MOVE, _move, [index, peers, told, tls]),
        (evt.EVT_C_GET, _get, [index, told]),
    ]


def _find(
    event: evt.Event, index: Index, ae_title: str, told: Callable[[str, str], None]
) -> Iterator[tuple[Dataset | int, Dataset | None]]:
    try:
        keys, model, level = _request(event)
        query = Query(model, level, keys, _agreed(event))
        pending = _PENDING_WITHOUT_SOME_KEYS if query.has_unsupported else _PENDING
        pace(event.assoc)
        for count, answer in enumerate(index.answers(query), 1):
            if count % _AT_ONCE == 0:
                let_read(event.assoc)
                if is_gone(event.assoc):
                    return
            if event.is_cancelled:
                yield _CANCEL, None
                return
            answer.RetrieveAETitle = ae_title
            answer.InstanceAvailability = "ONLINE"
            yield pending, answer
    except Exception as error:  # noqa: BLE001 - whatever a peer sent: it is answered, and the association stays
        yield _failure("C-FIND", error, told), None


def _get(
    event: evt.Event, index: Index, told: Callable[[str, str], None]
) -> Iterator[int | tuple[Dataset | int, Dataset | None]]:
    try:
        keys, model, level = _request(event)
        objects = counted(index.objects(model, level, keys, _agreed(event)))
    except Exception as error:  # noqa: BLE001
        yield 1  # pynetdicom wants a number before a status
        yield _failure("C-GET", error, told), None
        return
    yield len(objects)
    sub_operations = SubOperations(told, event.assoc)
    pace(event.assoc)
    event.assoc.bind(evt.EVT_DIMSE_SENT, sub_operations.sent)
    try:
        yield from _sent(event, objects, sub_operations)
    finally:
        event.assoc.unbind(evt.EVT_DIMSE_SENT, sub_operations.sent)


def _move(
    event: evt.Event,
    index: Index,
    peers: Callable[[], PeerTable],
    told: Callable[[str, str], None],
    tls: Callable[[], ssl.SSLContext] | None,
) -> Iterator[Any]:
    title = str(event.move_destination or "").strip()
    try:
        host, port, more = reach(title, peers(), tls)
    except LookupError as error:
        told("C-MOVE 0xA801", f"C-MOVE refused with 0xA801: {error.args[0]}")
        yield None, None
        return
    try:
        keys, model, level = _request(event)
        objects = counted(index.objects(model, level, keys, _agreed(event)))
        more |= {"contexts": contexts_for(objects)}
        errand = errands.begin()
    except Exception as error:  # noqa: BLE001
        with _telling(event.assoc, {_UNKNOWN_DESTINATION: _failure("C-MOVE", error, told)}):
            yield None, None  # pynetdicom wants an association with the destination before any other status
        return
    with errand, _telling(event.assoc, {_NO_ASSOCIATION: _status(_NO_RESOURCES, _NOTHING_LEFT)}):
        sub_operations = SubOperations(told, originator=str(event.assoc.requestor.ae_title))
        yield host, port, more | {"evt_handlers": _listening(sub_operations)}
        try:
            yield len(objects)
        except GeneratorExit:  # it goes no further: there is no association to send them on
            if objects and not is_gone(event.assoc):
                messages: Any = event.assoc.dimse
                status = messages.status
                why = sub_operations.refusal or (_NOTHING_LEFT if status == _NO_RESOURCES else "")
                where = f"{escape(title)} at {host} port {port}{why and f': {why}'}"
                told("C-MOVE failed", f"C-MOVE failed with 0x{status:04X}: no association with {where}")
            raise
        yield from _sent(event, objects, sub_operations)


@contextmanager
def _telling(association: Any, instead: dict[int, Dataset]) -> Iterator[None]:
    """Have the peer told something else than a status of pynetdicom's."""
    association.dimse.instead = instead
    try:
        yield
    finally:
        association.dimse.instead = {}


def _listening(sub_operations: SubOperations) -> list[tuple[Any, Any]]:
    return [
        (evt.EVT_ESTABLISHED, sub_operations.established),
        (evt.EVT_REJECTED, sub_operations.refused),
        (evt.EVT_ABORTED, sub_operations.aborted),
        (evt.EVT_DIMSE_SENT, sub_operations.sent),
        (evt.EVT_DIMSE_RECV, sub_operations.answered),
    ]


def _sent(
    event: evt.Event, objects: list[StoredObject], sub_operations: SubOperations
) -> Iterator[tuple[int, Dataset | None]]:
    for stored in objects:
        if is_gone(event.assoc):
            return
        if event.is_cancelled:
            yield _CANCEL, None
            return
        yield _PENDING, sub_operations.data_set(stored)


def _request(event: evt.Event) -> tuple[Dataset, Model, Level]:
    """The identifier of a request, its information model and its level."""
    request: Any = event.request  # event.identifier would decode whatever it holds
    data = request.Identifier
    keys = decoded(data.getvalue() if data else b"", event.context.transfer_syntax)
    model: Model = "PATIENT" if event.context.abstract_syntax in _PATIENT_ROOT else "STUDY"
    level = text_of(keys, 0x00080052, "CS")
    for known in get_args(Level):
        if level == known:
            return keys, model, known
    given = f"not {escape(level)}" if level else "and is missing"
    raise IdentifierFault(f"Query/Retrieve Level must be {', '.join(get_args(Level))}, {given}", 0x00080052)


def _agreed(event: evt.Event) -> extended_negotiation.Agreed:
    return extended_negotiation.agreed(event.assoc.acceptor.sop_class_extended, str(event.context.abstract_syntax))


def _failure(service: str, error: Exception, told: Callable[[str, str], None]) -> Dataset:
    """The status of a request that cannot be answered, and why, for whoever reads that (PS3.7 §C.4.2)."""
    reason = str(error) if type(error) in _STATUSES else escape(f"{type(error).__name__}: {error}")
    status = _status(_STATUSES.get(type(error), _UNABLE), reason)
    if isinstance(error, IdentifierFault) and error.tag is not None:
        status.OffendingElement = error.tag
    which = f"{service} refused with 0x{status.Status:04X}"
    told(which, f"{which}: {reason}")
    return status


def _status(status: int, comment: str) -> Dataset:
    answer = Dataset()
    answer.Status = status
    answer.ErrorComment = comment[:_LONGEST_COMMENT].replace("\\", "/")
    return answer
