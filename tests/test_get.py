"""minipacs get: each object comes as the peer has it, and is a whole file on the disk, or none."""

import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from pydicom import config, dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import (
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import evt

from minipacs import Peer
from minipacs.services.keys import retrieval
from minipacs.services.retrieve_plan import contexts_for
from minipacs.services.retrieve_scu import Get
from minipacs.services.sop_classes import FIND, GET, STORAGE_SYNTAXES, USUAL_STORAGE, USUAL_SYNTAXES

from .fakes import faking, keeps_silent
from .peers.dcmtk import DCMQRSCP, dcmqrscp
from .peers.node import serving, table
from .peers.orthanc import ORTHANC, Orthanc
from .peers.ports import free_port
from .peers.required import required
from .peers.scp import Handlers, answering, contexts
from .test_find_move_get import run, run_json
from .test_service_rows import CT, IMAGES, PATIENT, caller, get_what_is_too_large
from .test_store import FILES, data_set

RLE = IMAGES / "mr-rle.dcm"
STUDY = str(dcmread(CT).StudyInstanceUID)
CT_CLASS, MR_CLASS = str(dcmread(CT).SOPClassUID), str(dcmread(RLE).SOPClassUID)
DCMCJPEG, DCMCJPLS, DCMODIFY = "/usr/bin/dcmcjpeg", "/usr/bin/dcmcjpls", "/usr/bin/dcmodify"


# --- archives ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The samples, and some of them compressed as modalities do; each an object of its own, of the same study."""
    folder = tmp_path_factory.mktemp("images")
    for name, source, *command in (
        ("jpeg-baseline.dcm", "us-rgb.dcm", DCMCJPEG, "+eb"),
        ("jpeg-lossless.dcm", "us-rgb.dcm", DCMCJPEG, "+e1"),
        ("jpeg-ls.dcm", "ct-1-explicit.dcm", DCMCJPLS),
    ):
        subprocess.run([*command, IMAGES / source, folder / name], check=True, timeout=30)
        subprocess.run([DCMODIFY, "-nb", "-gin", folder / name], check=True, timeout=30)
    made = sorted(folder.iterdir())
    assert [dcmread(path).file_meta.TransferSyntaxUID for path in made] == [
        JPEGBaseline8Bit,
        JPEGLosslessSV1,
        JPEGLSLossless,
    ]
    return [*FILES, *made]


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory, images: Sequence[Path]) -> Iterator[Peer]:
    with Orthanc(tmp_path_factory.mktemp("orthanc"), minipacs_port=free_port()) as orthanc:
        for path in images:
            assert orthanc.post("/instances", path.read_bytes())[0] == 200
        yield Peer("orthanc", "ORTHANC", "127.0.0.1", orthanc.dicom_port)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, images: Sequence[Path]) -> Iterator[Peer]:
    """Another node, which answers hierarchical queries alone."""
    folder = tmp_path_factory.mktemp("node")
    us = table({"name": "us", "ae_title": "MINIPACS"})
    with serving(folder, us, "--ae-title", "NODE", "--storage", str(folder / "objects")) as node:
        peer = Peer("node", "NODE", "127.0.0.1", node.port)
        assert run(folder, "store", peer, *images)[0] == 0
        yield peer


@pytest.fixture(params=["orthanc", "node"])
def peer(request: pytest.FixtureRequest) -> Peer:
    peer: Peer = request.getfixturevalue(request.param)
    return peer


pytestmark = required(ORTHANC, DCMQRSCP, DCMCJPEG)


def data_sets(paths: Sequence[Path]) -> dict[str, tuple[str, bytes]]:
    """SOP instance → transfer syntax and data set, byte by byte."""
    headers = {path: dcmread(path, specific_tags=["SOPInstanceUID"]) for path in paths}
    return {
        str(header.SOPInstanceUID): (str(header.file_meta.TransferSyntaxUID), data_set(path))
        for path, header in headers.items()
    }


# --- as it is stored --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["patient", "study", "series", "image"])
def test_each_object_comes_byte_for_byte_in_its_transfer_syntax(
    level: str, peer: Peer, images: Sequence[Path], tmp_path: Path
) -> None:
    """At whatever level it is asked for, with the keys of all levels above as hierarchical queries have them."""
    keys = ["PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
    keys = keys[: ["patient", "study", "series", "image"].index(level) + 1]
    model = GET[0 if level == "patient" else 1]
    keys = keys if level == "patient" else keys[1:]  # Study Root has no level of patients
    for asked in sorted({tuple(f"{key}={dcmread(path)[key].value}" for key in keys) for path in images}):
        get = Get(replace(caller(peer), timeout=PATIENT), model, retrieval(asked), tmp_path)
        for _ in get:
            pass
        assert get.failure is None
    assert data_sets(list(tmp_path.iterdir())) == data_sets(images)


def test_a_peer_that_prefers_to_keep_images_compressed_sends_them_so(tmp_path: Path) -> None:
    """dcmqrscp tells of no SOP classes, and sends what is compressed where its context is for that alone."""
    with dcmqrscp(tmp_path / "q", ae_title="DCMQRSCP", hosts={}, args=["+xr"]) as scp:
        peer = f"DCMQRSCP@127.0.0.1:{scp.port}"
        assert run(tmp_path, "store", peer, RLE)[0] == 0
        assert run(tmp_path, "get", peer, "PatientID=PHANTOM-MR", "--output", "out")[0] == 0
    assert data_sets(list((tmp_path / "out").iterdir())) == data_sets([RLE])


# --- what is asked before, and proposed -------------------------------------------------------------------------------


class Archive:
    """Says of each level what it is told to, and keeps which contexts each association proposed."""

    def __init__(self, **matches: list[dict[str, str]]) -> None:
        self._matches = matches
        self.proposed: list[list[tuple[str, list[str]]]] = []
        self.asked: list[tuple[str, set[str]]] = []

    @property
    def handlers(self) -> Handlers:
        return [(evt.EVT_REQUESTED, self._requested), (evt.EVT_C_FIND, self._find), (evt.EVT_C_GET, self._get)]

    def _requested(self, event: evt.Event) -> None:
        requested = event.assoc.requestor.requested_contexts
        self.proposed.append([(str(cx.abstract_syntax), list(map(str, cx.transfer_syntax))) for cx in requested])

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        asked = event.identifier
        level = asked.QueryRetrieveLevel
        self.asked.append((level, {element.keyword for element in asked if element.value}))
        if level not in self._matches:
            yield 0xA900, None
        for match in self._matches.get(level, []):
            dataset = Dataset()
            for keyword, value in match.items():
                setattr(dataset, keyword, value)
            yield 0xFF00, dataset

    def _get(self, _: evt.Event) -> Iterator[object]:
        yield 0

    def storage_contexts(self, folder: Path, *keys: str, supported: Any = None) -> list[tuple[str, list[str]]]:
        """What the association of the C-GET proposes besides that."""
        with answering(self.handlers, supported) as peer:
            for _ in Get(caller(peer), GET[1], retrieval(keys or [f"StudyInstanceUID={STUDY}"]), folder):
                pass
        return self.proposed[-1][1:]


USUAL = [(uid, list(USUAL_SYNTAXES)) for uid in USUAL_STORAGE]


def alone(sop_class: str, syntaxes: Sequence[str]) -> list[tuple[str, list[str]]]:
    return [(sop_class, [str(syntax)]) for syntax in syntaxes]


def test_the_sop_classes_of_a_study_get_a_context_for_each_transfer_syntax(tmp_path: Path) -> None:
    archive = Archive(STUDY=[{"StudyInstanceUID": STUDY, "SOPClassesInStudy": f"{MR_CLASS}\\{CT_CLASS}"}])
    proposed = archive.storage_contexts(tmp_path)
    assert proposed == alone(CT_CLASS, STORAGE_SYNTAXES) + alone(MR_CLASS, STORAGE_SYNTAXES)
    assert [level for level, _ in archive.asked] == ["STUDY"]


def test_the_images_are_asked_for_series_by_series_where_a_study_does_not_tell(tmp_path: Path) -> None:
    archive = Archive(
        STUDY=[{"StudyInstanceUID": STUDY}],
        SERIES=[{"SeriesInstanceUID": "1.2.1"}, {"SeriesInstanceUID": "1.2.2"}],
        IMAGE=[
            {"SOPClassUID": MR_CLASS, "AvailableTransferSyntaxUID": RLELossless},
            {"SOPClassUID": MR_CLASS, "AvailableTransferSyntaxUID": ImplicitVRLittleEndian},
        ],
    )
    assert archive.storage_contexts(tmp_path) == alone(MR_CLASS, [ImplicitVRLittleEndian, RLELossless])
    above = {"QueryRetrieveLevel", "StudyInstanceUID"}
    assert archive.asked == [
        ("STUDY", above),
        ("SERIES", above),
        ("IMAGE", above | {"SeriesInstanceUID"}),
        ("IMAGE", above | {"SeriesInstanceUID"}),
    ]


@pytest.mark.parametrize(
    "matches",
    [
        {},
        {"STUDY": []},
        {"STUDY": [{"StudyInstanceUID": STUDY, "SOPClassesInStudy": "none that is a UID"}]},
        {"STUDY": [{"StudyInstanceUID": STUDY}], "SERIES": [{"SeriesInstanceUID": "1.2"}], "IMAGE": [{}]},
        {"STUDY": [{"StudyInstanceUID": f"1.2.{number}"} for number in range(300)], "SERIES": []},
    ],
    ids=["refuses", "has nothing", "tells nonsense", "does not tell", "has too many studies"],
)
def test_who_does_not_tell_is_proposed_what_is_usual(matches: dict[str, Any], tmp_path: Path) -> None:
    config_before = config.settings.reading_validation_mode, config.settings.writing_validation_mode
    config.settings.writing_validation_mode = config.IGNORE
    try:
        archive = Archive(**matches)
        assert archive.storage_contexts(tmp_path) == USUAL
        assert len(archive.asked) <= 200
    finally:
        config.settings.reading_validation_mode, config.settings.writing_validation_mode = config_before


def test_who_answers_no_query_is_proposed_what_is_usual(tmp_path: Path) -> None:
    supported = [context for context in contexts() if context.abstract_syntax not in FIND]
    assert Archive().storage_contexts(tmp_path, supported=supported) == USUAL


def test_who_aborts_at_a_query_is_asked_for_the_objects_all_the_same(tmp_path: Path) -> None:
    """As Orthanc does where AllowFind is false."""
    with Orthanc(tmp_path / "orthanc", minipacs_port=free_port()) as orthanc:
        assert orthanc.post("/instances", CT.read_bytes())[0] == 200
        modality = {"AET": "MINIPACS", "Host": "127.0.0.1", "Port": 104, "AllowFind": False, "AllowGet": True}
        assert orthanc.put("/modalities/minipacs", modality)[0] == 200
        peer = f"ORTHANC@127.0.0.1:{orthanc.dicom_port}"
        assert run(tmp_path, "find", peer)[0] == 1
        assert run(tmp_path, "get", peer, "PatientID=PHANTOM-CT", "--output", "out")[0] == 0
    assert data_sets(list((tmp_path / "out").iterdir())) == data_sets([CT])


@pytest.mark.parametrize("number", [1, 3, 4, 9, 10, 60, 63, 64, 127, 128, 500])
def test_there_are_never_more_contexts_than_an_association_has(number: int) -> None:
    kinds = {f"1.2.{each}": frozenset[str]() for each in range(number)}
    proposed = [
        (str(context.abstract_syntax), list(map(str, context.transfer_syntax))) for context in contexts_for(kinds)
    ]
    assert len(proposed) <= 127
    assert {sop_class for sop_class, _ in proposed} == set(list(kinds)[:127])
    for sop_class in {sop_class for sop_class, _ in proposed}:
        syntaxes = [uid for of, uids in proposed if of == sop_class for uid in uids]
        assert syntaxes == list(STORAGE_SYNTAXES if number <= 3 else USUAL_SYNTAXES)


def test_a_silent_peer_is_waited_for_once(tmp_path: Path) -> None:
    """Not once more for the C-GET: a call, and the two connections of the look at its port."""
    with faking(keeps_silent) as fake:
        get = Get(caller(fake.peer), GET[1], retrieval([f"StudyInstanceUID={STUDY}"]), tmp_path)
        assert list(get) == []
    assert fake.connections == 3
    assert get.failure is not None
    assert get.failure.code == "no-association.silence"


# --- files ------------------------------------------------------------------------------------------------------------


def test_what_is_there_and_is_otherwise_stays(orthanc: Peer, tmp_path: Path) -> None:
    uid = dcmread(RLE).SOPInstanceUID
    kept = tmp_path / f"{uid}.dcm"
    kept.write_bytes(b"mine")
    code, out, _ = run(tmp_path, "get", orthanc, "PatientID=PHANTOM-MR", "--output", ".")
    assert code == 1
    assert out.startswith(f"{uid}.dcm: was there, is otherwise, and stays\n")
    assert kept.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [kept]


def test_fetching_twice_is_no_failure(orthanc: Peer, tmp_path: Path) -> None:
    for _ in range(2):
        assert run(tmp_path, "get", orthanc, "PatientID=PHANTOM-MR", "--output", "out")[0] == 0


@pytest.mark.parametrize("uid", ["../../evil", "1.2.\x00.3", "9" * 65, "1..2", "01.2"])
def test_a_uid_that_is_none_makes_no_file(uid: str, tmp_path: Path) -> None:
    image = dcmread(CT)
    image[0x00080018] = DataElement(0x00080018, "UI", uid, validation_mode=config.IGNORE)
    with answering([(evt.EVT_C_GET, lambda _: iter([1, (0xFF00, image)]))]) as peer:
        code, _ = run_json(tmp_path, "get", peer, f"StudyInstanceUID={STUDY}", "--output", "out")
    assert code == 1
    assert list(tmp_path.rglob("*")) == []


def test_the_files_are_like_any_that_their_user_makes(orthanc: Peer, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        assert run(tmp_path, "get", orthanc, "PatientID=PHANTOM-MR", "--output", "out")[0] == 0
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()] == [0o640]


@pytest.mark.parametrize("place", ["note.txt/out", "/proc/out"])
def test_a_folder_that_cannot_be_made_is_an_error_before_anybody_is_called(place: str, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("no folder")
    with faking(lambda _: None) as fake:
        code, out, err = run(tmp_path, "get", fake.peer, "PatientID=X", "--output", place)
    assert (code, out) == (2, "")
    assert err.startswith(f"{place}: folder: must be one that can be written to, not so: ")
    assert fake.connections == 0


def test_a_folder_that_was_there_stays_and_one_that_was_made_for_nothing_does_not(
    orthanc: Peer, tmp_path: Path
) -> None:
    (tmp_path / "there").mkdir()
    for place in ("there", "made/for/nothing"):
        assert run(tmp_path, "get", orthanc, "PatientID=NOBODY", "--output", place)[0] == 1
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["for", "made", "there"]


def test_what_cannot_be_written_whole_is_not_there_at_all(tmp_path: Path) -> None:
    assert get_what_is_too_large(tmp_path).code == "get.unwritten"
    assert list(tmp_path.iterdir()) == []


def test_what_is_acknowledged_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is flushed under the name that it has while it comes, its own name after that; then the peer is told."""
    done: list[tuple[str, Path]] = []
    image = dcmread(CT)
    fsync, replace = os.fsync, Path.replace

    def flush(descriptor: int) -> None:
        fsync(descriptor)
        done.append(("flush", Path(os.readlink(f"/proc/self/fd/{descriptor}"))))

    def rename(self: Path, target: Path) -> Path:
        done.append(("rename", target))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(Path, "replace", rename)

    def send(_: evt.Event) -> Iterator[object]:
        yield 1
        yield 0xFF00, image
        done.append(("acknowledged", Path()))  # pynetdicom has the C-STORE-RSP before it wants another one

    with answering([(evt.EVT_C_GET, send)]) as peer:
        for _ in Get(caller(peer), GET[1], retrieval(["PatientID=X"]), tmp_path):
            pass
    whole = tmp_path / f"{image.SOPInstanceUID}.dcm"
    assert [what for what, _ in done] == ["flush", "rename", "flush", "acknowledged"]
    assert done[0][1].parent.name.startswith(".incoming-")
    assert [path for _, path in done[1:3]] == [whole, tmp_path]
    assert whole.stat().st_size > 33_000


def test_ctrl_c_while_the_peer_is_asked_what_it_has_ends_it(tmp_path: Path) -> None:
    asked, told = threading.Event(), threading.Event()

    def find(_: evt.Event) -> Iterator[object]:
        asked.set()
        told.wait(20)
        yield 0xFE00, None

    with answering([(evt.EVT_C_FIND, find)]) as peer:
        get = Get(caller(peer), GET[1], retrieval(["StudyInstanceUID=1.2"]), tmp_path)
        thread = threading.Thread(target=lambda: get.cancel() if asked.wait(10) else None)
        thread.start()
        assert list(get) == []
        told.set()
        thread.join()
    assert get.is_cancelled
    assert get.failure is None
