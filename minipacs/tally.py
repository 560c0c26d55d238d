"""The associations of a node: those that are open, and of those that ended their number by outcome and the last."""

from __future__ import annotations

from collections import deque
from time import monotonic, time
from typing import TYPE_CHECKING

from msgspec.structs import asdict

from minipacs.association_record import AssociationOutcome
from minipacs.escape import escape
from minipacs.node_status import AssociationsStatus, EndedAssociation, OpenAssociation
from minipacs.timestamp import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterable

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

    def status(self, holders: Iterable[Connection], connections: int) -> AssociationsStatus:
        """Return all of it, as machines read it.

        Args:
            holders: the connections that hold an association now.
            connections: how many TCP connections are open, with an association or without.
        """
        now = monotonic()  # the clock of the event loop, here also for who asks from another thread
        open_ones = sorted(holders, key=lambda connection: connection.started)
        return AssociationsStatus(
            open=tuple(_open_association(one, now) for one in open_ones),
            counts=dict(self.counts),
            silent_connections=self.silent,
            refused_connections=self.refused,
            connections=connections,
            last=tuple(EndedAssociation(time=rfc3339(when), **asdict(record)) for when, record in self._last),
        )


def _open_association(connection: Connection, now: float) -> OpenAssociation:
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
