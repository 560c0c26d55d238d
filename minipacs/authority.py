"""A certificate authority for trying TLS out: X.509 in memory, without a file (RFC 5280, PS3.15 §B.12).

Keys are RSA of 3072 bits. That is as strong as ECDSA with P-256, which RFC 9325 takes as well; but the BCP 195 of 2015
(RFC 7525 §4.2) recommends suites of RSA alone, and a device that has no others could do nothing with ECDSA.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, TypeAlias

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

CA_DAYS = 3650
"""How long a CA is valid, and so at most what it issues."""

_KEY_BITS = 3072
_BACKDATED = timedelta(hours=1)  # for a peer whose clock is behind ours
_ORGANIZATION = "minipacs trial"


def new_key() -> PrivateKey:
    """Return a new private key."""
    return rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)


def self_signed(key: PrivateKey, now: datetime) -> x509.Certificate:
    """Return the certificate of a new CA, which has a name that no other has: it could be taken for that one.

    Args:
        key: of the CA.
        now: the time, in UTC.
    """
    name = _name(f"CA {secrets.token_hex(4)}")
    builder = _builder(name, name, key.public_key(), (now, now + timedelta(days=CA_DAYS)))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage("key_cert_sign", "crl_sign"), critical=True)
    return builder.sign(key, SHA256())


def issue(
    ca: x509.Certificate,
    ca_key: PrivateKey,
    key: PublicKey,
    name: str,
    hosts: Sequence[str],
    valid: tuple[datetime, datetime],
) -> x509.Certificate:
    """Return a certificate for either role, server and client: a DICOM node has both.

    Args:
        ca: who issues it.
        ca_key: its key.
        key: the public key of whom it is for.
        name: the common name of that.
        hosts: the host names and IP addresses in it (subject alternative names).
        valid: from when to when, in UTC; it ends with the CA at the latest.
    """
    valid = (valid[0], min(valid[1], ca.not_valid_after_utc))
    builder = _builder(_name(name), ca.subject, key, valid)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage("digital_signature"), critical=True)
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    builder = builder.add_extension(usage, critical=False)
    names = x509.SubjectAlternativeName([_alternative_name(host) for host in hosts])
    builder = builder.add_extension(names, critical=False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(public_key(ca))
    return builder.add_extension(issuer, critical=False).sign(ca_key, SHA256())


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether it may issue others."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def is_issued_by(ca: x509.Certificate, certificate: x509.Certificate) -> bool:
    """Whether *ca* has signed it."""
    try:
        certificate.verify_directly_issued_by(ca)
    except (InvalidSignature, TypeError, ValueError):
        return False
    return True


def is_of(key: PrivateKey, certificate: x509.Certificate) -> bool:
    """Whether the certificate is for that key."""
    return _encoded(key.public_key()) == _encoded(certificate.public_key())


def public_key(certificate: x509.Certificate) -> PublicKey:
    """Return the key that the certificate is for.

    Raises:
        ValueError: it is neither RSA nor of an elliptic curve.
    """
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise ValueError("a key of another kind")
    return key


def hosts_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the host names and IP addresses in it."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return tuple(str(name.value) for name in names if isinstance(name, x509.DNSName | x509.IPAddress))


def key_as_pem(key: PrivateKey) -> bytes:
    """Return the key in PKCS #8, without a password: nobody is there to type it when a node starts."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def certificate_as_der(certificate: x509.Certificate) -> bytes:
    """Return the certificate in DER."""
    return certificate.public_bytes(Encoding.DER)


def certificate_as_pem(certificate: x509.Certificate) -> bytes:
    """Return the certificate in PEM."""
    return certificate.public_bytes(Encoding.PEM)


def read_key(data: bytes) -> PrivateKey:
    """Return the private key in PEM.

    Raises:
        ValueError: there is none, or it has a password, or is neither RSA nor of an elliptic curve.
    """
    try:
        key = load_pem_private_key(data, None)
    except TypeError:
        raise ValueError("a key with a password") from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise ValueError("a key of another kind")
    return key


def read_certificate(data: bytes) -> x509.Certificate:
    """Return the first certificate in PEM.

    Raises:
        ValueError: there is none.
    """
    return x509.load_pem_x509_certificate(data)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PublicKey, valid: tuple[datetime, datetime]
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(valid[0] - _BACKDATED).not_valid_after(valid[1])
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _name(common_name: str) -> x509.Name:
    attributes = {NameOID.ORGANIZATION_NAME: _ORGANIZATION, NameOID.COMMON_NAME: common_name}
    return x509.Name([x509.NameAttribute(kind, text) for kind, text in attributes.items()])


def _alternative_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_usage(*usages: str) -> x509.KeyUsage:
    every = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{usage: usage in usages for usage in every})


def _encoded(key: object) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined,no-any-return]
