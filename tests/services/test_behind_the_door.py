"""Query/Retrieve of a node as users run it: `minipacs serve --storage`, with what DCMTK and Orthanc do with it."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.dcmtk import STORESCP, storescp
from tests.peers.node import Node, serving, table
from tests.peers.orthanc import ORTHANC, Orthanc
from tests.peers.ports import free_port
from tests.peers.required import required

from .objects import ROOT, data_set, write

FINDSCU, MOVESCU, STORESCU = "/usr/bin/findscu", "/usr/bin/movescu", "/usr/bin/storescu"
STUDY = f"{ROOT}.1.1"
OBJECTS = [f"{ROOT}.3.{number}" for number in (1, 2, 3)]

pytestmark = required(FINDSCU, MOVESCU, STORESCU, STORESCP)


def run(tool: str, node: Node, *arguments: str) -> str:
    command = [tool, "-v", "-aet", "TESTER", "-aec", "MINIPACS", "127.0.0.1", str(node.port), *arguments]
    done = subprocess.run(command, capture_output=True, timeout=45, check=False)
    return (done.stdout + done.stderr).decode(errors="replace")


def keys(*pairs: str) -> list[str]:
    return [argument for pair in pairs for argument in ("-k", pair)]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    return [str(write(tmp_path / f"{number}.dcm", data_set(number))) for number in (1, 2, 3)]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with serving(tmp_path, table({"name": "tester", "ae_title": "TESTER"}), "--storage", "store") as node:
        yield node


def test_what_was_stored_is_found_and_moved_to_a_known_peer(node: Node, files: list[str], tmp_path: Path) -> None:
    run(STORESCU, node, *files)
    said = run(
        FINDSCU, node, "-S", *keys("QueryRetrieveLevel=STUDY", "StudyInstanceUID", "NumberOfStudyRelatedInstances")
    )
    assert said.count("(Pending)") == 1
    assert "[3 ]" in said
    move = ["-S", "-aem", "STORE", *keys("QueryRetrieveLevel=STUDY", f"StudyInstanceUID={STUDY}")]
    assert "MoveDestinationUnknown" in run(MOVESCU, node, *move)
    with storescp(tmp_path / "destination", ae_title="STORE") as store:
        node.save(
            table(
                {"name": "tester", "ae_title": "TESTER"},
                {"name": "store", "ae_title": "STORE", "host": "127.0.0.1", "port": store.port},
            )
        )
        assert "Final Move Response (Success)" in run(MOVESCU, node, *move)
        assert len(list(store.folder.iterdir())) == 3
    moved = node.wait_for("association", 4)
    assert (moved["services"], moved["objects"]) == (["move"], 3)


def test_what_is_removed_or_comes_while_the_node_is_down_is_known_at_its_start(
    node: Node, files: list[str], tmp_path: Path
) -> None:
    run(STORESCU, node, *files)
    node.child.kill()
    store = tmp_path / "store"
    next((store / "objects").glob(f"*/{OBJECTS[0]}.dcm")).unlink()
    write(store / "objects" / "zz" / f"{ROOT}.3.9.dcm", data_set(9))
    with serving(tmp_path, table({"name": "tester", "ae_title": "TESTER"}), "--storage", "store") as again:
        image = ["QueryRetrieveLevel=IMAGE", f"StudyInstanceUID={STUDY}", f"SeriesInstanceUID={ROOT}.2.1"]
        said = run(FINDSCU, again, "-S", *keys(*image, "SOPInstanceUID"))
        assert said.count("(Pending)") == 3
        assert OBJECTS[0] not in said
        assert f"{ROOT}.3.9" in said


def test_the_list_is_that_of_the_node_that_runs(node: Node, files: list[str]) -> None:
    run(STORESCU, node, *files)
    done = node.minipacs("storage", "list", "--storage", "store", "--json")
    assert [json.loads(line)["NumberOfStudyRelatedInstances"] for line in done.stdout.splitlines()] == [3]
    assert node.minipacs("storage", "reindex", "--storage", "store").returncode == 0
    assert run(FINDSCU, node, "-S", *keys("QueryRetrieveLevel=STUDY", "StudyInstanceUID")).count("(Pending)") == 1


@required(ORTHANC)
def test_orthanc_sends_its_images_and_fetches_them_back(tmp_path: Path, files: list[str]) -> None:
    port = free_port()
    with Orthanc(tmp_path / "orthanc", minipacs_port=port) as orthanc:
        peers = table({"name": "orthanc", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": orthanc.dicom_port})
        with serving(tmp_path, peers, "--storage", "store", "--port", str(port)):
            for file in files:
                assert orthanc.post("/instances", Path(file).read_bytes())[0] == 200
            [study] = json.loads(orthanc.get("/studies")[1])
            status, text = orthanc.post("/modalities/minipacs/store", study.encode())
            assert status == 200, text
            assert json.loads(text)["InstancesCount"] == 3
            assert orthanc.delete(f"/studies/{study}")[0] == 200
            query = {"Level": "Study", "Query": {"PatientName": "phantom*"}}
            found = json.loads(orthanc.post("/modalities/minipacs/query", query)[1])["ID"]
            retrieved = {"TargetAet": "ORTHANC", "Synchronous": True}
            status, text = orthanc.post(f"/queries/{found}/retrieve", retrieved)
            assert status == 200, text
            assert json.loads(orthanc.get("/studies")[1]) == [study]
            assert len(json.loads(orthanc.get("/instances")[1])) == 3
