"""The associations of a node: those that are open, and of those that ended their number by outcome and the last."""

from __future__ import annotations

from collections import deque
from time import time
from typing import TYPE_CHECKING

from msgspec.structs import asdict

from minipacs.association_record import AssociationOutcome
from minipacs.escape import escape
from minipacs.node_status import EndedAssociation, OpenAssociation
from minipacs.timestamp import rfc3339

if TYPE_CHECKING:
    from minipacs.association_record import AssociationRecord
    from minipacs.connection import Connection

_KEPT = 20


class Tally:
    """Counts since the start.

    Attributes:
        counts: how many associations ended, by outcome; each outcome has its key.
        silent: how many connections ended without a byte from the peer.
        refused: how many connections came from an address that is not taken.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = {outcome.value: 0 for outcome in AssociationOutcome}
        self.silent = 0
        self.refused = 0
        self._last: deque[tuple[float, AssociationRecord]] = deque(maxlen=_KEPT)

    def add(self, record: AssociationRecord) -> None:
        """Count an association that ends now."""
        self.counts[record.outcome.value] += 1
        self._last.append((time(), record))

    @property
    def last(self) -> tuple[EndedAssociation, ...]:
        """The last 20 that ended, oldest first."""
        return tuple(EndedAssociation(time=rfc3339(when), **asdict(record)) for when, record in self._last)


def open_association(connection: Connection, now: float) -> OpenAssociation:
    """Return the association that *connection* holds, as machines read it.

    Args:
        connection: its request is whole.
        now: the time by the clock of its event loop, in seconds.
    """
    request, admission = connection.request, connection.admission
    assert request is not None
    age = now - connection.started
    usage = {} if connection.usage is None else asdict(connection.usage)
    return OpenAssociation(
        calling_ae_title=escape(request.calling_ae_title),
        called_ae_title=escape(request.called_ae_title),
        address=connection.address,
        peer=admission.peer.name if admission and admission.peer else None,
        since=rfc3339(time() - age),
        duration_ms=round(age * 1000, 3),
        echoes=connection.echoes,
        **{name: usage[name] for name in ("services", "objects", "bytes", "failures") if usage},
    )
