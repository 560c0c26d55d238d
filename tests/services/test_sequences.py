"""Keys that are sequences (PS3.4 §C.2.2.2.6): what is kept of them, what matches, and what is answered."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from minipacs.services.index import Index
from minipacs.services.query import IdentifierFault, Query

from .objects import ROOT, data_set, identifier, write

STUDY = f"{ROOT}.1.1"


def item(**values: object) -> Dataset:
    return identifier(**values)


REQUESTS = [
    item(RequestedProcedureID="RP1", ScheduledProcedureStepID="SPS1", ScheduledProcedureStepDescription="Schädel"),
    item(RequestedProcedureID="RP1", ScheduledProcedureStepID="SPS2"),
]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    """Of a study, a series with two requests, one with another, and one with none."""
    with closing(Index(tmp_path / "index.sqlite")) as index:
        for number, requests in enumerate([REQUESTS, [item(ScheduledProcedureStepID="SPS3")], None], 1):
            data = data_set(
                number,
                SpecificCharacterSet="ISO_IR 100",
                SeriesInstanceUID=f"{ROOT}.2.{number}",
                SeriesNumber=str(number),
                RequestAttributesSequence=requests,
                ProcedureCodeSequence=[item(CodeValue="P5-09051", CodingSchemeDesignator="SRT", CodeMeaning="MR")],
            )
            index.add(write(tmp_path / "objects" / f"{number}.dcm", data))
        yield index


def series(index: Index, asked: object) -> list[tuple[int, list[Dataset]]]:
    """The numbers of the series that match, each with the items that are answered."""
    keys = identifier(StudyInstanceUID=STUDY, SeriesNumber="", RequestAttributesSequence=asked)
    return [(int(one.SeriesNumber), list(one.RequestAttributesSequence)) for one in index.find("STUDY", "SERIES", keys)]


MATCHES: dict[str, tuple[dict[str, Any], list[int]]] = {
    "single value": ({"ScheduledProcedureStepID": "SPS1"}, [1]),
    "wildcard": ({"ScheduledProcedureStepID": "SPS*"}, [1, 2]),
    "capitals": ({"ScheduledProcedureStepID": "sps1"}, []),
    "all in one item": ({"ScheduledProcedureStepID": "SPS2", "RequestedProcedureID": "RP1"}, [1]),
    "all, but in two items": (
        {"ScheduledProcedureStepID": "SPS2", "ScheduledProcedureStepDescription": "Sch*"},
        [],
    ),
    "universal": ({"ScheduledProcedureStepID": ""}, [1, 2, 3]),
    "one universal": ({"ScheduledProcedureStepID": "", "RequestedProcedureID": "RP1"}, [1]),
    "hostile": ({"ScheduledProcedureStepID": "' OR 1=1 --"}, []),
}


@pytest.mark.parametrize("name", MATCHES)
def test_an_entity_matches_where_one_of_its_items_does(index: Index, name: str) -> None:
    asked, expected = MATCHES[name]
    assert [number for number, _ in series(index, [item(**asked)])] == expected


def test_the_items_that_match_are_answered_with_what_was_asked_for(index: Index) -> None:
    asked = [item(ScheduledProcedureStepID="SPS1", ScheduledProcedureStepDescription="", RequestedProcedureID="")]
    [(_, [answer])] = series(index, asked)
    assert {one.keyword: one.value for one in answer} == {
        "RequestedProcedureID": "RP1",
        "ScheduledProcedureStepID": "SPS1",
        "ScheduledProcedureStepDescription": "Schädel",
    }
    [(_, [answer])] = series(index, [item(ScheduledProcedureStepID="SPS2", ScheduledProcedureStepDescription="")])
    assert answer.ScheduledProcedureStepDescription == "", "asked for, and without a value"
    assert "RequestedProcedureID" not in answer


@pytest.mark.parametrize("asked", [[], [item()]], ids=["no item", "empty item"])
def test_an_empty_key_asks_for_the_whole_sequence(index: Index, asked: object) -> None:
    assert series(index, asked) == [(1, REQUESTS), (2, [item(ScheduledProcedureStepID="SPS3")]), (3, [])]


def test_studies_are_found_by_the_code_of_their_procedure(index: Index) -> None:
    for code, count in (("P5-09051", 1), ("P5-0905", 0)):
        keys = identifier(ProcedureCodeSequence=[item(CodeValue=code, CodingSchemeDesignator="SRT")])
        assert len(list(index.find("STUDY", "STUDY", keys))) == count


def test_letters_match_in_whatever_character_set_they_are_asked_for(index: Index, tmp_path: Path) -> None:
    """Items have that of the data set (PS3.3 §C.12.1.1.2), also where they are read from bytes."""
    for character_set in ("ISO_IR 100", "ISO_IR 192"):
        data = data_set(9, SpecificCharacterSet=character_set)
        data.RequestAttributesSequence = [item(ScheduledProcedureStepDescription="Schädel")]
        data.StudyInstanceUID = STUDY
        from pydicom import dcmread

        for syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian):
            read = dcmread(write(tmp_path / "asked.dcm", data, syntax))
            keys = Dataset()
            for keyword in ("SpecificCharacterSet", "StudyInstanceUID", "RequestAttributesSequence"):
                tag = read.data_element(keyword).tag  # type: ignore[union-attr]
                keys[tag] = read.get_item(tag)
            keys.set_original_encoding(syntax.is_implicit_VR, syntax.is_little_endian, character_set)
            assert len(list(index.find("STUDY", "SERIES", keys))) == 1


@pytest.mark.parametrize(
    ("asked", "is_supported"),
    [
        (item(ScheduledProcedureStepID="SPS1"), True),
        (item(ScheduledProcedureStepID="SPS1", ScheduledProtocolCodeSequence=[]), False),
        (item(CodeValue="1"), False),
    ],
    ids=["kept", "also not kept", "not kept"],
)
def test_what_is_not_kept_of_an_item_is_told(index: Index, asked: Dataset, is_supported: bool) -> None:
    keys = identifier(StudyInstanceUID=STUDY, RequestAttributesSequence=[asked])
    query = Query("STUDY", "SERIES", keys)
    assert query.has_unsupported is not is_supported
    assert len(list(index.answers(query))) == (3 if "CodeValue" in asked else 1)


def test_a_sequence_of_several_items_is_refused(index: Index) -> None:
    with pytest.raises(IdentifierFault, match=r"^RequestAttributesSequence must be a sequence of one item$") as caught:
        series(index, [item(), item()])
    assert caught.value.tag == 0x00400275


def test_a_sequence_that_cannot_be_read_costs_nobody_the_object(tmp_path: Path) -> None:
    path = write(tmp_path / "objects" / "1.dcm", data_set(1, RequestAttributesSequence=REQUESTS))
    content = path.read_bytes()
    begins = content.index(b"\x40\x00\x75\x02SQ") + 12
    item = int.from_bytes(content[begins + 4 : begins + 8], "little")
    path.write_bytes(
        content[: begins + 8] + b"\x40\x00\x09\x00SQ" + b"\xff" * (item - 6) + content[begins + 8 + item :]
    )
    with closing(Index(tmp_path / "index.sqlite")) as index:
        index.add(path)
        keys = identifier(StudyInstanceUID=STUDY, RequestAttributesSequence=[])
        [answer] = index.find("STUDY", "SERIES", keys)
    assert list(answer.RequestAttributesSequence) == []
