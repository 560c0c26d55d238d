"""A Query/Retrieve SCP of pynetdicom with our handlers, on a port of its own, over the objects in a folder."""

import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.presentation import build_context

from minipacs.peers import Peer, PeerTable
from minipacs.services.index import Index
from minipacs.services.library import Entity
from minipacs.services.query_retrieve import handlers
from minipacs.services.sop_classes import FIND, GET, MOVE, SOP_CLASSES, STORAGE_SYNTAXES, UNCOMPRESSED

from .objects import write

PATIENCE = 10.0


class Archive:
    """It runs. `told` is what it has said so far."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index = Index(folder / "index.sqlite")
        self.table = PeerTable()
        self.told: list[str] = []
        self.port = 0

    def keep(self, data: Dataset, transfer_syntax: UID = ExplicitVRLittleEndian) -> Path:
        """Write an object into the folder, and list it."""
        path = write(self.folder / "objects" / f"{data.SOPInstanceUID}.dcm", data, transfer_syntax)
        self.index.add(path)
        return path

    def tell(self, _: str, text: str) -> None:
        self.told.append(text)

    def know(self, *peers: Peer) -> None:
        self.table = PeerTable(peers)


def application_entity(ae_title: str = "TESTER", kind: type[AE] = AE) -> AE:
    ae = kind(ae_title)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = PATIENCE
    return ae


@contextmanager
def archive(
    folder: Path, objects: Iterable[Dataset] = (), tls: Callable[[], ssl.SSLContext] | None = None
) -> Iterator[Archive]:
    """Run it, with `objects` in it; by C-GET it sends objects of any SOP class."""
    folder.mkdir(parents=True, exist_ok=True)
    running = Archive(folder)
    for data in objects:
        running.keep(data)
    ae = application_entity("MINIPACS", Entity)
    for uid in (*FIND, *MOVE, *GET):
        ae.add_supported_context(uid, list(UNCOMPRESSED))
    contexts = [*ae.supported_contexts]
    for uid in SOP_CLASSES["store"]:
        context = build_context(uid, list(STORAGE_SYNTAXES))
        context.scu_role = context.scp_role = True
        contexts.append(context)
    ours = handlers(running.index, lambda: running.table, "MINIPACS", running.tell, tls)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=ours, contexts=contexts)  # type: ignore[arg-type]
    assert server is not None
    assert server.socket is not None
    running.port = server.socket.getsockname()[1]
    try:
        yield running
    finally:
        server.shutdown()
        running.index.close()
