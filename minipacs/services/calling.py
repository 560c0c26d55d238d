"""One association of ours with one peer for what goes beyond Verification, carried by pynetdicom.

It fails in the words of `minipacs echo`: the connection is opened by the same code, and what the peer answers in place
of an A-ASSOCIATE-AC is read by the same engine.
"""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING, Any, Self

from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.dimse_messages import C_FIND_RSP, C_GET_RSP, C_MOVE_RSP, C_STORE_RQ
from pynetdicom.pdu import A_ABORT_RQ, A_RELEASE_RQ
from pynetdicom.pdu_primitives import MaximumLengthNotification
from pynetdicom.transport import AddressInformation

from minipacs.echo_result import Outcome
from minipacs.reach import look_behind, reach
from minipacs.recognition import Failed, not_associated
from minipacs.requestor import Requestor
from minipacs.services import library
from minipacs.services.bounded_reading import FAILURES, REQUEST, ReadingError, TooMuch, check
from minipacs.services.line import Line, LineBroken, Outgoing
from minipacs.services.promptness import PromptAssociation
from minipacs.tls_recognition import closed_after_handshake
from minipacs.wire.associate import AssociateRQ
from minipacs.wire.association import Association as Engine
from minipacs.wire.framing import MAXIMUM_LENGTH
from minipacs.wire.indications import Closed
from minipacs.wire.items import ProposedContext
from minipacs.wire.pdu import Abort
from minipacs.wire.verification import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pydicom.dataset import Dataset
    from pynetdicom.association import Association
    from pynetdicom.presentation import PresentationContext

    from minipacs.services.caller import Caller
    from minipacs.services.content import Content

MOST_CONTEXTS = 128
"""Of one association: their identifiers are the odd numbers up to 255 (PS3.8 §9.3.2.2)."""

GONE = frozenset({Outcome.UNREACHABLE, Outcome.NO_ASSOCIATION, Outcome.REJECTED})
"""The outcomes of a peer that cannot be had, whatever it is asked for."""

MOST_MATCHES, MOST_RESPONSES = 50_000, 100_000
"""Of a C-FIND, and of a C-MOVE or C-GET, which can count 65 535 objects: on one association."""

MOST_OBJECTS = 65_535
"""Of a C-GET, whose responses can count no more (PS3.7 §9.1.3.1.6)."""

_MOST_BYTES = 1 << 26  # of the identifiers of these responses
_AHEAD = 64  # messages that are read before those before them are taken
_READING = 1.0  # seconds
_LONGEST_PDU = 1 << 17  # bytes that we send at once to a peer that takes any length


class Calling:
    """The association: asked for when its ``with`` block begins, and ended with it.

    Args:
        caller: who calls whom.
        contexts: what is proposed, MOST_CONTEXTS at most.
        roles: items of the role selection negotiation (PS3.7 §D.3.3.4).
        handlers: pynetdicom's, for what the peer asks of us meanwhile.

    Attributes:
        local_address: the IP address that we call from; empty before the connection is open.
    """

    def __init__(
        self,
        caller: Caller,
        contexts: Sequence[PresentationContext],
        roles: Iterable[Any] = (),
        handlers: Iterable[tuple[Any, Callable[..., Any]]] = (),
    ) -> None:
        self._caller = caller
        self._contexts = contexts
        self._roles = roles
        self._handlers = handlers
        self._abort: Abort | None = None
        self._is_invalid = self._is_released = self._has_answer = False
        self._message_id = 0  # of the request that is under way
        self._stray = ""  # a response to another, and to which
        self._excess = ""  # what of the responses is more than we take
        self._responses = self._objects = self._bytes = 0
        self._is_taking = False  # what the peer sends, one message after the other
        self._content: Content | None = None  # that of the last C-STORE-RQ
        self._other_object = ""  # that the response to it is for
        self.local_address = ""

    def __enter__(self) -> Self:
        """Connect, and negotiate.

        Raises:
            Failed: there is no association; the reason is as an echo would tell it.
        """
        sock = self._connected()
        self._association = association = self._prepared(self._remote[1])
        self._line = Line(association, sock, self._caller.timeout, self._engine())
        association.set_socket(self._line)
        association.dul.to_provider_queue = Outgoing(association, self._line)
        association.request()
        if association.is_established:
            _limit_pdu(association)
            association.start()
        elif not association.rejected_contexts:  # it was not accepted; else it was, and none of its contexts
            failed = self._refusal()
            self._end()
            failed.seen = look_behind(
                failed.code, self._remote, self._caller.timeout, self._caller.tls, self._line.has_received
            )
            raise failed
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Release it; abort it when it failed, or when the peer owes us an answer."""
        self._take_no_more()
        if kind is None:
            self._association.release()
        self._end()

    @property
    def accepted(self) -> list[PresentationContext]:
        """The contexts that the peer accepts, each with the one transfer syntax that it chose."""
        return list(self._association.accepted_contexts)

    @property
    def refused(self) -> list[PresentationContext]:
        """The contexts that the peer refuses, each with its result."""
        return list(self._association.rejected_contexts)

    def store(self, content: Content, message_id: int) -> Dataset:
        """Send a C-STORE-RQ and return what came of it, with a Status.

        Args:
            content: in a transfer syntax that was accepted.
            message_id: 1 to 65535.

        Raises:
            Failed: no status came; the association is of no more use.
        """
        self._has_answer, self._message_id, self._content = False, message_id, content
        status: Dataset | None = None
        try:
            with suppress(LineBroken, RuntimeError):  # RuntimeError: it ended before
                status = self._association.send_c_store(content.header, msg_id=message_id)
        except OSError as error:  # of the file, in the middle of it: there is no end to what was begun
            raise Failed(Outcome.ABORTED, "store.unreadable", error.strerror or str(error)) from None
        if not status or self._stray or self._excess or self._other_object:
            raise self._loss()
        return status

    def responses(
        self, ask: Callable[[Association], Iterator[Any]], message_id: int
    ) -> Iterator[tuple[Dataset, Dataset | None]]:
        """Send what *ask* sends, and yield each response: what it says of the operation, and its identifier.

        Args:
            ask: sends one request, and returns pynetdicom's iterator over the responses.
            message_id: of that request.

        Raises:
            Failed: another one was owed, and none came, or one to another request.
        """
        self._has_answer, self._message_id = False, message_id
        self._is_taking = True
        try:
            for status, identifier in ask(self._association):
                if not status or self._stray or self._excess or self._is_invalid:
                    raise self._loss()
                self._has_answer = False
                yield status, identifier
        except (LineBroken, RuntimeError):
            raise self._loss() from None
        finally:
            self._take_no_more()

    def cancel(self, message_id: int, sop_class: str) -> None:
        """Send a C-CANCEL-RQ for the operation that is under way (PS3.7 §9.3.2.3)."""
        with suppress(RuntimeError, ValueError, LineBroken):
            self._association.send_c_cancel(message_id, query_model=sop_class)

    def cut(self) -> None:
        """End it now, from another thread; who waits for an answer gets none."""
        with suppress(AttributeError):  # it is not connected yet
            self._line.is_broken = True
            self._take_no_more()
            self._association.dimse.msg_queue.put((None, None))

    def _connected(self) -> socket.socket:
        requestor = Requestor()
        try:
            reach(requestor, self._caller.peer, self._caller.timeout, self._caller.tls)
        except BaseException:
            requestor.cut()
            raise
        finally:
            self.local_address = requestor.local_address
        assert requestor.remote_address is not None
        self._remote = requestor.remote_address
        return requestor.detach()

    def _engine(self) -> Engine:
        """Return what has sent the same request and waits for its answer."""
        contexts = tuple(
            ProposedContext(2 * number + 1, str(context.abstract_syntax), tuple(map(str, context.transfer_syntax)))
            for number, context in enumerate(self._contexts)
        )
        called, calling = self._caller.peer.ae_title, self._caller.calling_ae_title
        engine = Engine()
        engine.associate(AssociateRQ(called_ae_title=called, calling_ae_title=calling, contexts=contexts))
        engine.connected()
        engine.data_to_send()  # which pynetdicom sends in its place
        return engine

    def _prepared(self, address: tuple[Any, ...]) -> PromptAssociation:
        """As AE.associate() makes it, but for the connection."""
        entity = library.Entity(self._caller.calling_ae_title)
        timeout = self._caller.timeout
        entity.acse_timeout = entity.dimse_timeout = timeout
        entity.network_timeout = None  # which would end it while the peer works on our request
        association = PromptAssociation(entity, "requestor")
        association.acceptor.ae_title = self._caller.peer.ae_title
        association.acceptor.address_info = AddressInformation.from_tuple(address)
        requestor = association.requestor
        requestor.address_info = AddressInformation(self.local_address.partition("%")[0], 0)
        requestor.ae_title = self._caller.calling_ae_title
        requestor.maximum_length = MAXIMUM_LENGTH
        requestor.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
        requestor.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        for item in self._roles:
            requestor.add_negotiation_item(item)
        for number, context in enumerate(self._contexts):
            context.context_id = 2 * number + 1
        requestor.requested_contexts = list(self._contexts)
        association.bind(evt.EVT_PDU_RECV, self._on_pdu)
        association.bind(evt.EVT_DIMSE_RECV, self._on_message)
        association.bind(evt.EVT_DIMSE_SENT, self._on_sending)
        association.bind(evt.EVT_FSM_TRANSITION, self._on_transition)
        for handler in self._handlers:
            association.bind(*handler)
        return association

    def _on_pdu(self, event: Any) -> None:
        if isinstance(event.pdu, A_ABORT_RQ):
            self._abort = Abort(event.pdu.source or 0, event.pdu.reason_diagnostic or 0)
        elif isinstance(event.pdu, A_RELEASE_RQ):
            self._is_released = True

    def _on_message(self, event: Any) -> None:
        """Look at what comes before pynetdicom does, which takes any response for one to its last request."""
        self._hold_back()
        if isinstance(event.message, C_STORE_RQ):
            self._objects += 1
            if self._objects > MOST_OBJECTS:
                self._excess = f"more than {MOST_OBJECTS} objects"
                self._line.is_broken = True
            return
        self._has_answer = True
        if self._content is not None:
            uid = str(event.message.command_set.get("AffectedSOPInstanceUID", None) or "").rstrip("\0 ")
            self._other_object = uid if uid != self._content.header.SOPInstanceUID else ""
        answered = event.message.command_set.get("MessageIDBeingRespondedTo")
        if answered not in {None, self._message_id}:  # None: it is taken for no response at all (PS3.7 §9.3)
            self._stray = f"{answered}, not to {self._message_id}"
        if isinstance(event.message, C_FIND_RSP | C_MOVE_RSP | C_GET_RSP):
            self._weigh(event.message)
        else:  # there is none in any other
            event.message.data_set = BytesIO()

    def _hold_back(self) -> None:
        """Let the peer wait while there is enough of what it sends; where nobody takes it, it is not asked for."""
        messages = self._association.dimse.msg_queue
        with messages.not_full:
            while len(messages.queue) >= _AHEAD and self._is_taking:
                messages.not_full.wait(_READING)
        if len(messages.queue) >= _AHEAD:
            self._excess = f"more than {_AHEAD} messages that were not asked for"
            self._line.is_broken = True

    def _take_no_more(self) -> None:
        self._is_taking = False
        messages = self._association.dimse.msg_queue
        with messages.not_full:
            messages.not_full.notify_all()

    def _weigh(self, response: Any) -> None:
        """Look at what a response has beyond its status, and take it away where pynetdicom is not to decode it."""
        data = response.data_set.getvalue()
        self._responses += 1
        self._bytes += len(data)
        syntax = self.accepted[0].transfer_syntax[0]  # of the request, by which pynetdicom decodes it
        is_match = isinstance(response, C_FIND_RSP)
        most = MOST_MATCHES if is_match else MOST_RESPONSES
        try:
            if self._responses > most:
                raise TooMuch(f"more than {most} responses")
            if self._bytes > _MOST_BYTES:
                raise TooMuch(f"more than {_MOST_BYTES} bytes")
            check(data, syntax, REQUEST if is_match else FAILURES)
        except TooMuch as excess:
            self._excess = str(excess)
        except ReadingError:
            self._is_invalid = True
        else:
            return
        response.data_set = BytesIO()

    def _on_sending(self, event: Any) -> None:
        """Put the content in its place, before anything is sent."""
        if self._content is not None and isinstance(event.message, C_STORE_RQ):
            self._content.put_into(event.message)

    def _on_transition(self, event: Any) -> None:
        if event.fsm_event == "Evt19":
            self._is_invalid = True
            self._association.dimse.msg_queue.put((None, None))  # to whoever waits for what is never going to come

    def _refusal(self) -> Failed:
        """Name the cause of a request that was not accepted, by what came in its place."""
        line = self._line
        if line.answer is not None:
            return not_associated(line.answer)
        if isinstance(line.error, TimeoutError) or not line.is_broken:
            return Failed(Outcome.NO_ASSOCIATION, "no-association.silence")
        return not_associated(Closed()) if self._caller.tls is None else closed_after_handshake(line.error)

    def _loss(self) -> Failed:
        """Name the cause of an association that ended, or of an answer that did not come."""
        if self._stray:
            return Failed(Outcome.ABORTED, "service.another-message", self._stray)
        if excess := self._excess or self._association.dimse.excess:
            return Failed(Outcome.ABORTED, "service.excess", excess)
        if self._other_object:
            return Failed(Outcome.ABORTED, "store.another-object", self._other_object)
        if self._line.is_broken:
            self._association.dul.join(_READING)  # it may still read why
        if self._abort is not None:
            return Failed(Outcome.ABORTED, "service.aborted", codes=self._abort)
        if self._is_released:
            return Failed(Outcome.ABORTED, "service.released")
        if self._association.dimse.error is not None:
            return Failed(Outcome.ABORTED, "get.unwritten", self._association.dimse.error.strerror or "unknown error")
        if self._is_invalid or self._has_answer:  # which pynetdicom did not take for one
            return Failed(Outcome.ABORTED, "service.invalid")
        if isinstance(self._line.error, TimeoutError):
            return Failed(Outcome.ABORTED, "service.stalled")
        if self._line.is_closed or self._line.is_broken:
            return Failed(Outcome.ABORTED, "aborted.closed")
        return Failed(Outcome.NO_RESPONSE, "service.silence")

    def _end(self) -> None:
        """Abort what is open, and close."""
        association = self._association
        if association.is_established:
            association.abort()
        association.kill()
        self._line.shut()


def _limit_pdu(association: Association) -> None:
    """Send no PDU of the size of an object to a peer that takes any length (PS3.8 §D.1.1)."""
    accepted = association.acceptor.primitive
    assert accepted is not None
    for item in accepted.user_information:
        if isinstance(item, MaximumLengthNotification) and not 0 < item.maximum_length_received <= _LONGEST_PDU:
            item.maximum_length_received = _LONGEST_PDU
