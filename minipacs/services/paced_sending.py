"""Sending with a brake, for pynetdicom queues whatever is to be sent, faster than the network takes it.

Its queue has no limit.

A data set that is sent from its file would so be in memory whole all the same, when the peer is slower than the disk;
and sent into nowhere, when the peer takes nothing more.
"""

from __future__ import annotations

from contextlib import suppress
from socket import SHUT_RDWR
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from pynetdicom.pdu_primitives import P_DATA

if TYPE_CHECKING:
    from pynetdicom.association import Association

_AHEAD = 64
"""P-DATA that may wait to be sent: of 16 KiB each, with the maximum length that most announce, 1 MiB together."""

_LOOK = 0.1  # seconds between looks at whether the association is still there
_STALLED = 60.0  # seconds in which the peer has not taken a single PDU

_MOMENT = 0.002  # seconds

# States of PS3.8 Table 9-1 to 9-5.
_DATA_TRANSFER = "Sta6"
_OVER = {"Sta1", "Sta13"}


def pace(association: Association, ahead: int = _AHEAD, stalled: float = _STALLED) -> None:
    """Let whoever sends on an association wait while so many PDUs before its own have not been sent.

    Args:
        association: it is established, or about to be.
        ahead: how many may wait.
        stalled: seconds after which the connection to a peer that takes none of them is closed.
    """
    provider = association.dul
    queue: Any = provider.to_provider_queue
    if "put" in vars(queue):  # it is paced already
        return
    put = queue.put

    def wait() -> None:
        """Until there is room, or nobody to send to."""
        deadline = monotonic() + stalled
        with queue.not_full:  # told of each that is taken out
            while len(queue.queue) >= ahead and provider.state_machine.current_state == _DATA_TRANSFER:
                if queue.not_full.wait(_LOOK):
                    deadline = monotonic() + stalled
                elif monotonic() > deadline:
                    connection: Any = provider.socket
                    with suppress(OSError, AttributeError):  # closed under our eyes
                        connection.socket.shutdown(SHUT_RDWR)  # the thread that is in the middle of sending comes back

    def put_in_turn(primitive: Any) -> None:
        if isinstance(primitive, P_DATA):  # an abort waits for nobody
            wait()
            if provider.state_machine.current_state in _OVER:
                return
        put(primitive)

    queue.put = put_in_turn


def let_read(association: Association) -> None:
    """Wait until all is sent that was to be, and a moment more, in which what came from the peer is read."""
    queue: Any = association.dul.to_provider_queue
    with queue.not_full:
        while queue.queue and association.dul.state_machine.current_state == _DATA_TRANSFER:
            queue.not_full.wait(_LOOK)
    sleep(_MOMENT)
