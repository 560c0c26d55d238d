"""What became of an association that we were asked for: one value, one log line."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class AssociationOutcome(StrEnum):
    """How an association ended."""

    RELEASED = "released"
    REJECTED = "rejected"
    ABORTED = "aborted"  # by either side
    TIMED_OUT = "timed-out"
    INVALID = "invalid"  # the peer broke the protocol, or spoke another one
    CLOSED = "closed"  # the connection closed without A-RELEASE or A-ABORT


class AssociationRecord(Struct, frozen=True, kw_only=True):
    """An association at its end. What the peer sent is escaped: every text is printable ASCII.

    Attributes:
        calling_ae_title: of the peer; None when no request came.
        called_ae_title: what it called us; None when no request came.
        address: the IP address that it came from.
        peer: its name in the peer table; None for a stranger.
        outcome: how it ended.
        echoes: C-ECHO-RQ answered with success.
        reject: result/source/reason of our A-ASSOCIATE-RJ; None when there was none.
        code: the row of the catalogue; empty when there is nothing to say.
        reason: what is true, in words; None when there is nothing to say.
        fix: what to change, on which side; None when there is nothing to say.
        observations: the deviations of the peer that were tolerated.
        duration_ms: milliseconds from the connection to the end.
        implementation_version: what the peer calls itself; None when it does not.
    """

    calling_ae_title: str | None
    called_ae_title: str | None
    address: str
    peer: str | None
    outcome: AssociationOutcome
    echoes: int = 0
    reject: str | None = None
    code: str = ""
    reason: str | None = None
    fix: str | None = None
    observations: tuple[str, ...] = ()
    duration_ms: float = 0.0
    implementation_version: str | None = None

    @property
    def counted_echoes(self) -> str:
        """``1 echo``, ``2 echoes``."""
        return f"{self.echoes} echo{'' if self.echoes == 1 else 'es'}"

    def __str__(self) -> str:
        """Return the record as one line."""
        who = f"{self.calling_ae_title or 'unknown'}@{self.address}"
        if self.peer:
            who = f"{self.peer} ({who})"
        parts = [f"{self.outcome}{f' {self.reject}' if self.reject else ''}"]
        if self.echoes:
            parts.append(self.counted_echoes)
        parts.append(f"{self.duration_ms:.1f} ms")
        line = f"{who} -> {self.called_ae_title or 'nobody'}: {', '.join(parts)}"
        if self.reason:
            line += f": {self.reason}{f' [{self.code}]' if self.code else ''}"
        for word, text in (("fix", self.fix), ("observed", "; ".join(self.observations))):
            if text:
                line += f"; {word}: {text}"
        return line

    def as_fields(self) -> dict[str, object]:
        """Return what a machine reads, by name."""
        return {name: getattr(self, name) for name in self.__struct_fields__ if name != "code"}
