"""A bidirectional DICOM test node: it is pinged, it pings back, and it says why when that fails.

    from minipacs import Peer, PeerTable, VerificationSCP, echo

The names are looked up when they are first used, so that importing the package, or calling one command of it, does
not import what only another one needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minipacs.association_record import AssociationOutcome, AssociationRecord
    from minipacs.echo_callbacks import EchoCallbacks
    from minipacs.echo_result import EchoResult, Outcome
    from minipacs.errors import (
        FileError,
        ListenError,
        MinipacsError,
        PeerTableError,
        ProtocolError,
        SettingsError,
    )
    from minipacs.peers import Peer, PeerTable
    from minipacs.scp import VerificationSCP
    from minipacs.scu import echo
    from minipacs.side_by_side import echo_all

__version__ = "0.1.0"

__all__ = [
    "AssociationOutcome",
    "AssociationRecord",
    "EchoCallbacks",
    "EchoResult",
    "FileError",
    "ListenError",
    "MinipacsError",
    "Outcome",
    "Peer",
    "PeerTable",
    "PeerTableError",
    "ProtocolError",
    "SettingsError",
    "VerificationSCP",
    "__version__",
    "echo",
    "echo_all",
]

_HOMES = {
    "AssociationRecord": "association_record",
    "AssociationOutcome": "association_record",
    "EchoCallbacks": "echo_callbacks",
    "EchoResult": "echo_result",
    "Outcome": "echo_result",
    "Peer": "peers",
    "PeerTable": "peers",
    "VerificationSCP": "scp",
    "echo": "scu",
    "echo_all": "side_by_side",
}


def __getattr__(name: str) -> object:
    """Import the public name *name* from the module that holds it (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
