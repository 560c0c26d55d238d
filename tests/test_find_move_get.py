"""minipacs find, move and get, as a person and a script run them, against Orthanc, DCMTK and pynetdicom."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import evt

from minipacs import Peer

from .peers.dcmtk import DCMQRSCP, STORESCP, dcmqrscp, storescp
from .peers.node import MINIPACS, environment, run_minipacs
from .peers.orthanc import ORTHANC, Orthanc
from .peers.ports import free_port
from .peers.process import running
from .peers.required import required
from .peers.scp import Handlers, answering
from .test_service_rows import CT, IMAGES
from .test_store import FILES

RLE = IMAGES / "mr-rle.dcm"  # which dcmqrscp takes only where it prefers it, and then sends nothing else
STUDY = str(dcmread(CT).StudyInstanceUID)
SLICES = {str(dcmread(IMAGES / name).SOPInstanceUID) for name in ("ct-1-explicit.dcm", "ct-2-implicit.dcm")}


def run(folder: Path, *arguments: object) -> tuple[int, str, str]:
    done = run_minipacs(folder, *map(str, arguments))
    return done.returncode, done.stdout, done.stderr


def run_json(folder: Path, *arguments: object) -> tuple[int, list[dict[str, Any]]]:
    done = run_minipacs(folder, *map(str, arguments), "--json")
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


# --- archives ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def port() -> int:
    """Where whatever the archives know as MINIPACS listens, when it does."""
    return free_port()


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Peer]:
    with Orthanc(tmp_path_factory.mktemp("orthanc"), minipacs_port=port) as orthanc:
        for path in FILES:
            status, text = orthanc.post("/instances", path.read_bytes())
            assert status == 200, text
        yield Peer("orthanc", "ORTHANC", "127.0.0.1", orthanc.dicom_port)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Peer]:
    folder = tmp_path_factory.mktemp("dcmqrscp")
    with dcmqrscp(folder, ae_title="DCMQRSCP", hosts={"MINIPACS": ("127.0.0.1", port)}) as scp:
        peer = Peer("dcmqrscp", "DCMQRSCP", "127.0.0.1", scp.port)
        code, out, err = run(folder, "store", peer, *(path for path in FILES if path != RLE))
        assert code == 0, out + err
        yield peer


@pytest.fixture(params=["orthanc", "archive"])
def peer(request: pytest.FixtureRequest) -> Peer:
    peer: Peer = request.getfixturevalue(request.param)
    return peer


pytestmark = required(ORTHANC, DCMQRSCP, STORESCP)


# --- find -------------------------------------------------------------------------------------------------------------


def test_all_studies_are_found_in_a_table(peer: Peer, tmp_path: Path) -> None:
    code, out, err = run(tmp_path, "find", peer)
    head, *rows = out.splitlines()
    assert (code, err) == (0, f"{len(rows)} matches\n")
    assert len(rows) == (6 if peer.name == "orthanc" else 5)
    assert head.split() == [
        "PatientName",
        "PatientID",
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "StudyDescription",
        "ModalitiesInStudy",
        "StudyInstanceUID",
    ]
    (ct,) = [row for row in rows if row.startswith("PHANTOM^CT ")]
    assert ct.split()[:5] == ["PHANTOM^CT", "PHANTOM-CT", "20260102", "030405", "ACC-CT"]
    assert ct.split()[-1] == STUDY


@pytest.mark.parametrize(
    ("keys", "patients"),
    [
        (["PatientID=PHANTOM-CT"], {"PHANTOM-CT"}),
        (["PatientName=PHANTOM^C?"], {"PHANTOM-CT", "PHANTOM-CR"}),
        (["StudyDate=20260101-20260131", "PatientID=PHANTOM-U*"], {"PHANTOM-US"}),
        (["StudyDate=20250101-20251231"], set()),
        (["0010,0020=PHANTOM-US"], {"PHANTOM-US"}),
        (["(0008,0050)=ACC-SC"], {"PHANTOM-SC"}),
    ],
)
def test_the_peer_matches_what_is_asked(keys: list[str], patients: set[str], peer: Peer, tmp_path: Path) -> None:
    code, matches = run_json(tmp_path, "find", peer, *keys)
    assert code == 0
    assert {match["PatientID"] for match in matches} == patients


def test_each_level_has_its_keys(peer: Peer, tmp_path: Path) -> None:
    _, patients = run_json(tmp_path, "find", peer, "--level", "patient", "PatientID=PHANTOM-CT")
    assert [(each["PatientName"], each["PatientSex"]) for each in patients] == [("PHANTOM^CT", "O")]
    _, series = run_json(tmp_path, "find", peer, "--level", "series", f"StudyInstanceUID={STUDY}")
    assert [(each["Modality"], str(each["SeriesNumber"])) for each in series] == [("CT", "1")]
    keys = [f"StudyInstanceUID={STUDY}", f"SeriesInstanceUID={series[0]['SeriesInstanceUID']}"]
    _, images = run_json(tmp_path, "find", peer, "--level", "image", *keys, "--key", "Rows")
    assert {each["SOPInstanceUID"] for each in images} == SLICES
    assert all("Rows" in each for each in images)


def test_nothing_found_is_an_answer(peer: Peer, tmp_path: Path) -> None:
    assert run(tmp_path, "find", peer, "PatientID=NOBODY") == (0, "", "0 matches\n")


def test_what_a_peer_sends_is_made_safe_and_names_stay_readable(tmp_path: Path) -> None:
    match = Dataset()
    match.SpecificCharacterSet = "ISO_IR 192"
    match.PatientName, match.PatientID = "Größe^模型", "a\x1b[2Jb\u202e"
    match.QueryRetrieveLevel = "PATIENT"
    with answering([(evt.EVT_C_FIND, lambda _: iter([(0xFF00, match)]))]) as peer:
        code, out, _ = run(tmp_path, "find", peer, "--level", "patient")
        _, (read,) = run_json(tmp_path, "find", peer, "--level", "patient")
    assert code == 0
    assert "Größe^模型" in out
    assert r"a\x1b[2Jb\u202e" in out
    assert "\x1b" not in out
    assert read["PatientName"] == "Größe^模型"
    assert read["PatientID"] == r"a\x1b[2Jb\u202e"
    assert read["PatientSex"] is None


def test_columns_stand_below_each_other_whatever_the_script(tmp_path: Path) -> None:
    """An ideogram takes two columns of a terminal, an accent that is a character of its own none."""
    matches = []
    for name in ("Smith^Ann", "模型^一", "Gro\u0308ße^U"):
        match = Dataset()
        match.SpecificCharacterSet = "ISO_IR 192"
        match.PatientName, match.PatientID = name, "ID"
        matches.append((0xFF00, match))
    with answering([(evt.EVT_C_FIND, lambda _: iter(matches))]) as peer:
        _, out, _ = run(tmp_path, "find", peer, "--level", "patient")
    head, *rows = out.splitlines()
    place = head.index("PatientID")
    assert [row.index("ID") for row in rows] == [place, place - len("模型一"), place + 1]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["PatientNam=X"],
            "Error: PatientNam: must be a keyword such as PatientName, or a tag such as 0010,0010; "
            "did you mean PatientName?",
        ),
        (["Rows=many"], "Error: Rows: must be a value of type US, not 'many'"),
        (["0011,0010=X"], "Error: 0011,0010: must be a tag of the standard"),
        (
            ["--model", "study", "--level", "patient"],
            "Error: --model study has no level of patients: --model patient",
        ),
    ],
)
def test_a_key_that_is_none_is_a_usage_error(arguments: list[str], line: str, tmp_path: Path) -> None:
    code, out, err = run(tmp_path, "find", "X@127.0.0.1:104", *arguments)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1] == line


# --- move -------------------------------------------------------------------------------------------------------------


def test_a_study_is_moved_to_our_node(peer: Peer, port: int, tmp_path: Path) -> None:
    with storescp(tmp_path / "scp", ae_title="MINIPACS", port=port, args=["+xa"]) as scp:
        code, out, err = run(tmp_path, "move", peer, f"StudyInstanceUID={STUDY}")
        assert (code, out, err) == (0, "2 of 2 objects moved\n", "")
        received = {dcmread(path).SOPInstanceUID for path in scp.folder.iterdir()}
    assert received == SLICES


def test_an_unknown_destination_is_what_to_register_where(archive: Peer, tmp_path: Path) -> None:
    code, out, err = run(tmp_path, "move", archive, f"StudyInstanceUID={STUDY}", "--to", "NOBODY")
    reason, fix = err.splitlines()
    assert (code, out) == (1, "")
    assert reason == (
        "minipacs: DCMQRSCP does not know NOBODY, to whom it is to send: status 0xA801, Move destination unknown "
        "[move.destination]"
    )
    assert fix == (
        "fix: on DCMQRSCP: register AE title NOBODY with the address and port where it takes images; Orthanc: "
        '"DicomModalities": { "nobody": ["NOBODY", "HOST", PORT] }; minipacs: minipacs peers add nobody '
        "NOBODY@HOST:PORT"
    )


def test_orthanc_says_less_of_an_unknown_destination_and_we_say_more(orthanc: Peer, tmp_path: Path) -> None:
    code, (result,) = run_json(tmp_path, "move", orthanc, f"StudyInstanceUID={STUDY}", "--to", "NOBODY")
    assert (code, result["code"]) == (1, "move.unable")
    assert "where it does not know NOBODY; for that, on ORTHANC: register AE title NOBODY" in result["fix"]


def test_a_destination_that_does_not_listen_is_told(archive: Peer, tmp_path: Path) -> None:
    code, (result,) = run_json(tmp_path, "move", archive, f"StudyInstanceUID={STUDY}")
    assert code == 1
    assert result["code"] in {"move.failures", "status.out-of-resources", "move.unable"}
    assert result["completed"] == 0


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["PatientName=X"], "must be one of PatientID, StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID"),
        (["StudyInstanceUID=1.2.*"], "must have a value, without wildcards, not '1.2.*'"),
        (["StudyInstanceUID"], "must have a value, without wildcards, not ''"),
    ],
)
def test_what_is_retrieved_is_named_by_unique_keys(keys: list[str], words: str, tmp_path: Path) -> None:
    for command in (["move"], ["get", "--output", "out"]):
        code, _, err = run(tmp_path, *command, "X@127.0.0.1:104", *keys)
        assert code == 2
        assert words in err
    assert not (tmp_path / "out").exists()


# --- get --------------------------------------------------------------------------------------------------------------


def test_a_study_is_fetched_byte_for_byte(peer: Peer, tmp_path: Path) -> None:
    code, out, err = run(tmp_path, "get", peer, f"StudyInstanceUID={STUDY}", "--output", "out")
    assert (code, out, err) == (0, "2 of 2 objects received\n", "")
    received = {path.name: path for path in (tmp_path / "out").iterdir()}
    assert set(received) == {f"{uid}.dcm" for uid in SLICES}
    sent = dcmread(CT)
    assert dcmread(received[f"{sent.SOPInstanceUID}.dcm"]).PixelData == sent.PixelData


# --- cancel -----------------------------------------------------------------------------------------------------------


def cancellable(seen: threading.Event, answer: Dataset) -> Handlers:
    """Finds the same again and again until it is cancelled, and notes that."""

    def handle(event: evt.Event) -> Iterator[object]:
        for _ in range(2000):
            if event.is_cancelled:
                seen.set()
                yield 0xFE00, None
                return
            yield 0xFF00, answer
            seen.wait(0.01)

    return [(evt.EVT_C_FIND, handle)]


def match() -> Dataset:
    dataset = Dataset()
    dataset.QueryRetrieveLevel, dataset.PatientID = "STUDY", "X"
    return dataset


def test_ctrl_c_cancels_a_query(tmp_path: Path) -> None:
    cancelled = threading.Event()
    with answering(cancellable(cancelled, match())) as peer:
        command = [*MINIPACS, "find", str(peer), "--json"]
        log = tmp_path / "find.log"
        with running(
            command, log=log, ready=lambda child: "PatientID" in child.log, env=environment(), cwd=tmp_path
        ) as child:
            os.kill(child.pid, signal.SIGINT)
            assert child.wait(10) == 130
    assert cancelled.is_set()
    assert "Traceback" not in child.log


def test_ctrl_c_cancels_a_retrieval(tmp_path: Path) -> None:
    cancelled, begun = threading.Event(), threading.Event()
    image = dcmread(CT)

    def handle(event: evt.Event) -> Iterator[object]:
        yield 1000
        for _ in range(1000):
            begun.set()
            if event.is_cancelled:
                cancelled.set()
                yield 0xFE00, None
                return
            yield 0xFF00, image

    with answering([(evt.EVT_C_GET, handle)]) as peer:
        command = [*MINIPACS, "get", str(peer), "PatientID=X", "--output", "out"]
        log = tmp_path / "get.log"
        with running(command, log=log, ready=lambda _: begun.is_set(), env=environment(), cwd=tmp_path) as child:
            os.kill(child.pid, signal.SIGINT)
            assert child.wait(10) == 130
    assert cancelled.is_set()
    assert child.log.endswith(", cancelled\n")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [f"{image.SOPInstanceUID}.dcm"]
