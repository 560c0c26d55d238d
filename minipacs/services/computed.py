"""The attributes of queries that are counted or gathered from what is stored (PS3.4 §C.3.4, §C.6.2.1.2), as SQL."""

from __future__ import annotations

_SERIES_OF_STUDIES = "series AS s JOIN studies AS t ON s.parent = t.id"
_INSTANCES_OF_SERIES = "instances AS i JOIN series AS s ON i.parent = s.id"


def _count(what: str, where: str) -> str:
    return f"(SELECT count(*) FROM {what} WHERE {where})"


def _gathered(value: str, what: str, where: str) -> str:
    """The different values, with backslashes between them; empty where there are none."""
    values = f"SELECT DISTINCT {value} AS value FROM {what} WHERE {where} AND {value} <> '' ORDER BY 1"
    return f"coalesce((SELECT group_concat(value, '\\') FROM ({values})), '')"


EXPRESSIONS = {
    "NumberOfPatientRelatedStudies": _count("studies AS t", "t.parent = patients.id"),
    "NumberOfPatientRelatedSeries": _count(_SERIES_OF_STUDIES, "t.parent = patients.id"),
    "NumberOfPatientRelatedInstances": _count(
        f"{_INSTANCES_OF_SERIES} JOIN studies AS t ON s.parent = t.id", "t.parent = patients.id"
    ),
    "ModalitiesInStudy": _gathered("s.Modality", "series AS s", "s.parent = studies.id"),
    "SOPClassesInStudy": _gathered("i.SOPClassUID", _INSTANCES_OF_SERIES, "s.parent = studies.id"),
    "NumberOfStudyRelatedSeries": _count("series AS s", "s.parent = studies.id"),
    "NumberOfStudyRelatedInstances": _count(_INSTANCES_OF_SERIES, "s.parent = studies.id"),
    "NumberOfSeriesRelatedInstances": _count("instances AS i", "i.parent = series.id"),
    "AvailableTransferSyntaxUID": "instances.transfer_syntax",
}
"""Keyword → what SQL calls it."""
