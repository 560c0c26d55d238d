"""Our certificate is exchanged, and its key not yet: no peer is blamed for that, and who asks for objects gets them."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import evt

from minipacs.services.sop_classes import MOVE
from minipacs.settings import TLS
from minipacs.tls import client_context, read_files, server_context
from tests.certificates import Authority
from tests.peers.node import Node, serving, table
from tests.peers.process import wait_until
from tests.services.archive import application_entity
from tests.services.objects import CT, ROOT, data_set, identifier
from tests.test_live_tls import Place


@contextmanager
def destination(authority: Authority) -> Iterator[tuple[int, list[str]]]:
    """A peer that stores, by TLS: its port, and what came."""
    received: list[str] = []
    store = application_entity("STORE")
    store.add_supported_context(CT, ExplicitVRLittleEndian)

    def keep(event: evt.Event) -> int:
        received.append(event.dataset.SOPInstanceUID)
        return 0

    context = server_context(authority.settings(authority.issue()))
    server = store.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)], ssl_context=context
    )
    assert server is not None
    assert server.socket is not None
    try:
        yield server.socket.getsockname()[1], received
    finally:
        server.shutdown()


@contextmanager
def node_in(folder: Path, place: Place, port: int, *lines: str, **ties: object) -> Iterator[Node]:
    files = {"certificate": place.certificate, "key": place.key, "trusted": place.tls.trusted[0]}
    text = "".join(f"{name} = {json.dumps(str(file))}\n" for name, file in files.items())
    (folder / "conf").mkdir()
    (folder / "conf" / "minipacs.toml").write_text("\n".join([f"[tls]\n{text}", *lines, "[storage]", "free = 0\n"]))
    store = {"name": "store", "ae_title": "STORE", "host": "127.0.0.1", "port": port, "tls": True, **ties}
    with serving(folder, table({"name": "us", "ae_title": "TESTER"}, store), "--storage", "kept") as node:
        ae = application_entity()
        ae.add_requested_context(CT, ExplicitVRLittleEndian)
        association = ae.associate("127.0.0.1", node.port, ae_title="MINIPACS")
        assert association.is_established
        stored = data_set(1)
        stored.file_meta = FileMetaDataset()
        stored.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        assert association.send_c_store(stored).Status == 0
        association.release()
        yield node


def move(node: Node) -> int:
    """The last status of a C-MOVE to STORE."""
    ae = application_entity()
    ae.add_requested_context(MOVE[1])
    association = ae.associate("127.0.0.1", node.port, ae_title="MINIPACS")
    assert association.is_established
    try:
        answers = list(association.send_c_move(identifier("STUDY", StudyInstanceUID=f"{ROOT}.1.1"), "STORE", MOVE[1]))
        return int(answers[-1][0].Status)
    finally:
        association.release()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "tls").mkdir()
    return Place(tmp_path / "tls")


@pytest.mark.parametrize("half", ["certificate", "key"])
@pytest.mark.parametrize("ties", [{}, {"certificate": "CN=127.0.0.1"}], ids=["", "tied"])
def test_what_was_good_last_calls_the_destination(
    ties: dict[str, object], half: str, place: Place, tmp_path: Path
) -> None:
    new = place.authority.issue("new.test")
    with destination(place.authority) as (port, received), node_in(tmp_path, place, port, "port = 0", **ties) as node:
        assert move(node) == 0
        place.put(new, only=half)
        assert move(node) == 0
        place.key.unlink()
        assert move(node) == 0
        place.put(new)
        node.wait_for("tls-reloaded", 1)
        assert move(node) == 0
        assert received == [f"{ROOT}.3.1"] * 4


@pytest.mark.parametrize("broken", ["half", "gone", "no PEM"])
def test_where_no_port_follows_the_files_it_is_told_that_they_are_ours(
    broken: str, place: Place, tmp_path: Path
) -> None:
    with destination(place.authority) as (port, received), node_in(tmp_path, place, port) as node:
        assert move(node) == 0
        if broken == "half":
            place.put(place.authority.issue(), only="certificate")
        elif broken == "gone":
            place.key.unlink()
        else:
            place.certificate.write_text("nothing")
        assert move(node) == 0xA801
        assert received == [f"{ROOT}.3.1"]
        wait_until(lambda: "C-MOVE refused" in node.child.log, within=30, what="the reason in the log")
        (told,) = [line["message"] for line in node.events("message") if "C-MOVE refused" in line["message"]]
        assert told.startswith(
            "C-MOVE refused with 0xA801: destination STORE is peer store with tls = true, and it is our files under "
            "[tls] that cannot be used now, not the peer: "
        )
        assert str(place.key if broken != "no PEM" else place.certificate) in told
        assert "Traceback" not in node.child.log


def test_a_destination_that_was_removed_unseen_is_sent_nothing(place: Place, tmp_path: Path) -> None:
    """By a peer whose association is older than the change."""
    with destination(place.authority) as (port, received), node_in(tmp_path, place, port, "port = 0") as node:
        os.link(node.peers, tmp_path / "other")
        ae = application_entity()
        ae.add_requested_context(MOVE[1])
        association = ae.associate("127.0.0.1", node.port, ae_title="MINIPACS")
        try:
            (tmp_path / "other").write_text(table({"name": "us", "ae_title": "TESTER"}))
            keys = identifier("STUDY", StudyInstanceUID=f"{ROOT}.1.1")
            assert [answer.Status for answer, _ in association.send_c_move(keys, "STORE", MOVE[1])] == [0xA801]
        finally:
            association.release()
        assert received == []


def test_a_context_is_made_of_one_reading_of_the_files(place: Place) -> None:
    """Whatever becomes of them behind it."""
    content = read_files(place.tls)
    before = server_context(place.tls, content)
    for path in (place.certificate, place.key, *place.tls.trusted):
        path.unlink()
    assert server_context(place.tls, content).cert_store_stats() == before.cert_store_stats()
    assert client_context(place.tls, content).cert_store_stats() == before.cert_store_stats()
    assert client_context(TLS(), {}).cert_store_stats() == client_context(TLS()).cert_store_stats()
