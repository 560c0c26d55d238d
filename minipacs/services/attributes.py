"""The attributes that queries are answered by: at which level each is, and what its values look like.

They are those of the Patient Root and Study Root information models (PS3.4 §C.6.1.1, §C.6.2.1) that archives are asked
for. Where they are kept, and how they are matched, is known elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from msgspec import Struct
from pydicom.datadict import dictionary_VM, dictionary_VR, tag_for_keyword

if TYPE_CHECKING:
    from collections.abc import Iterator

Level: TypeAlias = Literal["PATIENT", "STUDY", "SERIES", "IMAGE"]
"""A value of Query/Retrieve Level (0008,0052), from the top of the hierarchy to its bottom."""

Model: TypeAlias = Literal["PATIENT", "STUDY"]
"""An information model, by the level at its root."""

LEVELS: tuple[Level, ...] = get_args(Level)


class Attribute(Struct, frozen=True):
    """One attribute.

    Attributes:
        keyword: its keyword (PS3.6).
        level: the level that it belongs to.
        tag: its tag.
        vr: its value representation (PS3.5 §6.2).
        is_multiple: whether it may have several values.
        is_computed: whether it is no part of the files, but counted or gathered from what is stored.
        items: of a sequence, the attributes that are kept of each of its items.
    """

    keyword: str
    level: Level
    tag: int
    vr: str
    is_multiple: bool
    is_computed: bool = False
    items: tuple[Attribute, ...] = ()


UNIQUE_KEYS: dict[Level, str] = {
    "PATIENT": "PatientID",
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}
"""The attribute that names one entity of a level (PS3.4 §C.2.2.1.1)."""

_STORED: dict[Level, str] = {
    "PATIENT": "PatientID PatientName IssuerOfPatientID PatientBirthDate PatientBirthTime PatientSex EthnicGroup "
    "PatientComments",
    "STUDY": "StudyInstanceUID StudyDate StudyTime AccessionNumber StudyID StudyDescription ReferringPhysicianName "
    "NameOfPhysiciansReadingStudy RequestingPhysician InstitutionName AdmittingDiagnosesDescription PatientAge "
    "PatientSize PatientWeight Occupation AdditionalPatientHistory",
    "SERIES": "SeriesInstanceUID Modality SeriesNumber SeriesDescription SeriesDate SeriesTime BodyPartExamined "
    "Laterality ProtocolName PerformingPhysicianName OperatorsName Manufacturer StationName "
    "PerformedProcedureStepStartDate PerformedProcedureStepStartTime FrameOfReferenceUID",
    "IMAGE": "SOPInstanceUID SOPClassUID InstanceNumber AcquisitionNumber AcquisitionDate AcquisitionTime "
    "AcquisitionDateTime ContentDate ContentTime ImageType ImageComments NumberOfFrames Rows Columns BitsAllocated "
    "PhotometricInterpretation",
}

_CODE = "CodeValue CodingSchemeDesignator CodingSchemeVersion CodeMeaning"  # PS3.3 §8.8
_REFERENCE = "ReferencedSOPClassUID ReferencedSOPInstanceUID"  # PS3.3 Table 10-11

_SEQUENCES: dict[Level, dict[str, str]] = {
    "PATIENT": {},
    "STUDY": {"ProcedureCodeSequence": _CODE, "ReferencedStudySequence": _REFERENCE},
    "SERIES": {
        "RequestAttributesSequence": "RequestedProcedureID RequestedProcedureDescription ScheduledProcedureStepID "
        "ScheduledProcedureStepDescription AccessionNumber StudyInstanceUID",
        "ReferencedPerformedProcedureStepSequence": _REFERENCE,
    },
    "IMAGE": {"ConceptNameCodeSequence": _CODE},  # of a report, its title
}

_COMPUTED: dict[Level, str] = {
    "PATIENT": "NumberOfPatientRelatedStudies NumberOfPatientRelatedSeries NumberOfPatientRelatedInstances",
    "STUDY": "ModalitiesInStudy SOPClassesInStudy NumberOfStudyRelatedSeries NumberOfStudyRelatedInstances",
    "SERIES": "NumberOfSeriesRelatedInstances",
    "IMAGE": "AvailableTransferSyntaxUID",
}


def _attribute(keyword: str, level: Level, *, is_computed: bool = False, items: str = "") -> Attribute:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    below = tuple(_attribute(one, level) for one in items.split())
    return Attribute(keyword, level, tag, dictionary_VR(tag), dictionary_VM(tag) != "1", is_computed, below)


def _attributes() -> Iterator[Attribute]:
    for level in LEVELS:
        yield from (_attribute(keyword, level) for keyword in _STORED[level].split())
        yield from (_attribute(keyword, level, items=items) for keyword, items in _SEQUENCES[level].items())
        yield from (_attribute(keyword, level, is_computed=True) for keyword in _COMPUTED[level].split())


ATTRIBUTES: dict[str, Attribute] = {one.keyword: one for one in _attributes()}
"""Keyword → attribute."""

STORED: dict[Level, tuple[Attribute, ...]] = {
    level: tuple(one for one in ATTRIBUTES.values() if one.level == level and not one.is_computed) for level in LEVELS
}
"""Those of each level that are read from the files; the unique key first."""
