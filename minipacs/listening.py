"""What a connection needs of those around it: whoever listens, and whoever looks at its wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from minipacs.admission import Admission
    from minipacs.association_record import AssociationRecord
    from minipacs.diagnosis import Diagnosis
    from minipacs.handover import Offer, Usage
    from minipacs.settings import Limits, Timeouts
    from minipacs.wire.associate import AssociateRQ
    from minipacs.wire.association import Direction

C_contra = TypeVar("C_contra", contravariant=True)


class Watch(Protocol):
    """Whoever looks at the wire of one connection."""

    def pdu(self, direction: Direction, milliseconds: float, data: bytes) -> None:
        """Take note of a PDU: its direction, milliseconds since the connection opened, its bytes."""

    def ended(self) -> None:
        """Take note that the association is over."""


class Listening(Protocol[C_contra]):
    """What a connection needs of whoever listens.

    Attributes:
        buffer: where bytes arrive that are copied before the next ones come.
    """

    buffer: memoryview
    timeouts: Timeouts
    limits: Limits
    port: int | None
    tls_port: int | None

    def watch(self, connection: C_contra) -> Watch | None:
        """Return what is to be told of each PDU, if anybody wants to know."""

    def opened(self, connection: C_contra) -> None:
        """Take note of a new connection."""

    def holds(self, connection: C_contra, size: int) -> None:
        """Take note that it holds *size* bytes of a request that is not whole."""

    def secures(self, connection: C_contra) -> None:
        """Take note that it begins its TLS handshake."""

    def in_turn(self, connection: C_contra, step: Callable[[], None]) -> None:
        """Run *step* of it, which takes long, in its turn."""

    def is_up_to_date(self, then: Callable[[], None]) -> bool:
        """Whether the table in force is as its file is now; if not, it is read, and *then* called in the loop."""

    def is_tls_up_to_date(self, then: Callable[[], None]) -> bool:
        """The same of the files of TLS."""

    def decide(self, request: AssociateRQ, address: str, certificate: bytes | None) -> tuple[Admission, Diagnosis]:
        """Admit or reject who calls from that *address* and has shown that *certificate*, in DER."""

    def serves(self, request: AssociateRQ, admission: Admission) -> tuple[Offer | None, bool]:
        """Return how *request* is to be handed over, if it asks for more than Verification, and whether it may echo."""

    def explain_end(self, connection: C_contra, diagnosis: Diagnosis) -> Diagnosis:
        """Return what there is to say of its end, where *diagnosis* says little."""

    def take(self, offer: Offer, address: tuple[str, int]) -> tuple[socket.socket, Usage]:
        """Hand over; OSError when no descriptor or no thread is left for it."""

    def admitted(self, connection: C_contra) -> None:
        """Take note that it holds an association now."""

    def ended(self, connection: C_contra, record: AssociationRecord | None) -> None:
        """Take note that its association is over; None when the peer never sent a byte."""

    def closed(self, connection: C_contra) -> None:
        """Take note that the connection is gone."""
