"""An Orthanc and whom it knows, as peers of ours."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from minipacs.addresses import is_loopback
from minipacs.diagnosis import symbol
from minipacs.peers import Peer
from minipacs.registration import is_same_title
from minipacs.rules import network_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from minipacs.orthanc import Modality, Orthanc
    from minipacs.peers import PeerTable

_MOST_SHOWN = 300  # characters


def peers_of(orthanc: Orthanc, ae_title: str, *, with_modalities: bool) -> list[tuple[str, Peer | ValueError]]:
    """Return Orthanc itself, and on request whom it knows but us, each by name: a peer, or why it can be none.

    Args:
        orthanc: which is asked.
        ae_title: our own.
        with_modalities: whether whom it knows is wanted.

    Raises:
        OrthancError: it cannot be asked.
    """
    system = orthanc.system()
    itself = symbol(system.ae_title)
    found = [(itself, _or_why_not(lambda: Peer(itself, system.ae_title, orthanc.host, system.port)))]
    if with_modalities:
        is_here = orthanc.is_here()
        found += [
            (_cut(name), _or_why_not(lambda name=name, entry=entry: _peer(name, entry, is_here)))  # type: ignore[misc]
            for name, entry in orthanc.modalities().items()
            if not is_same_title(entry.ae_title, ae_title)
        ]
    return found


class Choice:
    """Who of those that were found is to be added to our table.

    Args:
        table: ours.
        option: that names the table to other commands, after a space; empty for the usual one.

    Attributes:
        peers: who is to be added, all at once.
    """

    def __init__(self, table: PeerTable, option: str = "") -> None:
        self._by_name = dict(table)
        self._by_title = {peer.ae_title: peer for peer in table.values()}
        self._option = option
        self.peers: list[Peer] = []

    def known(self, peer: Peer) -> Peer | None:
        """Return the peer of the table that is the same; None where there is none."""
        known = self._by_title.get(peer.ae_title)
        return known if known is not None and (known.host, known.port) == (peer.host, peer.port) else None

    def why_not(self, peer: Peer) -> str:
        """Return who stands in the way of a peer, and how to change that; empty: nobody, and it is chosen."""
        title, name = self._by_title.get(peer.ae_title), self._by_name.get(peer.name)
        why_not = _why_not(peer, title, name, self._option)
        if not why_not:
            self.peers.append(peer)
            self._by_name[peer.name] = self._by_title[peer.ae_title] = peer
        return why_not


def _why_not(peer: Peer, known: Peer | None, namesake: Peer | None, option: str) -> str:
    """Return how *known*, who has the title, or *namesake*, who has the name, stands in the way."""
    if known is None and namesake is None:
        return ""
    command = " ".join(map(shlex.quote, ["minipacs", "peers", "add", peer.name, str(peer)])) + option
    if known is not None:
        command += "".join(f" --allow-from {network_text(network)}" for network in known.allow_from)
        remove = f"minipacs peers remove {known.name}{option}"
        return f"{known.name} is {known}, not {peer}; to change that: {remove} && {command}"
    other = command.replace(f" {peer.name} ", " NAME ", 1)
    return f"{peer.name} is {namesake}, not {peer}; under another name: {other}"


def _peer(name: str, entry: Modality, is_here: bool) -> Peer:
    if is_loopback(entry.host) and not is_here:
        raise ValueError(f"{entry} is on Orthanc's own machine, and that is not this one")
    return Peer(name, entry.ae_title, entry.host, entry.port, tls=entry.uses_tls)


def _or_why_not(make: Callable[[], Peer]) -> Peer | ValueError:
    try:
        return make()
    except ValueError as error:
        return ValueError(_cut(str(error)))


def _cut(text: str) -> str:
    """What another program told is not shown for ever."""
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
