"""What a peer says of a C-GET is a claim: `get` counts its own files, looks at the UIDs inside, and exits 1 by them."""

import gc
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import DataElement, config, dcmread
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import build_context, evt
from pynetdicom.dimse_messages import C_GET_RSP, C_STORE_RQ

from minipacs import Peer
from minipacs.services import calling
from minipacs.services.bounded_reading import selected
from tests import service_fakes as fakes
from tests.fakes import Conversation, faking, in_turn
from tests.peers.scp import answering
from tests.services.objects import CT as CT_CLASS
from tests.services.objects import ROOT, data_set, write
from tests.storing import data_pdus, store_rq
from tests.test_find_move_get import run, run_json
from tests.test_service_rows import gets, status

STUDY = f"StudyInstanceUID={ROOT}.1.1"
_UID = 0x00001000  # Affected SOP Instance UID
UIDS = [f"{ROOT}.3.{number}" for number in range(10)]

Falsify = Callable[[Any], None]


def nothing(_: Any) -> None:
    """Be honest."""


@contextmanager
def sending(paths: Sequence[Path], *, request: Falsify = nothing, response: Falsify = nothing) -> Iterator[Peer]:
    """A peer that sends these by C-GET, and falsifies each request, and each of its own responses, before it goes."""

    def send(_: evt.Event) -> Iterator[object]:
        yield len(paths)
        for path in paths:
            yield 0xFF00, dcmread(path)

    def falsify(event: Any) -> None:
        if isinstance(event.message, C_STORE_RQ):
            request(event.message)
        elif isinstance(event.message, C_GET_RSP):
            response(event.message.command_set)

    with answering([(evt.EVT_C_GET, send), (evt.EVT_DIMSE_SENT, falsify)]) as peer:
        yield peer


def some(folder: Path, *numbers: int, syntax: UID = ExplicitVRLittleEndian, **attributes: object) -> list[Path]:
    paths = [folder / f"{number}-{len(attributes)}.dcm" for number in numbers]
    return [write(path, data_set(number, **attributes), syntax) for path, number in zip(paths, numbers, strict=True)]


def says(completed: int) -> Falsify:
    """A peer that counts so many objects as sent, whatever happens, and none as failed."""

    def change(command_set: Any) -> None:
        command_set.NumberOfCompletedSuboperations = completed
        command_set.NumberOfFailedSuboperations = command_set.NumberOfRemainingSuboperations = 0
        if command_set.Status != 0xFF00:
            command_set.Status = 0

    return change


def announcing(uid: str) -> Falsify:
    """Another object, by a UID of the same length."""

    def change(message: Any) -> None:
        assert len(message.command_set.AffectedSOPInstanceUID) == len(uid)
        message.command_set.AffectedSOPInstanceUID = uid

    return change


def got(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


# --- counts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("said", "came"), [(3, 0), (1, 0), (3, 2), (65_535, 1), (1, 2)])
def test_a_peer_that_counts_what_did_not_come_is_not_believed(said: int, came: int, tmp_path: Path) -> None:
    with sending(some(tmp_path, *range(came)), response=says(said)) as peer:
        code, out, err = run(tmp_path, "get", peer, STUDY, "--output", "got")
    assert code == 1
    assert got(tmp_path / "got") == {f"{uid}.dcm" for uid in UIDS[:came]}
    objects = "1 object" if max(said, came) == 1 else f"{max(said, came)} objects"
    assert out == f"{came} of {objects} received\n"
    assert f"says that it sent {said} objects: {came} are here [get.differs]" in err


def leaves(remaining: int) -> Falsify:
    """A peer that has so many objects more to send, and does not."""

    def change(command_set: Any) -> None:
        command_set.NumberOfRemainingSuboperations = remaining

    return change


def tells_before(total: int) -> Falsify:
    """A peer that tells of so many objects before the last response, which counts what came."""

    def change(command_set: Any) -> None:
        if command_set.Status == 0xFF00:
            command_set.NumberOfRemainingSuboperations = total - command_set.NumberOfCompletedSuboperations

    return change


@pytest.mark.filterwarnings("ignore:unclosed file")  # of the object that was under way
def test_a_peer_that_sends_without_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A C-GET counts 65 535 objects at most; to send as many takes a minute."""
    monkeypatch.setattr(calling, "MOST_OBJECTS", 100)

    def send(conversation: Conversation, request: tuple[int, int, int]) -> None:
        piece = store_rq(b"1.2.3", context_id=request[0]) + b"".join(data_pdus(b"no data set", context_id=request[0]))
        with suppress(OSError):
            while True:
                conversation.send(piece)
        conversation.close()

    with faking(in_turn(fakes.refuses(3), fakes.at_the_request(send))) as fake:
        failure = gets(fake.peer, tmp_path / "got")
    gc.collect()
    assert failure.code == "service.excess"
    assert "more than 100 objects" in failure.reason


@pytest.mark.parametrize("response", [leaves(4), tells_before(6)])
def test_a_success_before_all_that_was_counted_has_come_is_none(response: Falsify, tmp_path: Path) -> None:
    with sending(some(tmp_path, 1, 2), response=response) as peer:
        code, out, err = run(tmp_path, "get", peer, STUDY, "--output", "got")
    assert (code, got(tmp_path / "got")) == (1, {f"{uid}.dcm" for uid in UIDS[1:3]})
    assert out == "2 of 6 objects received\n"
    assert "says that it sent 6 objects: 2 are here [get.differs]" in err


@pytest.mark.parametrize("uid", ["../../x", "\x1b[2J", "1." + "9" * 60_000])
def test_a_uid_that_is_none_becomes_no_name_and_is_shown_to_nobody(uid: str, tmp_path: Path) -> None:
    def change(message: Any) -> None:
        message.command_set[_UID] = DataElement(_UID, "UI", uid, validation_mode=config.IGNORE)

    with sending(some(tmp_path, 1), request=change) as peer:
        code, _, err = run(tmp_path, "get", peer, STUDY, "--output", "got")
    assert (code, got(tmp_path / "got")) == (1, set())
    assert len(err) < 1_000
    assert uid not in err


def test_a_peer_that_says_success_and_sends_nothing_has_nothing(tmp_path: Path) -> None:
    with faking(fakes.answers_status(0)) as fake:  # it counts nothing either
        assert gets(fake.peer, tmp_path / "got").code == "retrieve.nothing"


def test_a_peer_that_counts_nothing_is_counted_for(tmp_path: Path) -> None:
    def leave_out(command_set: Any) -> None:
        for kind in ("Remaining", "Completed", "Failed", "Warning"):
            command_set.pop(f"NumberOf{kind}Suboperations", None)

    with sending(some(tmp_path, 1, 2), response=leave_out) as peer:
        code, out, _ = run(tmp_path, "get", peer, STUDY, "--output", "got")
    assert (code, out) == (0, "2 of 2 objects received\n")


def test_two_objects_of_one_uid_are_one(tmp_path: Path) -> None:
    with sending(some(tmp_path, 1, 1)) as peer:
        code, (told,) = run_json(tmp_path, "get", peer, STUDY, "--output", "got")
    assert (code, told["code"], told["completed"]) == (1, "get.differs", 2)
    assert told["files"] == [f"got/{UIDS[1]}.dcm"]


def test_of_two_objects_of_one_uid_that_are_otherwise_the_first_stays(tmp_path: Path) -> None:
    paths = some(tmp_path, 1) + some(tmp_path, 1, StudyDescription="another one")
    with sending(paths, response=says(2)) as peer:
        code, (told,) = run_json(tmp_path, "get", peer, STUDY, "--output", "got")
    assert (code, told["code"]) == (1, "get.differs")
    assert (told["files"], told["kept"]) == ([f"got/{UIDS[1]}.dcm"], [f"got/{UIDS[1]}.dcm"])
    assert dcmread(tmp_path / "got" / f"{UIDS[1]}.dcm").StudyDescription == "Head"


def test_an_honest_peer_is_no_failure_whatever_the_transfer_syntax(tmp_path: Path) -> None:
    syntaxes = [DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian]
    paths = [path for number, syntax in enumerate(syntaxes) for path in some(tmp_path, number, syntax=syntax)]
    with sending(paths) as peer:
        code, out, err = run(tmp_path, "get", peer, STUDY, "--output", "got")
    assert (code, out, err) == (0, "3 of 3 objects received\n", "")


# --- the UIDs inside --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_the_data_set_of_another_object_is_not_kept_under_the_uid_that_is_announced(
    syntax: UID, tmp_path: Path
) -> None:
    paths = some(tmp_path, 1, syntax=syntax)
    with sending(paths, request=announcing(UIDS[7]), response=says(1)) as peer:
        code, out, err = run(tmp_path, "get", peer, STUDY, "--output", "got")
    assert code == 1
    line, counts = out.splitlines()
    kept = f"not kept, for its data set is that of {UIDS[1]} of SOP class {CT_CLASS}"
    assert line == f"object {UIDS[7]} of SOP class {CT_CLASS}: {kept}"
    assert counts == "0 of 1 object received"
    assert "1 objects: 0 are here; 1 not as it says, or not as was asked for [get.differs]" in err
    assert got(tmp_path / "got") == set()


def test_an_honest_count_of_what_is_not_kept_fails_as_well(tmp_path: Path) -> None:
    """The peer is told 0xA900."""
    (path,) = some(tmp_path, 1)
    statuses: list[int] = []

    def note(event: Any) -> None:
        if "Status" in event.message.command_set:
            statuses.append(event.message.command_set.Status)

    def send(event: evt.Event) -> Iterator[object]:
        event.assoc.bind(evt.EVT_DIMSE_RECV, note)
        yield 1
        yield 0xFF00, dcmread(path)

    def change(event: Any) -> None:
        if isinstance(event.message, C_STORE_RQ):
            announcing(UIDS[7])(event.message)

    with answering([(evt.EVT_C_GET, send), (evt.EVT_DIMSE_SENT, change)]) as peer:
        code, (told,) = run_json(tmp_path, "get", peer, STUDY, "--output", "got")
    assert (code, told["failed"], told["files"]) == (1, 1, [])
    assert statuses == [0xA900]


@pytest.mark.parametrize(
    "content",
    [b"no data set at all", bytes(100), b"\x08\0\x18\0UI\xff\xff1.2.3"],
    ids=["text", "zeros", "cut short"],
)
def test_what_is_no_data_set_is_not_kept(content: bytes, tmp_path: Path) -> None:
    def replace(message: Any) -> None:
        message.data_set = BytesIO(content + bytes(len(content) % 2))

    with sending(some(tmp_path, 1), request=replace, response=says(1)) as peer:
        code, (told,) = run_json(tmp_path, "get", peer, STUDY, "--output", "got")
    assert (code, told["code"], told["files"], got(tmp_path / "got")) == (1, "get.differs", [], set())


@pytest.mark.parametrize(
    "asked",
    [
        ["StudyInstanceUID=1.2.3"],
        [STUDY, "SeriesInstanceUID=1.2.3"],
        [STUDY, f"SeriesInstanceUID={ROOT}.2.1", f"SOPInstanceUID={UIDS[8]}"],
    ],
)
def test_what_was_not_asked_for_is_told_of_and_lost_by_nobody(asked: list[str], tmp_path: Path) -> None:
    with sending(some(tmp_path, 1)) as peer:
        code, out, err = run(tmp_path, "get", peer, *asked, "--output", "got")
    assert code == 1
    assert out.startswith(f"object {UIDS[1]}: not asked for, with {asked[-1].partition('=')[0]} ")
    assert "[get.differs]" in err
    assert got(tmp_path / "got") == {f"{UIDS[1]}.dcm"}


def test_several_that_were_asked_for_by_a_list_are_all_asked_for(tmp_path: Path) -> None:
    asked = [STUDY, f"SeriesInstanceUID={ROOT}.2.1", f"SOPInstanceUID={UIDS[1]}\\{UIDS[2]}"]
    with sending(some(tmp_path, 1, 2)) as peer:
        code, out, _ = run(tmp_path, "get", peer, *asked, "--output", "got")
    assert (code, out) == (0, "2 of 2 objects received\n")


def test_many_that_are_not_as_they_should_be_do_not_fill_the_screen(tmp_path: Path) -> None:
    with sending(some(tmp_path, *range(30))) as peer:
        code, out, err = run(tmp_path, "get", peer, "StudyInstanceUID=1.2.3", "--output", "got")
    assert code == 1
    assert len(out.splitlines()) == 21
    assert "30 not as it says" in err


def test_what_inflates_without_end_before_its_uids_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.dcm"
    write(path, data_set(1, StudyDescription=None, PixelData=None), DeflatedExplicitVRLittleEndian)
    data = data_set(1)
    data.add_new(0x00090010, "LO", "MINIPACS")
    data.add_new(0x00091001, "OB", bytes(100_000_000))
    write(path, data, DeflatedExplicitVRLittleEndian)
    tracemalloc.start()
    try:
        head = selected(path, (0x00080018, 0x0020000D))
        assert (head.SOPInstanceUID, head.StudyInstanceUID) == (UIDS[1], f"{ROOT}.1.1")
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


# --- move -------------------------------------------------------------------------------------------------------------


def test_a_move_whose_last_response_does_not_account_for_all_fails(tmp_path: Path) -> None:
    """There is no other word for it than the peer's; but that has to be of a piece."""

    def shrink(command_set: Any) -> None:
        if command_set.Status != 0xFF00:
            command_set.Status, command_set.NumberOfCompletedSuboperations = 0, 1
            command_set.NumberOfFailedSuboperations = 0

    def change(event: Any) -> None:
        if type(event.message).__name__ == "C_MOVE_RSP":
            shrink(event.message.command_set)

    with answering([(evt.EVT_C_STORE, lambda _: 0)]) as destination:
        place = (destination.host, destination.port, {"contexts": [build_context(CT_CLASS)]})
        objects = [(0xFF00, dcmread(path)) for path in some(tmp_path, 1, 2, 3)]
        handlers = [*status(evt.EVT_C_MOVE, place, 3, *objects), (evt.EVT_DIMSE_SENT, change)]
        with answering(handlers) as peer:
            code, (told,) = run_json(tmp_path, "move", peer, STUDY)
    assert (code, told["code"]) == (1, "move.differs")
    assert "accounts for 1 of 3 objects" in told["reason"]
