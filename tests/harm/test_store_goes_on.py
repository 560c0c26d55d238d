"""A store goes on as long as a new association succeeds, tells what was not tried as that, and sends no half a file."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit, generate_uid
from pynetdicom import build_context, evt

from minipacs.services.bounded_reading import CutShort, selected
from tests import service_fakes as fakes
from tests.fakes import aborts_the_request, faking, in_turn, rejects
from tests.peers.scp import answering, contexts, storing
from tests.services.objects import CT as CT_CLASS
from tests.services.objects import data_set, write
from tests.test_service_rows import CT, IMAGES
from tests.test_store import FILES, run, run_json


def many(folder: Path, number: int) -> Path:
    folder.mkdir()
    for each in range(number):
        dataset = dcmread(CT)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.save_as(folder / f"{each:03}.dcm")
    return folder


# --- lost associations ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("behave", [fakes.aborts, fakes.closes], ids=["aborts", "closes"])
def test_each_object_is_tried_though_every_association_is_lost(behave: Any, tmp_path: Path) -> None:
    with faking(behave) as fake:
        code, objects, summary = run_json(tmp_path, fake.peer, IMAGES)
    assert code == 1
    assert fake.connections == len(FILES)
    assert all(each["tried"] and each["sent_as"] and each["ms"] > 0 for each in objects)
    assert (summary["failed"], summary["not_tried"]) == (7, 0)


@pytest.mark.parametrize("jobs", [1, 3])
def test_what_the_peer_can_take_is_stored_between_what_it_chokes_on(jobs: int, tmp_path: Path) -> None:
    folder = many(tmp_path / "images", 24)
    count = 0

    def choke(event: evt.Event) -> int:
        """Abort at the second to the sixth object, and at the last three."""
        nonlocal count
        count += 1
        if 2 <= count <= 6 or count > 21:
            event.assoc.abort()
        return 0

    with answering([(evt.EVT_C_STORE, choke)]) as peer:
        code, objects, summary = run_json(tmp_path, peer, folder, "--jobs", jobs)
    assert (code, summary["stored"], summary["failed"], summary["not_tried"]) == (1, 16, 8, 0)
    assert {each["code"] for each in objects} == {None, "service.aborted"}


def test_an_object_that_is_not_answered_costs_itself_and_its_time_is_told(tmp_path: Path) -> None:
    with faking(fakes.says_nothing) as fake:
        _, objects, _ = run_json(tmp_path, fake.peer, CT, IMAGES / "us-rgb.dcm", "--timeout", "0.3")
    assert [each["code"] for each in objects] == ["service.silence"] * 2
    assert all(each["ms"] >= 300 for each in objects)


# --- not tried --------------------------------------------------------------------------------------------------------


def test_what_was_not_tried_is_told_as_that_and_why(tmp_path: Path) -> None:
    """As when the peer goes away in the middle."""
    behaviours = fakes.aborts, fakes.aborts, rejects(1, 1, 7)
    with faking(in_turn(*behaviours)) as fake:
        code, objects, summary = run_json(tmp_path, fake.peer, IMAGES)
    with faking(in_turn(*behaviours)) as fake:
        _, out, _ = run(tmp_path, fake.peer, IMAGES)
    tried, others = objects[:2], objects[2:]
    assert code == 1
    assert all(each["tried"] and each["code"] == "service.aborted" for each in tried)
    assert {(each["tried"], each["code"], each["sent_as"], each["ms"]) for each in others} == {
        (False, "rejected.called-ae-title", None, None)
    }
    assert (summary["failed"], summary["not_tried"]) == (7, 5)
    lines = out.splitlines()
    assert lines[-1] == "0 of 7 objects stored, 2 failed, 5 not tried, 1 file skipped: no DICOM"
    assert lines.count("minipacs: the peer is not called FAKE (rejected 1/1/7) [rejected.called-ae-title]") == 1
    assert "did not answer" not in out


def test_a_peer_that_answers_no_request_for_an_association_is_not_asked_for_ever(tmp_path: Path) -> None:
    """Each such answer is one to our A-ASSOCIATE-RQ, whatever it is."""
    for behave, connections in ((aborts_the_request, 2), (rejects(2, 3, 1), 1), (rejects(1, 1, 1), 1)):
        with faking(behave) as fake:
            code, objects, _ = run_json(tmp_path, fake.peer, IMAGES)
        assert code == 1
        assert fake.connections <= connections
        assert len(objects) == len(FILES)
        assert not any(each["tried"] for each in objects)


def test_a_peer_that_has_no_room_for_the_moment_is_asked_again(tmp_path: Path) -> None:
    """As one that has not yet let go of the association that was lost."""
    busy = rejects(2, 3, 2)
    with faking(in_turn(fakes.aborts, busy, busy, fakes.closes, fakes.aborts, rejects(1, 1, 1))) as fake:
        _, objects, _ = run_json(tmp_path, fake.peer, IMAGES)
    assert fake.connections == 6
    assert [each["code"] for each in objects[:3]] == ["service.aborted", "aborted.closed", "service.aborted"]
    assert not any(each["tried"] for each in objects[3:])


def test_one_association_that_is_refused_beside_another_leaves_nothing_untried(tmp_path: Path) -> None:
    """Also of those objects that need an association with other contexts."""
    for context in contexts()[:70]:
        write(tmp_path / "images" / f"{context.abstract_syntax}.dcm", one_of(str(context.abstract_syntax)))
    with answering(storing(0), most=1) as peer:
        code, _, summary = run_json(tmp_path, peer, tmp_path / "images", "--jobs", "3")
    assert (code, summary["stored"], summary["not_tried"]) == (0, 70, 0)


def one_of(sop_class: str) -> Any:
    return data_set(1, SOPClassUID=sop_class, SOPInstanceUID=generate_uid())


# --- whose answer it is -----------------------------------------------------------------------------------------------


def test_a_response_for_another_object_is_no_success(tmp_path: Path) -> None:
    from tests.test_service_rows import for_another_object

    with answering(for_another_object("1.2.3")) as peer:
        code, objects, summary = run_json(tmp_path, peer, IMAGES)
    assert (code, summary["stored"]) == (1, 0)
    assert {each["code"] for each in objects} == {"store.another-object"}


# --- cut short --------------------------------------------------------------------------------------------------------


def samples(folder: Path) -> dict[str, Path]:
    """Files in transfer syntaxes of every kind."""
    made = {path.name: path for path in FILES}
    for syntax in (DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit):
        made[syntax] = write(folder / f"{syntax}.dcm", data_set(1), syntax)
    for name in ("nested_priv_SQ.dcm", "JPEG2000.dcm", "ExplVR_BigEnd.dcm", "image_dfl.dcm"):
        made[name] = Path(str(get_testdata_file(name)))
    return made


def test_no_file_that_is_whole_is_taken_for_one_that_is_cut_short(tmp_path: Path) -> None:
    for path in samples(tmp_path).values():
        selected(path, (), is_whole=True)


def test_wherever_a_file_is_cut_it_is_found(tmp_path: Path) -> None:
    """At any byte, but for those between two elements of a data set that says nothing of its own length."""
    for path in samples(tmp_path).values():
        content = path.read_bytes()
        dataset = dcmread(path)
        start = 144 + int.from_bytes(content[140:144], "little")
        cut = tmp_path / "cut.dcm"
        missed = []
        for end in range(len(content) - 1, start, -max(1, (len(content) - start) // 150)):
            cut.write_bytes(content[:end])
            try:
                selected(cut, (), is_whole=True)
                missed.append(end)
            except CutShort:
                pass
        assert len(missed) <= len(list(dataset)), (path, missed)


@pytest.mark.parametrize("name", ["ct-1-explicit.dcm", "ct-2-implicit.dcm", "cr-big-endian.dcm", "mr-rle.dcm"])
@pytest.mark.parametrize("share", [0.6, 0.99])
def test_a_file_that_is_cut_short_is_found_before_it_is_sent(name: str, share: float, tmp_path: Path) -> None:
    content = (IMAGES / name).read_bytes()
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(content[: int(len(content) * share)])
    with faking(fakes.takes) as fake:
        code, (failed,), summary = run_json(tmp_path, fake.peer, cut)
    assert (code, failed["code"], summary["failed"]) == (1, "store.unreadable", 1)
    assert failed["reason"] == "the file cannot be read: the data set is cut short in PixelData (7FE0,0010)"
    assert fake.received == []


@pytest.mark.parametrize("name", ["MR_truncated.dcm", "rtplan_truncated.dcm"])
def test_the_others_of_its_folder_are_stored(name: str, tmp_path: Path) -> None:
    shutil.copy(str(get_testdata_file(name)), tmp_path / "truncated.dcm")
    shutil.copy(CT, tmp_path / "whole.dcm")
    with answering(storing(0)) as peer:
        code, objects, summary = run_json(tmp_path, peer, tmp_path)
    assert (code, summary["stored"], summary["failed"]) == (1, 1, 1)
    assert {Path(each["path"]).name: each["code"] for each in objects} == {
        "truncated.dcm": "store.unreadable",
        "whole.dcm": None,
    }


def test_what_inflates_without_end_is_gone_through_in_little_memory(tmp_path: Path) -> None:
    """And one that is cut short is found, however much it inflates to: 100 MB here."""
    import tracemalloc

    path = write(tmp_path / "large.dcm", data_set(1, PixelData=bytes(100_000_000)), DeflatedExplicitVRLittleEndian)
    tracemalloc.start()
    try:
        selected(path, (), is_whole=True)
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(CutShort, match=r"in PixelData \(7FE0,0010\)"):
            selected(path, (), is_whole=True)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_a_file_of_a_class_that_is_written_anew_is_looked_at_as_well(tmp_path: Path) -> None:
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(CT.read_bytes()[:-4])
    with answering(storing(0), [build_context(CT_CLASS, ImplicitVRLittleEndian)]) as peer:
        code, (failed,), _ = run_json(tmp_path, peer, cut)
    assert (code, failed["code"]) == (1, "store.unreadable")
