"""[tls] in minipacs.toml: what it says, and what is told of files that cannot be used."""

import re
import ssl
import stat
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from msgspec.structs import replace

from minipacs import SettingsError
from minipacs.settings import TLS, read_settings
from minipacs.tls import client_context, server_context

from .certificates import Authority, Identity

SHIPPED = Path(__file__).parents[1] / "conf" / "minipacs.toml"

GIVEN = 'certificate = "a.pem"\nkey = "b.pem"\ntrusted = "ca.pem"\n'


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
def identity(authority: Authority) -> Identity:
    return authority.issue()


def read(folder: Path, text: str) -> TLS:
    path = folder / "minipacs.toml"
    path.write_text(f"[tls]\n{text}")
    return read_settings(path).tls


# --- the section -----------------------------------------------------------------------------------------------------


def test_the_shipped_file_shows_every_setting_with_its_default(tmp_path: Path) -> None:
    shown = SHIPPED.read_text().partition("# [tls]")[2].partition("\n\n")[0]
    text = "\n".join(line.removeprefix("# ") for line in shown.splitlines()[1:])
    assert set(tomllib.loads(text)) == set(TLS.__struct_fields__)
    folder = tmp_path / "tls"
    assert read(tmp_path, text) == TLS(folder / "node.pem", folder / "node-key.pem", (folder / "ca.pem",), port=2762)


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("require_client_certificate = false", "require_client_certificate", False),
        ('minimum_version = "1.3"', "minimum_version", "1.3"),
        ("port = 0", "port", 0),
        ("port = 2762\nonly = true", "only", True),
    ],
)
def test_each_setting_can_be_set(line: str, field: str, value: object, tmp_path: Path) -> None:
    assert getattr(read(tmp_path, GIVEN + line), field) == value


def test_files_are_found_from_the_settings_file(tmp_path: Path) -> None:
    tls = read(tmp_path, 'certificate = "a.pem"\nkey = "/etc/b.pem"\ntrusted = ["c.pem", "sub/d.pem"]')
    assert (tls.certificate, tls.key) == (tmp_path / "a.pem", Path("/etc/b.pem"))
    assert tls.trusted == (tmp_path / "c.pem", tmp_path / "sub" / "d.pem")


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ('certificate = "a.pem"', ["tls.key: must be given beside certificate, not left out"]),
        ('key = "a.pem"', ["tls.certificate: must be given beside key, not left out"]),
        (
            "port = 2762",
            [
                "tls.certificate: must be given beside port, not left out",
                "tls.trusted: must be given beside port, not left out",
            ],
        ),
        (
            'certificate = "a.pem"\nkey = "b.pem"\nport = 2762',
            ["tls.trusted: must be given beside port, not left out"],
        ),
        ("only = true", ["tls.port: must be given beside only, not left out"]),
        ('minimum_version = "1.1"', ['tls.minimum_version: must be 1.2 or 1.3, not "1.1"']),
        ("minimum_version = 1.2", ["tls.minimum_version: must be text in quotes, not 1.2"]),
        ('require_client_certificate = "no"', ['tls.require_client_certificate: must be true or false, not "no"']),
        ("trusted = []", ["tls.trusted: must name at least one, or be left out, not []"]),
        ("trusted = [1]", ["tls.trusted: must be text in quotes, not [1]"]),
        ('trusted = ""', ['tls.trusted: must be the path of a file, not ""']),
        (GIVEN + "port = 65536", ["tls.port: must be 0 to 65535, not 65536"]),
        (GIVEN + "prot = 1", ['tls.prot: must be a known key (nearest: port), not "prot"']),
    ],
)
def test_a_fault_of_the_section_is_told(text: str, faults: list[str], tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as raised:
        read(tmp_path, text)
    assert list(raised.value.faults) == [f"{tmp_path / 'minipacs.toml'}: {fault}" for fault in faults]


def test_a_node_that_requires_no_certificate_need_trust_none(tmp_path: Path) -> None:
    text = 'certificate = "a.pem"\nkey = "b.pem"\nport = 2762\nrequire_client_certificate = false'
    assert read(tmp_path, text).trusted == ()


# --- the files -------------------------------------------------------------------------------------------------------


def fault_of(tls: TLS) -> str:
    with pytest.raises(SettingsError) as raised:
        server_context(tls)
    with pytest.raises(SettingsError) as of_client:
        client_context(tls)
    assert of_client.value.faults == raised.value.faults
    [fault] = raised.value.faults
    return fault


def test_a_good_pair_makes_contexts_for_both_roles(authority: Authority, identity: Identity) -> None:
    tls = authority.settings(identity)
    server, client = server_context(tls), client_context(tls)
    assert (server.verify_mode, client.verify_mode) == (ssl.CERT_REQUIRED, ssl.CERT_REQUIRED)
    assert client.check_hostname
    assert {context.minimum_version for context in (server, client)} == {ssl.TLSVersion.TLSv1_2}
    suites = {suite["name"] for suite in client.get_ciphers() if suite["protocol"] == "TLSv1.2"}
    assert suites
    assert all(re.match(r"ECDHE-(RSA|ECDSA)-(AES\d+-GCM|CHACHA20)", suite) for suite in suites)


def test_the_minimum_version_counts_for_both_roles(authority: Authority, identity: Identity) -> None:
    tls = authority.settings(identity, minimum_version="1.3")
    assert {make(tls).minimum_version for make in (server_context, client_context)} == {ssl.TLSVersion.TLSv1_3}


def test_a_client_certificate_need_not_be_required(authority: Authority, identity: Identity) -> None:
    tls = authority.settings(identity, require_client_certificate=False)
    assert server_context(tls).verify_mode == ssl.CERT_OPTIONAL
    assert server_context(replace(tls, trusted=())).verify_mode == ssl.CERT_NONE
    assert client_context(tls).verify_mode == ssl.CERT_REQUIRED


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o602, 0o610])
def test_a_key_that_others_may_read_is_refused_with_the_command_that_mends_it(
    mode: int, authority: Authority, identity: Identity
) -> None:
    key = identity.key
    if mode == 0o610:  # somebody's own, and not root's
        mode = 0o601
    key.chmod(mode)
    fault = fault_of(authority.settings(identity))
    assert fault == f"{key}: mode: must keep the key from others, not {mode:04o}; fix: chmod 600 {key}"
    key.chmod(0o600)
    server_context(authority.settings(identity))


MISSING = 'must be readable, not "No such file or directory"'


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda i, ca: i.certificate.unlink(), "CERTIFICATE: file: " + MISSING),
        (lambda i, ca: i.key.unlink(), "KEY: file: " + MISSING),
        (lambda i, ca: ca.unlink(), "CA: file: " + MISSING),
        (
            lambda i, ca: i.certificate.write_text("x"),
            "CERTIFICATE: file: must hold a certificate in PEM, not something else",
        ),
        (lambda i, ca: i.key.write_text(""), "KEY: file: must hold a private key in PEM, not something else"),
        (lambda i, ca: ca.write_bytes(b"\0"), "CA: file: must hold certificates in PEM, not something else"),
        (
            lambda i, ca: ca.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            "CA: file: must be usable by OpenSSL, not so: ",
        ),
        (
            lambda i, ca: i.certificate.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            "CERTIFICATE and KEY: file: must be usable by OpenSSL, not so: ",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    spoil: Callable[[Identity, Path], object], fault: str, authority: Authority, identity: Identity
) -> None:
    spoil(identity, authority.certificate)
    said = fault_of(authority.settings(identity))
    for path, name in ((identity.certificate, "CERTIFICATE"), (identity.key, "KEY"), (authority.certificate, "CA")):
        said = said.replace(str(path), name)
    assert said.startswith(fault)


def test_a_key_of_another_certificate_is_told(authority: Authority, identity: Identity) -> None:
    other = authority.issue()
    fault = fault_of(replace(authority.settings(identity), key=other.key))
    assert fault == f"{other.key}: file: must hold the key of {identity.certificate}, not that of another"


def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(authority: Authority, identity: Identity) -> None:
    key = load_pem_private_key(identity.key.read_bytes(), None)
    secret = BestAvailableEncryption(b"secret")
    identity.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret))
    fault = fault_of(authority.settings(identity))
    assert fault == f"{identity.key}: file: must hold a key without a password, not an encrypted one"


def test_without_trusted_ones_the_systems_are_trusted_when_we_call() -> None:
    system = ssl.create_default_context()
    assert client_context(TLS()).cert_store_stats() == system.cert_store_stats()


def test_root_may_lend_its_key_to_a_group(authority: Authority, identity: Identity) -> None:
    identity.key.chmod(0o640)
    if identity.key.stat().st_uid == 0:
        server_context(authority.settings(identity))
    else:
        assert "chmod 600" in fault_of(authority.settings(identity))
    assert stat.S_IMODE(identity.key.stat().st_mode) == 0o640
