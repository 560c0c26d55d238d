"""What is acknowledged can be found: in the list, by a query, by a retrieval; what cannot be is refused by its name."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pynetdicom import AE, build_role, evt

from ..peers.node import Node, run_minipacs, table
from ..peers.process import wait_until
from ..peers.storage_node import objects, storing
from ..raw import CT_IMAGE_STORAGE
from ..services.archive import application_entity
from ..services.objects import identifier
from ..storing import encoded, image
from .messages import (
    DEFLATED,
    EXPLICIT,
    FIND,
    GET,
    IMPLICIT,
    associated,
    deflated,
    element,
    sorted_elements,
    stored,
    without,
)

UID, KEPT_UID = "1.2.3", "1.2.4"
CT = CT_IMAGE_STORAGE.decode()
PEERS = table({"name": "py", "ae_title": "PYNETDICOM"}, {"name": "minipacs", "ae_title": "MINIPACS"})


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with storing(tmp_path_factory.mktemp("node"), PEERS, overwrite=True) as (node, _):
        yield node


def in_implicit(data: Dataset) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = True, True
    write_dataset(buffer, data)
    whole: bytes = buffer.getvalue()
    return whole


def ct(*more: bytes, uid: str = KEPT_UID) -> bytes:
    """An image with further elements, whatever is in them."""
    start = encoded(image(uid))
    pixels = start.index(b"\xe0\x7f\x10\0OW")
    pieces = []
    while start[:pixels]:
        length = 8 + int.from_bytes(start[6:8], "little")
        pieces.append(start[:length])
        start, pixels = start[length:], pixels - length
    there = {one[:4] for one in more}
    return sorted_elements([*(one for one in pieces if one[:4] not in there), *more]) + start


def listed(node: Node, uid: str) -> list[dict[str, object]]:
    done = node.minipacs("storage", "list", "--storage", "kept", "--level", "image", "--json")
    assert done.returncode == 0, done.stderr
    return [one for one in map(json.loads, done.stdout.splitlines()) if one["SOPInstanceUID"] == uid]


def found(node: Node, uid: str) -> list[Dataset]:
    entity = application_entity("PYNETDICOM")
    entity.add_requested_context(FIND.decode())
    association = entity.associate("127.0.0.1", node.port, ae_title="MINIPACS")
    keys = identifier("IMAGE", StudyInstanceUID="1.2.3.1", SeriesInstanceUID="1.2.3.1.1", SOPInstanceUID=uid)
    answers = [match for _, match in association.send_c_find(keys, FIND.decode()) if match is not None]
    association.release()
    return answers


def got(node: Node, uid: str, syntax: bytes, status: int = 0) -> list[bytes]:
    """The data sets that a C-GET brings, which ends with that status."""
    came: list[bytes] = []

    def take(event: evt.Event) -> int:
        came.append(Path(event.dataset_path).read_bytes())
        return 0

    entity: AE = application_entity("PYNETDICOM")
    entity.add_requested_context(GET.decode())
    entity.add_requested_context(CT, syntax.decode())
    roles: list[Any] = [build_role(CT, scp_role=True)]
    handlers: list[Any] = [(evt.EVT_C_STORE, take)]
    association = entity.associate("127.0.0.1", node.port, ae_title="MINIPACS", ext_neg=roles, evt_handlers=handlers)
    keys = identifier("IMAGE", StudyInstanceUID="1.2.3.1", SeriesInstanceUID="1.2.3.1.1", SOPInstanceUID=uid)
    assert [one.Status for one, _ in association.send_c_get(keys, GET.decode())][-1] == status
    association.release()
    return came


STUDY, SERIES = 0x0020000D, 0x0020000E

REFUSED = {
    "no study": (encoded(without(image(UID), "StudyInstanceUID")), EXPLICIT, 0xA900, "StudyInstanceUID"),
    "no series": (encoded(without(image(UID), "SeriesInstanceUID")), EXPLICIT, 0xA900, "SeriesInstanceUID"),
    "an empty study": (ct(element(STUDY, b"UI"), uid=UID), EXPLICIT, 0xA900, "StudyInstanceUID"),
    "a padded series": (ct(element(SERIES, b"UI", b"\0 "), uid=UID), EXPLICIT, 0xA900, "SeriesInstanceUID"),
    "two studies": (ct(element(STUDY, b"UI", b"1.2.3\\1.2.4\0"), uid=UID), EXPLICIT, 0xA900, "StudyInstanceUID"),
    "a study in words": (ct(element(STUDY, b"UI", b"the last one"), uid=UID), EXPLICIT, 0xA900, "StudyInstanceUID"),
    "a study of any name": (ct(element(STUDY, b"UI", b"*\0"), uid=UID), EXPLICIT, 0xA900, "StudyInstanceUID"),
    "a study as a sequence": (ct(element(STUDY, b"SQ"), uid=UID), EXPLICIT, 0xA900, "StudyInstanceUID"),
    "an endless series": (ct(element(SERIES, b"UI", b"1" * 70), uid=UID), EXPLICIT, 0xA900, "SeriesInstanceUID"),
    "no class": (encoded(without(image(UID), "SOPClassUID")), EXPLICIT, 0xA900, "SOPClassUID"),
    "no instance": (encoded(without(image(UID), "SOPInstanceUID")), EXPLICIT, 0xA900, "SOPInstanceUID"),
    "deflated, no study": (
        deflated(encoded(without(image(UID), "StudyInstanceUID"))),
        DEFLATED,
        0xA900,
        "StudyInstanceUID",
    ),
    "explicit in implicit": (encoded(image(UID)), IMPLICIT, 0xC000, "explicit VRs"),
    "implicit in explicit": (in_implicit(image(UID)), EXPLICIT, 0xC000, "implicit VRs"),
    "cut short": (encoded(image(UID))[:-3], EXPLICIT, 0xC000, "cut short"),
    "cut in a header": (encoded(image(UID)) + b"\xfc\xff\xfc\xff", EXPLICIT, 0xC000, "cut short"),
    "a sequence without its end": (
        ct(element(0x00081110, b"SQ", length=0xFFFFFFFF), uid=UID),
        EXPLICIT,
        0xC000,
        "no items",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_found_is_refused_by_its_name(case: str, node: Node) -> None:
    data, syntax, status, name = REFUSED[case]
    with associated(node.port, CT_IMAGE_STORAGE, syntax) as peer:
        answer, comment = stored(peer, data)
    assert answer == status
    assert name in comment
    assert len(comment) <= 64
    assert listed(node, UID) == []
    assert UID not in objects(node.folder / "kept")


KEPT = {
    "Rows of 1 byte": ct(element(0x00280010, b"US", b"\1")),
    "Rows of 3 bytes": ct(element(0x00280010, b"US", b"\1\2\3")),
    "Columns of 1 byte": ct(element(0x00280011, b"US", b"\1")),
    "Columns of 3 bytes": ct(element(0x00280011, b"US", b"\1\2\3")),
    "Rows in words": ct(element(0x00280010, b"LO", b"many")),
    "Rows as a sequence": ct(element(0x00280010, b"SQ")),
    "BitsAllocated of no bytes": ct(element(0x00280100, b"US")),
    "NumberOfFrames in words": ct(element(0x00280008, b"IS", b"few ")),
    "a character set of nobody": ct(element(0x00080005, b"CS", b"KLINGON "), element(0x00100010, b"PN", b"\xe4\xf6")),
    "a name that breaks its character set": ct(
        element(0x00080005, b"CS", b"ISO_IR 192"), element(0x00100010, b"PN", b"\xff\xfe")
    ),
    "halves of letters by a codec of Python": ct(
        element(0x00080005, b"CS", b"utf_7 "), element(0x00100010, b"PN", b"\x1b+2AA- ")
    ),
    "halves of letters in a sequence": ct(
        element(0x00080005, b"CS", b"unicode_escape"),
        element(0x00081032, b"SQ", b"\xfe\xff\0\xe0\x10\0\0\0" + element(0x00080104, b"LO", b"\xe4\\ud800 ")),
    ),
    "a sequence of no items": ct(element(0x00400275, b"SQ", b"no items")),
    "a sequence that ends in an item": ct(element(0x00400275, b"SQ", b"\xfe\xff\0\xe0\x40\0\0\0" + bytes(8))),
    "a text of 200 kB": ct(element(0x00104000, b"UT", b"x" * 200_000)),
    "a million values": ct(element(0x00081030, b"UT", b"\\" * 1_000_000)),
    "a text with ends of lines": ct(element(0x00081030, b"LO", b"a\r\nb\0c\x1b[2J")),
    "an unknown VR": ct(element(0x00081030, b"QQ", b"abcd")),
}


@pytest.mark.parametrize("case", KEPT)
def test_what_is_acknowledged_is_listed_found_and_brought_back(case: str, node: Node) -> None:
    data = KEPT[case]
    with associated(node.port, CT_IMAGE_STORAGE, EXPLICIT) as peer:
        assert stored(peer, data, KEPT_UID) == (0x0000, "")
    assert len(listed(node, KEPT_UID)) == 1
    assert [match.SOPInstanceUID for match in found(node, KEPT_UID)] == [KEPT_UID]
    if len(data) % 2:  # which no peer takes (PS3.8 Annex E): it fails by its name, and alone
        assert got(node, KEPT_UID, EXPLICIT, status=0xA702) == []
        wait_until(lambda: "an odd number" in node.child.log, within=30, what="the reason in the log")
    else:
        (came,) = got(node, KEPT_UID, EXPLICIT)
        assert came.endswith(data)
    assert "Traceback" not in node.child.log
    assert "reindex" not in node.child.log


@pytest.mark.parametrize(
    "name", ["JPEGLSNearLossless_08.dcm", "JPEGLSNearLossless_16.dcm", "SC_rgb_jls_lossy_line.dcm"]
)
def test_the_files_of_pydicom_are_answered_truthfully(name: str, node: Node) -> None:
    file = str(get_testdata_file(name))
    data = dcmread(file)
    uid = str(data.SOPInstanceUID)
    done = run_minipacs(node.folder, "store", f"MINIPACS@127.0.0.1:{node.port}", file, "--json")
    is_stored = json.loads(done.stdout.splitlines()[0])["outcome"] == "stored"
    assert (
        is_stored == (done.returncode == 0) == (len(listed(node, uid)) == 1) == (uid in objects(node.folder / "kept"))
    )
    missing = [keyword for keyword in ("StudyInstanceUID", "SeriesInstanceUID") if not data.get(keyword)]
    assert is_stored == (not missing)
    assert all(keyword in done.stdout for keyword in missing)
