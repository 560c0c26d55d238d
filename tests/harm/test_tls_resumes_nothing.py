"""No TLS session is resumed: a peer is judged by the clock and the files of now, at its handshake and its admission."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from minipacs import VerificationSCP
from minipacs.certificate import is_valid_now, validity
from minipacs.live_tls import LiveTLS
from minipacs.tls import client_context, server_context
from tests.certificates import Authority, Identity
from tests.peers.node import Node
from tests.peers.process import wait_until
from tests.raw import asking
from tests.test_live_tls import DAY, Place, der, node_in
from tests.test_ties import REJECTED_1_1_3, tied
from tests.tls_words import assert_told

PATIENCE = 30.0
SOON = timedelta(seconds=4)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "tls").mkdir()
    return Place(tmp_path / "tls")


@pytest.fixture
def node(place: Place, tmp_path: Path) -> Iterator[tuple[Node, int]]:
    with node_in(place, tmp_path) as (node, port):
        yield node, port


def context_of(authority: Authority, identity: Identity | None, version: str = "1.2") -> ssl.SSLContext:
    context = client_context(authority.settings(identity))
    if version == "1.2":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


@contextmanager
def secured(port: int, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection(("127.0.0.1", port), PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as wrapped,
    ):
        yield wrapped


def ask(connection: ssl.SSLSocket, calling: bytes = b"MINIPACS") -> bytes:
    """Ask for an association: the beginning of what is answered."""
    connection.sendall(asking(calling=calling))
    return connection.recv(10)


def wait_for_the_end_of(identity: Identity) -> None:
    wait_until(lambda: not is_valid_now(der(identity)), within=PATIENCE, what="the end of the certificate")


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("tickets", [True, False], ids=["tickets", "session IDs"])
def test_a_session_is_not_resumed_and_the_peer_is_served_all_the_same(
    tickets: bool, version: str, node: tuple[Node, int], place: Place
) -> None:
    context = context_of(place.authority, place.authority.issue(), version)
    if not tickets:
        context.options |= ssl.OP_NO_TICKET
    session = None
    for _ in range(4):
        with secured(node[1], context, session) as connection:
            assert ask(connection)[:1] == b"\x02"
            assert not connection.session_reused
            session = connection.session
            assert session is None or not session.has_ticket


def test_a_session_of_a_connection_that_is_open_is_not_resumed(node: tuple[Node, int], place: Place) -> None:
    """OpenSSL forgets a session that was not closed well: so the first is left open."""
    context = context_of(place.authority, place.authority.issue())
    with secured(node[1], context) as first, secured(node[1], context, first.session) as second:
        assert not second.session_reused
        assert ask(first)[:1] == ask(second)[:1] == b"\x02"


def test_no_more_than_a_few_sessions_are_kept(place: Place) -> None:
    """OpenSSL would keep 20 480 with a context, of 10 kB each."""
    client = context_of(place.authority, place.authority.issue())
    with LiveTLS(place.tls, lambda _: None) as live:
        contexts = {live.context()}
        for _ in range(600):
            contexts.add(context := live.context())
            shake_hands(client, context)
        assert max(context.session_stats()["number"] for context in contexts) <= 256
        assert len(contexts) == 3, "one after the other"


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    """To its end, and close well, as a session is kept alone."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    peer = client.wrap_bio(back, there, server_hostname="127.0.0.1")
    node = server.wrap_bio(there, back, server_side=True)
    for step in (peer.do_handshake, node.do_handshake) * 3 + (node.unwrap, peer.unwrap, node.unwrap):
        with suppress(ssl.SSLWantReadError):
            step()


def test_a_hello_in_pieces_resumes_nothing(node: tuple[Node, int], place: Place) -> None:
    """In two records, the second later than the first: there is no answer before both are there."""
    context = context_of(place.authority, place.authority.issue())
    with secured(node[1], context) as first, socket.create_connection(("127.0.0.1", node[1]), PATIENCE) as sock:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1", session=first.session)
        with pytest.raises(ssl.SSLWantReadError):
            client.do_handshake()
        hello = outgoing.read()
        body = hello[5:]
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in (body[:60], body[60:]):
            sock.sendall(hello[:3] + len(piece).to_bytes(2) + piece)
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(outgoing.read())
                data = sock.recv(1 << 16)
                assert data, "the node has closed"
                incoming.write(data)
        assert not client.session_reused


def is_refused(port: int, context: ssl.SSLContext, session: ssl.SSLSession | None) -> bool:
    try:
        with secured(port, context, session) as connection:
            return ask(connection) == b""
    except (ssl.SSLError, ConnectionResetError):
        return True


def test_who_resumes_with_a_certificate_that_has_expired_is_refused(node: tuple[Node, int], place: Place) -> None:
    identity = place.authority.issue(valid=(-DAY, SOON))
    context = context_of(place.authority, identity)
    with secured(node[1], context) as first:
        session = first.session
        wait_for_the_end_of(identity)
        assert is_refused(node[1], context, session)
        assert node[0].wait_for("association", 1)["reason"] == "the peer's certificate has expired"


def test_who_resumes_after_its_authority_is_trusted_no_more_is_refused(node: tuple[Node, int], place: Place) -> None:
    context = context_of(place.authority, place.authority.issue())
    with secured(node[1], context) as first:
        place.trust(place.other)
        assert is_refused(node[1], context, first.session)
        reason = node[0].wait_for("association", 1)["reason"]
    assert reason.startswith("we do not trust the CA of the peer's certificate")


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_certificate_that_expires_behind_the_handshake_is_rejected(version: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    identity = authority.issue("peer.test", valid=(-DAY, SOON))
    tls = server_context(authority.settings(authority.issue()))
    with VerificationSCP(tied("CN=peer.test"), port=0, tls=tls) as node:
        context = context_of(authority, identity, version)
        with secured(node.port, context) as early, secured(node.port, context) as late:
            assert ask(early, b"ECHOSCU")[:1] == b"\x02"
            wait_for_the_end_of(identity)
            assert ask(late, b"ECHOSCU") == REJECTED_1_1_3
            (record,) = node.wait_for_associations(1)
        assert (record.code, record.reject) == ("admission.certificate-expired", "1/1/3")
        assert_told(record.code, record.reason, record.fix)


def test_a_certificate_is_valid_from_its_first_second_to_its_last(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    assert is_valid_now(der(authority.issue()))
    assert not is_valid_now(der(authority.issue_expired()))
    assert not is_valid_now(der(authority.issue_for_tomorrow()))
    begin, end = validity(der(authority.issue()))
    assert begin < datetime.now(UTC) < end
