"""What a value of our files and options may be, each rule once, in the words that a user reads.

A rule takes a value and returns it, normalised; it raises Invalid with ``must …`` when it is broken.
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any, TypeAlias

from minipacs import schema
from minipacs.ae_title import broken_rule, significant
from minipacs.escape import escape
from minipacs.schema import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable

Network: TypeAlias = IPv4Network | IPv6Network

SERVICES = ("echo", "store", "find", "move", "get")
"""What a peer may be allowed to use: Verification, Storage, and the three of Query/Retrieve (PS3.4 Annexes A to C)."""

MOST_SECONDS = 86_400
"""The longest time that anything is to take; sockets and threads take some days, and neither inf nor nan."""

# A bare TOML key, or such keys joined by dots: a name that needs no quoting on the command line either.
_PEER_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}"

# RFC 1123 §2.1, and underscores, which container networks use; the last label is not a number, or it would be a
# mistyped IPv4 address.
_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = rf"(?=.{{1,253}}$)({_LABEL}\.)*(?!\d+\.?$){_LABEL}\.?"

# The zone of a link-local IPv6 address (RFC 4007 §11), which ip_address() takes with any characters in it.
_ZONE = r"[A-Za-z0-9._-]*"

# PS3.5 §9.1.
_UID = r"(?=.{1,64}$)(0|[1-9]\d*)(\.(0|[1-9]\d*))+"

_MOST_LENGTH = 1 << 26  # bytes: as for [limits]


def text(value: object) -> str:
    """A string."""
    if not isinstance(value, str):
        raise Invalid("must be text in quotes")
    return value


def checked(field: str, rule: Callable[[object], Any], value: object) -> Any:
    """Return what *rule* makes of *value*.

    Raises:
        ValueError: it breaks the rule; the message names the *field*.
    """
    try:
        return rule(value)
    except Invalid as broken:
        raise ValueError(f"{field}: {broken.msg}, not {escape(repr(value))}") from None


def is_uid(value: str) -> bool:
    """Whether it is a UID (PS3.5 §9.1): up to 64 digits and dots, no component empty or led by a zero."""
    return re.fullmatch(_UID, value, re.ASCII) is not None


def path(value: object) -> str:
    """The path of a file."""
    if not text(value) or "\0" in text(value):
        raise Invalid("must be the path of a file")
    return text(value)


def ae_title(value: object) -> str:
    """An AE title (PS3.5 §6.2); without the spaces around it, which are not significant."""
    title = text(value)
    if (broken := broken_rule(title)) is not None:
        raise Invalid(broken)
    return significant(title)


def peer_name(value: object) -> str:
    """The name of a peer on our command line."""
    if not re.fullmatch(_PEER_NAME, text(value)):
        raise Invalid("must be a name of 1 to 64 letters, digits, '_', '-' and '.', not beginning with '-' or '.'")
    return text(value)


def host(value: object) -> str:
    """An IP address or a host name."""
    name = text(value)
    if _is_ipv4(name):
        return name
    try:
        ip_address(name)
        is_valid = re.fullmatch(_ZONE, name.partition("%")[2])
    except ValueError:
        is_valid = re.fullmatch(_HOST_NAME, name)
    if not is_valid:
        raise Invalid("must be an IP address or a host name")
    return name


def _is_ipv4(name: str) -> bool:
    """As ip_address() has it, in a tenth of the time: most peers have such a host, and there may be thousands."""
    try:
        socket.inet_pton(socket.AF_INET, name)
    except (OSError, ValueError):  # a name, an IPv6 address; one with a NUL in it
        return False
    return True


def network(value: object) -> Network:
    """An IP address or a network in CIDR notation."""
    valid = value if isinstance(value, IPv4Network | IPv6Network) else _read_network(text(value))
    if isinstance(valid, IPv6Network) and valid.network_address.ipv4_mapped is not None:
        raise Invalid("must be in IPv4 notation, as addresses are compared")
    return valid


def networks(value: object) -> tuple[Network, ...]:
    """An array of IP addresses and networks. Whoever writes an empty one means nobody, not any."""
    if value == []:
        raise Invalid("must name an address or a network, or be left out for any")
    valid: tuple[Network, ...] = schema.array(network)(value)
    return valid


def _read_network(value: str) -> Network:
    if "%" in value:  # a zone, which an address that calls is compared without
        raise Invalid("must be an IP address or a network without a zone")
    try:
        return ip_network(value)
    except ValueError:
        pass
    try:
        meant = ip_network(value, strict=False)
    except ValueError:
        raise Invalid("must be an IP address or a network such as 10.1.2.0/24") from None
    raise Invalid(f"must be an IP address or a network without host bits, such as {meant}")


def integer(least: int, most: int) -> Callable[[object], int]:
    """An integer from *least* to *most*."""

    def rule(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise Invalid(f"must be {least} to {most}")
        return value

    return rule


def certificate(value: object) -> str:
    """The fingerprint of a certificate, or what its subject has to say."""
    from minipacs.certificate import normalised

    words = text(value)
    try:
        return normalised(words)
    except ValueError:
        rule = "must be sha256: and the 64 hex digits of a fingerprint, or a subject such as CN=pacs,O=Hospital"
        raise Invalid(rule) from None


def boolean(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise Invalid("must be true or false")
    return value


def one_of(*words: str) -> Callable[[object], str]:
    """One of these *words*."""

    def rule(value: object) -> str:
        if text(value) not in words:
            raise Invalid(f"must be {' or '.join(words)}")
        return text(value)

    return rule


def one_or_more(item: Callable[[object], str]) -> Callable[[object], tuple[str, ...]]:
    """What keeps the rule *item*, or an array of that."""

    def rule(value: object) -> tuple[str, ...]:
        if not isinstance(value, list):
            return (item(value),)
        if not value:
            raise Invalid("must name at least one, or be left out")
        return tuple(map(item, value))

    return rule


def services(value: object) -> tuple[str, ...]:
    """An array of services, in the order of the standard and each once. Who may use none is left out of the table."""
    if not isinstance(value, list | tuple):
        raise Invalid(f"must be an array of {', '.join(SERVICES)}")
    if not value:
        raise Invalid(f"must name one of {', '.join(SERVICES)}, or be left out for all that the node has")
    for one in value:
        if one not in SERVICES:
            raise Invalid(f"must be an array of {', '.join(SERVICES)}")
    return tuple(service for service in SERVICES if service in value)


def seconds(value: object) -> float:
    """A time in seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MOST_SECONDS:
        raise Invalid(f"must be more than 0 and at most {MOST_SECONDS} seconds")
    return float(value)


def maximum_length(value: object) -> int:
    """The longest P-DATA-TF that we announce to take, in bytes (PS3.8 §D.1); 0: any."""
    from minipacs.wire.items import SMALLEST_MAXIMUM_LENGTH

    if (
        isinstance(value, bool)
        or not isinstance(value, int)
        or (value and not SMALLEST_MAXIMUM_LENGTH <= value <= _MOST_LENGTH)
    ):
        raise Invalid(f"must be 0 (unlimited) or {SMALLEST_MAXIMUM_LENGTH} to {_MOST_LENGTH}")
    return value


def transfer_syntaxes(value: object) -> tuple[str, ...]:
    """One transfer syntax, or ``all`` that are in use: their UIDs."""
    from minipacs.wire.verification import TRANSFER_SYNTAXES

    word = text(value)
    if word in TRANSFER_SYNTAXES:
        return (TRANSFER_SYNTAXES[word],)
    if is_uid(word):
        return (word,)
    from minipacs import names

    if word == "all":
        return names.USUAL_TRANSFER_SYNTAXES
    if word in names.TRANSFER_SYNTAXES:
        return (names.TRANSFER_SYNTAXES[word],)
    known = [*TRANSFER_SYNTAXES, "all", *names.TRANSFER_SYNTAXES]
    nearest = _nearest(word, known)
    raise Invalid(f"must be {', '.join(TRANSFER_SYNTAXES)}, all, a UID or pydicom's keyword (nearest: {nearest})")


def _nearest(word: str, known: list[str]) -> str:
    from difflib import get_close_matches

    by_letters = {name.lower(): name for name in known}
    return by_letters[get_close_matches(word.lower(), by_letters, n=1, cutoff=0.0)[0]]


def network_text(network: Network) -> str:
    """Return *network* as it would stand in the peer table: one address without its prefix length."""
    return str(network.network_address if network.num_addresses == 1 else network)


port = integer(1, 65_535)
listening_port = integer(0, 65_535)  # 0: one that is free
