"""KEY=VALUE as a person writes it → the identifier of a query (PS3.4 §C.1.1, §C.2.2.2)."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING

from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from minipacs.services.sop_classes import PATIENT_ROOT, STUDY_ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Level(StrEnum):
    """The levels of the information models (PS3.4 §C.6.1.1), as Query/Retrieve Level (0008,0052) has them."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"


UNIQUE_KEYS = {
    Level.PATIENT: "PatientID",
    Level.STUDY: "StudyInstanceUID",
    Level.SERIES: "SeriesInstanceUID",
    Level.IMAGE: "SOPInstanceUID",
}
"""Level → the key that names one entity of it."""

MODELS = {"patient": PATIENT_ROOT, "study": STUDY_ROOT}
"""The information models by the names that our command line has for them."""

_RETURNED = {
    Level.PATIENT: ("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    Level.STUDY: (
        "PatientName",
        "PatientID",
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "StudyDescription",
        "ModalitiesInStudy",
        "StudyInstanceUID",
    ),
    Level.SERIES: ("StudyInstanceUID", "Modality", "SeriesNumber", "SeriesDescription", "SeriesInstanceUID"),
    Level.IMAGE: ("StudyInstanceUID", "SeriesInstanceUID", "InstanceNumber", "SOPClassUID", "SOPInstanceUID"),
}

_TAG = re.compile(r"\(?([0-9A-Fa-f]{4}),?([0-9A-Fa-f]{4})\)?")
_OF_NUMBERS = frozenset({"US", "SS", "UL", "SL", "UV", "SV"})
_OF_REALS = frozenset({"FL", "FD"})


def query(keys: Iterable[str], level: Level, returned: Iterable[str] = ()) -> Dataset:
    """Return the identifier of a C-FIND-RQ.

    Args:
        keys: each ``KEY=VALUE``, or a key alone for any value; KEY is a keyword or a tag such as ``0010,0010``, with
            that of its sequence and a point before it where it is in one.
        level: whose entities are asked for.
        returned: keys to be told besides those that are usual for the level.

    Raises:
        ValueError: a key or a value is none; the message says which, and the rule.
    """
    identifier = Dataset()
    for name in (*_RETURNED[level], *returned):
        _add(identifier, name, "")
    for key in keys:
        _add(identifier, *_split(key))
    return _finished(identifier, level)


def asked_for(keys: Iterable[str], level: Level, returned: Iterable[str] = ()) -> tuple[BaseTag, ...]:
    """Return the tags of a query in the order in which a person reads them; the arguments are those of query()."""
    names = (*_RETURNED[level], *returned, *(_split(key)[0] for key in keys))
    return tuple(dict.fromkeys(tag_of(name.partition(".")[0]) for name in names))


def retrieval(keys: Iterable[str], level: Level | None = None) -> Dataset:
    """Return the identifier of a C-MOVE-RQ or C-GET-RQ, which has unique keys alone (PS3.4 §C.4.2.1.4).

    Args:
        keys: each ``KEY=VALUE``; of a UID, several stand with backslashes between.
        level: whose entities are retrieved; None: the lowest of which a key is given.

    Raises:
        ValueError: a key or a value is none; the message says which, and the rule.
    """
    identifier = Dataset()
    names = ", ".join(UNIQUE_KEYS.values())
    for key in keys:
        name, value = _split(key)
        if tag_of(name) not in map(Tag, UNIQUE_KEYS.values()):
            raise ValueError(f"{name}: must be one of {names}: find what has it first (minipacs find)")
        if not value or "*" in value or "?" in value:
            raise ValueError(f"{name}: must have a value, without wildcards, not {value!r}")
        _add(identifier, name, value)
    given = [level for level, keyword in UNIQUE_KEYS.items() if keyword in identifier]
    if not given:
        raise ValueError(f"no key: must have one of {names}")
    return _finished(identifier, level or given[-1])


def unique(values: Mapping[str, str], level: Level, returned: Iterable[str] = ()) -> Dataset:
    """Return the identifier of a C-FIND-RQ with these keys alone: no peer has a reason to refuse it.

    Args:
        values: unique key → its value; empty for one that is to be told.
        level: whose entities are asked for.
        returned: keywords to be told besides.
    """
    identifier = Dataset()
    for name, value in (*dict.fromkeys((UNIQUE_KEYS[level], *returned), "").items(), *values.items()):
        _add(identifier, name, value)
    return _finished(identifier, level)


def tag_of(name: str) -> BaseTag:
    """Return the tag for a keyword, or for a tag in digits.

    Raises:
        ValueError: it is neither.
    """
    if match := _TAG.fullmatch(name):
        return Tag(int(match[1], 16), int(match[2], 16))
    tag = tag_for_keyword(name) if name else None  # some tags have none
    if tag is None:
        raise ValueError(f"{name}: must be a keyword such as PatientName, or a tag such as 0010,0010{_nearest(name)}")
    return Tag(tag)


def _nearest(name: str) -> str:
    from difflib import get_close_matches

    known = dict.fromkeys((*(key for keys in _RETURNED.values() for key in keys), *UNIQUE_KEYS.values()))
    folded = {key.lower(): key for key in known}
    nearest = get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    return f"; did you mean {folded[nearest[0]]}?" if nearest else ""


def _split(key: str) -> tuple[str, str]:
    name, _, value = key.partition("=")
    return name.strip(), value


def _add(identifier: Dataset, name: str, value: str) -> None:
    outer, point, inner = name.partition(".")
    tag = tag_of(outer)
    try:
        vr = dictionary_VR(tag).split(" ", maxsplit=1)[0]
    except KeyError:
        raise ValueError(f"{outer}: must be a tag of the standard") from None
    if point and vr != "SQ":
        raise ValueError(f"{name}: must begin with a sequence; {outer} is none")
    if vr == "SQ":
        if value and not point:
            raise ValueError(f"{name}: must name what in the sequence has the value, such as {name}.CodeValue={value}")
        items = identifier[tag].value if tag in identifier else []
        if point:
            items = items or [Dataset()]
            _add(items[0], inner, value)
        identifier[tag] = DataElement(tag, vr, items)
        return
    try:
        typed = _typed(value, vr) if value else ""
        identifier[tag] = DataElement(tag, vr, typed, validation_mode=config.IGNORE)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"{name}: must be a value of type {vr}, not {value!r}") from None


def _typed(value: str, vr: str) -> object:
    if vr in _OF_NUMBERS:
        return int(value)
    return float(value) if vr in _OF_REALS else value


def _finished(identifier: Dataset, level: Level) -> Dataset:
    identifier.QueryRetrieveLevel = level.value
    if not all(str(element.value).isascii() for element in identifier.iterall()):
        identifier.SpecificCharacterSet = "ISO_IR 192"
    return identifier
