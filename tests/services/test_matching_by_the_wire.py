"""Matching as peers ask for it (PS3.4 §C.2.2.2): by DCMTK's findscu and by pynetdicom, beside Orthanc and dcmqrscp."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minipacs.services.sop_classes import FIND
from tests.peers.orthanc import ORTHANC, Orthanc
from tests.peers.ports import free_port
from tests.peers.required import required

from .archive import Archive, application_entity, archive
from .dcmqrscp import DCMQRIDX, DCMQRSCP, dcmqrscp
from .objects import MR, data_set, identifier

FINDSCU = "/usr/bin/findscu"

pytestmark = [
    pytest.mark.filterwarnings("ignore:Invalid value", "ignore:The value length", "ignore:unclosed"),
    required(FINDSCU),
]

JAPANESE = ["", "ISO 2022 IR 87"]
YAMADA = "Yamada^Tarou=山田^太郎=やまだ^たろう"

STUDIES: dict[int, dict[str, Any]] = {
    10: {"PatientName": "Doe^John^^^", "AccessionNumber": "acc1", "StudyDescription": "head", "StudyDate": "20240110"},
    11: {"PatientName": "DOE^JANE", "AccessionNumber": "ACC1", "StudyDescription": "HEAD", "StudyDate": "20240111"},
    12: {"PatientName": "Müller^Jörg", "SpecificCharacterSet": "ISO_IR 100", "StudyDate": "20240112"},
    13: {"PatientName": YAMADA, "SpecificCharacterSet": JAPANESE, "StudyDate": "20240113"},
    14: {"PatientName": "王^小东", "SpecificCharacterSet": "ISO_IR 192", "StudyDate": "", "StudyTime": ""},
    15: {"PatientName": "", "StudyDate": "20240115", "StudyTime": "1030"},
    16: {"PatientName": "A*B", "StudyDate": "20240116", "StudyTime": "103015.123", "SeriesNumber": "007"},
    17: {"PatientName": "Two^Series", "StudyDate": "20240117"},
    18: {
        "PatientName": "Two^Series",
        "PatientID": "P17",
        "StudyInstanceUID": "1.2.17",
        "StudyDate": "20240117",
        "Modality": "MR",
        "SOPClassUID": MR,
        "RequestAttributesSequence": [identifier(ScheduledProcedureStepID="SPS1", RequestedProcedureID="RP1")],
    },
}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """Each study is 1.2.NUMBER of patient PNUMBER."""
    objects = [
        data_set(
            number,
            **{"PatientID": f"P{number}", "StudyInstanceUID": f"1.2.{number}", "SeriesInstanceUID": f"1.3.{number}"}
            | attributes,
        )
        for number, attributes in STUDIES.items()
    ]
    with archive(tmp_path_factory.mktemp("node"), objects) as running:
        yield running


def found(port: int, level: str = "STUDY", **keys: Any) -> set[str]:
    """The last components of the UIDs that an archive finds."""
    unique = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID"}[level]
    ae = application_entity()
    ae.add_requested_context(FIND[1])
    association = ae.associate("127.0.0.1", port, ae_title="MINIPACS")
    assert association.is_established
    try:
        *matches, (status, _) = association.send_c_find(identifier(level, **{unique: ""} | keys), FIND[1])
        assert status.Status == 0
        return {str(one[unique].value).rpartition(".")[2] for _, one in matches if one is not None}
    finally:
        association.release()


NAMES: dict[str, tuple[str, object, set[str]]] = {
    "capitals": ("DOE^JOHN", None, {"10"}),
    "empty components": ("doe^john^^", None, {"10"}),
    "part": ("Doe", None, set()),
    "wildcard": ("doe*", None, {"10", "11"}),
    "one letter": ("D?E^JANE", None, {"11"}),
    "star alone": ("*", None, {"10", "11", "12", "13", "14", "15", "16", "17"}),
    "star that is stored": ("A*B", None, {"16"}),
    "Latin 1": ("müller*", "ISO_IR 100", {"12"}),
    "UTF-8": ("MÜLLER^JÖRG", "ISO_IR 192", {"12"}),
    "accents": ("Muller*", "ISO_IR 192", set()),
    "alphabetic": ("yamada^tarou", None, {"13"}),
    "ideographic": ("山田^太郎", "ISO_IR 192", {"13"}),
    "phonetic": ("やまだ*", "ISO_IR 192", {"13"}),
    "ideographic by escape sequences": ("山田^太郎", JAPANESE, {"13"}),
    "all groups by escape sequences": (YAMADA, JAPANESE, {"13"}),
    "part by escape sequences": ("*太郎*", JAPANESE, {"13"}),
    "GB18030": ("王*", "GB18030", {"14"}),
}


@pytest.mark.parametrize("name", NAMES)
def test_names_of_people(node: Archive, name: str) -> None:
    key, character_set, expected = NAMES[name]
    more: dict[str, Any] = {} if character_set is None else {"SpecificCharacterSet": character_set}
    assert found(node.port, PatientName=key, **more) == expected


VALUES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "capitals count": ({"AccessionNumber": "acc1"}, {"10"}),
    "wildcard counts capitals": ({"StudyDescription": "h*"}, {"10"}),
    "one letter": ({"AccessionNumber": "ACC?"}, {"11"}),
    "letter for letter": ({"PatientID": "p10"}, set()),
    "list of UIDs": ({"StudyInstanceUID": ["1.2.10", "1.2.11", "1.2.99"]}, {"10", "11"}),
    "padding": ({"StudyInstanceUID": "1.2.10 "}, {"10"}),
    "no wildcard in a UID": ({"StudyInstanceUID": "1.2.1*"}, set()),
    "range": ({"StudyDate": "20240110-20240112"}, {"10", "11", "12"}),
    "until, and what has no date": ({"StudyDate": "-20240112"}, {"10", "11", "12"}),
    "from": ({"StudyDate": "20240116-"}, {"16", "17"}),
    "minute": ({"StudyTime": "1030", "StudyDate": "20240115-20240116"}, {"15", "16"}),
    "fraction": ({"StudyTime": "103015.123"}, {"16"}),
    "any modality": ({"ModalitiesInStudy": "MR"}, {"17"}),
    "one of several": ({"ModalitiesInStudy": ["PT", "MR"]}, {"17"}),
    "several values": ({"PatientID": ["P10", "P11"]}, {"10", "11"}),
    "empty": ({"AccessionNumber": "", "PatientSex": "O", "PatientID": "P10"}, {"10"}),
}


@pytest.mark.parametrize("name", VALUES)
def test_values(node: Archive, name: str) -> None:
    keys, expected = VALUES[name]
    assert found(node.port, **keys) == expected


@pytest.mark.parametrize(("number", "expected"), [("7", {"16"}), ("007", {"16"}), ("+7", {"16"}), ("70", set())])
def test_a_number_is_what_it_means(node: Archive, number: str, expected: set[str]) -> None:
    assert found(node.port, "SERIES", StudyInstanceUID="1.2.16", SeriesNumber=number) == expected


def findscu(node: Archive, *keys: str, encoding: str = "ascii") -> bytes:
    """What it says."""
    arguments = [argument.encode(encoding) for key in keys for argument in ("-k", key)]
    command: list[str | bytes] = [FINDSCU, "-v", "-S", "-aec", "MINIPACS", "127.0.0.1", str(node.port), *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30, check=True).stdout


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_findscu_asks_in_letters_of_its_own_and_is_answered_in_them(node: Archive, encoding: str) -> None:
    character_set = {"latin-1": "ISO_IR 100", "utf-8": "ISO_IR 192"}[encoding]
    keys = ["QueryRetrieveLevel=STUDY", f"SpecificCharacterSet={character_set}", "PatientName=MÜLLER*"]
    said = findscu(node, *keys, encoding=encoding)
    assert said.count(b"(Pending)") == 1
    assert f"[{character_set}".encode() in said
    assert "[Müller^Jörg".encode(encoding) in said


@pytest.mark.parametrize(("wanted", "count"), [("SPS*", 1), ("XYZ", 0)])
def test_an_item_in_a_sequence_comes_and_goes_by_the_wire(node: Archive, wanted: str, count: int) -> None:
    keys = [
        f"RequestAttributesSequence[0].{key}" for key in (f"ScheduledProcedureStepID={wanted}", "RequestedProcedureID")
    ]
    said = findscu(node, *keys, "StudyInstanceUID=1.2.17", "QueryRetrieveLevel=SERIES")
    assert said.count(b"(Pending)") == count
    assert (b"[RP1 ]" in said) == bool(count)


# --- beside others, on the same objects, where they do what the standard says ----------------------------------------

COMMON: list[dict[str, Any]] = [
    {"PatientName": "*"},
    {"PatientID": "P1?"},
    {"PatientID": "p10"},
    {"AccessionNumber": "acc1"},
    {"AccessionNumber": "ACC?"},
    {"StudyDescription": "h*"},
    {"StudyInstanceUID": ["1.2.10", "1.2.11"]},
    {"StudyDate": "20240110-20240112"},
    {"StudyDate": "20240116-"},
    {"StudyTime": "103015.123"},
    {"PatientBirthDate": "19700101"},
    {"PatientSex": "o"},
    {"PatientName": YAMADA, "SpecificCharacterSet": JAPANESE},
    {"PatientName": "Müller^Jörg", "SpecificCharacterSet": "ISO_IR 192"},
]


@required(DCMQRSCP, DCMQRIDX, ORTHANC)
def test_dcmqrscp_and_orthanc_find_the_same(node: Archive, tmp_path: Path) -> None:
    files = sorted((node.folder / "objects").iterdir())
    open_to_all = {"DicomAlwaysAllowFind": True, "DicomAet": "MINIPACS"}
    with (
        dcmqrscp(tmp_path / "qr", files) as other,
        Orthanc(tmp_path / "orthanc", minipacs_port=free_port(), extra=open_to_all) as orthanc,
    ):
        for file in files:
            assert orthanc.post("/instances", file.read_bytes())[0] == 200
        for keys in COMMON:
            ours = found(node.port, **keys)
            assert (found(other, **keys), found(orthanc.dicom_port, **keys)) == (ours, ours), keys
