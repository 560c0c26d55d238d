"""Certificates for the tests of TLS: an authority of the test's own, and what it issues, right or wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from itertools import count
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from minipacs.settings import TLS

_BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
CLIENTS_ALONE = (ExtendedKeyUsageOID.CLIENT_AUTH,)
SERVERS_ALONE = (ExtendedKeyUsageOID.SERVER_AUTH,)

_DAY = timedelta(days=1)

_numbers = count(1)


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, each in a PEM file."""

    certificate: Path
    key: Path


class Authority:
    """A CA. Its own certificate is in the PEM file `certificate`."""

    def __init__(self, folder: Path, name: str = "Test CA") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._name = _name(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(self._name, self._name, self._key.public_key(), (-_DAY, 30 * _DAY))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self._identifier = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        builder = builder.add_extension(self._identifier, critical=False)
        self.certificate = folder / "ca.pem"
        self.certificate.write_bytes(builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM))

    def issue(
        self,
        *names: str,
        valid: tuple[timedelta, timedelta] = (-_DAY, 30 * _DAY),
        usage: Sequence[x509.ObjectIdentifier] = _BOTH,
        subject: str = "",
        names_issuers_key: bool = True,
    ) -> Identity:
        """A certificate for host names and IP addresses; *valid* from and until, seen from now.

        Its *subject* is the first of them unless told otherwise.
        """
        names = names or ("127.0.0.1", "localhost", "::1")
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(subject or names[0]), self._name, key.public_key(), valid)
        builder = builder.add_extension(x509.SubjectAlternativeName([_san(name) for name in names]), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        if names_issuers_key:  # RFC 5280 §4.2.1.1
            issuer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(self._identifier)
            builder = builder.add_extension(issuer, critical=False)
        number = next(_numbers)
        identity = Identity(self._folder / f"{number}.pem", self._folder / f"{number}-key.pem")
        identity.certificate.write_bytes(builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM))
        identity.key.touch(mode=0o600)
        identity.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return identity

    def issue_expired(self) -> Identity:
        """One that was valid until yesterday."""
        return self.issue(valid=(-30 * _DAY, -_DAY))

    def issue_for_tomorrow(self) -> Identity:
        """One that is not valid yet."""
        return self.issue(valid=(_DAY, 30 * _DAY))

    def settings(self, identity: Identity | None = None, **changes: object) -> TLS:
        """[tls] of somebody who trusts this authority, and shows *identity*."""
        certificate, key = (identity.certificate, identity.key) if identity else (None, None)
        fields = {"certificate": certificate, "key": key, "trusted": (self.certificate,)} | changes
        return TLS(**fields)  # type: ignore[arg-type]


@dataclass(frozen=True)
class World:
    """Two authorities that know nothing of each other, and what they have issued."""

    ours: Authority
    other: Authority
    node: Identity
    peer: Identity


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, valid: tuple[timedelta, timedelta]
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now + valid[0]).not_valid_after(now + valid[1])


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _san(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
