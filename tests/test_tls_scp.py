"""The SCP on its port for TLS: what it does elsewhere it does here, and each handshake that fails has its row."""

import gc
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial

import pytest

from minipacs import AssociationOutcome, AssociationRecord, Peer, VerificationSCP, echo
from minipacs.diagnosis import CATALOGUE
from minipacs.listener import Listener
from minipacs.settings import TLS, Limits, Timeouts
from minipacs.tls import client_context, server_context
from minipacs.tls_connection import TLSConnection

from .certificates import SERVERS_ALONE, Authority, Identity, World
from .peers.process import wait_until
from .raw import RawPeer, accepting, asking, raw_peer
from .test_scp import wait_until_nothing_is_kept
from .tls_words import WORDS, assert_told
from .wire.exchange import ABORT_0_0, RELEASE_RP, RELEASE_RQ, echo_answers
from .wire.exchange import echo as echo_rq

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
SHORT = Timeouts(close=0.05, stop=0.2)
PATIENT = 5.0

OPEN = asking()
ACCEPTED = accepting(OPEN)
ECHO_RQ = echo_rq()
INVALID, CLOSED = AssociationOutcome.INVALID, AssociationOutcome.CLOSED
PROTOCOL_VERSION = bytes.fromhex("15030300020246")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("certificates")
    ours, other = Authority(folder / "ours"), Authority(folder / "other", "Other CA")
    return World(ours, other, ours.issue(), ours.issue("peer.test"))


def scp(tls: TLS, timeouts: Timeouts = SHORT, limits: Limits = Limits()) -> VerificationSCP:  # noqa: B008 - frozen
    peers = [Peer("echoscu", "ECHOSCU")]
    return VerificationSCP(peers, port=0, timeouts=timeouts, limits=limits, tls=server_context(tls))


def good_node(world: World) -> TLS:
    return world.ours.settings(world.node)


def good_peer(world: World) -> ssl.SSLContext:
    return client_context(world.ours.settings(world.peer))


@pytest.fixture
def node(world: World) -> Iterator[VerificationSCP]:
    with scp(good_node(world)) as node:
        yield node


@contextmanager
def tls_peer(node: VerificationSCP, context: ssl.SSLContext, name: str = "127.0.0.1") -> Iterator[RawPeer]:
    """A raw peer behind its handshake."""
    with raw_peer(node.port) as peer:
        peer.socket = context.wrap_socket(peer.socket, server_hostname=name)
        yield peer


def last_record(node: VerificationSCP, count: int = 1) -> AssociationRecord:
    return node.wait_for_associations(count, timeout=PATIENT)[-1]


def echoes(node: VerificationSCP, world: World) -> bool:
    return echo(Peer("", "MINIPACS", "127.0.0.1", node.port), "ECHOSCU", tls=good_peer(world)).is_success


# --- as elsewhere ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_an_association_is_as_it_is_in_plain(version: str, node: VerificationSCP, world: World) -> None:
    context = good_peer(world)
    context.maximum_version = VERSIONS[version]
    with tls_peer(node, context) as peer:
        assert peer.exchange(OPEN) == ACCEPTED
        peer.send(ECHO_RQ)
        assert peer.receive(len(echo_answers(1))) == echo_answers(1)
        assert peer.exchange(RELEASE_RQ) == RELEASE_RP
    record = last_record(node)
    assert (record.outcome, record.peer, record.echoes) == (AssociationOutcome.RELEASED, "echoscu", 1)
    assert (record.calling_ae_title, record.reason, record.observations) == ("ECHOSCU", None, ())
    wait_until_nothing_is_kept(node)


def test_everything_at_once_is_answered_and_the_close_is_told(node: VerificationSCP, world: World) -> None:
    """Each record may hold several PDUs, each PDU may take several records; the end is a close_notify."""
    context = good_peer(world)
    with raw_peer(node.port) as peer:
        peer.socket = context.wrap_socket(peer.socket, server_hostname="127.0.0.1", suppress_ragged_eofs=False)
        data = OPEN + ECHO_RQ + ECHO_RQ + RELEASE_RQ
        peer.send(*(bytes([byte]) for byte in data[:50]), data[50:])
        assert peer.receive_all() == ACCEPTED + echo_answers(1, 1) + RELEASE_RP
    assert last_record(node).echoes == 2


PIECES: dict[str, Callable[[bytes], tuple[bytes, ...]]] = {
    "a byte each": lambda hello: tuple(bytes([byte]) for byte in hello),
    "header, body": lambda hello: (hello[:5], hello[5:]),
    "two records": lambda hello: (two_records(hello),),
    "two records, one after the other": lambda hello: (two_records(hello)[:55], two_records(hello)[55:]),
}


@pytest.mark.parametrize("name", PIECES)
def test_a_hello_in_any_pieces_is_taken(name: str, node: VerificationSCP, world: World) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = good_peer(world).wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with raw_peer(node.port) as peer:
        assert not shakes_hands(client)
        peer.send(*PIECES[name](outgoing.read()))
        while not shakes_hands(client):
            incoming.write(peer.socket.recv(1 << 16))
        client.write(OPEN)
        peer.send(outgoing.read())
        while not (answer := deciphered_so_far(client)):
            incoming.write(peer.socket.recv(1 << 16))
    assert answer == ACCEPTED


def two_records(hello: bytes) -> bytes:
    """The message in two records, of which the first has 50 bytes (RFC 8446 §5.1)."""
    version, message = hello[:3], hello[5:]
    return b"".join(version + len(part).to_bytes(2, "big") + part for part in (message[:50], message[50:]))


def deciphered_so_far(client: ssl.SSLObject) -> bytes:
    try:
        return client.read(1 << 16)
    except ssl.SSLWantReadError:
        return b""


def test_openssl_is_not_asked_before_there_is_a_record(node: VerificationSCP, world: World) -> None:
    """It takes 50 kB a handshake, which a crowd of half-sent ones would take from us."""
    hello = client_hello(world)
    with raw_peer(node.port) as silent, raw_peer(node.port) as half, raw_peer(node.port) as whole:
        half.send(hello[:-1])
        whole.send(hello[:-1], hello[-1:])
        assert whole.receive(1) == b"\x16"
        begun = {c.port: hasattr(c, "_tls") for c in list(listener_of(node)._connections)}
        ports = [peer.socket.getsockname()[1] for peer in (silent, half, whole)]
        assert [begun[port] for port in ports] == [False, False, True]
        half.send(hello[-1:])
        assert half.receive(1) == b"\x16"


def test_a_record_longer_than_any_is_not_waited_for(node: VerificationSCP) -> None:
    with raw_peer(node.port) as peer:
        peer.send(bytes.fromhex("160301 ffff"))
        assert peer.receive_all()[:1] == b"\x15"
    assert last_record(node).outcome == INVALID


def test_a_stranger_is_rejected_as_elsewhere(node: VerificationSCP, world: World) -> None:
    with tls_peer(node, good_peer(world)) as peer:
        assert peer.exchange(asking(calling=b"STRANGER"))[:1] == b"\x03"
    record = last_record(node)
    assert (record.outcome, record.reject, record.code) == ("rejected", "1/1/3", "admission.calling-ae-title")


def test_a_peer_that_is_removed_is_aborted(node: VerificationSCP, world: World) -> None:
    with tls_peer(node, good_peer(world)) as peer:
        assert peer.exchange(OPEN) == ACCEPTED
        node.peers = []
        assert peer.receive_all(PATIENT) == ABORT_0_0
    assert last_record(node).code == "inbound.removed"


@pytest.mark.parametrize("close_notify", [True, False])
def test_a_peer_that_sends_no_more_still_gets_its_answers(
    close_notify: bool, node: VerificationSCP, world: World
) -> None:
    """Whether it says so by close_notify, or by the end of the TCP connection alone."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = good_peer(world).wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with raw_peer(node.port) as peer:
        while not shakes_hands(client):
            peer.send(outgoing.read())
            incoming.write(peer.socket.recv(1 << 16))
        client.write(OPEN + ECHO_RQ)
        if close_notify:
            with suppress(ssl.SSLWantReadError):
                client.unwrap()
        peer.send(outgoing.read())
        if not close_notify:
            peer.half_close()
        incoming.write(peer.receive_all(PATIENT))
    assert deciphered(client) == ACCEPTED + echo_answers(1)
    record = last_record(node)
    assert (record.outcome, record.echoes) == (CLOSED, 1)
    wait_until_nothing_is_kept(node)


def deciphered(client: ssl.SSLObject) -> bytes:
    """All that came before the close_notify of the node."""
    data = b""
    with suppress(ssl.SSLZeroReturnError):
        while chunk := client.read(1 << 16):
            data += chunk
    return data


def shakes_hands(client: ssl.SSLObject) -> bool:
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def test_small_records_are_sent_and_acknowledged_at_once(
    node: VerificationSCP, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    armed: list[object] = []
    monkeypatch.setattr("minipacs.tls_connection.acknowledge_at_once", armed.append)
    with tls_peer(node, good_peer(world)) as peer:
        assert peer.exchange(OPEN) == ACCEPTED
        count = len(armed)
        for _ in range(3):
            assert peer.exchange(ECHO_RQ) == echo_answers(1)
        [held] = listener_of(node)._associations
        assert held._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert armed[count:] == [held._socket] * 3


# --- one peer for each row -------------------------------------------------------------------------------------------


Call = Callable[[VerificationSCP, World], None]


def sends(data: bytes) -> Call:
    """No TLS. It is told so by an alert, and then by the close."""

    def call(node: VerificationSCP, _: World) -> None:
        with raw_peer(node.port) as peer:
            peer.send(data)
            assert peer.receive_all() == PROTOCOL_VERSION

    return call


def fails(make: Callable[[World], ssl.SSLContext], version: str = "1.3", name: str = "127.0.0.1") -> Call:
    """A client whose handshake one side or the other ends by an alert."""

    def call(node: VerificationSCP, world: World) -> None:
        context = make(world)
        context.maximum_version = VERSIONS[version]
        with pytest.raises(ssl.SSLError), tls_peer(node, context, name) as peer:
            peer.socket.recv(1)

    return call


def shows(make: Callable[[World], Identity | None], version: str) -> Call:
    return fails(lambda w: client_context(w.ours.settings(make(w))), version)


def stranger(world: World) -> ssl.SSLContext:
    """Trusts the other authority, and shows what ours has issued."""
    return client_context(world.other.settings(world.peer))


def of_one_suite(world: World) -> ssl.SSLContext:
    """TLS 1.2 with a suite that RFC 9325 advises against."""
    context = good_peer(world)
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA256")
    return context


def client_hello(world: World) -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = good_peer(world).wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def leaves(node: VerificationSCP, world: World) -> None:
    with raw_peer(node.port) as peer:
        peer.send(client_hello(world)[:100])


def resets(node: VerificationSCP, world: World) -> None:
    with raw_peer(node.port) as peer:
        peer.send(client_hello(world)[:100])
        wait_until(
            lambda: any(c._bytes_came for c in list(listener_of(node)._connections)), within=PATIENT, what="bytes"
        )
        peer.reset()


def sends_a_broken_hello(node: VerificationSCP, _: World) -> None:
    with raw_peer(node.port) as peer:
        peer.send(bytes.fromhex("1603010004 ffffffff"))
        assert peer.receive_all()[:1] == b"\x15"


def sends_a_broken_record(node: VerificationSCP, world: World) -> None:
    with tls_peer(node, good_peer(world)) as peer:
        assert peer.exchange(OPEN) == ACCEPTED
        socket.socket.sendall(peer.socket, bytes.fromhex("1703030020") + bytes(32))
        with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
            peer.socket.recv(1)


def listener_of(node: VerificationSCP) -> Listener:
    assert node._listener is not None
    return node._listener


ROWS: dict[str, tuple[str, AssociationOutcome, Call]] = {
    "A-ASSOCIATE-RQ": ("tls-inbound.plain", INVALID, sends(OPEN)),
    "A-ABORT": ("tls-inbound.plain", INVALID, sends(ABORT_0_0)),
    "HTTP": ("inbound.http", INVALID, sends(b"GET / HTTP/1.1\r\n\r\n")),
    "noise": ("inbound.noise", INVALID, sends(b"SSH-2.0-OpenSSH_9.2p1\r\n")),
    "end": ("tls-inbound.closed", CLOSED, leaves),
    "reset": ("tls-inbound.closed", CLOSED, resets),
    "no suite": ("tls-inbound.no-common-cipher", INVALID, fails(of_one_suite, "1.2")),
    "broken hello": ("tls-inbound.other", INVALID, sends_a_broken_hello),
    "broken record": ("tls-inbound.other", INVALID, sends_a_broken_record),
}
for _version in VERSIONS:
    ROWS |= {
        f"no certificate {_version}": ("tls-inbound.no-certificate", INVALID, shows(lambda w: None, _version)),
        f"their CA {_version}": ("tls-inbound.their-ca-unknown", INVALID, shows(lambda w: w.other.issue(), _version)),
        f"theirs expired {_version}": (
            "tls-inbound.their-certificate-expired",
            INVALID,
            shows(lambda w: w.ours.issue_expired(), _version),
        ),
        f"theirs of tomorrow {_version}": (
            "tls-inbound.their-certificate-not-yet-valid",
            INVALID,
            shows(lambda w: w.ours.issue_for_tomorrow(), _version),
        ),
        f"purpose {_version}": (
            "tls-inbound.their-certificate-refused",
            INVALID,
            shows(lambda w: w.ours.issue(usage=SERVERS_ALONE), _version),
        ),
        f"our CA {_version}": ("tls-inbound.our-ca-unknown", INVALID, fails(stranger, _version)),
        f"our name {_version}": (
            "tls-inbound.our-certificate-refused",
            INVALID,
            fails(good_peer, _version, name="pacs.test"),
        ),
    }


@pytest.mark.parametrize("name", ROWS)
def test_each_way_to_fail_has_its_row_and_keeps_nothing(name: str, node: VerificationSCP, world: World) -> None:
    code, outcome, call = ROWS[name]
    call(node, world)
    record = last_record(node)
    assert (record.code, record.outcome) == (code, outcome)
    if code in WORDS:
        assert_told(code, record.reason, record.fix)
    wait_until_nothing_is_kept(node)
    assert echoes(node, world)


def test_an_expired_certificate_of_ours_is_told_of_by_the_peer(world: World) -> None:
    with scp(world.ours.settings(world.ours.issue_expired())) as node:
        fails(good_peer)(node, world)
        record = last_record(node)
    assert record.code == "tls-inbound.our-certificate-expired"
    assert_told(record.code, record.reason, record.fix)


def test_a_peer_of_an_older_version_is_told_of(world: World) -> None:
    with scp(world.ours.settings(world.node, minimum_version="1.3")) as node:
        fails(good_peer, "1.2")(node, world)
        record = last_record(node)
    assert record.code == "tls-inbound.no-common-version"
    assert_told(record.code, record.reason, record.fix)


def test_a_certificate_need_not_be_shown_where_none_is_required(world: World) -> None:
    with scp(world.ours.settings(world.node, require_client_certificate=False)) as node:
        peer = Peer("", "MINIPACS", "127.0.0.1", node.port)
        assert echo(peer, "ECHOSCU", tls=client_context(world.ours.settings())).is_success


# --- deadlines and limits --------------------------------------------------------------------------------------------


def test_a_handshake_that_is_not_finished_is_closed(world: World) -> None:
    timeouts = Timeouts(handshake=0.2, request=30.0, close=0.05, stop=0.2)
    with scp(good_node(world), timeouts) as node, raw_peer(node.port) as peer:
        peer.send(client_hello(world)[:100])
        assert peer.receive_all(PATIENT) == b""
        record = last_record(node)
    assert (record.outcome, record.code) == (AssociationOutcome.TIMED_OUT, "tls-inbound.silence")
    assert record.reason == "the TLS handshake was not finished within 0.2 s"
    assert_told(record.code, record.reason, record.fix)
    assert record.duration_ms >= 200


def test_a_handshake_that_trickles_in_does_not_put_off_its_deadline(world: World) -> None:
    timeouts = Timeouts(handshake=0.3, request=30.0, close=0.05, stop=0.2)
    with scp(good_node(world), timeouts) as node, raw_peer(node.port) as peer:
        answer, seconds = peer.trickle(client_hello(world), pause=0.05, within=PATIENT)
    assert answer == b""
    assert seconds >= 0.25


def test_a_connection_without_a_byte_is_closed_and_no_association(world: World) -> None:
    timeouts = Timeouts(handshake=0.1, request=30.0, close=0.05, stop=0.2)
    with scp(good_node(world), timeouts) as node:
        with raw_peer(node.port) as peer:
            assert peer.receive_all(PATIENT) == b""
        wait_until_nothing_is_kept(node)
        assert list(node.associations) == []


def test_the_deadline_of_the_request_runs_from_the_handshake_on(world: World) -> None:
    timeouts = Timeouts(handshake=30.0, request=0.2, close=0.05, stop=0.2)
    with scp(good_node(world), timeouts) as node:
        with raw_peer(node.port) as peer:
            assert peer.hears_nothing(0.4)  # the handshake has more time than that
            peer.socket = good_peer(world).wrap_socket(peer.socket, server_hostname="127.0.0.1")
            peer.send(OPEN[:10])
            assert peer.receive_all(PATIENT) == b""
        assert last_record(node).code == "inbound.silence"


def test_a_peer_that_was_refused_and_does_not_close_is_cut(world: World) -> None:
    with scp(good_node(world)) as node, raw_peer(node.port) as peer:
        peer.send(OPEN)
        assert peer.receive_all(PATIENT) == PROTOCOL_VERSION
        wait_until_nothing_is_kept(node)


def test_handshakes_count_as_connections(world: World) -> None:
    with scp(good_node(world), limits=Limits(connections=3)) as node, ExitStack() as stack:
        held = listener_of(node)._connections
        for number in range(4):
            came = partial(lambda count: sum(c._bytes_came for c in list(held)) == count, number)
            wait_until(came, within=PATIENT, what="the bytes of those before")
            peer = stack.enter_context(raw_peer(node.port))
            peer.send(client_hello(world)[:100])
        record = last_record(node)
        assert (record.code, len(node.associations)) == ("inbound.crowded", 1)
        assert echoes(node, world)


def test_of_too_many_handshakes_the_oldest_gives_way(world: World) -> None:
    """A whole ClientHello costs 50 kB until the handshake is over; an association that is open is none of these."""
    hello = client_hello(world)
    limits = Limits(handshakes=3)
    with scp(good_node(world), limits=limits) as node, tls_peer(node, good_peer(world)) as held, ExitStack() as stack:
        assert held.exchange(OPEN) == ACCEPTED
        peers = [stack.enter_context(raw_peer(node.port)) for _ in range(4)]
        for peer in peers:
            peer.send(hello)
            assert peer.receive(1) == b"\x16"
        assert peers[0].receive_all(PATIENT)[:1] != b"\x15"
        record = last_record(node)
        assert (record.outcome, record.code) == (CLOSED, "tls-inbound.crowded")
        assert_told(record.code, record.reason, record.fix)
        assert echoes(node, world)
        held.send(ECHO_RQ)
        assert held.receive(len(echo_answers(1))) == echo_answers(1)


def test_who_leaves_before_its_turn_keeps_nothing_and_holds_up_nobody(world: World) -> None:
    """Whole ClientHellos, all at once, of connections that are reset or closed while they wait for their turn."""
    hello = client_hello(world)
    with scp(good_node(world)) as node:
        for number in range(60):
            with raw_peer(node.port) as peer:
                peer.send(hello)
                if number % 2:
                    peer.reset()
        assert echoes(node, world)
        wait_until_nothing_is_kept(node)


def test_three_hundred_silent_clients_hold_up_nobody(world: World) -> None:
    with scp(good_node(world)) as node, ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(closing(RawPeer(node.port)))
        wait_until(lambda: len(listener_of(node)._connections) == 300, within=PATIENT, what="300 connections")
        for _ in range(20):
            assert echoes(node, world)
        assert len(listener_of(node)._connections) >= 300


def test_stop_does_not_wait_for_handshakes(world: World) -> None:
    node = scp(good_node(world))
    with node, ExitStack() as stack:
        for length in (0, 1, 100, None):
            peer = stack.enter_context(raw_peer(node.port))
            peer.send(client_hello(world)[:length])
        with tls_peer(node, good_peer(world)) as held:
            assert held.exchange(OPEN) == ACCEPTED
            started = time.monotonic()
            node.stop()
            seconds = time.monotonic() - started
            assert held.receive_all(PATIENT) == ABORT_0_0
    assert seconds < 5  # none of the deadlines of a handshake, of which there are 4
    assert {record.code for record in node.associations} == {"inbound.stopped"}


def test_nothing_of_a_connection_stays_in_memory(node: VerificationSCP, world: World) -> None:
    for count in range(1, 6):
        assert echoes(node, world)
        fails(lambda w: client_context(w.ours.settings()))(node, world)
        leaves(node, world)
        node.wait_for_associations(3 * count, timeout=PATIENT)
    wait_until_nothing_is_kept(node)
    gc.collect()
    assert sum(isinstance(thing, TLSConnection) for thing in gc.get_objects()) == 0


def test_every_row_for_a_call_to_us_by_tls_is_told_of_some_peer() -> None:
    told = {code for code, _, _ in ROWS.values()}
    told |= {
        "tls-inbound.crowded",
        "tls-inbound.silence",
        "tls-inbound.our-certificate-expired",
        "tls-inbound.no-common-version",
    }
    assert {code for code in told if code.startswith("tls")} == {c for c in CATALOGUE if c.startswith("tls-inbound.")}
