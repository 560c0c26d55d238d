"""A peer that is tied to its certificate: its AE title alone admits nobody, and nobody else is called in its place."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from minipacs import AssociationRecord, Outcome, Peer, PeerTable, VerificationSCP, echo
from minipacs.certificate import fingerprint, is_of, normalised
from minipacs.settings import TLS, Timeouts
from minipacs.tls import client_context, server_context

from .certificates import Authority, Identity, World
from .peers.dcmtk import ECHOSCU, echoscu
from .peers.node import run_minipacs, table
from .peers.required import required
from .raw import asking
from .test_scp import OPEN
from .test_tls_scp import SHORT, tls_peer
from .tls_words import assert_told
from .wire.exchange import ABORT_0_0

PATIENT = 5.0
HEX = "0123456789abcdef" * 4
REJECTED_1_1_3 = bytes.fromhex("03000000000400010103")


def der(identity: Identity) -> bytes:
    return ssl.PEM_cert_to_DER_cert(identity.certificate.read_text())


def print_of(identity: Identity) -> str:
    return fingerprint(der(identity))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("certificates")
    ours, other = Authority(folder / "ours"), Authority(folder / "other", "Other CA")
    return World(ours, other, ours.issue(), ours.issue("peer.test"))


def tied(*ties: str) -> list[Peer]:
    return [Peer("echoscu", "ECHOSCU", certificate=ties)]


@contextmanager
def node_for(world: World, *ties: str, **changes: object) -> Iterator[VerificationSCP]:
    tls = server_context(world.ours.settings(world.node, **changes))
    with VerificationSCP(tied(*ties), port=0, timeouts=SHORT, tls=tls) as node:
        yield node


def shows(world: World, identity: Identity | None) -> ssl.SSLContext:
    return client_context(world.ours.settings(identity))


def caller(node: VerificationSCP) -> Peer:
    return Peer("", "MINIPACS", "127.0.0.1", node.port)


def last(node: VerificationSCP) -> AssociationRecord:
    return node.wait_for_associations(1, timeout=PATIENT)[-1]


# --- what a tie may be -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tie", "kept"),
    [
        (f"sha256:{HEX}", f"sha256:{HEX}"),
        (f"sha256:{HEX.upper()}", f"sha256:{HEX}"),
        ("sha256:" + ":".join(HEX[n : n + 2].upper() for n in range(0, 64, 2)), f"sha256:{HEX}"),
        ("CN=pacs", "CN=pacs"),
        ("CN=pacs,O=Hospital", "CN=pacs,O=Hospital"),
        ("CN=pacs, O=Hospital", "CN=pacs,O=Hospital"),
        (r"CN=pacs\, 2,O=Röntgen", r"CN=pacs\, 2,O=Röntgen"),
        ("2.5.4.5=12", "2.5.4.5=12"),
    ],
)
def test_a_fingerprint_or_a_subject_is_taken(tie: str, kept: str) -> None:
    assert normalised(tie) == kept
    assert Peer("a", "A", certificate=(tie,)).certificate == (kept,)


@pytest.mark.parametrize(
    "tie",
    ["", " ", "pacs", "CN=", "CN=a,", "sha256:", f"sha256:{HEX[1:]}", f"sha256:{HEX}0", f"sha1:{HEX}", f"sha256={HEX}"],
)
def test_nothing_else_is(tie: str) -> None:
    with pytest.raises(ValueError):
        normalised(tie)
    with pytest.raises(ValueError, match=r"^certificate: must be sha256: and the 64 hex digits"):
        Peer("a", "A", certificate=(tie,))


def test_a_table_has_one_tie_or_several() -> None:
    text = '[peers.a]\nae_title = "A"\ncertificate = {}\n'
    [one] = PeerTable.parse(text.format('"CN=a"').encode()).values()
    [two] = PeerTable.parse(text.format(f'["CN=a", "sha256:{HEX}"]').encode()).values()
    assert (one.certificate, two.certificate) == (("CN=a",), ("CN=a", f"sha256:{HEX}"))


def test_what_is_added_on_the_command_line_stands_in_the_table(tmp_path: Path) -> None:
    for options in (
        ["--certificate", "CN=ct1, O=H"],
        ["--certificate", "CN=x", "--certificate", f"sha256:{HEX.upper()}"],
    ):
        name = f"ct{len(options)}"
        assert run_minipacs(tmp_path, "peers", "add", name, name.upper(), *options).returncode == 0
    read = PeerTable.read(tmp_path / "conf" / "peers.toml")
    assert [peer.certificate for peer in read.values()] == [("CN=ct1,O=H",), ("CN=x", f"sha256:{HEX}")]
    assert run_minipacs(tmp_path, "peers").stdout == (
        "ct2  CT2  tied to its certificate\nct4  CT4  tied to its certificate\n"
    )
    refused = run_minipacs(tmp_path, "peers", "add", "ct5", "CT5", "--certificate", "ct5.pem")
    assert refused.returncode == 2
    assert "must be sha256: and the 64 hex digits of a fingerprint, or a subject such as" in refused.stderr


@pytest.mark.parametrize(
    ("tie", "is_its"),
    [
        ("CN=peer.test", True),
        ("CN=peer", False),
        ("CN=PEER.TEST", False),
        ("O=peer.test", False),
        ("CN=peer.test,O=Hospital", False),
    ],
)
def test_a_subject_has_to_have_each_attribute(tie: str, is_its: bool, world: World) -> None:
    assert is_of([normalised(tie)], der(world.peer)) is is_its


def test_no_certificate_is_nobodys(world: World) -> None:
    assert not is_of(["CN=peer.test", print_of(world.peer)], None)
    assert not is_of([], der(world.peer))


# --- who calls -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["fingerprint", "subject", "one of two"])
def test_a_peer_with_its_certificate_is_admitted(kind: str, world: World) -> None:
    ties = {
        "fingerprint": [print_of(world.peer)],
        "subject": ["CN=peer.test"],
        "one of two": [f"sha256:{HEX}", print_of(world.peer)],
    }
    with node_for(world, *ties[kind]) as node:
        assert echo(caller(node), "ECHOSCU", tls=shows(world, world.peer)).is_success


@pytest.mark.parametrize("kind", ["fingerprint", "subject"])
def test_another_certificate_of_the_same_ca_is_rejected(kind: str, world: World) -> None:
    with node_for(world, print_of(world.peer) if kind == "fingerprint" else "CN=peer.test") as node:
        result = echo(caller(node), "ECHOSCU", tls=shows(world, world.node))
        record = last(node)
    assert (result.outcome, result.code) == (Outcome.REJECTED, "rejected.calling-ae-title")
    assert (record.outcome, record.reject, record.code, record.peer) == (
        "rejected",
        "1/1/3",
        "admission.certificate",
        "echoscu",
    )
    assert_told(record.code, record.reason, record.fix)
    assert f"{print_of(world.node)} (CN=127.0.0.1)" in (record.reason or "")
    assert f'certificate = "{print_of(world.node)}"' in (record.fix or "")


def test_the_line_that_is_told_admits_it(world: World) -> None:
    with node_for(world, f"sha256:{HEX}") as node:
        echo(caller(node), "ECHOSCU", tls=shows(world, world.peer))
        fix = last(node).fix or ""
        line = fix.partition("]: ")[2].partition(";")[0]
        node.peers = PeerTable.parse(f'[peers.echoscu]\nae_title = "ECHOSCU"\n{line}\n'.encode())
        assert echo(caller(node), "ECHOSCU", tls=shows(world, world.peer)).is_success


def test_a_peer_without_a_certificate_is_rejected(world: World) -> None:
    """Where none is required of all: it is asked for one all the same, for there are such that are tied to it."""
    with node_for(world, "CN=peer.test", require_client_certificate=False) as node:
        assert not echo(caller(node), "ECHOSCU", tls=shows(world, None)).is_success
        record = last(node)
        assert (record.reject, record.code) == ("1/1/3", "admission.no-certificate")
        assert_told(record.code, record.reason, record.fix)
        assert f"call by TLS on port {node.port}, " in (record.fix or "")
        assert echo(caller(node), "ECHOSCU", tls=shows(world, world.peer)).is_success


def test_a_peer_in_plain_is_rejected() -> None:
    with VerificationSCP(tied("CN=peer.test"), port=0, timeouts=SHORT) as node:
        assert echo(caller(node), "ECHOSCU").outcome is Outcome.REJECTED
        record = last(node)
    assert (record.reject, record.code) == ("1/1/3", "admission.no-certificate")
    assert "call by TLS, once this node has port under [tls] in minipacs.toml, and show" in (record.fix or "")


def test_peers_that_are_not_tied_go_on_as_before(world: World) -> None:
    with node_for(world, "CN=nobody") as node:
        node.peers = [*tied("CN=nobody"), Peer("other", "OTHER")]
        assert echo(caller(node), "OTHER", tls=shows(world, world.peer)).is_success


def test_one_that_is_tied_anew_is_aborted(world: World) -> None:
    with node_for(world, "CN=peer.test") as node, tls_peer(node, shows(world, world.peer)) as peer:
        assert peer.exchange(OPEN)[:1] == b"\x02"
        node.peers = tied("CN=peer.test", "CN=more")
        assert peer.hears_nothing(0.2)
        node.peers = tied("CN=another")
        assert peer.receive_all(PATIENT) == ABORT_0_0
        assert last(node).code == "inbound.removed"


def test_a_rule_that_breaks_admits_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object) -> bool:
        raise RuntimeError("broken")

    monkeypatch.setattr("minipacs.admission.is_of", breaks)
    with node_for(world, "CN=peer.test") as node, tls_peer(node, shows(world, world.peer)) as peer:
        assert peer.exchange(asking())[:10] == bytes.fromhex("03000000000400010101")
        assert last(node).code == "admission.internal-error"


@required(ECHOSCU)
def test_dcmtk_is_known_by_its_certificate(world: World) -> None:
    with node_for(world, print_of(world.peer)) as node:
        calls = {}
        for identity in (world.peer, world.node):
            options = ["+tls", identity.key, identity.certificate, "+cf", world.ours.certificate]
            calls[identity] = echoscu(*map(str, options), "-aet", "ECHOSCU", "-aec", "MINIPACS", "127.0.0.1", node.port)
    assert calls[world.peer].returncode == 0, calls[world.peer].stderr
    assert calls[world.node].returncode != 0
    assert "Calling AE Title Not Recognized" in calls[world.node].stderr + calls[world.node].stdout


# --- whom we call ----------------------------------------------------------------------------------------------------


@contextmanager
def peer_showing(world: World, identity: Identity) -> Iterator[VerificationSCP]:
    tls = server_context(world.ours.settings(identity))
    with VerificationSCP([Peer("us", "US")], ae_title="FAKE", port=0, timeouts=Timeouts(stop=0.2), tls=tls) as node:
        yield node


@pytest.mark.parametrize("kind", ["fingerprint", "subject"])
def test_the_peer_with_its_certificate_is_called(kind: str, world: World) -> None:
    with peer_showing(world, world.node) as node:
        tie = print_of(world.node) if kind == "fingerprint" else "CN=127.0.0.1"
        peer = Peer("", "FAKE", "127.0.0.1", node.port, tls=True, certificate=(tie,))
        assert echo(peer, "US", tls=shows(world, world.peer)).is_success


@pytest.mark.parametrize("tie", [f"sha256:{HEX}", "CN=peer.test"])
def test_nothing_is_said_to_one_with_another_certificate(tie: str, world: World) -> None:
    with peer_showing(world, world.node) as node:
        peer = Peer("", "FAKE", "127.0.0.1", node.port, tls=True, certificate=(tie,))
        result = echo(peer, "US", tls=shows(world, world.peer))
        record = last(node)
    assert (result.outcome, result.code) == (Outcome.NO_ASSOCIATION, "tls.another-certificate")
    assert_told(result.code, result.reason, result.fix)
    assert f"{print_of(world.node)} (CN=127.0.0.1)" in result.reason
    assert record.calling_ae_title is None


def test_what_its_certificate_says_is_escaped_once(world: World) -> None:
    odd = world.ours.issue("127.0.0.1", subject="a\x1b[2J")
    with peer_showing(world, odd) as node:
        peer = Peer("", "FAKE", "127.0.0.1", node.port, tls=True, certificate=("CN=another",))
        assert rf"{print_of(odd)} (CN=a\x1b[2J)" in echo(peer, "US", tls=shows(world, world.peer)).reason
    with node_for(world, "CN=another") as node:
        echo(caller(node), "ECHOSCU", tls=shows(world, odd))
        assert rf"{print_of(odd)} (CN=a\x1b[2J)" in (last(node).reason or "")


def test_the_command_looks_at_the_tie(world: World, tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    tls: TLS = world.ours.settings(world.peer)
    (tmp_path / "conf" / "minipacs.toml").write_text(
        f'[tls]\ncertificate = "{tls.certificate}"\nkey = "{tls.key}"\ntrusted = "{tls.trusted[0]}"\n'
    )
    with peer_showing(world, world.node) as node:
        for tie, code in ((print_of(world.node), 0), (f"sha256:{HEX}", 1)):
            peer = {"name": "pacs", "ae_title": "FAKE", "host": "127.0.0.1", "port": node.port, "tls": True}
            (tmp_path / "conf" / "peers.toml").write_text(table(peer | {"certificate": tie}))
            done = run_minipacs(tmp_path, "echo", "pacs", "--calling", "US")
            assert done.returncode == code, done.stdout
            assert ("[tls.another-certificate]" in done.stdout) is bool(code)
