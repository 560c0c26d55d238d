"""The associations of a node, counted by outcome, and the last of them kept."""

from __future__ import annotations

from collections import deque
from time import time
from typing import TYPE_CHECKING

from msgspec.structs import asdict

from minipacs.association_record import AssociationOutcome
from minipacs.node_status import EndedAssociation
from minipacs.timestamp import rfc3339

if TYPE_CHECKING:
    from minipacs.association_record import AssociationRecord

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
