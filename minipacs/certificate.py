"""Whom a certificate is for. The standard library tells it of those alone that it has verified."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAMES = {b"\x55\x04\x03": "CN", b"\x55\x04\x06": "C", b"\x55\x04\x0a": "O", b"\x55\x04\x0b": "OU"}  # X.520
_VERSION, _BMP_STRING = 0xA0, 0x1E
_LONGEST = 128


def subject(certificate: bytes) -> str:
    """Return the subject of a certificate in DER (RFC 5280 §4.1), such as ``O=Hospital, CN=pacs``.

    It is as the peer sent it, in 128 characters at most; empty when there is none that can be read.
    """
    try:
        (_, whole), *_ = _items(certificate)
        (_, signed), *_ = _items(whole)
        fields = [value for tag, value in _items(signed) if tag != _VERSION]
        return ", ".join(_attributes(fields[4]))[:_LONGEST]  # behind serial number, algorithm, issuer and validity
    except (IndexError, ValueError):
        return ""


def _attributes(name: bytes) -> Iterator[str]:
    for _, names in _items(name):
        for _, attribute in _items(names):
            (_, kind), (tag, value) = _items(attribute)
            if kind in _NAMES:
                yield f"{_NAMES[kind]}={value.decode('utf-16-be' if tag == _BMP_STRING else 'utf-8', 'replace')}"


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Go through the elements of a constructed one: tag and content (X.690 §8.1)."""
    while data:
        start, length = 2, data[1]
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(data[2:start], "big")
        yield data[0], data[start : start + length]
        data = data[start + length :]
