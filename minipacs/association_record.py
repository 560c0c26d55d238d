"""What became of an association that we were asked for: one value, one log line."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from msgspec import Struct


class AssociationOutcome(StrEnum):
    """How an association ended."""

    RELEASED = "released"
    REJECTED = "rejected"
    ABORTED = "aborted"  # by either side
    TIMED_OUT = "timed-out"
    INVALID = "invalid"  # the peer broke the protocol, or spoke another one
    CLOSED = "closed"  # the connection closed without A-RELEASE or A-ABORT


_USE = frozenset({"services", "objects", "bytes", "failures"})


class AssociationRecord(Struct, frozen=True, kw_only=True):
    """An association at its end. What the peer sent is escaped: every text is printable ASCII.

    Attributes:
        calling_ae_title: of the peer; None when no request came.
        called_ae_title: what it called us; None when no request came.
        address: the IP address that it came from.
        peer: its name in the peer table; None for a stranger.
        outcome: how it ended.
        echoes: C-ECHO-RQ answered with success.
        services: the services beyond Verification that it was handed over for and has used, and ``echo`` beside them.
        objects: composite objects that came or went and were taken.
        bytes: of the P-DATA-TF PDUs, of both directions; counted where *services* are.
        failures: requests and sub-operations that ended in a status of failure.
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
    services: tuple[str, ...] = ()
    objects: int = 0
    bytes: int = 0
    failures: int = 0
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
        parts += use_as_text(self)
        parts.append(f"{self.duration_ms:.1f} ms")
        line = f"{who} -> {self.called_ae_title or 'nobody'}: {', '.join(parts)}"
        if self.reason:
            line += f": {self.reason}{f' [{self.code}]' if self.code else ''}"
        for word, text in (("fix", self.fix), ("observed", "; ".join(self.observations))):
            if text:
                line += f"; {word}: {text}"
        return line

    def as_fields(self) -> dict[str, object]:
        """Return what a machine reads, by name; of services only where there were any."""
        left_out = {"code"} if self.services else {"code", *_USE}
        return {name: getattr(self, name) for name in self.__struct_fields__ if name not in left_out}


class Used(Protocol):
    """What was used of services."""

    @property
    def services(self) -> tuple[str, ...]:
        """Their names."""

    @property
    def objects(self) -> int:
        """How many objects came or went and were taken."""

    @property
    def bytes(self) -> int:
        """Of the P-DATA-TF PDUs."""

    @property
    def failures(self) -> int:
        """How many ended in a status of failure."""


def use_as_text(used: Used) -> list[str]:
    """Return the services, the objects, the size and the failures, as they stand in a line; nothing where none were."""
    if not used.services:
        return []
    named = [service for service in used.services if service != "echo"]  # echoes are told as their number
    parts = [" ".join(named)] if named else []
    if used.objects or set(named) - {"find"}:
        parts.append(_counted(used.objects, "object"))
    parts.append(shown_size(used.bytes))
    return parts if not used.failures else [*parts, _counted(used.failures, "failure")]


def shown_size(size: int) -> str:
    """Return a number of bytes as people read it: ``0 bytes``, ``512 kB``, ``1.5 MB``."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.{0 if size >= 100 * factor else 1}f} {unit}"
    return _counted(size, "byte")


def _counted(count: int, one: str) -> str:
    return f"{count} {one}{'' if count == 1 else 's'}"
