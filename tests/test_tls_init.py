"""`minipacs tls init`: the files it makes, which real peers and we trust each other by, and what it refuses."""

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from minipacs import Peer, VerificationSCP, echo
from minipacs.settings import TLS, Timeouts, read_settings
from minipacs.tls import client_context, server_context
from minipacs.trial_certificates import make_certificates

from .peers.dcmtk import ECHOSCU, STORESCP
from .peers.node import MINIPACS, environment, run_minipacs, serving, table
from .peers.orthanc import ORTHANC, Orthanc
from .peers.ports import free_port, listens
from .peers.process import running
from .peers.required import required

OPENSSL = "/usr/bin/openssl"
TIMEOUT = 10.0
NAMES = ["ca", "node", "orthanc"]
FILES = {f"{name}{end}" for name in NAMES for end in (".pem", "-key.pem")}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A folder where it was run as its user does at first, with a umask that hides nothing; and what it said."""
    folder = tmp_path_factory.mktemp("made")
    command = ["bash", "-c", 'umask 0; exec "$@"', "bash", *MINIPACS, "tls", "init"]
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    return folder, done


@pytest.fixture
def folder(made: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path) -> Path:
    """A copy of conf/tls in the test's own folder, for tests that change it."""
    shutil.copytree(made[0] / "conf", tmp_path / "conf")
    return tmp_path / "conf" / "tls"


@pytest.fixture
def tls(made: tuple[Path, subprocess.CompletedProcess[str]]) -> Path:
    """conf/tls, for tests that only read it."""
    return made[0] / "conf" / "tls"


def settings(tls: Path, name: str) -> TLS:
    return TLS(tls / f"{name}.pem", tls / f"{name}-key.pem", (tls / "ca.pem",))


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def hosts(path: Path) -> list[str]:
    names = certificate(path).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in names]


def init(folder: Path, *arguments: str) -> list[dict[str, object]]:
    """What it says with --json; it has to succeed."""
    done = run_minipacs(folder, "tls", "init", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def actions(said: list[dict[str, object]]) -> dict[object, object]:
    return {one["name"]: one["action"] for one in said}


def refused(folder: Path, *arguments: str) -> str:
    done = run_minipacs(folder, "tls", "init", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    return done.stderr


# --- what is made ----------------------------------------------------------------------------------------------------


def test_everything_is_there_and_keys_are_their_owners_alone(
    made: tuple[Path, subprocess.CompletedProcess[str]], tls: Path
) -> None:
    assert made[1].returncode == 0, made[1].stderr
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tls.iterdir()}
    assert modes == {name: 0o600 if "key" in name else 0o644 for name in FILES}
    assert stat.S_IMODE(tls.stat().st_mode) == 0o700


def test_a_key_is_private_from_its_first_byte_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, int, int]] = []
    system_open = os.open

    def watched(path: str | Path, flags: int, mode: int = 0o777) -> int:
        descriptor = system_open(path, flags, mode)
        if flags & os.O_CREAT and not str(path).endswith(".lock"):
            made.append((flags & os.O_EXCL, mode, stat.S_IMODE(os.fstat(descriptor).st_mode)))
        return descriptor

    monkeypatch.setattr("os.open", watched)
    umask = os.umask(0)
    try:
        make_certificates(tmp_path / "tls", {"node": ()}, days=1)
    finally:
        os.umask(umask)
    assert made == [(os.O_EXCL, 0o600, 0o600)] * 4


def test_no_umask_makes_a_key_that_its_owner_cannot_read(tmp_path: Path) -> None:
    umask = os.umask(0o777)
    try:
        folder = tmp_path / "tls"
        folder.mkdir(0o700)
        folder.chmod(0o700)
        make_certificates(folder, {"node": ()}, days=1)
    finally:
        os.umask(umask)
    assert stat.S_IMODE((folder / "node-key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "node.pem").stat().st_mode) == 0o644


def test_what_is_said_has_the_fingerprints_and_no_key(
    made: tuple[Path, subprocess.CompletedProcess[str]], tls: Path
) -> None:
    said = made[1].stdout + made[1].stderr
    for name in NAMES:
        pem = (tls / f"{name}.pem").read_text()
        command = [OPENSSL, "x509", "-noout", "-fingerprint", "-sha256"]
        shown = subprocess.run(command, input=pem, capture_output=True, text=True, timeout=30, check=True).stdout
        digits = shown.strip().partition("=")[2].replace(":", "").lower()
        assert len(digits) == 64
        assert f"conf/tls/{name}.pem: " in said
        assert f"sha256:{digits}" in said
        for line in (tls / f"{name}-key.pem").read_text().splitlines()[1:-1]:
            assert line not in said
    assert "PRIVATE" not in said


def test_the_key_of_the_ca_is_told_of_on_standard_error(made: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    assert made[1].stderr == (
        "minipacs: conf/tls/ca-key.pem: who has it can pass for anybody here; put it away until another peer comes\n"
    )


def test_the_certificates_say_what_a_node_needs(tls: Path) -> None:
    ca = certificate(tls / "ca.pem")
    numbers = {ca.serial_number}
    for name in ("node", "orthanc"):
        own = certificate(tls / f"{name}.pem")
        numbers.add(own.serial_number)
        assert own.version is x509.Version.v3
        assert own.issuer == ca.subject
        assert own.subject.rfc4514_string() == f"CN={name},O=minipacs trial"
        assert own.not_valid_after_utc - own.not_valid_before_utc == timedelta(days=365, hours=1)
        assert own.not_valid_before_utc < datetime.now(UTC) - timedelta(minutes=59)
        assert own.public_key().key_size == 3072  # type: ignore[union-attr]
    assert len(numbers) == 3
    assert ca.not_valid_after_utc - ca.not_valid_before_utc == timedelta(days=3650, hours=1)
    assert hosts(tls / "node.pem")[:3] == ["127.0.0.1", "::1", "localhost"]
    assert hosts(tls / "orthanc.pem") == ["127.0.0.1", "::1", "localhost"]


@required(OPENSSL)
@pytest.mark.parametrize("purpose", ["sslserver", "sslclient"])
@pytest.mark.parametrize("name", ["node", "orthanc"])
def test_openssl_takes_them_strictly_for_either_role(name: str, purpose: str, tls: Path) -> None:
    command = [OPENSSL, "verify", "-x509_strict", "-purpose", purpose, "-verify_ip", "127.0.0.1", "-CAfile"]
    command += [str(tls / "ca.pem"), str(tls / f"{name}.pem")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (0, f"{tls / name}.pem: OK\n"), done.stderr


@required(OPENSSL)
def test_a_peers_certificate_issues_no_others(tls: Path, tmp_path: Path) -> None:
    forged = make_certificates(tmp_path / "own", {"node": ()}, days=1)[1]
    chain = tmp_path / "chain.pem"
    chain.write_text((tls / "orthanc.pem").read_text() + forged.certificate.read_text())
    command = [OPENSSL, "verify", "-CAfile", str(tls / "ca.pem"), "-untrusted", str(chain), str(forged.certificate)]
    assert subprocess.run(command, capture_output=True, timeout=30, check=False).returncode != 0
    with pytest.raises(x509.ExtensionNotFound):
        certificate(tls / "orthanc.pem").extensions.get_extension_for_class(x509.NameConstraints)
    assert not certificate(tls / "orthanc.pem").extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_every_key_is_that_of_its_certificate(tls: Path) -> None:
    for name in NAMES:
        key = load_pem_private_key((tls / f"{name}-key.pem").read_bytes(), None)
        assert key.public_key() == certificate(tls / f"{name}.pem").public_key()
        assert (tls / f"{name}-key.pem").read_text().startswith("-----BEGIN PRIVATE KEY-----\n")  # PKCS #8


# --- what it says is all there is to do ------------------------------------------------------------------------------


def sections(text: str) -> dict[str, str]:
    """The next steps that it shows: what stands behind the # → the lines below."""
    parts = (part.partition("\n") for part in text.split("\n\n") if part.startswith("# "))
    return {head.removeprefix("# "): body for head, _, body in parts}


def section(text: str, word: str) -> str:
    [body] = (body for head, body in sections(text).items() if word in head)
    return body


def test_the_shipped_section_uncommented_is_all_there_is_to_do(tmp_path: Path) -> None:
    assert run_minipacs(tmp_path, "init").returncode == 0
    said = run_minipacs(tmp_path, "tls", "init").stdout
    file = tmp_path / "conf" / "minipacs.toml"
    head, _, tail = file.read_text().partition("# [tls]")
    file.write_text(head + "\n".join(line.removeprefix("# ") for line in f"# [tls]{tail}".splitlines()))
    uncommented = read_settings(file).tls
    server_context(uncommented)
    client_context(uncommented)
    shown = tmp_path / "conf" / "shown.toml"
    shown.write_text(section(said, "conf/minipacs.toml"))
    assert read_settings(shown).tls == uncommented
    assert section(said, "conf/peers.toml") == "[peers.orthanc]\ntls = true"


def write_table(folder: Path, text: str) -> Path:
    path = folder / "conf" / "peers.toml"
    path.write_text(text)
    return path


@required(ORTHANC)
def test_orthanc_and_we_echo_each_other_by_the_lines_that_it_says(tmp_path: Path) -> None:
    said = run_minipacs(tmp_path, "tls", "init").stdout
    (tmp_path / "conf" / "minipacs.toml").write_text(section(said, "conf/minipacs.toml").replace("2762", "0"))
    with serving(tmp_path, "", "--config", "conf/minipacs.toml") as node:
        port = node.wait_for("listening", 1)["tls_port"]
        extra = json.loads("{" + section(said, "as an Orthanc").replace("2762", str(port)) + "}")
        with Orthanc(tmp_path / "orthanc", minipacs_port=0, extra=extra) as orthanc:
            peer = {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": orthanc.dicom_port, "tls": True}
            node.save(table({"name": "orthanc"} | peer))
            assert node.echo("orthanc")["outcome"] == "success"
            assert orthanc.echo("minipacs") == (200, "{}")
            assert node.wait_for("association", 1)["outcome"] == "released"


def test_dcmtk_is_told_to_call_by_the_title_that_the_table_has(tmp_path: Path) -> None:
    assert run_minipacs(tmp_path, "init").returncode == 0
    said = run_minipacs(tmp_path, "tls", "init", "--peer", "orthanc", "--peer", "other").stdout
    assert " -aet ORTHANC -aec MINIPACS " in section(said, "orthanc as DCMTK")
    assert " -aet " not in section(said, "other as DCMTK")


@required(ECHOSCU, STORESCP)
def test_dcmtk_and_we_echo_each_other_by_the_lines_that_it_says(tmp_path: Path) -> None:
    said = run_minipacs(tmp_path, "tls", "init", "--peer", "dcmtk").stdout
    (tmp_path / "conf" / "minipacs.toml").write_text(section(said, "conf/minipacs.toml").replace("2762", "0"))
    echoscu, storescp = section(said, "as DCMTK").splitlines()
    port = free_port()
    peer = {"ae_title": "DCMTK", "host": "127.0.0.1", "port": port, "tls": True}
    rows = table({"name": "dcmtk"} | peer, {"name": "echoscu", "ae_title": "ECHOSCU"})
    with serving(tmp_path, rows, "--config", "conf/minipacs.toml") as node:
        tls_port = str(node.wait_for("listening", 1)["tls_port"])
        command = shlex.split(echoscu.replace("2762", tls_port))
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=45, check=False)
        assert done.returncode == 0, done.stderr
        assert node.wait_for("association", 1)["outcome"] == "released"
        command = shlex.split(storescp.replace("PORT", str(port)))
        with running(command, log=tmp_path / "storescp.log", ready=lambda c: listens(c.pid, port), cwd=tmp_path):
            assert node.echo("dcmtk")["outcome"] == "success"


@pytest.fixture
def node(tls: Path) -> Iterator[VerificationSCP]:
    context = server_context(settings(tls, "node"))
    with VerificationSCP([Peer("p", "PYNETDICOM")], port=0, timeouts=Timeouts(stop=0.2), tls=context) as node:
        yield node


def application_entity() -> AE:
    ae = AE("PYNETDICOM")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = TIMEOUT
    ae.add_requested_context(Verification)
    ae.add_supported_context(Verification)
    return ae


@pytest.mark.parametrize("suites", ["ECDHE+aRSA+AESGCM", None])
def test_pynetdicom_echoes_us_and_so_does_one_that_knows_rsa_alone(
    suites: str | None, node: VerificationSCP, tls: Path
) -> None:
    context = client_context(settings(tls, "orthanc"))
    if suites is not None:
        context.maximum_version = context.minimum_version  # of TLS 1.3 the suites say nothing of the kind of key
        context.set_ciphers(suites)
    association = application_entity().associate(
        "127.0.0.1", node.port, ae_title="MINIPACS", tls_args=(context, "localhost")
    )
    assert association.is_established
    assert association.send_c_echo().Status == 0
    association.release()
    assert node.wait_for_associations(1, timeout=TIMEOUT)[-1].outcome == "released"


def test_we_echo_pynetdicom(tls: Path) -> None:
    context = server_context(settings(tls, "orthanc"))
    server = application_entity().start_server(("127.0.0.1", 0), block=False, ssl_context=context)
    assert server is not None
    try:
        peer = Peer("", "PYNETDICOM", "127.0.0.1", server.server_address[1])
        assert echo(peer, timeout=TIMEOUT, tls=client_context(settings(tls, "node"))).is_success
    finally:
        server.shutdown()


# --- again, and more -------------------------------------------------------------------------------------------------


def test_what_is_there_is_kept(folder: Path, tmp_path: Path) -> None:
    before = contents(folder)
    assert actions(init(tmp_path)) == dict.fromkeys(NAMES, "kept")
    assert contents(folder) == before


def test_one_more_peer_is_of_the_same_ca(folder: Path, tmp_path: Path) -> None:
    before = contents(folder)
    said = init(tmp_path, "--peer", "ct1@10.0.0.5", "--peer", "ct1@ct1.test.", "--days", "7")
    assert actions(said) == {"ca": "kept", "node": "kept", "ct1": "written"}
    after = contents(folder)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"ct1.pem", "ct1-key.pem"}
    assert hosts(folder / "ct1.pem") == ["10.0.0.5", "ct1.test"]
    own = certificate(folder / "ct1.pem")
    own.verify_directly_issued_by(certificate(folder / "ca.pem"))
    assert own.not_valid_after_utc - own.not_valid_before_utc == timedelta(days=7, hours=1)
    assert said[2]["not_after"] == f"{own.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
    assert said[2]["hosts"] == hosts(folder / "ct1.pem")
    assert said[2]["certificate"] == str(folder / "ct1.pem")


def test_the_table_says_whom_a_peers_certificate_is_for(folder: Path, tmp_path: Path) -> None:
    peer = {"ae_title": "CT1", "host": "10.0.0.5", "port": 104, "tls": True, "tls_name": "ct1.test"}
    write_table(tmp_path, table({"name": "ct1"} | peer, {"name": "ct2", "ae_title": "CT2"}))
    init(tmp_path, "--peer", "ct1", "--peer", "ct2")
    assert hosts(folder / "ct1.pem") == ["ct1.test", "10.0.0.5"]
    assert hosts(folder / "ct2.pem") == ["127.0.0.1", "::1", "localhost"]


def test_ours_is_for_the_hosts_that_are_given(tmp_path: Path) -> None:
    init(tmp_path, "x/tls", "--host", "10.0.0.4", "--host", "node.test", "--host", "10.0.0.4", "--peer", "a")
    assert hosts(tmp_path / "x" / "tls" / "node.pem") == ["10.0.0.4", "node.test"]


def test_ours_is_for_where_the_node_listens(tmp_path: Path) -> None:
    file = tmp_path / "minipacs.toml"
    file.write_text('[node]\nhost = "127.0.0.9"\n')
    init(tmp_path, "--config", str(file))
    assert "127.0.0.9" in hosts(tmp_path / "tls" / "node.pem")


def test_renewed_are_all_of_them_for_the_same_keys_and_hosts(folder: Path, tmp_path: Path) -> None:
    init(tmp_path, "--peer", "ct1@10.0.0.5")
    shutil.copyfile(folder / "ca.pem", folder / "hospital.pem")
    (folder / "other.pem").write_text("no certificate")
    (folder / "orthanc-key.pem").rename(tmp_path / "moved to where Orthanc runs")
    (folder / "ct1.pem").chmod(0o640)
    before, old = contents(folder), {name: certificate(folder / f"{name}.pem") for name in ("node", "orthanc", "ct1")}
    said = init(tmp_path, "--renew", "--days", "30")
    assert actions(said) == {"ca": "kept", "node": "renewed", "ct1": "renewed", "orthanc": "renewed"}
    after = contents(folder)
    assert {name for name in after if after[name] != before.get(name)} == {f"{name}.pem" for name in old}
    assert set(after) == set(before)
    for name, was in old.items():
        new = certificate(folder / f"{name}.pem")
        assert new.public_key() == was.public_key()
        assert new.serial_number != was.serial_number
        assert new.not_valid_after_utc < was.not_valid_after_utc
        new.verify_directly_issued_by(certificate(folder / "ca.pem"))
    assert hosts(folder / "ct1.pem") == ["10.0.0.5"]
    assert stat.S_IMODE((folder / "ct1.pem").stat().st_mode) == 0o640


def test_other_hosts_need_a_renewal(folder: Path, tmp_path: Path) -> None:
    done = run_minipacs(tmp_path, "tls", "init", "--host", "node.test")
    assert done.returncode == 0
    assert re.fullmatch(
        r"minipacs: conf/tls/node\.pem is kept, for 127\.0\.0\.1, .*; --renew makes it for node\.test\n", done.stderr
    )
    assert init(tmp_path, "--renew", "--host", "node.test")[1]["hosts"] == ["node.test"]


def test_a_link_stays_a_link(folder: Path, tmp_path: Path) -> None:
    real = tmp_path / "elsewhere.pem"
    (folder / "node.pem").rename(real)
    (folder / "node.pem").symlink_to(real)
    before = real.read_bytes()
    init(tmp_path, "--renew")
    assert (folder / "node.pem").is_symlink()
    assert real.read_bytes() != before


def test_an_expired_one_is_told_of(folder: Path, tmp_path: Path) -> None:
    days_ago = datetime.now(UTC) - timedelta(days=9)
    make_certificates(folder, {"node": ()}, days=1, renew=True, now=days_ago)
    done = run_minipacs(tmp_path, "tls", "init")
    assert done.stderr == "minipacs: conf/tls/node.pem has expired: minipacs tls init --renew\n"
    assert run_minipacs(tmp_path, "tls", "init", "--renew").stderr == ""


def test_nothing_outlasts_its_ca(folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(folder)
    long_ago = datetime.now(UTC) - timedelta(days=3000)
    make_certificates(folder, {"node": ()}, days=1, now=long_ago)
    init(tmp_path, "--renew", "--days", "3650")
    assert certificate(folder / "node.pem").not_valid_after_utc == certificate(folder / "ca.pem").not_valid_after_utc


def test_a_ca_that_has_expired_issues_no_more(tmp_path: Path) -> None:
    folder = tmp_path / "conf" / "tls"
    make_certificates(folder, {"node": ()}, days=1, now=datetime.now(UTC) - timedelta(days=4000))
    assert re.fullmatch(
        r"conf/tls/ca\.pem: validity: must last to issue conf/tls/node\.pem, not end on \d{4}-\d\d-\d\d; "
        r"fix: another folder\n",
        refused(tmp_path, "--renew"),
    )


def test_a_key_without_its_certificate_gets_one(folder: Path, tmp_path: Path) -> None:
    """As when the plug was pulled between the two."""
    (folder / "node.pem").unlink()
    key = (folder / "node-key.pem").read_bytes()
    assert actions(init(tmp_path))["node"] == "written"
    assert (folder / "node-key.pem").read_bytes() == key
    server_context(settings(folder, "node"))


def test_a_ca_whose_key_was_put_away_keeps_what_is_there_and_issues_no_more(folder: Path, tmp_path: Path) -> None:
    (folder / "ca-key.pem").unlink()
    assert actions(init(tmp_path)) == dict.fromkeys(NAMES, "kept")
    before = contents(folder)
    missing = "conf/tls/ca-key.pem: file: must be there to issue conf/tls/ct1.pem, not put away\n"
    assert refused(tmp_path, "--peer", "ct1") == missing
    assert refused(tmp_path, "--renew") == missing.replace("ct1", "node")
    assert contents(folder) == before


@required(OPENSSL)
@pytest.mark.parametrize("kind", ["rsa:2048", "ec"])
def test_a_ca_of_your_own_is_used(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "conf" / "tls"
    folder.mkdir(parents=True)
    command = [OPENSSL, "req", "-x509", "-newkey", kind, "-nodes", "-subj", "/CN=Own", "-days", "9"]
    command += ["-pkeyopt", "ec_paramgen_curve:P-256"] if kind == "ec" else []
    command += ["-keyout", str(folder / "ca-key.pem"), "-out", str(folder / "ca.pem")]
    subprocess.run(command, capture_output=True, timeout=30, check=True)
    (folder / "ca-key.pem").chmod(0o600)
    init(tmp_path, "--peer", "a")
    own = certificate(folder / "node.pem")
    assert own.issuer.rfc4514_string() == "CN=Own"
    context = server_context(settings(folder, "node"))
    with VerificationSCP([Peer("a", "MINIPACS")], port=0, tls=context) as node:
        peer = Peer("", "MINIPACS", "127.0.0.1", node.port)
        assert echo(peer, timeout=TIMEOUT, tls=client_context(settings(folder, "a"))).is_success


# --- what cannot be --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "a b"], "host: must be an IP address or a host name, not 'a b'"),
        (["--host", "10.0.0.256"], "host: must be an IP address or a host name, not '10.0.0.256'"),
        (["--host", "fe80::1%eth0"], "host: must be an IP address without a zone, not 'fe80::1%eth0'"),
        (["--host", ""], "host: must be an IP address or a host name, not ''"),
        (["--peer", "a/b"], "peer: must be a name of 1 to 64 letters, digits, '_', '-' and '.', "),
        (["--peer", "../a"], "peer: must be a name of 1 to 64 letters, digits, '_', '-' and '.', "),
        (["--peer", "a@"], "host: must be an IP address or a host name, not ''"),
        (["--peer", "\x1b[1m"], "not '\\\\x1b[1m'"),
        (["--peer", "node"], "peer: must not be ca or node, nor end in -key, not 'node'"),
        (["--peer", "ca"], "peer: must not be ca or node, nor end in -key, not 'ca'"),
        (["--peer", "a-key"], "peer: must not be ca or node, nor end in -key, not 'a-key'"),
        (["--days", "0"], "0 is not in the range 1<=x<=3650"),
        (["--days", "3651"], "3651 is not in the range 1<=x<=3650"),
        (["--days", "a"], "'a' is not a valid integer"),
        (["--config", "none.toml"], "none.toml: file: must be readable"),
        (["file"], "file: folder: must be a folder, not something else"),
        (["file/tls"], 'file/tls: file: must be writable, not "Not a directory"'),
        (["/proc/tls"], '/proc/tls: file: must be writable, not "No such file or directory"'),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(arguments: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert said in refused(tmp_path, *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


SPOILED = {
    "ca.pem": ("no certificate", "ca.pem: file: must hold a certificate in PEM, not something else"),
    "node.pem": ("no certificate", "node.pem: file: must hold a certificate in PEM, not something else"),
    "ca-key.pem": ("no key", "ca-key.pem: file: must hold a private key in PEM, without a password, not something"),
    "node-key.pem": ("no key", "node-key.pem: file: must hold a private key in PEM, without a password, not something"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_file_that_is_something_else_is_named(name: str, folder: Path, tmp_path: Path) -> None:
    text, said = SPOILED[name]
    (folder / name).write_text(text)
    before = contents(folder)
    assert refused(tmp_path, "--peer", "ct1").startswith(f"conf/tls/{said}")
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("node.pem", "ca.pem", "ca.pem: file: must hold the certificate of a CA, not that of another"),
        ("node-key.pem", "ca-key.pem", "ca-key.pem: file: must hold the key of conf/tls/ca.pem, not that of another"),
        ("orthanc-key.pem", "node-key.pem", "node-key.pem: file: must hold the key of conf/tls/node.pem, not that"),
    ],
)
def test_files_that_were_mixed_up_are_named(source: str, target: str, said: str, folder: Path, tmp_path: Path) -> None:
    shutil.copyfile(folder / source, folder / target)
    before = contents(folder)
    assert refused(tmp_path, "--renew").startswith(f"conf/tls/{said}")
    assert contents(folder) == before


def test_a_certificate_of_another_ca_is_not_touched(folder: Path, tmp_path: Path) -> None:
    make_certificates(tmp_path / "other", {"node": ()}, days=1)
    shutil.copyfile(tmp_path / "other" / "node.pem", folder / "node.pem")
    before = contents(folder)
    assert refused(tmp_path, "--renew") == (
        "conf/tls/node.pem: issuer: must be the CA in conf/tls/ca.pem, not another; fix: another folder\n"
    )
    assert contents(folder) == before


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o666])
def test_a_key_of_the_ca_that_others_may_read_is_not_used(mode: int, folder: Path, tmp_path: Path) -> None:
    (folder / "ca-key.pem").chmod(mode)
    said = refused(tmp_path, "--peer", "ct1")
    assert said == (
        f"conf/tls/ca-key.pem: mode: must keep the key from others, not {mode:04o}; "
        "fix: chmod 600 conf/tls/ca-key.pem\n"
    )
    subprocess.run(["bash", "-c", said.partition("fix: ")[2]], cwd=tmp_path, check=True)
    assert actions(init(tmp_path, "--peer", "ct1"))["ct1"] == "written"


def test_a_disk_that_is_full_leaves_nothing(tmp_path: Path) -> None:
    """Here: a process that may write no more than 2 KiB to a file, which a key is longer than."""
    command = ["bash", "-c", 'ulimit -f 2; exec "$@"', "bash", *MINIPACS, "tls", "init"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == 'conf/tls/ca-key.pem: file: must be writable, not "File too large"\n'
    assert not (tmp_path / "conf" / "tls").exists()


def test_what_cannot_be_put_in_its_place_takes_all_with_it(tmp_path: Path) -> None:
    """Whatever is at the path of the last file, such as a link into the void: it is not overwritten."""
    folder = tmp_path / "conf" / "tls"
    folder.mkdir(parents=True)
    (folder / "orthanc.pem").symlink_to("nowhere")
    assert refused(tmp_path) == 'conf/tls/orthanc.pem: file: must be writable, not "File exists"\n'
    assert [path.name for path in folder.iterdir()] == ["orthanc.pem"]


def test_of_two_at_once_the_second_finds_what_the_first_has_made(tmp_path: Path) -> None:
    command = [*MINIPACS, "tls", "init", "--json"]
    both = [
        subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    said = [child.communicate(timeout=60)[0].splitlines() for child in both]
    assert [child.returncode for child in both] == [0, 0]
    first, second = sorted(({json.loads(line)["action"] for line in lines} for lines in said), key=max, reverse=True)
    assert (first, second) == ({"written"}, {"kept"})
    assert set(contents(tmp_path / "conf" / "tls")) == FILES
    assert actions(init(tmp_path)) == dict.fromkeys(NAMES, "kept")  # which looks at every pair
