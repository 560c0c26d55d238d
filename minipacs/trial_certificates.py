"""The folder of `minipacs tls init`: a CA, our certificate, and one for each peer. What is there is kept, and used."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct

from minipacs import authority
from minipacs.certificate import fingerprint
from minipacs.errors import CertificateError
from minipacs.escape import escape
from minipacs.key_privacy import check_privacy
from minipacs.new_files import LockedError, NewFile, alone_in, write_all
from minipacs.toml_file import is_there, read_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from cryptography.x509 import Certificate

CA, NODE = "ca", "node"

LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Whom a certificate is for where nothing else is said."""

_KEY_SUFFIX = "-key"

_CERTIFICATE = "a certificate in PEM"

_T = TypeVar("_T")


class Held(Struct, frozen=True):
    """A certificate in the folder, and its key beside it.

    Attributes:
        name: ``ca``, ``node`` for ours, or that of the peer.
        certificate: its file.
        key: the file of its key; with the CA and with a peer, it may have been moved to where it belongs.
        action: ``written``, ``renewed`` or ``kept``.
        is_key_written: whether the key is new, too.
        fingerprint: ``sha256:`` and 64 hexadecimal digits.
        hosts: the host names and IP addresses that it is for.
        not_before: from when it is valid, in UTC.
        not_after: until when.
    """

    name: str
    certificate: Path
    key: Path
    action: str
    is_key_written: bool
    fingerprint: str
    hosts: tuple[str, ...]
    not_before: datetime
    not_after: datetime


def make_certificates(
    folder: Path,
    hosts: Mapping[str, Sequence[str]],
    *,
    defaults: Mapping[str, Sequence[str]] | None = None,
    days: int,
    renew: bool = False,
    now: datetime | None = None,
) -> tuple[Held, ...]:
    """Make what is not there yet, all of it or nothing, and return the CA and then one for each name.

    Args:
        folder: where the files are; it is made if it is not there.
        hosts: the names, `NODE` for ours, each with the host names and IP addresses that its certificate is for; one
            without any has those of *defaults*, or when it is renewed those that it had.
        defaults: name → hosts; loopback where it has none.
        days: how long a certificate is valid; the CA's end is the end of all.
        renew: whether to issue those that are there anew, for the same keys.
        now: the time, in UTC; None: that of the clock.

    Raises:
        CertificateError: a file cannot be written, or one that is there is not what it should be.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise CertificateError([f"{folder}: folder: must be a folder, not something else"])
        with alone_in(folder):
            workshop = _Workshop(folder, days, renew, now or datetime.now(UTC))
            new = defaults or {}
            held = [workshop.ca]
            for name, names in hosts.items():
                held.append(workshop.certificate(name, tuple(names), tuple(new.get(name, ())) or LOOPBACK))
            write_all(workshop.files)
            return tuple(held)
    except LockedError as error:
        raise CertificateError([f"{folder}: folder: must be edited by one command at a time, and {error}"]) from None
    except OSError as fault:
        place = fault.filename or folder
        raise CertificateError([f'{place}: file: must be writable, not "{fault.strerror}"']) from None


def is_new(folder: Path) -> bool:
    """Whether the folder has no CA yet."""
    return not is_there(folder / f"{CA}.pem")


def peers_in(folder: Path) -> tuple[str, ...]:
    """Return the names of the peers that have a certificate of the folder's CA there."""
    if is_new(folder):
        return ()
    ca = _read(folder / f"{CA}.pem", authority.read_certificate, _CERTIFICATE)
    names = []
    for path in sorted(folder.glob("*.pem")):
        if not is_reserved(path.stem):
            with suppress(CertificateError):
                certificate = _read(path, authority.read_certificate, _CERTIFICATE)
                names += [path.stem] if _is_issued(ca, certificate) else []
    return tuple(names)


def is_reserved(name: str) -> bool:
    """Whether a peer cannot have that name here: the file of its certificate is another's, or another's key."""
    return name in {CA, NODE} or name.endswith(_KEY_SUFFIX)


class _Workshop:
    """Makes everything in memory, and gathers in `files` what is to be written."""

    def __init__(self, folder: Path, days: int, renew: bool, now: datetime) -> None:
        self._folder = folder
        self._now = now.replace(microsecond=0)
        self._until = self._now + timedelta(days=days)
        self._renew = renew
        self.files: list[NewFile] = []
        self.ca = self._authority()

    def certificate(self, name: str, hosts: tuple[str, ...], defaults: tuple[str, ...]) -> Held:
        """That of *name*: the one that is there, or a new one."""
        path, key_path = self._paths(name)
        if not is_there(path):
            key, is_new_key = self._key(key_path)
            made = self._issue(path, key.public_key(), name, hosts or defaults)
            self.files.append(NewFile(path, authority.certificate_as_pem(made)))
            return self._held(name, made, "written", is_new_key)
        there = _read(path, authority.read_certificate, _CERTIFICATE)
        self._check(there, path, key_path)
        if not self._renew:
            return self._held(name, there, "kept")
        made = self._issue(path, authority.public_key(there), name, hosts or authority.hosts_of(there))
        self.files.append(NewFile(path, authority.certificate_as_pem(made), replaces=True))
        return self._held(name, made, "renewed")

    def _authority(self) -> Held:
        path, key_path = self._paths(CA)
        self._ca_key: authority.PrivateKey | None = None
        if is_there(path):
            self._ca = _read(path, authority.read_certificate, _CERTIFICATE)
            if not authority.is_authority(self._ca):
                raise CertificateError([f"{path}: file: must hold the certificate of a CA, not that of another"])
            if is_there(key_path):
                check_privacy(key_path, CertificateError)
                self._ca_key, _ = self._key(key_path)
                _check_pair(self._ca_key, self._ca, path, key_path)
            return self._held(CA, self._ca, "kept")
        self._ca_key, is_new_key = self._key(key_path)
        self._ca = authority.self_signed(self._ca_key, self._now)
        self.files.append(NewFile(path, authority.certificate_as_pem(self._ca)))
        return self._held(CA, self._ca, "written", is_new_key)

    def _issue(self, path: Path, key: authority.PublicKey, name: str, hosts: tuple[str, ...]) -> Certificate:
        if self._ca_key is None:
            raise CertificateError([f"{self.ca.key}: file: must be there to issue {path}, not put away"])
        if self._ca.not_valid_after_utc <= self._now:
            end = f"{self._ca.not_valid_after_utc:%Y-%m-%d}"
            raise CertificateError(
                [f"{self.ca.certificate}: validity: must last to issue {path}, not end on {end}; fix: another folder"]
            )
        return authority.issue(self._ca, self._ca_key, key, name, hosts, (self._now, self._until))

    def _check(self, certificate: Certificate, path: Path, key_path: Path) -> None:
        """It is one of ours, and the key beside it is its own."""
        if not _is_issued(self._ca, certificate):
            raise CertificateError(
                [f"{path}: issuer: must be the CA in {self.ca.certificate}, not another; fix: another folder"]
            )
        if is_there(key_path):
            _check_pair(self._key(key_path)[0], certificate, path, key_path)

    def _key(self, path: Path) -> tuple[authority.PrivateKey, bool]:
        """The key that is there, as when the plug was pulled before its certificate was written, or else a new one."""
        if is_there(path):
            return _read(path, authority.read_key, "a private key in PEM, without a password"), False
        key = authority.new_key()
        self.files.append(NewFile(path, authority.key_as_pem(key), is_private=True))
        return key, True

    def _held(self, name: str, certificate: Certificate, action: str, is_key_written: bool = False) -> Held:
        path, key_path = self._paths(name)
        return Held(
            name,
            path,
            key_path,
            action,
            is_key_written,
            fingerprint(authority.certificate_as_der(certificate)),
            tuple(map(escape, authority.hosts_of(certificate))),
            certificate.not_valid_before_utc,
            certificate.not_valid_after_utc,
        )

    def _paths(self, name: str) -> tuple[Path, Path]:
        return self._folder / f"{name}.pem", self._folder / f"{name}{_KEY_SUFFIX}.pem"


def _read(path: Path, read: Callable[[bytes], _T], what: str) -> _T:
    data = read_bytes(path, CertificateError)
    try:
        return read(data)
    except ValueError:
        raise CertificateError([f"{path}: file: must hold {what}, not something else"]) from None


def _is_issued(ca: Certificate, certificate: Certificate) -> bool:
    """Whether the CA issued it, and it is not the CA's own."""
    return authority.is_issued_by(ca, certificate) and not authority.is_authority(certificate)


def _check_pair(key: authority.PrivateKey, certificate: Certificate, path: Path, key_path: Path) -> None:
    if not authority.is_of(key, certificate):
        raise CertificateError([f"{key_path}: file: must hold the key of {path}, not that of another"])
