"""The node as users run it with --storage, and real peers that store: DCMTK, Orthanc, pynetdicom; also under duress."""

import json
import os
import re
import resource
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid
from pynetdicom import AE

from .peers.dcmtk import ECHOSCU
from .peers.node import Node, run_minipacs, serving, table
from .peers.orthanc import ORTHANC, Orthanc
from .peers.process import running, wait_until
from .peers.required import required
from .storing import as_file, image

STORESCU = "/usr/bin/storescu"
CT = "1.2.840.10008.5.1.4.1.1.2"
PEERS = table({"name": "dcmtk", "ae_title": "STORESCU"}, {"name": "py", "ae_title": "PYNETDICOM"})
BIG = os.environ.get("MINIPACS_BIG") == "1"  # ten thousand small objects, and one of 1 GB: some minutes


def storescu(node: Node, *files: Path, aec: str = "MINIPACS", args: tuple[str, ...] = ()) -> int:
    """Its exit code."""
    command = [STORESCU, *args, "--call", aec, "127.0.0.1", str(node.port), *map(str, files)]
    return subprocess.run(command, capture_output=True, timeout=600, check=False).returncode


def objects(folder: Path) -> dict[str, Path]:
    """What is kept, by SOP Instance UID."""
    return {path.stem: path for path in (folder / "objects").glob("*/*")}


def files(folder: Path, count: int, *, size: int = 2_000) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    return [as_file(image(pixels=os.urandom(size)), folder / f"{number:05}.dcm") for number in range(count)]


def uid_of(file: Path) -> str:
    return str(dcmread(file, stop_before_pixels=True).SOPInstanceUID)


def memory(node: Node) -> int:
    """Bytes that are resident."""
    text = Path(f"/proc/{node.child.pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) * 1024


@contextmanager
def storing(folder: Path, peers: str = PEERS, **settings: object) -> Iterator[tuple[Node, Path]]:
    """A node with these settings of [storage], and the folder of its objects."""
    (folder / "conf").mkdir(parents=True, exist_ok=True)
    lines = [f"{name} = {json.dumps(value)}" for name, value in {"free": 0, **settings}.items()]
    (folder / "conf" / "minipacs.toml").write_text("\n".join(["[storage]", *lines]))
    with serving(folder, peers, "--storage", "kept") as node:
        yield node, folder / "kept"


# --- real peers ----------------------------------------------------------------------------------------------------


@required(STORESCU)
def test_dcmtk_stores(tmp_path: Path) -> None:
    sent = files(tmp_path / "sent", 20)
    with storing(tmp_path) as (node, folder):
        assert storescu(node, *sent) == 0
        event = node.wait_for("association", 1)
        assert (event["outcome"], event["services"], event["objects"], event["failures"]) == (
            "released",
            ["store"],
            20,
            0,
        )
        kept = objects(folder)
        for file in sent:
            ours, theirs = dcmread(kept[uid_of(file)]), dcmread(file)
            assert ours == theirs
            assert ours.file_meta.TransferSyntaxUID == theirs.file_meta.TransferSyntaxUID
        assert storescu(node, *sent) == 0, "the same again"
        assert objects(folder) == kept
        status = json.loads(node.minipacs("status", "--port", str(node.port), "--json").stdout)
        assert status["associations"]["last"][0]["objects"] == 20
        text = node.minipacs("status", "--port", str(node.port)).stdout
        assert "released, store, 20 objects, " in text
    assert (folder / "incoming").is_dir()


@required(STORESCU, ECHOSCU)
def test_who_may_only_echo_stores_nothing(tmp_path: Path) -> None:
    [sent] = files(tmp_path / "sent", 1)
    allowed = {"name": "dcmtk", "ae_title": "STORESCU"}
    with storing(tmp_path, table(allowed | {"services": ["echo"]})) as (node, folder):
        assert storescu(node, sent) != 0
        node.save(table(allowed | {"services": ["echo", "store"]}))
        assert storescu(node, sent) == 0
        assert len(objects(folder)) == 1
        listed = node.minipacs("peers").stdout
        assert "may echo store" in listed
        assert json.loads(node.minipacs("peers", "--json").stdout)["services"] == ["echo", "store"]


@required(ORTHANC)
def test_orthanc_sends_to_its_remote_modality(tmp_path: Path) -> None:
    sent = files(tmp_path / "sent", 3, size=40_000)
    with storing(tmp_path) as (node, folder), Orthanc(tmp_path / "orthanc", minipacs_port=node.port) as orthanc:
        node.save(table({"name": "orthanc", "ae_title": "ORTHANC"}))
        ids = [json.loads(orthanc.post("/instances", file.read_bytes())[1])["ID"] for file in sent]
        status, text = orthanc.post("/modalities/minipacs/store", ids)
        assert status == 200, text
        assert {uid: dcmread(path).PixelData for uid, path in objects(folder).items()} == {
            uid_of(file): dcmread(file).PixelData for file in sent
        }
        event = node.wait_for("association", 1)
        assert (event["peer"], event["objects"], event["outcome"]) == ("orthanc", 3, "released")


def test_pynetdicom_stores_over_several_associations_at_once(tmp_path: Path) -> None:
    with storing(tmp_path) as (node, folder):
        uids = [generate_uid() for _ in range(40)]
        failed: list[str] = []

        def store(some: list[str]) -> None:
            ae = AE("PYNETDICOM")
            ae.add_requested_context(CT, "1.2.840.10008.1.2.1")
            association = ae.associate("127.0.0.1", node.port, ae_title="MINIPACS")
            for uid in some:
                data_set = dcmread(as_file(image(uid), tmp_path / f"{uid}.dcm"))
                if association.send_c_store(data_set).Status != 0:
                    failed.append(uid)
            association.release()

        threads = [threading.Thread(target=store, args=(uids[start::4],)) for start in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        assert set(objects(folder)) == set(uids)


# --- the command ---------------------------------------------------------------------------------------------------


def test_plain_serve_imports_no_service(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    with serving(tmp_path) as node:
        mapped = Path(f"/proc/{node.child.pid}/maps").read_text()
        assert "_sqlite3" not in mapped
    code = "import sys, minipacs.cli.serve; print('pynetdicom' in sys.modules)"
    assert subprocess.run(["python3", "-c", code], capture_output=True, text=True, check=False).stdout != "True\n"


def test_a_folder_that_cannot_be_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run_minipacs(tmp_path, "serve", "--port", "0", "--storage", "file")
    assert (done.returncode, done.stderr) == (
        2,
        'file: folder: must be one where objects can be kept, not "Not a directory"\n',
    )


def test_two_nodes_do_not_share_a_folder(tmp_path: Path) -> None:
    with storing(tmp_path):
        done = run_minipacs(tmp_path, "serve", "--port", "0", "--storage", "kept")
    assert (done.returncode, done.stderr) == (
        2,
        "kept: folder: must be that of one node, not of two: another one uses it\n",
    )


# --- under duress --------------------------------------------------------------------------------------------------


def acknowledged(log: Path, sent: list[Path]) -> list[str]:
    """The UIDs of what storescu was told that it is stored; it sends one after the other."""
    return [uid_of(file) for file, _ in zip(sent, re.findall(r"Store Response \(Success\)", log.read_text()))]  # noqa: B905


@required(STORESCU)
@pytest.mark.parametrize("after", [1, 4, 9, *((2, 5, 7, 12, 20, 33) if BIG else ())])
def test_what_was_acknowledged_survives_kill_9(after: int, tmp_path: Path) -> None:
    told: list[str] = []
    for life in range(2):
        sent = files(tmp_path / f"sent{life}", 60, size=200_000)
        with storing(tmp_path) as (node, folder):
            assert not list((folder / "incoming").iterdir()), "what the last life has left is swept away"
            command = [STORESCU, "-v", "--call", "MINIPACS", "127.0.0.1", str(node.port), *map(str, sent)]
            log = tmp_path / f"storescu{life}.log"
            with running(command, log=log, ready=lambda _: len(acknowledged(log, sent)) >= after) as child:  # noqa: B023
                os.kill(node.child.pid, signal.SIGKILL)
                assert node.child.wait(10) == -signal.SIGKILL
                child.wait(30)
            told += acknowledged(log, sent)
            assert len(told) < 60 * (life + 1), "it was killed in the middle"
        kept = objects(folder)
        assert set(told) <= set(kept)
        for uid, path in kept.items():  # also what was kept and not acknowledged any more
            assert len(dcmread(path).PixelData) == 200_000
            assert dcmread(path).SOPInstanceUID == uid


@required(STORESCU, "/bin/mount")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_disk_that_is_full_is_told_and_nothing_half_is_kept(tmp_path: Path) -> None:
    sent = files(tmp_path / "sent", 12, size=500_000)
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", place], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        (place / "kept").mkdir()
        (tmp_path / "kept").symlink_to(place / "kept")
        with storing(tmp_path) as (node, folder):
            assert storescu(node, *sent, args=("--no-halt",)) in {0, 1, 2, 64, 65, 66, 67, 68, 69, 70}
            event = node.wait_for("association", 1)
            assert event["outcome"] == "released"
            assert event["objects"] + event["failures"] == 12
            assert event["failures"] > 0
            kept = objects(folder)
            assert len(kept) == event["objects"] > 0
            assert all(len(dcmread(path).PixelData) == 500_000 for path in kept.values())
            assert not list((folder / "incoming").iterdir())
            assert not node.child.log.count("Traceback")
    finally:
        subprocess.run(["umount", place], check=True)


@required(STORESCU)
def test_what_would_take_the_free_space_is_refused(tmp_path: Path) -> None:
    with storing(tmp_path, free=1 << 59) as (node, folder):
        storescu(node, *files(tmp_path / "sent", 2), args=("--no-halt",))
        event = node.wait_for("association", 1)
        assert (event["objects"], event["failures"], objects(folder)) == (0, 2, {})


@required(STORESCU)
def test_memory_does_not_grow_with_objects(tmp_path: Path) -> None:
    count = 10_000 if BIG else 300
    sent = files(tmp_path / "sent", count, size=500)
    with storing(tmp_path) as (node, folder):
        step = count // 10
        storescu(node, *sent[:step])
        before = memory(node)
        for start in range(step, count, step):
            assert storescu(node, *sent[start : start + step]) == 0
        after = memory(node)
        print(f"{count} objects: {before / 1e6:.1f} MB after the first tenth, {after / 1e6:.1f} MB after the last")
        assert after - before < 8 << 20
        assert len(objects(folder)) == count


@required(STORESCU)
def test_memory_does_not_grow_with_the_size_of_an_object(tmp_path: Path) -> None:
    size = 1 << 30 if BIG else 1 << 26
    file = as_file(image("1.2.3"), tmp_path / "big.dcm")
    with file.open("r+b") as content:  # the last element is the pixel data: of any length, and zeros where nothing is
        content.seek(-12, os.SEEK_END)
        content.write(size.to_bytes(4, "little"))
        content.seek(0, os.SEEK_END)
        content.truncate(content.tell() - 8 + size)
    with storing(tmp_path) as (node, folder):
        storescu(node, *files(tmp_path / "sent", 3))
        before, most = memory(node), 0
        done = threading.Event()

        def look() -> None:
            nonlocal most
            while not done.wait(0.05):
                most = max(most, memory(node))

        thread = threading.Thread(target=look)
        thread.start()
        try:
            assert storescu(node, file) == 0
        finally:
            done.set()
            thread.join()
        print(f"{size / 1e6:.0f} MB: {before / 1e6:.1f} MB before, {most / 1e6:.1f} MB at most")
        assert most - before < 16 << 20
        assert objects(folder)["1.2.3"].stat().st_size >= size


def test_files_are_counted_as_open_while_they_grow_alone(tmp_path: Path) -> None:
    with storing(tmp_path) as (node, _):
        fds = Path(f"/proc/{node.child.pid}/fd")
        before = len(list(fds.iterdir()))
        for sent in files(tmp_path / "sent", 5):
            ae = AE("PYNETDICOM")
            ae.add_requested_context(CT, "1.2.840.10008.1.2.1")
            association = ae.associate("127.0.0.1", node.port, ae_title="MINIPACS")
            assert association.send_c_store(dcmread(sent)).Status == 0
            association.release()
        wait_until(lambda: len(list(fds.iterdir())) == before, within=10, what="no descriptor is left open")


def test_the_limit_of_open_files_leaves_room_for_services(tmp_path: Path) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with storing(tmp_path) as (node, _):
        text = Path(f"/proc/{node.child.pid}/limits").read_text()
    soft = int(next(line for line in text.splitlines() if line.startswith("Max open files")).split()[3])
    assert soft >= min(hard, 1_000 + 400)
