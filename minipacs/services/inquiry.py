"""What a peer is about to send us, asked by C-FIND before a C-GET: of which SOP classes, in which transfer syntaxes.

A C-GET has to propose what it takes before a single object is known (PS3.4 §C.4.3.3), and an association has not enough
presentation contexts for all that there is. Not every peer tells: then nothing is known, which is no failure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynetdicom import build_context

from minipacs.echo_result import Outcome
from minipacs.recognition import Failed
from minipacs.rules import is_uid
from minipacs.services.calling import GONE, Calling
from minipacs.services.keys import UNIQUE_KEYS, Level, tag_of, unique
from minipacs.services.sop_classes import FIND, GET, UNCOMPRESSED
from minipacs.services.statuses import SUCCESS, failure, is_pending
from minipacs.services.texts import text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydicom.dataset import Dataset

    from minipacs.services.caller import Caller

    Kinds = Mapping[str, frozenset[str]]

_MOST_QUERIES = 200
_SOP_CLASSES_IN_STUDY, _SOP_CLASS, _SYNTAXES = "SOPClassesInStudy", "SOPClassUID", "AvailableTransferSyntaxUID"
_ORDER = tuple(Level)


class Inquiry:
    """The question; it is asked once.

    Args:
        caller: whom it asks, and how.
        sop_class: UID of the class of the information model by which the objects are going to be fetched.
        identifier: of the C-GET: which objects.
    """

    def __init__(self, caller: Caller, sop_class: str, identifier: Dataset) -> None:
        self._caller = caller
        self._model = GET.index(sop_class)
        self._level = Level(identifier.QueryRetrieveLevel)
        self._given = {key: text_of(identifier, tag_of(key), "") for key in UNIQUE_KEYS.values() if key in identifier}
        self._calling = Calling(caller, [build_context(FIND[self._model], list(UNCOMPRESSED))])
        self._is_cancelled = False
        self._queries = 0

    @property
    def local_address(self) -> str:
        """The IP address that we call from; empty before the connection is open."""
        return self._calling.local_address

    def kinds(self) -> Kinds:
        """Return UID of SOP class → UIDs of transfer syntaxes, of which none is known where there are none.

        Returns:
            Nothing where the peer does not tell of each object, or we are cancelled.

        Raises:
            Failed: the peer cannot be had at all.
        """
        try:
            with self._calling:
                return self._kinds() if self._calling.accepted else {}
        except Failed as failed:
            if failed.outcome in GONE:
                raise
            return {}

    def cancel(self) -> None:
        """End it, from another thread."""
        self._is_cancelled = True
        self._calling.cut()

    def _kinds(self) -> Kinds:
        if self._level in {Level.SERIES, Level.IMAGE}:
            return self._of_images(self._given)
        studies = [
            (_unique_keys(study, Level.PATIENT, Level.STUDY), _uids(study, _SOP_CLASSES_IN_STUDY))
            for study in self._matches(Level.STUDY, self._given, _SOP_CLASSES_IN_STUDY)
        ]
        told = [sop_classes for _, sop_classes in studies]
        if all(told):
            return dict.fromkeys(sorted(frozenset().union(*told)), frozenset())
        kinds: dict[str, frozenset[str]] = {}
        for study, _ in studies:
            above = self._given | study
            of_study = [_unique_keys(series, Level.SERIES) for series in self._matches(Level.SERIES, above)]
            for series in of_study:  # one query at a time
                of_series = self._of_images(above | series)
                if not of_series:  # who does not tell it of one does not tell it of the others
                    return {}
                for sop_class, syntaxes in of_series.items():
                    kinds[sop_class] = _with(kinds.get(sop_class), syntaxes)
        return kinds

    def _of_images(self, above: Mapping[str, str]) -> Kinds:
        kinds: dict[str, frozenset[str]] = {}
        for image in self._matches(Level.IMAGE, above, _SOP_CLASS, _SYNTAXES):
            sop_class = next(iter(_uids(image, _SOP_CLASS)), "")  # empty where it is not told
            kinds[sop_class] = _with(kinds.get(sop_class), _uids(image, _SYNTAXES))
        return kinds if "" not in kinds else {}

    def _matches(self, level: Level, above: Mapping[str, str], *wanted: str) -> Iterator[Dataset]:
        """Ask once, and yield the matches.

        Raises:
            Failed: the peer does not answer as it should, or was asked too often.
        """
        self._queries += 1
        if self._is_cancelled or self._queries > _MOST_QUERIES:
            raise Failed(Outcome.FAILURE, "query.cancelled")
        identifier = unique(self._known(level, above), level, wanted)
        for status, match in self._calling.responses(
            lambda association: association.send_c_find(identifier, FIND[self._model], msg_id=self._queries),
            self._queries,
        ):
            code = int(status.Status)
            if is_pending(code) and match is not None:
                yield match
            elif code != SUCCESS:
                raise failure("C-FIND", code)

    def _known(self, level: Level, above: Mapping[str, str]) -> dict[str, str]:
        """The unique keys down to *level*, which are all that hierarchical queries may have (PS3.4 §C.4.1.2.1)."""
        keys = [UNIQUE_KEYS[each] for each in _ORDER[: _ORDER.index(level) + 1]]
        if self._model and level is not Level.STUDY:  # Study Root has patients at the level of studies (§C.6.2.1)
            keys.remove(UNIQUE_KEYS[Level.PATIENT])
        elif level is Level.STUDY:
            above = {UNIQUE_KEYS[Level.PATIENT]: "", **above}  # to be told, for the levels below
        return {key: above[key] for key in keys if key in above}


def _unique_keys(match: Dataset, *levels: Level) -> dict[str, str]:
    keys = {UNIQUE_KEYS[level]: _text(match, UNIQUE_KEYS[level]) for level in levels}
    return {keyword: value for keyword, value in keys.items() if value}


def _uids(match: Dataset, keyword: str) -> frozenset[str]:
    """What is a UID of the values that a peer gave; whatever else there is, is none."""
    return frozenset(filter(is_uid, _text(match, keyword).split("\\")))


def _text(match: Dataset, keyword: str) -> str:
    """The value that a peer gave; none where it cannot be read."""
    try:
        return text_of(match, tag_of(keyword), "LO" if keyword == UNIQUE_KEYS[Level.PATIENT] else "UI")
    except (LookupError, ValueError):
        return ""


def _with(known: frozenset[str] | None, more: frozenset[str]) -> frozenset[str]:
    """All of both; none where they are not told of every object."""
    if known is None:
        return more
    return known | more if known and more else frozenset()
