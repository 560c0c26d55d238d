"""What is left of an image that travelled, here and at the peer, and how it is taken away again."""

from __future__ import annotations

from contextlib import suppress
from threading import Event
from time import monotonic, perf_counter
from typing import TYPE_CHECKING

from minipacs.diagnosis import Diagnosis, diagnose
from minipacs.errors import ControlError, OrthancError
from minipacs.leg import Leg, Standing, leg_of, since, skipped
from minipacs.verdict import ImageOutcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from minipacs.bounded import Deadline
    from minipacs.inbound import Inbound
    from minipacs.orthanc import Orthanc
    from minipacs.services.sample_image import Sample

_LATE = 1.0  # seconds in which what was interrupted may still come about
_LOOK = 0.05  # seconds between two looks


class Remains:
    """What there is to take away.

    Args:
        sample: the image.
        called: AE title of the peer that it was sent to.
        orthanc: the REST API of that; None: there is none, and it stays there.
        node: where it came back.
        told: of what was taken away when we were interrupted.
        cleanup: returns the time by which that has to be over.

    Attributes:
        is_sent: whether the peer may have it.
        is_answered: whether it has said so, or that it has not.
        moved_to: its file at our node; None where there is none of ours.
    """

    def __init__(
        self,
        sample: Sample,
        called: str,
        orthanc: Orthanc | None,
        node: Inbound,
        told: Callable[[str], None],
        cleanup: Callable[[], Deadline],
    ) -> None:
        self._sample = sample
        self._uid = sample.file.sop_instance
        self._called = called
        self._orthanc = orthanc
        self._node = node
        self._told = told
        self._cleanup = cleanup
        self.is_sent = self.is_answered = False
        self.moved_to: Path | None = None

    def clear(self, is_interrupted: bool) -> None:
        """Take away what is left, here and there; of what was interrupted, what still comes about as well."""
        try:
            self._forget(_LATE if is_interrupted else 0.0)
            if self.is_sent:
                self._take_away()
        except KeyboardInterrupt:  # the first, for whoever runs us ignores another
            self._forget(_LATE)
            self._take_away()
            raise

    def leg(self) -> Leg:
        """Take it away at the peer, and tell of it."""
        started = perf_counter()
        orthanc, patient = self._orthanc, self._sample.patient
        if orthanc is None:
            where = f"it stays at {self._called}, the same one each time: Patient ID {patient}"
            return skipped("remove", f"there is no REST API to take it away by: {where}")
        orthanc.deadline = self._cleanup()
        try:
            count, why = orthanc.remove_object(self._uid), f"{orthanc.url} has it not"
        except OrthancError as error:
            count, why = 0, str(error)
        self.is_sent = False
        if count:
            words = Diagnosis("", f"{orthanc.url} has it no longer", "")
            return leg_of("remove", ImageOutcome.REMOVED, Standing.PASSED, words, since(started))
        words = diagnose("image.left", called=self._called, detail=why, patient=patient)
        return leg_of("remove", ImageOutcome.LEFT, Standing.FAILED, words, since(started))

    def _take_away(self) -> None:
        """Take it away after all: the legs did not come to their end, or failed; what was on its way may still come."""
        orthanc = self._orthanc
        if orthanc is None:
            return
        orthanc.deadline = self._cleanup()
        end = monotonic() + (0.0 if self.is_answered else _LATE)
        try:
            while not (count := orthanc.remove_object(self._uid)) and monotonic() < end:
                Event().wait(_LOOK)
        except OrthancError as error:
            words = diagnose("image.left", called=self._called, detail=str(error), patient=self._sample.patient)
            self._told(f"{words.reason}; fix: {words.fix}")
            return
        self.is_sent = False
        if count:
            self._told(f"{orthanc.url}: the image is taken away again")

    def _forget(self, late: float) -> None:
        """Remove it from what our node keeps; within *late* seconds, what was on its way may still come."""
        end = monotonic() + late
        while self.moved_to is not None and not self.moved_to.exists() and monotonic() < end:
            Event().wait(_LOOK)
        if self.moved_to is not None:
            with suppress(ControlError, OSError):
                self._node.forget(self._uid)
            self.moved_to = None
