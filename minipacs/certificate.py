"""What an X.509 certificate says, and whether it is the one to which a peer is tied.

`cryptography` reads them, for the standard library tells of those alone that it has verified itself. It takes 55 ms to
import, and is imported when a certificate is looked at.
"""

from __future__ import annotations

import re
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING

from minipacs.escape import escape

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from cryptography import x509

_FINGERPRINT = re.compile(r"sha256:[0-9A-Fa-f]{2}(:?[0-9A-Fa-f]{2}){31}")
_LONGEST = 128


def normalised(tie: str) -> str:
    """Return a fingerprint or a subject in the form in which they are compared.

    Args:
        tie: ``sha256:`` and 64 hexadecimal digits, with colons between them or not; or a subject (RFC 4514).

    Raises:
        ValueError: it is neither.
    """
    if _FINGERPRINT.fullmatch(tie):
        return f"sha256:{tie.removeprefix('sha256:').replace(':', '').lower()}"
    if tie.lower().startswith("sha256"):
        raise ValueError(f"no SHA-256 fingerprint: {tie}")
    subject = re.sub(r"(?<!\\),\s+", ",", tie.strip())  # OpenSSL and people put spaces there
    if not list(_name(subject)):
        raise ValueError("no attribute")
    return subject


def is_of(ties: Iterable[str], certificate: bytes | None) -> bool:
    """Whether a certificate in DER is one that *ties* name: by its fingerprint, or by all that one says of its subject.

    Args:
        ties: as `normalised` returns them.
        certificate: verified already; None: none was shown.
    """
    if certificate is None:
        return False
    return any(
        tie == fingerprint(certificate) if tie.startswith("sha256:") else set(_name(tie)) <= set(_subject(certificate))
        for tie in ties
    )


def fingerprint(certificate: bytes) -> str:
    """Return the SHA-256 of a certificate in DER as ``sha256:`` and 64 hexadecimal digits."""
    from hashlib import sha256

    return f"sha256:{sha256(certificate).hexdigest()}"


def subject(certificate: bytes) -> str:
    """Return the subject of a certificate in DER, such as ``CN=pacs,O=Hospital`` (RFC 4514).

    It is as the peer sent it, in 128 characters at most; empty when there is none that can be read.
    """
    from cryptography import x509

    try:
        return x509.Name(_subject(certificate)).rfc4514_string()[:_LONGEST]
    except (ValueError, x509.InvalidVersion):
        return ""


def shown(certificate: bytes) -> str:
    """Return fingerprint and subject of a certificate in DER, safe to show."""
    return escape(described(certificate))


def described(certificate: bytes) -> str:
    """Return fingerprint and subject of a certificate in DER, as the peer sent it."""
    owner = subject(certificate)
    return f"{fingerprint(certificate)}{f' ({owner})' if owner else ''}"


def of_pem(text: bytes) -> bytes:
    """Return the first certificate in *text*, which is PEM, in DER.

    Raises:
        ValueError: there is none that can be read.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return x509.load_pem_x509_certificates(text)[0].public_bytes(Encoding.DER)


def validity(certificate: bytes) -> tuple[datetime, datetime]:
    """Return from when on and until when a certificate in DER is valid, in UTC.

    Raises:
        ValueError: that cannot be read.
    """
    read = _read(certificate)
    return read.not_valid_before_utc, read.not_valid_after_utc


def is_valid_now(certificate: bytes) -> bool:
    """Whether a certificate in DER is valid at this moment, by the clock of this machine.

    Raises:
        ValueError: that cannot be read.
    """
    from datetime import UTC, datetime

    begin, end = validity(certificate)
    return begin <= datetime.now(UTC) <= end  # RFC 5280 §4.1.2.5: inclusive


def _read(certificate: bytes) -> x509.Certificate:
    from cryptography import x509

    with warnings.catch_warnings():  # of what it tolerates, in words that hold what the peer sent
        warnings.simplefilter("ignore")
        return x509.load_der_x509_certificate(certificate)


def _subject(certificate: bytes) -> x509.Name:
    read = _read(certificate)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read.subject


@lru_cache(1_000)
def _name(subject: str) -> x509.Name:
    from cryptography import x509

    return x509.Name.from_rfc4514_string(subject)
