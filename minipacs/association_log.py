"""The one line an association in the log of a node; of those who are not admitted no more than so many a minute."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from msgspec.structs import replace

from minipacs.diagnosis import diagnose
from minipacs.flood_log import AT_ONCE, FloodLog
from minipacs.shortfall import SHORTFALLS

if TYPE_CHECKING:
    from collections.abc import Hashable

    from minipacs.association_record import AssociationRecord
    from minipacs.diagnosis import Diagnosis

_OF_NOBODY = frozenset({"tls-inbound.closed", "tls-inbound.crowded", "tls-inbound.silence"})

logger = logging.getLogger("minipacs")


class AssociationLog(FloodLog):
    """The log of a node that listens."""

    def association(self, record: AssociationRecord) -> None:
        """Log how an association ended."""
        if record.calling_ae_title is None or record.reject is not None:
            passed_over = self._of_strangers(record)
            if passed_over is None:
                return
            record = replace(record, reason=f"{record.reason}{passed_over}")
        is_well = record.outcome in {"released", "closed"} and record.code not in SHORTFALLS
        level = logging.INFO if is_well else logging.WARNING
        logger.log(level, "%s", record, extra={"event": "association", "fields": record.as_fields()})

    def silence(self, address: str, count: int) -> None:
        """Log a connection from *address* by which no byte came, the *count*-th, where more than usual is logged."""
        if logger.isEnabledFor(logging.DEBUG):
            empty = diagnose("inbound.empty", address=address)
            text = f"{empty.reason} ({count} such so far) [{empty.code}]"
            self.log(("empty", address), logging.DEBUG, text, at_most=AT_ONCE)

    def row(self, kind: Hashable, level: int, diagnosis: Diagnosis) -> bool:
        """Log a row of the catalogue; the arguments and what is returned are those of log()."""
        return self.log(kind, level, f"{diagnosis.reason} [{diagnosis.code}]; fix: {diagnosis.fix}")

    def _of_strangers(self, record: AssociationRecord) -> str | None:
        """Return how many like it were passed over lately, in words, or None when this one is passed over too.

        Whoever is not admitted may call under ever new titles: its address tells what is alike, and the first lines
        are told, for who mends a peer tries again and again. No DICOM and handshakes that lead nowhere are nobody's.
        """
        is_nobodys = not record.code.startswith("tls-") or record.code in _OF_NOBODY
        if record.calling_ae_title is None and is_nobodys:
            return self.passed_over((record.code, record.address), str(record))
        return self.passed_over((record.peer, record.address), str(record), AT_ONCE)
