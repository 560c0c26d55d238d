"""The destination of a C-MOVE that is called by TLS: with its name, its CA, and the certificate that it is tied to."""

from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import evt

from minipacs.certificate import fingerprint, of_pem
from minipacs.peers import Peer
from minipacs.services.sop_classes import MOVE
from minipacs.tls import client_context, server_context
from tests.certificates import Authority

from .archive import application_entity, archive
from .objects import CT, ROOT, data_set, identifier
from .test_query_retrieve import moving

CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "trusted": ({}, "ours", ""),
    "tied": ({"certificate": ("CN=127.0.0.1",)}, "ours", ""),
    "tied to another": (
        {"certificate": ("CN=somebody-else",)},
        "ours",
        "TLS: not the certificate to which the peer is tied",
    ),
    "tied by its fingerprint": ({"certificate": ("{fingerprint}",)}, "ours", ""),
    "another name": (
        {"tls_name": "pacs.example"},
        "ours",
        "TLS: Hostname mismatch, certificate is not valid for 'pacs.example'.",
    ),
    "of a CA that we do not trust": ({}, "other", "TLS: unable to get local issuer certificate"),
}


@pytest.mark.parametrize("case", CASES)
def test_an_object_goes_to_whom_the_table_means_and_to_nobody_else(tmp_path: Path, case: str) -> None:
    fields, issuer, why = CASES[case]
    authorities = {"ours": Authority(tmp_path / "ours"), "other": Authority(tmp_path / "other", "Other CA")}
    identity = authorities[issuer].issue()
    ours = authorities["ours"].settings(authorities["ours"].issue("node"))
    theirs = authorities["ours"].settings(identity)
    ties = tuple(
        tie.format(fingerprint=fingerprint(of_pem(identity.certificate.read_bytes())))
        for tie in fields.get("certificate", ())
    )
    received: list[str] = []
    store = application_entity("STORE")
    store.add_supported_context(CT, ExplicitVRLittleEndian)

    def keep(event: evt.Event) -> int:
        received.append(event.dataset.SOPInstanceUID)
        return 0

    server = store.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)], ssl_context=server_context(theirs)
    )
    assert server is not None
    assert server.socket is not None
    port = server.socket.getsockname()[1]
    try:
        with archive(tmp_path / "archive", [data_set(1)], lambda: client_context(ours)) as node, moving(node) as caller:
            name = str(fields.get("tls_name", "")) or None
            node.know(Peer("store", "STORE", "127.0.0.1", port, tls=True, tls_name=name, certificate=ties))
            keys = identifier("STUDY", StudyInstanceUID=f"{ROOT}.1.1")
            answers = list(caller.send_c_move(keys, "STORE", MOVE[1]))
            told = list(node.told)
    finally:
        server.shutdown()
    assert answers[-1][0].Status == (0xA801 if why else 0)
    if why:
        assert received == []
        assert told == [f"C-MOVE failed with 0xA801: no association with STORE at 127.0.0.1 port {port}: {why}"]
    else:
        assert received == [f"{ROOT}.3.1"]
        assert told == []
