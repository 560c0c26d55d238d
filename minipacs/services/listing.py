"""What is stored, level by level, for the eyes of its owner: the columns of the list, and what they are filled with."""

from __future__ import annotations

from contextlib import closing, contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING

from minipacs.escape import escape
from minipacs.services import matching, tables
from minipacs.services.attributes import ATTRIBUTES, LEVELS, Attribute, Level
from minipacs.services.index import Index
from minipacs.services.query import column, joined

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

_COLUMNS: dict[Level, str] = {
    "PATIENT": "PatientID PatientName PatientBirthDate PatientSex NumberOfPatientRelatedStudies "
    "NumberOfPatientRelatedSeries NumberOfPatientRelatedInstances",
    "STUDY": "PatientID PatientName StudyDate StudyTime AccessionNumber ModalitiesInStudy StudyDescription "
    "NumberOfStudyRelatedSeries NumberOfStudyRelatedInstances StudyInstanceUID",
    "SERIES": "PatientID PatientName StudyDate Modality SeriesNumber SeriesDescription NumberOfSeriesRelatedInstances "
    "StudyInstanceUID SeriesInstanceUID",
    "IMAGE": "PatientID StudyDate Modality SeriesNumber InstanceNumber SOPClassUID AvailableTransferSyntaxUID "
    "SeriesInstanceUID SOPInstanceUID",
}

COLUMNS: dict[Level, tuple[str, ...]] = {level: tuple(keywords.split()) for level, keywords in _COLUMNS.items()}
"""The attributes that are listed of each level, by keyword; of objects, their file and its size besides."""

_WHAT: dict[Level, str] = {"PATIENT": "a patient", "STUDY": "a study", "SERIES": "a series", "IMAGE": "an object"}

_ORDER: dict[Level, str] = {
    "PATIENT": "PatientID",
    "STUDY": "StudyDate, StudyTime, studies.id",
    "SERIES": "StudyDate, studies.id, CAST(SeriesNumber AS INTEGER), series.id",
    "IMAGE": "StudyDate, studies.id, CAST(SeriesNumber AS INTEGER), series.id, CAST(InstanceNumber AS INTEGER)",
}


@contextmanager
def readable(file: Path, fill: Callable[[Index], object]) -> Iterator[sqlite3.Connection]:
    """Open the index in *file* to read it, during a ``with`` block; nothing is written.

    Args:
        file: the index.
        fill: fills one in memory from the objects, where there is none that can be trusted.

    Raises:
        StorageError: a file is there that is not ours.
    """
    connection = tables.to_read(file)
    if connection is not None:
        with closing(connection):
            yield connection
        return
    with closing(Index(file, tables.in_memory())) as index:
        fill(index)
        yield index.connection


def listed(reader: sqlite3.Connection, level: Level, keys: Mapping[str, str]) -> Iterator[dict[str, str | int]]:
    """Yield each entity of a level, the oldest study first: keyword → value; of objects, also ``path`` and ``size``.

    Args:
        reader: a connection to the index.
        level: what is listed.
        keys: keyword → value that has to match, as in a query (PS3.4 §C.2.2.2), of this level or one above.

    Raises:
        KeyFault: there is no such attribute, or it cannot have such a value; the message says the rule.
    """
    clauses: list[str] = []
    parameters: list[object] = []
    for keyword, value in keys.items():
        try:
            one = _condition(_attribute(keyword, level), value)
        except matching.KeyFault as fault:
            raise matching.KeyFault(f"{escape(keyword)}={escape(value)}: {fault}") from None
        if one is not None:
            clauses.append(one[0])
            parameters += one[1]
    where = f" WHERE {' AND '.join(clauses)}" if clauses else ""
    columns = [column(ATTRIBUTES[keyword]) for keyword in COLUMNS[level]]
    names = [*COLUMNS[level]]
    if level == "IMAGE":
        columns += ["path", "size"]
        names += ["path", "size"]
    sql = f"SELECT {', '.join(columns)} FROM {joined(level)}{where} ORDER BY {_ORDER[level]}"
    for row in reader.execute(sql, parameters):
        yield {name: _number(name, value) for name, value in zip(names, row, strict=True)}


def _attribute(keyword: str, level: Level) -> Attribute:
    attribute = ATTRIBUTES.get(keyword)
    if attribute is None or attribute.items:
        known = {one.lower(): one for one, attribute in ATTRIBUTES.items() if not attribute.items}
        near = get_close_matches(keyword.lower(), known, n=1)
        meant = f"; did you mean {known[near[0]]}?" if near else ""
        raise matching.KeyFault(f"must be the keyword of an attribute that is kept, such as PatientName{meant}")
    if LEVELS.index(attribute.level) > LEVELS.index(level):
        rule = f"must be an attribute of {_WHAT[level]} or of what it belongs to"
        raise matching.KeyFault(f"{rule}; {keyword} is one of {_WHAT[attribute.level]}")
    return attribute


def _condition(attribute: Attribute, value: str) -> matching.Condition | None:
    values = value.split("\\")
    return matching.condition(column(attribute), attribute.vr, values, is_multiple=attribute.is_multiple)


def _number(name: str, value: str | int) -> str | int:
    return int(value) if name.startswith("NumberOf") else value
