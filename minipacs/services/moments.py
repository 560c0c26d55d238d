"""Dates and times of DICOM (DA, TM, DT; PS3.5 §6.2) as text that sorts as they do.

A value may leave out what it does not know, minutes or months; it then means all of them: it is a span of time.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_FORMS = {
    "DA": re.compile(r"(\d{4})\.?(\d\d)\.?(\d\d)", re.ASCII),  # with points: ACR-NEMA's, to be read still
    "TM": re.compile(r"(\d\d)(?::?(\d\d)(?::?(\d\d)(?:\.(\d{1,6}))?)?)?", re.ASCII),
    "DT": re.compile(
        r"(\d{4})(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:\.(\d{1,6}))?)?)?)?)?)?([+-]\d{4})?", re.ASCII
    ),
}

_RULES = {
    "DA": "must be YYYYMMDD, or a range of it such as 20240101-20240131, 20240101- or -20240131",
    "TM": "must be HH, HHMM, HHMMSS or HHMMSS.FFFFFF, or a range of it such as 0800-1159, 0800- or -1159",
    "DT": "must be YYYYMMDDHHMMSS.FFFFFF&ZZXX or its beginning, or a range of it",
}

# Digits, and the least and the most for each component that is not there.
_DATE, _TIME = (("0001", "9999"), ("01", "12"), ("01", "31")), (("00", "23"), ("00", "59"), ("00", "60"))
_FRACTION = ("000000", "999999")
_COMPONENTS = {"DA": _DATE, "TM": (*_TIME, _FRACTION), "DT": (*_DATE, *_TIME, _FRACTION)}


class MomentError(ValueError):
    """A date or a time that is none: the message says the rule."""


def moment(vr: str, value: str) -> str | None:
    """Return the beginning of a stored value, as text that sorts; None where there is none, or it is no such value.

    Times of a DT with an offset from UTC are those of UTC; those without are taken as they stand.
    """
    try:
        return _ends(vr, value.strip())[0]
    except MomentError:
        return None


def span(vr: str, key: str) -> tuple[str, str]:
    """Return beginning and end of the range that a *key* names (PS3.4 §C.2.2.2.5); empty where it is open.

    Raises:
        MomentError: it names none.
    """
    first, last = _halves(vr, key)
    if not first and not last:
        raise MomentError(_RULES[vr])
    return (_ends(vr, first)[0] if first else ""), (_ends(vr, last)[1] if last else "")


def _halves(vr: str, key: str) -> tuple[str, str]:
    """The two sides of the hyphen; the same twice where there is none."""
    form = _FORMS[vr]
    if form.fullmatch(key.strip()):  # for a DT, also with a hyphen that is the sign of its offset
        return key.strip(), key.strip()
    for hyphen in (place for place, letter in enumerate(key) if letter == "-"):
        first, last = key[:hyphen].strip(), key[hyphen + 1 :].strip()
        if all(not side or form.fullmatch(side) for side in (first, last)):
            return first, last
    raise MomentError(_RULES[vr])


def _ends(vr: str, value: str) -> tuple[str, str]:
    found = _FORMS[vr].fullmatch(value)
    if found is None:
        raise MomentError(_RULES[vr])
    offset = found.group(8) if vr == "DT" else None
    parts = found.groups()[: len(_COMPONENTS[vr])]
    for part, (least, most) in zip(parts[:-1] if vr != "DA" else parts, _COMPONENTS[vr], strict=False):
        if part is not None and not least <= part <= most:
            raise MomentError(_RULES[vr])
    ends = tuple(
        "".join(_filled(part, limits[side]) for part, limits in zip(parts, _COMPONENTS[vr], strict=True))
        for side in (0, 1)
    )
    return (_in_utc(ends[0], offset), _in_utc(ends[1], offset)) if offset else (ends[0], ends[1])


def _filled(part: str | None, absent: str) -> str:
    """A component with what is missing of it: a fraction of a second has as many digits as it is precise."""
    return (part or "") + absent[len(part or "") :]


def _in_utc(text: str, offset: str) -> str:
    """*text* has all components; the last day of an unknown month is taken as its 28th, or the date might not be."""
    distance = timedelta(hours=int(offset[1:3]), minutes=int(offset[3:5])) * (-1 if offset[0] == "-" else 1)
    for day in (text[6:8], "28"):
        try:
            leap = text[12:14] == "60"
            time = datetime.strptime(f"{text[:6]}{day}{text[8:12]}{'59' if leap else text[12:14]}", "%Y%m%d%H%M%S")
            return (time - distance).strftime("%Y%m%d%H%M%S").zfill(14) + text[14:]
        except (ValueError, OverflowError):
            continue
    return text
