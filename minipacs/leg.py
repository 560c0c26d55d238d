"""One leg of a round trip: a value, whatever happened."""

from __future__ import annotations

from enum import StrEnum
from time import perf_counter
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from minipacs.diagnosis import Diagnosis

SKIPPED = "skipped"
"""The outcome of a leg that was not run."""


class Standing(StrEnum):
    """What a leg means to whoever has to act."""

    PASSED = "passed"
    WARNED = "warned"  # it shows something that should be known, and nothing that fails
    FAILED = "failed"
    SKIPPED = "skipped"


class Leg(Struct, frozen=True, kw_only=True):
    """What became of one leg.

    Attributes:
        leg: ``out``, ``stranger``, ``registered`` or ``in``; of an image ``store``, ``find``, ``move``, ``compare`` or
            ``remove``.
        outcome: its own word for it.
        standing: what that means.
        code: the row of the catalogue; empty when there is nothing to say.
        reason: what was seen and is true, in words; also of a leg that passed.
        fix: what to change, on which side; empty when there is nothing to change.
        ms: milliseconds that it took; None when it was skipped.
    """

    leg: str
    outcome: str
    standing: Standing
    code: str = ""
    reason: str = ""
    fix: str = ""
    ms: float | None = None


def leg_of(leg: str, outcome: StrEnum, standing: Standing, words: Diagnosis, ms: float | None) -> Leg:
    """Return the leg with these words for it."""
    return Leg(leg=leg, outcome=outcome, standing=standing, code=words.code, reason=words.reason, fix=words.fix, ms=ms)


def skipped(leg: str, why: str) -> Leg:
    """Return a leg that was not run, and why."""
    return Leg(leg=leg, outcome=SKIPPED, standing=Standing.SKIPPED, reason=why)


def since(started: float) -> float:
    """Return the milliseconds since that time of the performance counter, in seconds."""
    return (perf_counter() - started) * 1000
