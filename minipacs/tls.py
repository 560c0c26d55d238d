"""The contexts of TLS, for both roles, made of the files under [tls] in minipacs.toml (PS3.15 §B.12, BCP 195)."""

from __future__ import annotations

import os
import ssl
from contextlib import contextmanager
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, NoReturn, Protocol

from minipacs.errors import SettingsError
from minipacs.key_privacy import check_privacy
from minipacs.toml_file import read_bytes, unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from minipacs.settings import TLS

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

# Of TLS 1.2, what RFC 9325 §4.2 recommends and its kin; all of TLS 1.3 is good.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


class ServerTLS(Protocol):
    """By what peers are answered, for as long as a node runs."""

    def context(self) -> ssl.SSLContext:
        """Return the context by which peers are answered now."""

    def new_context(self) -> ssl.SSLContext:
        """Return one that is the same, and has no session to resume."""

    def is_up_to_date(self, told: Callable[[], object]) -> bool:
        """Whether it is as its files are at this moment; if not, they are read, and *told* is called then."""


class FixedTLS:
    """A context that stays what it is.

    Args:
        context: by which peers are answered.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context

    def context(self) -> ssl.SSLContext:
        """Return it."""
        return self._context

    def new_context(self) -> ssl.SSLContext:
        """Return it, too: there is nothing to make another of."""
        return self._context

    def is_up_to_date(self, _: Callable[[], object]) -> bool:
        """It always is."""
        return True


def read_files(tls: TLS) -> dict[Path, bytes]:
    """Return the content of every file that *tls* names.

    Raises:
        SettingsError: one cannot be read.
    """
    paths = [path for path in (tls.certificate, tls.key, *tls.trusted) if path is not None]
    return {path: read_bytes(path, SettingsError) for path in paths}


def check_key(tls: TLS) -> None:
    """Refuse a key that others may read.

    Raises:
        SettingsError: they may, or it went away.
    """
    if tls.key is not None:
        with _usable(tls.key):
            check_privacy(tls.key, SettingsError)


def server_context(tls: TLS, content: Mapping[Path, bytes] | None = None) -> ssl.SSLContext:
    """Return the context by which peers are answered.

    In TLS 1.3 no session is resumed, for none gets a ticket. In 1.2 OpenSSL keeps them; see
    tls_connection.py and live_tls.py.

    Args:
        tls: has a certificate; and trusted ones, when clients have to show theirs.
        content: of the files that it names, as `read_files` returns it; None: as they are now.

    Raises:
        SettingsError: a file cannot be used; the message says which and why.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, tls, content)
    if tls.require_client_certificate:
        context.verify_mode = ssl.CERT_REQUIRED
    else:  # a peer that is tied to its certificate has to be asked for it all the same
        context.verify_mode = ssl.CERT_OPTIONAL if tls.trusted else ssl.CERT_NONE
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    context.num_tickets = 0  # of TLS 1.3
    return context


def client_context(tls: TLS, content: Mapping[Path, bytes] | None = None) -> ssl.SSLContext:
    """Return the context by which peers are called: their certificate has to be trusted, and to have their name.

    Args:
        tls: without a certificate we show none; without trusted ones the system's are.
        content: of the files that it names, as `read_files` returns it; None: as they are now.

    Raises:
        SettingsError: a file cannot be used; the message says which and why.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT, tls, content)
    if not tls.trusted:
        context.load_default_certs()
    return context


def _context(protocol: int, tls: TLS, content: Mapping[Path, bytes] | None) -> ssl.SSLContext:
    held = read_files(tls) if content is None else content
    context = ssl.SSLContext(protocol)
    context.minimum_version = _VERSIONS[tls.minimum_version]
    context.set_ciphers(_CIPHERS)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a peer's own certificate may be trusted without its CA
    for path in tls.trusted:
        _check_pem(path, held[path], "CERTIFICATE", "certificates")
        with _usable(path), _as_file(held[path]) as place:
            context.load_verify_locations(place)
    if tls.certificate is not None and tls.key is not None:
        _check_pem(tls.certificate, held[tls.certificate], "CERTIFICATE", "a certificate")
        _check_pem(tls.key, held[tls.key], "PRIVATE KEY", "a private key")
        if content is None:
            check_key(tls)
        with _usable(f"{tls.certificate} and {tls.key}"):
            _load_pair(context, tls.certificate, tls.key, held)
    return context


@contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """Keep *data* at a path, for OpenSSL takes a pair from files alone: in memory, where the system has such files."""
    if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
        with open(os.memfd_create("minipacs", os.MFD_CLOEXEC), "wb") as file:
            file.write(data)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
        return
    with NamedTemporaryFile() as file:  # which its owner alone may read
        file.write(data)
        file.flush()
        yield file.name


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


def _check_pem(path: Path, content: bytes, label: str, what: str) -> None:
    if f"{label}-----".encode() not in content:
        raise SettingsError([f"{path}: file: must hold {what} in PEM, not something else"])


def _load_pair(context: ssl.SSLContext, certificate: Path, key: Path, held: Mapping[Path, bytes]) -> None:
    def refuse_password() -> NoReturn:  # else OpenSSL would ask on the terminal
        raise SettingsError([f"{key}: file: must hold a key without a password, not an encrypted one"])

    try:
        with _as_file(held[certificate]) as ours, _as_file(held[key]) as its_key:
            context.load_cert_chain(ours, its_key, refuse_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise SettingsError([f"{key}: file: must hold the key of {certificate}, not that of another"]) from None
        raise
