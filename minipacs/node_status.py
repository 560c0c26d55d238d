"""What a running node says of itself: values that its control socket carries as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import UNSET, Struct, UnsetType

from minipacs.association_record import AssociationRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from minipacs.peers import Peer

ReloadResult = Literal["loaded", "reloaded", "valid-again", "invalid", "missing"]


class ListedPeer(Struct, frozen=True):
    """A peer as machines read it; the fields are those of Peer, and a network is its text."""

    name: str
    ae_title: str
    host: str | None
    port: int | None
    allow_from: tuple[str, ...]
    tls: bool
    tls_name: str | None
    certificate: tuple[str, ...] = ()
    services: tuple[str, ...] | UnsetType = UNSET  # there where the table says something of them

    @classmethod
    def of(cls, peer: Peer) -> ListedPeer:
        """Return *peer* as machines read it."""
        from minipacs.rules import network_text

        allow_from = tuple(map(network_text, peer.allow_from))
        services = UNSET if peer.services is None else peer.services
        return cls(
            peer.name,
            peer.ae_title,
            peer.host,
            peer.port,
            allow_from,
            peer.tls,
            peer.tls_name,
            peer.certificate,
            services,
        )


class TableReload(Struct, frozen=True, kw_only=True):
    """How the file of the peer table was last read; equal content counts only when it mends a fault.

    Attributes:
        time: when (RFC 3339, UTC).
        result: ``loaded`` at the start, ``reloaded``, ``valid-again`` and as it was, ``invalid`` or ``missing``. With
            the last two, the table that was in force before stays in force.
        added: names of peers that were new.
        removed: names of peers that were gone.
        changed: names of peers that were not as before.
        faults: why the file was not taken, a line each.
    """

    time: str
    result: ReloadResult
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


class TableStatus(Struct, frozen=True, kw_only=True):
    """The peer table.

    Attributes:
        file: where it is read from: the full path.
        count: how many peers are in force.
        last_reload: how the file was last read.
        watch_error: why changes of the file are not seen, so that only SIGHUP reads it; None while they are.
        table: the peers that are in force, in the order of the file.
    """

    file: str
    count: int
    last_reload: TableReload
    watch_error: str | None
    table: tuple[ListedPeer, ...]


class OpenAssociation(Struct, frozen=True, kw_only=True):
    """An association that was admitted and is not over. What the peer sent is escaped.

    Attributes:
        calling_ae_title: of the peer.
        called_ae_title: what it called us.
        address: the IP address that it came from.
        peer: its name in the peer table when it was admitted.
        since: when it connected (RFC 3339, UTC).
        duration_ms: milliseconds since then.
        echoes: C-ECHO-RQ answered with success so far.
        services: the services that were used so far, where it was handed over for more than Verification.
        objects: composite objects that came or went and were taken so far.
        bytes: of the P-DATA-TF PDUs of both directions so far, where *services* are.
        failures: requests and sub-operations that ended in a status of failure so far.
    """

    calling_ae_title: str
    called_ae_title: str
    address: str
    peer: str | None
    since: str
    duration_ms: float
    echoes: int
    services: tuple[str, ...] = ()
    objects: int = 0
    bytes: int = 0
    failures: int = 0


class EndedAssociation(AssociationRecord, frozen=True, kw_only=True):
    """An association that is over.

    Attributes:
        time: when it ended (RFC 3339, UTC).
    """

    time: str


class AssociationsStatus(Struct, frozen=True, kw_only=True):
    """The associations of a node since its start.

    Attributes:
        open: those that are, oldest first.
        counts: how many ended, by outcome; each outcome has its key.
        silent_connections: how many connections ended without a byte from the peer; they are no associations.
        refused_connections: how many connections came from an address that is not in allow_from under [node].
        connections: how many TCP connections are open, with an association or without.
        last: the last that ended, oldest first.
    """

    open: tuple[OpenAssociation, ...]
    counts: dict[str, int]
    silent_connections: int
    refused_connections: int
    connections: int
    last: tuple[EndedAssociation, ...]


class TLSStatus(Struct, frozen=True, kw_only=True):
    """The certificate of a node, and how its files were last read.

    Attributes:
        certificate: fingerprint and subject of the one in force.
        not_after: until when it is valid (RFC 3339, UTC).
        warning: what is to be said of that; None when nothing is.
        time: when its files were last read with another result (RFC 3339, UTC).
        result: as for the table; with ``invalid``, what was in force before stays in force.
        faults: why the files were not taken, a line each.
    """

    certificate: str
    not_after: str
    warning: str | None
    time: str
    result: ReloadResult
    faults: tuple[str, ...]


class NodeStatus(Struct, frozen=True, kw_only=True):
    """A running node.

    Attributes:
        ae_title: its AE title.
        host: where it was told to listen.
        addresses: the IP addresses that this is, really bound.
        port: the TCP port that is really bound; that for TLS where it is the only one.
        tls_port: the TCP port for TLS; None where there is none.
        pid: its process.
        version: of minipacs.
        started: when (RFC 3339, UTC).
        peers: its peer table.
        associations: its associations.
        tls: its certificate; None where it speaks no TLS.
        storage: the folder where it keeps objects: the full path; None where it keeps none.
    """

    ae_title: str
    host: str
    addresses: tuple[str, ...]
    port: int
    tls_port: int | None
    pid: int
    version: str
    started: str
    peers: TableStatus
    associations: AssociationsStatus
    tls: TLSStatus | None = None
    storage: str | None = None


def tls_as_text(port: int, tls_port: int | None) -> str:
    """Return where a node speaks TLS, as it stands behind its address; nothing when it does not.

    Args:
        port: its first TCP port, which is that for TLS where it is the only one.
        tls_port: that for TLS, if there is one.
    """
    if tls_port is None:
        return ""
    return ", by TLS alone" if tls_port == port else f", TLS on port {tls_port}"


_MOST_NAMED = 20  # in one line; JSON has them all


def changes_as_text(added: Sequence[str], removed: Sequence[str], changed: Sequence[str]) -> str:
    """Return what became of a table in one line, such as ``+ct1 -mr2 ~orthanc``; empty when nothing did."""
    marked = (("+", added), ("-", removed), ("~", changed))
    names = [f"{mark}{name}" for mark, group in marked for name in group]
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{' '.join(names[:_MOST_NAMED])}{more}"
