"""The threads of an association behind the door: idle while nothing comes, and there at once when something does."""

import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, evt
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AddressInformation

from minipacs.services import library
from minipacs.services.bell import Bell, Ringing
from minipacs.services.buffered_socket import BufferedSocket
from minipacs.services.checkpoint import Checkpoint
from minipacs.services.promptness import PromptAssociation
from tests.fakes import faking, rejects
from tests.peers.node import serving, table
from tests.peers.process import wait_until
from tests.proc import Process
from tests.raw import CT_IMAGE_STORAGE, asking, proposing, raw_peer

IDLE = 12  # associations
SECONDS = 3.0


def test_associations_that_idle_cost_next_to_nothing(tmp_path: Path) -> None:
    """Each of its two threads looks once a second, in case; pynetdicom's own would look a thousand times."""
    peers = table({"name": "scu", "ae_title": "ECHOSCU"})
    with serving(tmp_path, peers, "--storage", "kept") as node, ExitStack() as idle:
        for _ in range(IDLE):
            peer = idle.enter_context(raw_peer(node.port))
            assert peer.exchange(asking(proposing(1, CT_IMAGE_STORAGE)))[0] == 0x02
        process = Process(node.child.pid)
        time.sleep(1.0)
        switches, started = process.context_switches, time.monotonic()
        time.sleep(SECONDS)
        rate = (process.context_switches - switches) / (time.monotonic() - started)
    assert rate < 10 * IDLE


# --- the bell ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair()


def test_who_waits_is_woken_by_the_bell_or_by_what_comes(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    bell = Bell()
    with ours, theirs:
        began = time.monotonic()
        threading.Timer(0.05, bell.ring).start()
        assert bell.wait(ours, 20, lambda: False) is False
        threading.Timer(0.05, lambda: theirs.send(b"?")).start()
        assert bell.wait(ours, 20, lambda: False) is True
        assert time.monotonic() - began < 5
        assert bell.wait(None, 0.01, lambda: False) is False
    assert bell.wait(ours, 20, lambda: False) is True, "closed, which reading it tells"
    bell.close()
    bell.ring()


def test_what_rang_before_it_is_waited_for_is_not_missed() -> None:
    bell = Bell()
    queue = Ringing(bell.ring)
    queue.put("early")
    assert bell.wait(None, 20, lambda: bool(queue.queue)) is False
    bell.close()


# --- where the reactor stands -----------------------------------------------------------------------------------------


class Reactor(threading.Thread):
    """Passes by its checkpoint, and counts."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.checkpoint = Checkpoint(self)
        self.rounds = 0
        self.is_over = False

    def run(self) -> None:
        while not self.is_over:
            self.checkpoint.wait()
            self.rounds += 1


def test_the_reactor_stands_while_it_is_told_to_and_runs_when_it_is_rung() -> None:
    reactor = Reactor()
    reactor.start()
    wait_until(lambda: reactor.checkpoint._stands and reactor.rounds == 1, within=5, what="the first round")
    reactor.checkpoint.clear()
    reactor.checkpoint.ring()
    time.sleep(0.05)
    assert (reactor.rounds, reactor.checkpoint.is_set()) == (1, False)
    reactor.checkpoint.set()
    wait_until(lambda: reactor.rounds == 2, within=0.9, what="a round, and not only in case")
    reactor.is_over = True
    reactor.checkpoint.ring()
    reactor.join(5)
    assert not reactor.is_alive()


# --- the provider -----------------------------------------------------------------------------------------------------


def test_a_provider_that_is_never_started_keeps_no_thread_and_one_that_is_stopped_none() -> None:
    association = PromptAssociation(AE("TESTER"), "requestor")
    association.dul.start()
    assert association._dul_ready.wait(5)
    assert association.dul.stop_dul()
    assert not association.dul.is_alive()
    assert association.dul.is_over


def test_what_is_still_to_be_sent_when_the_association_is_aborted_does_no_harm(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """An exception in the thread would fail this test."""
    ours, theirs = pair
    association = PromptAssociation(AE("TESTER"), "acceptor")
    association.set_socket(BufferedSocket(association, client_socket=ours))
    association.requestor.address_info = AddressInformation("127.0.0.1", 104)
    provider = association.dul
    provider.state_machine.current_state = "Sta13"
    provider.event_queue.get()
    with theirs:
        provider.to_provider_queue.put(P_DATA())
        provider.start()
        provider.join(5)
        assert not provider.is_alive()
        assert theirs.recv(10) == b""


# --- the connection ---------------------------------------------------------------------------------------------------


def test_who_has_a_turn_only_when_the_peer_has_rejected_and_closed_finds_the_rejection() -> None:
    entity = library.Entity("TESTER")
    entity.add_requested_context("1.2.840.10008.1.1")
    late: Any = [(evt.EVT_REQUESTED, lambda _: time.sleep(0.5))]
    with faking(rejects(1, 1, 3)) as fake:
        assert fake.peer.port is not None
        association = entity.associate("127.0.0.1", fake.peer.port, evt_handlers=late)
    answer = association.acceptor.primitive
    assert (association.is_rejected, association.is_aborted) == (True, False)
    assert answer is not None
    assert answer.diagnostic == 3
