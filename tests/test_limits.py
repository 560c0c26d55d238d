"""What a hostile network brings: each bound of the node is broken over real sockets, and another peer is served."""

import logging
import os
import resource
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from minipacs import Peer, VerificationSCP, echo
from minipacs.settings import Limits
from minipacs.tls import client_context, server_context

from .certificates import Authority
from .peers.node import MINIPACS, Node, environment, serving, table
from .peers.process import running, wait_until
from .raw import RawPeer, asking, is_closed_unread, raw_peer, rejecting
from .test_scp import (
    ACCEPTED,
    ECHOSCU,
    OPEN,
    SHORT,
    Lines,
    associated,
    echoes,
    heard,
    last_record,
    listener_of,
    scp,
    spoken,
    wait_until_nothing_is_kept,
)
from .wire.exchange import RELEASE_RP, RELEASE_RQ, echo_answers
from .wire.exchange import echo as echo_rq

PATIENCE = 30.0

REFUSED = (
    "connections from 127.0.0.1 are closed unread: this node takes those from 10.1.2.0/24, ::1 only [inbound.address]; "
    'fix: if that is where a peer should call from: allow_from = ["10.1.2.0/24", "::1", "127.0.0.1"] under [node] in '
    "minipacs.toml"
)


@pytest.fixture
def lines() -> Iterator[Lines]:
    with heard() as lines:
        yield lines


# --- the addresses that the node takes -------------------------------------------------------------------------------


def node_for(*allow_from: str, **options: Any) -> VerificationSCP:
    return VerificationSCP([ECHOSCU], port=0, timeouts=SHORT, allow_from=allow_from, **options)


def test_from_elsewhere_nothing_is_read_and_one_line_tells_of_it(lines: Lines) -> None:
    with node_for("10.1.2.0/24", "::1", limits=Limits(connections=1)) as node:
        for _ in range(20):
            assert is_closed_unread(node.port, OPEN)
        wait_until(lambda: listener_of(node).associations.refused_connections == 20, within=PATIENCE, what="20 refused")
        assert [line.getMessage() for line in lines.records] == [REFUSED]
        assert lines.records[0].levelno == logging.WARNING
        status = listener_of(node).associations
        assert (status.connections, status.silent_connections, list(node.associations)) == (0, 0, [])
        wait_until_nothing_is_kept(node)
    assert lines.records[-1].getMessage() == f"19 more like this, untold until now: {REFUSED}"
    assert len(lines.records) == 2


def test_from_an_address_that_it_takes_a_peer_is_served() -> None:
    for allowed in ("127.0.0.0/8", "127.0.0.1"):
        with node_for(allowed) as node:
            assert echoes(node)


def test_an_ipv4_peer_of_a_socket_for_both_versions_is_compared_as_ipv4() -> None:
    both = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    with node_for("127.0.0.1") as node, node_for("10.0.0.0/8") as closed:
        for listener, is_served in ((listener_of(node), True), (listener_of(closed), False)):
            assert listener._takes("::ffff:127.0.0.1") is is_served
            assert listener._takes("::1%eth0") is False
    both.close()


def test_who_is_not_taken_makes_nobody_give_way() -> None:
    with node_for("127.0.0.2/32", limits=Limits(connections=1)) as node, closing(socket.socket()) as held:
        held.bind(("127.0.0.2", 0))
        held.settimeout(PATIENCE)
        held.connect(("127.0.0.1", node.port))
        wait_until(lambda: len(listener_of(node)._connections) == 1, within=PATIENCE, what="the one that waits")
        for _ in range(5):
            assert is_closed_unread(node.port, OPEN)
        held.sendall(OPEN)
        assert held.recv(len(ACCEPTED), socket.MSG_WAITALL) == ACCEPTED


def test_the_port_for_tls_takes_the_same_addresses(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    tls, ours = authority.settings(authority.issue()), client_context(authority.settings(authority.issue("peer.test")))
    with node_for("10.0.0.0/8", tls=server_context(tls)) as node:
        assert is_closed_unread(node.port, OPEN)
        assert not echo(Peer("", "MINIPACS", "127.0.0.1", node.port), "ECHOSCU", tls=ours).is_success
    with node_for("127.0.0.1", tls=server_context(tls)) as node:
        assert echo(Peer("", "MINIPACS", "127.0.0.1", node.port), "ECHOSCU", tls=ours).is_success


def test_a_guard_that_breaks_stays_shut(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object) -> bool:
        raise RuntimeError("broken")

    with node_for("127.0.0.1") as node:
        monkeypatch.setattr("minipacs.listener.is_within", breaks)
        assert is_closed_unread(node.port, OPEN)
        monkeypatch.undo()
        assert echoes(node)


@pytest.mark.parametrize("value", ["localhost", "10.1.2.3/24", "::ffff:10.0.0.1"])
def test_what_is_no_address_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"^allow_from: must be"):
        VerificationSCP(allow_from=[value])


def test_the_settings_and_the_status_say_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "minipacs.toml").write_text('[node]\nallow_from = ["10.1.2.0/24"]\n')
    with serving(tmp_path, table({"name": "echoscu", "ae_title": "ECHOSCU"})) as node:
        for _ in range(2):
            assert is_closed_unread(node.port, OPEN)
        status = node.minipacs("status", "--port", str(node.port)).stdout
        assert "0 closed; 2 connections from addresses outside allow_from" in status


# --- the associations of one peer ------------------------------------------------------------------------------------


def test_one_association_too_many_of_a_peer_is_rejected_and_others_get_in() -> None:
    peers = (ECHOSCU, Peer("other", "OTHER"))
    limits = Limits(associations=10, associations_per_peer=2)
    with scp(limits=limits, peers=peers) as node, associated(node), associated(node) as second:
        with raw_peer(node.port) as third:
            assert third.exchange(OPEN) == rejecting(2, 3, 2)
        record = last_record(node)
        assert (record.code, record.reject, record.peer) == ("admission.peer-limit", "2/3/2", "echoscu")
        assert record.reason == "ECHOSCU holds as many associations as one peer may: 2"
        assert record.fix == "see on ECHOSCU why it does not end them; or raise associations_per_peer under [limits]"
        with associated(node, asking(calling=b"OTHER")) as other:
            assert other.exchange(echo_rq()) == echo_answers(1)
        assert second.exchange(RELEASE_RQ) == RELEASE_RP
        node.wait_for_associations(3)
        with associated(node) as again:
            assert again.exchange(echo_rq()) == echo_answers(1)


def test_by_default_one_peer_holds_half_of_the_associations() -> None:
    with scp() as node, ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(associated(node))
        with raw_peer(node.port) as peer:
            assert peer.exchange(OPEN) == rejecting(2, 3, 2)


# --- floods in the log -----------------------------------------------------------------------------------------------


def reject(node: VerificationSCP, title: bytes, called: bytes = b"MINIPACS") -> None:
    with raw_peer(node.port) as peer:
        assert peer.exchange(asking(calling=title, called=called))[:1] == b"\3"


def test_strangers_under_ever_new_titles_are_a_flood(lines: Lines) -> None:
    with scp() as node:
        for number in range(30):
            reject(node, b"T%d" % number)
        node.wait_for_associations(30)
        told = [spoken(line).partition("@")[0] for line in lines.of("association")]
        assert told == [f"T{number}" for number in range(10)]
        assert echoes(node)
        assert spoken(lines.wait_for("association", 11)).startswith("echoscu (ECHOSCU@127.0.0.1)")
    last = lines.records[-1].getMessage()
    assert last.startswith("20 more like this, untold until now: T29@127.0.0.1 -> MINIPACS: rejected 1/1/3")


def test_a_peer_that_is_rejected_does_not_hide_behind_a_stranger(lines: Lines) -> None:
    with scp() as node:
        for _ in range(12):
            reject(node, b"STRANGER")
        for _ in range(12):
            reject(node, b"ECHOSCU", called=b"OTHER")
        node.wait_for_associations(24)
        told = [spoken(line).partition(" ->")[0] for line in lines.of("association")]
    assert told == ["STRANGER@127.0.0.1"] * 10 + ["echoscu (ECHOSCU@127.0.0.1)"] * 10


def test_what_is_not_told_is_told_after_a_while_and_nothing_waits_for_more(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minipacs.flood.PERIOD", 0.5)
    with scp() as node:
        with listener_standing(node, 3):
            pass
        wait_until(lambda: any("untold" in line.getMessage() for line in lines.records), within=PATIENCE, what="count")
        wait_until(lambda: listener_of(node)._log._timer is None, within=PATIENCE, what="no timer")
        assert echoes(node)


@contextmanager
def listener_standing(node: VerificationSCP, count: int) -> Iterator[None]:
    """So many HTTP requests that come at once."""
    with ExitStack() as stack:
        peers = [stack.enter_context(raw_peer(node.port)) for _ in range(count)]
        for peer in peers:
            peer.send(b"GET / HTTP/1.0\r\n\r\n")
        for peer in peers:
            peer.receive_all()
        yield


def test_a_rule_that_fails_again_and_again_is_told_once(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("minipacs.admission._admit", breaks)
    with scp() as node:
        for _ in range(15):
            reject(node, b"ECHOSCU")
        node.wait_for_associations(15)
        assert len([line for line in lines.of(None) if line.exc_info]) == 1
        assert len(lines.of("association")) == 10


# --- file descriptors ------------------------------------------------------------------------------------------------

on_linux = pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="elsewhere the limit of no other process is set")

TIGHT = 'ulimit -n 64; exec "$@"'


@contextmanager
def serving_with_few(folder: Path) -> Iterator[Node]:
    """`minipacs serve` that may have 64 file descriptors."""
    (folder / "conf").mkdir()
    (folder / "conf" / "peers.toml").write_text(table({"name": "echoscu", "ae_title": "ECHOSCU"}))
    (folder / "conf" / "minipacs.toml").write_text("[timeouts]\nrequest = 60\n")
    command = ["sh", "-c", TIGHT, "sh", *MINIPACS, "serve", "--port", "0", "--log-format", "json"]
    ready = lambda child: "listening on" in child.log and "\n" in child.log  # noqa: E731
    with running(command, log=folder / "node.log", ready=ready, env=environment(), cwd=folder) as child:
        yield Node(folder, child)


def messages(node: Node, words: str) -> list[str]:
    return [event["message"] for event in node.events("message") if words in event["message"]]


def goes_through(port: int) -> None:
    with raw_peer(port) as peer:
        peer.send(OPEN, echo_rq(), RELEASE_RQ)
        assert peer.receive_all(PATIENCE) == ACCEPTED + echo_answers(1) + RELEASE_RP


def test_a_node_without_descriptors_pauses_tells_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with serving_with_few(tmp_path) as node:
        assert messages(node, "takes 1048 file descriptors, and this process may have 64")
        with ExitStack() as stack:
            for _ in range(100):
                stack.enter_context(closing(RawPeer(node.port)))
            wait_until(lambda: bool(messages(node, "accepting pauses: of 64 file")), within=PATIENCE, what="the pause")
            # what is left to the node lets it do the rest of its work
            node.save(table({"name": "echoscu", "ae_title": "ECHOSCU"}, {"name": "ct1", "ae_title": "CT1"}))
            assert "peers: 2 peers" in node.minipacs("status", "--port", str(node.port)).stdout
            assert not messages(node, "accepting goes on")
        goes_through(node.port)
        wait_until(lambda: bool(messages(node, "accepting goes on")), within=PATIENCE, what="the end of the pause")
        assert len(messages(node, "accepting")) == 3  # the warning at the start, the pause, the end of it
        assert "Traceback" not in node.child.log


@on_linux
def test_a_table_that_cannot_be_opened_for_want_of_descriptors_is_read_when_it_can(tmp_path: Path) -> None:
    ct1 = table({"name": "ct1", "ae_title": "CT1"})
    with serving(tmp_path, table({"name": "echoscu", "ae_title": "ECHOSCU"})) as node:
        before = resource.prlimit(node.child.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(node.child.pid, resource.RLIMIT_NOFILE, (3, before[1]))
        other = node.peers.with_name("new")
        other.write_text(ct1)
        other.replace(node.peers)
        os.kill(node.child.pid, signal.SIGHUP)
        assert "Too many open files" in node.wait_for("peers-invalid", 1)["errors"][0]
        resource.prlimit(node.child.pid, resource.RLIMIT_NOFILE, before)
        assert node.wait_for("peers-reloaded", 1)["added"] == ["ct1"]


@on_linux
def test_a_limit_that_is_raised_ends_the_pause(tmp_path: Path) -> None:
    with serving(tmp_path, table({"name": "echoscu", "ae_title": "ECHOSCU"})) as node:
        before = resource.prlimit(node.child.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(node.child.pid, resource.RLIMIT_NOFILE, (3, before[1]))
        with raw_peer(node.port) as peer:
            wait_until(lambda: bool(messages(node, "accepting pauses")), within=PATIENCE, what="the pause")
            resource.prlimit(node.child.pid, resource.RLIMIT_NOFILE, before)
            peer.send(OPEN, echo_rq(), RELEASE_RQ)
            assert peer.receive_all(PATIENCE) == ACCEPTED + echo_answers(1) + RELEASE_RP
        wait_until(lambda: bool(messages(node, "accepting goes on")), within=PATIENCE, what="the end of the pause")
        assert len(messages(node, "accepting pauses")) == 1
