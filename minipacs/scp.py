"""The Verification SCP for tests and notebooks: a node in a background thread of this process."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import TYPE_CHECKING, Self

from minipacs.ae_title import checked
from minipacs.listener import Listener
from minipacs.peers import Peer, PeerTable
from minipacs.rules import checked as checked_by
from minipacs.rules import network
from minipacs.settings import TLS, Limits, Settings, Timeouts

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from minipacs.association_record import AssociationRecord
    from minipacs.handover import Services
    from minipacs.rules import Network

_KEPT = 1_000


class VerificationSCP:
    """A node that admits *peers*, for as long as a ``with`` block runs.

    Args:
        peers: whom to admit; a PeerTable or peers.
        ae_title: our AE title.
        host: IP address or host name to listen on.
        port: TCP port to listen on; 0: one that is free.
        timeouts: deadlines.
        limits: limits.
        on_association: called with each association at its end, in the thread of the node.
        tls: speak TLS on that port, by this context, which has a certificate; None: plain DICOM.
        allow_from: IP addresses and networks from which connections are taken; empty: any.
        services: what serves more than Verification, as minipacs.services has it; it is not stopped with the node.

    Attributes:
        port: the port that is really bound, once it listens.
        associations: the last 1 000 associations that ended, oldest first.

    Raises:
        ListenError: it cannot listen there.
        ValueError: our AE title is none, or *allow_from* names something else than addresses and networks.
    """

    def __init__(
        self,
        peers: Iterable[Peer] | PeerTable = (),
        *,
        ae_title: str = "MINIPACS",
        host: str = "127.0.0.1",
        port: int = 11112,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
        limits: Limits = Limits(),  # noqa: B008 - frozen
        on_association: Callable[[AssociationRecord], None] = lambda _: None,
        tls: ssl.SSLContext | None = None,
        allow_from: Iterable[str | Network] = (),
        services: Services | None = None,
    ) -> None:
        self.ae_title = checked(ae_title, "ae_title")
        self.host = host
        self.port = port
        self.associations: deque[AssociationRecord] = deque(maxlen=_KEPT)
        self._tls = tls
        self._services = services
        self._settings = Settings(
            ae_title=self.ae_title,
            host=host,
            port=port,
            timeouts=timeouts,
            limits=limits,
            tls=TLS() if tls is None else TLS(port=port, only=True),
            allow_from=tuple(checked_by("allow_from", network, one) for one in allow_from),
        )
        self._peers = _to_table(peers)
        self._on_association = on_association
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listener: Listener | None = None
        self._thread: threading.Thread | None = None
        self._stop_asked: asyncio.Event | None = None
        self._error: BaseException | None = None
        self._ended = threading.Condition()

    @property
    def peers(self) -> PeerTable:
        """The table in force. Setting it aborts the associations of peers that it no longer admits."""
        return self._peers

    @peers.setter
    def peers(self, peers: Iterable[Peer] | PeerTable) -> None:
        self._peers = _to_table(peers)
        if self._loop is not None and self._listener is not None:
            self._loop.call_soon_threadsafe(self._listener.peers_changed)

    def wait_for_associations(self, count: int, timeout: float = 5.0) -> list[AssociationRecord]:
        """Return the associations that ended once there are *count* of them.

        Args:
            count: how many, of the last 1 000.
            timeout: seconds to wait for them.

        Raises:
            TimeoutError: there were fewer.
        """
        with self._ended:
            if not self._ended.wait_for(lambda: len(self.associations) >= count, timeout):
                raise TimeoutError(f"{len(self.associations)} associations ended within {timeout:g} s, not {count}")
            return list(self.associations)

    def start(self) -> Self:
        """Listen; returns when it does."""
        listens = threading.Event()
        self._error = None
        self._thread = threading.Thread(target=self._run, args=(listens,), name="minipacs", daemon=True)
        self._thread.start()
        listens.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error
        return self

    def stop(self) -> None:
        """Take no new connections, end those that are open within their deadline, and return."""
        if self._loop is not None and self._stop_asked is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stop_asked.set)
            self._thread.join()
            self._loop = None

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def _run(self, listens: threading.Event) -> None:
        try:
            asyncio.run(self._serve(listens))
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that starts us
            self._error = error
            listens.set()

    async def _serve(self, listens: threading.Event) -> None:
        from minipacs.tls import FixedTLS  # which imports ssl

        self._stop_asked = asyncio.Event()
        context = self._tls
        tls = None if context is None else FixedTLS(context)
        self._listener = Listener(self._settings, lambda: self._peers, self._keep, tls=tls, services=self._services)
        self.port = await self._listener.start()
        self._loop = asyncio.get_running_loop()
        listens.set()
        await self._stop_asked.wait()
        await self._listener.stop()

    def _keep(self, record: AssociationRecord) -> None:
        with self._ended:
            self.associations.append(record)
            self._ended.notify_all()
        self._on_association(record)


def _to_table(peers: Iterable[Peer] | PeerTable) -> PeerTable:
    return peers if isinstance(peers, PeerTable) else PeerTable(peers)
