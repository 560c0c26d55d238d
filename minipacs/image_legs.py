"""The legs of an image: the peer stores it, finds it, moves it back to us; it is compared, and taken away again."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Self

from msgspec import Struct

from minipacs.association_record import AssociationOutcome, AssociationRecord, shown_size, use_as_text
from minipacs.diagnosis import Diagnosis, diagnose
from minipacs.escape import escape
from minipacs.image_remains import Remains
from minipacs.inbound_leg import words_of
from minipacs.leg import Leg, Standing, leg_of, since, skipped
from minipacs.names import uid_name
from minipacs.services.caller import Caller
from minipacs.services.find_scu import Find
from minipacs.services.keys import Level, query, retrieval
from minipacs.services.object_files import place_of
from minipacs.services.retrieve_scu import Move
from minipacs.services.sample_image import compare, sample_in
from minipacs.services.sop_classes import FIND, MOVE
from minipacs.services.store_scu import ObjectOutcome, store
from minipacs.verdict import ImageOutcome, RegisteredOutcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from minipacs.bounded import Deadline
    from minipacs.inbound import Inbound
    from minipacs.inbound_leg import Arrivals
    from minipacs.orthanc import Orthanc
    from minipacs.outbound_legs import Caller as EchoCaller

LEGS = ("store", "find", "move", "compare", "remove")
"""In the order in which they run."""

_SHARE = 2  # of the time that is left, what one answer may take: the half
_INDEXING = 3.0  # seconds in which a peer that lists what it has stored a little later has listed it
_AGAIN = 0.25  # seconds between two queries for it
_GRACE = 1.5  # seconds in which what the peer has sent, or why it could not, is told by our node
_LOOK = 0.05  # seconds between two looks
_STUDY_ROOT = 1


class Trip(Struct, frozen=True):
    """Between whom the image travels.

    Attributes:
        caller: whom we call, and as whom.
        node: where the image is to come back.
        arrivals: what arrives there.
        orthanc: the peer's REST API, which knows that it is this peer's; None: there is none.
        registered: what that has for us; None without it.
        wanted: ``TITLE@HOST:PORT``, where the peer is to send to.
        scp_host: where the peer reaches us; empty: at the address that we call from.
        serving: the command by which our node runs, and stores.
    """

    caller: EchoCaller
    node: Inbound
    arrivals: Arrivals
    orthanc: Orthanc | None
    registered: Leg | None
    wanted: str
    scp_host: str
    serving: str


class ImageTrip:
    """An image on its way; at the end of a ``with`` block nothing is left of it that can be taken away.

    Args:
        trip: between whom.
        told: of what was taken away when we were interrupted.
        cleanup: returns the time by which that has to be over.
    """

    def __init__(self, trip: Trip, told: Callable[[str], None], cleanup: Callable[[], Deadline]) -> None:
        self._trip = trip
        self._told = told
        self._cleanup = cleanup
        self._called = trip.caller.peer.ae_title

    def __enter__(self) -> Self:
        """Make the image. Where it can be taken away, it has UIDs of its own; else it is the same one each time."""
        trip = self._trip
        self._folder = TemporaryDirectory(prefix="minipacs-")
        self._sample = sample_in(Path(self._folder.name), is_new=trip.orthanc is not None)
        self._uid = self._sample.file.sop_instance
        self._remains = Remains(self._sample, self._called, trip.orthanc, trip.node, self._told, self._cleanup)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take away what is left, here and there."""
        try:
            self._remains.clear(is_interrupted=kind is not None)
        finally:
            self._folder.cleanup()

    def legs(self) -> Iterator[Leg]:
        """Yield each leg when it is over."""
        leg = self._store()
        yield leg
        if leg.standing is Standing.FAILED:
            yield from _skipped(LEGS[1:], "nothing was stored")
            return
        yield self._find()
        leg = self._move()
        yield leg
        if leg.standing is Standing.FAILED:
            yield skipped("compare", "nothing came back")
        else:
            yield self._compare()
        yield self._remains.leg()

    # --- the legs -----------------------------------------------------------------------------------------------------

    def _store(self) -> Leg:
        started = perf_counter()
        file = self._sample.file
        self._remains.is_sent = True
        (result,) = store([file], self._caller())
        self._remains.is_answered = result.status is not None
        if result.outcome is ObjectOutcome.FAILED:
            words = Diagnosis(result.code, result.reason, result.fix)
            return leg_of("store", ImageOutcome.REFUSED, Standing.FAILED, words, since(started))
        what = f"{shown_size(file.size)} in {uid_name(result.sent_as)}"
        also = f"; {result.reason}" if result.reason else ""
        words = Diagnosis(result.code, f"{self._called} stored the sample, {what}{also}", "")
        standing = Standing.PASSED if result.outcome is ObjectOutcome.STORED else Standing.WARNED
        return leg_of("store", ImageOutcome.STORED, standing, words, since(started))

    def _find(self) -> Leg:
        started = perf_counter()
        end = monotonic() + min(_INDEXING, self._trip.caller.deadline.remaining())
        while True:
            find = Find(self._caller(), FIND[_STUDY_ROOT], query(self._sample.keys, Level.IMAGE))
            count = sum(str(match.get("SOPInstanceUID", "")) == self._uid for match in find)
            if count or find.failure or monotonic() > end:
                break
            Event().wait(_AGAIN)
        if count:
            words = Diagnosis("", f"{self._called} finds it by its UIDs", "")
            return leg_of("find", ImageOutcome.FOUND, Standing.PASSED, words, since(started))
        words = find.failure or diagnose("image.not-found", called=self._called, timeout=_INDEXING)
        return leg_of("find", ImageOutcome.MISSING, Standing.FAILED, words, since(started))

    def _move(self) -> Leg:
        started = perf_counter()
        node, title = self._trip.node, self._trip.caller.ae_title
        if node.storage is None:
            facts = {"where": node.where, "port": node.port, "serving": self._trip.serving}
            words = diagnose("image.no-storage", **facts)
            return leg_of("move", ImageOutcome.NOT_ARRIVED, Standing.FAILED, words, since(started))
        place = place_of(node.storage, self._uid)
        was_there = place.exists()
        self._trip.arrivals.pass_over()
        self._remains.moved_to = None if was_there else place  # what was there came otherwise, and stays
        move = Move(self._caller(), MOVE[_STUDY_ROOT], retrieval(self._sample.keys, Level.IMAGE), title)
        for _ in move:
            if monotonic() > self._trip.caller.deadline.at:
                break
        failure = move.failure
        is_unknown = failure is not None and failure.code == "move.destination"
        record = None if is_unknown else self._arrival(place, was_there)
        if failure is None and place.exists() and (not was_there or (record is not None and record.objects)):
            words = Diagnosis("", f"{self._called} looked {title} up in its table, and sent it here", "")
            return leg_of("move", ImageOutcome.RETURNED, Standing.PASSED, words, since(started))
        outcome, words = self._astray(failure, record)
        return leg_of("move", outcome, Standing.FAILED, words, since(started))

    def _compare(self) -> Leg:
        started = perf_counter()
        assert self._trip.node.storage is not None
        found = compare(self._sample.file.path, place_of(self._trip.node.storage, self._uid))
        detail = escape(found.detail)
        if found.is_same:
            words = Diagnosis("", f"the data set is the same, byte by byte: {detail}", "")
            return leg_of("compare", ImageOutcome.SAME, Standing.PASSED, words, since(started))
        row = "image.re-encoded" if found.has_same_values else "image.changed"
        outcome = ImageOutcome.ENCODED_ANEW if found.has_same_values else ImageOutcome.CHANGED
        standing = Standing.WARNED if found.has_same_values else Standing.FAILED
        words = diagnose(row, called=self._called, detail=detail)
        return leg_of("compare", outcome, standing, words, since(started))

    # --- inside -------------------------------------------------------------------------------------------------------

    def _caller(self) -> Caller:
        """Return how the next call is made, within the time that is left."""
        caller = self._trip.caller
        return Caller(
            peer=caller.peer,
            calling_ae_title=caller.ae_title,
            timeout=max(0.01, round(caller.deadline.remaining() / _SHARE, 2)),  # a number to read
            scp_port=caller.scp_port,
            tls=caller.tls,
            scp_host=self._trip.scp_host,
        )

    def _arrival(self, place: Path, was_there: bool) -> AssociationRecord | None:
        """Return what our node tells of the peer's call, at once where the image has come with it.

        The node tells of an association when that is over: some keep theirs open, for what else there may be to send.
        """
        end = min(self._trip.caller.deadline.at, monotonic() + _GRACE)
        last = None
        while monotonic() < end and (was_there or not place.exists()):
            for last in self._trip.arrivals.until(monotonic() + _LOOK):
                if last is self._trip.arrivals.last_call:
                    return last
        return last

    def _astray(self, failure: Diagnosis | None, record: AssociationRecord | None) -> tuple[ImageOutcome, Diagnosis]:
        """Say why the image did not come: by what our node saw, else by what Orthanc has, else by the peer's word."""
        title, registered = self._trip.caller.ae_title, self._trip.registered
        if record is not None and record.reason:
            is_rejected = record.outcome is AssociationOutcome.REJECTED
            outcome = ImageOutcome.REJECTED if is_rejected else ImageOutcome.NOT_ARRIVED
            return outcome, words_of(record, self._trip.arrivals)
        facts = {"called": self._called, "destination": title, "wanted": self._trip.wanted}
        if record is not None:
            seen = ", ".join([str(record.outcome), *use_as_text(record)])
            return ImageOutcome.NOT_ARRIVED, diagnose("image.not-kept", **facts, detail=seen)
        if failure is not None and registered is not None and registered.standing is Standing.FAILED:
            is_missing = registered.outcome == RegisteredOutcome.MISSING
            words = diagnose(
                "image.unregistered", **facts, detail=f"{failure.reason}; {registered.reason}", line=registered.fix
            )
            return ImageOutcome.UNLISTED if is_missing else ImageOutcome.NOT_ARRIVED, words
        if failure is not None:
            is_unknown = failure.code == "move.destination"
            return ImageOutcome.UNLISTED if is_unknown else ImageOutcome.NOT_ARRIVED, failure
        return ImageOutcome.NOT_ARRIVED, diagnose("image.elsewhere", **facts)


def all_skipped(why: str) -> Iterator[Leg]:
    """Yield the legs of an image that is not sent."""
    yield from _skipped(LEGS, why)


def _skipped(names: tuple[str, ...], why: str) -> Iterator[Leg]:
    return (skipped(name, why) for name in names)
