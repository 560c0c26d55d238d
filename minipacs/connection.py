"""One TCP connection of a peer: its association, its deadlines, and how it ended.

It is handed bytes and hands them to the engine; it knows no other connection. Whoever listens decides who is admitted.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from minipacs.alarm import Alarm
from minipacs.answering import respond
from minipacs.association_record import AssociationOutcome
from minipacs.ending import diagnosis_of, record_of
from minipacs.tcp import acknowledge_at_once, tune
from minipacs.wire.association import Association
from minipacs.wire.state_table import State

if TYPE_CHECKING:
    from minipacs.admission import Admission
    from minipacs.diagnosis import Diagnosis
    from minipacs.handover import Usage
    from minipacs.listening import Listening
    from minipacs.relay import Relay
    from minipacs.wire.associate import AssociateRQ
    from minipacs.wire.association import Direction

_AWAITING = State.Sta2  # bound once, as in the engine
_ENDED = frozenset({State.Sta1, State.Sta13})


class Connection(asyncio.BufferedProtocol):
    """The acceptor's side of one connection."""

    def __init__(self, listening: Listening[Connection]) -> None:
        self.listening = listening
        self._timeouts = listening.timeouts
        self._loop = asyncio.get_running_loop()
        self.started = self._loop.time()  # seconds of the loop's clock
        self._watch = listening.watch(self)
        self.is_shown = self._watch is not None
        self.association = Association(
            associate_pdu_limit=listening.limits.associate_pdu,
            command_set_limit=listening.limits.command_set,
            on_pdu=self.show if self.is_shown else None,
        )
        self._transport: asyncio.Transport | None = None
        self.admission: Admission | None = None  # until the request is whole
        self.relay: Relay | None = None  # to the server that the association was handed over to
        self.echoes_answered = 0  # by ourselves, with success
        self._bytes_came = False
        self._unfinished = 0  # bytes of a request that is not whole
        self._is_recorded = False
        self._is_closing = False
        self._is_unread = False
        self._alarm = Alarm(self._loop, self._expire)
        self._pdus_received = 0
        self._partial_since: float | None = None
        self.address = "unknown"
        self.port = 0
        self.certificate: bytes | None = None  # of the peer, in DER, verified

    @property
    def request(self) -> AssociateRQ | None:
        """What the peer asked for."""
        return self.association.request

    @property
    def observations(self) -> tuple[str, ...]:
        """The deviations that were tolerated so far."""
        return self.association.observations

    @property
    def implementation_version(self) -> str:
        """What the peer calls itself; empty when it does not."""
        return self.association.peer_information.implementation_version_name

    @property
    def usage(self) -> Usage | None:
        """What was done so far by the server that it was handed over to; None when it was not."""
        return None if self.relay is None else self.relay.usage

    @property
    def echoes(self) -> int:
        """C-ECHO-RQ answered with success so far."""
        return self.echoes_answered if self.relay is None else self.relay.usage.echoes

    # --- called by the transport --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection (Evt5)."""
        self._transport = cast("asyncio.Transport", transport)
        self._socket = transport.get_extra_info("socket")
        if peer := transport.get_extra_info("peername"):  # none when the peer has reset the connection already
            self.address, self.port = peer[:2]
        tune(self._socket)
        self.association.connected()
        self._alarm.set(self.started + self._timeouts.request)
        self.listening.opened(self)

    def get_buffer(self, _: int) -> memoryview:
        """Lend the one buffer of all connections; the loop fills it and hands it back at once.

        For a chunk of its own each time, asyncio takes 256 KiB and gives them back: 15 µs of an echo.
        """
        return self.listening.buffer

    def buffer_updated(self, length: int) -> None:
        """Take what came."""
        self.data_received(bytes(self.listening.buffer[:length]))

    def data_received(self, data: bytes) -> None:
        """Let the engine read, answer what it tells, and set the next deadline."""
        self._bytes_came = True
        if self.relay is not None:
            acknowledge_at_once(self._socket)
            self.relay.received(data)
            self.set_deadline()
            return
        self.association.receive_data(data)
        if not self.go_on():
            acknowledge_at_once(self._socket)
        unfinished = self._unfinished + len(data) if self.association.state is _AWAITING else 0
        if unfinished != self._unfinished:
            self._unfinished = unfinished
            self.listening.holds(self, unfinished)

    def eof_received(self) -> bool | None:
        """The peer sends no more; what we owe it is still sent before the transport closes."""
        if self.relay is not None and self.relay.ended():
            self.set_deadline()
            return True  # a server may need a while for its answer
        self.association.connection_closed()
        self.go_on()
        return None

    def pause_writing(self) -> None:
        """Read no more from a peer that does not read: what we owe it must not pile up."""
        assert self._transport is not None
        self._is_unread = True
        if self.relay is None:
            self._transport.pause_reading()
        else:
            self.relay.let_write(False)

    def resume_writing(self) -> None:
        """Go on."""
        assert self._transport is not None
        self._is_unread = False
        if self.relay is None:
            self._transport.resume_reading()
        else:
            self.relay.let_write(True)

    def connection_lost(self, _: Exception | None) -> None:
        """The connection is gone (Evt17)."""
        self.association.connection_closed()
        self.go_on()
        self._alarm.cancel()
        self.listening.closed(self)

    # --- called by whoever listens ------------------------------------------------------------------------------------

    def abort(self, code: str, detail: str = "") -> None:
        """Abort the association, for the cause that the row *code* of the catalogue names."""
        if self.association.state not in {State.Sta2, *_ENDED}:
            self.association.abort()
            self.end(AssociationOutcome.ABORTED, self.diagnose(code, detail=detail))
            self._flush()
            self.set_deadline()

    def close(self) -> None:
        """Close the connection, whatever state it is in; what was written is still sent if the peer takes it."""
        if self.association.state is State.Sta2:
            self.end(AssociationOutcome.CLOSED, self.diagnose("inbound.stopped"))
        self.abort("inbound.stopped")
        if self._transport is not None:
            self._transport.close()

    def cut(self, code: str = "") -> None:
        """Close the connection without waiting for anything, for the cause that the row *code* names."""
        if code:
            self.end(AssociationOutcome.CLOSED, self.diagnose(code))
        if self._transport is not None:
            self._transport.abort()

    # --- called by the way to the server that serves the association --------------------------------------------------

    def go_on(self) -> bool:
        """Respond to what came; whether anything was sent."""
        while (indication := self.association.next_indication()) is not None:
            respond(self, indication)
        has_sent = self._flush()
        self.set_deadline()
        return has_sent

    def write(self, data: bytes) -> None:
        """Send *data*, past the engine."""
        assert self._transport is not None
        if not self._transport.is_closing():
            self._transport.write(data)

    def read(self, is_read: bool) -> None:
        """Read the peer, or leave it unread."""
        assert self._transport is not None
        (self._transport.resume_reading if is_read else self._transport.pause_reading)()
        self.set_deadline()

    def show(self, direction: Direction, data: bytes) -> None:
        """Show a PDU to whoever looks at the wire."""
        assert self._watch is not None
        self._watch.pdu(direction, (self._loop.time() - self.started) * 1000, data)

    def diagnose(self, code: str, detail: str = "", codes: object = "", timeout: float = 0.0) -> Diagnosis:
        """Return the row *code* of the catalogue in the words for this connection."""
        return diagnosis_of(self, self.listening.tls_port, code, detail, codes, timeout)

    def end(self, outcome: AssociationOutcome, diagnosis: Diagnosis, reject: str | None = None) -> None:
        """Tell, once, how the association ended."""
        if self._is_recorded:
            return
        self._is_recorded = True
        diagnosis = self.listening.explain_end(self, diagnosis)
        record = record_of(self, outcome, diagnosis, reject, (self._loop.time() - self.started) * 1000)
        if self.relay is not None:
            self.relay.close()
        if self._watch is not None:
            self._watch.ended()
        self.listening.ended(self, record if self._bytes_came else None)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _flush(self) -> bool:
        """Send what there is to send; whether there was any."""
        assert self._transport is not None
        data = self.association.data_to_send()
        if data and not self._transport.is_closing():
            self._transport.write(data)
        if self.association.is_over:
            if self.association.pdus_received:  # an A-ABORT in Sta2 is no indication (PS3.8 Table 9-10, AA-2)
                self.end(AssociationOutcome.ABORTED, self.diagnose("inbound.aborted-first"))
            self.end(AssociationOutcome.CLOSED, self.diagnose("inbound.cut-short"))
            self._transport.close()
        return bool(data)

    # --- deadlines ----------------------------------------------------------------------------------------------------

    def set_deadline(self) -> None:
        """Set the deadline that the state calls for, after bytes came or something was sent."""
        state = self.association.state
        now = self._loop.time()
        if state is _AWAITING:
            return  # ARTIM runs from the connection on, however the bytes of the request trickle in
        if state in _ENDED:
            if not self._is_closing:  # ARTIM again; what else comes does not put it off
                self._is_closing = True
                self._alarm.set(now + self._timeouts.close)
        elif self.relay is not None:
            self._alarm.set(self.relay.deadline(now))
        elif self.association.is_partial:
            if self._partial_since is None or self.association.pdus_received != self._pdus_received:
                self._partial_since = now
            self._pdus_received = self.association.pdus_received
            self._alarm.set(self._partial_since + self._timeouts.pdu)
        else:
            self._partial_since = None
            self._alarm.set(now + self._timeouts.idle)

    def _expire(self) -> None:
        state = self.association.state
        if state is State.Sta2:
            self.association.artim_expired()
            self.end(AssociationOutcome.TIMED_OUT, self.diagnose("inbound.silence", timeout=self._timeouts.request))
        elif state is State.Sta13:
            self.association.artim_expired()
        elif self.relay is not None and self.relay.expire():
            pass
        elif state is not State.Sta1:
            is_partial = self.association.is_partial if self.relay is None else self.relay.is_partial
            timeout = self._timeouts.pdu if is_partial else self._timeouts.idle
            code = "inbound.unread" if self._is_unread else "inbound.unfinished" if is_partial else "inbound.idle"
            self.association.abort()
            self.end(AssociationOutcome.TIMED_OUT, self.diagnose(code, timeout=timeout))
        self._flush()
        self.set_deadline()
        if self.association.is_over:
            self.cut()  # a peer that does not read would hold up a close for ever
