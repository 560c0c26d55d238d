"""C-FIND, C-MOVE and C-GET by pynetdicom's SCP with our handlers: asked by DCMTK, by pynetdicom and by Orthanc."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_FIND, C_STORE
from pynetdicom.dsutils import split_dataset

from minipacs.peers import Peer
from minipacs.services.sop_classes import FIND, GET, MOVE
from tests.peers.dcmtk import STORESCP, storescp
from tests.peers.orthanc import ORTHANC, Orthanc
from tests.peers.ports import free_port
from tests.peers.required import required

from .archive import Archive, application_entity, archive
from .objects import CT, MR, ROOT, SECONDARY_CAPTURE, data_set, identifier

FINDSCU, MOVESCU, GETSCU = "/usr/bin/findscu", "/usr/bin/movescu", "/usr/bin/getscu"
dcmtk = required(FINDSCU, MOVESCU, GETSCU, STORESCP)

STUDY = f"{ROOT}.1.1"
OBJECTS = [f"{ROOT}.3.{number}" for number in (1, 2, 3)]

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value", "ignore:The value length", "ignore:unclosed")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Archive]:
    """Two objects of CT, one of MR in JPEG."""
    with archive(tmp_path / "archive", [data_set(1), data_set(2)]) as running:
        running.keep(
            data_set(3, SOPClassUID=MR, Modality="MR", SeriesInstanceUID=f"{ROOT}.2.2", SeriesNumber="2"),
            JPEGBaseline8Bit,
        )
        yield running


def same_data_sets(stored: Path, received: Path) -> bool:
    """Byte by byte; what is before it, everybody writes for himself."""
    one, other = (path.read_bytes()[split_dataset(path)[1] :] for path in (stored, received))
    return one == other


# --- DCMTK ------------------------------------------------------------------------------------------------------------


def run(tool: str, node: Archive, *options: str, **keys: str) -> tuple[int, str]:
    """What a tool of DCMTK exits with and says."""
    arguments = [argument for keyword, value in keys.items() for argument in ("-k", f"{keyword}={value}")]
    command = [tool, "-v", "-aet", "TESTER", "-aec", "MINIPACS", *options, "127.0.0.1", str(node.port), *arguments]
    done = subprocess.run(command, capture_output=True, timeout=45, check=False)
    return done.returncode, (done.stdout + done.stderr).decode(errors="replace")


@dcmtk
@pytest.mark.parametrize("model", ["-S", "-P"])
def test_findscu_finds_what_matches(node: Archive, model: str) -> None:
    level = {"-S": "STUDY", "-P": "PATIENT"}[model]
    code, said = run(
        FINDSCU, node, model, QueryRetrieveLevel=level, PatientName="phantom*", PatientID="", PatientSex="O"
    )
    assert code == 0
    assert said.count("(Pending)") == 1
    assert "[Phantom^Paula ]" in said
    assert "[P1]" in said
    assert "Received Final Find Response (Success)" in said


@dcmtk
def test_findscu_is_told_of_the_study(node: Archive) -> None:
    keys = dict.fromkeys(
        ("StudyInstanceUID", "ModalitiesInStudy", "NumberOfStudyRelatedInstances", "RetrieveAETitle"), ""
    )
    _, said = run(FINDSCU, node, "-S", QueryRetrieveLevel="STUDY", StudyDate="20240101-20240131", **keys)
    for value in ("MINIPACS", "ONLINE", "CT\\MR", "3", STUDY):
        assert f"[{value}]" in said.replace(" ]", "]").replace("\0]", "]")


@dcmtk
def test_findscu_is_told_why_an_identifier_is_refused(node: Archive) -> None:
    _, said = run(FINDSCU, node, "-S", QueryRetrieveLevel="SERIES", SeriesInstanceUID="")
    assert "DataSetDoesNotMatchSOPClass" in said
    assert node.told == ["C-FIND refused with 0xA900: StudyInstanceUID must be one value in a query at level SERIES"]


@dcmtk
def test_movescu_has_a_study_moved(node: Archive, tmp_path: Path) -> None:
    with storescp(tmp_path, ae_title="STORE", args=["+xa"]) as destination:
        node.know(Peer("store", "STORE", "127.0.0.1", destination.port))
        code, said = run(MOVESCU, node, "-S", "-aem", "STORE", QueryRetrieveLevel="STUDY", StudyInstanceUID=STUDY)
        assert code == 0, said
        assert "Received Final Move Response (Success)" in said
        assert said.count("(Pending)") == 3
        received = {dcmread(path).SOPInstanceUID: path for path in destination.folder.iterdir()}
    assert set(received) == set(OBJECTS)
    for uid, path in received.items():
        assert same_data_sets(node.folder / "objects" / f"{uid}.dcm", path)
    assert node.told == []


@dcmtk
def test_getscu_gets_a_study(node: Archive, tmp_path: Path) -> None:
    (tmp_path / "got").mkdir()
    keys = {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": STUDY, "SeriesInstanceUID": f"{ROOT}.2.1"}
    code, said = run(GETSCU, node, "-S", "+B", "-od", str(tmp_path / "got"), **keys)
    assert code == 0, said
    assert "Number of Completed Suboperations : 2" in said
    received = {dcmread(path).SOPInstanceUID: path for path in (tmp_path / "got").iterdir()}
    assert set(received) == set(OBJECTS[:2])
    for uid, path in received.items():
        assert same_data_sets(node.folder / "objects" / f"{uid}.dcm", path)


DESTINATIONS = {
    "unknown": (
        "NOBODY",
        "destination NOBODY is not in the peer table; fix: minipacs peers add NAME NOBODY@HOST:PORT",
    ),
    "other capitals": ("caller", "destination caller is not in the peer table; CALLER, in other capitals, is; fix: "),
    "only calls": ("CALLER", "destination CALLER is peer caller, which only calls us: it has no host and port in the "),
    "without [tls]": ("SECURE", "destination SECURE is peer secure with tls = true, and we have no [tls]"),
}


@dcmtk
@pytest.mark.parametrize("name", DESTINATIONS)
def test_a_destination_that_is_not_known_is_0xa801(node: Archive, name: str) -> None:
    title, reason = DESTINATIONS[name]
    node.know(Peer("caller", "CALLER"), Peer("secure", "SECURE", "127.0.0.1", 2762, tls=True))
    code, said = run(MOVESCU, node, "-S", "-aem", title, QueryRetrieveLevel="STUDY", StudyInstanceUID=STUDY)
    assert code == 69, "of movescu, for a move that failed"
    assert "Refused: MoveDestinationUnknown" in said
    [told] = node.told
    assert told.startswith(f"C-MOVE refused with 0xA801: {reason}")


@dcmtk
def test_a_destination_that_does_not_answer_is_0xa801(node: Archive) -> None:
    port = free_port()
    node.know(Peer("store", "STORE", "127.0.0.1", port))
    _, said = run(MOVESCU, node, "-S", "-aem", "STORE", QueryRetrieveLevel="STUDY", StudyInstanceUID=STUDY)
    assert "Refused: MoveDestinationUnknown" in said
    assert node.told == [
        f"C-MOVE failed with 0xA801: no association with STORE at 127.0.0.1 port {port}: Connection refused"
    ]
    _, said = run(FINDSCU, node, "-S", QueryRetrieveLevel="STUDY", StudyInstanceUID=STUDY)
    assert said.count("(Pending)") == 1, "and the next one is served"


@required(ORTHANC)
def test_a_destination_that_does_not_know_us_is_0xa801_and_the_reason_is_told(node: Archive, tmp_path: Path) -> None:
    strict = {"DicomModalities": {}, "DicomCheckCalledAet": True}
    with Orthanc(tmp_path / "orthanc", minipacs_port=node.port, extra=strict) as orthanc, moving(node) as association:
        node.know(Peer("orthanc", "ORTHANC", "127.0.0.1", orthanc.dicom_port))
        answers = list(association.send_c_move(identifier("STUDY", StudyInstanceUID=STUDY), "ORTHANC", MOVE[1]))
    assert answers[-1][0].Status == 0xA801
    assert node.told == [
        f"C-MOVE failed with 0xA801: no association with ORTHANC at 127.0.0.1 port {orthanc.dicom_port}: "
        "rejected 1/1/3: "
        "it does not know our AE title MINIPACS, or not from this address"
    ]


@dcmtk
def test_findscu_finds_what_dcmqrscp_finds(node: Archive, tmp_path: Path) -> None:
    """On the same files, where both support what is asked."""
    from tests.services.dcmqrscp import DCMQRSCP, dcmqrscp

    required(DCMQRSCP)
    for number, name in enumerate(["Phantom^Peter", "Phan[t]om", "Zzz", "Other^Paula"], 10):
        node.keep(
            data_set(
                number,
                PatientID=f"P{number}",
                PatientName=name,
                StudyInstanceUID=f"1.2.{number}",
                SeriesInstanceUID=f"1.3.{number}",
                StudyDate=f"202401{number}",
                StudyTime=f"1{number}0",
            )
        )
    with dcmqrscp(tmp_path / "qr", list((node.folder / "objects").iterdir())) as port:
        for keys in QUERIES:
            ours = found_by(node.port, keys)
            theirs = found_by(port, keys)
            assert ours == theirs, keys


QUERIES: list[dict[str, str]] = [
    {"StudyDate": "20240110-20240112"},
    {"StudyDate": "-20240111"},
    {"StudyDate": "20240112-"},
    {"StudyDate": "20240115"},
    {"PatientID": "P1*"},
    {"PatientID": "P1?"},
    {"PatientID": "p1"},
    {"PatientID": "P1"},
    {"StudyInstanceUID": f"{STUDY}\\1.2.11"},
    {"PatientName": "Phantom^P*"},
    {"PatientName": "Zzz"},
    {"PatientName": "Phan[t]*"},
    {"AccessionNumber": "A?"},
    {},
]


def found_by(port: int, keys: dict[str, str]) -> set[str]:
    ae = application_entity()
    ae.add_requested_context(FIND[1])
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "STUDY"
    identifier.StudyInstanceUID = ""
    for keyword, value in keys.items():
        setattr(identifier, keyword, value.split("\\") if "\\" in value else value)
    association = ae.associate("127.0.0.1", port, ae_title="MINIPACS")
    assert association.is_established
    try:
        answers = list(association.send_c_find(identifier, FIND[1]))
        assert answers[-1][0].Status == 0
        return {str(one.StudyInstanceUID) for _, one in answers if one is not None}
    finally:
        association.release()


# --- pynetdicom -------------------------------------------------------------------------------------------------------


@contextmanager
def calling(node: Archive, ae: AE, **more: object) -> Iterator[Association]:
    association = ae.associate("127.0.0.1", node.port, ae_title="MINIPACS", **more)  # type: ignore[arg-type]
    assert association.is_established
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


@contextmanager
def finding(node: Archive) -> Iterator[Association]:
    ae = application_entity()
    for uid in FIND:
        ae.add_requested_context(uid)
    with calling(node, ae) as association:
        yield association


def test_each_match_is_pending_and_the_end_is_success(node: Archive) -> None:
    with finding(node) as association:
        answers = list(association.send_c_find(identifier("STUDY", StudyInstanceUID="", PatientID="P*"), FIND[1]))
    assert [status.Status for status, _ in answers] == [0xFF00, 0x0000]
    match = answers[0][1]
    assert match is not None
    assert (match.QueryRetrieveLevel, match.PatientID, match.StudyInstanceUID) == ("STUDY", "P1", STUDY)
    assert (match.RetrieveAETitle, match.InstanceAvailability) == ("MINIPACS", "ONLINE")


def test_keys_that_are_not_supported_are_told_by_0xff01_and_left_out(node: Archive) -> None:
    with finding(node) as association:
        keys = identifier("STUDY", StudyInstanceUID="", PatientComments="", RequestAttributesSequence=[], Modality="US")
        answers = list(association.send_c_find(keys, FIND[1]))
    assert [status.Status for status, _ in answers] == [0xFF01, 0x0000]
    match = answers[0][1]
    assert match is not None
    assert "PatientComments" in match
    assert "Modality" not in match
    assert "RequestAttributesSequence" not in match


_LEVELS = "Query/Retrieve Level must be PATIENT, STUDY, SERIES, IMAGE"

FAULTS = {
    "level": (
        identifier("WORKLIST"),
        0xA900,
        "Query/Retrieve Level must be PATIENT, STUDY, SERIES, IMAGE, not WORKLIST",
    ),
    "no level": (identifier(PatientID=""), 0xA900, f"{_LEVELS}, and is missing"),
    "date": (identifier("STUDY", StudyDate="today"), 0xA900, "StudyDate must be YYYYMMDD, or a range"),
    "hierarchy": (identifier("IMAGE", StudyInstanceUID=STUDY), 0xA900, "SeriesInstanceUID must be one value"),
    "escape": (identifier("\x1b[2J"), 0xA900, f"{_LEVELS}, not \\x1b"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_an_identifier_that_breaks_the_rules_is_0xa900_and_the_association_stays(node: Archive, name: str) -> None:
    keys, code, reason = FAULTS[name]
    with finding(node) as association:
        [(status, match)] = association.send_c_find(keys, FIND[1])
        assert (status.Status, match) == (code, None)
        assert status.ErrorComment.startswith(reason[:60].replace("\\", "/"))
        answers = list(association.send_c_find(identifier("STUDY", StudyInstanceUID=""), FIND[1]))
        assert answers[-1][0].Status == 0
    [told] = node.told
    assert told.startswith(f"C-FIND refused with 0x{code:04X}: {reason}")


BROKEN = {
    "cut short": b"\x08\x00\x52\x00\x40\x00\x00\x00STUDY ",
    "noise": bytes(range(200, 250)),
    "empty": b"\x08\x00\x52\x00\x00\x00\x00\x00",
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_identifier_that_cannot_be_read_is_refused_and_the_association_stays(node: Archive, name: str) -> None:
    request = C_FIND()
    request.MessageID, request.AffectedSOPClassUID, request.Priority = 1, UID(FIND[1]), 2
    request.Identifier = BytesIO(BROKEN[name])
    with finding(node) as association:
        context = next(one for one in association.accepted_contexts if one.abstract_syntax == FIND[1])
        assert context.context_id is not None
        association._reactor_checkpoint.clear()
        association.dimse.send_msg(request, context.context_id)
        _, response = association.dimse.get_msg(block=True)
        association._reactor_checkpoint.set()
        assert isinstance(response, C_FIND)
        assert response.Status in {0xA900, 0xC000}
        assert list(association.send_c_find(identifier("STUDY", StudyInstanceUID=""), FIND[1]))[-1][0].Status == 0
    assert len(node.told) == 1


def test_a_query_can_be_cancelled(node: Archive) -> None:
    for number in range(10, 160):
        node.keep(data_set(number, StudyInstanceUID=f"1.2.{number}", SeriesInstanceUID=f"1.3.{number}"))
    with finding(node) as association:
        answers = association.send_c_find(identifier("STUDY", StudyInstanceUID=""), FIND[1], msg_id=7)
        statuses = [next(answers)[0].Status]  # behind which the request is surely being served
        association.send_c_cancel(7, query_model=FIND[1])
        statuses += [status.Status for status, _ in answers]
    assert statuses[-1] == 0xFE00
    assert set(statuses[:-1]) == {0xFF00}
    assert len(statuses) < 150


# --- C-GET by pynetdicom, which says what it takes --------------------------------------------------------------------


ENCODINGS = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    JPEGBaseline8Bit,
]


@contextmanager
def getting(
    node: Archive, classes: dict[str, list[UID]], received: list[Dataset], status: int = 0
) -> Iterator[Association]:
    ae = application_entity()
    ae.add_requested_context(GET[1])
    for sop_class, syntaxes in classes.items():
        for syntax in syntaxes:
            ae.add_requested_context(sop_class, syntax)

    def store(event: evt.Event) -> int:
        data = event.dataset
        data.file_meta = event.file_meta
        received.append(data)
        return status

    roles = [build_role(sop_class, scp_role=True) for sop_class in classes]
    with calling(node, ae, ext_neg=roles, evt_handlers=[(evt.EVT_C_STORE, store)]) as association:
        yield association


@pytest.mark.parametrize(
    "transfer_syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        JPEGBaseline8Bit,
    ],
)
def test_objects_are_sent_as_they_are(tmp_path: Path, transfer_syntax: UID) -> None:
    received: list[Dataset] = []
    with archive(tmp_path / "archive") as node:
        path = node.keep(data_set(1), transfer_syntax)
        with getting(node, {CT: [transfer_syntax]}, received) as association:
            answers = list(association.send_c_get(identifier("STUDY", StudyInstanceUID=STUDY), GET[1]))
        assert answers[-1][0].Status == 0x0000
        assert answers[-1][0].NumberOfCompletedSuboperations == 1
        assert node.told == []
    [data] = received
    assert data.file_meta.TransferSyntaxUID == transfer_syntax
    assert data == dcmread(path)


@pytest.mark.parametrize(
    ("stored", "taken"),
    [
        (ExplicitVRLittleEndian, ImplicitVRLittleEndian),
        (ImplicitVRLittleEndian, ExplicitVRLittleEndian),
        (DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian),
    ],
)
def test_uncompressed_objects_are_encoded_anew_where_the_peer_takes_another_encoding(
    tmp_path: Path, stored: UID, taken: UID
) -> None:
    received: list[Dataset] = []
    with archive(tmp_path / "archive") as node:
        path = node.keep(data_set(1), stored)
        with getting(node, {CT: [taken]}, received) as association:
            answers = list(association.send_c_get(identifier("STUDY", StudyInstanceUID=STUDY), GET[1]))
        assert answers[-1][0].Status == 0x0000
        [data], stored_data = received, dcmread(path)
        assert [(one.tag, one.value) for one in data] == [(one.tag, one.value) for one in stored_data]


def test_what_the_peer_does_not_take_is_counted_and_named(node: Archive) -> None:
    received: list[Dataset] = []
    with getting(node, {CT: [ExplicitVRLittleEndian], MR: [ExplicitVRLittleEndian]}, received) as association:
        answers = list(association.send_c_get(identifier("STUDY", StudyInstanceUID=STUDY), GET[1]))
    status, failed = answers[-1]
    assert (status.Status, status.NumberOfCompletedSuboperations, status.NumberOfFailedSuboperations) == (0xB000, 2, 1)
    assert failed is not None
    assert failed.FailedSOPInstanceUIDList == OBJECTS[2]
    assert node.told == [
        f"object {OBJECTS[2]} not sent: JPEG Baseline (Process 1) cannot be sent to a peer that takes its SOP class "
        "only as Explicit VR Little Endian"
    ]


def test_a_file_that_is_gone_is_a_failure_and_the_others_are_sent(node: Archive) -> None:
    (node.folder / "objects" / f"{OBJECTS[0]}.dcm").unlink()
    received: list[Dataset] = []
    with getting(node, {CT: [ExplicitVRLittleEndian], MR: [JPEGBaseline8Bit]}, received) as association:
        status, failed = list(association.send_c_get(identifier("STUDY", StudyInstanceUID=STUDY), GET[1]))[-1]
    assert (status.Status, status.NumberOfCompletedSuboperations, status.NumberOfFailedSuboperations) == (0xB000, 2, 1)
    assert failed is not None
    assert failed.FailedSOPInstanceUIDList == OBJECTS[0]
    assert {one.SOPInstanceUID for one in received} == set(OBJECTS[1:])


def test_objects_that_the_peer_refuses_are_failures(node: Archive) -> None:
    received: list[Dataset] = []
    with getting(node, {CT: [ExplicitVRLittleEndian], MR: [JPEGBaseline8Bit]}, received, status=0xA700) as association:
        status, failed = list(association.send_c_get(identifier("STUDY", StudyInstanceUID=STUDY), GET[1]))[-1]
    assert (status.Status, status.NumberOfFailedSuboperations) == (0xA702, 3)
    assert failed is not None
    assert list(failed.FailedSOPInstanceUIDList) == OBJECTS


@pytest.mark.parametrize("uid", ["1.2.3", ""])
def test_what_is_not_there_is_success_and_what_is_not_named_is_refused(node: Archive, uid: str) -> None:
    with getting(node, {CT: [ExplicitVRLittleEndian]}, []) as association:
        status, _ = list(association.send_c_get(identifier("STUDY", StudyInstanceUID=uid), GET[1]))[-1]
    assert status.Status == (0x0000 if uid else 0xA900)


def test_a_get_can_be_cancelled(node: Archive) -> None:
    for number in range(10, 40):
        node.keep(data_set(number))
    received: list[Dataset] = []
    with getting(node, {CT: [ExplicitVRLittleEndian]}, received) as association:
        statuses: list[Dataset] = []
        for status, _ in association.send_c_get(identifier("STUDY", StudyInstanceUID=STUDY), GET[1], msg_id=3):
            if not statuses:
                association.send_c_cancel(3, query_model=GET[1])
            statuses.append(status)
    assert statuses[-1].Status == 0xFE00
    assert 0 < len(received) < 32
    assert statuses[-1].NumberOfRemainingSuboperations == 33 - len(received)


def test_two_gets_on_one_association_send_each_its_own(node: Archive) -> None:
    received: list[Dataset] = []
    keys = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": f"{ROOT}.2.1"}
    with getting(node, {CT: [ExplicitVRLittleEndian]}, received) as association:
        for uid in OBJECTS[:2]:
            answers = list(association.send_c_get(identifier("IMAGE", **keys, SOPInstanceUID=uid), GET[1]))
            assert answers[-1][0].Status == 0
    assert [one.SOPInstanceUID for one in received] == OBJECTS[:2]
    assert [one.InstanceNumber for one in received] == [1, 2]


# --- C-MOVE by pynetdicom ---------------------------------------------------------------------------------------------


@contextmanager
def destination(
    syntaxes: list[UID], received: list[Dataset], title: str = "STORE"
) -> Iterator[tuple[int, list[object]]]:
    """A Storage SCP; its port, and the contexts that it was asked for."""
    asked: list[object] = []
    ae = application_entity("STORE")
    for sop_class in (CT, MR, SECONDARY_CAPTURE):
        ae.add_supported_context(sop_class, syntaxes)

    def store(event: evt.Event) -> int:
        received.append(event.dataset)
        return 0

    def requested(event: evt.Event) -> None:
        asked.extend((one.abstract_syntax, *one.transfer_syntax) for one in event.assoc.requestor.requested_contexts)

    handlers = [(evt.EVT_C_STORE, store), (evt.EVT_REQUESTED, requested)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)  # type: ignore[arg-type]
    assert server is not None
    assert server.socket is not None
    try:
        yield server.socket.getsockname()[1], asked
    finally:
        server.shutdown()


@contextmanager
def moving(node: Archive) -> Iterator[Association]:
    ae = application_entity()
    for uid in MOVE:
        ae.add_requested_context(uid)
    with calling(node, ae) as association:
        yield association


def test_the_destination_is_asked_for_what_is_sent_and_nothing_else(node: Archive) -> None:
    received: list[Dataset] = []
    with (
        destination([ExplicitVRLittleEndian, JPEGBaseline8Bit], received) as (port, asked),
        moving(node) as association,
    ):
        node.know(Peer("store", "STORE", "127.0.0.1", port))
        answers = list(association.send_c_move(identifier("PATIENT", PatientID="P1"), "STORE", MOVE[0]))
    assert answers[-1][0].Status == 0
    assert asked == [(CT, ExplicitVRLittleEndian), (MR, JPEGBaseline8Bit), (CT, ImplicitVRLittleEndian)]
    assert [one.SOPInstanceUID for one in received] == OBJECTS


def test_a_destination_that_takes_implicit_vr_alone_gets_what_can_be_encoded_so(node: Archive) -> None:
    received: list[Dataset] = []
    with destination([ImplicitVRLittleEndian], received) as (port, _), moving(node) as association:
        node.know(Peer("store", "STORE", "127.0.0.1", port))
        status, failed = list(association.send_c_move(identifier("STUDY", StudyInstanceUID=STUDY), "STORE", MOVE[1]))[
            -1
        ]
    assert (status.Status, status.NumberOfCompletedSuboperations, status.NumberOfFailedSuboperations) == (0xB000, 2, 1)
    assert failed is not None
    assert failed.FailedSOPInstanceUIDList == OBJECTS[2]
    assert [one.PixelData for one in received] == [bytes(range(256))] * 2


def test_the_sub_operations_name_who_asked(node: Archive) -> None:
    originators: list[tuple[object, object]] = []
    ae = application_entity("STORE")
    ae.add_supported_context(CT)

    def store(event: evt.Event) -> int:
        request = event.request
        assert isinstance(request, C_STORE)
        originators.append((request.MoveOriginatorApplicationEntityTitle, request.MoveOriginatorMessageID))
        return 0

    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    assert server is not None
    assert server.socket is not None
    try:
        node.know(Peer("store", "STORE", "127.0.0.1", server.socket.getsockname()[1]))
        with moving(node) as association:
            keys = identifier("SERIES", StudyInstanceUID=STUDY, SeriesInstanceUID=f"{ROOT}.2.1")
            list(association.send_c_move(keys, "STORE", MOVE[1], msg_id=9))
    finally:
        server.shutdown()
    assert originators == [("TESTER", 9)] * 2


def test_a_move_of_a_wrong_identifier_is_0xa900(node: Archive) -> None:
    with destination([ImplicitVRLittleEndian], []) as (port, _), moving(node) as association:
        node.know(Peer("store", "STORE", "127.0.0.1", port))
        [(status, _)] = association.send_c_move(identifier("SERIES", SeriesInstanceUID="1.2"), "STORE", MOVE[1])
    assert status.Status == 0xA900
    assert node.told == ["C-MOVE refused with 0xA900: StudyInstanceUID must be one value in a query at level SERIES"]


def test_a_table_that_changes_counts_for_the_next_move(node: Archive) -> None:
    received: list[Dataset] = []
    with destination([ExplicitVRLittleEndian, JPEGBaseline8Bit], received) as (port, _), moving(node) as association:
        statuses = []
        for peers in ([], [Peer("store", "STORE", "127.0.0.1", port)], []):
            node.know(*peers)
            answers = list(association.send_c_move(identifier("STUDY", StudyInstanceUID=STUDY), "STORE", MOVE[1]))
            statuses.append(answers[-1][0].Status)
    assert statuses == [0xA801, 0x0000, 0xA801]


# --- Orthanc ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def orthanc(node: Archive, tmp_path: Path) -> Iterator[Orthanc]:
    with Orthanc(tmp_path / "orthanc", minipacs_port=node.port) as running:
        node.know(Peer("orthanc", "ORTHANC", "127.0.0.1", running.dicom_port))
        yield running


def asked(orthanc: Orthanc, path: str, body: object) -> dict[str, object]:
    status, text = orthanc.post(path, body)
    assert status == 200, (text, orthanc.log[-3000:])
    answer: dict[str, object] = json.loads(text)
    return answer


@required(ORTHANC)
@pytest.mark.parametrize("level", ["Patient", "Study", "Series", "Instance"])
def test_orthanc_queries_and_retrieves_what_it_found(node: Archive, orthanc: Orthanc, level: str) -> None:
    unique = {
        "Patient": {"PatientID": "P1"},
        "Study": {"PatientName": "PHANTOM*", "StudyDate": "20240101-"},
        "Series": {"StudyInstanceUID": STUDY, "Modality": "CT"},
        "Instance": {"StudyInstanceUID": STUDY, "SeriesInstanceUID": f"{ROOT}.2.1", "SOPInstanceUID": OBJECTS[1]},
    }[level]
    expected = {"Patient": OBJECTS, "Study": OBJECTS, "Series": OBJECTS[:2], "Instance": OBJECTS[1:2]}[level]
    query = asked(orthanc, "/modalities/minipacs/query", {"Level": level, "Query": unique})["ID"]
    answers = json.loads(orthanc.get(f"/queries/{query}/answers?expand&simplify")[1])
    assert len(answers) == 1, (answers, node.told, orthanc.log[-3000:])
    asked(orthanc, f"/queries/{query}/retrieve", {"TargetAet": "ORTHANC", "Synchronous": True})
    instances = json.loads(orthanc.get("/instances?expand")[1])
    assert sorted(one["MainDicomTags"]["SOPInstanceUID"] for one in instances) == sorted(expected)
    assert node.told == []


@required(ORTHANC)
def test_orthanc_reads_our_letters(node: Archive, orthanc: Orthanc) -> None:
    node.keep(
        data_set(
            9,
            SpecificCharacterSet="ISO_IR 100",
            PatientName="Müller^Jörg",
            PatientID="P9",
            StudyInstanceUID="1.2.9",
            SeriesInstanceUID="1.3.9",
        )
    )
    query = asked(orthanc, "/modalities/minipacs/query", {"Level": "Study", "Query": {"PatientName": "müller*"}})["ID"]
    [answer] = json.loads(orthanc.get(f"/queries/{query}/answers?expand&simplify")[1])
    assert answer["PatientName"] == "Müller^Jörg"


@required(ORTHANC)
def test_orthanc_is_told_of_a_destination_that_we_do_not_know(node: Archive, orthanc: Orthanc) -> None:
    node.know()
    query = asked(orthanc, "/modalities/minipacs/query", {"Level": "Study", "Query": {"PatientID": "P1"}})["ID"]
    status, _ = orthanc.post(f"/queries/{query}/retrieve", {"TargetAet": "ORTHANC", "Synchronous": True})
    assert status != 200
    assert node.told == [
        "C-MOVE refused with 0xA801: destination ORTHANC is not in the peer table; fix: minipacs peers add NAME "
        "ORTHANC@HOST:PORT"
    ]
