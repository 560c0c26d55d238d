"""The contexts of TLS, for both roles, made of the files under [tls] in minipacs.toml (PS3.15 §B.12, BCP 195)."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from minipacs.errors import SettingsError
from minipacs.key_privacy import check_privacy
from minipacs.toml_file import read_bytes, unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from minipacs.settings import TLS

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

# Of TLS 1.2, what RFC 9325 §4.2 recommends and its kin; all of TLS 1.3 is good.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


def server_context(tls: TLS) -> ssl.SSLContext:
    """Return the context by which peers are answered.

    Args:
        tls: has a certificate; and trusted ones, when clients have to show theirs.

    Raises:
        SettingsError: a file cannot be used; the message says which and why.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, tls)
    if tls.require_client_certificate:
        context.verify_mode = ssl.CERT_REQUIRED
    else:  # a peer that is tied to its certificate has to be asked for it all the same
        context.verify_mode = ssl.CERT_OPTIONAL if tls.trusted else ssl.CERT_NONE
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0  # no session is resumed
    return context


def client_context(tls: TLS) -> ssl.SSLContext:
    """Return the context by which peers are called: their certificate has to be trusted, and to have their name.

    Args:
        tls: without a certificate we show none; without trusted ones the system's are.

    Raises:
        SettingsError: a file cannot be used; the message says which and why.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT, tls)
    if not tls.trusted:
        context.load_default_certs()
    return context


def _context(protocol: int, tls: TLS) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = _VERSIONS[tls.minimum_version]
    context.set_ciphers(_CIPHERS)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a peer's own certificate may be trusted without its CA
    for path in tls.trusted:
        _check_pem(path, "CERTIFICATE", "certificates")
        with _usable(path):
            context.load_verify_locations(path)
    if tls.certificate is not None and tls.key is not None:
        _check_pem(tls.certificate, "CERTIFICATE", "a certificate")
        _check_pem(tls.key, "PRIVATE KEY", "a private key")
        with _usable(tls.key):
            check_privacy(tls.key, SettingsError)
        with _usable(f"{tls.certificate} and {tls.key}"):
            _load_pair(context, tls.certificate, tls.key)
    return context


@contextmanager
def _usable(file: object) -> Iterator[None]:
    """Say of *file* that OpenSSL cannot use it, or that it went away while it was read."""
    try:
        yield
    except ssl.SSLError as error:
        reason = (error.reason or "unknown error").lower().replace("_", " ")
        raise SettingsError([f"{file}: file: must be usable by OpenSSL, not so: {reason}"]) from None
    except OSError as error:
        raise unreadable(file, error, SettingsError) from None


def _check_pem(path: Path, label: str, what: str) -> None:
    if f"{label}-----".encode() not in read_bytes(path, SettingsError):
        raise SettingsError([f"{path}: file: must hold {what} in PEM, not something else"])


def _load_pair(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    def refuse_password() -> NoReturn:  # else OpenSSL would ask on the terminal
        raise SettingsError([f"{key}: file: must hold a key without a password, not an encrypted one"])

    try:
        context.load_cert_chain(certificate, key, refuse_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise SettingsError([f"{key}: file: must hold the key of {certificate}, not that of another"]) from None
        raise
