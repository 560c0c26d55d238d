"""SOP Class Extended Negotiation of queries and retrievals (PS3.4 §C.5), through the door of a node that runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation

from minipacs.services.extended_negotiation import Agreed, agreed, answer
from minipacs.services.index import Index
from minipacs.services.index_file import INDEX_NAME
from minipacs.services.object_files import place_of
from minipacs.services.sop_classes import FIND, GET, MOVE
from tests.peers.node import Node, serving, table

from .archive import application_entity
from .objects import ROOT, data_set, identifier, write

ANSWERS = {
    "relational": (FIND[0], b"\1", b"\1"),
    "nothing": (FIND[1], b"\0", b"\0"),
    "all": (FIND[1], b"\1\1\1\1\1\1\1", b"\1\1\0\0\0\0\0"),
    "fuzzy": (FIND[1], b"\0\0\1", b"\0\0\0"),
    "no flag": (FIND[1], b"\2\xff", b"\0\0"),
    "retrieval": (MOVE[1], b"\1\1", b"\1\0"),
    "retrieval on the same association": (GET[0], b"\1", b"\1"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_what_we_do_not_do_is_turned_down(name: str) -> None:
    sop_class, wanted, expected = ANSWERS[name]
    assert answer({sop_class: wanted}) == {sop_class: expected}


def test_of_other_sop_classes_nothing_is_said() -> None:
    assert answer({"1.2.840.10008.5.1.4.1.1.2": b"\1", FIND[0]: b""}) == {}


def test_what_is_not_negotiated_is_not_agreed_upon() -> None:
    answered = {FIND[0]: b"\1", FIND[1]: b"\0\1", MOVE[0]: b"\1\1"}
    assert [agreed(answered, uid) for uid in (*FIND, MOVE[0], GET[0])] == [
        Agreed(relational=True),
        Agreed(datetimes=True),
        Agreed(relational=True),
        Agreed(),
    ]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Studies of two patients, of 15 to 18 January, at 10:30 each."""
    folder = tmp_path_factory.mktemp("node")
    for number in range(4):
        data = data_set(
            number,
            PatientID=f"P{number % 2}",
            StudyDate=f"202401{15 + number}",
            StudyTime="103000",
            StudyInstanceUID=f"{ROOT}.1.{number}",
            SeriesInstanceUID=f"{ROOT}.2.{number}",
        )
        write(place_of(folder / "store", data.SOPInstanceUID), data)
    with serving(folder, table({"name": "tester", "ae_title": "TESTER"}), "--storage", "store") as node:
        yield node


def item(sop_class: str, information: bytes) -> SOPClassExtendedNegotiation:
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid, item.service_class_application_information = sop_class, information
    return item


@contextmanager
def finding(node: Node, *items: SOPClassExtendedNegotiation) -> Iterator[Association]:
    ae = application_entity()
    for uid in FIND:
        ae.add_requested_context(uid)
    association = ae.associate("127.0.0.1", node.port, ae_title="MINIPACS", ext_neg=list(items))
    assert association.is_established
    try:
        yield association
    finally:
        association.release()


def found(association: Association, level: str, **keys: object) -> tuple[int, list[Dataset]]:
    *matches, (status, _) = association.send_c_find(identifier(level, **keys), FIND[1])
    return status.Status, [one for _, one in matches if one is not None]


def test_the_answer_comes_through_the_door(node: Node) -> None:
    with finding(node, item(FIND[1], b"\1\1\1"), item(MOVE[0], b"\1")) as association:
        assert association.acceptor.sop_class_extended == {FIND[1]: b"\1\1\0", MOVE[0]: b"\1"}
    with finding(node) as association:
        assert association.acceptor.sop_class_extended == {}


@pytest.mark.parametrize(("wanted", "status", "count"), [(b"\1", 0x0000, 4), (b"\0", 0xA900, 0), (b"", 0xA900, 0)])
def test_a_relational_query_needs_no_keys_of_the_levels_above(
    node: Node, wanted: bytes, status: int, count: int
) -> None:
    with finding(node, *([item(FIND[1], wanted)] if wanted else [])) as association:
        answered, matches = found(association, "IMAGE", SOPInstanceUID="", SOPClassUID="", PatientID="", Rows=None)
    assert (answered, len(matches)) == (status, count)
    assert {one.PatientID for one in matches} <= {"P0", "P1"}


RANGES = {
    "both ends": ("20240115-20240117", "1100-1000", b"\0\1", [16]),
    "each by itself": ("20240115-20240117", "1000-1100", b"\0\0", [15, 16, 17]),
    "from": ("20240116-", "1100-", b"\0\1", [17, 18]),
    "until": ("-20240116", "-1000", b"\0\1", [15]),
    "to the end of the minute": ("-20240116", "-1030", b"\0\1", [15, 16]),
    "two kinds": ("20240116-", "-1100", b"\0\1", [16, 17, 18]),
    "one moment": ("20240116", "1030", b"\0\1", [16]),
    "any time": ("20240116-20240117", "", b"\0\1", [16, 17]),
}


@pytest.mark.parametrize("name", RANGES)
def test_a_date_and_its_time_are_one_range_where_that_is_agreed_upon(node: Node, name: str) -> None:
    date, time, wanted, expected = RANGES[name]
    with finding(node, item(FIND[1], wanted)) as association:
        status, matches = found(association, "STUDY", StudyDate=date, StudyTime=time)
    assert status == 0
    assert sorted(int(one.StudyDate[-2:]) for one in matches) == expected


def test_a_time_that_is_none_is_refused_by_its_name(node: Node) -> None:
    with finding(node, item(FIND[1], b"\0\1")) as association:
        status, _ = list(association.send_c_find(identifier("STUDY", StudyDate="2024", StudyTime="noon"), FIND[1]))[-1]
    assert (status.Status, status.OffendingElement) == (0xA900, 0x00080020)
    assert status.ErrorComment.startswith("StudyDate must be YYYYMMDD")


def test_a_retrieval_may_be_relational(tmp_path: Path) -> None:
    keys = identifier(SOPInstanceUID=f"{ROOT}.3.1")
    path = write(tmp_path / "objects" / "1.dcm", data_set(1))
    index = Index(tmp_path / INDEX_NAME)
    try:
        index.add(path)
        assert len(index.objects("STUDY", "IMAGE", keys, Agreed(relational=True))) == 1
    finally:
        index.close()
