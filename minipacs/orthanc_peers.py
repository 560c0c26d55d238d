"""An Orthanc and whom it knows, as peers of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minipacs.ae_title import significant
from minipacs.diagnosis import symbol
from minipacs.escape import escape
from minipacs.peers import Peer

if TYPE_CHECKING:
    from collections.abc import Callable

    from minipacs.orthanc import Modality, Orthanc


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
        found += [
            (escape(name), _or_why_not(lambda name=name, entry=entry: _peer(name, entry)))  # type: ignore[misc]
            for name, entry in orthanc.modalities().items()
            if significant(entry.ae_title) != ae_title
        ]
    return found


def _peer(name: str, entry: Modality) -> Peer:
    return Peer(name, entry.ae_title, entry.host, entry.port)


def _or_why_not(make: Callable[[], Peer]) -> Peer | ValueError:
    try:
        return make()
    except ValueError as error:
        return error
