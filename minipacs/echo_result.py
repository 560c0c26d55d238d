"""What became of an echo: a value, whatever happened."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from minipacs.peers import Peer


class Outcome(StrEnum):
    """The eight outcomes of an echo."""

    SUCCESS = "success"
    FAILURE = "failure"  # answered with a status other than 0x0000
    NO_RESPONSE = "no-response"
    ABORTED = "aborted"
    REJECTED = "rejected"
    NO_CONTEXT = "no-context"
    NO_ASSOCIATION = "no-association"  # TCP opened, the A-ASSOCIATE-RQ was not answered
    UNREACHABLE = "unreachable"


class EchoResult(Struct, frozen=True, kw_only=True):
    """What became of an echo.

    Attributes:
        peer: whom we called.
        outcome: one of eight.
        code: the row of the catalogue; empty after success.
        reason: what is true, in words; empty after success.
        fix: what to change, on which side; empty after success.
        status: the DIMSE status (0000,0900) that came last, of the failures if there were any; None when none came.
        observations: the deviations of the peer that were tolerated.
        requested: how many echoes were asked for.
        echoes: how many were answered with success.
        connect_ms: milliseconds until the TCP connection was open, names resolved, and the TLS handshake done if
            there is one; None when it was not reached.
        associate_ms: from the A-ASSOCIATE-RQ to its answer.
        echo_times_ms: from each C-ECHO-RQ to its response.
        release_ms: from the A-RELEASE-RQ to its answer.
        total_ms: all of it.
    """

    peer: Peer
    outcome: Outcome
    code: str = ""
    reason: str = ""
    fix: str = ""
    status: int | None = None
    observations: tuple[str, ...] = ()
    requested: int = 1
    echoes: int = 0
    connect_ms: float | None = None
    associate_ms: float | None = None
    echo_times_ms: tuple[float, ...] = ()
    release_ms: float | None = None
    total_ms: float = 0.0

    @property
    def is_success(self) -> bool:
        """Whether every echo was answered with status 0x0000."""
        return self.outcome is Outcome.SUCCESS

    @property
    def echo_ms(self) -> float | None:
        """The median of the echo times; None when no response came."""
        times = sorted(self.echo_times_ms)
        middle = len(times) // 2
        return (times[middle] + times[~middle]) / 2 if times else None

    @property
    def loss(self) -> float:
        """The share of the echoes asked for that was not answered with success, 0 to 1."""
        return 1 - self.echoes / self.requested
