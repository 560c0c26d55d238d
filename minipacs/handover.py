"""What a connection needs of a server for more than Verification: an offer, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from minipacs.peers import Peer
    from minipacs.wire.associate import AssociateRQ
    from minipacs.wire.items import ContextResult


class Usage(Struct):
    """What was done on one association so far; counted in the threads that serve it.

    Attributes:
        services: the services that were asked for, in the order in which they were.
        echoes: C-ECHO-RQ answered with success.
        objects: composite objects that came or went and were taken.
        failures: requests and sub-operations that ended in a status of failure.
        first_failure: the status of the first of these, with what we told the peer of it; empty while there is none.
        bytes: of the P-DATA-TF PDUs, of both directions.
        busy: requests that are not answered yet.
        calls: associations with others that there are for the peer.
    """

    services: tuple[str, ...] = ()
    echoes: int = 0
    objects: int = 0
    failures: int = 0
    first_failure: str = ""
    bytes: int = 0
    busy: int = 0
    calls: int = 0


class Offer(Struct, frozen=True):
    """How an association is handed over.

    Attributes:
        request: what the server is asked for: the contexts that may be accepted, each with the one transfer syntax.
        refused: the answers to all other contexts.
        services: what the peer may use.
    """

    request: AssociateRQ
    refused: tuple[ContextResult, ...]
    services: frozenset[str]


class Services(Protocol):
    """A server for more than Verification."""

    @property
    def calls(self) -> int:
        """How many associations it has with others, because a peer asked for that."""

    def let_call(self, has_room: Callable[[], bool]) -> None:
        """Have it ask *has_room*, from any thread, before it has one more of these."""

    def offer(self, request: AssociateRQ, peer: Peer) -> Offer | None:
        """Return how an admitted association is to be handed over; None: it asks for nothing that *peer* may use."""

    def may_use(self, peer: Peer) -> frozenset[str]:
        """Return the services that *peer* may use."""

    def take(self, offer: Offer, address: tuple[str, int]) -> tuple[socket.socket, Usage]:
        """Serve an association on the other end of the socket that is returned, until that is closed.

        Args:
            offer: what the server is going to be asked for.
            address: IP address and TCP port of the peer.

        Raises:
            OSError: no descriptor or no thread is left for it.
        """
