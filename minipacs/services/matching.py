"""When a key of a query matches a stored value (PS3.4 §C.2.2.2), as a condition of SQLite.

Kinds of matching: single value, list of UIDs, universal, wildcard and range; of sequences, `sequences` knows.
What a peer sent gets into no statement: it is handed over beside it, always.

More liberal than the standard asks for, where no other meaning is possible: ``*`` alone is universal matching of any
attribute, and several values that are no UIDs match where one of them does (§C.2.2.2.8 leaves it open, where nothing
else is agreed upon).
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import TYPE_CHECKING, TypeAlias

from minipacs.services.moments import MomentError, span

if TYPE_CHECKING:
    from collections.abc import Sequence

Condition: TypeAlias = tuple[str, list[object]]
"""A condition of SQL, and the values for its question marks."""

# §C.2.2.2.4. In the other string representations the characters are what they are, or cannot be.
_WILDCARD_VRS = {"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"}
_RANGE_VRS = {"DA", "TM", "DT"}
_NUMBER_VRS = {"IS", "DS", "US", "UL", "SS", "SL", "UV", "SV"}


_MOST_VALUES = 256  # of a key whose values are matched one by one; SQLite takes no more than a thousand conditions
_LONGEST_PATTERN = 50_000  # bytes, as SQLite has it


class KeyFault(ValueError):
    """A key whose value its attribute cannot have: the message says the rule."""


def fold(name: str) -> str:
    """Return a person name as names are compared.

    §C.2.2.2.1.1 and §C.2.2.2.4 leave it to us how. Here capitals do not count, accents do; trailing empty components
    (``^``) and component groups (``=``) do not (PS3.5 §6.2.1); and a composed letter is the same as a decomposed one.
    A key without ``=`` matches the whole name, or any of its component groups: alphabetic, ideographic or phonetic.
    """
    if not name.isascii():
        name = unicodedata.normalize("NFC", name)
    folded = name.casefold() if name.isascii() else unicodedata.normalize("NFC", name.casefold())
    groups = folded.split("=")
    return "=".join("^".join(part.strip() for part in group.split("^")).rstrip("^") for group in groups).rstrip("=")


def is_universal(values: Sequence[str]) -> bool:
    """Whether such a key matches everything, also what has no value (§C.2.2.2.3)."""
    return all(not value.strip("*") for value in values)


def condition(column: str, vr: str, values: Sequence[str], *, is_multiple: bool = False) -> Condition | None:
    """Return the condition for a *column* to match; None for universal matching.

    Args:
        column: what SQL calls it: our own text, never a peer's. It holds text, empty where there is no value; several
            values with backslashes between them.
        vr: value representation of the attribute.
        values: those of the key, without padding.
        is_multiple: whether the attribute may have several values, of which one has to match (§C.2.2.3).

    Raises:
        KeyFault: the attribute cannot have such a value.
    """
    if is_universal(values):
        return None
    values = [value for value in values if value]
    if vr == "UI":  # §C.2.2.2.2; by one parameter, however many there are
        one: Condition = ("{0} IN (SELECT value FROM json_each(?))", [json.dumps(values)])
        return _of_any(column, one) if is_multiple else (one[0].format(column), one[1])
    if len(values) > _MOST_VALUES:
        raise KeyFault(f"must have at most {_MOST_VALUES} values")
    clauses = []
    parameters: list[object] = []
    for value in values:
        clause, more = _one(column, vr, value, is_multiple)
        clauses.append(clause)
        parameters += more
    return f"({' OR '.join(clauses)})", parameters


def _one(column: str, vr: str, value: str, is_multiple: bool) -> Condition:
    if vr == "PN":
        return _of_any(column, _text("fold({0})", fold(value)), groups="=" not in value)
    if vr in _RANGE_VRS:
        one = _range(vr, value)
    elif vr in _NUMBER_VRS:
        one = _number(value)
    elif vr in _WILDCARD_VRS:
        one = _text("{0}", value)
    else:
        one = ("{0} = ?", [value])
    return _of_any(column, one) if is_multiple else (one[0].format(column), one[1])


def _text(column: str, value: str) -> Condition:
    """§C.2.2.2.1, or §C.2.2.2.4 by SQLite's GLOB, which counts capitals, and for which ``[`` begins a set."""
    if re.search(r"[*?]", value):
        pattern = re.sub(r"\*+", "*", value).replace("[", "[[]")
        if len(pattern.encode()) > _LONGEST_PATTERN:
            raise KeyFault(f"must have at most {_LONGEST_PATTERN} bytes where it has wildcards")
        return f"{column} GLOB ?", [pattern]
    return f"{column} = ?", [value]


def _number(value: str) -> Condition:
    """By what the digits mean, so that 7 is 007 (§C.2.2.2.1.4 leaves it to us)."""
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", value, re.ASCII):
        raise KeyFault("must be a number")
    return "({0} <> '' AND CAST({0} AS REAL) = ?)", [float(value)]


def datetimes(date: str, time: str, dates: Sequence[str], times: Sequence[str]) -> Condition | None:
    """Return the condition for a date and its time to lie in one range, from a moment to a moment (§C.2.2.2.5).

    Args:
        date: what SQL calls the date.
        time: likewise, the time of that day.
        dates: the values of the key for the date.
        times: likewise, for the time.

    Returns:
        None where the keys are not two ranges of one kind, so that each is matched by itself.

    Raises:
        KeyFault: the date or the time cannot have such a value.
    """
    if len(dates) != 1 or len(times) != 1 or is_universal(dates) or is_universal(times):
        return None
    of_date, of_time = _ends("DA", dates[0]), _ends("TM", times[0])
    ends = [(day + hour if day and hour else "") for day, hour in zip(of_date, of_time, strict=True)]
    if any(bool(day) != bool(hour) for day, hour in zip(of_date, of_time, strict=True)):
        return None
    return _between(f"({_moment('DA', date)} || {_moment('TM', time)})", *ends)


def _range(vr: str, value: str) -> Condition:
    """§C.2.2.2.5. Both ends belong to the range, each as wide as it is precise: 10 is the hour to its end."""
    return _between(_moment(vr, "{0}"), *_ends(vr, value))


def _ends(vr: str, value: str) -> tuple[str, str]:
    try:
        return span(vr, value)
    except MomentError as fault:
        raise KeyFault(str(fault)) from None


def _between(moment: str, first: str, last: str) -> Condition:
    clauses = [f"{moment} >= ?"] if first else []
    clauses += [f"{moment} <= ?"] if last else []
    return f"({' AND '.join(clauses)})", [end for end in (first, last) if end]


def _moment(vr: str, column: str) -> str:
    """A value as text that sorts. Nearly all dates and times have one form, for which SQLite has to call nobody."""
    digits, rest = {"DA": (8, "''"), "TM": (6, "'000000'")}.get(vr, (0, ""))
    moment = f"moment('{vr}', {column})"
    return (
        f"CASE WHEN {column} GLOB '{'[0-9]' * digits}' THEN {column} || {rest} ELSE {moment} END" if digits else moment
    )


def _of_any(column: str, one: Condition, *, groups: bool = False) -> Condition:
    """The condition *one*, of any value of several; or of any component group of a name, or of the name as a whole.

    `json_quote` doubles the backslashes between values; each pair becomes the border of two strings of an array. Most
    have one value, and most names one group.
    """
    values = f"SELECT value FROM json_each('[' || replace(json_quote({column}), '\\\\', '\",\"') || ']')"
    is_one = f"instr({column}, '\\') = 0"
    if groups:
        parts = f"SELECT value FROM json_each('[' || replace(replace(json_quote({column}), '\\\\', '\",\"'), '=', "
        parts += "'\",\"') || ']')"
        values = f"{values} UNION ALL {parts}"
        is_one += f" AND instr({column}, '=') = 0"
    of_any = f"EXISTS (SELECT 1 FROM ({values}) WHERE {one[0].format('value')})"
    return f"CASE WHEN {is_one} THEN {one[0].format(column)} ELSE {of_any} END", one[1] * 2
