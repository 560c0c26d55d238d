"""Whom a command is to talk to: a name of the peer table, or TITLE@HOST:PORT."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from minipacs.cli.options import Refused, unknown_peer
from minipacs.peers import Peer, PeerTable
from minipacs.toml_file import is_there

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    from minipacs.settings import Settings


def peer_at(target: str, settings: Settings) -> Peer:
    """Return the peer that is meant; it has a host and a port.

    Raises:
        UsageError: *target* is no ``TITLE@HOST:PORT``.
        Refused: the table has no such peer, or the peer only calls us.
    """
    if "@" in target:
        try:
            return Peer.parse(target)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
    table = table_of(settings)
    if target not in table:
        raise unknown_peer(target, table, settings)
    if table[target].host is None:
        raise Refused(f"peer {target} has no host and port in {settings.peers}: it only calls us")
    return table[target]


def table_of(settings: Settings) -> PeerTable:
    """Return the peer table; an empty one where there is no file."""
    return PeerTable.read(settings.peers) if is_there(settings.peers) else PeerTable()


def tls_context(settings: Settings, peers: Iterable[Peer]) -> ssl.SSLContext | None:
    """Return the context by which these peers are called, as [tls] in the settings says; None when none wants TLS.

    Raises:
        SettingsError: a file that [tls] names cannot be used.
    """
    if not any(peer.tls for peer in peers):
        return None
    from minipacs.tls import client_context

    return client_context(settings.tls)
