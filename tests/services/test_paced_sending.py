"""Large objects are sent from their files: what waits to be sent is never more than a little, however slow the peer."""

import threading
from pathlib import Path

import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import evt

from minipacs.peers import Peer
from minipacs.services.sop_classes import MOVE
from tests.peers.process import wait_until

from .archive import application_entity, archive
from .objects import CT, ROOT, data_set, identifier
from .test_query_retrieve import moving

MEGABYTES = 24


@pytest.mark.parametrize("is_stopped", [False, True], ids=["to its end", "until the peer goes"])
def test_what_waits_is_bounded_while_the_peer_takes_its_time(tmp_path: Path, is_stopped: bool) -> None:
    """The destination reads one PDU, and then waits until it is told to go on, or gone."""
    go_on, begun = threading.Event(), threading.Event()
    received: list[int] = []
    store = application_entity("STORE")
    store.add_supported_context(CT, ExplicitVRLittleEndian)

    def pdu(event: evt.Event) -> None:
        if type(event.pdu).__name__ == "P_DATA_TF" and not begun.is_set():
            begun.set()
            go_on.wait(30)

    def keep(event: evt.Event) -> int:
        received.append(event.dataset_path.stat().st_size)
        return 0

    handlers = [(evt.EVT_PDU_RECV, pdu), (evt.EVT_C_STORE, keep)]
    server = store.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)  # type: ignore[arg-type]
    assert server is not None
    assert server.socket is not None
    pixels = bytes(MEGABYTES << 20)
    big = data_set(1, Rows=1024, Columns=1024, NumberOfFrames=str(MEGABYTES), PixelData=pixels)
    try:
        with archive(tmp_path / "archive", [big]) as node, moving(node) as association:
            node.know(Peer("store", "STORE", "127.0.0.1", server.socket.getsockname()[1]))
            statuses: list[int] = []

            def move() -> None:
                keys = identifier("STUDY", StudyInstanceUID=f"{ROOT}.1.1")
                statuses.extend(status.Status for status, _ in association.send_c_move(keys, "STORE", MOVE[1]))

            thread = threading.Thread(target=move)
            thread.start()
            assert begun.wait(10)
            # The kernel takes some; then it is our queue that fills, to its brim and no further.
            sender = next(one for one in threading.enumerate() if _is_requestor_of(one, "STORE"))
            queue = sender.dul.to_provider_queue.queue  # type: ignore[attr-defined]
            wait_until(lambda: len(queue) >= 64, within=20, what="a full queue")
            most = len(queue)
            if is_stopped:
                for one in server.active_associations:
                    one.dul.socket.close()  # type: ignore[union-attr]
            go_on.set()
            thread.join(60)
            assert not thread.is_alive()
    finally:
        go_on.set()
        server.shutdown()
    assert most <= 65
    if is_stopped:
        assert received == []
        assert statuses[-1] in {0xA702, 0xB000}
    else:
        assert received[0] > MEGABYTES << 20
        assert statuses[-1] == 0x0000


def _is_requestor_of(thread: threading.Thread, title: str) -> bool:
    return getattr(getattr(thread, "acceptor", None), "ae_title", "") == title and bool(
        getattr(thread, "is_requestor", False)
    )
