"""One TCP connection of a peer: its association, its deadlines, and how it ended.

It is handed bytes and hands them to the engine; it knows no other connection. Whoever listens decides who is admitted.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from minipacs.association_record import AssociationOutcome, AssociationRecord
from minipacs.diagnosis import NOTHING_TO_SAY, Diagnosis, diagnose, elsewhere
from minipacs.errors import PDUError
from minipacs.escape import escape, hex_dump
from minipacs.recognition import protocol_of
from minipacs.tcp import acknowledge_at_once, tune
from minipacs.wire.associate import AssociateRQ
from minipacs.wire.association import Association
from minipacs.wire.dimse import SUCCESS
from minipacs.wire.indications import Closed, Violation
from minipacs.wire.messages import Message
from minipacs.wire.pdu import PDU_CLASSES, Abort, ReleaseRP, ReleaseRQ
from minipacs.wire.state_table import State
from minipacs.wire.verification import answer, negotiate, user_information

if TYPE_CHECKING:
    from minipacs.admission import Admission
    from minipacs.listening import Listening
    from minipacs.wire.association import Direction
    from minipacs.wire.indications import Indication

_AWAITING = State.Sta2  # bound once, as in the engine
_ENDED = frozenset({State.Sta1, State.Sta13})
_RELEASING = frozenset({State.Sta8, State.Sta9, State.Sta12})


class Connection(asyncio.BufferedProtocol):
    """The acceptor's side of one connection."""

    def __init__(self, listening: Listening[Connection]) -> None:
        self._listening = listening
        self._timeouts = listening.timeouts
        self._loop = asyncio.get_running_loop()
        self.started = self._loop.time()  # seconds of the loop's clock
        self._watch = listening.watch(self)
        self._association = Association(
            associate_pdu_limit=listening.limits.associate_pdu,
            command_set_limit=listening.limits.command_set,
            on_pdu=None if self._watch is None else self._on_pdu,
        )
        self._transport: asyncio.Transport | None = None
        self.admission: Admission | None = None  # until the request is whole
        self.echoes = 0  # answered with success
        self._bytes_came = False
        self._unfinished = 0  # bytes of a request that is not whole
        self._is_recorded = False
        self._is_closing = False
        self._is_unread = False
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._pdus_received = 0
        self._partial_since: float | None = None
        self.address = "unknown"
        self.port = 0
        self.certificate: bytes | None = None  # of the peer, in DER, verified

    @property
    def request(self) -> AssociateRQ | None:
        """What the peer asked for."""
        return self._association.request

    @property
    def observations(self) -> tuple[str, ...]:
        """The deviations that were tolerated so far."""
        return self._association.observations

    # --- called by the transport --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection (Evt5)."""
        self._transport = cast("asyncio.Transport", transport)
        self._socket = transport.get_extra_info("socket")
        if peer := transport.get_extra_info("peername"):  # none when the peer has reset the connection already
            self.address, self.port = peer[:2]
        tune(self._socket)
        self._association.connected()
        self._watch_until(self.started + self._timeouts.request)
        self._listening.opened(self)

    def get_buffer(self, _: int) -> memoryview:
        """Lend the one buffer of all connections; the loop fills it and hands it back at once.

        For a chunk of its own each time, asyncio takes 256 KiB and gives them back: 15 µs of an echo.
        """
        return self._listening.buffer

    def buffer_updated(self, length: int) -> None:
        """Take what came."""
        self.data_received(bytes(self._listening.buffer[:length]))

    def data_received(self, data: bytes) -> None:
        """Let the engine read, answer what it tells, and set the next deadline."""
        self._bytes_came = True
        self._association.receive_data(data)
        if not self._go_on():
            acknowledge_at_once(self._socket)
        unfinished = self._unfinished + len(data) if self._association.state is _AWAITING else 0
        if unfinished != self._unfinished:
            self._unfinished = unfinished
            self._listening.holds(self, unfinished)

    def eof_received(self) -> None:
        """The peer sends no more; what we owe it is still sent before the transport closes."""
        self._association.connection_closed()
        self._go_on()

    def pause_writing(self) -> None:
        """Read no more from a peer that does not read: what we owe it must not pile up."""
        assert self._transport is not None
        self._is_unread = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        assert self._transport is not None
        self._is_unread = False
        self._transport.resume_reading()

    def connection_lost(self, _: Exception | None) -> None:
        """The connection is gone (Evt17)."""
        self._association.connection_closed()
        self._go_on()
        if self._timer is not None:
            self._timer.cancel()
        self._listening.closed(self)

    # --- called by whoever listens ------------------------------------------------------------------------------------

    def abort(self, code: str) -> None:
        """Abort the association, for the cause that the row *code* of the catalogue names."""
        if self._association.state not in {State.Sta2, *_ENDED}:
            self._association.abort()
            self._end(AssociationOutcome.ABORTED, self._diagnose(code))
            self._flush()
            self._set_deadline()

    def close(self) -> None:
        """Close the connection, whatever state it is in; what was written is still sent if the peer takes it."""
        if self._association.state is State.Sta2:
            self._end(AssociationOutcome.CLOSED, self._diagnose("inbound.stopped"))
        self.abort("inbound.stopped")
        if self._transport is not None:
            self._transport.close()

    def cut(self, code: str = "") -> None:
        """Close the connection without waiting for anything, for the cause that the row *code* names."""
        if code:
            self._end(AssociationOutcome.CLOSED, self._diagnose(code))
        if self._transport is not None:
            self._transport.abort()

    # --- inside -------------------------------------------------------------------------------------------------------

    def _go_on(self) -> bool:
        """Respond to what came; whether anything was sent."""
        while (indication := self._association.next_indication()) is not None:
            self._respond(indication)
        has_sent = self._flush()
        self._set_deadline()
        return has_sent

    def _flush(self) -> bool:
        """Send what there is to send; whether there was any."""
        assert self._transport is not None
        data = self._association.data_to_send()
        if data and not self._transport.is_closing():
            self._transport.write(data)
        if self._association.is_over:
            if self._association.pdus_received:  # an A-ABORT in Sta2 is no indication (PS3.8 Table 9-10, AA-2)
                self._end(AssociationOutcome.ABORTED, self._diagnose("inbound.aborted-first"))
            self._end(AssociationOutcome.CLOSED, self._diagnose("inbound.cut-short"))
            self._transport.close()
        return bool(data)

    def _respond(self, indication: Indication) -> None:
        if isinstance(indication, Message):
            self._respond_to_message(indication)
        elif isinstance(indication, AssociateRQ):
            self._respond_to_request(indication)
        elif isinstance(indication, ReleaseRQ | ReleaseRP):
            if self._association.state in _RELEASING:
                self._association.reply_release()
            self._end(AssociationOutcome.RELEASED, NOTHING_TO_SAY)
        elif isinstance(indication, Abort):
            self._end(AssociationOutcome.ABORTED, self._diagnose("inbound.aborted", codes=indication))
        elif isinstance(indication, Violation):
            self._end(AssociationOutcome.INVALID, self._diagnose_violation(indication))
        elif isinstance(indication, Closed):
            self._end(AssociationOutcome.CLOSED, self._diagnose("inbound.closed"))

    def _respond_to_request(self, request: AssociateRQ) -> None:
        self.admission, diagnosis = self._listening.decide(request, self.address, self.certificate)
        if self.admission.rejection is not None:
            self._association.reject(self.admission.rejection)
            self._end(AssociationOutcome.REJECTED, diagnosis, str(self.admission.rejection))
            return
        # Admitted and not yet answered: here a server of further services can take the connection over.
        self._association.accept(negotiate(request.contexts), user_information(self._listening.limits.maximum_length))
        self._listening.admitted(self)

    def _respond_to_message(self, message: Message) -> None:
        try:
            response = answer(message.command)
        except PDUError as fault:
            self._association.refuse(fault)
            return
        if response is not None:
            self._association.send(message.context_id, response)
            self.echoes += response.status == SUCCESS

    def _end(self, outcome: AssociationOutcome, diagnosis: Diagnosis, reject: str | None = None) -> None:
        """Tell, once, how the association ended."""
        if self._is_recorded:
            return
        self._is_recorded = True
        request, peer = self.request, self.admission.peer if self.admission else None
        record = AssociationRecord(
            calling_ae_title=escape(request.calling_ae_title) if request else None,
            called_ae_title=escape(request.called_ae_title) if request else None,
            address=self.address,
            peer=peer.name if peer else None,
            outcome=outcome,
            echoes=self.echoes,
            reject=reject,
            code=diagnosis.code,
            reason=diagnosis.reason or None,
            fix=diagnosis.fix or None,
            observations=tuple(escape(observation) for observation in self._association.observations),
            duration_ms=round((self._loop.time() - self.started) * 1000, 3),
            implementation_version=escape(self._association.peer_information.implementation_version_name) or None,
        )
        if self._watch is not None:
            self._watch.ended()
        self._listening.ended(self, record if self._bytes_came else None)

    def _on_pdu(self, direction: Direction, data: bytes) -> None:
        assert self._watch is not None
        self._watch.pdu(direction, (self._loop.time() - self.started) * 1000, data)

    def _diagnose(self, code: str, codes: object = "", detail: str = "", timeout: float = 0.0) -> Diagnosis:
        calling = escape(self.request.calling_ae_title) if self.request else "the peer"
        or_tls = elsewhere(self._listening.tls_port, "TLS")
        facts = {"address": self.address, "codes": codes, "timeout": timeout, "or_tls": or_tls}
        return diagnose(code, calling=calling, detail=escape(detail), **facts)

    def _diagnose_violation(self, violation: Violation) -> Diagnosis:
        first_bytes = violation.first_bytes
        if self.request is not None or not first_bytes or first_bytes[0] in PDU_CLASSES:
            return self._diagnose("inbound.invalid", detail=violation.text)
        return self._diagnose(
            f"inbound.{protocol_of(first_bytes)}", detail=f"its first bytes are {hex_dump(first_bytes)}"
        )

    # --- deadlines ----------------------------------------------------------------------------------------------------

    def _set_deadline(self) -> None:
        """Set the deadline that the state calls for, after bytes came or something was sent."""
        state = self._association.state
        now = self._loop.time()
        if state is _AWAITING:
            return  # ARTIM runs from the connection on, however the bytes of the request trickle in
        if state in _ENDED:
            if not self._is_closing:  # ARTIM again; what else comes does not put it off
                self._is_closing = True
                self._watch_until(now + self._timeouts.close)
        elif self._association.is_partial:
            if self._partial_since is None or self._association.pdus_received != self._pdus_received:
                self._partial_since = now
            self._pdus_received = self._association.pdus_received
            self._watch_until(self._partial_since + self._timeouts.pdu)
        else:
            self._partial_since = None
            self._watch_until(now + self._timeouts.idle)

    def _watch_until(self, deadline: float) -> None:
        """Set the deadline. The timer is left to fire early and look again, which is cheaper than to exchange it."""
        self._deadline = deadline
        if self._timer is None or self._timer.when() > deadline:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(deadline, self._look_at_deadline)

    def _look_at_deadline(self) -> None:
        self._timer = None
        if self._loop.time() < self._deadline:
            self._watch_until(self._deadline)
        else:
            self._expire()

    def _expire(self) -> None:
        state = self._association.state
        if state is State.Sta2:
            self._association.artim_expired()
            self._end(AssociationOutcome.TIMED_OUT, self._diagnose("inbound.silence", timeout=self._timeouts.request))
        elif state is State.Sta13:
            self._association.artim_expired()
        elif state is not State.Sta1:
            is_partial = self._association.is_partial
            timeout = self._timeouts.pdu if is_partial else self._timeouts.idle
            code = "inbound.unread" if self._is_unread else "inbound.unfinished" if is_partial else "inbound.idle"
            self._association.abort()
            self._end(AssociationOutcome.TIMED_OUT, self._diagnose(code, timeout=timeout))
        self._flush()
        self._set_deadline()
        if self._association.is_over:
            self.cut()  # a peer that does not read would hold up a close for ever
