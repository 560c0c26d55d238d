"""What the acceptor answers to whatever its peer says: to the request, to messages, and at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from minipacs.association_record import AssociationOutcome
from minipacs.diagnosis import NOTHING_TO_SAY
from minipacs.ending import Ended, violation
from minipacs.errors import PDUError
from minipacs.relay import Carrier, Relay
from minipacs.wire.associate import AssociateRJ, AssociateRQ
from minipacs.wire.dimse import SUCCESS
from minipacs.wire.indications import Closed, Violation
from minipacs.wire.messages import Message
from minipacs.wire.pdu import Abort, ReleaseRP, ReleaseRQ
from minipacs.wire.state_table import State
from minipacs.wire.verification import answer, negotiate, user_information

if TYPE_CHECKING:
    from minipacs.handover import Offer
    from minipacs.listening import Listening
    from minipacs.wire.association import Association
    from minipacs.wire.indications import Indication

_RELEASING = frozenset({State.Sta8, State.Sta9, State.Sta12})
_CONGESTED = AssociateRJ(2, 3, 1)


class Answered(Carrier, Ended, Protocol):
    """A connection, as far as its peer is answered by it.

    Attributes:
        association: the state of its association.
        listening: whoever listens.
        port: TCP port of the peer.
        certificate: of the peer, in DER, verified; None without TLS.
        relay: to the server that the association was handed over to.
        echoes_answered: those answered here, with success.
        is_shown: whether somebody looks at its wire.
    """

    association: Association
    listening: Listening[Any]
    port: int
    certificate: bytes | None
    relay: Relay | None
    echoes_answered: int
    is_shown: bool


def respond(connection: Answered, indication: Indication) -> None:
    """Respond to what the engine tells of the association on *connection*."""
    if isinstance(indication, Message):
        _answer(connection, indication)
    elif isinstance(indication, AssociateRQ):
        _decide(connection, indication)
    elif isinstance(indication, ReleaseRQ | ReleaseRP):
        if connection.relay is not None and connection.relay.release():
            return
        if connection.association.state in _RELEASING:
            connection.association.reply_release()
        connection.end(AssociationOutcome.RELEASED, NOTHING_TO_SAY)
    elif isinstance(indication, Abort):
        connection.end(AssociationOutcome.ABORTED, connection.diagnose("inbound.aborted", codes=indication))
    elif isinstance(indication, Violation):
        code, detail = violation(connection, indication)
        connection.end(AssociationOutcome.INVALID, connection.diagnose(code, detail))
    elif isinstance(indication, Closed):
        connection.end(AssociationOutcome.CLOSED, connection.diagnose("inbound.closed"))


def _decide(connection: Answered, request: AssociateRQ) -> None:
    """Decide by a table that is as its file: now, or in a moment, unless the peer has changed its mind by then."""

    def later() -> None:
        if connection.association.state is State.Sta3:
            _admit(connection, request)
            connection.go_on()

    if connection.listening.is_up_to_date(later):
        _admit(connection, request)


def _admit(connection: Answered, request: AssociateRQ) -> None:
    """Admit who asks for an association, and accept it, or reject it."""
    listening = connection.listening
    admission, diagnosis = listening.decide(request, connection.address, connection.certificate)
    connection.admission = admission
    if admission.rejection is not None:
        connection.association.reject(admission.rejection)
        connection.end(AssociationOutcome.REJECTED, diagnosis, str(admission.rejection))
        return
    offer, may_echo = listening.serves(request, admission)
    if offer is not None:
        _hand_over(connection, offer)
        return
    contexts = negotiate(request.contexts, may_echo=may_echo)
    connection.association.accept(contexts, user_information(listening.limits.maximum_length))
    listening.admitted(connection)


def _hand_over(connection: Answered, offer: Offer) -> None:
    """Let a server of further services take the association over, which is answered when that answers."""
    listening = connection.listening
    try:
        sock, usage = listening.take(offer, (connection.address, connection.port))
    except OSError as error:
        connection.association.reject(_CONGESTED)
        diagnosis = connection.diagnose("admission.no-server", detail=error.strerror or str(error))
        connection.end(AssociationOutcome.REJECTED, diagnosis, str(_CONGESTED))
        return
    connection.relay = Relay(
        connection,
        connection.association,
        offer,
        usage,
        listening.limits,
        listening.timeouts,
        is_shown=connection.is_shown,
    )
    connection.relay.begin(sock)
    listening.admitted(connection)


def _answer(connection: Answered, message: Message) -> None:
    try:
        response = answer(message.command)
    except PDUError as fault:
        connection.association.refuse(fault)
        return
    if response is not None:
        connection.association.send(message.context_id, response)
        connection.echoes_answered += response.status == SUCCESS
