"""What the legs of a round trip prove: evidence → verdict, and nothing else."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec import Struct

from minipacs.echo_result import Outcome
from minipacs.leg import Standing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from minipacs.leg import Leg


class StrangerOutcome(StrEnum):
    """What became of an echo under a title that is surely not registered."""

    REFUSED = "refused"
    ADMITTED = "admitted"
    UNCLEAR = "unclear"  # neither: the peer was busy, or did not answer
    SKIPPED = "skipped"


class RegisteredOutcome(StrEnum):
    """What Orthanc has for our AE title."""

    RIGHT = "right"
    WRONG = "wrong"
    MISSING = "missing"
    UNKNOWN = "unknown"  # it cannot be asked
    SKIPPED = "skipped"


class InboundOutcome(StrEnum):
    """What became of the peer's call to us."""

    SUCCESS = "success"
    REJECTED = "rejected"  # by us
    MISCALLED = "miscalled"  # rejected: it calls us by another title
    FAILED = "failed"  # it arrived and was admitted, and no echo succeeded
    ELSEWHERE = "elsewhere"  # the peer says that it echoed us, and did not echo this node
    NOT_ARRIVED = "not-arrived"
    UNKNOWN = "unknown"  # the peer could not be asked, or did not say in time
    SKIPPED = "skipped"


class ImageOutcome(StrEnum):
    """What became of an image on one leg of its way there and back."""

    STORED = "stored"
    REFUSED = "refused"  # the peer did not store it
    FOUND = "found"
    MISSING = "missing"  # the peer does not find what it has stored
    RETURNED = "returned"
    UNLISTED = "unlisted"  # the peer does not have us among those whom it sends to
    REJECTED = "rejected"  # by us
    NOT_ARRIVED = "not-arrived"
    SAME = "same"
    ENCODED_ANEW = "re-encoded"  # its values are the same
    CHANGED = "changed"
    REMOVED = "removed"
    LEFT = "left"  # it could not be taken away again
    SKIPPED = "skipped"


class Verdict(StrEnum):
    """What is proved of the registration on both sides."""

    MUTUAL = "mutual"
    THEY_DO_NOT_KNOW_US = "one-way: they do not know us"
    WE_DO_NOT_ADMIT_THEM = "one-way: we do not admit them"
    THEY_MISCALL_US = "one-way: they know us by another title"
    THEY_DO_NOT_REACH_US = "one-way: they do not reach us"
    IMAGES_DO_NOT_COME = "one-way: images do not come back"
    IMAGES_COME_CHANGED = "changed: images do not come back as they were sent"
    NO_IMAGES = "no images: the peer does not take or does not find them"
    STRANGERS = "strangers: neither knows the other"
    OPEN = "open: the peer admits anybody"
    UNPROVEN = "unproven: nothing shows that they can call us"
    UNPROVEN_HERE = "unproven: nothing shows that they know us"
    WRONG_TITLE = "wrong title: the peer is not called so"
    BUSY = "busy: the peer takes no more associations"
    NO_ECHO = "no echo: the peer accepts us and does not answer the echo"
    NO_DICOM = "unreachable: the port opens, and no DICOM peer answers"
    UNREACHABLE = "unreachable"


class Evidence(Struct, frozen=True):
    """What each leg found.

    Attributes:
        out: of our echo.
        out_code: its row in the catalogue.
        stranger: of the echo as a stranger.
        registered: of what Orthanc has for us.
        inbound: of the peer's call.
        image: of an image that was sent there and moved back: SAME when it came, else what went amiss first.
    """

    out: Outcome
    out_code: str = ""
    stranger: StrangerOutcome = StrangerOutcome.SKIPPED
    registered: RegisteredOutcome = RegisteredOutcome.SKIPPED
    inbound: InboundOutcome = InboundOutcome.SKIPPED
    image: ImageOutcome = ImageOutcome.SKIPPED

    @classmethod
    def of(cls, legs: Iterable[Leg]) -> Evidence:
        """Return the evidence that the legs give."""
        leg = {leg.leg: leg for leg in legs}
        return cls(
            Outcome(leg["out"].outcome),
            leg["out"].code,
            StrangerOutcome(leg["stranger"].outcome),
            RegisteredOutcome(leg["registered"].outcome),
            InboundOutcome(leg["in"].outcome),
            _of_image(leg),
        )


# How a peer that enforces registration refuses whom it does not know. Orthanc rejects, or accepts and then aborts.
REFUSALS = frozenset(
    {
        "rejected.calling-ae-title",
        "rejected.no-reason",
        "aborted.at-association",
        "aborted.at-echo",
        "no-context.user-rejection",
    }
)

_NOT_CALLED = frozenset({InboundOutcome.SKIPPED, InboundOutcome.UNKNOWN})

_ON_ITS_WAY = ("store", "find", "move", "compare")

_OF_IMAGE = {
    ImageOutcome.SAME: Verdict.MUTUAL,
    ImageOutcome.UNLISTED: Verdict.THEY_DO_NOT_KNOW_US,
    ImageOutcome.REJECTED: Verdict.WE_DO_NOT_ADMIT_THEM,
    ImageOutcome.NOT_ARRIVED: Verdict.IMAGES_DO_NOT_COME,
    ImageOutcome.CHANGED: Verdict.IMAGES_COME_CHANGED,
    ImageOutcome.REFUSED: Verdict.NO_IMAGES,
    ImageOutcome.MISSING: Verdict.NO_IMAGES,
}

_NOT_REFUTED = frozenset({Verdict.MUTUAL, Verdict.OPEN, Verdict.UNPROVEN, Verdict.UNPROVEN_HERE})

_BUSY = frozenset({"rejected.congestion", "rejected.limit"})


def enforced(evidence: Evidence) -> bool | None:
    """Return whether the peer admits only whom it knows; None when nothing shows it."""
    if evidence.stranger is StrangerOutcome.REFUSED or evidence.out_code == "rejected.calling-ae-title":
        return True
    return False if evidence.stranger is StrangerOutcome.ADMITTED else None


def verdict(evidence: Evidence) -> Verdict:
    """Return what *evidence* proves; in doubt it is not mutual."""
    if evidence.out is not Outcome.SUCCESS:
        return _of_failed_echo(evidence)
    by_echoes = _of_echoes(evidence)
    if evidence.image is ImageOutcome.SKIPPED or by_echoes not in _NOT_REFUTED:
        return by_echoes
    if evidence.image is ImageOutcome.SAME and evidence.registered is RegisteredOutcome.MISSING:
        return by_echoes  # that Orthanc is another one
    return _OF_IMAGE[evidence.image]


def _of_image(legs: Mapping[str, Leg]) -> ImageOutcome:
    """Return what went amiss first with the image; SAME when it came back, SKIPPED when it was not on its way."""
    run = [legs[name] for name in _ON_ITS_WAY if name in legs]
    for leg in run:
        if leg.standing is Standing.FAILED:
            return ImageOutcome(leg.outcome)
    is_over = bool(run) and run[-1].standing is not Standing.SKIPPED
    return ImageOutcome.SAME if is_over else ImageOutcome.SKIPPED


def _of_echoes(evidence: Evidence) -> Verdict:
    if not _is_known(evidence) and evidence.registered is RegisteredOutcome.MISSING:
        is_stranger = evidence.inbound is InboundOutcome.REJECTED
        return Verdict.STRANGERS if is_stranger else Verdict.THEY_DO_NOT_KNOW_US
    if evidence.inbound is InboundOutcome.REJECTED:
        return Verdict.WE_DO_NOT_ADMIT_THEM
    if evidence.inbound is InboundOutcome.MISCALLED:
        return Verdict.THEY_MISCALL_US
    if evidence.inbound not in {InboundOutcome.SUCCESS, *_NOT_CALLED}:
        return Verdict.THEY_DO_NOT_REACH_US
    if evidence.stranger is StrangerOutcome.ADMITTED and not _is_known(evidence):
        return Verdict.OPEN
    if evidence.inbound in _NOT_CALLED:
        return Verdict.UNPROVEN
    if evidence.registered is RegisteredOutcome.MISSING:  # the peer knows us, and this Orthanc does not: another one
        return Verdict.UNPROVEN
    return Verdict.MUTUAL if _is_known(evidence) else Verdict.UNPROVEN_HERE


def _is_known(evidence: Evidence) -> bool:
    """Whether it is proved that they know us: they refuse others, have us right, or echo us by what they have."""
    if evidence.stranger is StrangerOutcome.REFUSED or evidence.registered is RegisteredOutcome.RIGHT:
        return True
    return evidence.registered is RegisteredOutcome.WRONG and evidence.inbound is InboundOutcome.SUCCESS


def _of_failed_echo(evidence: Evidence) -> Verdict:
    if evidence.out is Outcome.UNREACHABLE:
        return Verdict.UNREACHABLE
    if evidence.out is Outcome.NO_ASSOCIATION:
        return Verdict.NO_DICOM
    if evidence.out_code == "rejected.called-ae-title":
        return Verdict.WRONG_TITLE
    if evidence.out_code in _BUSY:
        return Verdict.BUSY
    if evidence.out_code in REFUSALS:
        is_stranger = evidence.inbound is InboundOutcome.REJECTED
        return Verdict.STRANGERS if is_stranger else Verdict.THEY_DO_NOT_KNOW_US
    return Verdict.NO_ECHO
