"""The node that listens, as a coroutine: it accepts connections, keeps their number in bounds, and decides.

The current peer table comes from a callable; no file and no watcher is known here.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from time import time
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from minipacs.accepting import cannot_listen, finish_accepting
from minipacs.admission import Admission, admit
from minipacs.ae_title import broken_rule
from minipacs.certificate import fingerprint, shown
from minipacs.connection import Connection
from minipacs.diagnosis import NOTHING_TO_SAY, Diagnosis, diagnose, quoted, symbol, target
from minipacs.errors import ListenError
from minipacs.escape import escape
from minipacs.flood import Flood
from minipacs.node_status import AssociationsStatus, OpenAssociation
from minipacs.rules import network_text
from minipacs.tally import Tally
from minipacs.timestamp import rfc3339
from minipacs.tls_connection import TLSConnection

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from minipacs.association_record import AssociationRecord
    from minipacs.listening import Watch
    from minipacs.peers import PeerTable
    from minipacs.settings import Settings
    from minipacs.wire.associate import AssociateRQ

_BACKLOG = 512

logger = logging.getLogger("minipacs")


class Listener:
    """A Verification SCP inside a running event loop.

    Args:
        settings: who we are, deadlines and limits.
        peers: returns the table that is in force now.
        on_end: told of each association at its end.
        watch: returns whoever looks at the wire of a connection; None: nobody does.
        tls: returns the context by which peers are answered now on the port for TLS; None: there is no such port.

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
        tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        self.port: int | None = None
        self.tls_port: int | None = None
        self.timeouts = settings.timeouts
        self.limits = settings.limits
        self.watch = watch
        self._settings = settings
        self._peers = peers
        self._on_end = on_end
        self._flood = Flood()
        self._tls = tls
        self._servers: list[asyncio.Server] = []
        self.addresses: tuple[str, ...] = ()
        self._connections: dict[Connection, None] = {}  # in the order in which they came
        self._waiting: dict[Connection, None] = {}  # those without an association
        self._associations: set[Connection] = set()
        self._tally = Tally()
        self._is_stopping = False
        self._all_closed = asyncio.Event()

    async def start(self) -> int:
        """Listen; return the port that is really bound: the one for TLS where that is the only one.

        Raises:
            ListenError: it cannot be; the message says why and what to do.
        """
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._log_loop_error)
        tls = self._settings.tls
        if not tls.only:
            self.port = await self._listen(self._settings.port, "--port", lambda: Connection(self))
        if tls.port is not None and (context := self._tls) is not None:
            where = "port under [tls]"
            self.tls_port = await self._listen(tls.port, where, lambda: TLSConnection(self, context()))
        port = self.tls_port if self.port is None else self.port
        assert port is not None, "neither plain DICOM nor TLS"
        return port

    async def _listen(self, port: int, where: str, connection: Callable[[], Connection]) -> int:
        """Open a port, of which the settings tell *where*."""
        loop = asyncio.get_running_loop()
        host = self._settings.host
        try:
            # A name may have several addresses; with a port of the system's choice each would get another.
            addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            hosts = list(dict.fromkeys(str(address[4][0]) for address in addresses))
            server = await loop.create_server(connection, hosts if port else hosts[:1], port, backlog=_BACKLOG)
        except OSError as error:
            for server in self._servers:
                server.close()
            raise ListenError(cannot_listen(host, port, error, where)) from None
        self._servers.append(server)
        self.addresses = tuple(sock.getsockname()[0] for sock in server.sockets)
        bound: int = server.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Take no new connections, give open associations a moment to end, then abort them."""
        self._is_stopping = True
        await finish_accepting(self._servers)
        for connection in [c for c in self._connections if c not in self._associations]:
            connection.close()
        if not await self._wait_until_closed(self.timeouts.stop):
            for connection in list(self._connections):
                connection.close()
            await asyncio.sleep(0)  # what was written leaves before the sockets are cut
            for connection in list(self._connections):
                connection.cut()
            await self._wait_until_closed(self.timeouts.stop)

    def peers_changed(self) -> None:
        """Abort the associations whose peer the table no longer admits."""
        for connection in list(self._associations):
            request = connection.request
            assert request is not None
            admission = self._admit(request, connection.address, connection.certificate, is_full=False)
            if admission.rejection is not None:
                connection.abort("inbound.removed")

    @property
    def associations(self) -> AssociationsStatus:
        """The associations that are open, and those that ended since the start."""
        open_ones = sorted(self._associations, key=lambda connection: connection.started)
        return AssociationsStatus(
            open=tuple(map(self._status_of, open_ones)),
            counts=dict(self._tally.counts),
            silent_connections=self._tally.silent,
            connections=len(self._connections),
            last=self._tally.last,
        )

    # --- what a connection needs ----------------------------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """Take note of a connection; when there are too many, the oldest without an association gives way."""
        self._connections[connection] = None
        self._waiting[connection] = None
        self._all_closed.clear()
        if self._is_stopping:
            connection.close()
        elif len(self._connections) > self.limits.connections:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]  # not when it is lost: of many that come at once, each makes another give way
            oldest.cut("inbound.crowded")
            most = f"{self.limits.connections} connections are open, the most under [limits]"
            self._log_flood(("connections", oldest.address), logging.WARNING, f"{most}: {oldest.address} cut")

    def decide(self, request: AssociateRQ, address: str, certificate: bytes | None) -> tuple[Admission, Diagnosis]:
        """Admit or reject, with the words for it."""
        is_full = len(self._associations) >= self.limits.associations
        admission = self._admit(request, address, certificate, is_full)
        if admission.error is not None:
            logger.error("an admission rule failed", exc_info=admission.error)
        return admission, self._explain(admission, request, address, certificate)

    def admitted(self, connection: Connection) -> None:
        """Take note that it holds an association now."""
        self._waiting.pop(connection, None)
        self._associations.add(connection)

    def ended(self, connection: Connection, record: AssociationRecord | None) -> None:
        """Take note that its association is over, and tell."""
        self._associations.discard(connection)
        if record is None:
            self._tally.silent += 1
            empty = diagnose("inbound.empty", address=connection.address)
            logger.debug("%s (%d such so far) [%s]", empty.reason, self._tally.silent, empty.code)
            return
        self._tally.add(record)
        self._on_end(record)
        if record.calling_ae_title is None:
            passed_over = self._passed_over((record.code, record.address))
            if passed_over is None:
                return
            record = replace(record, reason=f"{record.reason}{passed_over}")
        level = logging.INFO if record.outcome in {"released", "closed"} else logging.WARNING
        logger.log(level, "%s", record, extra={"event": "association", "fields": record.as_fields()})

    def closed(self, connection: Connection) -> None:
        """Take note that the connection is gone."""
        self._connections.pop(connection, None)
        self._waiting.pop(connection, None)
        self._associations.discard(connection)
        if not self._connections:
            self._all_closed.set()

    # --- inside ---------------------------------------------------------------------------------------------------

    def _status_of(self, connection: Connection) -> OpenAssociation:
        request, admission = connection.request, connection.admission
        assert request is not None
        age = asyncio.get_running_loop().time() - connection.started
        return OpenAssociation(
            calling_ae_title=escape(request.calling_ae_title),
            called_ae_title=escape(request.called_ae_title),
            address=connection.address,
            peer=admission.peer.name if admission and admission.peer else None,
            since=rfc3339(time() - age),
            duration_ms=round(age * 1000, 3),
            echoes=connection.echoes,
        )

    def _admit(self, request: AssociateRQ, address: str, certificate: bytes | None, is_full: bool) -> Admission:
        return admit(request, address, self._peers(), self._settings.ae_title, is_full, certificate)

    def _explain(
        self, admission: Admission, request: AssociateRQ, address: str, certificate: bytes | None
    ) -> Diagnosis:
        if not admission.cause:
            return NOTHING_TO_SAY
        calling = request.calling_ae_title
        cause = admission.cause
        if cause == "admission.calling-ae-title" and broken_rule(calling) is not None:
            cause = "admission.unusable-ae-title"
        called = escape(request.called_ae_title)
        near = admission.near_miss
        is_usable = broken_rule(request.called_ae_title) is None
        allowed = [network_text(network) for network in admission.peer.allow_from] if admission.peer else []
        return diagnose(
            cause,
            calling=escape(calling) or "a peer without an AE title",
            called=called or "by a blank title",
            rename=f"; or give this node the title {called} (--ae-title)" if is_usable else "",
            near=near,
            ae_title=self._settings.ae_title,
            address=address,
            name=admission.peer.name if admission.peer else symbol(calling),
            allowed=", ".join(allowed),
            allow_from=f"[{', '.join(map(quoted, [*allowed, address]))}]",
            quoted=quoted(escape(calling)),
            target=target(calling, address),
            near_miss=f"; it differs from {near} in capitals only" if near else "",
            detail=escape(str(admission.error)) if admission.error else shown(certificate) if certificate else "",
            fingerprint=fingerprint(certificate) if certificate else "",
            at_tls=(
                ", once this node has port under [tls] in minipacs.toml"
                if self.tls_port is None
                else f" on port {self.tls_port}"
            ),
            peers=self._settings.peers_option,
        )

    async def _wait_until_closed(self, seconds: float) -> bool:
        if not self._connections:
            return True
        try:
            await asyncio.wait_for(self._all_closed.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def _log_flood(self, kind: object, level: int, text: str) -> None:
        passed_over = self._passed_over(kind)
        if passed_over is not None:
            logger.log(level, "%s%s", text, passed_over)

    def _passed_over(self, kind: object) -> str | None:
        """Return how many of that kind were passed over lately, in words, or None when this one is passed over too."""
        count = self._flood.take(kind, asyncio.get_running_loop().time())
        if count is None:
            return None
        return f" (and {count} like it before, untold)" if count else ""

    def _log_loop_error(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}:
            self._log_flood("files", logging.ERROR, f"accepting pauses: {error.strerror}; raise the limit (ulimit -n)")
        else:
            # When files have run out, asyncio tries again to accept, though stop() may have closed its sockets by then.
            level = logging.DEBUG if self._is_stopping else logging.ERROR
            logger.log(level, "%s", context.get("message"), exc_info=error)
