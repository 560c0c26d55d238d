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


def why_not_to_add(table: PeerTable, peer: Peer, option: str = "") -> str:
    """Return who stands in the way of a peer in our table, and how to change that; empty: nobody.

    Args:
        table: ours.
        peer: who is to be added.
        option: that names the table to other commands, after a space; empty for the usual one.
    """
    known = table.with_ae_title(peer.ae_title)
    if known is None and peer.name not in table:
        return ""
    command = " ".join(map(shlex.quote, ["minipacs", "peers", "add", peer.name, str(peer)])) + option
    if known is not None:
        command += "".join(f" --allow-from {network_text(network)}" for network in known.allow_from)
        remove = f"minipacs peers remove {known.name}{option}"
        return f"{known.name} is {known}, not {peer}; to change that: {remove} && {command}"
    other = command.replace(f" {peer.name} ", " NAME ", 1)
    return f"{peer.name} is {table[peer.name]}, not {peer}; under another name: {other}"


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
