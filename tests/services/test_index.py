"""The index: what is listed of the files, what survives damage, and what is asked of it from several threads."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit

from minipacs.services.attributes import Level, Model
from minipacs.services.header import HeaderError
from minipacs.services.index import Index
from minipacs.services.query import IdentifierFault, Query
from minipacs.services.tables import TABLES, connect

from .objects import CT, MR, ROOT, data_set, identifier, write

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value", "ignore:The value length", "ignore:The PN component")


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with closing(Index(tmp_path / "index.sqlite")) as index:
        yield index


def keep(index: Index, data: Dataset, *arguments: object) -> Path:
    path = write(index.file.parent / "objects" / f"{data.SOPInstanceUID}.dcm", data, *arguments)  # type: ignore[arg-type]
    index.add(path)
    return path


def found(index: Index, level: Level = "STUDY", model: Model = "STUDY", **keys: Any) -> list[Dataset]:
    return list(index.find(model, level, identifier(**keys)))


# --- levels and what is counted -------------------------------------------------------------------------------------


@pytest.fixture
def two_patients(index: Index) -> Index:
    """P1 with a study of CT (2 objects) and MR (1), and another of CT; P2 with one object."""
    keep(index, data_set(1))
    keep(index, data_set(2))
    keep(index, data_set(3, Modality="MR", SOPClassUID=MR, SeriesInstanceUID=f"{ROOT}.2.2", SeriesNumber="2"))
    keep(index, data_set(4, StudyInstanceUID=f"{ROOT}.1.2", SeriesInstanceUID=f"{ROOT}.2.3", StudyDate="20240301"))
    keep(
        index,
        data_set(
            5,
            PatientID="P2",
            PatientName="Other^Olaf",
            StudyInstanceUID=f"{ROOT}.1.3",
            SeriesInstanceUID=f"{ROOT}.2.4",
        ),
    )
    return index


def test_patients_are_counted(two_patients: Index) -> None:
    counts = [f"NumberOfPatientRelated{what}" for what in ("Studies", "Series", "Instances")]
    answers = list(two_patients.find("PATIENT", "PATIENT", identifier(PatientID="", **dict.fromkeys(counts, ""))))
    assert [(one.PatientID, *(one[count].value for count in counts)) for one in answers] == [
        ("P1", 2, 3, 4),
        ("P2", 1, 1, 1),
    ]


def test_studies_tell_of_their_series(two_patients: Index) -> None:
    [study] = found(
        two_patients,
        StudyInstanceUID=f"{ROOT}.1.1",
        ModalitiesInStudy=None,
        SOPClassesInStudy=None,
        NumberOfStudyRelatedSeries="",
        NumberOfStudyRelatedInstances="",
    )
    assert list(study.ModalitiesInStudy) == ["CT", "MR"]
    assert list(study.SOPClassesInStudy) == [CT, MR]
    assert (study.NumberOfStudyRelatedSeries, study.NumberOfStudyRelatedInstances) == (2, 3)


@pytest.mark.parametrize(("modality", "count"), [("MR", 1), ("CT", 3), ("US", 0), (["MR", "US"], 1), ("M?", 1)])
def test_studies_are_found_by_what_is_in_them(two_patients: Index, modality: object, count: int) -> None:
    assert len(found(two_patients, ModalitiesInStudy=modality)) == count


def test_series_and_objects_are_found_below_what_they_belong_to(two_patients: Index) -> None:
    series = found(
        two_patients, "SERIES", StudyInstanceUID=f"{ROOT}.1.1", Modality="", NumberOfSeriesRelatedInstances=""
    )
    assert [(one.Modality, one.NumberOfSeriesRelatedInstances) for one in series] == [("CT", 2), ("MR", 1)]
    images = found(
        two_patients,
        "IMAGE",
        StudyInstanceUID=f"{ROOT}.1.1",
        SeriesInstanceUID=f"{ROOT}.2.1",
        InstanceNumber="",
        Rows=None,
        AvailableTransferSyntaxUID="",
    )
    assert [(one.SOPInstanceUID, one.InstanceNumber, one.Rows) for one in images] == [
        (f"{ROOT}.3.1", 1, 16),
        (f"{ROOT}.3.2", 2, 16),
    ]


def test_what_a_level_holds_may_be_asked_for_from_below(two_patients: Index) -> None:
    [answer] = found(two_patients, "SERIES", StudyInstanceUID=f"{ROOT}.1.3", PatientName="other*", StudyDate="")
    assert (answer.PatientName, answer.StudyDate) == ("Other^Olaf", "20240115")
    assert found(two_patients, "SERIES", StudyInstanceUID=f"{ROOT}.1.3", PatientName="phantom*") == []


def test_every_answer_has_the_unique_key_of_its_level(two_patients: Index) -> None:
    assert {one.StudyInstanceUID for one in found(two_patients, PatientID="P1")} == {f"{ROOT}.1.1", f"{ROOT}.1.2"}


RULES: dict[str, tuple[Model, Level, dict[str, Any], str]] = {
    "no study": (
        "STUDY",
        "SERIES",
        {"SeriesInstanceUID": ""},
        "StudyInstanceUID must be one value in a query at level SERIES",
    ),
    "any study": ("STUDY", "SERIES", {"StudyInstanceUID": ""}, "StudyInstanceUID must be one value"),
    "two studies": ("STUDY", "SERIES", {"StudyInstanceUID": ["1.2", "1.3"]}, "StudyInstanceUID must be one value"),
    "no series": ("STUDY", "IMAGE", {"StudyInstanceUID": "1.2"}, "SeriesInstanceUID must be one value"),
    "no patient": ("PATIENT", "STUDY", {"StudyInstanceUID": "1.2"}, "PatientID must be one value"),
    "any patient": ("PATIENT", "STUDY", {"PatientID": "P*"}, "PatientID must be one value"),
    "patients of Study Root": (
        "STUDY",
        "PATIENT",
        {"PatientID": ""},
        "Query/Retrieve Level must be STUDY, SERIES or IMAGE",
    ),
    "date": ("STUDY", "STUDY", {"StudyDate": "2024*"}, r"StudyDate must be YYYYMMDD.*, not 2024\*"),
    "time": ("STUDY", "STUDY", {"StudyTime": "late"}, "StudyTime must be HH.*, not late"),
}


@pytest.mark.parametrize("rule", RULES)
def test_an_identifier_keeps_the_rules_of_its_model(index: Index, rule: str) -> None:
    model, level, keys, message = RULES[rule]
    with pytest.raises(IdentifierFault, match=message):
        index.find(model, level, identifier(**keys))


def test_a_retrieve_request_names_what_it_wants(two_patients: Index) -> None:
    def named(model: Model, level: Level, **keys: Any) -> list[str]:
        return [one.sop_instance_uid for one in two_patients.objects(model, level, identifier(**keys))]

    objects = [f"{ROOT}.3.{number}" for number in range(6)]
    assert named("PATIENT", "PATIENT", PatientID="P1") == objects[1:5]
    assert named("STUDY", "STUDY", StudyInstanceUID=[f"{ROOT}.1.1", f"{ROOT}.1.3"]) == [*objects[1:4], objects[5]]
    keys = {"StudyInstanceUID": f"{ROOT}.1.1", "SeriesInstanceUID": f"{ROOT}.2.1"}
    assert named("STUDY", "SERIES", **keys) == objects[1:3]
    assert named("STUDY", "IMAGE", **keys, SOPInstanceUID=objects[2]) == [objects[2]]
    assert named("STUDY", "STUDY", StudyInstanceUID="1.2.3") == []
    with pytest.raises(IdentifierFault, match="StudyInstanceUID must name what is to be sent"):
        named("STUDY", "STUDY", PatientID="P1")
    for several in ("P*", ["P1", "P2"]):
        with pytest.raises(IdentifierFault, match="PatientID must name what is to be sent"):
            named("PATIENT", "PATIENT", PatientID=several)


def test_an_object_is_known_with_what_sending_it_needs(index: Index) -> None:
    path = keep(index, data_set(1), JPEGBaseline8Bit)
    [stored] = index.objects("STUDY", "STUDY", identifier(StudyInstanceUID=f"{ROOT}.1.1"))
    assert (stored.sop_class_uid, stored.transfer_syntax_uid) == (CT, JPEGBaseline8Bit)
    assert (stored.path, stored.size) == (path, path.stat().st_size)


PLANS: dict[str, tuple[Level, dict[str, Any]]] = {
    "patient": ("STUDY", {"PatientID": "P1"}),
    "patients": ("STUDY", {"PatientID": "P*"}),
    "study": ("STUDY", {"StudyInstanceUID": f"{ROOT}.1.1", "NumberOfStudyRelatedInstances": ""}),
    "studies": ("STUDY", {"StudyInstanceUID": ["1.2", "1.3"], "ModalitiesInStudy": ""}),
    "series": ("SERIES", {"StudyInstanceUID": f"{ROOT}.1.1", "SeriesInstanceUID": ""}),
    "images": ("IMAGE", {"StudyInstanceUID": f"{ROOT}.1.1", "SeriesInstanceUID": f"{ROOT}.2.1", "SOPInstanceUID": ""}),
    "image": ("IMAGE", {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.3", "SOPInstanceUID": "1.4"}),
}


@pytest.mark.parametrize("name", PLANS)
def test_what_is_asked_for_by_a_unique_key_is_looked_up(two_patients: Index, name: str) -> None:
    level, keys = PLANS[name]
    query = Query("STUDY", level, identifier(**keys))
    with closing(connect(two_patients.file)) as connection:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query.sql}", query.parameters)]
    assert not [step for step in plan if step.startswith(tuple(f"SCAN {table}" for table in TABLES.values()))]


# --- what is in the files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transfer_syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, JPEGBaseline8Bit])
def test_files_are_read_in_any_encoding(index: Index, transfer_syntax: object) -> None:
    keep(index, data_set(1), transfer_syntax)
    [answer] = found(index, "IMAGE", StudyInstanceUID=f"{ROOT}.1.1", SeriesInstanceUID=f"{ROOT}.2.1", Rows=None)
    assert answer.Rows == 16


SETS = {
    "ISO_IR 100": "Müller^Jörg",
    "ISO_IR 144": "Люкceмбypг",
    "ISO_IR 192": "山田^太郎",
    "GB18030": "王^小东",
    "ISO 2022 IR 87": "Yamada^Tarou=山田^太郎",
}


@pytest.mark.parametrize("character_set", SETS)
def test_names_are_found_in_any_character_set(index: Index, character_set: str) -> None:
    name = SETS[character_set]
    theirs = ["", character_set] if character_set.startswith("ISO 2022") else character_set
    keep(index, data_set(1, SpecificCharacterSet=theirs, PatientName=name))
    for asked_in in (theirs, "ISO_IR 192"):
        [answer] = found(index, SpecificCharacterSet=asked_in, PatientName=name)
        assert str(answer.PatientName) == name
        assert answer.SpecificCharacterSet == (asked_in if isinstance(asked_in, str) else "ISO_IR 192")
    [answer] = found(index, PatientName="")
    assert answer.SpecificCharacterSet == "ISO_IR 192"


def test_ascii_answers_name_no_character_set(index: Index) -> None:
    keep(index, data_set(1))
    [answer] = found(index, SpecificCharacterSet="ISO_IR 100", PatientName="")
    assert "SpecificCharacterSet" not in answer


def test_values_that_break_their_rule_are_kept_and_answered_where_they_can_be(index: Index) -> None:
    keep(index, data_set(1, StudyDate="1997.04.24", StudyID="x" * 40, PatientName="A" * 100))
    [answer] = found(index, StudyDate="19970101-19971231", StudyID="", PatientName="")
    assert (answer.StudyDate, answer.StudyID, str(answer.PatientName)) == ("1997.04.24", "x" * 40, "A" * 100)


def test_patients_without_an_id_are_not_taken_for_one(index: Index) -> None:
    keep(index, data_set(1, PatientID="", PatientName="Known^Kim"))
    keep(index, data_set(2, PatientID=None, PatientName=None, StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.4"))
    assert sorted(str(one.PatientName) for one in found(index, PatientName="")) == ["", "Known^Kim"]


def test_what_one_object_leaves_empty_another_fills(index: Index) -> None:
    keep(index, data_set(1, StudyDescription="Head"))
    keep(index, data_set(2, StudyDescription=""))
    assert [one.StudyDescription for one in found(index, StudyDescription="")] == ["Head"]


UNLISTED = {
    "text": b"this is no DICOM file",
    "empty": b"",
    "preamble": bytes(128) + b"DICM",
    "cut short": bytes(128) + b"DICM" + b"\x02\x00\x00\x00UL\x04\x00\xff\xff\xff\x7f",
}


@pytest.mark.parametrize("name", UNLISTED)
def test_what_is_no_object_is_not_listed(index: Index, tmp_path: Path, name: str) -> None:
    path = tmp_path / "file.dcm"
    path.write_bytes(UNLISTED[name])
    with pytest.raises(HeaderError):
        index.add(path)
    assert len(index) == 0


def test_an_object_without_its_study_is_not_listed(index: Index) -> None:
    with pytest.raises(HeaderError, match=r"^it has no StudyInstanceUID$"):
        keep(index, data_set(1, StudyInstanceUID=None))


# --- the files change -----------------------------------------------------------------------------------------------


def test_another_object_in_a_file_takes_the_place_of_the_first(index: Index) -> None:
    keep(index, data_set(1))
    keep(index, data_set(1, StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.4", PatientID="P2"))
    assert [one.StudyInstanceUID for one in found(index, StudyInstanceUID="")] == ["1.2.3"]
    assert [one.PatientID for one in found(index, "PATIENT", "PATIENT", PatientID="")] == ["P2"]


def test_with_the_last_object_its_series_study_and_patient_go(two_patients: Index) -> None:
    folder = two_patients.file.parent / "objects"
    two_patients.remove(folder / f"{ROOT}.3.3.dcm")
    [study] = found(two_patients, StudyInstanceUID=f"{ROOT}.1.1", NumberOfStudyRelatedSeries="")
    assert study.NumberOfStudyRelatedSeries == 1
    two_patients.remove(folder / f"{ROOT}.3.5.dcm")
    assert [one.PatientID for one in found(two_patients, "PATIENT", "PATIENT", PatientID="")] == ["P1"]
    two_patients.remove(folder / "never-there.dcm")
    assert len(two_patients) == 3


def test_the_oldest_is_the_one_that_was_stored_first(index: Index) -> None:
    assert index.oldest() is None
    first, second = keep(index, data_set(1)), keep(index, data_set(2))
    assert index.oldest() == first
    index.remove(first)
    assert index.oldest() == second


def test_it_catches_up_with_the_files(two_patients: Index) -> None:
    folder = two_patients.file.parent / "objects"
    (folder / f"{ROOT}.3.5.dcm").unlink()
    write(folder / f"{ROOT}.3.6.dcm", data_set(6, PatientName="Changed^Chris"))
    write(folder / f"{ROOT}.3.1.dcm", data_set(1, PatientName="Changed^Chris", StudyDescription="Neck and shoulders"))
    (folder / "broken.dcm").write_bytes(b"broken")
    failed: list[str] = []
    told: list[int] = []
    added, removed = two_patients.catch_up(folder.glob("*.dcm"), told.append, lambda path, _: failed.append(path.name))
    assert (added, removed, failed, told) == (2, 1, ["broken.dcm"], [6])
    assert len(two_patients) == 5
    assert {str(one.PatientName) for one in found(two_patients, PatientName="")} == {"Changed^Chris"}
    assert two_patients.catch_up(folder.glob(f"{ROOT}*.dcm")) == (0, 0)


def test_it_is_made_again_from_the_files(two_patients: Index) -> None:
    before = sorted(map(str, found(two_patients, PatientName="", StudyDate="", ModalitiesInStudy=None)))
    assert two_patients.rebuild((two_patients.file.parent / "objects").glob("*.dcm")) == 5
    assert sorted(map(str, found(two_patients, PatientName="", StudyDate="", ModalitiesInStudy=None))) == before


def test_what_comes_while_it_catches_up_stays_listed(two_patients: Index) -> None:
    paths = sorted((two_patients.file.parent / "objects").iterdir())
    two_patients.catch_up(paths[1:])
    assert len(two_patients) == len(paths)


def test_the_folder_may_be_moved(two_patients: Index, tmp_path: Path) -> None:
    two_patients.close()
    moved = tmp_path.with_name(f"{tmp_path.name}-moved")
    tmp_path.rename(moved)
    with closing(Index(moved / "index.sqlite")) as index:
        assert not index.is_new
        assert all(one.path.exists() for one in index.objects("PATIENT", "PATIENT", identifier(PatientID="P1")))


# --- damage ---------------------------------------------------------------------------------------------------------


def spoilt(file: Path, how: str) -> None:
    if how == "noise":
        file.write_bytes(file.read_bytes()[:100] + b"not a database" * 500)
    elif how == "cut":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "page":
        data = bytearray(file.read_bytes())
        for start in range(4096, len(data), 4096):
            data[start : start + 64] = bytes(range(64))
        file.write_bytes(data)
    else:
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA user_version = 4711")


@pytest.mark.parametrize("how", ["noise", "cut", "empty", "page", "version"])
def test_an_index_that_cannot_be_trusted_begins_anew(two_patients: Index, how: str) -> None:
    two_patients.close()
    spoilt(two_patients.file, how)
    with closing(Index(two_patients.file)) as index:
        assert index.is_new
        assert len(index) == 0
        assert index.catch_up((index.file.parent / "objects").glob("*.dcm")) == (5, 0)
        assert len(found(index, StudyInstanceUID="")) == 3
    with closing(Index(two_patients.file)) as index:
        assert not index.is_new
        assert len(index) == 5


def test_a_folder_that_is_not_there_is_told_and_nothing_is_removed(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        Index(tmp_path / "nowhere" / "index.sqlite")


# --- threads and processes ------------------------------------------------------------------------------------------


def test_several_threads_add_and_ask_at_once(index: Index) -> None:
    objects = [
        write(
            index.file.parent / "objects" / f"{number}.dcm",
            data_set(number, StudyInstanceUID=f"1.2.{number % 7}", SeriesInstanceUID=f"1.3.{number % 11}"),
        )
        for number in range(1, 121)
    ]
    errors: list[BaseException] = []

    def run(part: list[Path]) -> None:
        try:
            for path in part:
                index.add(path)
                assert found(index, StudyInstanceUID="", NumberOfStudyRelatedInstances="")
        except BaseException as error:  # noqa: BLE001 - for the thread of the test
            errors.append(error)

    threads = [threading.Thread(target=run, args=(objects[start::6],)) for start in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert len(index) == 120
    answers = found(index, StudyInstanceUID="", NumberOfStudyRelatedInstances="")
    assert sum(one.NumberOfStudyRelatedInstances for one in answers) == 120


def test_another_process_may_make_it_again_meanwhile(two_patients: Index) -> None:
    paths = list((two_patients.file.parent / "objects").glob("*.dcm"))
    with closing(Index(two_patients.file)) as other:
        answers = two_patients.find("STUDY", "STUDY", identifier(StudyInstanceUID=""))
        first = next(answers)
        assert other.rebuild(paths) == 5
        keep(two_patients, data_set(9))
        assert len(other) == 6
        assert len([first, *answers]) == 3, "of the moment at which it was asked"
