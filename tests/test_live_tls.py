"""Certificates and keys follow their files by the rules of the peer table: a broken pair keeps the old one."""

import json
import os
import queue
import signal
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from minipacs import Peer, SettingsError, echo
from minipacs.certificate import fingerprint, shown, validity
from minipacs.live_tls import LiveTLS, Renewal
from minipacs.settings import TLS
from minipacs.tls import client_context

from .certificates import Authority, Identity
from .peers.node import Node, run_minipacs, serving, table
from .peers.process import wait_until
from .raw import RawPeer, asking, raw_peer
from .wire.exchange import echo as echo_rq
from .wire.exchange import echo_answers

PATIENT = 10.0
DAY = timedelta(days=1)
US = table({"name": "us", "ae_title": "MINIPACS"})


class Place:
    """The files under [tls], in a folder of their own, and what is put into them."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder / "ca")
        self.other = Authority(folder / "other", "Other CA")
        self.tls = TLS(folder / "node.pem", folder / "node-key.pem", (folder / "trusted.pem",), port=0)
        self.put(self.authority.issue())
        self.trust(self.authority)

    @property
    def certificate(self) -> Path:
        assert self.tls.certificate is not None
        return self.tls.certificate

    @property
    def key(self) -> Path:
        assert self.tls.key is not None
        return self.tls.key

    def put(self, identity: Identity, *, only: str = "") -> None:
        """Replace the pair as those who renew do: each file by a rename."""
        for name, source, place in (
            ("certificate", identity.certificate, self.certificate),
            ("key", identity.key, self.key),
        ):
            if only in {"", name}:
                replace(place, source.read_bytes())

    def write(self, identity: Identity) -> None:
        """Write both in place."""
        self.certificate.write_bytes(identity.certificate.read_bytes())
        self.key.write_bytes(identity.key.read_bytes())

    def trust(self, *authorities: Authority) -> None:
        replace(self.tls.trusted[0], b"".join(a.certificate.read_bytes() for a in authorities))


def replace(place: Path, data: bytes) -> None:
    temporary = place.with_name(f"{place.name}.new")
    temporary.touch(mode=0o600)
    temporary.write_bytes(data)
    temporary.replace(place)


def der(identity: Identity) -> bytes:
    return ssl.PEM_cert_to_DER_cert(identity.certificate.read_text())


class Followed:
    """Live certificates, and what they told."""

    def __init__(self, tls: TLS) -> None:
        self._told: queue.SimpleQueue[Renewal] = queue.SimpleQueue()
        self.live = LiveTLS(tls, self._told.put)

    def next(self) -> Renewal:
        return self._told.get(timeout=PATIENT)

    def takes_up(self, identity: Identity) -> None:
        told = self.next()
        assert (told.faults, told.is_new, told.credentials.certificate) == ((), True, der(identity)), str(told)
        assert self.shown() == der(identity)

    def shown(self) -> bytes:
        """The certificate that a peer sees in a handshake now."""
        ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
        peer = client.wrap_bio(ours, theirs)
        node = self.live.context().wrap_bio(theirs, ours, server_side=True)
        for side in (peer, node, peer):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
        certificate = peer.getpeercert(binary_form=True)
        assert certificate is not None
        return certificate

    @property
    def has_more_to_tell(self) -> bool:
        return not self._told.empty()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "tls").mkdir()
    return Place(tmp_path / "tls")


@contextmanager
def following(place: Place) -> Iterator[Followed]:
    followed = Followed(place.tls)
    with followed.live:
        yield followed
    assert not followed.has_more_to_tell


# --- what is taken up ------------------------------------------------------------------------------------------------


def test_a_pair_that_was_renewed_is_shown(place: Place) -> None:
    with following(place) as followed:
        for _ in range(3):
            identity = place.authority.issue()
            place.put(identity)
            followed.takes_up(identity)


def test_a_pair_that_is_written_in_place_is_shown(place: Place) -> None:
    identity = place.authority.issue()
    with following(place) as followed:
        place.write(identity)
        followed.takes_up(identity)


def test_a_link_that_leads_elsewhere_is_followed(place: Place, tmp_path: Path) -> None:
    """As renewing tools and orchestrators do: the files are links into a folder that is exchanged."""
    first, second = place.authority.issue(), place.authority.issue()
    for name, identity in (("first", first), ("second", second)):
        (tmp_path / name).mkdir()
        for source, file in ((identity.certificate, "node.pem"), (identity.key, "node-key.pem")):
            replace(tmp_path / name / file, source.read_bytes())
    (tmp_path / "live").symlink_to("first")
    for link in (place.certificate, place.key):
        link.unlink()
        link.symlink_to(tmp_path / "live" / link.name)
    with following(place) as followed:
        assert followed.shown() == der(first)
        (tmp_path / "new").symlink_to("second")
        (tmp_path / "new").replace(tmp_path / "live")
        followed.takes_up(second)


def test_whom_we_trust_is_followed(place: Place) -> None:
    with following(place) as followed:
        place.trust(place.authority, place.other)
        told = followed.next()
        assert (told.is_new, told.faults) == (False, ())
        assert str(told).startswith("TLS: read again; our certificate is still sha256:")
        assert len(told.credentials.context.get_ca_certs()) == 2


def test_the_same_again_is_not_told(place: Place) -> None:
    with following(place) as followed:
        before = followed.live.current
        replace(place.key, place.key.read_bytes())
        identity = place.authority.issue()
        place.put(identity)
        followed.takes_up(identity)
        assert followed.live.current != before


def test_it_is_read_at_once_when_that_is_asked_for(place: Place) -> None:
    with following(place) as followed:
        place.put(place.authority.issue(), only="certificate")
        followed.live.reload()
        [fault] = followed.next().faults
        assert fault.startswith(f"{place.key}: file: must hold the key of {place.certificate}")
        identity = place.authority.issue()
        place.put(identity)
        followed.takes_up(identity)


# --- what is not -----------------------------------------------------------------------------------------------------


def test_half_a_pair_keeps_the_old_one(place: Place) -> None:
    identity = place.authority.issue()
    with following(place) as followed:
        old = followed.shown()
        place.put(identity, only="certificate")
        told = followed.next()
        assert str(told) == (
            f"TLS: the last good certificates stay in force: {place.key}: file: must hold the key of "
            f"{place.certificate}, not that of another"
        )
        assert followed.shown() == old
        assert followed.live.status.result == "invalid"
        place.put(identity, only="key")
        followed.takes_up(identity)
        assert (followed.live.status.result, followed.live.status.faults) == ("reloaded", ())


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        (b"", "must hold a certificate in PEM, not something else"),
        (b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "must be usable by OpenSSL, not so: "),
        (None, "must be readable, not "),
    ],
    ids=["empty", "cut short", "gone"],
)
def test_a_broken_certificate_keeps_the_old_one(broken: bytes | None, fault: str, place: Place) -> None:
    good = place.certificate.read_bytes()
    with following(place) as followed:
        old = followed.shown()
        if broken is None:
            place.certificate.unlink()
        else:
            replace(place.certificate, broken)
        [told] = followed.next().faults
        assert fault in told
        assert followed.shown() == old
        replace(place.certificate, good)
        told_again = followed.next()
        assert (told_again.faults, told_again.is_new) == ((), False)
        assert followed.live.status.result == "valid-again"


def test_a_ca_file_that_is_broken_keeps_whom_we_trusted(place: Place) -> None:
    with following(place) as followed:
        replace(place.tls.trusted[0], b"nobody")
        [fault] = followed.next().faults
        assert fault == f"{place.tls.trusted[0]}: file: must hold certificates in PEM, not something else"
        assert len(followed.live.current.context.get_ca_certs()) == 1


def test_a_key_that_others_may_read_is_refused_until_it_is_mended(place: Place) -> None:
    identity = place.authority.issue()
    with following(place) as followed:
        old = followed.shown()
        loose = place.key.with_name("loose.pem")
        loose.write_bytes(identity.key.read_bytes())
        loose.chmod(0o644)
        place.put(identity, only="certificate")
        loose.replace(place.key)
        [fault] = followed.next().faults
        assert fault.endswith(f"not 0644; fix: chmod 600 {place.key}")
        assert followed.shown() == old
        place.key.chmod(0o600)
        followed.takes_up(identity)


def test_what_is_broken_at_the_start_does_not_begin(place: Place) -> None:
    place.put(place.authority.issue(), only="key")
    with pytest.raises(SettingsError, match="must hold the key of"), LiveTLS(place.tls, print):
        pass
    place.certificate.unlink()
    with pytest.raises(SettingsError, match="must be readable"), LiveTLS(place.tls, print):
        pass


# --- until when it is valid ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("days", "last"), [(397, 30), (300, 30), (30, 10), (3, 1)])
def test_the_end_of_our_certificate_is_told_before_it_comes(days: int, last: int, place: Place) -> None:
    place.put(place.authority.issue(valid=(-DAY, (days - 1) * DAY)))
    with following(place) as followed:
        current = followed.live.current
        begin, end = validity(current.certificate)
        assert str(current) == f"{shown(current.certificate)}, valid until {end:%Y-%m-%d}"
        assert current.warning(end - last * DAY) == ""
        assert current.warning(end - last * DAY / 2).startswith(
            f"our certificate expires in {last // 2} days, on {end:%Y-%m-%d}: renew"
        )
        assert current.warning(end).startswith(f"our certificate expired on {end:%Y-%m-%d}: peers refuse it")
        assert current.warning(begin - DAY).startswith("our certificate is not valid before ")


# --- a node ----------------------------------------------------------------------------------------------------------


@contextmanager
def node_in(place: Place, folder: Path) -> Iterator[tuple[Node, int]]:
    """A running node, and its port for TLS."""
    (folder / "conf").mkdir(exist_ok=True)
    files = {"certificate": place.certificate, "key": place.key, "trusted": place.tls.trusted[0]}
    text = "".join(f"{name} = {json.dumps(str(file))}\n" for name, file in files.items())
    (folder / "conf" / "minipacs.toml").write_text(f"[tls]\n{text}port = 0\n")
    with serving(folder, US) as node:
        yield node, node.wait_for("listening", 1)["tls_port"]


def connect(port: int, context: ssl.SSLContext, peer: RawPeer) -> bytes:
    """The certificate that the node shows."""
    peer.socket = secured = context.wrap_socket(peer.socket, server_hostname="127.0.0.1")
    certificate = secured.getpeercert(binary_form=True)
    assert certificate is not None
    return certificate


def test_a_node_goes_on_with_the_new_certificate(place: Place, tmp_path: Path) -> None:
    """New handshakes have it; an association that is open goes on."""
    context = client_context(place.authority.settings(place.authority.issue()))
    identity = place.authority.issue()
    with node_in(place, tmp_path) as (node, port), raw_peer(port) as peer:
        old = connect(port, context, peer)
        assert old == ssl.PEM_cert_to_DER_cert(place.certificate.read_text())
        assert peer.exchange(asking(calling=b"MINIPACS"))[:1] == b"\x02"
        place.put(identity)
        event = node.wait_for("tls-reloaded", 1)
        assert event["certificate"] == shown(der(identity))
        assert event["not_after"][:10] == f"{validity(der(identity))[1]:%Y-%m-%d}"
        with raw_peer(port) as another:
            assert connect(port, context, another) == der(identity)
        assert peer.exchange(echo_rq()) == echo_answers(1)
        assert echo(Peer("", "MINIPACS", "127.0.0.1", port), tls=context).is_success


def test_a_node_refuses_those_that_it_trusts_no_more(place: Place, tmp_path: Path) -> None:
    context = client_context(place.authority.settings(place.authority.issue()))
    peer = "MINIPACS"
    with node_in(place, tmp_path) as (node, port):
        assert echo(Peer("", peer, "127.0.0.1", port), tls=context).is_success
        place.trust(place.other)
        node.wait_for("tls-reloaded", 1)
        assert echo(Peer("", peer, "127.0.0.1", port), tls=context).code == "tls.our-ca-unknown"


def test_a_node_says_what_it_shows_and_what_it_did_not_take(place: Place, tmp_path: Path) -> None:
    place.put(place.authority.issue(valid=(-30 * DAY, 10 * DAY)))
    with node_in(place, tmp_path) as (node, _):
        warning = str(node.wait_for("message", 1)["message"])
        assert warning.startswith("TLS: our certificate expires in 9 days, on ")
        now = ssl.PEM_cert_to_DER_cert(place.certificate.read_text())
        until = f"valid until {validity(now)[1]:%Y-%m-%d}"
        lines = node.minipacs("status", "--port", str(node.port)).stdout.splitlines()
        assert lines[1:3] == [f"TLS: {shown(now)}, {until}", f"  {warning.removeprefix('TLS: ')}"]
        assert lines[3].startswith("  read at the start (")
        replace(place.certificate, b"x")
        event = node.wait_for("tls-invalid", 1)
        assert event["errors"] == [f"{place.certificate}: file: must hold a certificate in PEM, not something else"]
        lines = node.minipacs("status", "--port", str(node.port)).stdout.splitlines()
        assert lines[3].startswith("  INVALID: the last good certificate stays in force (")
        assert lines[4] == f"  {event['errors'][0]}"
        told = json.loads(node.minipacs("status", "--json", "--port", str(node.port)).stdout)["tls"]
        assert (told["certificate"], told["result"], told["faults"]) == (shown(now), "invalid", event["errors"])
        assert fingerprint(now) in told["certificate"]
        assert datetime.fromisoformat(told["not_after"]) == validity(now)[1]


def test_a_node_takes_up_what_tls_init_renews(tmp_path: Path) -> None:
    assert run_minipacs(tmp_path, "tls", "init").returncode == 0
    conf, folder = tmp_path / "conf", tmp_path / "conf" / "tls"
    names = {"certificate": "node.pem", "key": "node-key.pem", "trusted": "ca.pem"}
    lines = [f"{key} = {json.dumps(str(folder / name))}\n" for key, name in names.items()]
    (conf / "minipacs.toml").write_text(f"[tls]\n{''.join(lines)}port = 0\n")
    with serving(tmp_path, US) as node:
        done = run_minipacs(tmp_path, "tls", "init", "--renew", "--json")
        assert done.returncode == 0, done.stderr
        [renewed] = [one for one in map(json.loads, done.stdout.splitlines()) if one["name"] == "node"]
        assert node.wait_for("tls-reloaded", 1)["certificate"].startswith(renewed["fingerprint"])
        port = node.wait_for("listening", 1)["tls_port"]
        tls = TLS(folder / "orthanc.pem", folder / "orthanc-key.pem", (folder / "ca.pem",))
        assert echo(Peer("", "MINIPACS", "127.0.0.1", port), tls=client_context(tls)).is_success


def test_a_hangup_has_both_files_read(place: Place, tmp_path: Path) -> None:
    with node_in(place, tmp_path) as (node, _):
        place.put(place.authority.issue(), only="key")
        node.peers.write_text("[peers.a]\n")
        os.kill(node.child.pid, signal.SIGHUP)
        node.wait_for("peers-invalid", 1)
        node.wait_for("tls-invalid", 1)
        wait_until(lambda: node.child.exit_code is None, within=1, what="life")


def test_a_certificate_that_has_expired_is_told_at_the_start(place: Place, tmp_path: Path) -> None:
    place.put(place.authority.issue_expired())
    with node_in(place, tmp_path) as (node, _):
        assert "our certificate expired on " in node.wait_for("message", 1)["message"]
        assert validity(ssl.PEM_cert_to_DER_cert(place.certificate.read_text()))[1] < datetime.now(UTC)
