"""The door: who is handed over to pynetdicom, what of it, and that the promises of the node hold behind it, too."""

import os
import resource
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from minipacs import AssociationOutcome, AssociationRecord, Peer, PeerTable
from minipacs.settings import Limits, StorageLimits, Timeouts
from minipacs.tls import client_context, server_context
from minipacs.wire.associate import AssociateAC
from minipacs.wire.verification import user_information
from tests.certificates import Authority
from tests.peers.node import serving
from tests.peers.process import wait_until
from tests.raw import (
    CT_IMAGE_STORAGE,
    IMPLICIT,
    JPEG,
    VERIFICATION,
    RawPeer,
    accepting,
    asking,
    command,
    item,
    pdu,
    pdv,
    proposing,
    raw_peer,
    rejecting,
    telling,
    words,
)
from tests.storing import EXPLICIT, StoringNode, data_pdus, encoded, image, status_of, store_rq, storing
from tests.test_scp import heard, listener_of
from tests.wire.exchange import ABORT_0_0, ABORT_2_1, ABORT_2_2, ABORT_2_6, RELEASE_RP, RELEASE_RQ
from tests.wire.exchange import echo as echo_rq

SCU = Peer("scu", "ECHOSCU")
SHORT = Timeouts(close=0.05, stop=0.5)
QUICK = Timeouts(request=0.3, pdu=0.3, idle=0.3, close=0.05, stop=0.5)
STUDY_ROOT_FIND = b"1.2.840.10008.5.1.4.1.2.2.1"
MODALITY_WORKLIST = b"1.2.840.10008.5.1.4.31"
STORE = asking(proposing(1, CT_IMAGE_STORAGE, EXPLICIT))
BOTH = asking(proposing(1, CT_IMAGE_STORAGE, EXPLICIT), proposing(3))
ABORTED, INVALID, TIMED_OUT = AssociationOutcome.ABORTED, AssociationOutcome.INVALID, AssociationOutcome.TIMED_OUT
RELEASED, CLOSED = AssociationOutcome.RELEASED, AssociationOutcome.CLOSED


@pytest.fixture
def node(tmp_path: Path) -> Iterator[StoringNode]:
    with storing(tmp_path / "objects", [SCU], timeouts=SHORT, limits=Limits(associations=2)) as node:
        yield node


@contextmanager
def associated(node: StoringNode, request: bytes = STORE) -> Iterator[RawPeer]:
    with raw_peer(node.port) as peer:
        answer = peer.exchange(request)
        assert answer[0] == 0x02, answer
        yield peer


def results(answer: bytes) -> list[tuple[int, int, str]]:
    contexts = AssociateAC.decode(answer[6:], lambda _: None).contexts
    return [(context.context_id, context.result, context.transfer_syntax) for context in contexts]


def last(node: StoringNode, count: int = 1) -> AssociationRecord:
    return node.scp.wait_for_associations(count)[-1]


def nothing_is_left(node: StoringNode) -> None:
    """No thread, no file, no association."""
    wait_until(lambda: not [one for one in threading.enumerate() if "Acceptor" in one.name], within=5, what="threads")
    wait_until(lambda: not node.incoming(), within=5, what="files")
    assert not listener_of(node.scp)._associations


def store(peer: RawPeer, uid: str, data: bytes) -> int:
    peer.send(store_rq(uid.encode()), *data_pdus(data))
    return status_of(peer.receive_pdu(5.0))


# --- who is handed over --------------------------------------------------------------------------------------------


def test_verification_alone_stays_with_the_engine(node: StoringNode) -> None:
    with associated(node, asking()) as peer:
        [connection] = listener_of(node.scp)._associations
        assert connection.relay is None
        assert peer.exchange(echo_rq())[0] == 0x04
        assert peer.exchange(RELEASE_RQ) == RELEASE_RP
    assert (last(node).echoes, last(node).services, last(node).bytes) == (1, (), 0)
    assert "services" not in last(node).as_fields()


def test_who_proposes_storage_is_answered_as_the_engine_would_answer(node: StoringNode) -> None:
    request = asking(
        proposing(1, CT_IMAGE_STORAGE, EXPLICIT, IMPLICIT),
        proposing(3),
        proposing(5, MODALITY_WORKLIST),
        proposing(7, CT_IMAGE_STORAGE, b"1.2.3.4"),
        proposing(9, CT_IMAGE_STORAGE, JPEG),
        calling=b"ECHOSCU\0",
    )
    expected = accepting(
        request,
        (1, 0, EXPLICIT),
        (3, 0, IMPLICIT),
        (5, 3, IMPLICIT),
        (7, 4, b"1.2.3.4"),
        (9, 0, JPEG),
    )
    with raw_peer(node.port) as peer:
        assert peer.exchange(request) == expected


def test_verification_is_answered_inside(node: StoringNode) -> None:
    with associated(node, BOTH) as peer:
        request = command((0x0002, VERIFICATION + b"\0"), *words((0x0100, 0x0030), (0x0110, 1), (0x0800, 0x0101)))
        assert status_of(peer.exchange(pdu(0x04, pdv(request, context_id=3)))) == 0
        assert peer.exchange(RELEASE_RQ) == RELEASE_RP
    record = last(node)
    assert (record.outcome, record.echoes, record.services) == (RELEASED, 1, ("echo",))
    assert f"released, 1 echo, {record.bytes} bytes, " in str(record)


@pytest.mark.parametrize(
    ("services", "answers"),
    [
        (None, [0, 0]),
        (("echo",), [3, 0]),
        (("store",), [0, 3]),
        (("echo", "store"), [0, 0]),
        (("find",), [3, 3]),
    ],
)
def test_what_a_peer_may_not_use_is_refused_and_the_rest_stays(
    services: tuple[str, ...] | None, answers: list[int], tmp_path: Path
) -> None:
    with (
        storing(tmp_path, [Peer("scu", "ECHOSCU", services=services)], timeouts=SHORT) as node,
        raw_peer(node.port) as peer,
    ):
        assert [result for _, result, _ in results(peer.exchange(BOTH))] == answers


def test_a_stranger_is_rejected_and_pynetdicom_never_sees_it(node: StoringNode) -> None:
    with raw_peer(node.port) as peer:
        assert peer.exchange(asking(proposing(1, CT_IMAGE_STORAGE), calling=b"STRANGER")) == rejecting(1, 1, 3)
    assert node.services._served == {}


def test_the_limit_of_associations_counts_these_too(node: StoringNode) -> None:
    with associated(node), associated(node), raw_peer(node.port) as third:
        assert third.exchange(STORE) == rejecting(2, 3, 2)


def test_a_service_is_not_to_be_had_on_the_context_of_another(tmp_path: Path) -> None:
    peer_of = Peer("scu", "ECHOSCU", services=("store",))
    with storing(tmp_path, [peer_of], timeouts=SHORT) as node, associated(node, STORE) as peer:
        request = command((0x0002, VERIFICATION + b"\0"), *words((0x0100, 0x0030), (0x0110, 1), (0x0800, 0x0101)))
        assert status_of(peer.exchange(pdu(0x04, pdv(request)))) == 0x0124


def test_private_sop_classes_are_taken_where_that_is_wanted(tmp_path: Path) -> None:
    private = b"1.2.826.0.1.3680043.2.1"
    with storing(tmp_path, [SCU], timeouts=SHORT, any_sop_class=True) as node, raw_peer(node.port) as peer:
        assert results(peer.exchange(asking(proposing(1, private, EXPLICIT)))) == [(1, 0, EXPLICIT.decode())]
        data = image("1.2.3.9", SOPClassUID=private.decode())
        peer.send(store_rq(b"1.2.3.9", sop_class=private), *data_pdus(encoded(data)))
        assert status_of(peer.receive_pdu()) == 0
        assert list(node.stored()) == ["1.2.3.9"]


# --- what is told --------------------------------------------------------------------------------------------------


def test_one_line_tells_the_services_objects_bytes_and_failures(node: StoringNode) -> None:
    with heard() as lines, associated(node) as peer:
        assert store(peer, "1.2.3", encoded(image("1.2.3"))) == 0
        assert store(peer, "1.2.3.4", b"no data set") == 0xC000
        assert peer.exchange(RELEASE_RQ) == RELEASE_RP
        line = lines.wait_for("association")
    record = last(node)
    assert (record.services, record.objects, record.failures) == (("store",), 1, 1)
    assert record.bytes > 500
    assert f"released, store, 1 object, {record.bytes} bytes, 1 failure, " in line.getMessage()
    assert line.fields["services"] == ("store",)  # type: ignore[attr-defined]
    assert line.fields["bytes"] == record.bytes  # type: ignore[attr-defined]


def test_what_was_tolerated_is_observed(node: StoringNode) -> None:
    request = asking(proposing(1, CT_IMAGE_STORAGE, EXPLICIT), item(0x77, b"?"), calling=b"ECHOSCU\0")
    with associated(node, request) as peer:
        peer.exchange(RELEASE_RQ)
    assert last(node).observations == ("unknown item 0x77 ignored", "AE title padded with NUL")


# --- the promises of the wire --------------------------------------------------------------------------------------


def echo_of(field: int, *elements: tuple[int, bytes]) -> bytes:
    return pdu(0x04, pdv(command(*elements, *words((0x0100, field), (0x0110, 1), (0x0800, 0x0101)))))


@pytest.mark.parametrize(
    ("sent", "answer", "words_of_it"),
    [
        (b"\x99", ABORT_2_1, "unknown PDU type 0x99"),
        (STORE, ABORT_2_2, "unexpected A-ASSOCIATE-RQ in Sta6"),
        (pdu(0x04, b"", 16_385), ABORT_2_6, "P-DATA-TF of 16385 bytes, more than the 16384 that we take"),
        (pdu(0x04, pdv(b"abc", length=99)), ABORT_2_6, "PDV item of 99 bytes in a P-DATA-TF of 9"),
        (pdu(0x04, b""), ABORT_2_6, "P-DATA-TF without a PDV item"),
        (pdu(0x04, pdv(b"", context_id=9)), ABORT_2_6, "data on presentation context 9, which was not accepted"),
        (echo_of(0x7777), ABORT_2_6, "unknown command field 0x7777"),
        (echo_of(0x8001), ABORT_2_2, "response 0x8001 to no request of ours"),
        (data_pdus(b"abc")[0], ABORT_2_6, "data set without a command"),
        (store_rq(b"1.2.3", data_set=0x0101), ABORT_2_6, "C-STORE-RQ without a data set"),
        (store_rq(b""), ABORT_2_6, "C-STORE-RQ without an Affected SOP Instance UID"),
        (
            store_rq(b"1." * 150 + b"1"),
            ABORT_2_6,
            "C-STORE-RQ with an Affected SOP Instance UID of 301 characters, more than 64",
        ),
        (
            b"".join(pdu(0x04, pdv(bytes(16_000), control=1)) for _ in range(5)),
            ABORT_2_6,
            "command set of more than 65536 bytes",
        ),
        (
            store_rq(b"1.2", field=0x0020) + b"".join(pdu(0x04, pdv(bytes(16_000), control=0)) for _ in range(70)),
            ABORT_2_6,
            "data set of more than 1048576 bytes in a message that is no C-STORE-RQ",
        ),
    ],
)
def test_what_breaks_the_protocol_is_answered_as_by_the_engine(
    sent: bytes, answer: bytes, words_of_it: str, node: StoringNode
) -> None:
    with associated(node) as peer:
        peer.send(sent)
        assert peer.receive_all() == answer
    assert (last(node).outcome, last(node).code, last(node).reason) == (INVALID, "inbound.invalid", words_of_it)
    nothing_is_left(node)


def be_silent(peer: RawPeer) -> None:
    """An open association, and nothing comes."""


def begin_a_pdu(peer: RawPeer) -> None:
    peer.send(pdu(0x04, b"", 1000) + bytes(10))


def begin_a_message(peer: RawPeer) -> None:
    peer.send(store_rq(b"1.2.3"))


def begin_a_data_set(peer: RawPeer) -> None:
    peer.send(store_rq(b"1.2.3"), data_pdus(bytes(40_000))[0])


@pytest.mark.parametrize(
    ("behave", "code"),
    [
        (be_silent, "inbound.idle"),
        (begin_a_pdu, "inbound.unfinished"),
        (begin_a_message, "inbound.unfinished"),
        (begin_a_data_set, "inbound.unfinished"),
    ],
)
def test_deadlines_hold(behave: Callable[[RawPeer], None], code: str, tmp_path: Path) -> None:
    with storing(tmp_path, [SCU], timeouts=QUICK) as node:
        with associated(node) as peer:
            behave(peer)
            assert peer.receive_all(2.0) == ABORT_0_0
        assert (last(node).outcome, last(node).code) == (TIMED_OUT, code)
        nothing_is_left(node)


def test_a_long_object_may_take_longer_than_any_deadline(tmp_path: Path) -> None:
    with storing(tmp_path, [SCU], timeouts=QUICK) as node, associated(node) as peer:
        peer.send(store_rq(b"1.2.3"))
        begin = time.monotonic()
        for piece in data_pdus(encoded(image("1.2.3", pixels=bytes(80_000))), size=10_000):
            assert peer.hears_nothing(0.1)
            peer.send(piece)
        assert time.monotonic() > begin + 2 * QUICK.pdu
        assert status_of(peer.receive_pdu()) == 0


def test_after_a_half_close_the_answer_is_still_sent(node: StoringNode) -> None:
    with associated(node) as peer:
        peer.send(store_rq(b"1.2.3"), *data_pdus(encoded(image("1.2.3"))))
        peer.half_close()
        assert status_of(peer.receive_pdu()) == 0
        assert peer.receive_all(2.0) == b""
    assert (last(node).outcome, last(node).objects) == (CLOSED, 1)


def test_a_release_behind_the_last_request_comes_after_its_answer(node: StoringNode) -> None:
    with associated(node) as peer:
        peer.send(store_rq(b"1.2.3") + b"".join(data_pdus(encoded(image("1.2.3")))) + RELEASE_RQ)
        assert status_of(peer.receive_pdu()) == 0
        assert peer.receive_pdu() == RELEASE_RP
    assert (last(node).outcome, last(node).objects) == (RELEASED, 1)
    nothing_is_left(node)


def test_a_release_behind_many_requests_comes_after_the_answer_to_each(node: StoringNode) -> None:
    data = b"".join(data_pdus(encoded(image("1.2.3"))))
    with associated(node) as peer:
        peer.send((store_rq(b"1.2.3") + data) * 5 + RELEASE_RQ)
        assert [status_of(peer.receive_pdu()) for _ in range(5)] == [0] * 5
        assert peer.receive_pdu() == RELEASE_RP
    assert (last(node).outcome, last(node).objects) == (RELEASED, 5)
    nothing_is_left(node)


def test_a_peer_that_aborts_or_vanishes_leaves_nothing(node: StoringNode) -> None:
    for number, leave in enumerate((lambda peer: peer.send(ABORT_0_0), RawPeer.close, RawPeer.reset), 1):
        with associated(node) as peer:
            begin_a_data_set(peer)
            wait_until(lambda: bool(node.incoming()), within=5, what="a file")
            leave(peer)
            assert last(node, number).outcome in {ABORTED, CLOSED}
        nothing_is_left(node)
    assert node.stored() == {}


def some_request(random: Random) -> bytes:
    """For storage, with user information that means nothing."""
    items = (item(random.choice([0x53, 0x54, 0x56, 0x57, 0x58]), random.randbytes(random.randrange(40))) for _ in "12")
    return asking(proposing(1, CT_IMAGE_STORAGE, EXPLICIT), user_information=telling(*items))


def with_faults(data: bytes, random: Random) -> bytes:
    broken = bytearray(data)
    for _ in range(random.randrange(1, 5)):
        broken[random.randrange(len(broken))] = random.randrange(256)
    return bytes(broken)


def test_whatever_a_peer_sends_it_is_answered_and_nothing_fails_behind_the_door(tmp_path: Path) -> None:
    """A thread of pynetdicom that fails would be an unhandled exception, which fails this test."""
    random = Random(20)
    good = store_rq(b"1.2.3") + b"".join(data_pdus(encoded(image("1.2.3")))) + RELEASE_RQ
    with storing(tmp_path, [SCU], timeouts=QUICK) as node:
        for number in range(60):
            is_request = number % 2 == 1
            with associated(node, some_request(random) if is_request else STORE) as peer:
                peer.send(good if is_request else with_faults(good, random))
                answers = iter(lambda peer=peer: peer.receive_pdu(3.0)[:1], b"")  # type: ignore[misc]
                assert list(answers)[-1:] in ([b"\x06"], [b"\x07"]), number
        nothing_is_left(node)


# --- who is removed ------------------------------------------------------------------------------------------------


def test_a_peer_that_is_removed_in_the_middle_is_aborted(node: StoringNode) -> None:
    with associated(node) as peer:
        begin_a_data_set(peer)
        wait_until(lambda: bool(node.incoming()), within=5, what="a file")
        node.scp.peers = PeerTable()
        assert peer.receive_all() == ABORT_0_0
    assert (last(node).outcome, last(node).code) == (ABORTED, "inbound.removed")
    nothing_is_left(node)


def test_a_peer_that_may_no_longer_use_what_it_uses_is_aborted(node: StoringNode) -> None:
    with associated(node) as peer, associated(node, asking()) as echoing:
        node.scp.peers = PeerTable([Peer("scu", "ECHOSCU", services=("echo",))])
        assert peer.receive_all() == ABORT_0_0
        assert echoing.exchange(echo_rq())[0] == 0x04
    record = node.scp.wait_for_associations(1)[0]  # of the other one, that it ended, comes later
    assert (record.code, record.reason) == (
        "inbound.services",
        "the peer table no longer lets ECHOSCU use store",
    )


def test_the_node_stops_within_a_second_in_the_middle_of_an_object(node: StoringNode) -> None:
    with associated(node) as peer:
        begin_a_data_set(peer)
        wait_until(lambda: bool(node.incoming()), within=5, what="a file")
        begin = time.monotonic()
        node.scp.stop()
        node.services.stop()
        assert time.monotonic() - begin < SHORT.stop + 0.5
        assert peer.receive_all() == ABORT_0_0
    assert last(node).code == "inbound.stopped"
    assert node.incoming() == []


# --- what is kept --------------------------------------------------------------------------------------------------


def test_a_peer_that_sends_faster_than_is_stored_is_held_up_and_nothing_piles_up(node: StoringNode) -> None:
    """Many C-STORE-RQ at once, against the window of one (PS3.7 §D.3.3.3): each is answered all the same, in order."""
    data = b"".join(data_pdus(encoded(image("1.2.3", pixels=bytes(2_000)))))
    with associated(node) as peer:
        threading.Thread(target=peer.send, args=((store_rq(b"1.2.3") + data) * 12,)).start()
        statuses = [status_of(peer.receive_pdu(5.0)) for _ in range(12)]
        assert statuses == [0] * 12
        assert peer.exchange(RELEASE_RQ) == RELEASE_RP
    assert last(node).objects == 12
    assert list(node.stored()) == ["1.2.3"]


def test_an_association_may_have_any_descriptor(node: StoringNode) -> None:
    """Above 1 023, select(2) takes none."""
    held: list[int] = []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(2048, hard)), hard))
    try:
        while not held or held[-1] < 1100:
            held.append(os.open(os.devnull, os.O_RDONLY))
        with socket.create_connection(("127.0.0.1", node.port), timeout=5.0) as sock:
            assert exchange(sock, STORE)[0] == 0x02
            [served] = node.services._served
            assert served.dul.socket.socket.fileno() > 1023
            response = exchange(sock, store_rq(b"1.2.3") + b"".join(data_pdus(encoded(image("1.2.3")))))
            assert status_of(response) == 0
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def exchange(sock: socket.socket, data: bytes) -> bytes:
    """Send, and return the PDU that answers; RawPeer looks by select(2), which takes no descriptor as high."""
    sock.sendall(data)
    answer = b""
    while len(answer) < 6 or len(answer) < 6 + int.from_bytes(answer[2:6]):
        chunk = sock.recv(65_536)
        assert chunk, "the node closes"
        answer += chunk
    return answer


def test_maximum_length_is_ours_as_it_is_announced(tmp_path: Path) -> None:
    limits = Limits(maximum_length=65_536)
    with storing(tmp_path, [SCU], timeouts=SHORT, limits=limits) as node, raw_peer(node.port) as peer:
        answer = AssociateAC.decode(peer.exchange(STORE)[6:], lambda _: None)
        assert answer.user_information == user_information(65_536)
        data = encoded(image("1.2.3", pixels=bytes(60_000)))
        peer.send(store_rq(b"1.2.3"), *data_pdus(data, size=65_000))
        assert status_of(peer.receive_pdu()) == 0


def test_a_peer_without_a_maximum_length_is_served(node: StoringNode) -> None:
    request = asking(proposing(1, CT_IMAGE_STORAGE, EXPLICIT), user_information=telling(maximum_length=0))
    with associated(node, request) as peer:
        assert store(peer, "1.2.3", encoded(image("1.2.3"))) == 0


def test_each_refusal_of_an_object_tells_why(tmp_path: Path) -> None:
    limits = StorageLimits(free=0, object_size=2_000, objects=2)
    with storing(tmp_path, [SCU], timeouts=SHORT, storage=limits) as node, associated(node) as peer:
        for uid, data, status in (
            ("../../etc/passwd", encoded(image("1.2.3")), 0xC000),
            ("1.2\0.3", encoded(image("1.2.3")), 0xC000),
            ("1.02", encoded(image("1.02")), 0xC000),
            ("1.2.3", encoded(image("1.2.3"))[:-3], 0xC000),
            ("1.2.3", b"", 0xC000),
            ("1.2.4", encoded(image("1.2.3")), 0xA900),
            ("1.2.3", encoded(image("1.2.3", pixels=bytes(2_000))), 0xA700),
            ("1.2.3", encoded(image("1.2.3")), 0x0000),
            ("1.2.3", encoded(image("1.2.3")), 0x0000),
            ("1.2.3", encoded(image("1.2.3", pixels=b"12345678")), 0xB000),
            ("1.2.4", encoded(image("1.2.4")), 0x0000),
            ("1.2.5", encoded(image("1.2.5")), 0xA700),
            ("1.2.4", encoded(image("1.2.4")), 0x0000),
        ):
            assert (uid, store(peer, uid, data)) == (uid, status)
        assert sorted(node.stored()) == ["1.2.3", "1.2.4"]
        assert node.stored()["1.2.3"].PixelData == bytes(8)
        assert {path.name.partition(".")[0] for path in tmp_path.iterdir()} == {"", "incoming", "index", "objects"}
        assert node.incoming() == []


DEFLATED = b"1.2.840.10008.1.2.1.99"


def deflated(data: bytes) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


def test_what_is_deflated_is_stored_unless_it_inflates_beyond_measure(node: StoringNode) -> None:
    with associated(node, asking(proposing(1, CT_IMAGE_STORAGE, DEFLATED))) as peer:
        assert store(peer, "1.2.3", deflated(encoded(image("1.2.3", pixels=bytes(1 << 20))))) == 0
        bomb = deflated(encoded(image("1.2.4", pixels=bytes(1 << 28))))
        assert len(bomb) < 1 << 19
        assert store(peer, "1.2.4", bomb) == 0xA700
        assert store(peer, "1.2.5", b"not deflated") == 0xC000
    assert node.stored()["1.2.3"].PixelData == bytes(1 << 20)


def test_another_object_with_the_same_uid_takes_its_place_where_that_is_wanted(tmp_path: Path) -> None:
    with storing(tmp_path, [SCU], timeouts=SHORT, overwrite=True) as node, associated(node) as peer:
        assert store(peer, "1.2.3", encoded(image("1.2.3"))) == 0
        assert store(peer, "1.2.3", encoded(image("1.2.3", pixels=b"12345678"))) == 0
        assert node.stored()["1.2.3"].PixelData == b"12345678"


# --- TLS -----------------------------------------------------------------------------------------------------------


def test_by_tls_an_object_is_stored_as_in_plain(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    ours, theirs = (authority.settings(authority.issue()) for _ in range(2))
    with (
        storing(tmp_path / "kept", [SCU], timeouts=SHORT, tls=server_context(ours)) as node,
        socket.create_connection(("127.0.0.1", node.port), timeout=5.0) as plain,
        client_context(theirs).wrap_socket(plain, server_hostname="127.0.0.1") as sock,
    ):
        assert exchange(sock, STORE)[0] == 0x02
        data = encoded(image("1.2.3", pixels=os.urandom(300_000)))
        assert status_of(exchange(sock, store_rq(b"1.2.3") + b"".join(data_pdus(data)))) == 0
        assert exchange(sock, RELEASE_RQ) == RELEASE_RP
        assert last(node).objects == 1
        assert encoded(node.stored()["1.2.3"]) == data


# --- what is shown of it -------------------------------------------------------------------------------------------


def test_who_looks_at_the_wire_sees_each_pdu_of_both_sides(tmp_path: Path) -> None:
    peers = '[peers.scu]\nae_title = "ECHOSCU"\n'
    with serving(tmp_path, peers, "--storage", "kept", "-vv") as node, raw_peer(node.port) as peer:
        assert peer.exchange(STORE)[0] == 0x02
        data = data_pdus(encoded(image("1.2.3")))
        peer.send(store_rq(b"1.2.3"), *data)
        response = peer.receive_pdu(5.0)
        assert status_of(response) in {0, 0xA700}, "with less than 1 GiB free"
        assert peer.exchange(RELEASE_RQ) == RELEASE_RP
        node.wait_for("association", 1)
        shown = [(line["direction"], line["pdu"]) for line in node.events("pdu")]
    assert shown == [
        ("received", "A-ASSOCIATE-RQ"),
        ("sent", "A-ASSOCIATE-AC"),
        *[("received", "P-DATA-TF")] * 2,
        ("sent", "P-DATA-TF"),
        ("received", "A-RELEASE-RQ"),
        ("sent", "A-RELEASE-RP"),
    ]
