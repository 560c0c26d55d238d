"""A C-MOVE to a slow destination ends with its asker, and with the node, and counts as an association."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association

from minipacs import Peer
from minipacs.services.sop_classes import GET, MOVE
from minipacs.settings import Limits, Timeouts
from tests.fakes import Behaviour, Conversation, faking
from tests.peers.node import table
from tests.peers.process import wait_until
from tests.peers.storage_node import storing as storage_node
from tests.raw import CT_IMAGE_STORAGE, asking, proposing, raw_peer, rejecting
from tests.service_fakes import answer, asked, says_nothing, takes
from tests.services.test_retrieve_by_the_door import STUDY, calling, full_node
from tests.storing import StoringNode, as_file, image

PATIENT = Timeouts(request=60, stop=0.5)
SOON = 5.0  # seconds: far below any deadline of an association, and enough on a busy machine
ASKER = Peer("scu", "SCU")


# --- destinations that take their time -------------------------------------------------------------------------------


@contextmanager
def behaving(behave: Behaviour) -> Iterator[int]:
    with faking(behave) as fake:
        assert fake.peer.port is not None
        yield fake.peer.port


def slow(conversation: Conversation) -> None:
    """Takes its objects, each after a while."""
    takes(conversation)
    while (request := asked(conversation)) != (0, 0, 0) and not conversation.hears_something(0.3):
        conversation.send(answer(0, *request))


@contextmanager
def unreachable() -> Iterator[int]:
    """Its connections are never accepted, and no more fit into its queue."""
    with socket.socket() as listener, ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            with suppress(BlockingIOError):
                one.connect(listener.getsockname())
        yield listener.getsockname()[1]


DESTINATIONS: dict[str, Callable[[], Any]] = {
    "that cannot be reached": unreachable,
    "that does not answer our request": lambda: behaving(lambda _: None),
    "that does not shake hands": lambda: behaving(lambda _: None),
    "that does not answer our C-STORE": lambda: behaving(says_nothing),
    "that is slow": lambda: behaving(slow),
}


# --- how the asker goes ----------------------------------------------------------------------------------------------


def abort(_: StoringNode, asker: Association) -> None:
    asker.abort()


def close(_: StoringNode, asker: Association) -> None:
    connection: Any = asker.dul.socket
    connection.socket.shutdown(socket.SHUT_RDWR)


def removed(node: StoringNode, _: Association) -> None:
    node.scp.peers = []


def stop(node: StoringNode, _: Association) -> None:
    node.scp.stop()


@contextmanager
def moving(node: StoringNode, is_begun: Callable[[], bool]) -> Iterator[Association]:
    """A C-MOVE whose sub-operations have begun."""
    with calling(node, MOVE[1]) as asker:

        def move() -> None:
            with suppress(RuntimeError):
                list(asker.send_c_move(STUDY, "STORE", MOVE[1]))

        thread = threading.Thread(target=move)
        thread.start()
        wait_until(is_begun, within=30, what="the association with the destination")
        yield asker
        asker.abort()
        asker.dimse.msg_queue.put((None, None))  # to the thread, which waits for an answer
        thread.join(40)
        assert not thread.is_alive()


def is_errand(thread: threading.Thread) -> bool:
    """Whether it serves an association of the node with the destination."""
    association: Any = getattr(thread, "assoc", thread)
    return getattr(getattr(association, "acceptor", None), "ae_title", "") == "STORE"


@pytest.mark.parametrize("go", [abort, close, removed, stop])
@pytest.mark.parametrize("destination", DESTINATIONS)
def test_the_sub_operations_end_with_the_asker(
    tmp_path: Path, go: Callable[[StoringNode, Association], None], destination: str
) -> None:
    with (
        DESTINATIONS[destination]() as port,
        full_node(
            tmp_path,
            ASKER,
            Peer("store", "STORE", "127.0.0.1", port, tls=destination == "that does not shake hands"),
            timeouts=PATIENT,
        ) as node,
        moving(node, lambda: any(map(is_errand, threading.enumerate()))) as asker,
    ):
        assert node.services.calls == 1
        go(node, asker)
        wait_until(lambda: node.services.calls == 0, within=SOON, what="the end of the sub-operations")
        wait_until(lambda: not any(map(is_errand, threading.enumerate())), within=SOON, what="the end of its threads")


@pytest.mark.parametrize("behave", [says_nothing, slow])
def test_the_process_ends_in_time_whatever_the_destination_does(tmp_path: Path, behave: Behaviour) -> None:
    with faking(behave) as fake:
        peers = table(
            {"name": "py", "ae_title": "SCU"},
            {"name": "store", "ae_title": "STORE", "host": "127.0.0.1", "port": fake.peer.port},
        )
        with storage_node(tmp_path, peers) as (node, _):
            ae = AE("SCU")
            ae.add_requested_context(CT_IMAGE_STORAGE.decode(), "1.2.840.10008.1.2.1")
            ae.add_requested_context(MOVE[1])
            asker = ae.associate("127.0.0.1", node.port, ae_title="MINIPACS")
            for number in range(40):
                stored = as_file(image(f"1.2.3.9.{number}"), tmp_path / f"{number}.dcm")
                assert asker.send_c_store(stored).Status == 0
            thread = threading.Thread(target=lambda: list(asker.send_c_move(STUDY, "STORE", MOVE[1])), daemon=True)
            thread.start()
            wait_until(lambda: fake.connections == 1, within=30, what="the call of the destination")
            node.child.terminate()
            assert node.child.wait(within=1.0 + SOON) == 0, "the second that open associations have, and the end"
            asker.abort()


def test_a_get_ends_with_its_asker(tmp_path: Path) -> None:
    goes_on = threading.Event()

    def store(_: Any) -> int:
        goes_on.wait(30)
        return 0

    def serving() -> list[str]:
        return [one.name for one in threading.enumerate() if one.name.startswith("AcceptorThread")]

    roles = [build_role(CT_IMAGE_STORAGE.decode(), scp_role=True)]
    more: dict[str, Any] = {"ext_neg": roles, "evt_handlers": [(evt.EVT_C_STORE, store)]}
    with full_node(tmp_path, ASKER, timeouts=PATIENT) as node:
        with calling(node, GET[1], CT_IMAGE_STORAGE.decode(), **more) as asker:
            thread = threading.Thread(target=lambda: list(asker.send_c_get(STUDY, GET[1])), daemon=True)
            thread.start()
            wait_until(lambda: bool(serving()), within=30, what="its thread")
            connection: Any = asker.dul.socket
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.socket.shutdown(socket.SHUT_RDWR)
            asker.abort()
            goes_on.set()
        wait_until(lambda: not serving(), within=SOON, what="the end of what serves it")


# --- they count ------------------------------------------------------------------------------------------------------


def test_they_count_against_the_limit_of_associations(tmp_path: Path) -> None:
    other = Peer("other", "OTHER")
    with (
        behaving(says_nothing) as port,
        full_node(
            tmp_path,
            ASKER,
            other,
            Peer("store", "STORE", "127.0.0.1", port),
            timeouts=PATIENT,
            limits=Limits(associations=3),
        ) as node,
    ):
        request = asking(proposing(1, CT_IMAGE_STORAGE), calling=b"OTHER")
        with (
            moving(node, lambda: node.services.calls == 1),
            raw_peer(node.port) as first,
            raw_peer(node.port) as second,
        ):
            assert first.exchange(request)[0] == 0x02
            assert second.exchange(request) == rejecting(2, 3, 2)
        wait_until(lambda: node.services.calls == 0, within=SOON, what="the end of the sub-operations")


def test_where_no_association_is_left_a_move_is_refused_and_calls_nobody(tmp_path: Path) -> None:
    with (
        faking(says_nothing) as fake,
        full_node(
            tmp_path, ASKER, Peer("store", "STORE", "127.0.0.1", fake.peer.port), limits=Limits(associations=1)
        ) as node,
    ):
        with calling(node, MOVE[1]) as asker:
            [(status, _)] = asker.send_c_move(STUDY, "STORE", MOVE[1])
        assert (status.Status, status.ErrorComment) == (0xA702, "as many associations are open as [limits] allows")
        assert fake.connections == 0
        [record] = node.scp.wait_for_associations(1)
        assert record.reason == "C-MOVE answered with 0xA702, as many associations are open as [limits] allows"


def test_a_destination_whose_name_has_no_address_is_told_as_that(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is no want of resources."""
    host = "no-such-host.invalid"
    with full_node(tmp_path, ASKER, Peer("store", "STORE", host, 104)) as node, calling(node, MOVE[1]) as asker:
        [(status, _)] = asker.send_c_move(STUDY, "STORE", MOVE[1])
    assert status.Status == 0xA801
    assert node.services.calls == 0
    assert f"destination STORE is peer store, whose host {host} has no address: " in caplog.text
