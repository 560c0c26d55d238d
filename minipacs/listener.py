"""The node that listens, as a coroutine: it accepts connections, keeps their number in bounds, and decides.

The current peer table comes from a callable; no file and no watcher is known here.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from minipacs.accepting import Acceptor
from minipacs.addresses import is_within
from minipacs.admission import Admission, admit
from minipacs.admission_words import explain_admission, explain_refusal
from minipacs.association_log import AssociationLog
from minipacs.connection import Connection
from minipacs.crowd import Crowd
from minipacs.descriptors import SPARE, explain_pause
from minipacs.errors import ListenError
from minipacs.ports import listening_sockets
from minipacs.shortfall import explain_shortfall
from minipacs.tally import Tally
from minipacs.tls_connection import TLSConnection
from minipacs.turns import Turns

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from minipacs.association_record import AssociationRecord
    from minipacs.diagnosis import Diagnosis
    from minipacs.handover import Offer, Services, Usage
    from minipacs.listening import Watch
    from minipacs.node_status import AssociationsStatus
    from minipacs.peers import PeerTable
    from minipacs.settings import Settings
    from minipacs.tls import ServerTLS
    from minipacs.wire.associate import AssociateRQ

_PATIENCE = 3.0
"""Seconds after which it is decided by what is in force, whatever becomes of the files.

A look at them takes 1.1 s at the most, where somebody writes for as long as that; more where the machine is slow, or
they change without a pause.
"""

_CHUNK = 1 << 16  # bytes that are taken at once

logger = logging.getLogger("minipacs")


class Listener:
    """A Verification SCP inside a running event loop.

    Args:
        settings: who we are, deadlines and limits.
        peers: returns the table that is in force now.
        on_end: told of each association at its end.
        watch: returns whoever looks at the wire of a connection; None: nobody does.
        tls: by which peers are answered on the port for TLS; None: there is no such port.
        services: what serves more than Verification; None: nothing does.
        up_to_date: returns whether that table is as its file is now; if not, calls what it is given, in any thread,
            once it is.

    Attributes:
        port: the port for plain DICOM that is really bound, once it listens; None when there is none.
        tls_port: the one for TLS.
        addresses: the IP addresses that are really bound, once it listens.
    """

    def __init__(
        self,
        settings: Settings,
        peers: Callable[[], PeerTable],
        on_end: Callable[[AssociationRecord], None] = lambda _: None,
        watch: Callable[[Connection], Watch | None] = lambda _: None,
        tls: ServerTLS | None = None,
        services: Services | None = None,
        up_to_date: Callable[[Callable[[], object]], bool] = lambda _: True,
    ) -> None:
        self.port: int | None = None
        self.tls_port: int | None = None
        self.timeouts = settings.timeouts
        self.limits = settings.limits
        self.watch = watch
        self.buffer = memoryview(bytearray(_CHUNK))
        self._settings = settings
        self._peers = peers
        self._on_end = on_end
        self._log = AssociationLog()
        self._tls = tls
        self._services = services
        if services is not None:
            services.let_call(self._has_room)
        self._up_to_date = up_to_date
        self._acceptor: Acceptor | None = None
        self.addresses: tuple[str, ...] = ()
        self._connections: dict[Connection, None] = {}  # in the order in which they came
        self._crowd: Crowd[Connection] = Crowd(settings.limits)  # those without an association
        self._associations: set[Connection] = set()
        self._tally = Tally()
        self._turns = Turns()
        self._is_stopping = self._is_pause_told = False
        self._all_closed = asyncio.Event()

    async def start(self) -> int:
        """Listen; return the port that is really bound: the one for TLS where that is the only one.

        Raises:
            ListenError: it cannot be; the message says why and what to do.
        """
        asyncio.get_running_loop().set_exception_handler(self._log_loop_error)
        self._acceptor = Acceptor(self, self._takes, SPARE)
        tls = self._settings.tls
        if not tls.only:
            self.port = await self._listen(self._settings.port, "--port", lambda: Connection(self))
        if tls.port is not None and (ours := self._tls) is not None:
            where = "port under [tls]"
            self.tls_port = await self._listen(tls.port, where, lambda: TLSConnection(self, ours))
        port = self.tls_port if self.port is None else self.port
        assert port is not None, "neither plain DICOM nor TLS"
        return port

    async def _listen(self, port: int, where: str, connection: Callable[[], Connection]) -> int:
        """Open a port, of which the settings tell *where*."""
        assert self._acceptor is not None
        host = self._settings.host

        def connected(address: tuple[str, int]) -> Connection:
            one = connection()
            one.address, one.port = address[:2]
            return one

        try:
            sockets = await listening_sockets(host, port, where)
        except ListenError:
            await self._acceptor.close()
            raise
        for sock in sockets:
            self._acceptor.listen(sock, connected)
        self.addresses = tuple(sock.getsockname()[0] for sock in sockets)
        bound: int = sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Take no new connections, give open associations a moment to end, then abort them."""
        self._is_stopping = True
        if self._acceptor is not None:
            await self._acceptor.close()
        for connection in [c for c in self._connections if c not in self._associations]:
            connection.close()
        if not await self._wait_until_closed(self.timeouts.stop):
            for connection in list(self._connections):
                connection.close()
            await asyncio.sleep(0)  # what was written leaves before the sockets are cut
            for connection in list(self._connections):
                connection.cut()
            await self._wait_until_closed(self.timeouts.stop)
        self._log.close()

    def peers_changed(self) -> None:
        """Abort the associations whose peer the table no longer admits."""
        for connection in list(self._associations):
            request = connection.request
            assert request is not None
            admission = self._admit(request, connection.address, connection.certificate)
            if admission.rejection is not None:
                connection.abort("inbound.removed")
            elif lost := self._lost(connection, admission):
                connection.abort("inbound.services", detail=" ".join(lost))

    @property
    def associations(self) -> AssociationsStatus:
        """The associations that are open, and those that ended since the start."""
        return self._tally.status(self._associations, len(self._connections))

    # --- what a connection needs ----------------------------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """Take note of a connection; when there are too many, the oldest without an association gives way."""
        self._connections[connection] = None
        self._all_closed.clear()
        if self._is_stopping:
            connection.close()
            return
        most = f"{self.limits.connections} connections are open, the most under [limits]"
        self._cut(self._crowd.join(connection, len(self._connections)), "inbound.crowded", most)

    def holds(self, connection: Connection, size: int) -> None:
        """Take note of how much it holds; when that is too much in all, who holds the most gives way."""
        most = f"requests that are not whole hold {self.limits.unfinished} bytes, the most under [limits]"
        self._cut(self._crowd.hold(connection, size), "inbound.hoarding", most)

    def secures(self, connection: Connection) -> None:
        """Take note that it speaks TLS; when there are too many without an association, the oldest gives way."""
        most = f"{self.limits.handshakes} TLS connections have no association, the most under [limits]"
        self._cut(self._crowd.secure(connection), "tls-inbound.crowded", most)

    def in_turn(self, connection: Connection, step: Callable[[], None]) -> None:
        """Run *step* of it, which takes long, in its turn."""
        self._turns.take(connection.address, step)

    def is_up_to_date(self, then: Callable[[], None]) -> bool:
        """Whether the table in force is as its file is now; if not, *then* is called once it is, or is late."""
        return _is_done(self._up_to_date, then)

    def is_tls_up_to_date(self, then: Callable[[], None]) -> bool:
        """The same of the files of TLS."""
        assert self._tls is not None, "who speaks TLS?"
        return _is_done(self._tls.is_up_to_date, then)

    def decide(self, request: AssociateRQ, address: str, certificate: bytes | None) -> tuple[Admission, Diagnosis]:
        """Admit or reject, with the words for it."""
        held = sum(
            one.request.calling_ae_title == request.calling_ae_title for one in self._associations if one.request
        )
        is_full = not self._has_room()
        peer_is_full = held >= self.limits.associations_per_peer
        admission = self._admit(request, address, certificate, is_full=is_full, peer_is_full=peer_is_full)
        if (error := admission.error) is not None:
            self._log.log(("admission", type(error)), logging.ERROR, "an admission rule failed", error)
        return admission, explain_admission(
            admission, request, address, self._settings, held=held, certificate=certificate, tls_port=self.tls_port
        )

    def serves(self, request: AssociateRQ, admission: Admission) -> tuple[Offer | None, bool]:
        """Return how *request* is to be handed over, if it asks for more than Verification, and whether it may echo."""
        peer = admission.peer
        assert peer is not None, "nobody else is admitted"
        offer = None if self._services is None else self._services.offer(request, peer)
        return offer, peer.services is None or "echo" in peer.services

    def explain_end(self, connection: Connection, diagnosis: Diagnosis) -> Diagnosis:
        """Return what there is to say of its end, where *diagnosis* says little."""
        return explain_shortfall(connection, diagnosis, has_services=self._services is not None)

    def take(self, offer: Offer, address: tuple[str, int]) -> tuple[socket.socket, Usage]:
        """Hand over; OSError when no descriptor or no thread is left for it."""
        assert self._services is not None, "who made the offer?"
        return self._services.take(offer, address)

    def admitted(self, connection: Connection) -> None:
        """Take note that it holds an association now."""
        self._crowd.leave(connection)
        self._associations.add(connection)

    def ended(self, connection: Connection, record: AssociationRecord | None) -> None:
        """Take note that its association is over, and tell."""
        self._associations.discard(connection)
        if record is None:
            self._tally.silent += 1
            self._log.silence(connection.address, self._tally.silent)
            return
        self._tally.add(record)
        self._on_end(record)
        self._log.association(record)

    def closed(self, connection: Connection) -> None:
        """Take note that the connection is gone."""
        self._connections.pop(connection, None)
        self._crowd.leave(connection)
        self._associations.discard(connection)
        if self._acceptor is not None:
            self._acceptor.lost()
        if not self._connections:
            self._all_closed.set()

    # --- how accepting fares --------------------------------------------------------------------------------------

    def refused(self, address: str) -> None:
        """Take note of a connection from an address that we do not take."""
        self._tally.refused += 1
        self._log.row(("address", address), logging.WARNING, explain_refusal(address, self._settings))

    def paused(self, error: OSError | None) -> None:
        """Take note that accepting pauses."""
        self._is_pause_told = self._log.row("pause", logging.ERROR, explain_pause(error))

    def resumed(self, seconds: float) -> None:
        """Take note that accepting goes on; told when the pause was."""
        if self._is_pause_told:
            logger.info("accepting goes on, and all who waited are connected; it had paused for %.1f s", seconds)

    # --- inside ---------------------------------------------------------------------------------------------------

    def _cut(self, one: Connection | None, code: str, most: str) -> None:
        if one is not None:
            one.cut(code)
            self._log.log(("cut", code, one.address), logging.WARNING, f"{most}: {one.address} cut")

    def _has_room(self) -> bool:
        """Whether there may be one more association, with a peer that calls us or that we call for one."""
        calls = 0 if self._services is None else self._services.calls
        return len(self._associations) + calls < self.limits.associations

    def _lost(self, connection: Connection, admission: Admission) -> list[str]:
        """Return the services of an association that its peer may use no more."""
        peer, relay = admission.peer, connection.relay
        if peer is None or relay is None or self._services is None:
            return []
        return sorted(relay.offer.services - self._services.may_use(peer))

    def _takes(self, address: str) -> bool:
        allow_from = self._settings.allow_from
        return not allow_from or is_within(address, allow_from)

    def _admit(self, request: AssociateRQ, address: str, certificate: bytes | None, **is_reached: bool) -> Admission:
        ae_title = self._settings.ae_title
        return admit(request, address, self._peers(), ae_title, certificate=certificate, **is_reached)

    async def _wait_until_closed(self, seconds: float) -> bool:
        if not self._connections:
            return True
        try:
            await asyncio.wait_for(self._all_closed.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def _log_loop_error(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        message, error = str(context.get("message")), context.get("exception")
        self._log.log(("loop", message, type(error)), logging.ERROR, message, error)


def _is_done(ask: Callable[[Callable[[], object]], bool], then: Callable[[], None]) -> bool:
    """Whether it is so already; if not, *then* is called, once, in the loop that runs now: when it is, or is late."""
    loop = asyncio.get_running_loop()
    steps = [then]

    def go_on() -> None:
        late.cancel()
        while steps:
            steps.pop()()

    if ask(lambda: loop.call_soon_threadsafe(go_on)):
        return True
    late = loop.call_later(_PATIENCE, go_on)
    return False
