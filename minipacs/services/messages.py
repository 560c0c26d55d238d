"""The messages of an association of pynetdicom, of which one that cannot be taken ends the association, as it should.

Left alone, it would end the thread that reads them, with nothing said to the peer, and to us by a traceback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynetdicom.dimse import DIMSEServiceProvider

from minipacs.services.bell import Ringing
from minipacs.services.bounded_reading import FAILURES, TooMuch

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynetdicom.association import Association
    from pynetdicom.dimse_messages import DIMSEMessage
    from pynetdicom.pdu_primitives import P_DATA

_LONGEST_COMMAND = 1 << 17  # bytes
_MOST_WAITING = 64  # requests that are not served yet; a peer may send one that negotiates nothing (PS3.7 §D.3.3.3)


class Messages(DIMSEServiceProvider):
    """For ``Association.dimse``.

    Args:
        association: whose they are.
        ring: is called for each that is there to be served.

    Attributes:
        error: why the data set of a message could not be written to its file; None when it could.
        excess: what of a message is longer than we take; empty when nothing is.
    """

    def __init__(self, association: Association, ring: Callable[[], None]) -> None:
        super().__init__(association)
        self.msg_queue = Ringing(ring)
        self.error: OSError | None = None
        self.excess = ""

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take a fragment; abort the association where that cannot be (Evt19, PS3.8 Table 9-10)."""
        try:
            super().receive_primitive(primitive)
            if self.message is not None:
                _weigh(self.message)
            elif self.assoc.is_acceptor and len(self.msg_queue.queue) > _MOST_WAITING:
                raise TooMuch(f"more than {_MOST_WAITING} requests at once")
        except Exception as error:  # noqa: BLE001 - a peer may send whatever makes pynetdicom stumble
            self.error = error if isinstance(error, OSError) else None
            self.excess = str(error) if isinstance(error, TooMuch) else ""
            self.message = None
            self.dul.event_queue.put("Evt19")


def _weigh(message: DIMSEMessage) -> None:
    """Raise TooMuch where what has come of a message is longer than any is; a data set that is stored is in a file."""
    for name, data, most in (
        ("command set", message.encoded_command_set, _LONGEST_COMMAND),
        ("data set", message.data_set, FAILURES.size),
    ):
        if data is not None and data.tell() > most:
            raise TooMuch(f"a {name} of more than {most} bytes")
