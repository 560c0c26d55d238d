"""We call by TLS: peers that do it right, and one peer for each way to fail, with the words that a user reads."""

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from minipacs import EchoResult, Outcome, Peer, VerificationSCP, echo, echo_all
from minipacs.diagnosis import CATALOGUE
from minipacs.settings import TLS
from minipacs.tls import client_context, server_context

from . import fakes
from .certificates import CLIENTS_ALONE, Authority, World
from .fakes import Behaviour, Conversation, faking
from .tls_words import WORDS, assert_told
from .wire.exchange import ABORT_0_0

TIMEOUT = 5.0
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("certificates")
    ours, other = Authority(folder / "ours"), Authority(folder / "other", "Other CA")
    return World(ours, other, ours.issue("node.test"), ours.issue())


def by_tls(context: ssl.SSLContext, behave: Behaviour = fakes.behaves) -> Behaviour:
    """A peer that behaves that way behind a handshake; one that fails is the end."""

    def over_tls(conversation: Conversation) -> None:
        try:
            conversation._socket = context.wrap_socket(conversation._socket, server_side=True)
        except OSError:
            return
        behave(conversation)

    return over_tls


def answering(tls: TLS, **changes: object) -> ssl.SSLContext:
    """The context of a peer, with attributes changed."""
    context = server_context(tls)
    for name, value in changes.items():
        setattr(context, name, value)
    return context


def call(behave: Behaviour, tls: TLS, /, timeout: float = TIMEOUT, **peer: object) -> EchoResult:
    with faking(behave) as fake:
        return echo(replace(fake.peer, **peer), timeout=timeout, tls=client_context(tls))


def told(result: EchoResult) -> tuple[Outcome, str]:
    """Outcome and code, once the words are those of the row."""
    if result.code in WORDS:
        assert_told(result.code, result.reason, result.fix, called=result.peer.ae_title)
    return result.outcome, result.code


# --- as it should be -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_an_echo_is_answered_by_either_version(version: str, world: World) -> None:
    context = answering(world.ours.settings(world.peer), maximum_version=VERSIONS[version])
    with faking(by_tls(context)) as fake:
        result = echo(fake.peer, count=3, timeout=TIMEOUT, tls=client_context(world.ours.settings(world.node)))
    assert (result.outcome, result.echoes, result.observations) == (Outcome.SUCCESS, 3, ())
    assert result.connect_ms is not None
    assert result.release_ms is not None


def test_the_end_is_told_by_close_notify(world: World) -> None:
    """Else the peer could not tell our close from that of somebody between."""
    ends: list[bytes] = []

    def behave(conversation: Conversation) -> None:
        fakes.behaves(conversation)
        ends.append(conversation._socket.recv(1))

    context = answering(world.ours.settings(world.peer))
    with faking(strict(context, behave)) as fake:
        assert echo(fake.peer, tls=client_context(world.ours.settings(world.node))).is_success
    assert ends == [b""]


def strict(context: ssl.SSLContext, behave: Behaviour) -> Behaviour:
    """To which an end without close_notify is an error."""

    def over_tls(conversation: Conversation) -> None:
        conversation._socket = context.wrap_socket(conversation._socket, server_side=True, suppress_ragged_eofs=False)
        behave(conversation)

    return over_tls


def test_a_peer_that_closes_without_close_notify_is_borne_with(world: World) -> None:
    def behave(conversation: Conversation) -> None:
        fakes.behaves(conversation)
        conversation.close()

    result = call(by_tls(answering(world.ours.settings(world.peer)), behave), world.ours.settings(world.node))
    assert (result.outcome, result.observations) == (Outcome.SUCCESS, ())


def test_the_name_in_the_certificate_may_be_another_than_the_host(world: World) -> None:
    context = answering(world.ours.settings(world.ours.issue("pacs.test")))
    result = call(by_tls(context), world.ours.settings(world.node), tls=True, tls_name="pacs.test")
    assert result.outcome is Outcome.SUCCESS


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="no IPv6")
def test_the_host_may_be_an_ipv6_address(world: World) -> None:
    tls = server_context(world.ours.settings(world.peer))
    with VerificationSCP([Peer("a", "MINIPACS")], host="::1", port=0, tls=tls) as node:
        peer = Peer("node", "MINIPACS", "::1", node.port)
        assert echo(peer, tls=client_context(world.ours.settings(world.node))).is_success


def test_a_certificate_may_be_trusted_by_itself(world: World) -> None:
    """Without its CA."""
    trusting = TLS(world.node.certificate, world.node.key, (world.peer.certificate,))
    assert call(by_tls(answering(world.ours.settings(world.peer))), trusting).is_success


def test_a_peer_that_speaks_tls_is_called_by_tls_without_being_asked_to(world: World) -> None:
    """And is trusted as the system trusts, which no test authority is."""
    with faking(by_tls(answering(world.ours.settings(world.peer)))) as fake:
        result = echo(replace(fake.peer, tls=True), timeout=TIMEOUT)
    assert result.code == "tls.their-ca-unknown"


def test_many_peers_are_called_side_by_side_by_one_context(world: World) -> None:
    context = client_context(world.ours.settings(world.node))
    with VerificationSCP([Peer("a", "MINIPACS")], port=0, tls=server_context(world.ours.settings(world.peer))) as node:
        peers = [Peer(f"p{number}", "MINIPACS", "127.0.0.1", node.port) for number in range(20)]
        results = list(echo_all(peers, lambda peer: echo(peer, tls=context)))
    assert {result.outcome for result in results} == {Outcome.SUCCESS}


# --- one peer for each row -------------------------------------------------------------------------------------------


def greets(data: bytes) -> Behaviour:
    """Answers our ClientHello by these bytes."""

    def behave(conversation: Conversation) -> None:
        assert conversation._socket.recv(1 << 16)[:1] == b"\x16"
        conversation.send(data)
        while conversation._socket.recv(1 << 16):
            pass
        conversation.close()

    return behave


def resets_after_the_hello(conversation: Conversation) -> None:
    """DCMTK on a port for plain DICOM."""
    conversation._socket.recv(1 << 16)
    conversation.reset()


def alerts(description: int) -> Behaviour:
    """A fatal alert (RFC 8446 §6) in answer to our ClientHello."""
    return greets(bytes([0x15, 3, 3, 0, 2, 2, description]))


Setting = Callable[[World], tuple[Behaviour, TLS]]


def both(version: str, *, theirs: Callable[[World], TLS], ours: Callable[[World], TLS]) -> Setting:
    return lambda w: (by_tls(answering(theirs(w), maximum_version=VERSIONS[version])), ours(w))


def good_peer(world: World) -> TLS:
    return world.ours.settings(world.peer)


def good_node(world: World) -> TLS:
    return world.ours.settings(world.node)


def plainly(behave: Behaviour) -> Setting:
    return lambda w: (behave, good_node(w))


def one_suite(world: World) -> ssl.SSLContext:
    """TLS 1.2 with a suite that RFC 9325 advises against."""
    context = answering(good_peer(world), maximum_version=ssl.TLSVersion.TLSv1_2)
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA256")
    return context


ROWS: dict[str, tuple[str, Setting]] = {
    "A-ABORT": ("tls.plain", plainly(greets(ABORT_0_0))),
    "HTTP": ("tls.plain", plainly(greets(b"HTTP/1.1 400 Bad Request\r\n\r\n"))),
    "SSH": ("tls.plain", plainly(fakes.speaks_ssh)),
    "close": ("tls.closed", plainly(fakes.closes_at_once)),
    "reset": ("tls.closed", plainly(resets_after_the_hello)),
    "close after the handshake": (
        "tls.closed-at-association",
        lambda w: (by_tls(answering(good_peer(w)), fakes.closes_after_the_request), good_node(w)),
    ),
    "reset after the handshake": (
        "tls.closed-at-association",
        lambda w: (by_tls(answering(good_peer(w)), fakes.resets_after_the_request), good_node(w)),
    ),
    "no version": (
        "tls.no-common-version",
        both("1.2", theirs=good_peer, ours=lambda w: w.ours.settings(w.node, minimum_version="1.3")),
    ),
    "an older version": ("tls.no-common-version", plainly(alerts(70))),
    "no suite": ("tls.no-common-cipher", lambda w: (by_tls(one_suite(w)), good_node(w))),
    "insufficient security": ("tls.no-common-cipher", plainly(alerts(71))),
    "internal error": ("tls.other", plainly(alerts(80))),
    "purpose": (
        "tls.their-certificate-refused",
        both("1.3", theirs=lambda w: w.ours.settings(w.ours.issue(usage=CLIENTS_ALONE)), ours=good_node),
    ),
}
ROWS |= {
    f"alert {number}": ("tls.our-certificate-refused", plainly(alerts(number))) for number in (42, 43, 44, 46, 49, 51)
}
for _version in VERSIONS:
    ROWS |= {
        f"no certificate {_version}": (
            "tls.certificate-required",
            both(_version, theirs=good_peer, ours=lambda w: w.ours.settings()),
        ),
        f"our CA {_version}": (
            "tls.our-ca-unknown",
            both(_version, theirs=good_peer, ours=lambda w: w.ours.settings(w.other.issue())),
        ),
        f"ours expired {_version}": (
            "tls.our-certificate-expired",
            both(_version, theirs=good_peer, ours=lambda w: w.ours.settings(w.ours.issue_expired())),
        ),
        f"their CA {_version}": (
            "tls.their-ca-unknown",
            both(_version, theirs=lambda w: w.ours.settings(w.other.issue()), ours=good_node),
        ),
        f"theirs expired {_version}": (
            "tls.their-certificate-expired",
            both(_version, theirs=lambda w: w.ours.settings(w.ours.issue_expired()), ours=good_node),
        ),
        f"theirs of tomorrow {_version}": (
            "tls.their-certificate-not-yet-valid",
            both(_version, theirs=lambda w: w.ours.settings(w.ours.issue_for_tomorrow()), ours=good_node),
        ),
        f"address {_version}": (
            "tls.name",
            both(_version, theirs=lambda w: w.ours.settings(w.ours.issue("192.0.2.1", "pacs.test")), ours=good_node),
        ),
    }


@pytest.mark.parametrize("name", ROWS)
def test_each_way_to_fail_has_its_row(name: str, world: World) -> None:
    code, setting = ROWS[name]
    result = call(*setting(world))
    assert told(result) == (Outcome.NO_ASSOCIATION, code)
    assert (result.echoes, result.status, result.release_ms) == (0, None, None)


def test_a_peer_that_keeps_silent_has_its_deadline(world: World) -> None:
    result = call(fakes.keeps_silent, good_node(world), timeout=0.3)
    assert told(result) == (Outcome.NO_ASSOCIATION, "tls.silence")
    assert result.reason == "connected, but no end of the TLS handshake within 0.3 s"
    assert result.connect_ms is None


def test_a_peer_that_trickles_does_not_put_off_the_deadline(world: World) -> None:
    hello = bytes([0x16, 3, 3, 0x40, 0])

    def trickles(conversation: Conversation) -> None:
        for byte in hello + bytes(1000):
            conversation.send(bytes([byte]))
            if conversation.hears_something(0.02) and not conversation._socket.recv(1 << 16):
                return

    result = call(trickles, good_node(world), timeout=0.3)
    assert told(result) == (Outcome.NO_ASSOCIATION, "tls.silence")
    assert result.total_ms < 10_000  # and it would go on for 20 s


def test_a_host_name_that_the_certificate_does_not_have_is_named(world: World) -> None:
    context = answering(world.ours.settings(world.ours.issue("pacs.test")))
    result = call(by_tls(context), good_node(world), host="localhost")
    assert told(result) == (Outcome.NO_ASSOCIATION, "tls.name")
    assert "'localhost'" in result.reason
    assert result.fix == (
        "set host of the peer to a name that is in its certificate, or tls_name to that name; or on FAKE: use a "
        "certificate for localhost"
    )


def test_an_alert_is_told_by_its_name(world: World) -> None:
    """Whichever version of SSL had it first."""
    assert call(alerts(46), good_node(world)).reason == "FAKE refuses our certificate: alert certificate unknown"


def test_a_ca_that_was_made_anew_under_its_old_name_is_another(world: World, tmp_path: Path) -> None:
    anew = Authority(tmp_path)
    for names_issuers_key, why in ((True, "unable to get local issuer certificate"), (False, "signature failure")):
        identity = anew.issue(names_issuers_key=names_issuers_key)
        result = call(by_tls(answering(world.ours.settings(identity))), good_node(world))
        assert told(result) == (Outcome.NO_ASSOCIATION, "tls.their-ca-unknown")
        assert why in result.reason


@pytest.mark.parametrize("version", VERSIONS)
def test_a_no_that_comes_after_our_handshake_is_heard_each_time(version: str, world: World) -> None:
    """In TLS 1.3 the alert races with the reset that our request causes."""
    context = answering(good_peer(world), maximum_version=VERSIONS[version])
    ours = client_context(world.ours.settings())
    with faking(by_tls(context)) as fake:
        codes = {echo(fake.peer, timeout=TIMEOUT, tls=ours).code for _ in range(50)}
    assert codes == {"tls.certificate-required"}


@pytest.fixture
def plain_node() -> Iterator[VerificationSCP]:
    with VerificationSCP([Peer("a", "MINIPACS")], port=0) as node:
        yield node


def test_a_plain_node_of_ours_is_told_from_one_that_speaks_tls(plain_node: VerificationSCP, world: World) -> None:
    peer = Peer("node", "MINIPACS", "127.0.0.1", plain_node.port)
    result = echo(peer, tls=client_context(good_node(world)))
    assert told(result) == (Outcome.NO_ASSOCIATION, "tls.plain")
    [record] = plain_node.wait_for_associations(1)
    assert (record.code, record.fix) == (
        "inbound.tls",
        "on the peer: switch TLS off for this node (Orthanc: UseDicomTls)",
    )


def test_a_connection_that_does_not_open_is_unreachable_as_ever(world: World) -> None:
    with fakes.refusing() as peer:
        assert echo(peer, tls=client_context(good_node(world))).code == "unreachable.refused"


def test_every_row_for_a_call_by_tls_is_told_of_some_peer() -> None:
    codes = {code for code, _ in ROWS.values()} | {"tls.silence", "tls.name"}
    codes |= {"tls.another-certificate"}  # test_ties.py
    assert codes == {code for code in CATALOGUE if code.startswith("tls.")}
