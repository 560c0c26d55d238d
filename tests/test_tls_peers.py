"""TLS with real peers, in both roles, with the certificates right and wrong on either side."""

import json
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from minipacs import AssociationOutcome, AssociationRecord, EchoResult, Outcome, Peer, VerificationSCP, echo
from minipacs.settings import TLS, Timeouts
from minipacs.tls import client_context, server_context

from .certificates import Authority, Identity
from .peers.dcmtk import ECHOSCU, STORESCP, echoscu, storescp
from .peers.node import MINIPACS, run_minipacs, table
from .peers.node import serving as node_process
from .peers.orthanc import ORTHANC, Orthanc
from .peers.ports import free_port, listens
from .peers.process import running
from .peers.required import required
from .raw import asking
from .tls_words import WORDS, assert_told
from .wire.exchange import RELEASE_RQ, echo_answers
from .wire.exchange import echo as echo_rq

OPENSSL = "/usr/bin/openssl"
TIMEOUT = 10.0


@dataclass(frozen=True)
class World:
    """Two authorities that know nothing of each other; we, the peer, and a stranger."""

    ours: Authority
    other: Authority
    node: Identity
    peer: Identity
    stranger: Identity

    @property
    def tls(self) -> TLS:
        """[tls] as it should be."""
        return self.ours.settings(self.node)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("certificates")
    ours, other = Authority(folder / "ours"), Authority(folder / "other", "Other CA")
    return World(ours, other, ours.issue(), ours.issue(), other.issue())


@contextmanager
def serving(tls: TLS) -> Iterator[VerificationSCP]:
    peers = [Peer("orthanc", "ORTHANC"), Peer("dcmtk", "ECHOSCU"), Peer("pynetdicom", "PYNETDICOM")]
    with VerificationSCP(peers, port=0, timeouts=Timeouts(stop=0.2), tls=server_context(tls)) as node:
        yield node


def last_record(node: VerificationSCP) -> AssociationRecord:
    return node.wait_for_associations(1, timeout=TIMEOUT)[-1]


def call(ae_title: str, port: int, tls: TLS, *, count: int = 1) -> EchoResult:
    peer = Peer("peer", ae_title, "127.0.0.1", port)
    return echo(peer, count=count, timeout=TIMEOUT, tls=client_context(tls))


def told(result: EchoResult) -> tuple[Outcome, str]:
    """Outcome and code, once the words are those of the row."""
    if result.code in WORDS:
        assert_told(result.code, result.reason, result.fix, called=result.peer.ae_title)
    return result.outcome, result.code


NO = Outcome.NO_ASSOCIATION

# --- Orthanc ---------------------------------------------------------------------------------------------------------


def speaking_tls(world: World, identity: Identity | None = None, **changes: object) -> Mapping[str, object]:
    """Its settings."""
    identity = identity or world.peer
    return {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(identity.certificate),
        "DicomTlsPrivateKey": str(identity.key),
        "DicomTlsTrustedCertificates": str(world.ours.certificate),
        **changes,
    }


def register(orthanc: Orthanc, port: int, *, tls: bool = True) -> None:
    """Let it know us, as one that it calls by TLS."""
    modality = {"AET": "MINIPACS", "Host": "127.0.0.1", "Port": port, "UseDicomTls": tls}
    assert orthanc.put("/modalities/minipacs", modality)[0] == 200


@pytest.fixture(scope="module")
def orthanc(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    folder = tmp_path_factory.mktemp("orthanc")
    with Orthanc(folder, minipacs_port=free_port(), extra=speaking_tls(world)) as orthanc:
        yield orthanc


@required(ORTHANC)
def test_orthanc_and_we_echo_each_other_by_mutual_tls(orthanc: Orthanc, world: World) -> None:
    result = call("ORTHANC", orthanc.dicom_port, world.tls, count=20)
    assert (result.outcome, result.echoes, result.observations) == (Outcome.SUCCESS, 20, ())
    with serving(world.tls) as node:
        register(orthanc, node.port)
        assert orthanc.echo("minipacs") == (200, "{}")
        record = last_record(node)
    assert (record.outcome, record.peer, record.echoes) == (AssociationOutcome.RELEASED, "orthanc", 1)
    assert (record.reason, record.observations) == (None, ())


@required(ORTHANC)
@pytest.mark.parametrize("runs", [False, True], ids=["own node", "running node"])
def test_a_round_trip_by_tls_is_mutual(orthanc: Orthanc, world: World, tmp_path: Path, runs: bool) -> None:
    """Orthanc is told the port for TLS, and that it is one; the echo arrives by TLS, and its record as any other."""
    entry = {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": orthanc.dicom_port, "tls": True}
    settings = (
        f'[node]\nport = {free_port()}\n[tls]\ncertificate = "{world.node.certificate}"\nkey = "{world.node.key}"\n'
        f'trusted = "{world.ours.certificate}"\nport = {free_port()}\n'
    )
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "minipacs.toml").write_text(settings)
    (tmp_path / "conf" / "peers.toml").write_text(table({"name": "orthanc"} | entry))
    arguments = ("roundtrip", "orthanc", "--orthanc", orthanc.url, "--register", "--unregister", "--json")
    with ExitStack() as stack:
        if runs:
            command = [*MINIPACS, "serve"]
            ready = "listening on"
            stack.enter_context(
                running(command, log=tmp_path / "log", ready=lambda child: ready in child.log, cwd=tmp_path)
            )
        done = run_minipacs(tmp_path, *arguments)
    result = json.loads(done.stdout)
    assert (result["verdict"], result["enforced"], done.returncode) == ("mutual", True, 0), done.stdout
    reasons = {leg["leg"]: leg["reason"] for leg in result["legs"]}
    assert reasons["in"] == "ORTHANC called MINIPACS from 127.0.0.1: 1 echo, released"


@required(ORTHANC)
def test_orthanc_requires_a_certificate(orthanc: Orthanc, world: World) -> None:
    result = call("ORTHANC", orthanc.dicom_port, world.ours.settings())
    assert told(result) == (NO, "tls.certificate-required")
    assert result.fix == (
        "set certificate and key under [tls] in minipacs.toml, and let ORTHANC trust the CA of that certificate"
    )


@required(ORTHANC)
def test_orthanc_does_not_know_our_ca(orthanc: Orthanc, world: World) -> None:
    result = call("ORTHANC", orthanc.dicom_port, world.ours.settings(world.stranger))
    assert told(result) == (NO, "tls.our-ca-unknown")
    assert "DicomTlsTrustedCertificates" in result.fix


@required(ORTHANC)
def test_our_certificate_has_expired_for_orthanc(orthanc: Orthanc, world: World) -> None:
    result = call("ORTHANC", orthanc.dicom_port, world.ours.settings(world.ours.issue_expired()))
    assert told(result) == (NO, "tls.our-certificate-expired")


@required(ORTHANC)
def test_we_do_not_know_orthancs_ca(orthanc: Orthanc, world: World) -> None:
    result = call("ORTHANC", orthanc.dicom_port, world.other.settings(world.node))
    assert told(result) == (NO, "tls.their-ca-unknown")


@required(ORTHANC)
def test_an_orthanc_that_speaks_tls_is_called_in_plain(orthanc: Orthanc) -> None:
    result = echo(Peer("", "ORTHANC", "127.0.0.1", orthanc.dicom_port), timeout=TIMEOUT)
    assert told(result) == (NO, "no-association.closed")
    assert "it may want TLS (--tls)" in result.fix


@required(ORTHANC)
def test_a_plain_orthanc_is_called_by_tls(world: World, tmp_path: Path) -> None:
    with Orthanc(tmp_path, minipacs_port=free_port()) as orthanc:
        result = call("ORTHANC", orthanc.dicom_port, world.tls)
    assert told(result) == (NO, "tls.closed")
    assert result.fix.startswith("unset tls for the peer")


@required(ORTHANC)
def test_orthanc_calls_our_port_for_tls_in_plain(orthanc: Orthanc, world: World) -> None:
    with serving(world.tls) as node:
        register(orthanc, node.port, tls=False)
        assert orthanc.echo("minipacs")[0] == 500
        record = last_record(node)
    assert record.code == "tls-inbound.plain"
    assert record.fix == "on the peer: switch TLS on for this node"


@required(ORTHANC)
def test_orthanc_calls_our_plain_port_by_tls(orthanc: Orthanc, world: World) -> None:
    with VerificationSCP([Peer("orthanc", "ORTHANC")], port=0) as node:
        register(orthanc, node.port)
        assert orthanc.echo("minipacs")[0] == 500
        assert last_record(node).code == "inbound.tls"


@required(ORTHANC)
def test_orthanc_does_not_trust_us(orthanc: Orthanc, world: World) -> None:
    with serving(world.ours.settings(world.stranger)) as node:
        register(orthanc, node.port)
        assert orthanc.echo("minipacs")[0] == 500
        record = last_record(node)
    assert record.code == "tls-inbound.our-ca-unknown"
    assert "DicomTlsTrustedCertificates" in str(record.fix)


@required(ORTHANC)
def test_we_do_not_trust_orthanc(orthanc: Orthanc, world: World) -> None:
    with serving(world.other.settings(world.node)) as node:
        register(orthanc, node.port)
        assert orthanc.echo("minipacs")[0] == 500
        assert last_record(node).code == "tls-inbound.their-ca-unknown"


@required(ORTHANC)
def test_orthancs_certificate_has_expired(world: World, tmp_path: Path) -> None:
    settings = speaking_tls(world, world.ours.issue_expired())
    with Orthanc(tmp_path, minipacs_port=free_port(), extra=settings) as orthanc, serving(world.tls) as node:
        assert told(call("ORTHANC", orthanc.dicom_port, world.tls)) == (NO, "tls.their-certificate-expired")
        register(orthanc, node.port)
        assert orthanc.echo("minipacs")[0] == 500
        assert last_record(node).code == "tls-inbound.their-certificate-expired"


@required(ORTHANC)
def test_orthanc_need_not_require_a_certificate(world: World, tmp_path: Path) -> None:
    settings = speaking_tls(world, world.ours.issue("pacs.test"), DicomTlsRemoteCertificateRequired=False)
    with Orthanc(tmp_path, minipacs_port=free_port(), extra=settings) as orthanc:
        peer = Peer("", "ORTHANC", "127.0.0.1", orthanc.dicom_port, tls=True, tls_name="pacs.test")
        context = client_context(world.ours.settings())
        assert echo(peer, timeout=TIMEOUT, tls=context).is_success
        assert told(call("ORTHANC", orthanc.dicom_port, world.ours.settings())) == (NO, "tls.name")


README = (Path(__file__).parents[1] / "README.md").read_text()


def readme(language: str) -> str:
    """What its section on TLS shows in that language."""
    [block] = re.findall(rf"^```{language}\n(.*?)^```$", README.split("\n## TLS\n")[1], re.MULTILINE | re.DOTALL)[:1]
    return str(block)


@required(ORTHANC)
def test_what_the_readme_shows_makes_orthanc_and_us_echo_each_other(tmp_path: Path) -> None:
    folder = tmp_path / "conf"
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-ec", readme("sh")], cwd=tmp_path, env=env, capture_output=True, timeout=60, check=True)
    (folder / "minipacs.toml").write_text(readme("toml").replace("2762", "0"))
    with node_process(tmp_path, "", "--config", str(folder / "minipacs.toml")) as node:
        tls_port = node.wait_for("listening", 1)["tls_port"]
        text = readme("json").replace("/PATH", str(tmp_path)).replace("2762", str(tls_port))
        with Orthanc(tmp_path / "orthanc", minipacs_port=0, extra=json.loads(f"{{{text}}}")) as orthanc:
            port = orthanc.dicom_port
            peer = {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": port, "tls": True}
            node.save(table({"name": "orthanc"} | peer))
            echo = node.minipacs("echo", "orthanc", "--json", "--config", str(folder / "minipacs.toml"))
            assert json.loads(echo.stdout)["outcome"] == "success", echo.stdout
            assert orthanc.echo("minipacs") == (200, "{}")
            assert node.wait_for("association", 1)["outcome"] == "released"


@required(ECHOSCU, STORESCP)
def test_what_the_readme_shows_makes_dcmtk_and_us_echo_each_other(tmp_path: Path) -> None:
    assert run_minipacs(tmp_path, *readme("sh").split()[1:]).returncode == 0
    folder, text = tmp_path / "conf" / "tls", README.split("\n## TLS\n")[1]
    [called, calls] = re.findall(r"`((?:echoscu|storescp) \+tls [^`]*)`", text)
    port = free_port()
    ours = settings_of(folder, "node")
    with serving(ours) as node:
        command = called.replace("2762", str(node.port)).split()
        assert subprocess.run(command, cwd=folder, capture_output=True, timeout=45, check=False).returncode == 0
        assert last_record(node).outcome is AssociationOutcome.RELEASED
    command = calls.replace("4242", str(port)).split()
    with running(command, log=tmp_path / "log", ready=lambda child: listens(child.pid, port), cwd=folder):
        assert call("ANY", port, ours).is_success


def settings_of(folder: Path, name: str) -> TLS:
    return TLS(folder / f"{name}.pem", folder / f"{name}-key.pem", (folder / "ca.pem",))


# --- DCMTK -----------------------------------------------------------------------------------------------------------


def options(identity: Identity, trusted: Authority, *more: str) -> tuple[str, ...]:
    """Of its tools, for TLS."""
    return ("--enable-tls", str(identity.key), str(identity.certificate), "+cf", str(trusted.certificate), *more)


def called_by_echoscu(node: VerificationSCP, *arguments: str) -> tuple[int, AssociationRecord]:
    run = echoscu("--verbose", *arguments, "-aec", "MINIPACS", "127.0.0.1", node.port)
    return run.returncode, last_record(node)


@required(ECHOSCU)
@pytest.mark.parametrize("profile", ["--profile-bcp195-nd", "--profile-bcp195", "--profile-bcp195-ex"])
def test_dcmtk_echoes_us(profile: str, world: World) -> None:
    with serving(world.tls) as node:
        exit_code, record = called_by_echoscu(node, *options(world.peer, world.ours, profile))
    assert exit_code == 0
    assert (record.outcome, record.peer, record.echoes) == (AssociationOutcome.RELEASED, "dcmtk", 1)


@required(ECHOSCU)
@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        ("no-certificate", lambda w: ("--anonymous-tls", "+cf", str(w.ours.certificate))),
        ("their-ca-unknown", lambda w: options(w.stranger, w.ours)),
        ("their-certificate-expired", lambda w: options(w.ours.issue_expired(), w.ours)),
        ("our-ca-unknown", lambda w: options(w.peer, w.other)),
    ],
)
def test_dcmtk_and_we_do_not_come_together(
    code: str, arguments: Callable[[World], tuple[str, ...]], world: World
) -> None:
    with serving(world.tls) as node:
        exit_code, record = called_by_echoscu(node, *arguments(world))
    assert exit_code != 0
    assert (record.outcome, record.code) == (AssociationOutcome.INVALID, f"tls-inbound.{code}")


@required(ECHOSCU)
def test_our_expired_certificate_is_told_by_dcmtk(world: World) -> None:
    with serving(world.ours.settings(world.ours.issue_expired())) as node:
        _, record = called_by_echoscu(node, *options(world.peer, world.ours))
    assert record.code == "tls-inbound.our-certificate-expired"


@required(ECHOSCU)
def test_dcmtk_that_ignores_certificates_is_let_in_all_the_same(world: World) -> None:
    """It is for it to say whom it trusts."""
    with serving(world.ours.settings(world.ours.issue_expired())) as node:
        exit_code, _ = called_by_echoscu(node, *options(world.peer, world.ours, "--ignore-peer-cert"))
    assert exit_code == 0


@required(ECHOSCU)
def test_dcmtk_in_plain_is_told_from_tls(world: World) -> None:
    with serving(world.tls) as node:
        exit_code, record = called_by_echoscu(node)
    assert exit_code != 0
    assert record.code == "tls-inbound.plain"


@required(STORESCP)
def test_we_echo_dcmtk(world: World, tmp_path: Path) -> None:
    with storescp(tmp_path, ae_title="STORESCP", args=options(world.peer, world.ours)) as scp:
        result = call("STORESCP", scp.port, world.tls, count=20)
        assert (result.outcome, result.echoes, result.observations) == (Outcome.SUCCESS, 20, ())
        assert told(call("STORESCP", scp.port, world.ours.settings())) == (NO, "tls.certificate-required")
        assert told(call("STORESCP", scp.port, world.ours.settings(world.stranger))) == (NO, "tls.our-ca-unknown")
        expired = world.ours.settings(world.ours.issue_expired())
        assert told(call("STORESCP", scp.port, expired)) == (NO, "tls.our-certificate-expired")
        assert told(call("STORESCP", scp.port, world.other.settings(world.node))) == (NO, "tls.their-ca-unknown")
        assert call("STORESCP", scp.port, world.tls).is_success


@required(STORESCP)
def test_dcmtks_certificate_is_not_as_it_should_be(world: World, tmp_path: Path) -> None:
    for code, identity in {
        "tls.their-certificate-expired": world.ours.issue_expired(),
        "tls.name": world.ours.issue("pacs.test"),
        "tls.their-ca-unknown": world.stranger,
    }.items():
        args = options(identity, world.ours, "--ignore-peer-cert")
        with storescp(tmp_path / code, ae_title="STORESCP", args=args) as scp:
            assert told(call("STORESCP", scp.port, world.tls)) == (NO, code)


@required(STORESCP)
def test_dcmtk_in_plain_is_called_by_tls(world: World, tmp_path: Path) -> None:
    with storescp(tmp_path, ae_title="STORESCP") as scp:
        result = call("STORESCP", scp.port, world.tls)
    assert told(result) == (NO, "tls.closed")
    assert result.fix.startswith("unset tls for the peer")


@required(STORESCP)
def test_dcmtk_with_tls_is_called_in_plain(world: World, tmp_path: Path) -> None:
    with storescp(tmp_path, ae_title="STORESCP", args=options(world.peer, world.ours)) as scp:
        result = echo(Peer("", "STORESCP", "127.0.0.1", scp.port), timeout=TIMEOUT)
    assert told(result) == (NO, "no-association.closed")


# --- pynetdicom ------------------------------------------------------------------------------------------------------


def application_entity() -> AE:
    ae = AE("PYNETDICOM")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = TIMEOUT
    ae.add_requested_context(Verification)
    ae.add_supported_context(Verification)
    return ae


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_pynetdicom_echoes_us(version: ssl.TLSVersion, world: World) -> None:
    context = client_context(world.ours.settings(world.peer))
    context.maximum_version = version
    with serving(world.tls) as node:
        association = application_entity().associate(
            "127.0.0.1", node.port, ae_title="MINIPACS", tls_args=(context, "127.0.0.1")
        )
        assert association.is_established
        assert association.send_c_echo().Status == 0
        association.release()
        record = last_record(node)
    assert (record.outcome, record.peer, record.echoes) == (AssociationOutcome.RELEASED, "pynetdicom", 1)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_we_echo_pynetdicom(version: ssl.TLSVersion, world: World) -> None:
    context = server_context(world.ours.settings(world.peer))
    context.maximum_version = version
    server = application_entity().start_server(("127.0.0.1", 0), block=False, ssl_context=context)
    assert server is not None
    try:
        port = server.server_address[1]
        assert call("PYNETDICOM", port, world.tls, count=5).echoes == 5
    finally:
        server.shutdown()


def test_pynetdicom_in_plain_is_called_by_tls(world: World) -> None:
    server = application_entity().start_server(("127.0.0.1", 0), block=False)
    assert server is not None
    try:
        result = call("PYNETDICOM", server.server_address[1], world.tls)
    finally:
        server.shutdown()
    assert told(result) == (NO, "tls.plain")


# --- openssl ---------------------------------------------------------------------------------------------------------


def s_client(node: VerificationSCP, *arguments: str, data: bytes) -> bytes:
    """What the node answers to *data*, by OpenSSL's own client."""
    command = [OPENSSL, "s_client", "-quiet", "-connect", f"127.0.0.1:{node.port}", *arguments]
    return subprocess.run(command, input=data, capture_output=True, timeout=30, check=False).stdout


@required(OPENSSL)
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_sees_an_association(version: str, world: World) -> None:
    ours = ["-cert", str(world.peer.certificate), "-key", str(world.peer.key), "-CAfile", str(world.ours.certificate)]
    with serving(world.tls) as node:
        answer = s_client(node, version, *ours, "-verify_return_error", data=asking() + echo_rq() + RELEASE_RQ)
        record = last_record(node)
    assert echo_answers(1) in answer
    assert (record.outcome, record.echoes) == (AssociationOutcome.RELEASED, 1)


@required(OPENSSL)
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_without_a_certificate_is_refused(version: str, world: World) -> None:
    with serving(world.tls) as node:
        assert s_client(node, version, data=asking()) == b""
        assert last_record(node).code == "tls-inbound.no-certificate"


@required(OPENSSL)
def test_openssl_of_an_older_version_is_refused(world: World) -> None:
    with serving(world.tls) as node:
        assert s_client(node, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0", data=asking()) == b""
        assert last_record(node).code == "tls-inbound.no-common-version"


@required(OPENSSL)
def test_an_openssl_server_of_an_older_version_is_told(world: World, tmp_path: Path) -> None:
    port = free_port()
    command = [OPENSSL, "s_server", "-accept", f"127.0.0.1:{port}", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]
    command += ["-www", "-cert", str(world.peer.certificate), "-key", str(world.peer.key)]  # -www: reads no stdin
    with running(command, log=tmp_path / "log", ready=lambda child: listens(child.pid, port)):
        assert told(call("OPENSSL", port, world.tls)) == (NO, "tls.no-common-version")
