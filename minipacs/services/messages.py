"""The messages of an association of pynetdicom, of which one that cannot be taken ends the association, as it should.

Left alone, it would end the thread that reads them, with nothing said to the peer, and to us by a traceback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynetdicom.dimse import DIMSEServiceProvider

from minipacs.services.bell import Ringing

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynetdicom.association import Association
    from pynetdicom.pdu_primitives import P_DATA

_NO_ROOM = 7  # bytes: for the header of a fragment, and not for two bytes of it


class Messages(DIMSEServiceProvider):
    """For ``Association.dimse``.

    Args:
        association: whose they are.
        ring: is called for each that is there to be served.

    Attributes:
        error: why the data set of a message could not be written to its file; None when it could.
    """

    def __init__(self, association: Association, ring: Callable[[], None]) -> None:
        super().__init__(association)
        self.msg_queue = Ringing(ring)
        self.error: OSError | None = None

    @property
    def maximum_pdu_size(self) -> int:
        """The peer's maximum length, less one where that is odd: fragments have an even length (PS3.8 Annex E)."""
        size = super().maximum_pdu_size
        return size - size % 2 if size > _NO_ROOM else size

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take a fragment; abort the association where that cannot be (Evt19, PS3.8 Table 9-10)."""
        try:
            super().receive_primitive(primitive)
        except Exception as error:  # noqa: BLE001 - a peer may send whatever makes pynetdicom stumble
            self.error = error if isinstance(error, OSError) else None
            self.message = None
            self.dul.event_queue.put("Evt19")
