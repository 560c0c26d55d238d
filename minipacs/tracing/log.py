"""What passes on the wire of the node, for its log: whole records, so that no two connections interleave."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from minipacs.escape import escape
from minipacs.flood_log import AT_ONCE, FloodLog
from minipacs.recognition import protocol_of
from minipacs.tracing.dump import dump, fields_of, name_of, title
from minipacs.tracing.negotiation import as_lines, describe
from minipacs.wire.associate import AssociateAC, AssociateRJ, AssociateRQ
from minipacs.wire.pdu import Abort

if TYPE_CHECKING:
    from minipacs.wire.association import Direction

    Passed = tuple[Direction, float, bytes]

logger = logging.getLogger("minipacs")

_DECISIONS = frozenset({AssociateAC.TYPE, AssociateRJ.TYPE, Abort.TYPE})


class Traced(Protocol):
    """What is told of the connection whose wire is looked at."""

    address: str
    port: int

    @property
    def request(self) -> AssociateRQ | None:
        """What the peer asked for, once it did validly."""

    @property
    def observations(self) -> tuple[str, ...]:
        """The deviations that were tolerated so far."""


class WireLog:
    """Logs the negotiation of each association when it is decided, and each PDU if it is asked to.

    Of those who are not admitted, no more than the log of associations tells; of those who are, everything.

    Args:
        with_bytes: whether to log every PDU.
    """

    def __init__(self, *, with_bytes: bool) -> None:
        self._with_bytes = with_bytes
        self._log = FloodLog()

    def watch(self, connection: Traced) -> Watch:
        """Return what is to be told of the PDUs of *connection*."""
        return Watch(connection, self._log, with_bytes=self._with_bytes)


class Watch:
    """The wire of one connection."""

    def __init__(self, connection: Traced, log: FloodLog, *, with_bytes: bool) -> None:
        self._connection = connection
        self._log = log
        self._with_bytes = with_bytes
        self._undecided: list[Passed] | None = []  # None once it is decided
        self._is_muted = False

    def pdu(self, direction: Direction, milliseconds: float, data: bytes) -> None:
        """Take note of a PDU that was made to be sent, or came."""
        if self._undecided is None:
            self._log_pdu(direction, milliseconds, data)
            return
        self._undecided.append((direction, milliseconds, data))
        if direction == "sent" and data[0] in _DECISIONS:
            self.ended()

    def ended(self) -> None:
        """Take note that nothing more is decided."""
        if self._undecided:
            passed, self._undecided = self._undecided, None
            self._is_muted = not self._is_to_be_told(passed[0][2], passed[-1][2])
            for pdu in passed:
                self._log_pdu(*pdu)
            if not self._is_muted:
                self._log_negotiation(passed)

    def _is_to_be_told(self, first: bytes, last: bytes) -> bool:
        """Whoever makes no valid request is told once a minute, whoever is rejected a few times, as its association is.

        Args:
            first: the first PDU that passed.
            last: the last one, which may be the decision.
        """
        if last[0] == AssociateAC.TYPE:
            return True
        is_valid = self._connection.request is not None
        kind = "rejected" if is_valid else protocol_of(first)
        told = f"{self._who()}: negotiation"
        return self._log.passed_over((kind, self._connection.address), told, AT_ONCE if is_valid else 1) is not None

    def _log_negotiation(self, passed: list[Passed]) -> None:
        request = next((data for direction, _, data in passed if direction == "received"), b"")
        answer = next((data for direction, _, data in passed if direction == "sent"), b"")
        observations = tuple(escape(observation) for observation in self._connection.observations)
        lines = [f"{self._who()}: negotiation"]
        for direction, milliseconds, data in passed:
            lines.append(f"  {title(direction, milliseconds, data)}")
            lines += [f"    {line}" for line in as_lines(describe(data, request))]
        lines += [f"  tolerated: {observation}" for observation in observations]
        fields = {
            "address": self._connection.address,
            "port": self._connection.port,
            "request": describe(request) if request else None,
            "answer": describe(answer, request) if answer else None,
            "observations": observations,
        }
        logger.debug("%s", "\n".join(lines), extra={"event": "negotiation", "fields": fields})

    def _log_pdu(self, direction: Direction, milliseconds: float, data: bytes) -> None:
        if not self._with_bytes or self._is_muted:
            return
        lines = [f"{self._who()}: {title(direction, milliseconds, data)}"]
        lines += [f"  {line}" for line in dump(data).splitlines()]
        fields = {
            "address": self._connection.address,
            "port": self._connection.port,
            "direction": direction,
            "ms": round(milliseconds, 3),
            "pdu": name_of(data),
            "length": len(data),
            "fields": fields_of(data),
        }
        logger.debug("%s", "\n".join(lines), extra={"event": "pdu", "fields": fields})

    def _who(self) -> str:
        return f"{self._connection.address} port {self._connection.port}"
