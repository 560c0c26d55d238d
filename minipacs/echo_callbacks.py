"""What an echo tells while it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minipacs.wire.associate import AssociateAC, AssociateRJ, AssociateRQ
    from minipacs.wire.association import Direction


class EchoCallbacks:
    """Override what you want to be told, and hand it to ``echo(…, callbacks=…)``.

    Each is called in the thread that calls echo(), in the order in which things happen. An exception in one ends the
    association and comes out of echo(). Text of the peer is handed over as it was sent: escape it before you show it.
    """

    def requesting(self, request: AssociateRQ) -> None:
        """We connect, to ask for an association."""

    def accepted(self, answer: AssociateAC) -> None:
        """The association was accepted: its contexts, and what the peer tells of itself."""

    def rejected(self, rejection: AssociateRJ) -> None:
        """The association was rejected."""

    def sending(self, message_id: int) -> None:
        """We send a C-ECHO-RQ."""

    def responded(self, message_id: int, status: int) -> None:
        """Its C-ECHO-RSP came; status 0x0000 is success."""

    def releasing(self) -> None:
        """We ask for the end of the association."""

    def released(self) -> None:
        """The peer agreed to it."""

    def aborted(self, reason: str) -> None:
        """The association, or the request for one, ended in any other way.

        Args:
            reason: in words; empty when we abort because we were told to.
        """

    def pdu(self, direction: Direction, milliseconds: float, data: bytes) -> None:
        """A PDU was made to be sent, or came.

        Args:
            direction: ``sent`` or ``received``.
            milliseconds: since the connection opened.
            data: its exact bytes; of one that is invalid or was cut short, what is there of it.
        """
