"""Data sets of odd length never go out as odd fragments: what is deflated is padded, anything else is refused by name.

PS3.8 Annex E wants fragments of even length; PS3.5 §A.5 has what is deflated padded with a NUL.
"""

import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_context, evt
from pynetdicom.pdu import P_DATA_TF

from minipacs import Peer
from minipacs.services.object_files import place_of
from minipacs.services.sample_image import sample_in
from tests import service_fakes as fakes
from tests.fakes import faking
from tests.peers.dcmtk import STORESCP, storescp
from tests.peers.node import run_minipacs, serving, table
from tests.peers.orthanc import ORTHANC, Orthanc
from tests.peers.ports import free_port
from tests.peers.required import required
from tests.peers.scp import AE_TITLE, contexts
from tests.services.archive import archive
from tests.services.objects import ROOT, data_set, write
from tests.test_service_rows import CT, IMAGES
from tests.test_store import data_set as bytes_of
from tests.test_store import run, run_json

DEFLATED = Path(str(get_testdata_file("image_dfl.dcm")))


def deflated(path: Path, *, odd: bool) -> Path:
    """An object of ours, deflated, whose stream is odd or even as is wanted, and not padded."""
    for number in range(1, 100):
        write(path, data_set(number, StudyDescription="x" * number), DeflatedExplicitVRLittleEndian)
        content = path.read_bytes()
        start = len(content) - len(bytes_of(path))
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        inflater.decompress(content[start:])
        stream = content[start : len(content) - len(inflater.unused_data)]
        if len(stream) % 2 == odd:
            path.write_bytes(content[:start] + stream)
            return path
    raise AssertionError("there is none")


def with_a_byte_too_many(path: Path, source: Path = CT) -> Path:
    path.write_bytes(source.read_bytes() + b"\0")
    return path


def with_an_odd_value(path: Path, source: Path = CT) -> Path:
    """A value of three bytes as its last one, as careless programs write it."""
    path.write_bytes(source.read_bytes() + b"\xfc\xff\xfc\xffOB\0\0\3\0\0\0abc")
    return path


@contextmanager
def recording(
    fragments: list[int], stored: dict[str, bytes], syntaxes: list[Any] | None = None, most: int = 16_382
) -> Iterator[Peer]:
    """A peer that takes PDUs of so many bytes, and notes of how many bytes each fragment is, and each data set."""

    def note(event: Any) -> None:
        if isinstance(event.pdu, P_DATA_TF):
            values = [item.presentation_data_value or b"" for item in event.pdu.presentation_data_value_items]
            fragments.extend(len(value) - 1 for value in values)

    def keep(event: Any) -> int:
        stored[str(event.request.AffectedSOPInstanceUID)] = bytes_of(event.dataset_path)
        return 0

    entity = AE(AE_TITLE)
    entity.maximum_pdu_size = most
    supported = (
        contexts()
        if syntaxes is None
        else [build_context(str(one.abstract_syntax), syntaxes) for one in contexts()[:120]]
    )
    entity.supported_contexts = supported
    handlers: list[Any] = [(evt.EVT_PDU_RECV, note), (evt.EVT_C_STORE, keep)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    assert server.socket is not None
    try:
        yield Peer("scp", AE_TITLE, "127.0.0.1", server.socket.getsockname()[1])
    finally:
        server.shutdown()


# --- store ------------------------------------------------------------------------------------------------------------


@required(STORESCP)
def test_dcmtk_stores_what_is_deflated_and_odd(tmp_path: Path) -> None:
    with storescp(tmp_path / "scp", ae_title="STORESCP", args=["+xa"]) as scp:
        code, out, _ = run(tmp_path, f"STORESCP@127.0.0.1:{scp.port}", DEFLATED, deflated(tmp_path / "odd", odd=True))
        assert code == 0, out
    received = {dcmread(path).SOPInstanceUID: path for path in scp.folder.iterdir()}
    assert received.keys() == {dcmread(DEFLATED).SOPInstanceUID, dcmread(tmp_path / "odd").SOPInstanceUID}


@required(ORTHANC)
def test_orthanc_stores_what_is_deflated_and_odd(tmp_path: Path) -> None:
    with Orthanc(tmp_path / "orthanc", minipacs_port=free_port()) as orthanc:
        code, out, _ = run(tmp_path, f"ORTHANC@127.0.0.1:{orthanc.dicom_port}", DEFLATED)
        assert code == 0, out
        assert len(json.loads(orthanc.get("/instances")[1])) == 1


@pytest.mark.parametrize("most", [16_382, 16_383, 1_001, 0])
def test_each_fragment_is_even_whatever_the_peer_takes_at_once(most: int, tmp_path: Path) -> None:
    """Also where its maximum length is odd; and one byte is added to what is odd, none to what is even."""
    files = [DEFLATED, deflated(tmp_path / "odd", odd=True), CT, IMAGES / "mr-rle.dcm"]
    fragments: list[int] = []
    stored: dict[str, bytes] = {}
    with recording(fragments, stored, most=most) as peer:
        code, out, _ = run(tmp_path, peer, *files)
    assert code == 0, out
    assert len(fragments) >= 2 * len(files)
    assert [length for length in fragments if length % 2] == []
    for path in files:
        data = bytes_of(path)
        assert stored[str(dcmread(path).SOPInstanceUID)] == data + bytes(len(data) % 2)


def test_what_is_deflated_and_even_is_sent_as_it_is(tmp_path: Path) -> None:
    path = deflated(tmp_path / "even", odd=False)
    stored: dict[str, bytes] = {}
    with recording([], stored) as peer:
        assert run(tmp_path, peer, path)[0] == 0
    assert list(stored.values()) == [bytes_of(path)]


def test_what_is_deflated_is_written_anew_for_who_does_not_inflate(tmp_path: Path) -> None:
    fragments: list[int] = []
    with recording(fragments, {}, [ImplicitVRLittleEndian]) as peer:
        code, (stored,), _ = run_json(tmp_path, peer, DEFLATED)
    assert (code, stored["sent_as"]) == (0, ImplicitVRLittleEndian)
    assert [length for length in fragments if length % 2] == []


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (with_a_byte_too_many, "ct-2-implicit.dcm"),
        (with_a_byte_too_many, "cr-big-endian.dcm"),
        (with_an_odd_value, "ct-1-explicit.dcm"),
        (with_an_odd_value, "mr-rle.dcm"),
    ],
)
def test_any_other_is_refused_by_name_before_anybody_is_called(
    make: Callable[[Path, Path], Path], name: str, tmp_path: Path
) -> None:
    path = make(tmp_path / "odd.dcm", IMAGES / name)
    with faking(fakes.takes) as fake:
        code, out, _ = run(tmp_path, fake.peer, path)
    assert code == 1
    size = len(bytes_of(path))
    reason = f"the file cannot be sent: its data set has {size} bytes, an odd number [store.odd]"
    assert out.splitlines()[0] == f"{path}: failed: {reason}"
    assert fake.connections == 0


def test_the_others_of_its_folder_are_stored(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for image in IMAGES.glob("*.dcm"):
        (folder / image.name).write_bytes(image.read_bytes())
    with_a_byte_too_many(folder / "a-first.dcm")
    with_an_odd_value(folder / "z-last.dcm")
    stored: dict[str, bytes] = {}
    with recording([], stored) as peer:
        code, objects, summary = run_json(tmp_path, peer, folder)
    assert (code, summary["stored"], summary["failed"], len(stored)) == (1, 7, 2, 7)
    failed = {Path(each["path"]).name: each["code"] for each in objects if each["outcome"] == "failed"}
    assert failed == {"a-first.dcm": "store.odd", "z-last.dcm": "store.odd"}


def test_what_only_becomes_odd_when_it_is_written_anew_is_refused_too(tmp_path: Path) -> None:
    """An odd value in what is deflated, where nobody sees it before."""
    data = data_set(1)
    path = write(tmp_path / "explicit", data)
    content = path.read_bytes()
    start = len(content) - len(bytes_of(path))
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    stream = packer.compress(content[start:] + b"\xfc\xff\xfc\xffOB\0\0\3\0\0\0abc") + packer.flush()
    syntax = str(ExplicitVRLittleEndian).encode() + b"\0"
    head = content[:start].replace(syntax, str(DeflatedExplicitVRLittleEndian).encode())
    length = len(str(DeflatedExplicitVRLittleEndian)) - len(syntax)
    head = head.replace(b"\2\0\x10\0UI" + bytes([len(syntax), 0]), b"\2\0\x10\0UI" + bytes([len(syntax) + length, 0]))
    head = head[:140] + (int.from_bytes(head[140:144], "little") + length).to_bytes(4, "little") + head[144:]
    path.write_bytes(head + stream)
    with recording([], {}, [ExplicitVRLittleEndian]) as peer:
        code, (failed,), _ = run_json(tmp_path, peer, path)
    assert (code, failed["code"], failed["sent_as"]) == (1, "store.odd", None)


def test_the_image_of_a_round_trip_is_even(tmp_path: Path) -> None:
    assert sample_in(tmp_path, is_new=True).file.fault is None
    assert len(bytes_of(sample_in(tmp_path, is_new=True).file.path)) % 2 == 0


# --- what the node sends ----------------------------------------------------------------------------------------------


def mixed(folder: Path) -> dict[str, Path]:
    """Four objects of a study: two as they should be, one deflated and odd, one odd; by their UIDs."""
    (folder / "mixed").mkdir(parents=True)
    odd = deflated(folder / "mixed" / "deflated.dcm", odd=True)
    uid = str(dcmread(odd).SOPInstanceUID)
    paths = {f"{ROOT}.3.{n}": write(folder / "mixed" / f"{n}.dcm", data_set(n)) for n in (101, 102, 103)}
    with_a_byte_too_many(folder / "mixed" / "102.dcm", folder / "mixed" / "102.dcm")
    return {**paths, uid: odd}


BROKEN = f"{ROOT}.3.102"


@required(STORESCP)
@pytest.mark.parametrize("service", ["get", "move"])
def test_one_that_is_odd_fails_alone_and_does_not_sink_its_study(service: str, tmp_path: Path) -> None:
    objects = mixed(tmp_path)
    with (
        storescp(tmp_path, ae_title="STORE", args=["+xa"]) as destination,
        archive(tmp_path / "archive") as node,
    ):
        node.know(Peer("store", "STORE", "127.0.0.1", destination.port))
        for path in objects.values():
            node.index.add(path)
        options = {"get": ["--output", "got"], "move": ["--to", "STORE"]}[service]
        peer = f"MINIPACS@127.0.0.1:{node.port}"
        done = run_minipacs(tmp_path, service, peer, f"StudyInstanceUID={ROOT}.1.1", *options, "--json")
        told = node.told
    told_of = json.loads(done.stdout)
    assert done.returncode == 1
    assert (told_of["completed"], told_of["failed"]) == (3, 1)
    assert told_of["failed_sop_instance_uids"] == [BROKEN]
    folder = tmp_path / "got" if service == "get" else destination.folder
    received = {str(dcmread(path).SOPInstanceUID): bytes_of(path) for path in folder.iterdir()}
    assert received.keys() == objects.keys() - {BROKEN}
    if service == "get":  # storescp writes files of its own
        for uid, data in received.items():
            kept = bytes_of(objects[uid])
            assert data == kept + bytes(len(kept) % 2)
    size = len(bytes_of(objects[BROKEN]))
    assert told == [f"object {BROKEN} not sent: its data set has {size} bytes, an odd number"]


def test_what_a_running_node_has_and_is_deflated_and_odd_goes_out_padded(tmp_path: Path) -> None:
    """However it came into the storage."""
    path = deflated(tmp_path / "odd.dcm", odd=True)
    uid = str(dcmread(path).SOPInstanceUID)
    place = place_of(tmp_path / "kept", uid)
    options = ("--storage", "kept")
    with serving(tmp_path, table({"name": "us", "ae_title": "MINIPACS"}), *options) as node:
        peer = f"MINIPACS@127.0.0.1:{node.port}"
        assert run(tmp_path, peer, CT)[0] == 0
    place.write_bytes(path.read_bytes())
    assert run_minipacs(tmp_path, "storage", "reindex", "--storage", "kept").returncode == 0
    with serving(tmp_path, table({"name": "us", "ae_title": "MINIPACS"}), *options) as node:
        peer = f"MINIPACS@127.0.0.1:{node.port}"
        done = run_minipacs(tmp_path, "get", peer, f"StudyInstanceUID={ROOT}.1.1", "--output", "got")
    assert done.returncode == 0, done.stdout + done.stderr
    assert bytes_of(tmp_path / "got" / f"{uid}.dcm") == bytes_of(path) + b"\0"
