"""The rows for what we ask beyond Verification: for each a peer that brings it about, and all its words."""

import resource
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from pydicom import config, dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage, generate_uid
from pynetdicom import evt

from minipacs import Peer
from minipacs.diagnosis import SERVICES, Diagnosis
from minipacs.services.caller import Caller
from minipacs.services.find_scu import Find
from minipacs.services.image_files import ImageFiles
from minipacs.services.keys import Level, query, retrieval
from minipacs.services.retrieve_scu import Get, Move
from minipacs.services.sop_classes import FIND, GET, MOVE
from minipacs.services.store_scu import store

from . import service_fakes as fakes
from .fakes import Behaviour, faking
from .peers.scp import AE_TITLE, Handlers, answering, storing

IMAGES = Path(__file__).parents[1] / "samples" / "images"
CT = IMAGES / "ct-1-explicit.dcm"
STUDY = ["StudyInstanceUID=1.2.3"]
TIMEOUT, PATIENT = 2.0, 20.0


def caller(peer: Peer) -> Caller:
    """Impatient with a fake, which may hang, and patient with pynetdicom, which takes its time."""
    timeout = PATIENT if peer.ae_title == AE_TITLE else TIMEOUT
    return Caller(peer=peer, calling_ae_title="MINIPACS", timeout=timeout, scp_port=11112)


# --- who asks --------------------------------------------------------------------------------------------------------


def stores(peer: Peer, path: Path = CT) -> Diagnosis:
    (result,) = store(list(ImageFiles([path])), caller(peer))
    return Diagnosis(result.code, result.reason, result.fix)


def finds(peer: Peer) -> Diagnosis:
    return failure(Find(caller(peer), FIND[1], query(STUDY, Level.STUDY)))


def moves(peer: Peer, to: str = "MINIPACS") -> Diagnosis:
    return failure(Move(caller(peer), MOVE[1], retrieval(STUDY), to))


def gets(peer: Peer, folder: Path) -> Diagnosis:
    return failure(Get(caller(peer), GET[1], retrieval(STUDY), folder))


def failure(operation: Find | Move | Get) -> Diagnosis:
    for _ in operation:
        pass
    assert operation.failure is not None
    return operation.failure


# --- whom ------------------------------------------------------------------------------------------------------------


def fake(behave: Behaviour, ask: Callable[[Peer], Diagnosis]) -> Diagnosis:
    with faking(behave) as peer:
        return ask(peer.peer)


def scp(handlers: Handlers, ask: Callable[[Peer], Diagnosis]) -> Diagnosis:
    with answering(handlers) as peer:
        return ask(peer)


def status(event: evt.EventType, *answers: object) -> Handlers:
    """The same responses to each C-FIND, C-MOVE or C-GET."""

    def handle(_: evt.Event) -> Iterator[object]:
        yield from answers

    return [(event, handle)]


def for_another_object(uid: str) -> Handlers:
    """C-STORE-RSP with success, and the UID of another object than was sent."""

    def store_another(_: evt.Event) -> Dataset:
        response = Dataset()
        response.Status, response.AffectedSOPInstanceUID = 0, uid
        return response

    return [(evt.EVT_C_STORE, store_another)]


# --- proofs ----------------------------------------------------------------------------------------------------------

ALLOW = (
    "enable that SOP class on {}, and allow {} for MINIPACS there (Orthanc: AllowStore, AllowFind, AllowMove or "
    "AllowGet of that modality; minipacs: services of that peer)"
)
FIND_CLASS = "Study Root Query/Retrieve Information Model - FIND"
BROKEN = "the peer, or a proxy before it, is broken: report this to its vendor"
OVERLOADED = "the peer is overloaded or hangs: see its log, try again with a longer --timeout"
REGISTER = (
    "on PYNETDICOM: register AE title MINIPACS with the address and port where it takes images; Orthanc: "
    '"DicomModalities": { "minipacs": ["MINIPACS", "127.0.0.1", 11112] }; minipacs: minipacs peers add minipacs '
    "MINIPACS@127.0.0.1:11112"
)

PROOFS: dict[str, tuple[Callable[[], Diagnosis], str, str]] = {
    "service.sop-class": (
        partial(fake, fakes.refuses(3), finds),
        f"FAKE does not take {FIND_CLASS} (result 3)",
        ALLOW.format("FAKE", "C-FIND"),
    ),
    "service.transfer-syntax": (
        partial(fake, fakes.refuses(4), partial(stores, path=IMAGES / "mr-rle.dcm")),
        "FAKE does not take RLE Lossless for MR Image Storage",
        "enable that transfer syntax on FAKE; or convert the images before, as by gdcmconv --raw or dcmdjpeg of DCMTK",
    ),
    "service.aborted": (
        partial(fake, fakes.aborts, stores),
        "FAKE accepts the association and answers the C-STORE by A-ABORT 0/0",
        "see the peer's log; Orthanc does that where C-STORE is not allowed for MINIPACS: AllowStore, AllowFind, "
        "AllowMove or AllowGet of that modality",
    ),
    "service.released": (
        partial(fake, fakes.releases, finds),
        "FAKE released the association instead of answering the C-FIND",
        "see the peer's log: it ended the association of its own accord",
    ),
    "service.invalid": (
        partial(fake, fakes.answers_malformed, moves),
        "FAKE answers the C-MOVE by what is no response to it, so that we aborted",
        BROKEN,
    ),
    "service.excess": (
        partial(fake, fakes.answers_too_deep(33), finds),
        "FAKE answers the C-FIND by more than we take (the data set has sequences more than 32 deep), so that we "
        "aborted",
        "ask for less, as by StudyDate=20260101-20260131; where that is not it, the peer is broken: report this to "
        "its vendor",
    ),
    "service.another-message": (
        partial(fake, fakes.answers_another(0), stores),
        "FAKE answers the C-STORE by a response to message 8, not to 2, so that we aborted",
        BROKEN,
    ),
    "service.silence": (
        partial(fake, fakes.says_nothing, stores),
        f"FAKE accepted the association, but did not answer the C-STORE within {TIMEOUT:g} s",
        OVERLOADED,
    ),
    "status.out-of-resources": (
        partial(scp, storing(0xA700), stores),
        "PYNETDICOM answers the C-STORE with status 0xA700, Refused: Out of Resources",
        "see on PYNETDICOM whether its disk is full, or a limit of it is reached",
    ),
    "status.sop-class-not-supported": (
        partial(scp, storing(0x0122), stores),
        "PYNETDICOM answers the C-STORE with status 0x0122, Refused: SOP Class Not Supported",
        ALLOW.format(AE_TITLE, "C-STORE"),
    ),
    "status.not-authorized": (
        partial(scp, storing(0x0124), stores),
        "PYNETDICOM answers the C-STORE with status 0x0124, Refused: Not Authorised",
        "allow C-STORE for MINIPACS on PYNETDICOM",
    ),
    "status.other": (
        partial(fake, fakes.answers_status(0x0110), finds),
        "FAKE answers the C-FIND with status 0x0110, Processing Failure",
        "see the peer's log",
    ),
    "store.another-object": (
        partial(scp, for_another_object("1.2.3"), stores),
        "PYNETDICOM answers the C-STORE by a response for object 1.2.3, so that we aborted",
        BROKEN,
    ),
    "store.mismatch": (
        partial(scp, storing(0xA900), stores),
        "PYNETDICOM refuses the object, status 0xA900, Data Set Does Not Match SOP Class",
        "see which attributes PYNETDICOM misses: dciodvfy or dcmdump tell what is in the file; its log may name them",
    ),
    "store.not-understood": (
        partial(scp, storing(0xC123), stores),
        "PYNETDICOM cannot read the object, status 0xC123, Cannot Understand",
        "see the log of PYNETDICOM: the file may be damaged, or be of a kind that it does not know",
    ),
    "store.warning": (
        partial(scp, storing(0xB006), stores),
        "PYNETDICOM stored the object, with a warning: status 0xB006, Element Discarded",
        "",
    ),
    "query.identifier": (
        partial(scp, status(evt.EVT_C_FIND, (0xA900, None)), finds),
        "PYNETDICOM does not take the keys of the C-FIND, status 0xA900, Identifier Does Not Match SOP Class",
        "give the unique keys of every level above, too (StudyInstanceUID, SeriesInstanceUID), or try the other "
        "--model: some peers take none but full hierarchies",
    ),
    "query.unable": (
        partial(scp, status(evt.EVT_C_FIND, (0xC001, None)), finds),
        "PYNETDICOM cannot process the C-FIND, status 0xC001, Unable to Process",
        "see the log of PYNETDICOM; try fewer keys, or another --level",
    ),
    "query.cancelled": (
        partial(scp, status(evt.EVT_C_FIND, (0xFE00, None)), finds),
        "PYNETDICOM ended the C-FIND before its end: cancelled (status 0xFE00)",
        "ask again; where nobody pressed Ctrl-C here, see the log of PYNETDICOM",
    ),
    "move.destination": (
        partial(scp, status(evt.EVT_C_MOVE, (None, None)), moves),
        "PYNETDICOM does not know MINIPACS, to whom it is to send: status 0xA801, Move destination unknown",
        REGISTER,
    ),
    "move.differs": (
        partial(fake, fakes.answers_status(0, (0x1020, 3), (0x1021, 2), (0x1022, 0), (0x1023, 0)), moves),
        "FAKE answers the C-MOVE with success, and accounts for 2 of 5 objects",
        "see what came to MINIPACS: minipacs find tells what FAKE has, minipacs storage list what we have",
    ),
    "move.unable": (
        partial(fake, fakes.answers_status(0xC000), moves),
        "FAKE cannot process the C-MOVE to MINIPACS, status 0xC000, Unable to Process",
        "Orthanc says so where it has nothing that matches (minipacs find tells), where it does not reach MINIPACS at "
        "the address and port that it has for it, and where it does not know MINIPACS; for that, "
        + REGISTER.replace(AE_TITLE, "FAKE"),
    ),
    "move.failures": (
        partial(fake, fakes.answers_status(0xB000, (0x1021, 2), (0x1022, 3), (0x1023, 0)), moves),
        "FAKE could not send 3 of 5 objects to MINIPACS",
        "see that MINIPACS listens where FAKE has it, admits FAKE and stores (minipacs: minipacs serve --storage "
        "FOLDER), and the logs of both",
    ),
}


def large(path: Path, megabytes: int) -> Path:
    """An image of so many megabytes."""
    dataset = dcmread(CT)
    dataset.Rows = dataset.Columns = 1024
    dataset.NumberOfFrames = megabytes // 2
    dataset.PixelData = bytes(megabytes << 20)
    dataset.save_as(path)
    return path


def store_at_one_who_does_not_read(folder: Path) -> Diagnosis:
    told = threading.Event()
    with faking(fakes.does_not_read_until(told)) as peer:
        try:
            return stores(peer.peer, large(folder / "large.dcm", 32))
        finally:
            told.set()


def store_what_is_gone(folder: Path) -> Diagnosis:
    path = folder / "gone.dcm"
    path.write_bytes(CT.read_bytes())
    files = list(ImageFiles([path]))
    path.unlink()
    with answering(storing(0)) as peer:
        (result,) = store(files, caller(peer))
    return Diagnosis(result.code, result.reason, result.fix)


def store_what_a_dicomdir_lists(folder: Path, file_id: Sequence[str]) -> Diagnosis:
    """A DICOMDIR in its own folder, whose one image is said to be there."""
    with answering(storing(0)) as peer:
        (result,) = store(list(ImageFiles([dicomdir(folder / "disc", list(file_id))])), caller(peer))
    return Diagnosis(result.code, result.reason, result.fix)


def dicomdir(folder: Path, *file_ids: list[str]) -> Path:
    """A DICOMDIR that lists images at these File IDs (PS3.3 §F.3), whether they are there or not."""
    directory = Dataset()
    directory.DirectoryRecordSequence = []
    for file_id in file_ids:
        record = Dataset()
        record.DirectoryRecordType = "IMAGE"
        record[0x00041500] = DataElement(0x00041500, "CS", file_id, validation_mode=config.IGNORE)
        record.ReferencedSOPClassUIDInFile = dcmread(CT).SOPClassUID
        directory.DirectoryRecordSequence.append(record)
    directory.file_meta = FileMetaDataset()
    directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    directory.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    folder.mkdir(exist_ok=True)
    directory.save_as(folder / "DICOMDIR", enforce_file_format=True)
    return folder / "DICOMDIR"


def get_what_is_too_large(folder: Path) -> Diagnosis:
    """For the limit of this process on the size of its files, which is there for the time of this call."""

    def send(_: evt.Event) -> Iterator[object]:
        yield 1
        yield 0xFF00, dcmread(CT)

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with answering([(evt.EVT_C_GET, send)]) as peer:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
        try:
            return gets(peer, folder)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


def get_what_it_cannot_send(folder: Path) -> Diagnosis:
    return fake(fakes.answers_status(0xB000, (0x1021, 0), (0x1022, 1), (0x1023, 0)), partial(gets, folder=folder))


def store_what_is_odd(folder: Path) -> Diagnosis:
    path = folder / "odd.dcm"
    path.write_bytes(CT.read_bytes() + b"\0")
    with answering(storing(0)) as peer:
        return stores(peer, path)


IN_A_FOLDER: dict[str, tuple[Callable[[Path], Diagnosis], str, str]] = {
    "service.stalled": (
        store_at_one_who_does_not_read,
        f"FAKE has not read for {TIMEOUT:g} s what we send with the C-STORE",
        "the peer is overloaded or hangs, or its disk is full: see its log, try again with a longer --timeout",
    ),
    "store.unreadable": (
        store_what_is_gone,
        "the file cannot be read: [Errno 2] No such file or directory: 'FOLDER/gone.dcm'",
        "see that nobody writes the file meanwhile: dcmdump or dcmftest of DCMTK tell what is wrong with it",
    ),
    "store.odd": (
        store_what_is_odd,
        "the file cannot be sent: its data set has 33565 bytes, an odd number",
        "write the file anew, as by dcmconv or gdcmconv: a value of odd length, or a byte too many at its end, is no "
        "DICOM (PS3.5 7.1.1, PS3.8 Annex E)",
    ),
    "store.listed": (
        partial(store_what_a_dicomdir_lists, file_id=("IMAGES", "IMG1")),
        "the DICOMDIR lists the file, and it is not there",
        "see that the medium was copied whole; what is there can be sent by the name of the folder, without its "
        "DICOMDIR",
    ),
    "store.outside": (
        partial(store_what_a_dicomdir_lists, file_id=("..", "SECRET")),
        "the DICOMDIR leads out of its folder, so that the file was not opened",
        "name the file itself if it is to be sent; no DICOMDIR may do that: whoever made this one was careless, or "
        "hostile",
    ),
    "get.unable": (
        lambda folder: fake(fakes.answers_status(0xC000), partial(gets, folder=folder)),
        "FAKE cannot process the C-GET, status 0xC000, Unable to Process",
        "Orthanc says so where it has nothing that matches: see what it has by minipacs find; else see its log",
    ),
    "get.differs": (
        lambda folder: fake(fakes.answers_status(0, (0x1021, 3)), partial(gets, folder=folder)),
        "FAKE answers the C-GET with success, and says that it sent 3 objects: 0 are here",
        "ask again, into another folder; where it is so again, report this to the vendor of FAKE: it counts what it "
        "did not send, or sends other objects than it says, or than were asked for",
    ),
    "get.unwritten": (
        get_what_is_too_large,
        "what PYNETDICOM sends us cannot be written: File too large",
        "see that there is room on the disk of the folder (--output), and that it may be written to",
    ),
    "get.failures": (
        get_what_it_cannot_send,
        "FAKE could not send us 1 of 1 objects",
        "see the log of FAKE: it may have the objects only in transfer syntaxes that we do not take; and whether the "
        "disk here is full",
    ),
    "retrieve.nothing": (
        lambda folder: fake(fakes.answers_status(0, (0x1021, 0)), partial(gets, folder=folder)),
        "FAKE answers the C-GET with success, and has nothing that matches",
        "see what it has: minipacs find",
    ),
}


@pytest.mark.parametrize("code", [row.code for row in SERVICES])
def test_each_row_is_told_of_a_peer_that_fails_in_just_that_way(code: str, tmp_path: Path) -> None:
    if code in PROOFS:
        run, reason, fix = PROOFS[code]
        assert run() == Diagnosis(code, reason, fix)
    else:
        run_there, reason, fix = IN_A_FOLDER[code]
        assert run_there(tmp_path) == Diagnosis(code, reason.replace("FOLDER", str(tmp_path)), fix)


@pytest.mark.parametrize("name", ["C-FIND", "C-MOVE", "C-GET"])
def test_a_response_to_another_message_is_none_to_ours(name: str, tmp_path: Path) -> None:
    asks: dict[str, Callable[[Peer], Diagnosis]] = {
        "C-FIND": finds,
        "C-MOVE": moves,
        "C-GET": partial(gets, folder=tmp_path),
    }
    reason = f"FAKE answers the {name} by a response to message 7, not to 1, so that we aborted"
    assert fake(fakes.answers_another(0), asks[name]) == Diagnosis("service.another-message", reason, BROKEN)


@pytest.mark.parametrize("name", ["C-MOVE", "C-GET"])
def test_what_dcmtk_says_where_it_could_not_send_is_told_as_that(name: str, tmp_path: Path) -> None:
    """0xA702 is called out of resources (PS3.4 §C.4.2.1.5), and no disk is full."""
    counts = ((0x1021, 0), (0x1022, 2), (0x1023, 0))
    asks: dict[str, Callable[[Peer], Diagnosis]] = {"C-MOVE": moves, "C-GET": partial(gets, folder=tmp_path)}
    told = fake(fakes.answers_status(0xA702, *counts), asks[name])
    sent = (
        "send 2 of 2 objects (status 0xA702) to MINIPACS"
        if name == "C-MOVE"
        else "send us 2 of 2 objects (status 0xA702)"
    )
    assert (told.code, told.reason) == (f"{name[2:].lower()}.failures", f"FAKE could not {sent}")


def test_there_is_no_proof_without_a_row() -> None:
    assert {*PROOFS, *IN_A_FOLDER} == {row.code for row in SERVICES}
