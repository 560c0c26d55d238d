"""C-MOVE and C-GET of a node, by the door: what is counted and told, C-CANCEL, who may be sent what, and how much."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association

from minipacs import AssociationRecord, Peer
from minipacs.services.object_files import StoredObject
from minipacs.services.sop_classes import GET, MOVE
from minipacs.services.sub_operations import TooManyObjects, counted
from minipacs.wire.associate import AssociateAC
from minipacs.wire.dimse import VERIFICATION
from tests.peers.dcmtk import STORESCP, storescp
from tests.peers.ports import free_port
from tests.peers.required import required
from tests.raw import CT_IMAGE_STORAGE, asking, item, proposing, raw_peer, telling
from tests.storing import StoringNode, as_file, image, storing

from .objects import CT, identifier

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MOVESCU, STORESCU = "/usr/bin/movescu", "/usr/bin/storescu"
PIXELS = 40_000
COUNT = 60
STUDY = identifier("STUDY", StudyInstanceUID="1.2.3.1")


def uid_of(number: int) -> str:
    return f"1.2.3.9.{number}"


@contextmanager
def full_node(folder: Path, *peers: Peer, count: int = COUNT, **options: Any) -> Iterator[StoringNode]:
    """A node with the objects of one study."""
    with storing(folder / "kept", peers, **options) as node:
        for number in range(1, count + 1):
            path = as_file(image(uid_of(number), pixels=bytes(PIXELS)), node.services.files.new_file())
            node.services.files.keep(path, uid_of(number), overwrite=False, skip=lambda _: 0)
            node.services.index.add(node.services.files.path_of(uid_of(number)))
        yield node


@contextmanager
def calling(node: StoringNode, *contexts: str, **more: Any) -> Iterator[Association]:
    ae = AE("SCU")
    for context in contexts:
        ae.add_requested_context(context, ExplicitVRLittleEndian)
    association = ae.associate("127.0.0.1", node.port, ae_title="MINIPACS", **more)
    assert association.is_established
    try:
        yield association
    finally:
        association.release()


@contextmanager
def taking(title: str, refused: set[str]) -> Iterator[tuple[int, list[str]]]:
    """A Storage SCP that refuses some; its port, and the UIDs of what it took."""
    taken: list[str] = []

    def store(event: Any) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        if uid in refused:
            return 0xA700
        taken.append(uid)
        return 0

    ae = AE(title)
    ae.add_supported_context(CT, ExplicitVRLittleEndian)
    ae.add_supported_context(VERIFICATION)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    assert server is not None
    assert server.socket is not None
    try:
        yield server.socket.getsockname()[1], taken
    finally:
        server.shutdown()


def last(node: StoringNode) -> AssociationRecord:
    return node.scp.wait_for_associations(1)[-1]


# --- what is counted --------------------------------------------------------------------------------------------------


def test_what_a_move_sends_and_what_it_cannot_is_counted(tmp_path: Path) -> None:
    with (
        taking("STORE", {uid_of(2)}) as (port, taken),
        full_node(tmp_path, Peer("scu", "SCU"), Peer("store", "STORE", "127.0.0.1", port), count=3) as node,
    ):
        with calling(node, MOVE[1]) as association:
            *_, (status, _) = association.send_c_move(STUDY, "STORE", MOVE[1])
        assert (status.NumberOfCompletedSuboperations, status.NumberOfFailedSuboperations) == (2, 1)
        assert sorted(taken) == [uid_of(1), uid_of(3)]
        record = last(node)
    assert (record.services, record.objects, record.failures) == (("move",), 2, 1)
    assert (record.code, record.reason) == ("inbound.failures", "C-MOVE: 1 of its objects could not be sent")


@contextmanager
def getting(node: StoringNode, taken: list[str], refused: set[str]) -> Iterator[Association]:
    def store(event: Any) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        taken.append(uid)
        return 0xA700 if uid in refused else 0

    roles = [build_role(CT, scp_role=True)]
    with calling(node, GET[1], CT, ext_neg=roles, evt_handlers=[(evt.EVT_C_STORE, store)]) as association:
        yield association


def test_what_a_get_sends_and_what_is_refused_is_counted(tmp_path: Path) -> None:
    taken: list[str] = []
    with full_node(tmp_path, Peer("scu", "SCU"), count=3) as node:
        with getting(node, taken, {uid_of(2)}) as association:
            *_, (status, _) = association.send_c_get(STUDY, GET[1])
        assert (status.NumberOfCompletedSuboperations, status.NumberOfFailedSuboperations) == (2, 1)
        record = last(node)
    assert (record.services, record.objects, record.failures) == (("get",), 2, 1)
    assert record.bytes > 3 * PIXELS
    assert (record.code, record.reason) == ("inbound.failures", "C-STORE answered with 0xA700")


# --- C-CANCEL ---------------------------------------------------------------------------------------------------------


def test_a_move_can_be_cancelled(tmp_path: Path) -> None:
    with (
        taking("STORE", set()) as (port, taken),
        full_node(tmp_path, Peer("scu", "SCU"), Peer("store", "STORE", "127.0.0.1", port)) as node,
    ):
        statuses: list[Dataset] = []
        with calling(node, MOVE[1]) as association:
            for status, _ in association.send_c_move(STUDY, "STORE", MOVE[1], msg_id=5):
                if not statuses:
                    association.send_c_cancel(5, query_model=MOVE[1])
                statuses.append(status)
    assert statuses[-1].Status == 0xFE00
    assert 0 < len(taken) < COUNT
    assert statuses[-1].NumberOfCompletedSuboperations == len(taken)
    assert statuses[-1].NumberOfRemainingSuboperations == COUNT - len(taken)


def test_a_get_can_be_cancelled(tmp_path: Path) -> None:
    taken: list[str] = []
    statuses: list[Dataset] = []
    with full_node(tmp_path, Peer("scu", "SCU")) as node, getting(node, taken, set()) as association:
        for status, _ in association.send_c_get(STUDY, GET[1], msg_id=5):
            if not statuses:
                association.send_c_cancel(5, query_model=GET[1])
            statuses.append(status)
    assert statuses[-1].Status == 0xFE00
    assert 0 < len(taken) < COUNT
    assert statuses[-1].NumberOfRemainingSuboperations == COUNT - len(taken)


@required(MOVESCU, STORESCP)
def test_movescu_can_cancel(tmp_path: Path) -> None:
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2.3.1"]
    port = free_port()
    peers = Peer("scu", "SCU"), Peer("store", "STORE", "127.0.0.1", port)
    with full_node(tmp_path, *peers) as node, storescp(tmp_path / "destination", ae_title="STORE", port=port) as store:
        called = ["-v", "-S", "-aet", "SCU", "-aec", "MINIPACS", "-aem", "STORE", "--cancel", "3"]
        command = [MOVESCU, *called, *keys, "127.0.0.1", str(node.port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        said = done.stdout + done.stderr
        arrived = len(list(store.folder.iterdir()))
    assert "Final Move Response (Cancel" in said, said
    assert 3 <= arrived < COUNT


# --- who may be sent what ---------------------------------------------------------------------------------------------


def role(as_scu: bool, as_scp: bool, sop_class: bytes = CT_IMAGE_STORAGE) -> bytes:
    return item(0x54, len(sop_class).to_bytes(2, "big") + sop_class + bytes([as_scu, as_scp]))


@pytest.mark.parametrize(
    ("services", "asked", "results", "answered"),
    [
        (("get",), role(False, True), [0, 0], (0, 1)),
        (("get",), role(True, True), [0, 0], (0, 1)),
        (("get",), b"", [0, 3], None),
        (("get",), role(True, False), [0, 3], None),
        (("store",), role(True, True), [3, 0], (1, 0)),
        (("get", "store"), role(True, True), [0, 0], (1, 1)),
    ],
    ids=["get, as SCP", "get, as both", "get, without a role", "get, as SCU", "store, as both", "all, as both"],
)
def test_a_peer_has_the_role_of_what_it_may_use(
    tmp_path: Path, services: tuple[str, ...], asked: bytes, results: list[int], answered: tuple[int, int] | None
) -> None:
    request = asking(
        proposing(1, GET[1].encode()), proposing(3, CT_IMAGE_STORAGE), calling=b"SCU", user_information=telling(asked)
    )
    with storing(tmp_path, [Peer("scu", "SCU", services=services)]) as node, raw_peer(node.port) as peer:
        answer = AssociateAC.decode(peer.exchange(request)[6:], lambda _: None)
    assert [context.result for context in answer.contexts] == results
    roles = [tuple(one.value[-2:]) for one in answer.user_information.others if one.type == 0x54]
    assert roles == ([] if answered is None else [answered])


# --- how much ---------------------------------------------------------------------------------------------------------


def test_more_than_can_be_counted_is_refused_and_the_reason_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = StoredObject("1.2.3", CT, ExplicitVRLittleEndian, tmp_path, 1)
    assert len(counted([stored] * 65_535)) == 65_535
    with pytest.raises(TooManyObjects, match="65536 objects match, more than 65535: ask for fewer"):
        counted([stored] * 65_536)
    monkeypatch.setattr("minipacs.services.sub_operations._MOST_OBJECTS", 2)
    with (
        taking("STORE", set()) as (port, taken),
        full_node(tmp_path, Peer("scu", "SCU"), Peer("store", "STORE", "127.0.0.1", port), count=3) as node,
    ):
        with getting(node, [], set()) as association:
            [(got, _)] = association.send_c_get(STUDY, GET[1])
        with calling(node, MOVE[1]) as association:
            *_, (moved, _) = association.send_c_move(STUDY, "STORE", MOVE[1])
        for status in (got, moved):
            assert (status.Status, status.ErrorComment) == (0xA701, "3 objects match, more than 2: ask for fewer")
        assert taken == []
