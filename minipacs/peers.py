"""The peers that we know: values, and the table that a TOML file makes of them.

A table is replaced, never edited. This file watches nothing and knows no command line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import force_setattr

from minipacs import rules, schema, toml_file
from minipacs.ae_title import significant
from minipacs.errors import PeerTableError
from minipacs.escape import escape
from minipacs.schema import Fault, Invalid


class Peer(Struct, frozen=True):
    """A remote application entity that we know.

    Attributes:
        name: what it is called on our command line; empty for one that was named by its address alone.
        ae_title: admitted as caller, called by us.
        host: IP address or host name where we call it; None for a peer that only calls us.
        port: TCP port where we call it; None together with *host*.
        allow_from: IP addresses and networks from which it may call; empty: any.
        tls: whether we call it by TLS.
        tls_name: the host name or IP address in its certificate, where that is not *host*.
        certificate: the certificates to which it is tied, each by its fingerprint or its subject, as
            `minipacs.certificate.normalised` has them: without one of these it is not admitted, and not called by TLS.
            Empty: any that is trusted.
        services: what it may use of us, of ``echo``, ``store``, ``find``, ``move``, ``get``; None: all that
            the node has.

    Raises:
        ValueError: a value breaks the rule for its field, which the message names.
    """

    name: str
    ae_title: str
    host: str | None = None
    port: int | None = None
    allow_from: tuple[rules.Network, ...] = ()
    tls: bool = False
    tls_name: str | None = None
    certificate: tuple[str, ...] = ()
    services: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Check and normalise every field."""
        if self.name != "":
            self._keep("name", rules.peer_name)
        self._keep("ae_title", rules.ae_title)
        if self.host is not None or self.port is not None:
            self._keep("host", rules.host)
            self._keep("port", rules.port)
        self._keep("tls", rules.boolean)
        if self.tls_name is not None:
            self._keep("tls_name", rules.host)
        if self.services is not None:
            self._keep("services", rules.services)
        if broken := _broken_rule_of_tls(self.host is not None, self.tls, self.tls_name is not None):
            raise ValueError(broken)
        force_setattr(
            self, "certificate", tuple(rules.checked("certificate", rules.certificate, c) for c in self.certificate)
        )
        force_setattr(self, "allow_from", tuple(rules.checked("allow_from", rules.network, n) for n in self.allow_from))

    def __str__(self) -> str:
        """Return ``TITLE@HOST:PORT``, with an IPv6 address in brackets, or the title of a peer that only calls."""
        if self.host is None:
            return self.ae_title
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.ae_title}@{host}:{self.port}"

    @property
    def label(self) -> str:
        """What it is called in reports: its name, or where it is when it has none."""
        return self.name or str(self)

    @classmethod
    def parse(cls, target: str, name: str = "") -> Peer:
        """Return the peer at ``TITLE@HOST:PORT``, or the peer with that title that only calls us.

        Raises:
            ValueError: *target* is neither.
        """
        title, at, address = target.rpartition("@")
        if not at:
            return cls(name, target)
        host, colon, port = address.rpartition(":")
        if not colon or not (port.isascii() and port.isdigit()) or len(port) > 5:
            raise ValueError(f'target must be TITLE@HOST:PORT, not "{escape(target)}"')
        if ":" in host:
            if not (host.startswith("[") and host.endswith("]")):
                raise ValueError(f'target must have its IPv6 address in brackets, not "{escape(target)}"')
            host = host[1:-1]
        return cls(name, title, host, int(port))

    def _keep(self, field: str, rule: Any) -> None:
        force_setattr(self, field, rules.checked(field, rule, getattr(self, field)))


class PeerTable(Mapping[str, Peer]):
    """The peers that are admitted, by name. An empty table admits nobody.

    Raises:
        ValueError: two peers have one name or one AE title; both are named.
    """

    def __init__(self, peers: Iterable[Peer] = ()) -> None:
        self._by_name: dict[str, Peer] = {}
        self._by_ae_title: dict[str, Peer] = {}
        for peer in peers:
            self._add(peer)

    def _add(self, peer: Peer) -> None:
        if peer.name in self._by_name:
            raise ValueError(f"peers.{peer.name}: must be a name of its own, not one that is in the table")
        other = self._by_ae_title.get(peer.ae_title)
        if other is not None:
            raise ValueError(f'peers.{peer.name}.ae_title: {_unlike(other.name)}, not "{peer.ae_title}"')
        self._by_name[peer.name] = peer
        self._by_ae_title[peer.ae_title] = peer

    def __getitem__(self, name: str) -> Peer:
        """Return the peer of that name."""
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, in the order of the file."""
        return iter(self._by_name)

    def __len__(self) -> int:
        """Return how many peers there are."""
        return len(self._by_name)

    def __repr__(self) -> str:
        """Return the table as Python."""
        return f"PeerTable({list(self._by_name.values())!r})"

    def with_ae_title(self, ae_title: str) -> Peer | None:
        """Return the peer with exactly that AE title (PS3.8 §9.3.2: case matters)."""
        return self._by_ae_title.get(ae_title)

    @classmethod
    def parse(cls, data: bytes, source: str = "peers.toml") -> PeerTable:
        """Return the table that the TOML text *data* describes; *source* names the file in messages.

        Raises:
            PeerTableError: with every fault of the text.
        """
        content = toml_file.parse(data, source, _FILE, PeerTableError)
        return cls(_peer(name, fields) for name, fields in content.get("peers", {}).items())

    @classmethod
    def read(cls, path: Path | str) -> PeerTable:
        """Return the table in the TOML file at *path*.

        Raises:
            PeerTableError: with every fault of the file.
        """
        return cls.parse(toml_file.read_bytes(Path(path), PeerTableError), str(path))


def counted(count: int) -> str:
    """Return ``1 peer``, ``2 peers``."""
    return f"{count} peer{'' if count == 1 else 's'}"


def _host_and_port_together(fields: object) -> None:
    if isinstance(fields, dict) and ("host" in fields) != ("port" in fields):
        given, missing = ("host", "port") if "host" in fields else ("port", "host")
        raise Invalid(f"must have {missing} beside {given}, or neither")


def _tls_of_one_that_we_call(fields: object) -> None:
    if isinstance(fields, dict):
        broken = _broken_rule_of_tls("host" in fields, fields.get("tls") is True, "tls_name" in fields)
        if broken is not None:
            raise Invalid(broken)


def _broken_rule_of_tls(has_host: bool, tls: bool, has_tls_name: bool) -> str | None:
    """What was written down and would mean nothing was meant otherwise."""
    if tls and not has_host:
        return "must have host and port beside tls, which is how we call it"
    if has_tls_name and not tls:
        return "must have tls = true beside tls_name"
    return None


def _names(peers: object) -> None:
    faults: list[Fault] = []
    for name in peers if isinstance(peers, dict) else ():
        try:
            rules.peer_name(name)
        except Invalid as broken:
            faults.append(Fault(broken.msg, (name,), is_of_key=True))
    if faults:
        raise Invalid(*faults)


def _unlike(name: str) -> str:
    from minipacs.diagnosis import diagnose

    return diagnose("table.title-twice", near=f"peers.{escape(name)}").reason


def _unlike_titles(peers: object) -> None:
    """Two peers with one title: which of them calls could not be told."""
    names: dict[str, str] = {}
    faults = []
    for name, fields in peers.items() if isinstance(peers, dict) else ():
        title = fields.get("ae_title") if isinstance(fields, dict) else None
        if isinstance(title, str) and names.setdefault(significant(title), name) != name:
            faults.append(Fault(_unlike(names[significant(title)]), (name, "ae_title")))
    if faults:
        raise Invalid(*faults)


_SOME_PEER = Peer("some", "SOME")


def _peer(name: str, fields: dict[str, Any]) -> Peer:
    """Return the peer of *fields* that have kept the rules: to check each again would take twenty times as long."""
    peer = copy(_SOME_PEER)
    for field, value in {"name": name, **fields}.items():
        force_setattr(peer, field, value)
    return peer


_PEER = schema.every(
    _host_and_port_together,
    _tls_of_one_that_we_call,
    schema.table(
        {
            "ae_title": rules.ae_title,
            "host": rules.host,
            "port": rules.port,
            "allow_from": rules.networks,
            "tls": rules.boolean,
            "tls_name": rules.host,
            "certificate": rules.one_or_more(rules.certificate),
            "services": rules.services,
        },
        required=["ae_title"],
    ),
)

_FILE = schema.table({"peers": schema.every(_names, _unlike_titles, schema.each(_PEER))})
