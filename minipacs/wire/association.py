"""One association, in either role: bytes in, bytes and indications out (PS3.8 §9.2).

Everything that changes the state lives here, as the table in state_table.py says. This file opens no socket and
reads no clock: whoever carries the bytes tells it that the connection opened, closed, or that a timer expired.

A user calls, for each chunk that came::

    association.receive_data(chunk)
    while (indication := association.next_indication()) is not None:
        …                                     # answer with accept(), send(), reply_release(), abort() …
    connection.send(association.data_to_send())
    if association.is_over: connection.close()
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Literal, TypeAlias

from minipacs.errors import LocalProtocolError, PDUError
from minipacs.wire.associate import AssociateAC, AssociateRJ, AssociateRQ, accepted_contexts
from minipacs.wire.framing import ASSOCIATE_PDU_LIMIT, MAXIMUM_LENGTH, PDUReader
from minipacs.wire.indications import Closed, Indication, Violation
from minipacs.wire.items import ContextResult, UserInformation
from minipacs.wire.messages import COMMAND_SET_LIMIT, Message, MessageAssembler, fragment
from minipacs.wire.pdu import PDU, PDV, Abort, PDataTF, ReleaseRP, ReleaseRQ
from minipacs.wire.state_table import EFFECTS, TRANSITIONS, Action, Effect, Event, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from minipacs.wire.dimse import CommandSet

Direction: TypeAlias = Literal["sent", "received"]

# A peer may deviate in every item of a 1 MiB request; the first of each kind tell enough.
_MOST_OBSERVATIONS = 32


_ARRIVALS = {
    AssociateAC: Event.Evt3,
    AssociateRJ: Event.Evt4,
    AssociateRQ: Event.Evt6,
    PDataTF: Event.Evt10,
    ReleaseRQ: Event.Evt12,
    ReleaseRP: Event.Evt13,
    Abort: Event.Evt16,
}

# Bound once: to look a member of an enumeration up takes 0.1 µs in Python 3.11, and an echo goes through dozens.
_IDLE, _OVER = State.Sta1, State.Sta13
_P_DATA_REQUEST, _P_DATA_CAME = Event.Evt9, Event.Evt10
_, _INDICATE, _ABORT, _NOTHING = Effect
_REFUSALS = frozenset({Action.AA_1, Action.AA_7, Action.AA_8})


class Association:
    """The state of one association.

    Args:
        associate_pdu_limit: the longest A-ASSOCIATE PDU that is taken, in bytes.
        command_set_limit: the longest command set that is taken, in bytes.
        on_pdu: told of every PDU, with its exact bytes: when it is made, and before it is read, also where it is
            invalid or was cut short.

    Attributes:
        state: where it stands.
        request: the A-ASSOCIATE-RQ, once it came or was made.
        peer_information: what the other side told of itself.
        accepted_contexts: transfer syntax by context ID, of the contexts that were accepted.
        pdus_received: how many whole PDUs came.
    """

    def __init__(
        self,
        *,
        associate_pdu_limit: int = ASSOCIATE_PDU_LIMIT,
        command_set_limit: int = COMMAND_SET_LIMIT,
        on_pdu: Callable[[Direction, bytes], None] | None = None,
    ) -> None:
        self.state = State.Sta1
        self.request: AssociateRQ | None = None
        self.peer_information = UserInformation()
        self.accepted_contexts: dict[int, str] = {}
        self.pdus_received = 0
        self._is_requestor = False
        self._is_deaf = False
        self._was_connected = False
        self._on_pdu = on_pdu
        on_bytes = None if on_pdu is None else lambda data: on_pdu("received", data)
        self._reader = PDUReader(associate_pdu_limit, MAXIMUM_LENGTH, on_bytes)
        self._first_bytes = b""  # of the PDU that is being read
        self._pdvs: deque[PDV] = deque()  # in it, not read yet
        self._assembler = MessageAssembler(command_set_limit)
        self._to_send: list[bytes] = []
        self._indications: deque[Indication] = deque()
        self._observations: dict[str, None] = {}

    @property
    def observations(self) -> tuple[str, ...]:
        """The deviations that were tolerated, each once, in the order in which they came."""
        return tuple(self._observations)

    @property
    def is_over(self) -> bool:
        """Whether the connection is to be closed now (Sta1 after the connection was open)."""
        return self._was_connected and self.state is _IDLE

    @property
    def is_partial(self) -> bool:
        """Whether a PDU or a message has begun and not ended: the peer owes us bytes."""
        return self._reader.is_partial or self._assembler.is_partial

    # --- the connection ------------------------------------------------------------------------------------------

    def connected(self) -> None:
        """The transport connection is open: ours (Evt2) or the peer's (Evt5)."""
        self._happen(Event.Evt2 if self._is_requestor else Event.Evt5, self.request)
        self._was_connected = True

    def receive_data(self, data: bytes) -> None:
        """Take bytes that came. Nothing happens before next_indication() is called."""
        if self._is_deaf or self.state is _IDLE:
            return
        if self._is_requestor and not self._was_connected:
            raise LocalProtocolError("bytes cannot come before the connection is open")
        self._reader.feed(data)

    def data_to_send(self) -> bytes:
        """Return the bytes to send now, and forget them."""
        data = b"".join(self._to_send)
        self._to_send.clear()
        return data

    def connection_closed(self) -> None:
        """The transport connection closed (Evt17)."""
        if self.state is not State.Sta1:
            self._happen(Event.Evt17, Closed())

    def artim_expired(self) -> None:
        """The ARTIM timer, which runs in Sta2 and Sta13, expired (Evt18): close."""
        self._happen(Event.Evt18)

    def next_indication(self) -> Indication | None:
        """Return what happened next, or None when more bytes are needed."""
        while not self._indications:
            if not self._read():
                return None
        return self._indications.popleft()

    # --- the service user ----------------------------------------------------------------------------------------

    def associate(self, request: AssociateRQ) -> None:
        """Ask for an association, as its requestor; the request is sent when the connection is open (Evt1)."""
        self._happen(Event.Evt1)
        self._is_requestor = True
        self.request = request
        self._reader.p_data_limit = request.user_information.maximum_length

    def accept(self, contexts: tuple[ContextResult, ...], user_information: UserInformation) -> None:
        """Accept the association that was asked for (Evt7)."""
        if self.request is None:
            raise LocalProtocolError("there is no request to accept")
        answer = AssociateAC(
            contexts=contexts, fixed_fields=self.request.fixed_fields, user_information=user_information
        )
        self._happen(Event.Evt7, answer)
        self._reader.p_data_limit = user_information.maximum_length
        self.accepted_contexts = {c.context_id: c.transfer_syntax for c in contexts if c.result == 0}

    def reject(self, rejection: AssociateRJ) -> None:
        """Reject the association that was asked for (Evt8)."""
        self._happen(Event.Evt8, rejection)

    def send(self, context_id: int, command: CommandSet) -> None:
        """Send a message without a data set on an accepted context (Evt9)."""
        if context_id not in self.accepted_contexts:
            raise LocalProtocolError(f"presentation context {context_id} was not accepted")
        for pdu in fragment(context_id, command, self.peer_information.maximum_length):
            self._happen(_P_DATA_REQUEST, pdu)

    def release(self) -> None:
        """Ask for the end of the association (Evt11)."""
        self._happen(Event.Evt11, ReleaseRQ())

    def reply_release(self) -> None:
        """Agree to the end that the peer asked for (Evt14)."""
        self._happen(Event.Evt14, ReleaseRP())

    def abort(self) -> None:
        """End the association at once, as its user (Evt15)."""
        self._happen(Event.Evt15)

    def refuse(self, fault: PDUError) -> None:
        """Treat the message that came last as an invalid PDU (Evt19): its meaning broke a rule of the service."""
        self._violate(Event.Evt19, str(fault), fault.reason, b"")

    # --- inside --------------------------------------------------------------------------------------------------

    def _read(self) -> bool:
        """Take one PDV or PDU from what was received; False when there is no whole one."""
        if self._is_deaf or self.state is _IDLE:
            return False
        try:
            if self._pdvs:
                self._arrive_data(self._pdvs.popleft())
                return True
            return self._reader.is_partial and self._read_pdu()
        except PDUError as fault:
            self._violate(Event.Evt19, str(fault), fault.reason, self._first_bytes)
            return True

    def _read_pdu(self) -> bool:
        self._first_bytes = self._reader.first_bytes
        pdu = self._reader.next_pdu(self.observe)
        if pdu is None:
            return False
        self.pdus_received += 1
        self._arrive(pdu)
        return True

    def _arrive(self, pdu: PDU) -> None:
        event = _ARRIVALS[type(pdu)]
        action = TRANSITIONS[event, self.state]
        if action in _REFUSALS:
            text = f"unexpected {pdu.NAME} in {self.state.name}"
            self._violate(event, text, Abort.UNEXPECTED_PDU, self._first_bytes)
        elif isinstance(pdu, PDataTF):
            # One at a time: the user may answer, refuse or abort at a message before the next one of the same PDU.
            self._pdvs.extend(pdu.pdvs)
        else:
            self._learn(pdu)
            self._happen(event, pdu)

    def _arrive_data(self, pdv: PDV) -> None:
        if self.state is _OVER:  # AA-6
            return
        if pdv.context_id not in self.accepted_contexts:
            raise PDUError(f"data on presentation context {pdv.context_id}, which was not accepted")
        if (message := self._assembler.add(pdv, self.observe)) is not None:
            self._happen(_P_DATA_CAME, message)
            if self._pdvs:
                self.observe("several messages in one P-DATA-TF")  # PS3.8 §E.1

    def _learn(self, pdu: PDU) -> None:
        """Keep what the answering or asking PDU says about the association to come."""
        if isinstance(pdu, AssociateRQ) and self.state is State.Sta2:
            self.request = pdu
            self.peer_information = pdu.user_information
        elif isinstance(pdu, AssociateAC) and self.state is State.Sta5:
            assert self.request is not None
            self.peer_information = pdu.user_information
            self.accepted_contexts = accepted_contexts(self.request, pdu, self.observe)

    def _violate(self, event: Event, text: str, reason: int, first_bytes: bytes) -> None:
        """Answer a broken rule by A-ABORT; after an invalid PDU nothing that follows can be framed."""
        action = TRANSITIONS.get((event, self.state))
        abort = Abort() if action is Action.AA_1 else Abort(2, reason)
        self._happen(event, abort)
        if action is not Action.AA_7:
            self._indications.append(Violation(text, abort, first_bytes))
        self._is_deaf = True
        self._pdvs.clear()
        self._reader.clear()

    def _happen(self, event: Event, subject: PDU | Message | Closed | None = None) -> None:
        """Go through one cell of Table 9-10; *subject* is what is sent or indicated by it."""
        action = TRANSITIONS.get((event, self.state))
        if action is None:
            raise LocalProtocolError(f"{event.name} cannot happen in {self.state.name}")
        effect, following = EFFECTS[action]
        if self._is_requestor and action is Action.AR_8:
            following = State.Sta9
        if effect is _INDICATE:
            assert subject is not None
            assert not isinstance(subject, PDataTF)
            self._indications.append(subject)
        elif effect is not _NOTHING:
            if effect is _ABORT and not isinstance(subject, Abort):
                subject = Abort()
            assert subject is not None
            assert not isinstance(subject, Message | Closed)
            self._write(subject)
        self.state = following
        if following is _IDLE:
            self._reader.give_up()

    def _write(self, pdu: PDU) -> None:
        data = pdu.encode()
        self._to_send.append(data)
        if self._on_pdu is not None:
            self._on_pdu("sent", data)

    def observe(self, deviation: str) -> None:
        """Take note of a deviation that is tolerated."""
        if len(self._observations) < _MOST_OBSERVATIONS:
            self._observations.setdefault(deviation)
