"""minipacs store, as a person and a script run it, against Orthanc, DCMTK, pynetdicom and peers that misbehave."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import build_context, evt

from . import service_fakes as fakes
from .fakes import faking, in_turn, refusing
from .peers.dcmtk import STORESCP, storescp
from .peers.node import MINIPACS, environment, run_minipacs
from .peers.orthanc import ORTHANC, Orthanc
from .peers.ports import free_port
from .peers.process import running
from .peers.required import required
from .peers.scp import answering, contexts, storing
from .test_service_rows import CT, IMAGES, dicomdir, large

FILES = sorted(IMAGES.glob("*.dcm"))
DCMMKDIR = "/usr/bin/dcmmkdir"


def run(folder: Path, *arguments: object) -> tuple[int, str, str]:
    done = run_minipacs(folder, "store", *map(str, arguments))
    return done.returncode, done.stdout, done.stderr


def run_json(folder: Path, *arguments: object) -> tuple[int, list[dict[str, Any]], dict[str, Any]]:
    """The exit code, an object for each image, and the one that counts them."""
    code, out, err = run(folder, *arguments, "--json")
    assert err == ""
    *objects, summary = map(json.loads, out.splitlines())
    return code, objects, summary


def data_set(path: Path) -> bytes:
    """All behind the file meta information, as it is in the file."""
    data = path.read_bytes()
    return data[132 + 12 + int.from_bytes(data[140:144], "little") :]


# --- peers that take everything -------------------------------------------------------------------------------------


@required(STORESCP)
@pytest.mark.parametrize("jobs", [1, 3])
def test_storescp_has_each_image_as_it_is(jobs: int, tmp_path: Path) -> None:
    with storescp(tmp_path / "scp", ae_title="STORESCP", args=["+xa", "--fork"]) as scp:
        code, out, err = run(tmp_path, f"STORESCP@127.0.0.1:{scp.port}", IMAGES, "--jobs", jobs)
    assert (code, err) == (0, "")
    summary = r"7 of 7 objects stored in \d+\.\d\d s \(\d+ a second, \d+\.\d MB/s\), 1 file skipped: no DICOM\n"
    assert re.fullmatch(summary, out)
    received = {dcmread(path).SOPInstanceUID: data_set(path) for path in scp.folder.iterdir()}
    assert received == {dcmread(path).SOPInstanceUID: data_set(path) for path in FILES}


@required(ORTHANC)
def test_orthanc_has_each_image_byte_for_byte(tmp_path: Path) -> None:
    with Orthanc(tmp_path / "orthanc", minipacs_port=free_port()) as orthanc:
        code, objects, summary = run_json(tmp_path, f"ORTHANC@127.0.0.1:{orthanc.dicom_port}", IMAGES)
        assert code == 0
        assert {each["status"] for each in objects} == {"0x0000"}
        assert [Path(each["path"]).name for each in objects] == [path.name for path in FILES]
        assert {key: summary[key] for key in ("objects", "stored", "warned", "failed", "skipped")} == {
            "objects": 7,
            "stored": 7,
            "warned": 0,
            "failed": 0,
            "skipped": 1,
        }
        stored = json.loads(orthanc.get("/instances?expand")[1])
        assert {each["MainDicomTags"]["SOPInstanceUID"] for each in stored} == {
            each["sop_instance_uid"] for each in objects
        }


@required(ORTHANC)
def test_orthanc_that_does_not_know_us_is_told_of_once_and_exits_1(tmp_path: Path) -> None:
    with Orthanc(tmp_path / "orthanc", minipacs_port=free_port()) as orthanc:
        code, out, _ = run(tmp_path, f"ORTHANC@127.0.0.1:{orthanc.dicom_port}", IMAGES, "--calling", "STRANGER")
    reason, fix, summary = out.splitlines()
    assert code == 1
    assert reason.startswith("minipacs: ORTHANC does not know our AE title STRANGER, ")
    assert reason.endswith("(rejected 1/1/3) [rejected.calling-ae-title]")
    assert fix.startswith("fix: on ORTHANC: register AE title STRANGER at 127.0.0.1 port 11112; Orthanc: ")
    assert summary == "0 of 7 objects stored, 7 not tried, 1 file skipped: no DICOM"


def test_a_peer_that_is_not_there_is_asked_once(tmp_path: Path) -> None:
    with refusing() as peer:
        code, objects, summary = run_json(tmp_path, peer, IMAGES)
    assert code == 1
    assert {(each["outcome"], each["code"], each["sent_as"]) for each in objects} == {
        ("failed", "unreachable.refused", None)
    }
    assert (summary["failed"], summary["stored"]) == (7, 0)


# --- what is sent -----------------------------------------------------------------------------------------------------


@required(DCMMKDIR)
def test_a_dicomdir_is_all_that_it_lists(tmp_path: Path) -> None:
    for number, path in enumerate((CT, IMAGES / "us-rgb.dcm"), 1):
        shutil.copy(path, tmp_path / f"IMG{number}")
    (tmp_path / "OTHER").write_bytes(CT.read_bytes())
    command = [DCMMKDIR, "--general-purpose", "--invent", "IMG1", "IMG2"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=30)
    with answering(storing(0)) as peer:
        code, objects, _ = run_json(tmp_path, peer, tmp_path / "DICOMDIR")
    assert code == 0
    assert [Path(each["path"]).name for each in objects] == ["IMG1", "IMG2"]


def test_a_file_is_sent_once_however_often_it_is_named(tmp_path: Path) -> None:
    with answering(storing(0)) as peer:
        _, objects, summary = run_json(tmp_path, peer, CT, IMAGES, CT)
    assert (len(objects), summary["objects"]) == (7, 7)


@pytest.mark.parametrize("content", [b"", b"no DICOM", bytes(128) + b"DICM", CT.read_bytes()[:140]])
def test_a_named_file_that_is_no_dicom_is_an_error_before_anything_is_sent(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_bytes(content)
    with faking(fakes.takes) as fake:
        code, out, err = run(tmp_path, fake.peer, CT, path)
    assert (code, out) == (2, "")
    rule = "file: must be DICOM with its file meta information (Part 10), not something else"
    assert err == f"{path}: {rule}\n"
    assert fake.received == []


def test_a_folder_without_images_stores_nothing_and_exits_1(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "note.txt").write_text("no DICOM")
    with answering(storing(0)) as peer:
        assert run(tmp_path, peer, tmp_path / "folder") == (
            1,
            "nothing to store: no DICOM file is there, 1 file skipped: no DICOM\n",
            "",
        )


def test_what_a_dicomdir_lists_in_vain_fails_by_its_name_and_the_rest_is_stored(tmp_path: Path) -> None:
    (tmp_path / "SECRET").write_bytes(CT.read_bytes())
    disc = tmp_path / "disc"
    listed = [["A", "IMG1"], ["A", "IMG2"], ["..", "SECRET"], [str(tmp_path), "SECRET"], ["LINK"], ["NOTE"], ["N\0E"]]
    directory = dicomdir(disc, *listed)
    (disc / "A").mkdir()
    shutil.copy(CT, disc / "A" / "IMG1")
    (disc / "LINK").symlink_to(tmp_path / "SECRET")
    (disc / "NOTE").write_text("no DICOM")
    with answering(storing(0)) as peer:
        code, objects, summary = run_json(tmp_path, peer, directory)
        _, out, _ = run(tmp_path, peer, directory)
    assert (code, summary["stored"], summary["failed"]) == (1, 1, 6)
    assert {each["path"]: each["code"] for each in objects} == {
        f"{disc}/A/IMG1": None,
        f"{disc}/A/IMG2": "store.listed",
        f"{disc}/../SECRET": "store.outside",
        f"{tmp_path}/SECRET": "store.outside",
        f"{disc}/LINK": "store.outside",
        f"{disc}/NOTE": "store.listed",
        f"{disc}/N\ufffdE": "store.listed",
    }
    assert f"{disc}/A/IMG2: failed: the DICOMDIR lists the file, and it is not there [store.listed]\nfix: " in out
    assert f"{disc}/NOTE: failed: the DICOMDIR lists the file, and it is no image with file meta information" in out


def test_nothing_outside_the_folder_of_a_dicomdir_is_opened(tmp_path: Path) -> None:
    """Whoever opens a pipe waits until somebody writes."""
    os.mkfifo(tmp_path / "PIPE")
    directory = dicomdir(tmp_path / "disc", ["..", "PIPE"])
    with answering(storing(0)) as peer:
        code, (failed,), _ = run_json(tmp_path, peer, directory)
    assert (code, failed["code"]) == (1, "store.outside")


def test_a_disc_whose_names_are_shown_in_small_letters_is_read(tmp_path: Path) -> None:
    directory = dicomdir(tmp_path / "disc", ["IMAGES", "IMG1"])
    (tmp_path / "disc" / "images").mkdir()
    shutil.copy(CT, tmp_path / "disc" / "images" / "img1")
    with answering(storing(0)) as peer:
        code, (stored,), _ = run_json(tmp_path, peer, directory)
    assert (code, stored["path"]) == (0, f"{tmp_path}/disc/images/img1")


def test_a_file_in_a_folder_that_cannot_be_read_fails_and_the_others_are_stored(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(CT, folder)
    (folder / "broken").symlink_to("/proc/self/mem")  # a file, and an error to whoever reads it at its beginning
    with answering(storing(0)) as peer:
        code, objects, summary = run_json(tmp_path, peer, folder)
    assert (code, summary["stored"], summary["failed"]) == (1, 1, 1)
    assert [each["reason"] for each in objects if each["outcome"] == "failed"] == [
        "the file cannot be read: Input/output error"
    ]


# --- transfer syntaxes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "taken"),
    [("ct-1-explicit.dcm", ImplicitVRLittleEndian), ("ct-2-implicit.dcm", ExplicitVRLittleEndian)],
)
def test_an_uncompressed_image_is_written_anew_where_the_peer_takes_it_otherwise(
    name: str, taken: str, tmp_path: Path
) -> None:
    received: list[bytes] = []

    def keep(event: evt.Event) -> int:
        received.append(event.dataset_path.read_bytes())
        return 0

    supported = [build_context(dcmread(CT).SOPClassUID, taken)]
    with answering([(evt.EVT_C_STORE, keep)], supported) as peer:
        code, (stored,), _ = run_json(tmp_path, peer, IMAGES / name)
    assert (code, stored["sent_as"]) == (0, taken)
    copy = tmp_path / "copy.dcm"
    copy.write_bytes(received[0])
    assert dcmread(copy).file_meta.TransferSyntaxUID == taken
    assert dcmread(copy) == dcmread(IMAGES / name)


def test_a_compressed_image_fails_by_its_name_and_the_others_are_stored(tmp_path: Path) -> None:
    uncompressed: list[str | UID] = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
    supported = [build_context(str(context.abstract_syntax), uncompressed) for context in contexts()[:-6]]
    with answering(storing(0), supported) as peer:
        code, out, _ = run(tmp_path, peer, IMAGES)
    assert code == 1
    lines = out.splitlines()
    assert f"{IMAGES}/mr-rle.dcm: failed: PYNETDICOM does not take RLE Lossless for MR Image Storage" in lines[2]
    assert lines[2].endswith("[service.transfer-syntax]")
    assert lines[0].startswith(f"{IMAGES}/cr-big-endian.dcm: failed: PYNETDICOM does not take Explicit VR Big Endian")
    assert lines[-1].startswith("5 of 7 objects stored in ")
    assert lines[-1].endswith("2 failed, 1 file skipped: no DICOM")


@required(STORESCP)
def test_a_transfer_syntax_that_dcmtk_refuses_like_an_unknown_class_is_told_as_what_it_is(
    tmp_path: Path,
) -> None:
    with storescp(tmp_path / "scp", ae_title="STORESCP") as scp:
        code, (failed,), _ = run_json(tmp_path, f"STORESCP@127.0.0.1:{scp.port}", IMAGES / "mr-rle.dcm")
    assert (code, failed["code"]) == (1, "service.transfer-syntax")
    assert failed["reason"] == "STORESCP does not take RLE Lossless for MR Image Storage"


def test_a_sop_class_that_the_peer_refuses_fails_and_the_others_are_stored(tmp_path: Path) -> None:
    supported = [context for context in contexts() if context.abstract_syntax != dcmread(CT).SOPClassUID]
    with answering(storing(0), supported) as peer:
        code, objects, summary = run_json(tmp_path, peer, IMAGES)
    assert (code, summary["stored"], summary["failed"]) == (1, 5, 2)
    assert {(each["sop_class"], each["code"]) for each in objects if each["outcome"] == "failed"} == {
        ("CT Image Storage", "service.sop-class")
    }


def test_more_contexts_than_an_association_has_go_over_two(tmp_path: Path) -> None:
    """Each of 70 SOP classes needs two contexts, and an association has 128."""
    for context in contexts()[:70]:
        dataset = dcmread(IMAGES / "sc-utf-8.dcm")
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = UID(str(context.abstract_syntax))
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.save_as(tmp_path / f"{dataset.SOPInstanceUID}.dcm")
    asked: list[int] = []
    handlers = [
        *storing(0),
        (evt.EVT_REQUESTED, lambda event: asked.append(len(event.assoc.requestor.requested_contexts))),
    ]
    with answering(handlers) as peer:
        code, _, summary = run_json(tmp_path, peer, tmp_path)
    assert (code, summary["stored"]) == (0, 70)
    assert asked == [128, 12]


# --- failures in the middle -------------------------------------------------------------------------------------------


def test_statuses_are_told_by_their_names_and_warnings_count_as_stored(tmp_path: Path) -> None:
    with answering(storing(0xB000, 0xA700, 0)) as peer:
        code, out, _ = run(tmp_path, peer, IMAGES)
    warned, failed, fix, summary = out.splitlines()
    assert code == 1
    assert warned.endswith(
        "cr-big-endian.dcm: warned: PYNETDICOM stored the object, with a warning: status 0xB000, Coercion of Data "
        "Elements [store.warning]"
    )
    assert failed.endswith("status 0xA700, Refused: Out of Resources [status.out-of-resources]")
    assert fix == "fix: see on PYNETDICOM whether its disk is full, or a limit of it is reached"
    assert summary.startswith("6 of 7 objects stored in ")
    assert ", 1 with a warning, 1 failed, " in summary


def test_so_many_failures_that_they_scroll_away_are_told_once_more_at_the_end(tmp_path: Path) -> None:
    for number in range(25):
        dataset = dcmread(CT)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.save_as(tmp_path / f"{number:02}.dcm")
    with answering(storing(0xA900, 0xB000, 0xA700)) as peer:
        code, out, _ = run(tmp_path, peer, tmp_path)
    *_, mismatch, fix, warning, full, room, summary = out.splitlines()
    assert code == 1
    assert sum(": failed: " in line for line in out.splitlines()) == 24
    assert mismatch.startswith("1 × PYNETDICOM refuses the object, status 0xA900, ")
    assert fix.startswith("fix: see which attributes PYNETDICOM misses: ")
    assert warning.startswith("1 × PYNETDICOM stored the object, with a warning: ")
    assert full.startswith("23 × PYNETDICOM answers the C-STORE with status 0xA700, ")
    assert full.endswith(" [status.out-of-resources]")
    assert room == "fix: see on PYNETDICOM whether its disk is full, or a limit of it is reached"
    assert summary.startswith("1 of 25 objects stored in ")


def test_warnings_alone_exit_0(tmp_path: Path) -> None:
    with answering(storing(0xB000)) as peer:
        code, objects, summary = run_json(tmp_path, peer, CT)
    assert (code, objects[0]["outcome"], summary["warned"]) == (0, "warned", 1)


def test_an_abort_in_the_middle_costs_one_object_and_the_rest_goes_over_another_association(tmp_path: Path) -> None:
    count = 0

    def abort_the_third(event: evt.Event) -> int:
        nonlocal count
        count += 1
        if count == 3:
            event.assoc.abort()
        return 0

    with answering([(evt.EVT_C_STORE, abort_the_third)]) as peer:
        code, objects, summary = run_json(tmp_path, peer, IMAGES)
    assert (code, summary["stored"], summary["failed"]) == (1, 6, 1)
    assert [each["code"] for each in objects] == [None, None, "service.aborted", None, None, None, None]


def test_a_peer_that_aborts_while_a_large_object_is_sent_is_told_as_that(tmp_path: Path) -> None:
    path = large(tmp_path / "large.dcm", 64)
    with faking(in_turn(fakes.aborts_in_the_middle, fakes.refuses(3))) as fake:
        code, objects, _ = run_json(tmp_path, fake.peer, path)
    assert (code, [each["code"] for each in objects]) == (1, ["service.aborted"])


def test_a_peer_that_takes_one_association_gets_all_by_that(tmp_path: Path) -> None:
    from .peers import scp

    with scp.answering(storing(0), most=1) as peer:
        code, _, summary = run_json(tmp_path, peer, IMAGES, "--jobs", "3")
    assert (code, summary["stored"]) == (0, 7)


def test_ctrl_c_ends_it_and_tells_what_was_stored(tmp_path: Path) -> None:
    holds = threading.Event()
    stored: list[object] = []

    def hold_the_third(event: evt.Event) -> int:
        stored.append(event)
        if len(stored) == 3:
            holds.wait(20)
        return 0

    with answering([(evt.EVT_C_STORE, hold_the_third)]) as peer:
        command = [*MINIPACS, "store", str(peer), str(IMAGES)]
        log = tmp_path / "store.log"
        with running(command, log=log, ready=lambda _: len(stored) == 3, env=environment(), cwd=tmp_path) as child:
            os.kill(child.pid, signal.SIGINT)
            code = child.wait(10)
        holds.set()
    assert code == 130
    assert child.log.startswith("2 of 7 objects stored in ")
    assert "Traceback" not in child.log


# --- large, and many --------------------------------------------------------------------------------------------------

# Not by getrusage(2): that counts what the parent had before the program began.
MEMORY = """
import sys
from minipacs.cli import cli
code = cli.main(sys.argv[1:], standalone_mode=False)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(code, status["VmHWM"].split()[0])
"""


def most_memory(path: Path, peer: object, folder: Path) -> int:
    """Kilobytes that a store takes at most."""
    command = [sys.executable, "-c", MEMORY, "store", str(peer), str(path)]
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=100, check=True
    )
    code, kilobytes = done.stdout.splitlines()[-1].split()
    assert code == "0"
    return int(kilobytes)


@required(STORESCP)
def test_a_large_object_is_not_held_in_memory(tmp_path: Path) -> None:
    path = large(tmp_path / "large.dcm", 200)
    with storescp(tmp_path / "scp", ae_title="STORESCP", args=["--ignore"]) as scp:
        peer = f"STORESCP@127.0.0.1:{scp.port}"
        small = most_memory(CT, peer, tmp_path)
        assert most_memory(path, peer, tmp_path) < small + 30_000
