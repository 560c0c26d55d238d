"""The messages of an association of pynetdicom, of which one that cannot be taken ends the association, as it should.

Left alone, it would end the thread that reads them, with nothing said to the peer, and to us by a traceback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pynetdicom.dimse import DIMSEServiceProvider

from minipacs.services.bell import Ringing
from minipacs.services.bounded_reading import FAILURES, TooMuch

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydicom.dataset import Dataset
    from pynetdicom.association import Association
    from pynetdicom.dimse_messages import DIMSEMessage
    from pynetdicom.pdu_primitives import P_DATA

_LONGEST_COMMAND = 1 << 17  # bytes
MOST_WAITING = 8
"""Messages that wait to be served; what comes behind them waits in the network."""

_MOST_CANCELS = 10  # pynetdicom takes the next C-CANCEL for a request
_NO_ROOM = 7  # bytes: for the header of a fragment, and not for two bytes of it


class Messages(DIMSEServiceProvider):
    """For ``Association.dimse``.

    Args:
        association: whose they are.
        ring: is called for each that is there to be served.
        read_on: is called when there is room for more again.

    Attributes:
        serving: the message ID of the request that is served, or was last.
        instead: statuses that pynetdicom has for what went wrong, and what the peer is told in the place of each.
        status: that of the last response.
        error: why the data set of a message could not be written to its file; None when it could.
        excess: what of a message is longer than we take; empty when nothing is.
    """

    def __init__(self, association: Association, ring: Callable[[], None], read_on: Callable[[], None]) -> None:
        super().__init__(association)
        self._read_on = read_on
        self.msg_queue = Ringing(ring)
        self.serving: int | None = None
        self.instead: dict[int, Dataset] = {}
        self.status = 0
        self.error: OSError | None = None
        self.excess = ""

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """Send a message; a response with the status that is to be told."""
        status = getattr(primitive, "Status", None)
        if status is not None:
            for element in self.instead.get(status, ()):
                setattr(primitive, element.keyword, element.value)
            self.status = primitive.Status
        super().send_msg(primitive, context_id)

    def get_msg(self, block: bool = False) -> Any:
        """Return the next message, as pynetdicom does, and have more read when half of those that waited are served."""
        message = super().get_msg(block)
        if len(self.msg_queue.queue) == MOST_WAITING // 2:
            self._read_on()
        return message

    @property
    def maximum_pdu_size(self) -> int:
        """The peer's maximum length, less one where that is odd: fragments have an even length (PS3.8 Annex E)."""
        size = super().maximum_pdu_size
        return size - size % 2 if size > _NO_ROOM else size

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take a fragment; abort the association where that cannot be (Evt19, PS3.8 Table 9-10)."""
        self._forget_stray_cancels()
        try:
            super().receive_primitive(primitive)
            if self.message is not None:
                _weigh(self.message)
        except Exception as error:  # noqa: BLE001 - a peer may send whatever makes pynetdicom stumble
            self.error = error if isinstance(error, OSError) else None
            self.excess = str(error) if isinstance(error, TooMuch) else ""
            self.message = None
            self.dul.event_queue.put("Evt19")

    def _forget_stray_cancels(self) -> None:
        """Make room for a C-CANCEL: those for what is not served are of no use (PS3.7 §9.3.2.3)."""
        if len(self.cancel_req) >= _MOST_CANCELS:
            self.cancel_req = {one: cancel for one, cancel in self.cancel_req.copy().items() if one == self.serving}


def _weigh(message: DIMSEMessage) -> None:
    """Raise TooMuch where what has come of a message is longer than any is; a data set that is stored is in a file."""
    for name, data, most in (
        ("command set", message.encoded_command_set, _LONGEST_COMMAND),
        ("data set", message.data_set, FAILURES.size),
    ):
        if data is not None and data.tell() > most:
            raise TooMuch(f"a {name} of more than {most} bytes")
