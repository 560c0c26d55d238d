"""Stray C-CANCELs, and whatever else is no request to be served, leave the association alive or end it at once."""

import threading
from pathlib import Path
from typing import Any

import pytest
from pynetdicom.dimse_primitives import C_CANCEL

from minipacs import Outcome, Peer, echo
from minipacs.services.sop_classes import FIND, MOVE
from tests.fakes import Conversation, faking
from tests.peers.process import wait_until
from tests.raw import RawPeer, asking, command, pdu, pdv, proposing, raw_peer, words
from tests.service_fakes import answer, asked, takes
from tests.services.test_retrieve_by_the_door import COUNT, STUDY, calling, full_node
from tests.storing import StoringNode, padded, storing
from tests.wire.exchange import ABORT_0_0, RELEASE_RP

ASKER = Peer("scu", "SCU")
SOON = 10.0
VERIFICATION = b"1.2.840.10008.1.1"
C_FIND_RQ, C_MOVE_RQ, C_ECHO_RQ, C_CANCEL_RQ = 0x0020, 0x0021, 0x0030, 0x0FFF
OPEN = asking(proposing(1, FIND[1].encode()), proposing(3, MOVE[1].encode()), proposing(5), calling=b"SCU")


def cancel(message_id: int) -> bytes:
    return pdu(0x04, pdv(command(*words((0x0100, C_CANCEL_RQ), (0x0120, message_id), (0x0800, 0x0101)))))


def request(field: int, context_id: int, sop_class: bytes = b"", *, data_set: int = 0x0101, **more: bytes) -> bytes:
    """The command set of a request."""
    elements = [(0x0002, padded(sop_class))] if sop_class else []
    elements += words((0x0100, field), (0x0110, 7))
    elements += [(0x0600, more["destination"])] if "destination" in more else []
    elements += words((0x0700, 0), (0x0800, data_set))
    return pdu(0x04, pdv(command(*elements), context_id=context_id))


def data_set(data: bytes, context_id: int) -> bytes:
    return pdu(0x04, pdv(data, context_id=context_id, control=2))


LEVEL = b"\x08\x00\x52\x00\x06\x00\x00\x00STUDY "
ECHO = request(C_ECHO_RQ, 5, VERIFICATION)


def test_stray_cancels_do_not_stop_who_serves(tmp_path: Path) -> None:
    with storing(tmp_path, [ASKER]) as node, raw_peer(node.port) as peer:
        assert peer.exchange(OPEN)[0] == 0x02
        for count in (12, 300):
            peer.send(b"".join(cancel(number) for number in range(count)))
            peer.send(ECHO)
            assert peer.receive_pdu(SOON)[:1] == b"\x04", "the answer to the echo"


@pytest.mark.parametrize("strays", [0, 9, 12, 300])
def test_a_cancel_counts_however_many_strays_come_with_it(tmp_path: Path, strays: int) -> None:
    goes_on = threading.Event()

    def stores(conversation: Conversation) -> None:
        takes(conversation)
        while (one := asked(conversation)) != (0, 0, 0):
            goes_on.wait(4)
            conversation.send(answer(0, *one))
        conversation.send(RELEASE_RP)

    with (
        faking(stores) as fake,
        full_node(tmp_path, ASKER, Peer("store", "STORE", "127.0.0.1", fake.peer.port)) as node,
        calling(node, MOVE[1]) as asker,
    ):
        answers: list[Any] = []

        def move() -> None:
            answers.extend(status for status, _ in asker.send_c_move(STUDY, "STORE", MOVE[1], msg_id=5))

        thread = threading.Thread(target=move)
        thread.start()
        wait_until(lambda: fake.connections == 1, within=30, what="the first sub-operation")
        context_id = asker.accepted_contexts[0].context_id
        assert context_id is not None
        for message_id in [*range(1_000, 1_000 + strays), 5, *range(2_000, 2_000 + strays)]:
            one: Any = C_CANCEL()
            one.MessageIDBeingRespondedTo = message_id
            asker.dimse.send_msg(one, context_id)
        wait_until(lambda: not asker.dul.to_provider_queue.queue, within=30, what="what is sent")
        goes_on.set()
        thread.join(40)
    assert answers[-1].Status == 0xFE00
    assert answers[-1].NumberOfRemainingSuboperations > COUNT // 2


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(request(0x0110, 5, VERIFICATION), id="N-GET"),
        pytest.param(request(0x0130, 5, VERIFICATION), id="N-ACTION"),
        pytest.param(request(0x0100, 5, VERIFICATION) * 50, id="many N-EVENT-REPORT"),
        pytest.param(request(C_ECHO_RQ, 5), id="C-ECHO without a SOP class"),
        pytest.param(request(C_FIND_RQ, 1, data_set=1) + data_set(LEVEL, 1), id="C-FIND without a SOP class"),
        pytest.param(request(C_FIND_RQ, 1, FIND[1].encode()), id="C-FIND without an identifier"),
        pytest.param(
            request(C_MOVE_RQ, 3, MOVE[1].encode(), data_set=1) + data_set(LEVEL, 3), id="C-MOVE without a destination"
        ),
        pytest.param(request(C_MOVE_RQ, 3, MOVE[1].encode(), destination=b"STORE "), id="C-MOVE without an identifier"),
        pytest.param(request(0x8020, 1, FIND[1].encode()), id="a response"),
    ],
)
def test_what_cannot_be_served_is_answered_or_ends_the_association_at_once(tmp_path: Path, message: bytes) -> None:
    with storing(tmp_path, [ASKER]) as node, raw_peer(node.port) as peer:
        assert peer.exchange(OPEN)[0] == 0x02
        before = threading.active_count()
        peer.send(message)
        assert peer.receive_pdu(SOON)[:1] in {ABORT_0_0[:1], b"\x04"}
        assert threading.active_count() <= before + 1
        others(node)


def others(node: StoringNode) -> None:
    """Another peer is served."""
    us = Peer("us", "MINIPACS", "127.0.0.1", node.port)
    assert echo(us, calling_ae_title="SCU", timeout=SOON).outcome is Outcome.SUCCESS


def test_requests_that_wait_to_be_served_wait_in_the_network(tmp_path: Path) -> None:
    """Without an end to them, they would fill the memory."""
    held = threading.Event()

    def holds(conversation: Conversation) -> None:
        takes(conversation)
        asked(conversation)
        held.wait(4)

    piece = data_set(bytes(16_000), 1).replace(b"\x01\x02", b"\x01\x00", 1)
    find = request(C_FIND_RQ, 1, FIND[1].encode(), data_set=1) + piece + data_set(LEVEL, 1)
    with faking(holds) as fake, full_node(tmp_path, ASKER, Peer("store", "STORE", "127.0.0.1", fake.peer.port)) as node:
        with raw_peer(node.port) as peer:
            assert peer.exchange(OPEN)[0] == 0x02
            move = request(C_MOVE_RQ, 3, MOVE[1].encode(), data_set=1, destination=b"STORE ")
            peer.send(move + data_set(LEVEL + b"\x20\x00\x0d\x00\x08\x00\x00\x001.2.3.1\0", 3))
            wait_until(lambda: fake.connections == 1, within=30, what="the sub-operation")
            taken = peer.send_until_it_is_not_taken(find)
        assert taken < 32 << 20
        held.set()
        others(node)


def test_the_peer_that_leaves_while_its_requests_wait_is_noticed(tmp_path: Path) -> None:
    def holds(conversation: Conversation) -> None:
        takes(conversation)
        asked(conversation)

    find = request(C_FIND_RQ, 1, FIND[1].encode(), data_set=1) + data_set(LEVEL, 1)
    with faking(holds) as fake, full_node(tmp_path, ASKER, Peer("store", "STORE", "127.0.0.1", fake.peer.port)) as node:
        peer = RawPeer(node.port)
        assert peer.exchange(OPEN)[0] == 0x02
        move = request(C_MOVE_RQ, 3, MOVE[1].encode(), data_set=1, destination=b"STORE ")
        peer.send(move + data_set(LEVEL + b"\x20\x00\x0d\x00\x08\x00\x00\x001.2.3.1\0", 3))
        wait_until(lambda: fake.connections == 1, within=30, what="the sub-operation")
        peer.send(find * 20)
        peer.close()
        wait_until(lambda: node.services.calls == 0, within=4, what="the end of the sub-operations")
        wait_until(lambda: len(node.scp.associations) == 1, within=SOON, what="the end of the association")


def test_what_waited_is_served_in_its_turn(tmp_path: Path) -> None:
    with storing(tmp_path, [ASKER]) as node, raw_peer(node.port) as peer:
        assert peer.exchange(OPEN)[0] == 0x02
        peer.send(ECHO * 200)
        answers = [peer.receive_pdu(SOON) for _ in range(200)]
    assert {one[:1] for one in answers} == {b"\x04"}
