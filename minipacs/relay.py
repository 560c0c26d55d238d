"""The way between a connection and the server that serves its association: a socket pair, and what passes through it.

The association stays that of the engine: P-DATA-TF pass by it, every other PDU of either side goes through it, so that
its states, deadlines and limits hold as they do for Verification.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, cast

from msgspec.structs import replace

from minipacs.association_record import AssociationOutcome
from minipacs.diagnosis import NOTHING_TO_SAY, Diagnosis
from minipacs.errors import PDUError
from minipacs.wire.associate import AssociateAC
from minipacs.wire.framing import ASSOCIATE_PDU_LIMIT, PDUReader
from minipacs.wire.passing import Inspection, Passing
from minipacs.wire.pdu import Abort, ReleaseRP, ReleaseRQ
from minipacs.wire.state_table import State
from minipacs.wire.verification import user_information

if TYPE_CHECKING:
    import socket

    from minipacs.handover import Offer, Usage
    from minipacs.settings import Limits, Timeouts
    from minipacs.wire.association import Association, Direction

_HIGH_WATER = 1 << 18  # bytes that wait for the server, until the peer is not read any more
_MOST_SILENCES = 10  # idle deadlines for which a server at work is waited for, with nothing moving at all
_OPEN, _RELEASING = State.Sta6, State.Sta8


class Carrier(Protocol):
    """The connection of the peer, as the server's side needs it."""

    def go_on(self) -> bool:
        """Respond to what the engine tells, and send what it has to send."""

    def end(self, outcome: AssociationOutcome, diagnosis: Diagnosis, reject: str | None = None) -> None:
        """Tell how the association ended, and by which A-ASSOCIATE-RJ where it was by one."""

    def diagnose(self, code: str, detail: str = "", codes: object = "", timeout: float = 0.0) -> Diagnosis:
        """Return the row *code* of the catalogue in the words for this connection."""

    def write(self, data: bytes) -> None:
        """Send *data* to the peer."""

    def read(self, is_read: bool) -> None:
        """Read the peer, or leave it unread."""

    def set_deadline(self) -> None:
        """Ask for the next deadline."""

    def show(self, direction: Direction, data: bytes) -> None:
        """Show a PDU to whoever looks at the wire."""


class Relay(asyncio.Protocol):
    """The side of the server.

    Args:
        carrier: the connection of the peer.
        association: its association, admitted and not answered yet (Sta3).
        offer: what the server is asked for.
        usage: what it counts.
        limits: of what the peer sends.
        timeouts: deadlines.
        is_shown: whether somebody looks at the wire.
    """

    def __init__(
        self,
        carrier: Carrier,
        association: Association,
        offer: Offer,
        usage: Usage,
        limits: Limits,
        timeouts: Timeouts,
        *,
        is_shown: bool,
    ) -> None:
        self.offer = offer
        self.usage = usage
        self._carrier = carrier
        self._association = association
        self._p_data_limit = limits.maximum_length
        self._command_set_limit = limits.command_set
        self._timeouts = timeouts
        self._from_peer = Passing(limits.maximum_length)
        self._from_server = Passing(0)
        self._answers = PDUReader(ASSOCIATE_PDU_LIMIT, 0)
        self._is_shown = is_shown
        self._inspection: Inspection | None = None  # once contexts are accepted
        self._transport: asyncio.Transport | None = None
        self._early = [offer.request.encode()]
        self._is_closed = False
        self._is_held_up = False  # the server takes no more for now
        self._is_unread = False  # the peer does not
        self._is_at_end = False  # the peer sends no more
        self._pdus = 0
        self._silences = 0  # deadlines that passed since anything moved
        self._partial_since: float | None = None

    def begin(self, sock: socket.socket) -> None:
        """Take our end of the socket pair."""
        loop = asyncio.get_running_loop()
        self._beginning = loop.create_task(loop.connect_accepted_socket(lambda: self, sock))

    def close(self) -> None:
        """End it, whatever state it is in: a server whose end of the pair closes ends, too."""
        self._is_closed = True
        if self._transport is not None:
            self._transport.abort()

    # --- the peer -----------------------------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """Take bytes of the peer."""
        self._silences = 0
        passed: list[bytes] = []
        for is_data, run in self._from_peer.cut(data):
            if is_data and self._inspection is not None and self._association.state is _OPEN:
                self._pass(run, self._inspection, passed)
            else:
                self._write(b"".join(passed))
                passed.clear()
                self._association.receive_data(run)
                self._carrier.go_on()
        self._write(b"".join(passed))

    def release(self) -> bool:
        """Hand on that the peer asks for the end; whether it is the server that is to agree."""
        if self._association.state is not _RELEASING or self._is_closed:
            return False
        self._write(ReleaseRQ().encode())
        return True

    def ended(self) -> bool:
        """Take note that the peer sends no more; whether it may still get an answer.

        Not where we call others for it: that it would do with no one to stop it, if the peer has left.
        """
        is_open = not self._is_closed and self._association.state in {_OPEN, _RELEASING} and not self.usage.calls
        self._is_at_end = is_open and not self._is_cut_short
        return self._is_at_end

    def let_write(self, is_read: bool) -> None:
        """Read the server, or not while the peer does not read."""
        self._is_unread = not is_read
        if self._transport is not None and not self._is_closed:
            (self._transport.resume_reading if is_read else self._transport.pause_reading)()

    # --- deadlines ----------------------------------------------------------------------------------------------------

    @property
    def is_partial(self) -> bool:
        """Whether the peer owes us the rest of a PDU or message; not while it is we who do not read it."""
        return self._is_cut_short and not self._is_held_up

    @property
    def is_at_work(self) -> bool:
        """Whether it is the server that takes its time, and not the peer."""
        return not self._is_unread and not self.is_partial and (self._is_held_up or self.usage.busy > 0)

    def deadline(self, now: float) -> float:
        """Return when it is to be looked again, by the clock of the loop."""
        if not self.is_partial:
            self._partial_since = None
            return now + (self._timeouts.close if self._is_at_end else self._timeouts.idle)
        if self._partial_since is None or self._from_peer.pdus != self._pdus:
            self._partial_since = now
        self._pdus = self._from_peer.pdus
        return self._partial_since + self._timeouts.pdu

    def expire(self) -> bool:
        """Whether the deadline does not count, or is that of a peer that has left, which is told here."""
        if self._is_at_end and (self.usage.calls or not self.is_at_work):
            self._association.connection_closed()
            self._carrier.go_on()
            return True
        self._silences += 1
        return self.is_at_work and self._silences <= _MOST_SILENCES

    # --- called by the transport --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The server can be spoken to."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(_HIGH_WATER)
        if self._is_closed:
            self._transport.abort()
            return
        early, self._early = self._early, []
        for data in early:
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        """Hand on what the server sends."""
        self._silences = 0
        passed: list[bytes] = []
        for is_data, run in self._from_server.cut(data):
            if is_data:
                self._count("sent", run)
                passed.append(run)
            else:
                self._carrier.write(b"".join(passed))
                passed.clear()
                self._take_answers(run)
            if self._is_closed:
                return
        self._carrier.write(b"".join(passed))
        self._carrier.set_deadline()

    def connection_lost(self, _: Exception | None) -> None:
        """The server is gone."""
        self._transport = None
        if not self._is_closed:
            self._give_up("it ended without a word")

    def pause_writing(self) -> None:
        """The server is slower than the peer."""
        self._is_held_up = True
        self._carrier.read(False)

    def resume_writing(self) -> None:
        """Go on."""
        self._is_held_up = False
        self._carrier.read(True)

    # --- inside -------------------------------------------------------------------------------------------------------

    @property
    def _is_cut_short(self) -> bool:
        is_inside = self._inspection is not None and self._inspection.is_partial
        return self._from_peer.is_partial or is_inside

    def _pass(self, pdu: bytes, inspection: Inspection, passed: list[bytes]) -> None:
        """Let a P-DATA-TF of the peer pass, if it may."""
        self._count("received", pdu)
        try:
            inspection.look(pdu)
        except PDUError as fault:
            self._association.refuse(fault)
            self._carrier.go_on()
        else:
            passed.append(pdu)

    def _write(self, data: bytes) -> None:
        if not data:
            return
        if self._transport is None:
            self._early.append(data)
        elif not self._is_closed:
            self._transport.write(data)

    def _take_answers(self, run: bytes) -> None:
        """Take what the server says of the association itself."""
        self._answers.feed(run)
        try:
            while (pdu := self._answers.next_pdu(lambda _: None)) is not None:
                if isinstance(pdu, AssociateAC) and self._association.state is State.Sta3:
                    self._accept(pdu)
                elif isinstance(pdu, ReleaseRP) and self._association.state is _RELEASING:
                    self._association.reply_release()
                    self._carrier.end(AssociationOutcome.RELEASED, NOTHING_TO_SAY)
                    self._carrier.go_on()
                else:
                    self._give_up(f"A-ABORT {pdu}" if isinstance(pdu, Abort) else pdu.NAME)
        except PDUError as fault:
            self._give_up(str(fault))

    def _accept(self, answer: AssociateAC) -> None:
        """Accept as the server does, with what it was not asked; of us it is we who tell."""
        contexts = sorted((*answer.contexts, *self.offer.refused), key=lambda context: context.context_id)
        ours = replace(user_information(self._p_data_limit), others=answer.user_information.others)
        self._association.accept(tuple(contexts), ours)
        self._inspection = Inspection(
            self._association.accepted_contexts,
            self._command_set_limit,
            may_respond="get" in self.offer.services,
            observe=self._association.observe,
        )
        self._carrier.go_on()

    def _give_up(self, detail: str) -> None:
        if self._association.state in {State.Sta3, _OPEN, _RELEASING}:
            self._association.abort()
            self._carrier.end(AssociationOutcome.ABORTED, self._carrier.diagnose("inbound.given-up", detail))
            self._carrier.go_on()

    def _count(self, direction: Direction, pdu: bytes) -> None:
        self.usage.bytes += len(pdu)
        if self._is_shown:
            self._carrier.show(direction, pdu)
