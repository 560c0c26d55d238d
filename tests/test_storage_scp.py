"""The node as users run it with --storage, and real peers that store: DCMTK, Orthanc, pynetdicom."""

import json
import resource
import subprocess
import sys
import threading
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import generate_uid
from pynetdicom import AE

from .peers.dcmtk import ECHOSCU, STORESCU
from .peers.node import run_minipacs, table
from .peers.orthanc import ORTHANC, Orthanc
from .peers.process import wait_until
from .peers.required import required
from .peers.storage_node import files, objects, storescu, storing, uid_of
from .storing import as_file, image

CT = "1.2.840.10008.5.1.4.1.1.2"


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
    services = {"pynetdicom", "pydicom", "_sqlite3"}
    assert services <= imported_by_serve(tmp_path, "--storage", "kept"), "or else this test sees nothing"
    assert not services & imported_by_serve(tmp_path)


def imported_by_serve(folder: Path, *options: str) -> set[str]:
    """What a node has imported when it runs, told at its end; it is stopped as users do."""
    code = "import atexit, sys; atexit.register(lambda: print(*sys.modules)); from minipacs.cli import main; main()"
    command = [sys.executable, "-c", code, "serve", "--port", "0", *options]
    child = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert child.stdout is not None
        assert "listening on" in child.stdout.readline()
        child.terminate()
        return set(child.communicate(timeout=20)[0].split())
    finally:
        child.kill()
        child.wait()


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


# --- limits ----------------------------------------------------------------------------------------------------------


@required(STORESCU)
def test_what_would_take_the_free_space_is_refused(tmp_path: Path) -> None:
    with storing(tmp_path, free=1 << 59) as (node, folder):
        storescu(node, *files(tmp_path / "sent", 2), args=("--no-halt",))
        event = node.wait_for("association", 1)
        assert (event["objects"], event["failures"], objects(folder)) == (0, 2, {})


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
