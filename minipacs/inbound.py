"""Where a peer's call arrives: a node in this very process, or the one of this user that listens there already."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from minipacs.control_client import running_node
from minipacs.errors import ListenError
from minipacs.reload import LivePeerTable
from minipacs.scp import VerificationSCP
from minipacs.settings import Storage, StorageLimits

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from minipacs.association_record import AssociationRecord
    from minipacs.control_client import NodeControl
    from minipacs.peers import PeerTable
    from minipacs.services.node_services import NodeServices
    from minipacs.settings import Settings


class Inbound(Protocol):
    """A node that listens, and tells of each association at its end.

    Attributes:
        ae_title: its AE title.
        host: where it listens, as it was told to.
        port: its TCP port; that for TLS where the peer is to call by TLS.
        uses_tls: whether it speaks TLS there.
        where: which node it is, in words.
        peers_option: the option by which another command means its peer table.
        storage: the folder where it keeps objects; None: it keeps none.
    """

    ae_title: str
    host: str
    port: int
    uses_tls: bool
    where: str
    peers_option: str
    storage: Path | None

    def next_association(self, timeout: float) -> AssociationRecord:
        """Return the association that ended next, of those that ended since we listen.

        Args:
            timeout: seconds to wait for it.

        Raises:
            TimeoutError: none ended.
        """

    def forget(self, sop_instance_uid: str) -> bool:
        """Remove the object of that UID from what it keeps; False when it has none.

        Raises:
            ControlError: it cannot be asked to.
        """


@contextmanager
def listening(
    settings: Settings, told: Callable[[str], None], *, by_tls: bool, stores: bool = False
) -> Iterator[Inbound]:
    """Listen as *settings* say, with the peer table in its file, or follow the node that does.

    Args:
        settings: who we are, and where.
        told: of a table that is edited meanwhile.
        by_tls: whether the peer is to call by TLS, where we have a port for that.
        stores: whether we keep objects for as long as we listen; the node that runs does as it was told.

    Raises:
        ListenError: neither can be.
        PeerTableError: the table is not valid.
        SettingsError: a file that [tls] names cannot be used.
        ControlError: the node that listens there does not answer.
        StorageError: no objects can be kept in the folder for temporary files.
    """
    with _storing(settings, lambda: own.table) if stores else nullcontext() as services:
        own = _OwnNode(settings, told, services, by_tls=by_tls)
        try:
            own.start()
        except ListenError as error:
            node = running_node(settings.host, settings.advertised_port)
            if node is None:
                raise ListenError(f"{error}; no minipacs of this user listens there") from None
            with node:
                yield _RunningNode(node, settings, by_tls=by_tls)
            return
        try:
            yield own
        finally:
            own.stop()


@contextmanager
def _storing(settings: Settings, peers: Callable[[], PeerTable]) -> Iterator[NodeServices]:
    """The services of a node that keeps objects in a folder of its own, which is removed at the end."""
    from minipacs.services.node_services import NodeServices

    with TemporaryDirectory(prefix="minipacs-", ignore_cleanup_errors=True) as folder:
        storage = Storage(Path(folder), limits=StorageLimits(free=0))
        services = NodeServices(replace(settings, storage=storage), peers)
        try:
            yield services
        finally:
            services.stop()


class _OwnNode:
    """In this process, for as long as we listen. Its table is hot: whoever is refused may be added, and try again."""

    def __init__(
        self, settings: Settings, told: Callable[[str], None], services: NodeServices | None, *, by_tls: bool
    ) -> None:
        tls_port = settings.tls.port if by_tls or settings.tls.only else None
        self.ae_title, self.host = settings.ae_title, settings.host
        self.uses_tls = tls_port is not None
        self.port = settings.port if tls_port is None else tls_port
        self.where = "this process"
        self.peers_option = settings.peers_option
        self.storage = None if services is None else services.files.folder
        self._services = services
        self._told = told
        self._ended: SimpleQueue[AssociationRecord] = SimpleQueue()
        self._live = LivePeerTable(settings.peers, lambda reload: self._reloaded(str(reload)))
        self._scp = VerificationSCP(
            ae_title=settings.ae_title,
            host=settings.host,
            port=self.port,
            timeouts=settings.timeouts,
            limits=settings.limits,
            on_association=self._ended.put,
            tls=_server_context(settings) if self.uses_tls else None,
            allow_from=settings.allow_from,
            services=services,
        )

    @property
    def table(self) -> PeerTable:
        """That in force."""
        return self._live.current

    def start(self) -> None:
        self._live.__enter__()
        self._scp.peers = self._live.current
        try:
            self.port = self._scp.start().port
        except BaseException:
            self._live.__exit__()
            raise

    def stop(self) -> None:
        self._live.__exit__()
        self._scp.stop()

    def next_association(self, timeout: float) -> AssociationRecord:
        try:
            return self._ended.get(timeout=max(0.0, timeout))
        except Empty:
            raise TimeoutError from None

    def forget(self, sop_instance_uid: str) -> bool:
        return self._services is not None and self._services.files.remove(sop_instance_uid)

    def _reloaded(self, text: str) -> None:
        self._scp.peers = self._live.current
        self._told(text)


class _RunningNode:
    """In another process of this user: what it saw is read through its control socket."""

    def __init__(self, node: NodeControl, settings: Settings, *, by_tls: bool) -> None:
        status = node.status()
        is_ours = Path(status.peers.file) == settings.peers.absolute()
        self.peers_option = (settings if is_ours else replace(settings, peers=Path(status.peers.file))).peers_option
        self.ae_title, self.host = status.ae_title, status.host
        self.port = status.tls_port if by_tls and status.tls_port is not None else status.port
        self.uses_tls = self.port == status.tls_port
        self.where = f"the node that runs here (process {status.pid})"
        self.storage = None if status.storage is None else Path(status.storage)
        node.follow()
        self._node = node

    def next_association(self, timeout: float) -> AssociationRecord:
        return self._node.next_association(max(0.0, timeout))

    def forget(self, sop_instance_uid: str) -> bool:
        return self._node.forget(sop_instance_uid)


def _server_context(settings: Settings) -> ssl.SSLContext:
    from minipacs.tls import server_context

    return server_context(settings.tls)
